//! The loss against its definition in f64, its gradients against differences, its bits against
//! other cuts.

use super::{Gradients, IGNORE, LinearCrossEntropy};
use crate::cpu::Cpu;
use crate::device::{Device, View, ViewMut};
use crate::testing::{assert_near, assert_same, devices, numbers, slopes, wide};
use crate::{Dtype, Error};

const SCALE: f32 = 0.25;

struct Case {
    width: usize,
    hidden: Vec<f32>,
    head: Vec<f32>,
    targets: Vec<u32>,
}

impl Case {
    fn new(rows: usize, width: usize, vocabulary: usize) -> Self {
        let target = |row: usize| match row % 3 {
            1 => IGNORE,
            _ => (row * 7 % vocabulary) as u32,
        };
        let head = numbers(vocabulary * width, 2).iter().map(|it| it * 3.0).collect();
        let (hidden, targets) = (numbers(rows * width, 1), (0..rows).map(target).collect());
        Self { width, hidden, head, targets }
    }

    /// Losses, the gradient of the hidden states, and one more than that of the head.
    fn all(&self, cpu: &Cpu) -> [Vec<f32>; 3] {
        let [hidden, head] = [&self.hidden, &self.head].map(|it| cpu.upload(it).unwrap());
        let targets = cpu.upload(&self.targets).unwrap();
        let mut nll = cpu.upload(&vec![9.0f32; self.targets.len()]).unwrap();
        let mut d_hidden = cpu.upload(&vec![9.0f32; self.hidden.len()]).unwrap();
        let mut d_head = cpu.upload(&vec![1.0f32; self.head.len()]).unwrap();
        let given = LinearCrossEntropy {
            hidden: View::all(&hidden),
            head: View::all(&head).rows(self.width),
            targets: View::all(&targets),
            scale: SCALE,
        };
        let d_head_rows = Some(ViewMut::all(&mut d_head).rows(self.width));
        let gradients = Gradients { d_hidden: ViewMut::all(&mut d_hidden), d_head: d_head_rows };
        cpu.cross_entropy(given, ViewMut::all(&mut nll), Some(gradients)).unwrap();
        [&nll, &d_hidden, &d_head].map(|it| cpu.read(View::all(it)).unwrap())
    }

    /// The losses by the definition.
    fn plain(&self, hidden: &[f64], head: &[f64]) -> Vec<f64> {
        let rows = hidden.chunks(self.width).zip(&self.targets);
        let loss = |(hidden, target): (&[f64], &u32)| {
            let logit = |row: &[f64]| crate::testing::dot(hidden, row);
            let total: f64 = head.chunks(self.width).map(|it| logit(it).exp()).sum();
            let target = head.chunks(self.width).nth(*target as usize);
            target.map_or(0.0, |it| total.ln() - logit(it))
        };
        rows.map(loss).collect()
    }
}

#[test]
fn it_is_its_definition_and_its_gradient_its_slope() {
    let cpu = Cpu::new(2).unwrap();
    for case in [Case::new(1, 1, 2), Case::new(7, 5, 23), Case::new(4, 20, 70)] {
        let [nll, d_hidden, d_head] = case.all(&cpu);
        let (hidden, head) = (wide(&case.hidden), wide(&case.head));
        assert_near(&nll, &case.plain(&hidden, &head), 1e-6);
        let total = |hidden: &[f64], head: &[f64]| {
            f64::from(SCALE) * case.plain(hidden, head).iter().sum::<f64>()
        };
        assert_near(&d_hidden, &slopes(&hidden, |it| total(it, &head)), 2e-6);
        let slope = slopes(&head, |it| total(&hidden, it));
        let one_more: Vec<f64> = slope.iter().map(|it| it + 1.0).collect();
        assert_near(&d_head, &one_more, 1e-6);
    }
}

#[test]
fn all_sets_threads_and_cuts_give_the_same_bits() {
    // More logits than a chunk holds.
    let case = Case::new(2200, 6, 3001);
    let all: Vec<_> = devices().iter().map(|cpu| case.all(cpu)).collect();
    for it in &all[1..] {
        it.iter().zip(&all[0]).for_each(|(got, want)| assert_same(got, want));
    }
    let row = 891;
    let alone = Case {
        hidden: case.hidden[row * 6..(row + 1) * 6].to_vec(),
        targets: vec![case.targets[row]],
        ..case
    };
    let [nll, d_hidden, _] = alone.all(&Cpu::new(1).unwrap());
    assert_same(&nll, &all[0][0][row..=row]);
    assert_same(&d_hidden, &all[0][1][row * 6..(row + 1) * 6]);
}

#[test]
fn a_target_outside_the_vocabulary_is_named() {
    let cpu = Cpu::new(1).unwrap();
    let (hidden, targets) = (cpu.zeros(Dtype::F32, 4).unwrap(), cpu.upload(&[IGNORE, 3]).unwrap());
    let mut nll = cpu.zeros(Dtype::F32, 2).unwrap();
    let head = cpu.zeros(Dtype::F32, 6).unwrap();
    let given = LinearCrossEntropy {
        hidden: View::all(&hidden),
        head: View::all(&head).rows(2),
        targets: View::all(&targets),
        scale: 1.0,
    };
    let result = cpu.cross_entropy(given, ViewMut::all(&mut nll), None);
    let (op, buffer) = ("cross_entropy", "targets");
    assert_eq!(result, Err(Error::Index { op, buffer, index: 3, len: 3 }));
}
