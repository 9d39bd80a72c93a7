//! Kernels to machine code, by NVRTC.

use std::ffi::{CString, c_char};
use std::ptr;

use cudarc::nvrtc::{result, sys};

use super::source::{HEADERS, Variant};
use crate::{Error, Result};

/// What machine code is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// Ampere and Ada: A100, A800, RTX 4090.
    Sm80,
    /// Hopper: H100, H200.
    Sm90,
}

impl Arch {
    /// All of them that a variant is for.
    pub fn all(variant: &Variant) -> &'static [Self] {
        if variant.hopper { &[Arch::Sm90] } else { &[Arch::Sm80, Arch::Sm90] }
    }

    /// The one for a compute capability.
    pub(crate) fn of(major: u32, minor: u32) -> Result<Self> {
        match major {
            8 => Ok(Arch::Sm80),
            9 => Ok(Arch::Sm90),
            _ => {
                let reason = format!("there are no kernels for compute capability {major}.{minor}");
                Err(Error::NoDevice { reason })
            }
        }
    }

    /// Its name, such as `sm_80`.
    pub fn name(self) -> &'static str {
        match self {
            Arch::Sm80 => "sm_80",
            Arch::Sm90 => "sm_90",
        }
    }
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Machine code.
    pub image: Vec<u8>,
    /// What the compiler said: registers, shared memory, warnings.
    pub log: String,
}

/// The options that all kernels are compiled with, besides what is defined. A product and a sum stay
/// two operations unless a kernel says otherwise, as in the processor's twins.
pub(super) fn options(variant: &Variant, arch: Arch) -> Vec<String> {
    let fixed = ["--std=c++17", "--fmad=false", "--ptxas-options=-v"].map(str::to_owned);
    let defines = variant.defines.iter().map(|(name, value)| format!("-D{name}={value}"));
    let own = if variant.hopper { "a" } else { "" };
    let arch = format!("--gpu-architecture={}{own}", arch.name());
    fixed.into_iter().chain([arch]).chain(defines).collect()
}

/// The version of NVRTC, such as (13, 0); none where it cannot be loaded.
pub fn nvrtc_version() -> Option<(u32, u32)> {
    super::from_environment();
    // SAFETY: loading libnvrtc runs its initialisers, which have no conditions.
    if !unsafe { sys::is_culib_present() } {
        return None;
    }
    let (mut major, mut minor) = (0, 0);
    // SAFETY: both pointers are to live integers.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) }.result().ok()?;
    Some((major as u32, minor as u32))
}

/// Compiles a variant. The log of a success is kept as well: it has the use of registers.
pub fn compile(variant: &Variant, arch: Arch) -> Result<Compiled> {
    if nvrtc_version().is_none() {
        let reason = "the library `libnvrtc` is not on this machine".into();
        return Err(Error::NoDevice { reason });
    }
    let program = Program::new(variant)?;
    let options = options(variant, arch);
    // SAFETY: `program` was created and lives until the end of this function.
    let made = unsafe { result::compile_program(program.0, &options) };
    // SAFETY: as above.
    let log = unsafe { result::get_program_log(program.0) }.map_err(nvrtc_error(variant))?;
    let log: Vec<u8> = log.iter().map(|it| *it as u8).take_while(|it| *it != 0).collect();
    let log = String::from_utf8_lossy(&log).into_owned();
    match made {
        Ok(()) => Ok(Compiled { image: program.image(variant)?, log }),
        Err(_) => Err(Error::Compile { kernel: variant.title(), log }),
    }
}

fn nvrtc_error(variant: &Variant) -> impl Fn(result::NvrtcError) -> Error {
    let kernel = variant.title();
    move |it| Error::Compile { kernel: kernel.clone(), log: format!("{:?}", it.0) }
}

struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: it was created by `Program::new` and is destroyed once. An error leaves nothing to do.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

impl Program {
    fn new(variant: &Variant) -> Result<Self> {
        let owned = |it: &str| {
            let log = "its text has a zero byte".to_owned();
            CString::new(it).map_err(|_| Error::Compile { kernel: variant.title(), log })
        };
        let (text, name) = (owned(&variant.text)?, owned(&format!("{}.cu", variant.name))?);
        let names = HEADERS.iter().map(|it| owned(it.0)).collect::<Result<Vec<_>>>()?;
        let texts = HEADERS.iter().map(|it| owned(it.1)).collect::<Result<Vec<_>>>()?;
        let pointers =
            |it: &[CString]| it.iter().map(|it| it.as_ptr()).collect::<Vec<*const c_char>>();
        let (names_at, texts_at) = (pointers(&names), pointers(&texts));
        let mut program = ptr::null_mut();
        // SAFETY: all pointers are to strings that end with zero and live to the end of this function;
        // NVRTC copies them. The two lists are as long as is said.
        let made = unsafe {
            sys::nvrtcCreateProgram(
                &mut program,
                text.as_ptr(),
                name.as_ptr(),
                HEADERS.len() as i32,
                texts_at.as_ptr(),
                names_at.as_ptr(),
            )
        };
        made.result().map_err(nvrtc_error(variant))?;
        Ok(Self(program))
    }

    fn image(&self, variant: &Variant) -> Result<Vec<u8>> {
        let mut size = 0;
        // SAFETY: the program was compiled, and the pointer is to a live integer.
        unsafe { sys::nvrtcGetCUBINSize(self.0, &mut size) }
            .result()
            .map_err(nvrtc_error(variant))?;
        let mut image = vec![0u8; size];
        // SAFETY: `image` has the size that NVRTC asked for.
        unsafe { sys::nvrtcGetCUBIN(self.0, image.as_mut_ptr().cast()) }
            .result()
            .map_err(nvrtc_error(variant))?;
        Ok(image)
    }
}
