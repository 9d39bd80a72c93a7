//! Launches of `kernel.cu`.

use crate::cuda::{
    Arg, Cuda, CudaBuffer, Grid, Kernel, Piece, Pointer, Source, Variant, pointer, pointer_mut,
    type_name,
};
use crate::device::{View, ViewMut};
use crate::error::check_len;
use crate::{Dtype, Result};

const SOURCE: Source = Source::new("elementwise", include_str!("kernel.cu"));

/// How the file is compiled.
pub(crate) fn variants(e: &str) -> Vec<Variant> {
    let pairs = [(e, e), (e, "float"), ("float", e)];
    pairs.map(|(a, b)| Variant::new(&SOURCE, &[("A", a), ("B", b)])).into()
}

fn kernel<'a>(function: &'static str, defines: &'a [(&'static str, &'a str)]) -> Kernel<'a> {
    Kernel { source: &SOURCE, function, defines }
}

impl Cuda {
    pub(crate) fn copy_real(
        &self,
        from: View<'_, CudaBuffer>,
        to: ViewMut<'_, CudaBuffer>,
    ) -> Result<()> {
        const OP: &str = "copy";
        check_len(OP, "to", to.len(), from.len())?;
        if from.dtype() == to.dtype() {
            return self.copy_same(from, to);
        }
        let a = type_name(from.dtype(), OP, "from")?;
        let defines = [("A", a), ("B", type_name(to.dtype(), OP, "to")?)];
        let args =
            [Arg::Pointer(pointer(&from)), Arg::Pointer(pointer_mut(&to)), Arg::Size(to.len())];
        // SAFETY: `copy(const A*, B*, size_t)` with two views of that many numbers, by their types.
        unsafe { self.launch(kernel(OP, &defines), Grid::each(to.len()), &args) }
    }

    pub(crate) fn add_real(
        &self,
        x: View<'_, CudaBuffer>,
        to: ViewMut<'_, CudaBuffer>,
    ) -> Result<()> {
        const OP: &str = "add";
        check_len(OP, "x", x.len(), to.len())?;
        let a = type_name(x.dtype(), OP, "x")?;
        let defines = [("A", a), ("B", type_name(to.dtype(), OP, "to")?)];
        let args = [Arg::Pointer(pointer(&x)), Arg::Pointer(pointer_mut(&to)), Arg::Size(to.len())];
        // SAFETY: `add(const A*, B*, size_t)` with two views of that many numbers, by their types.
        unsafe { self.launch(kernel(OP, &defines), Grid::each(to.len()), &args) }
    }

    pub(crate) fn scale_real(&self, factor: f32, to: ViewMut<'_, CudaBuffer>) -> Result<()> {
        const OP: &str = "scale";
        let b = type_name(to.dtype(), OP, "to")?;
        let args = [Arg::Pointer(pointer_mut(&to)), Arg::F32(factor), Arg::Size(to.len())];
        // SAFETY: `scale(B*, float, size_t)` with a view of that many numbers of that type.
        unsafe { self.launch(kernel(OP, &[("A", b), ("B", b)]), Grid::each(to.len()), &args) }
    }

    /// Rows of f32 as bf16, each at a stride of eights: what tensor cores take. There is room for `room` of
    /// them.
    ///
    /// # Safety
    ///
    /// `from` is the first of `rows` rows of `columns` numbers at `stride`, in a buffer that the caller
    /// borrows.
    pub(crate) unsafe fn as_bf16(
        &self,
        from: Pointer,
        (rows, columns, stride): (usize, usize, usize),
        room: usize,
    ) -> Result<(Piece<'_>, usize)> {
        const EIGHT: usize = 8;
        let to_stride = columns.next_multiple_of(EIGHT);
        let piece = self.scratch(Dtype::Bf16, room.max(rows) * to_stride)?;
        let n = rows * columns;
        let pointers = [from, pointer(&piece.view())].map(Arg::Pointer);
        let args = [&pointers[..], &[columns, stride, to_stride, n].map(Arg::Size)].concat();
        let defines = [("A", "float"), ("B", "bf16")];
        // SAFETY: `copy_rows(const float*, bf16*, four sizes)`; the caller's promise, and the piece has room.
        unsafe { self.launch(kernel("copy_rows", &defines), Grid::each(n), &args) }?;
        Ok((piece, to_stride))
    }

    fn copy_same(&self, from: View<'_, CudaBuffer>, to: ViewMut<'_, CudaBuffer>) -> Result<()> {
        let range = from.start..from.start + from.len;
        self.copy_bytes(from.buffer, range, (to.buffer, to.start))
    }
}
