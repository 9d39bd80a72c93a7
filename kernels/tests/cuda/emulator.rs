//! The emulated CUDA: `kernels/emulator` compiled into `target/emulator`, and loaded before anything
//! else asks for CUDA. Devices opened here are the unmodified host code on it.
//!
//! With `KUN_REQUIRE_GPU` the same tests run on a real device, but for those that plant mistakes or make
//! calls fail: see `kernels/bench/gpu.sh`.

use std::collections::hash_map::DefaultHasher;
use std::ffi::CStr;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kernels::Cuda;
use kernels::cuda::{Edit, Numerics, Settings, load_libraries};
use libloading::Library;

/// The emulator, loaded.
pub(crate) struct Emulator {
    /// None where the device is a real one.
    driver: Option<Library>,
    kernels: PathBuf,
}

/// The libraries, the files they are made of, and whether kernels are compiled by it.
const LIBRARIES: [(&str, &[&str]); 2] =
    [("libcuda.so", &["driver.cpp", "fibers.cpp"]), ("libnvrtc.so", &["compiler.cpp"])];

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

/// What all C++ is compiled with. `KUN_EMULATOR_FLAGS` adds to it: a sanitizer.
fn compiler() -> String {
    let name = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let more = std::env::var("KUN_EMULATOR_FLAGS").unwrap_or_default();
    #[cfg(target_arch = "x86_64")]
    let machine = {
        let fused = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if fused { "-march=x86-64-v3" } else { "" }
    };
    #[cfg(not(target_arch = "x86_64"))]
    let machine = "";
    format!("{name} -std=c++17 -O2 -g1 -fPIC -ffp-contract=off {machine} {more}")
}

impl Emulator {
    fn load() -> Result<Self, String> {
        if std::env::var_os("KUN_REQUIRE_GPU").is_some() {
            let kernels = std::env::temp_dir().join("kun-cuda-kernels");
            return Ok(Self { driver: None, kernels });
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("emulator");
        let compiler = compiler();
        let mut hasher = DefaultHasher::new();
        compiler.hash(&mut hasher);
        let mut names: Vec<_> =
            fs::read_dir(&source).unwrap().flatten().map(|it| it.file_name()).collect();
        names.sort();
        for name in names {
            fs::read(source.join(&name)).unwrap().hash(&mut hasher);
        }
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulator");
        let folder = target.join(format!("{:016x}", hasher.finish()));
        if !folder.exists() {
            build(&source, &compiler, &target, &folder)?;
        }
        // SAFETY: the folder holds the two libraries that were just made from our own sources.
        let n = unsafe { load_libraries(&folder) }.map_err(|it| it.to_string())?;
        assert_eq!(n, LIBRARIES.len());
        // SAFETY: it is loaded already; this is another handle to it.
        let driver = unsafe { Library::new(folder.join(LIBRARIES[0].0)) }.unwrap();
        Ok(Self { driver: Some(driver), kernels: folder.join("kernels") })
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
            portable: false,
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
        // SAFETY: the function has this type in driver.cpp.
        unsafe { self.driver().get::<extern "C" fn() -> usize>(b"kun_emulator_used").unwrap()() }
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

/// Builds under another name and renames: of several processes one is first.
fn build(source: &Path, compiler: &str, target: &Path, folder: &Path) -> Result<(), String> {
    fs::create_dir_all(target).unwrap();
    let own = tempfile::tempdir_in(target).unwrap();
    for (library, files) in LIBRARIES {
        let mut words = compiler.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["-Wall", "-Wextra", "-Werror", "-shared"]);
        command.arg(format!("-Wl,-soname,{library}")).arg("-o").arg(own.path().join(library));
        command.arg(format!("-DEMULATOR_FOLDER=\"{}\"", source.display()));
        command.arg(format!("-DEMULATOR_COMPILER=\"{compiler}\""));
        command.args(files.iter().map(|it| source.join(it)));
        let output =
            command.output().map_err(|it| format!("no C++ compiler: `{compiler}`: {it}"))?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let made = own.keep();
    match fs::rename(&made, folder) {
        Ok(()) => Ok(()),
        Err(_) if folder.exists() => fs::remove_dir_all(made).map_err(|it| it.to_string()),
        Err(it) => Err(it.to_string()),
    }
}
