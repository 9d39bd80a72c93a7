//! What can be wrong with a call of an operation.

use crate::Dtype;

/// An error from a device or an operation on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A buffer does not have the length that its shape asks for.
    #[error("`{op}`: `{buffer}` has {got} elements, expected {want}")]
    Length {
        /// The operation.
        op: &'static str,
        /// The name of the operand.
        buffer: &'static str,
        /// Its length.
        got: usize,
        /// The length that the others ask for.
        want: usize,
    },
    /// A buffer holds another type than the operation takes.
    #[error("`{op}`: `{buffer}` is {got}, which it cannot take here")]
    Dtype {
        /// The operation.
        op: &'static str,
        /// The name of the operand.
        buffer: &'static str,
        /// What it holds.
        got: Dtype,
    },
    /// A token id, a row or a block that does not exist.
    #[error("`{op}`: `{buffer}` names {index}, there are {len}")]
    Index {
        /// The operation.
        op: &'static str,
        /// The name of the operand.
        buffer: &'static str,
        /// What it names.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// The device cannot give this much memory.
    #[error("no room for {bytes} bytes on the device")]
    Memory {
        /// How much was asked for.
        bytes: usize,
    },
    /// There is no CUDA device that can be used.
    #[error("no CUDA device can be used: {reason}")]
    NoDevice {
        /// Why.
        reason: String,
    },
    /// The CUDA driver refused a call.
    #[error("`{call}`: the CUDA driver answers {code}")]
    Driver {
        /// The kernel, or what was asked for.
        call: &'static str,
        /// The driver's own name for the reason.
        code: String,
    },
    /// A kernel waited in vain at a barrier, and gave up.
    #[error(
        "`{kernel}`: line {line} waits in vain, in block {block:?}, thread {thread}: the barrier at byte {barrier} \
         of shared memory, the phase of parity {parity}"
    )]
    Stuck {
        /// Its file and what is defined.
        kernel: String,
        /// Of its file, or of a header where that waits.
        line: u32,
        /// Which block.
        block: (u32, u32),
        /// Which of its threads.
        thread: u32,
        /// Where the barrier lies.
        barrier: u32,
        /// Which phase was waited for.
        parity: u32,
    },
    /// A kernel does not compile.
    #[error("the kernel `{kernel}` does not compile: {log}")]
    Compile {
        /// Its file and what is defined.
        kernel: String,
        /// What the compiler says.
        log: String,
    },
    /// The threads of a device cannot be started.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// How many.
        threads: usize,
        /// What the system said.
        reason: String,
    },
}

/// What an operation gives back.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// That an operand has the length that its shape asks for.
pub(crate) fn check_len(
    op: &'static str,
    buffer: &'static str,
    got: usize,
    want: usize,
) -> Result<()> {
    if got == want { Ok(()) } else { Err(Error::Length { op, buffer, got, want }) }
}

/// That an operand holds this type.
pub(crate) fn check_dtype(
    op: &'static str,
    buffer: &'static str,
    got: Dtype,
    want: Dtype,
) -> Result<()> {
    if got == want { Ok(()) } else { Err(Error::Dtype { op, buffer, got }) }
}

/// That a matrix of `(rows, columns, stride)` lies in a view of this length.
pub(crate) fn check_matrix(
    op: &'static str,
    buffer: &'static str,
    (rows, columns, stride): (usize, usize, usize),
    len: usize,
) -> Result<()> {
    let want = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
    if stride < columns || len < want {
        return Err(Error::Length { op, buffer, got: len, want });
    }
    Ok(())
}
