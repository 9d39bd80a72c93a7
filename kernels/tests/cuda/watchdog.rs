//! Waits that end: a kernel that waits in vain says where, instead of running for ever; one that does not is
//! the same kernel.

use std::sync::Arc;

use kernels::cuda::{Numerics, Settings, Waits};
use kernels::ops::matmul::{Form, Start};
use kernels::{Cuda, Device, Dtype, Error, View, ViewMut};

use crate::cases;
use crate::emulator::emulator;

#[test]
fn a_kernel_that_waits_in_vain_says_where() {
    let Some(it) = emulator() else { return };
    it.set_capability(90);
    let edit = |name: &str, kernel: &str| {
        if name != "matmul.hopper" {
            return kernel.to_owned();
        }
        // Bytes that no copy brings: the phase never ends.
        let edited = kernel.replace(
            "mbarrier_expect_tx(full, STAGE_BYTES);",
            "mbarrier_expect_tx(full, STAGE_BYTES + 16);",
        );
        assert_ne!(edited, kernel);
        edited
    };
    let settings = it.settings(Numerics::Bf16);
    let bounded = Settings { waits: Waits::Bounded, portable: false, ..settings };
    let cuda = Cuda::open(Settings { edit: Some(Arc::new(edit)), ..bounded.clone() }).unwrap();
    let (a, b) = (
        cases::upload(&cuda, Dtype::Bf16, 64 * 64, 1),
        cases::upload(&cuda, Dtype::Bf16, 64 * 64, 2),
    );
    let mut c = cases::upload(&cuda, Dtype::F32, 64 * 64, 3);
    let product = kernels::ops::matmul::Product {
        form: Form::Xwt,
        a: View::all(&a).rows(64),
        b: View::all(&b).rows(64),
        start: Start::Zero,
    };
    let failed = cuda.matmul(product, ViewMut::all(&mut c).rows(64)).unwrap_err();
    it.repair();
    it.set_capability(80);
    let Error::Stuck { kernel, line, block, parity, .. } = &failed else { panic!("{failed}") };
    assert!(kernel.starts_with("matmul.hopper "), "{kernel}");
    assert!(*line > 0 && *block == (0, 0) && *parity == 0, "{failed}");
    assert!(failed.to_string().contains("waits in vain, in block (0, 0)"), "{failed}");
}

#[test]
fn bounded_waits_change_no_bit() {
    let Some(it) = emulator() else { return };
    it.set_capability(90);
    let open = |waits| {
        Cuda::open(Settings { waits, portable: false, ..it.settings(Numerics::Bf16) }).unwrap()
    };
    let of = |cuda: &Cuda| {
        let (heads, spans) = &cases::hopper_attentions()[0];
        [cases::tensor_products(cuda), cases::attention(cuda, Dtype::Bf16, *heads, spans)].concat()
    };
    let (bounded, unbounded) = (open(Waits::Bounded), open(Waits::Unbounded));
    it.set_capability(80);
    assert!(of(&bounded) == of(&unbounded));
}
