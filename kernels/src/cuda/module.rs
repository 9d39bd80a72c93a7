//! Kernels in a device's memory, and launches.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::{Arc, PoisonError};

use cudarc::driver::sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as SHARED;
use cudarc::driver::{CudaFunction, CudaModule, result};
use cudarc::nvrtc::Ptx;

use super::buffer::bind;
use super::source::{Source, Variant};
use super::{Cuda, Pointer, Waits, cache, refused};
use crate::{Error, Result};

/// What is loaded.
#[derive(Default)]
pub(super) struct Modules {
    /// By file and what is defined.
    loaded: BTreeMap<String, Arc<CudaModule>>,
    /// By function, file and what is defined.
    functions: BTreeMap<String, Function>,
}

/// A function that is ready, and the most dynamic shared memory that it may have.
struct Function {
    function: CudaFunction,
    shared: u32,
}

/// A function of a file, compiled in some way.
#[derive(Clone, Copy)]
pub(crate) struct Kernel<'a> {
    pub(crate) source: &'a Source,
    pub(crate) function: &'static str,
    pub(crate) defines: &'a [(&'static str, &'a str)],
}

impl Kernel<'_> {
    /// Its function, with the file and what is defined.
    pub(super) fn title(&self) -> String {
        format!("{} of {}", self.function, Variant::new(self.source, self.defines).title())
    }
}

/// How many threads: blocks, and threads of each, with so much shared memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) blocks: (usize, usize),
    pub(crate) threads: u32,
    pub(crate) shared_bytes: usize,
}

impl Grid {
    /// A thread for each of `n` numbers, in blocks of 256; kernels go on where there are more.
    pub(crate) fn each(n: usize) -> Self {
        const THREADS: u32 = 256; // elementwise/kernel.cu and others: __launch_bounds__
        const MOST: usize = 1 << 16;
        let blocks = n.div_ceil(THREADS as usize).clamp(1, MOST);
        Self { blocks: (blocks, 1), threads: THREADS, shared_bytes: 0 }
    }

    pub(crate) fn blocks(blocks: usize, threads: u32) -> Self {
        Self { blocks: (blocks, 1), threads, shared_bytes: 0 }
    }
}

/// An argument of a kernel, of the type that its parameter has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg {
    Pointer(Pointer),
    Size(usize),
    U32(u32),
    U64(u64),
    F32(f32),
    /// Where a matrix lies, for Hopper's copies.
    Map(TensorMap),
}

/// A matrix as the driver describes it to the device; kernels take it by value.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct TensorMap(pub(super) [u64; 16]);

impl Arg {
    /// Its bytes, the lowest first; what is shorter is read from the front.
    fn word(self) -> u64 {
        match self {
            Arg::Pointer(it) | Arg::U64(it) => it,
            Arg::Size(it) => it as u64,
            Arg::U32(it) => u64::from(it),
            Arg::F32(it) => u64::from(it.to_bits()),
            Arg::Map(_) => 0,
        }
    }
}

/// Without asking, a block has no more.
const SHARED_WITHOUT_ASKING: u32 = 48 << 10;
/// The most blocks in the second direction.
const MOST_BLOCKS_Y: u32 = 65_535;

impl Cuda {
    /// Launches a kernel; nothing is done where there are no blocks.
    ///
    /// # Safety
    ///
    /// The arguments have the types of the kernel's parameters, in order, and pointers are to as many
    /// numbers as the kernel reads or writes with these sizes, in buffers that the caller borrows. What
    /// is written is written by this call alone.
    pub(crate) unsafe fn launch(&self, kernel: Kernel<'_>, grid: Grid, args: &[Arg]) -> Result<()> {
        if grid.blocks.0 == 0 || grid.blocks.1 == 0 {
            return Ok(());
        }
        let shared = u32::try_from(grid.shared_bytes).unwrap_or(u32::MAX);
        let function = self.function(kernel, shared)?;
        let mut words: Vec<u64> = args.iter().map(|it| it.word()).collect();
        let place = |(word, arg): (&mut u64, &Arg)| match arg {
            Arg::Map(it) => ptr::from_ref(it).cast_mut().cast(),
            _ => ptr::from_mut(word).cast(),
        };
        let mut at: Vec<*mut c_void> = words.iter_mut().zip(args).map(place).collect();
        let (x, y) = (u32::try_from(grid.blocks.0), u32::try_from(grid.blocks.1));
        let (Ok(x), Ok(y @ ..=MOST_BLOCKS_Y)) = (x, y) else {
            let code = format!("{:?} blocks are too many", grid.blocks);
            return Err(Error::Driver { call: kernel.function, code });
        };
        bind(&self.stream)?;
        // SAFETY: the function belongs to a module that is loaded as long as `function` is there; `at`
        // has a pointer to a word, or to a map, for each argument, which the driver copies and does not change. The rest is the caller's
        // promise.
        let mut launch = || unsafe {
            let (function, stream) = (function.cu_function(), self.stream.cu_stream());
            let threads = (grid.threads, 1, 1);
            result::launch_kernel(function, (x, y, 1), threads, shared, stream, &mut at)
        };
        self.timed(kernel, || launch().map_err(|it| self.refused(kernel.function, it)))
    }

    /// The function, compiled and loaded if it is not yet.
    fn function(&self, kernel: Kernel<'_>, shared: u32) -> Result<CudaFunction> {
        let variant = match self.settings.waits {
            Waits::Bounded => Variant::new(kernel.source, kernel.defines).bounded(),
            Waits::Unbounded => Variant::new(kernel.source, kernel.defines),
        };
        let title = variant.title();
        let key = format!("{} of {title}", kernel.function);
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(it) = modules.functions.get(&key).filter(|it| shared <= it.shared) {
            return Ok(it.function.clone());
        }
        let module = match modules.loaded.get(&title) {
            Some(it) => Arc::clone(it),
            None => self.load(variant)?,
        };
        modules.loaded.insert(title, Arc::clone(&module));
        let function = module.load_function(kernel.function).map_err(refused("find a kernel"))?;
        if shared > SHARED_WITHOUT_ASKING {
            let bytes = i32::try_from(shared).unwrap_or(i32::MAX);
            function.set_attribute(SHARED, bytes).map_err(refused("ask for shared memory"))?;
        }
        let shared = shared.max(SHARED_WITHOUT_ASKING);
        modules.functions.insert(key, Function { function: function.clone(), shared });
        Ok(function)
    }

    fn load(&self, mut variant: Variant) -> Result<Arc<CudaModule>> {
        if let Some(edit) = &self.settings.edit {
            variant.text = edit(variant.name, &variant.text);
        }
        let image = cache::image(self.settings.cache.as_deref(), &variant, self.arch)?;
        let module = self.context.load_module(Ptx::from_binary(image));
        let module = module.map_err(refused("load a module"))?;
        if let Some(notes) = self.notes.as_ref().filter(|_| variant.hopper) {
            notes.attach(&module, &self.stream, &variant.title())?;
        }
        Ok(module)
    }
}
