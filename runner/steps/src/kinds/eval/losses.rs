//! The losses of four candidates: what texts begin with alike is computed once, and the sums come
//! out as if each text had been computed alone.

use kernels::AnyDevice;
use kernels::score::{Choices, Scored, Scorer, Text};

use super::Found;
use crate::StepError;
use crate::exam::asked::Asked;

/// By the whole text: the sum of all losses through the number of tokens, as OpenCompass has it.
pub(super) fn of_wholes(
    scorer: &mut Scorer<AnyDevice>,
    batch: &[Asked],
) -> Result<Vec<Found>, StepError> {
    let alike = alike(batch);
    let before = match alike.len() {
        0 => Scored::default(),
        _ => one(scorer.texts(&[Text { prompt: Vec::new(), ids: alike.to_vec() }])?),
    };
    let text = |it: &Asked| Text { prompt: alike.to_vec(), ids: it.stem[alike.len()..].to_vec() };
    let stems = scorer.texts(&batch.iter().map(text).collect::<Vec<_>>())?;
    let tails = tails(scorer, batch)?;
    let mut found = Vec::new();
    for ((asked, stem), tails) in batch.iter().zip(stems).zip(tails) {
        let losses = std::array::from_fn(|i| {
            // One chain of additions, however the text was taken apart.
            let all = before.nll.iter().chain(&stem.nll).chain(&tails[i].nll);
            let sum: f64 = all.copied().map(f64::from).sum();
            sum / (asked.stem.len() + asked.tails[i].len()) as f64
        });
        found.push(Found::Losses(losses));
    }
    Ok(found)
}

/// By the ending: minus the logarithm of its probability.
pub(super) fn of_endings(
    scorer: &mut Scorer<AnyDevice>,
    batch: &[Asked],
) -> Result<Vec<Found>, StepError> {
    let losses = |tails: Vec<Scored>| Found::Losses(std::array::from_fn(|i| tails[i].sum()));
    Ok(tails(scorer, batch)?.into_iter().map(losses).collect())
}

fn tails(scorer: &mut Scorer<AnyDevice>, batch: &[Asked]) -> Result<Vec<Vec<Scored>>, StepError> {
    let choices = |it: &Asked| Choices { prompt: it.stem.clone(), candidates: it.tails.clone() };
    Ok(scorer.choices(&batch.iter().map(choices).collect::<Vec<_>>())?)
}

fn one(scored: Vec<Scored>) -> Scored {
    scored.into_iter().next().unwrap_or_default()
}

/// What all stems begin with; of each at least one token is left.
fn alike(batch: &[Asked]) -> &[u32] {
    let Some((first, rest)) = batch.split_first() else { return &[] };
    let shortest = batch.iter().map(|it| it.stem.len()).min().unwrap_or(0);
    let same = |at: &usize| rest.iter().all(|it| it.stem[*at] == first.stem[*at]);
    let n = (0..shortest.saturating_sub(1)).take_while(same).count();
    &first.stem[..n]
}
