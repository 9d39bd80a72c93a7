//! Sums, exponentials and logarithms whose bits are the same on every machine.
//!
//! A sum runs over sixteen lanes, element i in lane i mod 16, and then over a fixed tree. The
//! functions are polynomials of our own: those of the system's library differ from one system to the
//! next.

/// How many lanes a sum has. Fixed: the bits depend on it.
pub(crate) const LANES: usize = 16;

/// The sum of lanes: halves onto halves.
#[inline(always)]
pub(crate) fn tree(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// The greatest of lanes.
#[inline(always)]
pub(crate) fn tree_max(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = greater(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// The greater; the second where one is not a number. One instruction, unlike `f32::max`.
#[inline(always)]
pub(crate) fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Σ f(i) for i in 0..n over the fixed lanes; `f` is asked once for each, in any order.
#[inline(always)]
pub(crate) fn sum(n: usize, f: impl Fn(usize, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let whole = n / LANES * LANES;
    let mut at = 0;
    while at < whole {
        for (lane, it) in lanes.iter_mut().enumerate() {
            *it = f(at + lane, *it);
        }
        at += LANES;
    }
    for (lane, it) in lanes.iter_mut().enumerate().take(n - whole) {
        *it = f(whole + lane, *it);
    }
    tree(lanes)
}

/// The greatest element; −∞ of none.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = x.split_at(x.len() / LANES * LANES);
    for chunk in whole.chunks_exact(LANES) {
        for (it, &x) in lanes.iter_mut().zip(chunk) {
            *it = greater(*it, x);
        }
    }
    for (it, &x) in lanes.iter_mut().zip(rest) {
        *it = greater(*it, x);
    }
    tree_max(lanes)
}

/// eˣ, within 1 ulp where the result is normal; 0 below, exactly 1 at 0, and not a number of one.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts; the upper one has so few digits that its product with n is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and taking it away rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    const LEAST: f32 = -87.0;
    const GREATEST: f32 = 88.0;
    let held = if x < LEAST { LEAST } else { x };
    let held = if held > GREATEST { GREATEST } else { held };
    let shifted = held.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, held));
    // Minimax on [-ln 2 / 2, ln 2 / 2].
    let mut p = 1.987_569_1e-4;
    p = r.mul_add(p, 1.398_199_9e-3);
    p = r.mul_add(p, 8.333_452e-3);
    p = r.mul_add(p, 4.166_579_6e-2);
    p = r.mul_add(p, 1.666_666_5e-1);
    p = r.mul_add(p, 0.5);
    p = (r * r).mul_add(p, r) + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    let y = p * power;
    let y = if x < LEAST { 0.0 } else { y };
    if x > GREATEST { x * f32::MAX } else { y }
}

/// ln x of a positive, finite number, rounded from a value of more than twice the digits needed.
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    // ln m = 2 artanh((m − 1) / (m + 1)), |z| < 0.172: eleven terms leave less than 1e-17.
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let square = z * z;
    let mut series = 0.0;
    for k in (0..11).rev() {
        series = series * square + 1.0 / f64::from(2 * k + 1);
    }
    2.0 * z * series + exponent as f64 * std::f64::consts::LN_2
}

/// eˣ in f64, to a few ulps; for what is made once, such as tables.
pub(crate) fn exp_f64(x: f64) -> f64 {
    // The upper part of ln 2 has so few digits that its product with n is exact.
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    let x = x.clamp(-700.0, 700.0);
    let n = (x * std::f64::consts::LOG2_E).round();
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let sum = (1..=14).rev().fold(1.0f64, |sum, k| (r / f64::from(k)).mul_add(sum, 1.0));
    sum * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// A positive number to a power.
pub(crate) fn power(base: f64, exponent: f64) -> f64 {
    exp_f64(exponent * ln(base))
}

/// Sine and cosine of an angle of less than a million turns, to a few ulps of one.
pub(crate) fn sin_cos(angle: f64) -> (f64, f64) {
    // A quarter turn in two parts, the upper one of few digits.
    const QUARTER_HIGH: f64 = 1.570_796_326_734_125_6;
    const QUARTER_LOW: f64 = 6.077_100_506_506_192e-11;
    let n = (angle * std::f64::consts::FRAC_2_PI).round();
    let r = n.mul_add(-QUARTER_LOW, n.mul_add(-QUARTER_HIGH, angle));
    let minus_square = -(r * r);
    // Horner's scheme of the two series: a term is the one before it by −r² / (k (k + 1)).
    let series = |first: u32| {
        let over = |k: u32| minus_square / f64::from(k * (k + 1));
        (0..9).rev().fold(1.0f64, |sum, it| over(2 * it + first).mul_add(sum, 1.0))
    };
    let (sin, cos) = (r * series(2), series(1));
    match n as i64 & 3 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_within_an_ulp() {
        let mut worst = 0.0f64;
        let mut x = -86.9f32;
        while x < 88.0 {
            let want = f64::from(x).exp();
            let ulp = f64::from(f32::from_bits((want as f32).to_bits() + 1) - want as f32);
            worst = worst.max((f64::from(exp(x)) - want).abs() / ulp);
            x += 0.000_37;
        }
        assert!(worst < 1.0, "{worst} ulps");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e4), 0.0);
        assert_eq!(exp(1e4), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn the_logarithm_is_that_of_the_library_to_a_few_ulps() {
        for i in 1..200_000 {
            let x = f64::from(i) * 0.037;
            let (got, want) = (ln(x), x.ln());
            assert!((got - want).abs() <= 1e-15 * want.abs().max(1.0), "{x}: {got} {want}");
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn functions_in_f64_are_those_of_the_library_to_a_few_ulps() {
        for i in -20_000..20_000 {
            let x = f64::from(i) * 0.031;
            let (got, want) = (exp_f64(x), x.exp());
            assert!((got - want).abs() <= 4e-15 * want, "exp {x}: {got} {want}");
            let angle = f64::from(i) * 13.7;
            let (got, want) = (sin_cos(angle), angle.sin_cos());
            assert!((got.0 - want.0).abs() < 1e-15, "sin {angle}: {} {}", got.0, want.0);
            assert!((got.1 - want.1).abs() < 1e-15, "cos {angle}: {} {}", got.1, want.1);
        }
        for i in 0..64 {
            let e = f64::from(i) / 64.0;
            let (got, want) = (power(5e6, e), 5e6f64.powf(e));
            assert!((got - want).abs() <= 1e-14 * want, "{e}: {got} {want}");
        }
        assert_eq!((exp_f64(0.0), sin_cos(0.0)), (1.0, (0.0, 1.0)));
    }

    #[test]
    fn sums_take_every_element_once() {
        for n in [0, 1, 15, 16, 17, 100] {
            let x: Vec<f32> = (0..n).map(|it| it as f32).collect();
            assert_eq!(sum(n, |i, acc| acc + x[i]), (n * n.max(1) - n) as f32 / 2.0);
            assert_eq!(max(&x), if n == 0 { f32::NEG_INFINITY } else { n as f32 - 1.0 });
        }
    }
}
