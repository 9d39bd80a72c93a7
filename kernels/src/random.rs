//! Random numbers by their place: number `i` of a stream is a function of seed, stream and `i`.
//!
//! Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). Nothing is
//! drawn in an order, so nothing depends on threads, batches or where a run was taken up again. All
//! that is made from the bits is made by `+`, `*`, `/`, roots and functions of our own: the same on
//! every machine.

use crate::cpu::math::ln;

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;

/// A stream of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    key: [u32; 2],
    stream: u64,
}

impl Random {
    /// The stream of that number under a seed.
    pub const fn new(seed: u64, stream: u64) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], stream }
    }

    /// A stream that belongs to several numbers, such as a row and a sample of it. Each list of
    /// numbers has its own stream, but for chance hits at 64 bits.
    pub fn of(seed: u64, parts: &[u64]) -> Self {
        let first = Self::new(seed, parts.len() as u64);
        let stream = parts.iter().fold(u64::MAX, |all, it| {
            let step = Self { stream: all, ..first };
            step.u64_at(*it)
        });
        Self { stream, ..first }
    }

    /// Key and stream, as kernels take them.
    pub(crate) fn words(&self) -> (u64, u64) {
        (u64::from(self.key[0]) | u64::from(self.key[1]) << 32, self.stream)
    }

    /// The block of that number: 128 bits.
    pub fn block(&self, index: u64) -> [u32; 4] {
        let mut counter =
            [index as u32, (index >> 32) as u32, self.stream as u32, (self.stream >> 32) as u32];
        let mut key = self.key;
        for _ in 0..ROUNDS {
            counter = round(counter, key);
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        counter
    }

    /// 64 random bits: half of a block.
    pub fn u64_at(&self, index: u64) -> u64 {
        let block = self.block(index / 2);
        let at = 2 * (index % 2) as usize;
        u64::from(block[at]) | u64::from(block[at + 1]) << 32
    }

    /// A number from 0 to 1, without 1, with 53 bits.
    pub fn unit_at(&self, index: u64) -> f64 {
        (self.u64_at(index) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A number below `n`, which is not 0; the bias is `n` in 2⁶⁴.
    pub fn below(&self, index: u64, n: u64) -> u64 {
        ((u128::from(self.u64_at(index)) * u128::from(n)) >> 64) as u64
    }

    /// A number of the normal distribution with mean 0 and deviation 1.
    pub fn normal_at(&self, index: u64) -> f64 {
        // The middle of one of 2⁵³ cells: never 0 and never 1.
        let unit = ((self.u64_at(index) >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64);
        normal_quantile(unit)
    }

    /// Puts the items in an order that is a function of the stream and their number.
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64, i as u64 + 1) as usize);
        }
    }
}

fn round(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let product = |a: u32, b: u32| {
        let all = u64::from(a) * u64::from(b);
        ((all >> 32) as u32, all as u32)
    };
    let (high0, low0) = product(MULTIPLIERS[0], counter[0]);
    let (high1, low1) = product(MULTIPLIERS[1], counter[2]);
    [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0]
}

/// Which number a share `p` of the normal distribution lies below. Algorithm AS 241, PPND16
/// (Wichura, 1988): 16 digits.
fn normal_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * polynomial(r, &CENTRE[0]) / polynomial(r, &CENTRE[1]);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = (-ln(tail)).sqrt();
    let (r, table) = if r <= 5.0 { (r - 1.6, &MIDDLE) } else { (r - 5.0, &FAR) };
    (polynomial(r, &table[0]) / polynomial(r, &table[1])).copysign(q)
}

fn polynomial(x: f64, coefficients: &[f64; 8]) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, it| sum * x + it)
}

// Numerators and denominators of AS 241, lowest power first.
const CENTRE: [[f64; 8]; 2] = [
    [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ],
];
const MIDDLE: [[f64; 8]; 2] = [
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
];
const FAR: [[f64; 8]; 2] = [
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_7e-15,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_those_of_the_paper_s_authors() {
        // Random123's known answers for philox4x32-10.
        let ones = u64::MAX;
        let pi = Random::new(0x299f_31d0_a409_3822, 0x0370_7344_1319_8a2e);
        let zero = Random::new(0, 0).block(0);
        assert_eq!(zero, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let full = Random::new(ones, ones).block(ones);
        assert_eq!(full, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let digits = pi.block(0x85a3_08d3_243f_6a88);
        assert_eq!(digits, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        // Python's statistics.NormalDist().inv_cdf.
        for (p, want) in [
            (0.5, 0.0),
            (0.075, -1.439_531_470_938_456),
            (0.975, 1.959_963_984_540_054_3),
            (1e-12, -7.034_483_825_301_131),
            (1e-3, -3.090_232_306_167_813_5),
        ] {
            let got = normal_quantile(p);
            assert!((got - want).abs() <= 4e-15 * want.abs(), "{p}: {got} and not {want}");
        }
    }

    #[test]
    fn normal_numbers_have_the_moments_of_the_distribution() {
        let random = Random::new(1, 2);
        let n = 100_000u64;
        let moment =
            |power: i32| (0..n).map(|it| random.normal_at(it).powi(power)).sum::<f64>() / n as f64;
        let moments = [1, 2, 3, 4].map(moment);
        for (got, (want, within)) in
            moments.iter().zip([(0.0, 0.01), (1.0, 0.015), (0.0, 0.03), (3.0, 0.1)])
        {
            assert!((got - want).abs() < within, "{moments:?}");
        }
    }

    #[test]
    fn a_shuffle_is_a_permutation_that_differs_between_streams() {
        let shuffled = |stream| {
            let mut items: Vec<u32> = (0..100).collect();
            Random::new(7, stream).shuffle(&mut items);
            items
        };
        assert_eq!(shuffled(0), shuffled(0));
        assert_ne!(shuffled(0), shuffled(1));
        let mut sorted = shuffled(0);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn each_list_of_parts_has_a_stream() {
        let lists: [&[u64]; 6] = [&[], &[0], &[1], &[0, 0], &[0, 1], &[1, 0]];
        let mut streams: Vec<u64> = lists.map(|it| Random::of(3, it).stream).to_vec();
        streams.sort_unstable();
        streams.dedup();
        assert_eq!(streams.len(), lists.len());
    }
}
