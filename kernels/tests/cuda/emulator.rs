//! The emulated CUDA: `kernels/emulator` compiled into `target/emulator`, and loaded before anything
//! else asks for CUDA. Devices opened here are the unmodified host code on it.
//!
//! With `KUN_REQUIRE_GPU` the same tests run on a real device, but for those that plant mistakes or make
//! calls fail: see `kernels/bench/gpu.sh`. `KUN_PORTABLE` keeps to the kernels that all devices have, and with
//! `KUN_BOUNDED_WAITS` a kernel that waits in vain says where.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kernels::Cuda;
use kernels::cuda::{Edit, Numerics, Settings, Waits, load_libraries};
use libloading::Library;

use crate::build;

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

/// The emulator, loaded.
pub(crate) struct Emulator {
    /// None where the device is a real one.
    driver: Option<Library>,
    kernels: PathBuf,
}

/// The emulator; none where this machine has no C++ compiler, which is said aloud, and is a mistake
/// where `KUN_REQUIRE_EMULATOR` is set.
pub(crate) fn emulator() -> Option<&'static Emulator> {
    device().filter(|it| it.driver.is_some())
}

/// The emulator, or the real device where there has to be one.
pub(crate) fn device() -> Option<&'static Emulator> {
    static IT: OnceLock<Option<Emulator>> = OnceLock::new();
    IT.get_or_init(|| match Emulator::load() {
        Ok(it) => Some(it),
        Err(why) => {
            assert!(std::env::var_os("KUN_REQUIRE_EMULATOR").is_none(), "{why}");
            #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
            {
                eprintln!("skipped: {why}");
            }
            None
        }
    })
    .as_ref()
}

impl Emulator {
    fn load() -> Result<Self, String> {
        if std::env::var_os("KUN_REQUIRE_GPU").is_some() {
            let kernels = std::env::var_os("KUN_CUDA_CACHE")
                .map_or_else(|| std::env::temp_dir().join("kun-cuda-kernels"), PathBuf::from);
            return Ok(Self { driver: None, kernels });
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("emulator");
        let folder = build::built(&source, Path::new(env!("CARGO_TARGET_TMPDIR")))?;
        // SAFETY: the folder holds the two libraries that were just made from our own sources.
        let n = unsafe { load_libraries(&folder) }.map_err(|it| it.to_string())?;
        assert_eq!(n, build::LIBRARIES.len());
        // SAFETY: it is loaded already; this is another handle to it.
        let driver = unsafe { Library::new(folder.join(build::LIBRARIES[0].0)) }.unwrap();
        Ok(Self { driver: Some(driver), kernels: folder.join("kernels") })
    }

    /// Where its libraries are.
    pub(crate) fn folder(&self) -> &Path {
        self.kernels.parent().unwrap_or(&self.kernels)
    }

    /// Where kernels are kept that were compiled.
    pub(crate) fn kernels(&self) -> &Path {
        &self.kernels
    }

    /// A device.
    pub(crate) fn open(&self, numerics: Numerics) -> Cuda {
        Cuda::open(self.settings(numerics)).unwrap()
    }

    /// A device whose kernels are changed before they are compiled.
    pub(crate) fn edited(&self, numerics: Numerics, edit: Edit) -> Cuda {
        Cuda::open(Settings { edit: Some(edit), ..self.settings(numerics) }).unwrap()
    }

    pub(crate) fn settings(&self, numerics: Numerics) -> Settings {
        Settings {
            ordinal: 0,
            numerics,
            cache: Some(self.kernels.clone()),
            portable: is_set("KUN_PORTABLE"),
            graphs: true,
            waits: if is_set("KUN_BOUNDED_WAITS") { Waits::Bounded } else { Waits::Unbounded },
            edit: None,
        }
    }

    /// The capability of devices that are opened by this thread from now on, such as 90.
    pub(crate) fn set_capability(&self, capability: i32) {
        if self.driver.is_some() {
            self.call("kun_emulator_set_capability", capability);
        }
    }

    /// The order of blocks and warps of this thread's launches.
    pub(crate) fn set_seed(&self, seed: u64) {
        if self.driver.is_some() {
            self.call("kun_emulator_set_seed", seed);
        }
    }

    /// Makes an allocation of this thread fail: the next one is 0; -1 is none.
    pub(crate) fn fail_allocation(&self, n: i32) {
        self.call("kun_emulator_fail_allocation", n);
    }

    /// The same for launches. The device is broken afterwards.
    pub(crate) fn fail_launch(&self, n: i32) {
        self.call("kun_emulator_fail_launch", n);
    }

    /// Lets this thread use the device again after an error of a launch.
    pub(crate) fn repair(&self) {
        self.call("kun_emulator_repair", ());
    }

    /// How many bytes this thread has allocated.
    pub(crate) fn used(&self) -> usize {
        self.count("kun_emulator_used")
    }

    /// How often it has allocated.
    pub(crate) fn allocations(&self) -> usize {
        self.count("kun_emulator_allocations")
    }

    fn count(&self, name: &str) -> usize {
        // SAFETY: the functions have this type in driver.cpp.
        unsafe { self.driver().get::<extern "C" fn() -> usize>(name.as_bytes()).unwrap()() }
    }

    /// How many graphs this thread has launched.
    pub(crate) fn graphs(&self) -> usize {
        self.count("kun_emulator_graphs")
    }

    /// Why this thread's last launch failed.
    pub(crate) fn failure(&self) -> String {
        // SAFETY: the function has this type in driver.cpp, and its text is valid until the next launch
        // of this thread.
        unsafe {
            let get =
                self.driver().get::<extern "C" fn() -> *const i8>(b"kun_emulator_failure").unwrap();
            CStr::from_ptr(get()).to_string_lossy().into_owned()
        }
    }

    fn driver(&self) -> &Library {
        self.driver.as_ref().expect("only the emulator is asked for this")
    }

    fn call<T>(&self, name: &str, argument: T) {
        // SAFETY: the functions take one number of these types, or nothing, in driver.cpp.
        unsafe {
            let function = self.driver().get::<extern "C" fn(T)>(name.as_bytes()).unwrap();
            function(argument);
        }
    }
}
