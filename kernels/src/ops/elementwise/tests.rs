//! Each number is rounded once, ties to even.

use half::bf16;

use crate::cpu::Cpu;
use crate::device::{Device, View, ViewMut};
use crate::testing::devices;
use crate::{CpuBuffer, Error};

fn read(cpu: &Cpu, buffer: &CpuBuffer) -> Vec<f32> {
    cpu.read::<bf16>(View::all(buffer)).unwrap().iter().map(|it| it.to_f32()).collect()
}

#[test]
fn sums_and_multiples_are_rounded_once() {
    for cpu in devices() {
        // 256 and 1 are 257, which bf16 has not: the even neighbour is 256; 259 is nearest to 260.
        let mut to = cpu.upload(&[256.0, 256.0].map(bf16::from_f32)).unwrap();
        let x = cpu.upload(&[1.0f32, 3.0]).unwrap();
        cpu.add(View::all(&x), ViewMut::all(&mut to)).unwrap();
        assert_eq!(read(&cpu, &to), [256.0, 260.0]);
        cpu.scale(0.5, ViewMut::all(&mut to)).unwrap();
        assert_eq!(read(&cpu, &to), [128.0, 130.0]);
    }
}

#[test]
fn lengths_have_to_agree() {
    let cpu = Cpu::new(1).unwrap();
    let x = cpu.upload(&[1.0f32, 3.0]).unwrap();
    let mut to = cpu.upload(&[1.0f32]).unwrap();
    let wrong = cpu.add(View::all(&x), ViewMut::all(&mut to));
    assert!(matches!(wrong, Err(Error::Length { op: "add", .. })));
}
