//! Rows, repeated ids, and the refusal of ids that do not exist.

use crate::cpu::Cpu;
use crate::device::{Device, View, ViewMut};
use crate::{Dtype, Error};

#[test]
fn rows_are_looked_up_and_their_gradients_added_in_order() {
    let cpu = Cpu::new(1).unwrap();
    let table = cpu.upload(&[0.0f32, 1.0, 10.0, 11.0, 20.0, 21.0]).unwrap();
    let ids = cpu.upload(&[2u32, 0, 2]).unwrap();
    let mut out = cpu.zeros(Dtype::F32, 6).unwrap();
    cpu.embed(View::all(&table).rows(2), View::all(&ids), ViewMut::all(&mut out)).unwrap();
    assert_eq!(out.as_slice::<f32>().unwrap(), [20.0, 21.0, 0.0, 1.0, 20.0, 21.0]);

    let mut d_table = cpu.upload(&[1.0f32; 6]).unwrap();
    let d_out = cpu.upload(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let to = ViewMut::all(&mut d_table).rows(2);
    cpu.embed_backward(View::all(&d_out), View::all(&ids), to).unwrap();
    assert_eq!(d_table.as_slice::<f32>().unwrap(), [4.0, 5.0, 1.0, 1.0, 7.0, 9.0]);
}

#[test]
fn an_id_that_is_not_in_the_table_is_named() {
    let cpu = Cpu::new(1).unwrap();
    let table = cpu.zeros(Dtype::F32, 6).unwrap();
    let ids = cpu.upload(&[2u32, 3]).unwrap();
    let mut out = cpu.zeros(Dtype::F32, 4).unwrap();
    let result = cpu.embed(View::all(&table).rows(2), View::all(&ids), ViewMut::all(&mut out));
    assert_eq!(result, Err(Error::Index { op: "embed", buffer: "ids", index: 3, len: 3 }));
}
