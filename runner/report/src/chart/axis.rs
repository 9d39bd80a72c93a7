//! Where numbers stand along an axis, and which of them are written at it.

use super::Scale;
use crate::page::number;

/// An axis from one number to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    /// An axis on which all numbers find room; what is not finite, or has no logarithm, does not count.
    pub(super) fn over(numbers: impl Iterator<Item = f64>, scale: Scale) -> Self {
        let fits = |it: &f64| it.is_finite() && (scale == Scale::Even || *it > 0.0);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for it in numbers.filter(fits) {
            low = low.min(it);
            high = high.max(it);
        }
        if low > high {
            (low, high) = (1.0, 2.0);
        }
        if low == high {
            high = low + low.abs().max(1.0);
        }
        Self { scale, low, high }
    }

    /// Where a number stands, from 0 to 1.
    pub(super) fn place(&self, it: f64) -> f64 {
        let (low, high, it) = match self.scale {
            Scale::Even => (self.low, self.high, it),
            Scale::Logarithmic => (self.low.ln(), self.high.ln(), it.max(self.low).ln()),
        };
        ((it - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// Round numbers along it.
    pub(super) fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Even => self.even_ticks(),
            Scale::Logarithmic => self.logarithmic_ticks(),
        }
    }

    fn even_ticks(&self) -> Vec<f64> {
        let step = round_step((self.high - self.low) / 5.0);
        let first = (self.low / step).ceil() as i64;
        (first..)
            .map(|it| it as f64 * step)
            .take_while(|it| *it <= self.high + step * 1e-9)
            .collect()
    }

    fn logarithmic_ticks(&self) -> Vec<f64> {
        let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let all = decades.flat_map(|it| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(it)));
        let inside = all.filter(|it| *it >= self.low * 0.999 && *it <= self.high * 1.001);
        let ticks: Vec<f64> = inside.collect();
        if ticks.len() > 1 { ticks } else { vec![self.low, self.high] }
    }
}

/// 1, 2 or 5 times a power of ten, not below `it`.
fn round_step(it: f64) -> f64 {
    let power = 10f64.powf(it.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|n| n * power);
    steps.into_iter().find(|step| *step >= it * 0.999).unwrap_or(power)
}

/// A number at an axis: as short as it can be.
pub(crate) fn shown(it: f64) -> String {
    if it == 0.0 {
        return "0".to_owned();
    }
    let size = it.abs();
    if !(1e-4..1e7).contains(&size) {
        return format!("{it:e}");
    }
    let places = (0..=6).find(|places| {
        let scale = 10f64.powi(*places);
        ((it * scale).round() / scale - it).abs() < size * 1e-6
    });
    number(it, places.unwrap_or(6) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let even = Axis::over([0.0, 7.3].into_iter(), Scale::Even).ticks();
        assert_eq!(even, [0.0, 2.0, 4.0, 6.0]);
        let log = Axis::over([9.0, 360.0].into_iter(), Scale::Logarithmic).ticks();
        assert_eq!(log, [10.0, 20.0, 50.0, 100.0, 200.0]);
        let one = Axis::over([3.0].into_iter(), Scale::Even);
        assert_eq!(one.place(3.0), 0.0);
        assert!(Axis::over(std::iter::empty(), Scale::Even).ticks().len() > 1);
        assert_eq!([0.25, 1500.0, 2e-5, 0.1].map(shown), ["0.25", "1\u{202f}500", "2e-5", "0.1"]);
    }
}
