//! Times by the device's clock: every launch of some work is in its profile, graphs included.

use std::sync::Arc;

use kernels::cuda::Numerics;
use kernels::{Device, Dtype, ViewMut};

use crate::cases::{download, upload};
use crate::emulator::device;
use crate::runs;

#[test]
fn a_profile_has_every_launch_and_changes_no_number() {
    let Some(it) = device() else { return };
    let cuda = it.open(Numerics::Bf16);
    let mut x = upload(&cuda, Dtype::F32, 1000, 1);
    let before = download(&cuda, &x);
    let work = |x: &mut kernels::CudaBuffer| {
        for _ in 0..3 {
            cuda.scale(2.0, ViewMut::all(x)).unwrap();
        }
        cuda.clear(ViewMut::all(x).part(0..1)).unwrap();
    };
    let ((), kernels) = cuda.profile(|| work(&mut x)).unwrap();
    assert_eq!(kernels.len(), 1, "{kernels:?}");
    assert_eq!(kernels[0].kernel, "scale of elementwise A=float B=float");
    assert_eq!(kernels[0].launches, 3);
    assert!(kernels[0].seconds > 0.0);
    assert_eq!(download(&cuda, &x)[1..], before[1..].iter().map(|it| it * 8.0).collect::<Vec<_>>());
    // Afterwards nothing is noted any more.
    work(&mut x);
    let ((), kernels) = cuda.profile(|| ()).unwrap();
    assert_eq!(kernels, []);
}

#[test]
fn a_profile_looks_into_graphs() {
    let Some(it) = device() else { return };
    let cuda = Arc::new(it.open(Numerics::Bf16));
    let model = runs::tiny(Arc::clone(&cuda));
    let want = runs::generate(&model).unwrap();
    let (got, kernels) = cuda.profile(|| runs::generate(&model).unwrap()).unwrap();
    assert_eq!(got, want);
    assert!(kernels.iter().any(|it| it.kernel.contains("of decode")), "{kernels:?}");
    assert!(kernels.is_sorted_by(|a, b| a.seconds >= b.seconds));
}

#[test]
fn events_are_in_the_order_of_launches() {
    let Some(it) = device() else { return };
    let cuda = it.open(Numerics::Exact);
    let mut x = upload(&cuda, Dtype::F32, 100_000, 1);
    let start = cuda.event().unwrap();
    cuda.scale(2.0, ViewMut::all(&mut x)).unwrap();
    let end = cuda.event().unwrap();
    assert!(cuda.seconds_between(&start, &end).unwrap() > 0.0);
    assert!(cuda.seconds_between(&end, &start).unwrap() < 0.0);
}
