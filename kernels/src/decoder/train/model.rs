//! Weights on a device, and gradients of the same layout.

use std::ops::Range;

use half::bf16;
use serde::{Deserialize, Serialize};

use super::activations::Sizes;
use crate::decoder::Result;
use crate::decoder::config::Config;
use crate::decoder::layout::{Layout, Part, Tensor};
use crate::decoder::lora::{Lora, LoraLayout};
use crate::decoder::save::Weights;
use crate::device::{Matrix, MatrixMut, View, ViewMut};
use crate::ops::adamw::{joined, split};
use crate::ops::attention::Heads;
use crate::ops::matmul::{Form, Product, Start};
use crate::ops::rope::RopeTable;
use crate::{Device, Dtype};

/// How many numbers of a weight are read from a file at once.
const CHUNK: usize = 1 << 22;

/// What weights and activations are held in. Gradients, moments and master weights are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// All f32.
    F32,
    /// Weights bf16 with f32 masters, activations f32.
    Bf16Weights,
    /// Weights bf16 with f32 masters, activations bf16.
    Bf16,
    /// The same in less memory: masters are the weights and the 16 bits that these lack.
    Bf16Split,
}

impl Precision {
    /// What weights are.
    pub fn weights(self) -> Dtype {
        if self == Precision::F32 { Dtype::F32 } else { Dtype::Bf16 }
    }

    /// What activations are.
    pub fn activations(self) -> Dtype {
        match self {
            Precision::F32 | Precision::Bf16Weights => Dtype::F32,
            Precision::Bf16 | Precision::Bf16Split => Dtype::Bf16,
        }
    }

    /// What the exact weights are beside the weights; see [`crate::ops::adamw`]. None where the weights are
    /// exact themselves.
    pub fn masters(self) -> Option<Dtype> {
        match self {
            Precision::F32 => None,
            Precision::Bf16Weights | Precision::Bf16 => Some(Dtype::F32),
            Precision::Bf16Split => Some(Dtype::Bf16),
        }
    }
}

/// Adapters on a device.
pub(super) struct Adapters<D: Device> {
    pub(super) lora: Lora,
    /// What dropout is drawn from.
    pub(super) seed: u64,
    pub(super) layout: LoraLayout,
    pub(super) weights: D::Buffer,
}

/// A model on a device.
pub struct Model<D: Device> {
    pub(super) config: Config,
    pub(super) layout: Layout,
    pub(super) precision: Precision,
    pub(super) weights: D::Buffer,
    pub(super) rope: RopeTable<D::Buffer>,
    pub(super) adapters: Option<Adapters<D>>,
}

impl<D: Device> Model<D> {
    /// Reads the weights of a model onto a device, for texts of up to `positions` tokens.
    pub fn new<W: Weights + ?Sized>(
        device: &D,
        config: &Config,
        precision: Precision,
        weights: &W,
        positions: usize,
    ) -> Result<Self> {
        let layout = Layout::new(config);
        let weights = arena(device, &layout, precision.weights(), weights)?;
        let rope = RopeTable::new(device, config.rope_theta, config.head_dim, positions)?;
        Ok(Self { config: config.clone(), layout, precision, weights, rope, adapters: None })
    }

    /// Adds fresh adapters. From now on they are what is trained.
    pub fn adapt(&mut self, device: &D, lora: &Lora, seed: u64) -> crate::Result<()> {
        let layout = LoraLayout::new(&self.config, lora);
        let weights = device.upload(&layout.fresh(seed))?;
        self.adapters = Some(Adapters { lora: lora.clone(), seed, layout, weights });
        Ok(())
    }

    /// The sizes and constants.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The place of each weight.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What it is held in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The adapters' places, where it has some.
    pub fn lora(&self) -> Option<(&Lora, &LoraLayout)> {
        self.adapters.as_ref().map(|it| (&it.lora, &it.layout))
    }

    /// What is trained: the adapters, or all weights.
    pub fn trained(&self) -> &D::Buffer {
        self.adapters.as_ref().map_or(&self.weights, |it| &it.weights)
    }

    /// What is trained, to be changed.
    pub fn trained_mut(&mut self) -> &mut D::Buffer {
        self.adapters.as_mut().map_or(&mut self.weights, |it| &mut it.weights)
    }

    /// The sizes that activations follow from.
    pub fn sizes(&self) -> Sizes {
        let lora = self.adapters.as_ref().map(|it| &it.lora);
        Sizes::new(&self.config, self.precision, lora)
    }

    pub(super) fn heads(&self) -> Heads {
        let Config { heads, kv_heads, head_dim, .. } = self.config;
        Heads { query: heads, kv: kv_heads, dim: head_dim }
    }

    /// A weight as a matrix.
    pub(super) fn weight(&self, part: Part) -> Matrix<'_, D::Buffer> {
        let slot = self.layout.slot(part);
        View::all(&self.weights).part(slot.range()).rows(slot.columns)
    }

    /// A gain.
    pub(super) fn gain(&self, part: Part) -> View<'_, D::Buffer> {
        self.weight(part).view
    }

    /// A tensor's numbers, with its adapter added if it has one.
    pub fn read(&self, device: &D, tensor: &Tensor, rows: Range<usize>) -> crate::Result<Vec<f32>> {
        let width: usize = tensor.shape[1..].iter().product();
        let start = tensor.start + rows.start * width;
        let range = start..start + rows.len() * width;
        let numbers = read_f32(device, View::all(&self.weights).part(range))?;
        let Some(adapters) = &self.adapters else { return Ok(numbers) };
        let Some(adapter) = adapters.layout.adapters().iter().find(|it| it.name == tensor.name)
        else {
            return Ok(numbers);
        };
        let all = View::all(&adapters.weights);
        let b = all.part(adapter.b_range()).rows(adapter.rank).row_range(rows.clone());
        let mut scaled = device.zeros(Dtype::F32, rows.len() * adapter.rank)?;
        device.copy(b.view, ViewMut::all(&mut scaled))?;
        device.scale(adapters.lora.scale(), ViewMut::all(&mut scaled))?;
        let mut sum = device.upload(&numbers)?;
        let product = Product {
            form: Form::Dyw,
            a: View::all(&scaled).rows(adapter.rank),
            b: all.part(adapter.a_range()).rows(width),
            start: Start::Add,
        };
        device.matmul(product, ViewMut::all(&mut sum).rows(width))?;
        device.read(View::all(&sum))
    }
}

/// Gradients of what is trained.
#[derive(Debug)]
pub struct Gradients<D: Device> {
    pub(super) all: D::Buffer,
    /// Those of a tied model's output layer, apart until the step's last micro-batch: two chains,
    /// each over all tokens.
    pub(super) head: Option<D::Buffer>,
    /// What the chains of weights that one product a micro-batch adds to begin with: nothing has been added
    /// yet, and what is there is of another step.
    pub(super) start: Start,
}

impl<D: Device> Gradients<D> {
    /// All zero.
    pub fn new(device: &D, model: &Model<D>) -> crate::Result<Self> {
        use crate::Buffer as _;
        let all = device.zeros(Dtype::F32, model.trained().len())?;
        let head = match (&model.adapters, model.config.tied) {
            (None, true) => Some(device.zeros(Dtype::F32, model.layout.slot(Part::Head).len())?),
            _ => None,
        };
        Ok(Self { all, head, start: Start::Zero })
    }

    /// Begins a step. What a step writes anyhow before it adds is left as it is: to make all of it zero would
    /// be to write it once more.
    pub fn clear(&mut self, device: &D, model: &Model<D>) -> crate::Result<()> {
        self.start = Start::Zero;
        if model.adapters.is_some() {
            return device.clear(ViewMut::all(&mut self.all));
        }
        let is_product =
            |it: &Part| matches!(it, Part::Qkv(_) | Part::O(_) | Part::GateUp(_) | Part::Down(_));
        for slot in model.layout.slots().iter().filter(|it| !is_product(&it.part)) {
            device.clear(ViewMut::all(&mut self.all).part(slot.range()))?;
        }
        self.head.as_mut().map_or(Ok(()), |it| device.clear(ViewMut::all(it)))
    }

    /// After a step's last micro-batch. As in `transformers`, the pad token's embedding gets no gradient.
    pub fn finish(&mut self, device: &D, model: &Model<D>) -> crate::Result<()> {
        if let (Some(pad), None) = (model.config.pad, &model.adapters) {
            let row = self.slot(model, Part::Embed).row_range(pad as usize..pad as usize + 1);
            device.clear(row.view)?;
        }
        match &self.head {
            Some(head) => {
                let to = model.layout.slot(Part::Embed).range();
                device.add(View::all(head), ViewMut::all(&mut self.all).part(to))
            }
            None => Ok(()),
        }
    }

    /// The gradients, in the layout of what is trained.
    pub fn buffer(&self) -> &D::Buffer {
        &self.all
    }

    /// The gradients of a weight.
    pub(super) fn slot(&mut self, model: &Model<D>, part: Part) -> MatrixMut<'_, D::Buffer> {
        let slot = model.layout.slot(part);
        ViewMut::all(&mut self.all).part(slot.range()).rows(slot.columns)
    }
}

/// A model that is saved while it is on a device.
pub struct OnDevice<'a, D: Device> {
    /// Where it is.
    pub device: &'a D,
    /// It.
    pub model: &'a Model<D>,
    /// Its exact weights, where those of the model are rounded.
    pub master: Option<&'a D::Buffer>,
}

impl<D: Device> Weights for OnDevice<'_, D> {
    fn read(&self, _: usize, tensor: &Tensor, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let width: usize = tensor.shape[1..].iter().product();
        let start = tensor.start + rows.start * width;
        let numbers = match self.master {
            Some(master) => {
                let (range, weights) = (start..start + out.len(), self.model.trained());
                read_exact(self.device, (weights, master), range)
            }
            None => self.model.read(self.device, tensor, rows),
        };
        out.copy_from_slice(&numbers?);
        Ok(())
    }
}

/// Numbers of either type, as f32.
pub fn read_f32<D: Device>(device: &D, from: View<'_, D::Buffer>) -> crate::Result<Vec<f32>> {
    if from.dtype() == Dtype::F32 {
        return device.read(from);
    }
    Ok(device.read::<bf16>(from)?.iter().map(|it| it.to_f32()).collect())
}

/// Exact weights, of masters of either kind.
pub fn read_exact<D: Device>(
    device: &D,
    (weights, master): (&D::Buffer, &D::Buffer),
    range: Range<usize>,
) -> crate::Result<Vec<f32>> {
    let master = View::all(master).part(range.clone());
    if master.dtype() == Dtype::F32 {
        return device.read(master);
    }
    let high = device.read::<bf16>(View::all(weights).part(range))?;
    let scratch = device.read::<bf16>(master)?;
    Ok(high.into_iter().zip(scratch).map(|(high, scratch)| joined(high, scratch)).collect())
}

/// Writes exact weights from `start` on, of masters of either kind; f32 ones are not rounded here.
pub fn write_exact<D: Device>(
    device: &D,
    (weights, master): (&mut D::Buffer, &mut D::Buffer),
    start: usize,
    numbers: &[f32],
) -> crate::Result<()> {
    let range = start..start + numbers.len();
    let master = ViewMut::all(master).part(range.clone());
    if master.dtype() == Dtype::F32 {
        return device.write(master, numbers);
    }
    let (high, scratch): (Vec<bf16>, Vec<bf16>) = numbers.iter().map(|it| split(*it)).unzip();
    device.write(ViewMut::all(weights).part(range), &high)?;
    device.write(master, &scratch)
}

/// All weights in one buffer, read a few megabytes at a time.
pub fn arena<D: Device, W: Weights + ?Sized>(
    device: &D,
    layout: &Layout,
    dtype: Dtype,
    weights: &W,
) -> Result<D::Buffer> {
    let mut arena = device.zeros(dtype, layout.len())?;
    if let Some(uniform) = weights.uniform() {
        for (index, tensor) in layout.tensors().iter().enumerate() {
            let to = ViewMut::all(&mut arena).part(tensor.range());
            uniform.fill(device, index, tensor, to)?;
        }
        return Ok(arena);
    }
    each_part(layout, weights, |start, numbers| {
        let to = ViewMut::all(&mut arena).part(start..start + numbers.len());
        if dtype == Dtype::F32 {
            return device.write(to, numbers);
        }
        let rounded: Vec<bf16> = numbers.iter().map(|it| bf16::from_f32(*it)).collect();
        device.write(to, &rounded)
    })?;
    Ok(arena)
}

/// The masters of a model's weights; where these are parts of the exact ones, they are written too.
pub fn masters<D: Device, W: Weights + ?Sized>(
    device: &D,
    model: &mut Model<D>,
    dtype: Dtype,
    weights: &W,
) -> Result<D::Buffer> {
    let mut all = device.zeros(dtype, model.layout.len())?;
    if weights.uniform().is_some() {
        // What the device has made was rounded there: the lower half of a split weight is zero.
        if dtype == Dtype::F32 {
            device.copy(View::all(&model.weights), ViewMut::all(&mut all))?;
        }
        return Ok(all);
    }
    let layout = model.layout.clone();
    each_part(&layout, weights, |start, numbers| {
        write_exact(device, (&mut model.weights, &mut all), start, numbers)
    })?;
    Ok(all)
}

/// Hands on all weights, a few megabytes at a time, and where they begin in an arena.
fn each_part<W: Weights + ?Sized>(
    layout: &Layout,
    weights: &W,
    mut take: impl FnMut(usize, &[f32]) -> crate::Result<()>,
) -> Result<()> {
    for (index, tensor) in layout.tensors().iter().enumerate() {
        let width: usize = tensor.shape[1..].iter().product();
        let at_once = (CHUNK / width).max(1);
        let mut rows = 0..0;
        while rows.end < tensor.shape[0] {
            rows = rows.end..(rows.end + at_once).min(tensor.shape[0]);
            let mut numbers = vec![0.0; rows.len() * width];
            weights.read(index, tensor, rows.clone(), &mut numbers)?;
            take(tensor.start + rows.start * width, &numbers)?;
        }
    }
    Ok(())
}
