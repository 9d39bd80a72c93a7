//! [`Device`] for the processor: shapes are checked here, types are chosen, the work is in `ops`.

use crate::cpu::Cpu;
use crate::cpu::buffer::{CpuBuffer, Name, for_real};
use crate::device::{Device, Matrix, MatrixMut, View, ViewMut};
use crate::error::{check_len, check_matrix};
use crate::ops::adamw::{self, AdamW, State};
use crate::ops::attention::{self, check_spans};
use crate::ops::cross_entropy::{self, Gradients, IGNORE, LinearCrossEntropy};
use crate::ops::dropout::{self, Dropout};
use crate::ops::elementwise;
use crate::ops::matmul::cpu::{Product, Rows, RowsMut, matmul};
use crate::ops::matmul::packed::{self, Packed};
use crate::ops::matmul::{Start, shape};
use crate::ops::paged::{self, CacheShape, CpuCache, Tokens};
use crate::ops::rope::Rope;
use crate::ops::uniform::{self, Uniform};
use crate::ops::{embedding, rms_norm, rope, square_sum, swiglu};
use crate::{Dtype, Element, Error, Result, ops};

type In<'a> = View<'a, CpuBuffer>;
type Out<'a> = ViewMut<'a, CpuBuffer>;
type Mat<'a> = Matrix<'a, CpuBuffer>;
type MatMut<'a> = MatrixMut<'a, CpuBuffer>;

fn rows_in<'a, E: Element>(
    it: Mat<'a>,
    op: &'static str,
    name: &'static str,
) -> Result<Rows<'a, E>> {
    check_matrix(op, name, (it.rows, it.columns, it.stride), it.view.len())?;
    Ok(Rows { data: it.view.get(Name(op, name))?, stride: it.stride })
}

fn rows_out<'a, E: Element>(
    it: MatMut<'a>,
    op: &'static str,
    name: &'static str,
) -> Result<RowsMut<'a, E>> {
    check_matrix(op, name, (it.rows, it.columns, it.stride), it.view.len())?;
    Ok(RowsMut { data: it.view.get(Name(op, name))?, stride: it.stride })
}

/// A moment of so many weights, whatever it is kept in.
fn kept(it: Out<'_>, name: Name, weights: usize) -> Result<adamw::Kept<'_>> {
    Ok(match it.dtype() {
        Dtype::F32 => adamw::Kept::Whole(it.get(name)?),
        Dtype::Bf16 => adamw::Kept::Halves(it.get(name)?),
        _ => adamw::Kept::of_bytes(it.get(name)?, weights),
    })
}

/// That ids lie below a bound.
fn check_ids(op: &'static str, buffer: &'static str, ids: &[u32], len: usize) -> Result<()> {
    match ids.iter().find(|it| **it as usize >= len) {
        Some(it) => Err(Error::Index { op, buffer, index: *it as usize, len }),
        None => Ok(()),
    }
}

impl Device for Cpu {
    type Buffer = CpuBuffer;
    type Packed = Packed;
    type Cache = CpuCache;
    const BLOCK: usize = attention::BLOCK;

    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    fn zeros(&self, dtype: Dtype, len: usize) -> Result<CpuBuffer> {
        CpuBuffer::zeros(dtype, len)
    }

    fn upload<E: Element>(&self, data: &[E]) -> Result<CpuBuffer> {
        let mut buffer = CpuBuffer::zeros(E::DTYPE, data.len())?;
        self.write(ViewMut::all(&mut buffer), data)?;
        Ok(buffer)
    }

    fn write<E: Element>(&self, to: Out<'_>, data: &[E]) -> Result<()> {
        check_len("write", "to", to.len(), data.len())?;
        to.get::<E>(Name("write", "to"))?.copy_from_slice(data);
        Ok(())
    }

    fn read<E: Element>(&self, from: In<'_>) -> Result<Vec<E>> {
        Ok(from.get::<E>(Name("read", "from"))?.to_vec())
    }

    fn copy(&self, from: In<'_>, to: Out<'_>) -> Result<()> {
        let (source, target) = (Name("copy", "from"), Name("copy", "to"));
        check_len("copy", "to", to.len(), from.len())?;
        if (from.dtype(), to.dtype()) == (Dtype::U32, Dtype::U32) {
            to.get::<u32>(target)?.copy_from_slice(from.get(source)?);
            return Ok(());
        }
        for_real!(from.dtype(), source, A => for_real!(to.dtype(), target, B => {
            elementwise::copy::<A, B>(self.isa, from.get(source)?, to.get(target)?);
            Ok(())
        }))
    }

    fn clear(&self, to: Out<'_>) -> Result<()> {
        let name = Name("clear", "to");
        match to.dtype() {
            Dtype::F32 => to.get::<f32>(name)?.fill(0.0),
            Dtype::Bf16 => to.get::<half::bf16>(name)?.fill(half::bf16::ZERO),
            Dtype::U32 => to.get::<u32>(name)?.fill(0),
            Dtype::U8 => to.get::<u8>(name)?.fill(0),
        }
        Ok(())
    }

    fn add(&self, x: In<'_>, to: Out<'_>) -> Result<()> {
        let (source, target) = (Name("add", "x"), Name("add", "to"));
        check_len("add", "x", x.len(), to.len())?;
        for_real!(x.dtype(), source, A => for_real!(to.dtype(), target, B => {
            elementwise::add::<A, B>(self.isa, x.get(source)?, to.get(target)?);
            Ok(())
        }))
    }

    fn scale(&self, factor: f32, to: Out<'_>) -> Result<()> {
        let name = Name("scale", "to");
        for_real!(to.dtype(), name, A => {
            elementwise::scale::<A>(self.isa, factor, to.get(name)?);
            Ok(())
        })
    }

    fn dropout(&self, given: Dropout, to: Out<'_>) -> Result<()> {
        let name = Name("dropout", "to");
        for_real!(to.dtype(), name, A => {
            dropout::dropout::<A>(given, to.get(name)?);
            Ok(())
        })
    }

    fn uniform(&self, given: Uniform, to: Out<'_>) -> Result<()> {
        let name = Name("uniform", "to");
        for_real!(to.dtype(), name, A => {
            uniform::uniform::<A>(given, to.get(name)?);
            Ok(())
        })
    }

    fn embed(&self, table: Mat<'_>, ids: In<'_>, out: Out<'_>) -> Result<()> {
        const OP: &str = "embed";
        let ids = ids.get::<u32>(Name(OP, "ids"))?;
        check_len(OP, "out", out.len(), ids.len() * table.columns)?;
        check_ids(OP, "ids", ids, table.rows)?;
        let (of, to, stride) = (Name(OP, "table"), Name(OP, "out"), table.columns);
        for_real!(table.view.dtype(), of, A => for_real!(out.dtype(), to, B => {
            let out = RowsMut { data: out.get::<B>(to)?, stride };
            embedding::forward(self.isa, rows_in::<A>(table, OP, "table")?, ids, out);
            Ok(())
        }))
    }

    fn embed_backward(&self, d_out: In<'_>, ids: In<'_>, d_table: MatMut<'_>) -> Result<()> {
        const OP: &str = "embed_backward";
        let ids = ids.get::<u32>(Name(OP, "ids"))?;
        let stride = d_table.columns;
        check_len(OP, "d_out", d_out.len(), ids.len() * stride)?;
        check_ids(OP, "ids", ids, d_table.rows)?;
        let d_table = rows_out::<f32>(d_table, OP, "d_table")?;
        let name = Name(OP, "d_out");
        for_real!(d_out.dtype(), name, A => {
            let d_out = Rows { data: d_out.get::<A>(name)?, stride };
            embedding::backward(self.isa, d_out, ids, d_table);
            Ok(())
        })
    }

    fn rms_norm(
        &self,
        given: rms_norm::Forward<'_, CpuBuffer>,
        out: Out<'_>,
        scale: Out<'_>,
    ) -> Result<()> {
        const OP: &str = "rms_norm";
        let rms_norm::Forward { x, gain, eps } = given;
        let rows = scale.len();
        check_len(OP, "x", x.len(), rows * gain.len())?;
        check_len(OP, "out", out.len(), rows * gain.len())?;
        let scale = scale.get::<f32>(Name(OP, "scale"))?;
        let (of_x, of_gain) = (Name(OP, "x"), Name(OP, "gain"));
        for_real!(x.dtype(), of_x, E => for_real!(gain.dtype(), of_gain, G => {
            let given = (x.get::<E>(of_x)?, gain.get::<G>(of_gain)?, eps);
            rms_norm::forward(self.isa, given, out.get::<E>(Name(OP, "out"))?, scale);
            Ok(())
        }))
    }

    fn rms_norm_backward(
        &self,
        given: rms_norm::Backward<'_, CpuBuffer>,
        d_x: Out<'_>,
        d_gain: Option<Out<'_>>,
    ) -> Result<()> {
        const OP: &str = "rms_norm_backward";
        let rms_norm::Backward { d_out, x, gain, scale } = given;
        let len = scale.len() * gain.len();
        for (name, got) in [("d_out", d_out.len()), ("x", x.len()), ("d_x", d_x.len())] {
            check_len(OP, name, got, len)?;
        }
        let scale = scale.get::<f32>(Name(OP, "scale"))?;
        let (of_x, of_gain) = (Name(OP, "x"), Name(OP, "gain"));
        for_real!(x.dtype(), of_x, E => for_real!(gain.dtype(), of_gain, G => {
            let (x, gain) = (x.get::<E>(of_x)?, gain.get::<G>(of_gain)?);
            let d_out = d_out.get::<E>(Name(OP, "d_out"))?;
            let given = rms_norm::Given { d_out, x, gain, scale };
            rms_norm::backward(self.isa, given, d_x.get::<E>(Name(OP, "d_x"))?);
            if let Some(d_gain) = d_gain {
                check_len(OP, "d_gain", d_gain.len(), gain.len())?;
                let d_gain = d_gain.get::<f32>(Name(OP, "d_gain"))?;
                rms_norm::backward_gain(self.isa, given, d_gain);
            }
            Ok(())
        }))
    }

    fn rope(&self, qkv: Out<'_>, positions: In<'_>, rope: Rope<'_, CpuBuffer>) -> Result<()> {
        const OP: &str = "rope";
        let heads = rope.heads;
        let positions = positions.get::<u32>(Name(OP, "positions"))?;
        check_len(OP, "qkv", qkv.len(), positions.len() * heads.row())?;
        let half = (heads.dim / 2).max(1);
        check_ids(OP, "positions", positions, rope.cosines.len() / half)?;
        let name = Name(OP, "qkv");
        let given = rope::Given {
            cosines: rope.cosines.get(Name(OP, "cosines"))?,
            sines: rope.sines.get(Name(OP, "sines"))?,
            heads,
            direction: rope.direction,
        };
        for_real!(qkv.dtype(), name, E => {
            rope::rope(self.isa, qkv.get::<E>(name)?, positions, given);
            Ok(())
        })
    }

    fn matmul(&self, product: ops::matmul::Product<'_, CpuBuffer>, out: MatMut<'_>) -> Result<()> {
        const OP: &str = "matmul";
        let ops::matmul::Product { form, a, b, start } = product;
        let size = |it: &Mat<'_>| (it.rows, it.columns);
        let shape = shape(form, size(&a), size(&b), (out.rows, out.columns))?;
        let (of_a, of_b, of_out) = (Name(OP, "a"), Name(OP, "b"), Name(OP, "out"));
        for_real!(a.view.dtype(), of_a, A => for_real!(b.view.dtype(), of_b, B => {
            for_real!(out.view.dtype(), of_out, C => {
                let (a, b) = (rows_in::<A>(a, OP, "a")?, rows_in::<B>(b, OP, "b")?);
                let product = Product { form, shape, start, a, b };
                matmul(self, product, rows_out::<C>(out, OP, "out")?)
            })
        }))
    }

    fn attention(
        &self,
        given: attention::Forward<'_, CpuBuffer>,
        out: Out<'_>,
        lse: Out<'_>,
    ) -> Result<()> {
        const OP: &str = "attention";
        let attention::Forward { qkv, spans, heads } = given;
        let rows = qkv.len() / heads.row().max(1);
        check_len(OP, "qkv", qkv.len(), rows * heads.row())?;
        check_len(OP, "out", out.len(), rows * heads.out())?;
        check_len(OP, "lse", lse.len(), rows * heads.query)?;
        check_spans(OP, spans, rows)?;
        let (name, lse) = (Name(OP, "qkv"), lse.get::<f32>(Name(OP, "lse"))?);
        for_real!(qkv.dtype(), name, E => {
            let out = out.get::<E>(Name(OP, "out"))?;
            attention::forward::forward(self, qkv.get::<E>(name)?, (spans, heads), out, lse)
        })
    }

    fn attention_backward(
        &self,
        given: attention::Backward<'_, CpuBuffer>,
        d_qkv: Out<'_>,
    ) -> Result<()> {
        const OP: &str = "attention_backward";
        let attention::Backward { d_out, out, qkv, lse, spans, heads } = given;
        let rows = qkv.len() / heads.row().max(1);
        check_len(OP, "qkv", qkv.len(), rows * heads.row())?;
        check_len(OP, "d_qkv", d_qkv.len(), rows * heads.row())?;
        check_len(OP, "out", out.len(), rows * heads.out())?;
        check_len(OP, "d_out", d_out.len(), rows * heads.out())?;
        check_len(OP, "lse", lse.len(), rows * heads.query)?;
        check_spans(OP, spans, rows)?;
        let (name, lse) = (Name(OP, "qkv"), lse.get::<f32>(Name(OP, "lse"))?);
        for_real!(qkv.dtype(), name, E => {
            let (d_out, out) = (d_out.get::<E>(Name(OP, "d_out"))?, out.get(Name(OP, "out"))?);
            let qkv = qkv.get(name)?;
            let given = attention::backward::Given { d_out, out, qkv, lse, spans, heads };
            attention::backward::backward(self, given, d_qkv.get::<E>(Name(OP, "d_qkv"))?)
        })
    }

    fn swiglu(&self, gate_up: In<'_>, width: usize, out: Out<'_>) -> Result<()> {
        const OP: &str = "swiglu";
        check_len(OP, "gate_up", gate_up.len(), 2 * out.len())?;
        check_len(OP, "out", out.len() % width.max(1), 0)?;
        let name = Name(OP, "gate_up");
        for_real!(gate_up.dtype(), name, E => {
            let out = out.get::<E>(Name(OP, "out"))?;
            swiglu::forward(self.isa, gate_up.get(name)?, width, out);
            Ok(())
        })
    }

    fn swiglu_backward(
        &self,
        d_out: In<'_>,
        gate_up: In<'_>,
        width: usize,
        d_gate_up: Out<'_>,
    ) -> Result<()> {
        const OP: &str = "swiglu_backward";
        check_len(OP, "gate_up", gate_up.len(), 2 * d_out.len())?;
        check_len(OP, "d_gate_up", d_gate_up.len(), 2 * d_out.len())?;
        check_len(OP, "d_out", d_out.len() % width.max(1), 0)?;
        let name = Name(OP, "gate_up");
        for_real!(gate_up.dtype(), name, E => {
            let d_out = d_out.get::<E>(Name(OP, "d_out"))?;
            let to = d_gate_up.get::<E>(Name(OP, "d_gate_up"))?;
            swiglu::backward(self.isa, d_out, gate_up.get(name)?, width, to);
            Ok(())
        })
    }

    fn cross_entropy(
        &self,
        given: LinearCrossEntropy<'_, CpuBuffer>,
        nll: Out<'_>,
        gradients: Option<Gradients<'_, CpuBuffer>>,
    ) -> Result<()> {
        const OP: &str = "cross_entropy";
        let LinearCrossEntropy { hidden, head, targets, scale } = given;
        let targets = targets.get::<u32>(Name(OP, "targets"))?;
        check_len(OP, "hidden", hidden.len(), targets.len() * head.columns)?;
        check_len(OP, "nll", nll.len(), targets.len())?;
        let len = head.rows;
        let wrong = targets.iter().find(|it| **it != IGNORE && **it as usize >= len);
        if let Some(it) = wrong {
            let index = *it as usize;
            return Err(Error::Index { op: OP, buffer: "targets", index, len });
        }
        let (width, vocabulary) = (head.columns, head.rows);
        let nll = nll.get::<f32>(Name(OP, "nll"))?;
        let (of_hidden, of_head) = (Name(OP, "hidden"), Name(OP, "head"));
        for_real!(hidden.dtype(), of_hidden, E => for_real!(head.view.dtype(), of_head, W => {
            let (mut d_hidden, mut d_head) = (None, None);
            if let Some(it) = gradients {
                check_len(OP, "d_hidden", it.d_hidden.len(), hidden.len())?;
                d_hidden = Some(it.d_hidden.get::<E>(Name(OP, "d_hidden"))?);
                if let Some(it) = it.d_head {
                    check_len(OP, "d_head", it.rows * it.columns, vocabulary * width)?;
                    d_head = Some(rows_out::<f32>(it, OP, "d_head")?);
                }
            }
            let head = rows_in::<W>(head, OP, "head")?;
            let hidden = hidden.get::<E>(of_hidden)?;
            let given =
                cross_entropy::Numbers { hidden, width, head, vocabulary, targets, scale };
            let out = cross_entropy::NumbersOut { nll, d_hidden, d_head };
            cross_entropy::cross_entropy(self, given, out)
        }))
    }

    fn square_sum(&self, x: In<'_>) -> Result<f64> {
        let name = Name("square_sum", "x");
        for_real!(x.dtype(), name, E => Ok(square_sum::square_sum::<E>(self.isa, x.get(name)?)))
    }

    fn adamw(&self, step: AdamW, state: State<'_, CpuBuffer>) -> Result<()> {
        const OP: &str = "adamw";
        state.check()?;
        let State { weight, master, m, v, gradient } = state;
        let exact = match master {
            None => adamw::Exact::Whole(weight.get(Name(OP, "weight"))?),
            Some(low) if low.dtype() == Dtype::Bf16 => {
                adamw::Exact::Halves(weight.get(Name(OP, "weight"))?, low.get(Name(OP, "master"))?)
            }
            Some(it) => {
                adamw::Exact::Beside(weight.get(Name(OP, "weight"))?, it.get(Name(OP, "master"))?)
            }
        };
        let len = gradient.len();
        let moments = [kept(m, Name(OP, "m"), len)?, kept(v, Name(OP, "v"), len)?];
        let gradient = gradient.get::<f32>(Name(OP, "gradient"))?;
        adamw::step(self.isa, step, exact, moments, gradient);
        Ok(())
    }

    fn pack(&self, weight: Mat<'_>) -> Result<Packed> {
        let name = Name("pack", "weight");
        let size = (weight.rows, weight.columns);
        for_real!(weight.view.dtype(), name, E => {
            packed::pack(self, rows_in::<E>(weight, "pack", "weight")?, size)
        })
    }

    fn linear(&self, x: Mat<'_>, weight: &Packed, out: MatMut<'_>, start: Start) -> Result<()> {
        const OP: &str = "linear";
        check_len(OP, "x columns", x.columns, weight.depth)?;
        check_len(OP, "out columns", out.columns, weight.columns)?;
        check_len(OP, "out rows", out.rows, x.rows)?;
        let (rows, columns) = (out.rows, out.columns);
        if (x.view.dtype(), out.view.dtype()) == (Dtype::F32, Dtype::F32) {
            let out = rows_out::<f32>(out, OP, "out")?;
            let to = (out.data, out.stride, rows);
            packed::linear(self, rows_in(x, OP, "x")?, weight, to, start);
            return Ok(());
        }
        let (of_x, of_out, depth) = (Name(OP, "x"), Name(OP, "out"), x.columns);
        for_real!(x.view.dtype(), of_x, A => for_real!(out.view.dtype(), of_out, B => {
            let (x, out) = (rows_in::<A>(x, OP, "x")?, rows_out::<B>(out, OP, "out")?);
            let mut wide = self.scratch.take(rows * depth)?;
            let mut sums = self.scratch.take(rows * columns)?;
            for (to, from) in wide.chunks_exact_mut(depth).zip(x.data.chunks(x.stride)) {
                elementwise::copy(self.isa, &from[..depth], to);
            }
            if start == Start::Add {
                for (to, from) in sums.chunks_exact_mut(columns).zip(out.data.chunks(out.stride)) {
                    elementwise::copy(self.isa, &from[..columns], to);
                }
            }
            let x = Rows { data: wide.as_slice(), stride: depth };
            packed::linear(self, x, weight, (&mut sums, columns, rows), start);
            let to = out.data.chunks_mut(out.stride);
            for (to, from) in to.zip(sums.chunks_exact(columns)) {
                elementwise::copy(self.isa, from, &mut to[..columns]);
            }
            Ok(())
        }))
    }

    fn cache(&self, shape: CacheShape) -> Result<CpuCache> {
        paged::new(shape)
    }

    fn cache_append(
        &self,
        cache: &mut CpuCache,
        layer: usize,
        tokens: Tokens<'_, CpuBuffer>,
    ) -> Result<()> {
        const OP: &str = "cache_append";
        let Tokens { qkv, heads, runs } = tokens;
        let rows = qkv.len() / heads.row().max(1);
        check_len(OP, "qkv", qkv.len(), rows * heads.row())?;
        paged::check_runs(OP, cache.shape(), (layer, heads), rows, runs)?;
        let name = Name(OP, "qkv");
        for_real!(qkv.dtype(), name, E => {
            paged::append::<E>(cache, layer, qkv.get(name)?, heads, runs);
            Ok(())
        })
    }

    fn cache_copy(&self, cache: &mut CpuCache, from: u32, to: u32) -> Result<()> {
        paged::copy_block(cache, from, to)
    }

    fn attention_paged(
        &self,
        cache: &CpuCache,
        layer: usize,
        tokens: Tokens<'_, CpuBuffer>,
        out: Out<'_>,
    ) -> Result<()> {
        const OP: &str = "attention_paged";
        let Tokens { qkv, heads, runs } = tokens;
        let rows = qkv.len() / heads.row().max(1);
        check_len(OP, "qkv", qkv.len(), rows * heads.row())?;
        check_len(OP, "out", out.len(), rows * heads.out())?;
        paged::check_runs(OP, cache.shape(), (layer, heads), rows, runs)?;
        let name = Name(OP, "qkv");
        for_real!(qkv.dtype(), name, E => {
            let out = out.get::<E>(Name(OP, "out"))?;
            paged::attention(self, (cache, layer), (qkv.get(name)?, heads), runs, out)
        })
    }
}
