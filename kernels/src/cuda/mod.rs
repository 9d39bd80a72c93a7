//! A CUDA device: the same model code on kernels of our own.
//!
//! Kernels are `ops/NAME/kernel.cu`, CUDA C++ without headers of NVIDIA's, compiled when they are first
//! used by NVRTC and kept in a cache on disk. Neither a toolkit nor a driver is needed to build this
//! crate; a machine without them gets a sentence.
//!
//! Two classes of numbers ([`Numerics`]): with f32 activations every kernel does what the processor's
//! twin does, in the same order, and the bits are the processor's; with bf16 activations products go
//! through the tensor cores, whose sums have an order of their own.
//!
//! There is one stream, so that what is launched runs in order. Mistakes that only the device can see,
//! such as an id beyond a table, are kept there and come out of the next call that waits for it.

mod buffer;
mod cache;
mod compile;
mod device;
mod graph;
mod library;
mod map;
mod memory;
mod module;
mod places;
mod probe;
mod source;
mod timing;
mod watchdog;

pub use buffer::CudaBuffer;
pub use cache::compile_into;
pub use compile::{Arch, Compiled, compile, nvrtc_version};
pub(crate) use device::Packed as CudaPacked;
pub use graph::Graph;
pub(crate) use library::from_environment;
pub use library::load_libraries;
pub use probe::Probe;
pub use source::{Variant, variants};
pub use timing::{Event, KernelTime};
pub use watchdog::Waits;

pub(crate) use map::Boxed;
pub(crate) use memory::{Piece, Pointer, pointer, pointer_mut};
pub(crate) use module::{Arg, Grid, Kernel};
pub(crate) use source::{Source, type_name};

use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use cudarc::driver::sys::CUdevice_attribute::{
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
};
use cudarc::driver::{CudaContext, CudaStream, DriverError};

use crate::machine::{self, NoCuda};
use crate::{Dtype, Error, Result};

/// Which numbers a device makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numerics {
    /// Those of the processor, to the bit: activations in f32, sums as chains.
    Exact,
    /// Activations in bf16, products by tensor cores.
    Bf16,
}

impl Numerics {
    /// What activations are kept in.
    pub fn activations(self) -> Dtype {
        if self == Numerics::Exact { Dtype::F32 } else { Dtype::Bf16 }
    }
}

/// Changes the text of a kernel before it is compiled, by the name of its operation. For tests that
/// plant a mistake and want it found.
pub type Edit = Arc<dyn Fn(&str, &str) -> String + Send + Sync>;

/// How a device is opened.
#[derive(Clone)]
pub struct Settings {
    /// Which of the devices.
    pub ordinal: usize,
    /// Which numbers it makes.
    pub numerics: Numerics,
    /// Where compiled kernels are kept; none is nowhere.
    pub cache: Option<PathBuf>,
    /// Keeps to the instructions that all devices have.
    pub portable: bool,
    /// Launches that are done again and again become graphs, which saves the host's time.
    pub graphs: bool,
    /// How long kernels wait for a barrier.
    pub waits: Waits,
    /// For tests.
    pub edit: Option<Edit>,
}

impl Settings {
    /// The first device, with the cache in the user's folder for such things.
    pub fn new(numerics: Numerics) -> Self {
        let cache = cache::folder();
        Self {
            ordinal: 0,
            numerics,
            cache,
            portable: false,
            graphs: true,
            waits: Waits::Unbounded,
            edit: None,
        }
    }
}

/// A CUDA device.
pub struct Cuda {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    arch: Arch,
    settings: Settings,
    modules: Mutex<module::Modules>,
    free: Mutex<memory::Free>,
    rows: AtomicUsize,
    places: Mutex<places::Kept>,
    timeline: Mutex<Option<timing::Timeline>>,
    notes: Option<watchdog::Notes>,
    fault: CudaBuffer, // u32 [FAULTS, 2]: the first wrong index of each kind, plus one, and its bound
}

/// The kinds of mistakes that only the device can see: the operation and its operand.
const FAULTS: [(&str, &str); 4] = [
    ("embed", "ids"),
    ("rope", "positions"),
    ("decode_qkv", "positions"),
    ("decode_qkv", "blocks"),
];

/// One of [`FAULTS`].
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    Embed,
    Rope,
    /// And after it that of blocks.
    DecodePositions,
}

/// A call that the driver refused.
pub(crate) fn refused(call: &'static str) -> impl Fn(DriverError) -> Error {
    move |it| Error::Driver { call, code: format!("{:?}", it.0) }
}

impl Cuda {
    /// Opens a device. A machine without one, or without NVRTC, gets an error and never a panic.
    pub fn open(settings: Settings) -> Result<Self> {
        let facts = machine::Cuda::here();
        let no_device = |reason: String| Error::NoDevice { reason };
        let devices = facts.devices.map_err(|it: NoCuda| no_device(it.to_string()))?;
        if settings.ordinal >= devices.len() {
            return Err(no_device(format!("number {} of {}", settings.ordinal, devices.len())));
        }
        if !facts.nvrtc {
            return Err(no_device("the library `libnvrtc` is not on this machine".into()));
        }
        let context = CudaContext::new(settings.ordinal).map_err(refused("open the device"))?;
        // SAFETY: no memory is allocated yet, and there will be one stream: nothing that events would
        // keep in order.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(refused("make a stream"))?;
        let attribute = |it| context.attribute(it).map_err(refused("ask for the capability"));
        let arch = Arch::of(attribute(MAJOR)? as u32, attribute(MINOR)? as u32)?;
        let notes = match settings.waits {
            Waits::Bounded => Some(watchdog::Notes::new()?),
            Waits::Unbounded => None,
        };
        let fault = CudaBuffer::zeros(&stream, Dtype::U32, 2 * FAULTS.len())?;
        Ok(Self {
            context,
            stream,
            arch,
            settings,
            modules: Mutex::default(),
            free: Mutex::default(),
            rows: AtomicUsize::default(),
            places: Mutex::default(),
            timeline: Mutex::default(),
            notes,
            fault,
        })
    }

    /// Which numbers it makes.
    pub fn numerics(&self) -> Numerics {
        self.settings.numerics
    }

    /// How much memory is free.
    pub fn free_bytes(&self) -> Result<u64> {
        let (free, _) = self.context.mem_get_info().map_err(refused("ask for free memory"))?;
        Ok(free as u64)
    }

    /// Whether products of bf16 may go through tensor cores, whose bits are not the processor's.
    pub(crate) fn has_tensor_cores(&self) -> bool {
        self.settings.numerics == Numerics::Bf16
    }

    /// Whether Hopper's own instructions may be used.
    pub(crate) fn is_hopper(&self) -> bool {
        self.arch == Arch::Sm90 && !self.settings.portable
    }

    /// Waits until all that was launched is done; says what went wrong.
    pub fn wait(&self) -> Result<()> {
        let mut faults = vec![0u32; 2 * FAULTS.len()];
        // An error of a launch before comes out of whichever call is first.
        self.explained(self.fault.read_into(&self.stream, 0, &mut faults))?;
        self.stream.synchronize().map_err(|it| self.refused("wait", it))?;
        self.check_faults(&faults)
    }

    /// Where a kind of mistake is noted.
    pub(crate) fn fault(&self, fault: Fault) -> Arg {
        Arg::Pointer(self.fault.pointer() + 8 * fault as u64)
    }

    fn check_faults(&self, faults: &[u32]) -> Result<()> {
        for ((op, buffer), it) in FAULTS.into_iter().zip(faults.chunks_exact(2)) {
            if it[0] != 0 {
                let (index, len) = (it[0] as usize - 1, it[1] as usize);
                self.fault.clear(&self.stream, 0..2 * FAULTS.len())?;
                return Err(Error::Index { op, buffer, index, len });
            }
        }
        Ok(())
    }
}
