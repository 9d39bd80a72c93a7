//! Fresh weights: matrices normal with mean 0 and the configuration's deviation, gains 1. The
//! pad token's embedding is zero, as `transformers` makes it.
//!
//! Number `i` of tensor `t` is a function of the seed, `t` and `i`, so a model is the same however
//! many threads make it, whole or in parts.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::config::Config;
use super::error::Result;
use super::layout::{Layout, Part, Tensor};
use super::save::Weights;
use crate::Dtype;
use crate::device::{Device, ViewMut};
use crate::ops::uniform::{Uniform, uniform};
use crate::random::Random;

/// How many numbers a thread makes at once.
const CHUNK: usize = 1 << 14;
/// Streams of fresh weights begin here; others of the same seed are somewhere else.
const STREAM: u64 = 1 << 40;
/// And those of uniform ones.
const UNIFORM_STREAM: u64 = 1 << 41;

/// The fresh weights of a model, made when they are asked for.
#[derive(Clone, Debug)]
pub struct Fresh {
    seed: u64,
    deviation: f64,
    /// The numbers of the embedding that are zero.
    pad: Range<usize>,
}

impl Fresh {
    /// The weights of a configuration under a seed.
    pub fn new(config: &Config, seed: u64) -> Self {
        let pad = config.pad.map_or(0..0, |it| {
            let start = it as usize * config.hidden;
            start..start + config.hidden
        });
        Self { seed, deviation: config.initializer_range, pad }
    }

    /// Some numbers of the tensor that has this index in [`Layout::tensors`].
    fn fill(&self, index: usize, tensor: &Tensor, first: usize, out: &mut [f32]) {
        if tensor.shape.len() == 1 {
            out.fill(1.0);
            return;
        }
        let random = Random::new(self.seed, STREAM + index as u64);
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
            let first = first + chunk * CHUNK;
            for (i, out) in out.iter_mut().enumerate() {
                *out = (random.normal_at((first + i) as u64) * self.deviation) as f32;
            }
        });
        if tensor.part == Part::Embed {
            let end = first + out.len();
            let pad = self.pad.start.clamp(first, end)..self.pad.end.clamp(first, end);
            out[pad.start - first..pad.end - first].fill(0.0);
        }
    }

    /// All weights, as one arena.
    pub fn arena(&self, layout: &Layout) -> Vec<f32> {
        let mut arena = vec![0.0; layout.len()];
        for (index, tensor) in layout.tensors().iter().enumerate() {
            self.fill(index, tensor, 0, &mut arena[tensor.range()]);
        }
        arena
    }
}

impl Weights for Fresh {
    fn read(
        &self,
        index: usize,
        tensor: &Tensor,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<()> {
        let width: usize = tensor.shape[1..].iter().product();
        self.fill(index, tensor, rows.start * width, out);
        Ok(())
    }
}

/// Weights for measuring: matrices uniform about 0, gains 1. A device makes them by itself
/// ([`crate::ops::uniform`]), so that a model of billions is there at once.
#[derive(Clone, Debug)]
pub struct UniformWeights {
    seed: u64,
    bound: f32,
}

impl UniformWeights {
    /// Numbers from `-bound` to `bound`, under a seed.
    pub const fn new(seed: u64, bound: f32) -> Self {
        Self { seed, bound }
    }

    /// The numbers of a tensor from `first` on.
    fn of(&self, index: usize, first: usize) -> Uniform {
        let random = Random::new(self.seed, UNIFORM_STREAM + index as u64);
        Uniform { random, first: first as u64, bound: self.bound }
    }

    /// Fills the tensor that has this index in [`Layout::tensors`], where it lies on a device.
    pub(crate) fn fill<D: Device>(
        &self,
        device: &D,
        index: usize,
        tensor: &Tensor,
        to: ViewMut<'_, D::Buffer>,
    ) -> crate::Result<()> {
        if tensor.shape.len() > 1 {
            return device.uniform(self.of(index, 0), to);
        }
        match to.dtype() {
            Dtype::Bf16 => device.write(to, &vec![bf16::ONE; tensor.len()]),
            _ => device.write(to, &vec![1.0f32; tensor.len()]),
        }
    }
}

impl Weights for UniformWeights {
    fn read(
        &self,
        index: usize,
        tensor: &Tensor,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<()> {
        if tensor.shape.len() == 1 {
            out.fill(1.0);
        } else {
            let width: usize = tensor.shape[1..].iter().product();
            uniform(self.of(index, rows.start * width), out);
        }
        Ok(())
    }

    fn uniform(&self) -> Option<&UniformWeights> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::decoder::{Save, WeightDtype, WeightFiles, train};
    use crate::device::View;
    use crate::generate::{Model, Settings};
    use crate::score::{Scorer, Text};

    fn config() -> Config {
        let text = r#"{"model_type": "llama", "hidden_size": 64, "intermediate_size": 100,
            "vocab_size": 700, "num_hidden_layers": 2, "num_attention_heads": 8,
            "rope_theta": 10000, "initializer_range": 0.05, "pad_token_id": 690}"#;
        Config::parse(text.as_bytes(), Path::new("c")).unwrap()
    }

    #[test]
    fn gains_are_one_and_matrices_have_the_deviation() {
        let (config, layout) = (config(), Layout::new(&config()));
        let arena = Fresh::new(&config, 3).arena(&layout);
        for tensor in layout.tensors() {
            let values = &arena[tensor.range()];
            if tensor.shape.len() == 1 {
                assert!(values.iter().all(|it| *it == 1.0), "{}", tensor.name);
                continue;
            }
            let square: f64 = values.iter().map(|it| f64::from(*it).powi(2)).sum();
            let deviation = (square / values.len() as f64).sqrt();
            assert!((deviation - 0.05).abs() < 0.004, "{}: {deviation}", tensor.name);
        }
        assert!(arena[690 * 64..691 * 64].iter().all(|it| *it == 0.0));
        assert_ne!(arena[689 * 64], 0.0);
        assert_ne!(arena, Fresh::new(&config, 4).arena(&layout));
    }

    #[test]
    fn uniform_weights_are_the_same_made_on_a_device_and_read() {
        let (config, layout) = (config(), Layout::new(&config()));
        let (weights, cpu) = (UniformWeights::new(3, 0.02), crate::Cpu::new(2).unwrap());
        let made = train::arena(&cpu, &layout, Dtype::F32, &weights).unwrap();
        let made: Vec<f32> = cpu.read(View::all(&made)).unwrap();
        let mut read = vec![0.0; layout.len()];
        for (index, tensor) in layout.tensors().iter().enumerate() {
            let rows = 0..tensor.shape[0];
            weights.read(index, tensor, rows, &mut read[tensor.range()]).unwrap();
        }
        assert!(made == read);
        // A model for inference has them too, wherever its matrices lie.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        Save::new(WeightDtype::Bf16).write(&path, &config, &weights).unwrap();
        let files = WeightFiles::open(&path, &config).unwrap();
        let device = std::sync::Arc::new(cpu);
        let from_files = Model::load(device.clone(), &config, &files, 32).unwrap();
        let of_device =
            Model::of(device.clone(), (&config, WeightDtype::Bf16), &weights, 32).unwrap();
        let score = |model| {
            let settings = Settings { rows: 1, step_tokens: 8, cache_tokens: 64 };
            let mut scorer = Scorer::new(std::sync::Arc::new(model), settings).unwrap();
            let text = Text { prompt: vec![1, 2], ids: vec![3, 600, 5] };
            scorer.texts(&[text]).unwrap().remove(0).nll
        };
        assert_eq!(score(from_files), score(of_device));
    }

    #[test]
    fn parts_and_threads_do_not_change_a_number() {
        let (config, layout) = (config(), Layout::new(&config()));
        let fresh = Fresh::new(&config, 3);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let arena = pool.install(|| fresh.arena(&layout));
        assert_eq!(arena, fresh.arena(&layout));
        let (index, tensor) = (0, &layout.tensors()[0]);
        let mut rows = vec![0.0; 20 * 64];
        fresh.read(index, tensor, 680..700, &mut rows).unwrap();
        assert_eq!(rows, arena[tensor.range()][680 * 64..]);
    }
}
