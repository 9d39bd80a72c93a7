//! What is trained on: texts as token ids, with a mark at each token that is a target.

use super::digest::Digest;

/// A text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// For each token whether the model learns to say it. The first has nothing before it, so its
    /// mark does not count.
    pub trained: Vec<bool>,
}

impl Sample {
    /// A text of which every token is a target.
    pub fn all(ids: Vec<u32>) -> Self {
        let trained = vec![true; ids.len()];
        Self { ids, trained }
    }

    /// How many targets it has.
    pub fn targets(&self) -> usize {
        self.trained.iter().skip(1).filter(|it| **it).count()
    }
}

/// Many texts, side by side in memory.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    ids: Vec<u32>,
    trained: Vec<bool>,
    ends: Vec<usize>,
    targets: Vec<u32>,
}

impl Samples {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text. Marks that are missing are false, those too many are left out.
    pub fn push(&mut self, sample: &Sample) {
        self.ids.extend_from_slice(&sample.ids);
        let marks = sample.trained.iter().copied().chain(std::iter::repeat(false));
        self.trained.extend(marks.take(sample.ids.len()));
        self.ends.push(self.ids.len());
        let last = self.len() - 1;
        let targets = self.trained(last).iter().skip(1).filter(|it| **it).count();
        self.targets.push(targets as u32);
    }

    /// How many texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn range(&self, index: usize) -> std::ops::Range<usize> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        start..self.ends[index]
    }

    /// The tokens of a text.
    pub fn ids(&self, index: usize) -> &[u32] {
        &self.ids[self.range(index)]
    }

    /// The marks of a text.
    pub fn trained(&self, index: usize) -> &[bool] {
        &self.trained[self.range(index)]
    }

    /// How many tokens a text has.
    pub fn tokens(&self, index: usize) -> usize {
        self.range(index).len()
    }

    /// How many targets a text has.
    pub fn targets(&self, index: usize) -> usize {
        self.targets[index] as usize
    }

    /// A checksum of all texts and marks, by which a resumed run knows its data.
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::new();
        for index in 0..self.len() {
            digest.update(&(self.tokens(index) as u64).to_le_bytes());
            digest.update(bytemuck::cast_slice(self.ids(index)));
            let marks: Vec<u8> = self.trained(index).iter().map(|it| u8::from(*it)).collect();
            digest.update(&marks);
        }
        digest.finish()
    }
}

impl FromIterator<Sample> for Samples {
    fn from_iter<I: IntoIterator<Item = Sample>>(samples: I) -> Self {
        let mut all = Self::new();
        samples.into_iter().for_each(|it| all.push(&it));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_is_no_target_and_texts_stay_apart() {
        let a = Sample { ids: vec![5, 6, 7], trained: vec![true, false, true] };
        let b = Sample::all(vec![8, 9]);
        assert_eq!((a.targets(), b.targets()), (1, 1));
        let samples: Samples = [a.clone(), b.clone()].into_iter().collect();
        assert_eq!((samples.ids(1), samples.trained(0)), (&[8, 9][..], &a.trained[..]));
        assert_eq!((samples.targets(0), samples.tokens(1)), (1, 2));
        let moved: Samples = [Sample::all(vec![5, 6]), b].into_iter().collect();
        assert_ne!(samples.digest(), moved.digest());
    }
}
