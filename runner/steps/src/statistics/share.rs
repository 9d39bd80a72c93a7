//! A share and how sure it is.

/// The normal distribution's place for 95 % between both ends.
const Z: f64 = 1.959_963_984_540_054;

/// The interval after Wilson in which a share lies with 95 % confidence; all of it, where nothing
/// was counted.
pub(crate) fn interval(right: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (share, n) = (right as f64 / n as f64, n as f64);
    let middle = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    (((middle - half) / whole).max(0.0), ((middle + half) / whole).min(1.0))
}

/// A number as files show it: six places behind the point.
pub(crate) fn rounded(it: f64) -> f64 {
    (it * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_wilsons() {
        // From the formula in arbitrary precision.
        let near = |(low, high): (f64, f64), want: (f64, f64)| {
            assert!((low - want.0).abs() < 1e-6 && (high - want.1).abs() < 1e-6, "{low} {high}");
        };
        near(interval(0, 10), (0.0, 0.277_533));
        near(interval(5, 10), (0.236_593, 0.763_407));
        near(interval(10, 10), (0.722_467, 1.0));
        near(interval(81, 263), (0.255_289, 0.366_210));
        assert_eq!(interval(0, 0), (0.0, 1.0));
    }
}
