//! Facts about the machine: instruction set, cores, CUDA devices.
//!
//! Asking never panics and never needs a device: a missing driver is a value with a sentence.

use std::fmt;

use cudarc::driver::{result, sys};

/// The instruction sets that the processor twins are written for, the plainest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// No special instructions.
    Portable,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 with bytes, words and vector lengths.
    Avx512,
}

impl Isa {
    /// The best one that this processor has.
    pub fn here() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx512f") && has!("avx512bw") && has!("avx512vl") {
                return Isa::Avx512;
            }
            if has!("avx2") && has!("fma") {
                return Isa::Avx2;
            }
        }
        Isa::Portable
    }

    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

/// The processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its best instruction set of those that are used here.
    pub isa: Isa,
    /// How many threads it runs at once, as far as this process may use them.
    pub cores: usize,
}

impl Cpu {
    /// The processor of this machine.
    pub fn here() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |it| it.get());
        Self { isa: Isa::here(), cores }
    }
}

/// The memory of this machine, in bytes; 0 where the system does not say.
pub fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|it| it.strip_prefix("MemTotal:"));
    let kib = total.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// What there is of CUDA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cuda {
    /// The devices, or why there are none.
    pub devices: Result<Vec<Device>, NoCuda>,
    /// The version that the driver speaks, such as 13.0.
    pub driver: Option<(u32, u32)>,
    /// Whether the run-time compiler can be loaded.
    pub nvrtc: bool,
}

/// A CUDA device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name, as the driver says it.
    pub name: String,
    /// Its memory.
    pub memory_bytes: u64,
    /// Its compute capability, such as 9.0.
    pub capability: (u32, u32),
}

/// Why no CUDA device can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCuda {
    /// The driver's library cannot be loaded.
    #[error("no CUDA driver: the library `libcuda` is not on this machine")]
    NoDriver,
    /// The run-time compiler cannot be loaded.
    #[error("no CUDA compiler: the library `libnvrtc` is not on this machine")]
    NoCompiler,
    /// There are no kernels for the device, or there is none.
    #[error("no CUDA device of compute capability 8 or 9")]
    NoKernels,
    /// The library is there, the driver does not work.
    #[error("the CUDA driver does not start: {code}")]
    Refused {
        /// The driver's own name for the reason.
        code: String,
    },
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.capability;
        let gib = self.memory_bytes as f64 / (1u64 << 30) as f64;
        write!(f, "{}, {gib:.1} GiB, sm_{major}{minor}", self.name)
    }
}

impl Cuda {
    /// What there is on this machine. Loads the driver; may take a second where there is one.
    pub fn here() -> Self {
        crate::cuda::from_environment();
        // SAFETY: loading libnvrtc runs its initialisers, which have no conditions; the handle is
        // dropped again and no symbol of it is kept.
        let nvrtc = unsafe { cudarc::nvrtc::sys::is_culib_present() };
        // SAFETY: as above, for libcuda.
        let present = unsafe { sys::is_culib_present() };
        // Without this question cudarc panics at the first call.
        if !present {
            return Self { devices: Err(NoCuda::NoDriver), driver: None, nvrtc };
        }
        let devices = devices().map_err(|it| NoCuda::Refused { code: format!("{:?}", it.0) });
        Self { devices, driver: driver_version(), nvrtc }
    }
}

impl Cuda {
    /// What kernels are compiled for on the first device, or why they cannot be.
    pub fn kernels(&self) -> Result<&'static str, NoCuda> {
        let devices = self.devices.as_ref().map_err(NoCuda::clone)?;
        let (major, minor) = devices.first().ok_or(NoCuda::NoKernels)?.capability;
        let arch = crate::cuda::Arch::of(major, minor).map_err(|_| NoCuda::NoKernels)?;
        if self.nvrtc { Ok(arch.name()) } else { Err(NoCuda::NoCompiler) }
    }
}

fn devices() -> Result<Vec<Device>, result::DriverError> {
    result::init()?;
    (0..result::device::get_count()?).map(device).collect()
}

fn device(ordinal: i32) -> Result<Device, result::DriverError> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    let handle = result::device::get(ordinal)?;
    // SAFETY: `handle` comes from `device::get` after `init`, both of which succeeded.
    let memory = unsafe { result::device::total_mem(handle) }?;
    // SAFETY: as above.
    let attribute = |it| unsafe { result::device::get_attribute(handle, it) };
    let capability = (attribute(MAJOR)? as u32, attribute(MINOR)? as u32);
    let name = result::device::get_name(handle)?;
    Ok(Device { name, memory_bytes: memory as u64, capability })
}

/// Needs the library to be present.
fn driver_version() -> Option<(u32, u32)> {
    let mut version = 0;
    // SAFETY: the pointer is to a live integer; the call may come before `init`.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().ok()?;
    Some((version as u32 / 1000, version as u32 % 1000 / 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_driver_gets_a_sentence_and_no_panic() {
        match Cuda::here().devices {
            Ok(devices) => assert!(devices.iter().all(|it| it.memory_bytes > 0)),
            Err(why) => assert!(why.to_string().contains("CUDA driver")),
        }
    }

    #[test]
    fn a_machine_that_must_have_a_gpu_has_one() {
        let devices = Cuda::here().devices;
        if std::env::var_os("KUN_REQUIRE_GPU").is_some() {
            assert!(devices.is_ok_and(|it| !it.is_empty()), "no CUDA device");
        }
    }

    #[test]
    fn kernels_need_a_device_that_they_are_for_and_a_compiler() {
        let device = |capability| Device { name: "it".into(), memory_bytes: 1, capability };
        let cuda = |all: &[(u32, u32)], nvrtc| Cuda {
            devices: Ok(all.iter().map(|it| device(*it)).collect()),
            driver: None,
            nvrtc,
        };
        assert_eq!(cuda(&[(9, 0), (8, 0)], true).kernels(), Ok("sm_90"));
        assert_eq!(cuda(&[(8, 9)], true).kernels(), Ok("sm_80"));
        assert_eq!(cuda(&[(8, 9)], false).kernels(), Err(NoCuda::NoCompiler));
        assert_eq!(cuda(&[(7, 5)], true).kernels(), Err(NoCuda::NoKernels));
        assert_eq!(cuda(&[], true).kernels(), Err(NoCuda::NoKernels));
        let none = Cuda { devices: Err(NoCuda::NoDriver), driver: None, nvrtc: true };
        assert_eq!(none.kernels(), Err(NoCuda::NoDriver));
    }

    #[test]
    fn a_device_is_shown_on_one_line() {
        let device = Device { name: "A100".into(), memory_bytes: 40 << 30, capability: (8, 0) };
        assert_eq!(device.to_string(), "A100, 40.0 GiB, sm_80");
    }

    #[test]
    fn there_is_at_least_one_core() {
        assert!(Cpu::here().cores >= 1);
    }
}
