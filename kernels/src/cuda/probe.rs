//! Whether a device lays out matrices as the kernels believe: `probe.cu` against the definition.

use half::bf16;

use super::{Arg, Boxed, Cuda, Grid, Kernel, Source, Variant, pointer};
use crate::device::{Buffer, Device, View, ViewMut};
use crate::dtype::Real;
use crate::ops::matmul::{Form, Product, Start};
use crate::{CudaBuffer, Dtype, Error, Result};

const SOURCE: Source = Source::new("probe", include_str!("probe.cu"));
const GROUPS: Source = Source::hopper("probe.hopper", include_str!("probe_hopper.cu"));
const FORMS: [Form; 3] = [Form::Xwt, Form::Dyw, Form::Dytx];
const SHARED: usize = 2 * 256 * size_of::<u16>();

/// Holds one of the device's primitives against its definition.
pub type Probe = fn(&Cuda) -> Result<()>;

pub(super) fn variants() -> Vec<Variant> {
    vec![Variant::new(&SOURCE, &[]), Variant::new(&GROUPS, &[])]
}

impl Cuda {
    /// Runs each function of `ptx.cuh` that depends on the hardware's layouts; the first that does not
    /// do what is believed is the error.
    pub fn probe(&self) -> Result<()> {
        self.probes().into_iter().try_for_each(|(_, probe)| probe(self))
    }

    /// The functions that are probed on this device, by name.
    pub fn probes(&self) -> Vec<(&'static str, Probe)> {
        let all: &[(&str, Probe)] = &[
            ("ldmatrix", Self::probe_loads),
            ("mma.m16n8k16", Self::probe_product),
            ("cp.async", Self::probe_pairs),
            ("movmatrix", Self::probe_transposes),
            ("wgmma of shared memory", Self::probe_hopper),
            ("wgmma of registers", Self::probe_groups),
            ("pages by TMA", Self::probe_pages),
            ("ex2.approx", Self::probe_powers),
        ];
        let hopper = self.is_hopper() && self.has_tensor_cores();
        all[..if hopper { 8 } else { 4 }].to_vec()
    }

    /// Boxes and products of warpgroups, of operands that are K-major and MN-major, in tiles of both sizes.
    fn probe_hopper(&self) -> Result<()> {
        const SHAPES: [(usize, usize, usize); 2] = [(40, 72, 136), (200, 264, 72)];
        for ((m, n, k), form) in SHAPES.into_iter().flat_map(|it| FORMS.map(|form| (it, form))) {
            let [a_size, b_size, out_size] = match form {
                Form::Xwt => [(m, k), (n, k), (m, n)],
                Form::Dyw => [(m, n), (n, k), (m, k)],
                Form::Dytx => [(m, n), (m, k), (n, k)],
            };
            let numbers = |(rows, columns): (usize, usize), by: usize| -> Vec<f32> {
                (0..rows * columns).map(|it| (it * by % 13) as f32 - 6.0).collect()
            };
            let near = |it: &[f32]| it.iter().map(|it| bf16::round_from(*it)).collect::<Vec<_>>();
            let (a, b) = (numbers(a_size, 5), numbers(b_size, 7));
            let mut out = self.zeros(Dtype::F32, out_size.0 * out_size.1)?;
            let (a_there, b_there) = (self.upload(&near(&a))?, self.upload(&near(&b))?);
            let product = Product {
                form,
                a: a_there.view().rows(a_size.1),
                b: b_there.view().rows(b_size.1),
                start: Start::Zero,
            };
            self.matmul(product, ViewMut::all(&mut out).rows(out_size.1))?;
            let got: Vec<f32> = self.read(View::all(&out))?;
            let depth = if form == Form::Xwt {
                k
            } else if form == Form::Dyw {
                n
            } else {
                m
            };
            for (i, got) in got.into_iter().enumerate() {
                let (row, column) = (i / out_size.1, i % out_size.1);
                let term = |s: usize| {
                    let left = if form == Form::Dytx { s * n + row } else { row * a_size.1 + s };
                    let right = if form == Form::Xwt { column * k + s } else { s * k + column };
                    a[left] * b[right]
                };
                let want: f32 = (0..depth).map(term).sum();
                same("wgmma", i as u32, got.to_bits(), want.to_bits())?;
            }
        }
        Ok(())
    }

    /// The forms of products of warpgroups that attention uses, each in both of its widths.
    fn probe_groups(&self) -> Result<()> {
        const BOX: u32 = 64; // probe_hopper.cu: BOX_BYTES
        let numbers = |n: usize, by: usize| -> Vec<f32> {
            (0..n).map(|it| (it * by % 13) as f32 - 6.0).collect()
        };
        let near = |it: &[f32]| it.iter().map(|it| bf16::round_from(*it)).collect::<Vec<_>>();
        let (a, b, c) = (numbers(64 * 64, 5), numbers(128 * 64, 7), numbers(64 * 128, 11));
        let there = [self.upload(&near(&a))?, self.upload(&near(&b))?, self.upload(&near(&c))?];
        let (wide, narrow) = (64 * 128, 64 * 64);
        let out = self.zeros(Dtype::F32, 3 * (wide + narrow))?;
        let map = |it: &CudaBuffer, rows, columns| {
            let at = pointer(&View::all(it));
            self.map(Boxed { at, rows, columns, stride: columns, lines: BOX, length: BOX })
        };
        let maps = [map(&there[0], 64, 64)?, map(&there[1], 128, 64)?, map(&there[2], 64, 128)?];
        let mut args: Vec<Arg> = maps.into_iter().map(Arg::Map).collect();
        args.extend([&there[0], &out].map(|it| Arg::Pointer(pointer(&View::all(it)))));
        let kernel = Kernel { source: &GROUPS, function: "groups", defines: &[] };
        let shared_bytes = 5 * (BOX * BOX) as usize * size_of::<u16>() + size_of::<u64>();
        let grid = Grid { blocks: (1, 1), threads: 128, shared_bytes };
        // SAFETY: `groups(three TensorMaps, const bf16*, float*)`: the maps are of the operands, and there
        // is room for three results of both widths.
        unsafe { self.launch(kernel, grid, &args) }?;
        let got: Vec<f32> = self.read(View::all(&out))?;
        let mut at = 0;
        for (columns, form) in [128, 64].into_iter().flat_map(|it| (0..3).map(move |of| (it, of))) {
            for i in 0..64 * columns {
                let (row, column) = (i / columns, i % columns);
                let right =
                    |k: usize| if form == 2 { c[k * 128 + column] } else { b[column * 64 + k] };
                let want: f32 = (0..64).map(|k| a[row * 64 + k] * right(k)).sum();
                let name = ["wgmma", "wgmma of registers", "wgmma of registers, MN-major"][form];
                same(name, i as u32, got[at + i].to_bits(), want.to_bits())?;
            }
            at += 64 * columns;
        }
        Ok(())
    }

    /// Boxes of 32 lines beside each other, of which two warpgroups clear the lines that are no numbers.
    fn probe_pages(&self) -> Result<()> {
        const SIDE: usize = 64;
        const USED: usize = 43;
        let a: Vec<f32> = (0..SIDE * SIDE).map(|it| (it * 5 % 13) as f32 - 6.0).collect();
        let number = |it| if it < USED * SIDE { (it * 7 % 13) as f32 - 6.0 } else { f32::NAN };
        let c: Vec<f32> = (0..SIDE * SIDE).map(number).collect();
        let near = |it: &[f32]| it.iter().map(|it| bf16::round_from(*it)).collect::<Vec<_>>();
        let there = [self.upload(&near(&a))?, self.upload(&near(&c))?];
        let out = self.zeros(Dtype::F32, 2 * SIDE * SIDE)?;
        let [a_at, at, out_at] = [&there[0], &there[1], &out].map(|it| pointer(&View::all(it)));
        let (rows, length) = (SIDE, SIDE as u32);
        let map = self.map(Boxed { at, rows, columns: SIDE, stride: SIDE, lines: 32, length })?;
        let pointers = [a_at, out_at].map(Arg::Pointer);
        let args = [&[Arg::Map(map)], &pointers[..], &[Arg::U32(USED as u32)]].concat();
        let kernel = Kernel { source: &GROUPS, function: "pages", defines: &[] };
        let shared_bytes = SIDE * SIDE * size_of::<u16>() + size_of::<u64>();
        let grid = Grid { blocks: (1, 1), threads: 256, shared_bytes };
        // SAFETY: `pages(TensorMap, const bf16*, float*, u32)`: the map is of 64 by 64 numbers, as is the
        // second operand, and there is room for two results.
        unsafe { self.launch(kernel, grid, &args) }?;
        for (n, got) in (0..).zip(self.read::<f32>(View::all(&out))?) {
            let (row, column) = (n / SIDE % SIDE, n % SIDE);
            let want: f32 = (0..USED).map(|k| a[row * SIDE + k] * c[k * SIDE + column]).sum();
            same("lines that are cleared", n as u32, got.to_bits(), want.to_bits())?;
        }
        Ok(())
    }

    /// Powers of two to some units of the last place: the device's own are no correct rounding.
    fn probe_powers(&self) -> Result<()> {
        const UNITS: u32 = 4;
        let x: Vec<f32> = (0..128).map(|it| it as f32 * -0.963).collect();
        let (x_there, y) = (self.upload(&x)?, self.zeros(Dtype::F32, x.len())?);
        let kernel = Kernel { source: &GROUPS, function: "powers", defines: &[] };
        let args = [&x_there, &y].map(|it| Arg::Pointer(pointer(&View::all(it))));
        // SAFETY: `powers(const float*, float*)` with a number for each of its threads.
        unsafe { self.launch(kernel, Grid::blocks(1, 128), &args) }?;
        for (n, (got, x)) in (0..).zip(self.read::<f32>(View::all(&y))?.into_iter().zip(x)) {
            let want = (f64::from(x).exp2() as f32).to_bits();
            if got.to_bits().abs_diff(want) > UNITS {
                same("ex2.approx", n, got.to_bits(), want)?;
            }
        }
        Ok(())
    }

    fn run_probe(&self, function: &'static str, buffers: &[&CudaBuffer]) -> Result<()> {
        let kernel = Kernel { source: &SOURCE, function, defines: &[] };
        let args: Vec<Arg> =
            buffers.iter().map(|it| Arg::Pointer(pointer(&View::all(*it)))).collect();
        let grid = Grid { blocks: (1, 1), threads: 32, shared_bytes: SHARED };
        // SAFETY: the callers give the buffers of each kernel in order, as long as it says.
        unsafe { self.launch(kernel, grid, &args) }
    }

    fn probe_loads(&self) -> Result<()> {
        let tile: Vec<bf16> = (0..256).map(|it| bf16::from_bits(it as u16)).collect();
        let tile = self.upload(&tile)?;
        let (straight, transposed) = (self.zeros(Dtype::U32, 128)?, self.zeros(Dtype::U32, 128)?);
        self.run_probe("loads", &[&tile, &straight, &transposed])?;
        let at = |row: u32, column: u32| row * 16 + column;
        for (name, buffer, is_transposed) in
            [("ldmatrix", &straight, false), ("ldmatrix.trans", &transposed, true)]
        {
            let got: Vec<u32> = self.read(View::all(buffer))?;
            for (n, got) in (0..).zip(got) {
                let (lane, matrix) = (n / 4, n % 4);
                let (line, pair) = (lane / 4, lane % 4 * 2);
                let number = |half: u32| {
                    let (row, column) =
                        if is_transposed { (pair + half, line) } else { (line, pair + half) };
                    at(row + matrix % 2 * 8, column + matrix / 2 * 8)
                };
                same(name, n, got, number(0) | number(1) << 16)?;
            }
        }
        Ok(())
    }

    fn probe_product(&self) -> Result<()> {
        // Small whole numbers: every sum is exact, in whatever order.
        let number = |i: usize, by: usize| (i * by % 17) as f32 - 8.0;
        let numbers = |n: usize, by: usize| (0..n).map(|it| number(it, by)).collect::<Vec<_>>();
        let (a, b, c) = (numbers(256, 5), numbers(128, 7), numbers(128, 3));
        let near = |it: &[f32]| it.iter().map(|it| bf16::round_from(*it)).collect::<Vec<_>>();
        let on_device = (self.upload(&near(&a))?, self.upload(&near(&b))?, self.upload(&c)?);
        self.run_probe("product", &[&on_device.0, &on_device.1, &on_device.2])?;
        let got: Vec<f32> = self.read(View::all(&on_device.2))?;
        for (n, got) in got.into_iter().enumerate() {
            let (row, column) = (n / 8, n % 8);
            let sum: f32 = (0..16).map(|k| a[row * 16 + k] * b[column * 16 + k]).sum();
            same("mma.m16n8k16", n as u32, got.to_bits(), (c[n] + sum).to_bits())?;
        }
        Ok(())
    }

    fn probe_transposes(&self) -> Result<()> {
        // Row `r` and column `c` hold 8 r + c.
        let pair = |row: u32, column: u32, step: u32| {
            let at = 8 * row + column;
            at | (at + step) << 16
        };
        let straight: Vec<u32> = (0..32).map(|it| pair(it / 4, it % 4 * 2, 1)).collect();
        let (straight, transposed) = (self.upload(&straight)?, self.zeros(Dtype::U32, 32)?);
        self.run_probe("transposes", &[&straight, &transposed])?;
        let got: Vec<u32> = self.read(View::all(&transposed))?;
        for (n, got) in (0..).zip(got) {
            same("movmatrix", n, got, pair(n % 4 * 2, n / 4, 8))?;
        }
        Ok(())
    }

    fn probe_pairs(&self) -> Result<()> {
        let from: Vec<bf16> = (0..256).map(|it| bf16::from_bits(0x3f80 + it as u16)).collect();
        let wide: Vec<f32> = (0..64).map(|it| 1.0 + it as f32 / 511.0).collect();
        let (source, numbers) = (self.upload(&from)?, self.upload(&wide)?);
        let parts = self.zeros(Dtype::Bf16, 256)?;
        let packed = self.zeros(Dtype::U32, 32)?;
        self.run_probe("pairs", &[&source, &numbers, &parts, &packed])?;
        let got: Vec<bf16> = self.read(View::all(&parts))?;
        debug_assert_eq!(parts.len(), from.len());
        for (n, got) in got.into_iter().enumerate() {
            let want = if n % 8 < n / 8 % 9 { from[n].to_bits() } else { 0 };
            same("cp.async", n as u32, u32::from(got.to_bits()), u32::from(want))?;
        }
        let got: Vec<u32> = self.read(View::all(&packed))?;
        for (n, got) in got.into_iter().enumerate() {
            let bits = |it: f32| u32::from(bf16::round_from(it).to_bits());
            let want = bits(wide[2 * n]) | bits(wide[2 * n + 1]) << 16;
            same("cvt.rn.bf16x2", n as u32, got, want)?;
        }
        Ok(())
    }
}

fn same(name: &'static str, n: u32, got: u32, want: u32) -> Result<()> {
    if got == want {
        return Ok(());
    }
    let code = format!("number {n} is {got:#x} and not {want:#x}");
    Err(Error::Driver { call: name, code })
}
