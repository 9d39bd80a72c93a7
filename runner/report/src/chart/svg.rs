//! Draws a chart: no scripts, no fonts of its own; colours are told apart by lightness too, and
//! follow the reader's light or dark theme.

use super::axis::{Axis, shown};
use super::{Bar, Chart, Marks, Scale, Series, Span, parts};
use crate::page::per_cent;
use crate::svg::escaped;
use crate::table::width;

pub(super) const WIDE: f64 = 720.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 40.0;
const PLOT: f64 = 240.0;
const BELOW: f64 = 48.0;
const ROW: f64 = 22.0;
/// Points beyond these are thinned out: no screen shows more.
const MOST_POINTS: usize = 800;

/// The styles that all charts share; a page may say them once.
const STYLE: &str = "<style>.chart text{font:12px system-ui,sans-serif;fill:#1f2937}\
    .chart .t{font-weight:600;font-size:13px}.chart .g{stroke:#d1d5db;stroke-width:1}\
    .chart .l{fill:none;stroke-width:1.75}.chart .b{fill:#2563eb}\
    .chart .i{stroke:#1f2937;stroke-width:1.5}\
    .chart .h{stroke:#b91c1c;stroke-width:1.5;stroke-dasharray:4 3}.chart .s0{stroke:#1d4ed8}\
    .chart .s1{stroke:#c2410c}.chart .s2{stroke:#047857}.chart .s3{stroke:#7e22ce}\
    .chart .s4{stroke:#b91c1c}.chart .s5{stroke:#0e7490}.chart .s6{stroke:#a16207}\
    .chart .s7{stroke:#be185d}.chart .f0{fill:#1d4ed8}.chart .f1{fill:#c2410c}\
    .chart .f2{fill:#047857}.chart .f3{fill:#7e22ce}.chart .f4{fill:#b91c1c}.chart .f5{fill:#0e7490}\
    .chart .f6{fill:#a16207}.chart .f7{fill:#be185d}.chart .fn{fill:#6b7280}\
    .chart .hi{fill:#2563eb}.chart .lo{fill:#c2410c}.chart .o{fill:#ffffff}\
    .chart .e{stroke:#ffffff;stroke-width:1.5}\
    @media(prefers-color-scheme:dark){.chart text{fill:#e5e7eb}.chart .g{stroke:#4b5563}\
    .chart .b{fill:#60a5fa}.chart .i{stroke:#e5e7eb}.chart .h{stroke:#f87171}\
    .chart .s0{stroke:#93c5fd}.chart .s1{stroke:#fdba74}.chart .s2{stroke:#6ee7b7}\
    .chart .s3{stroke:#d8b4fe}.chart .s4{stroke:#fca5a5}.chart .s5{stroke:#67e8f9}\
    .chart .s6{stroke:#fde047}.chart .s7{stroke:#f9a8d4}.chart .f0{fill:#93c5fd}\
    .chart .f1{fill:#fdba74}.chart .f2{fill:#6ee7b7}.chart .f3{fill:#d8b4fe}.chart .f4{fill:#fca5a5}\
    .chart .f5{fill:#67e8f9}.chart .f6{fill:#fde047}.chart .f7{fill:#f9a8d4}.chart .fn{fill:#9ca3af}\
    .chart .o{fill:#111827}.chart .e{stroke:#111827}}</style>";

/// Draws it.
pub fn svg(chart: &Chart) -> String {
    let (body, height) = match &chart.marks {
        Marks::Lines { series, scale } => lines(chart, series, *scale),
        Marks::Bars(bars) => self::bars(chart, bars),
        Marks::Histogram { borders, counts, thresholds } => {
            histogram(chart, (borders, counts), thresholds)
        }
        Marks::Spans(spans) => self::spans(chart, spans),
        Marks::Heat { rows, columns, cells } => parts::heat(chart, (rows, columns), cells),
        Marks::Stacks { parts, bars } => parts::stacks(chart, parts, bars),
        Marks::Ring(all) => parts::ring(chart, all),
    };
    let title = escaped(&chart.title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {WIDE} {height:.0}\" role=\"img\" aria-label=\"{title}\">\
         {STYLE}<text class=\"t\" x=\"0\" y=\"16\">{title}</text>\n{body}</svg>\n"
    )
}

pub(super) fn text(x: f64, y: f64, anchor: &str, it: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>\n", escaped(it))
}

pub(super) fn line(class: &str, from: (f64, f64), to: (f64, f64)) -> String {
    let ((x1, y1), (x2, y2)) = (from, to);
    format!(
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
    )
}

/// A number at an axis. Four digits are not set apart: they may be a year.
pub(crate) fn tick(it: f64) -> String {
    let text = shown(it);
    if it.abs() < 1e4 { text.replace('\u{202f}', "") } else { text }
}

/// Both axes with their titles.
fn frame(chart: &Chart, x: &Axis, y: &Axis) -> String {
    let (x_at, y_at) = (across(x), up(y));
    let bottom = TOP + PLOT;
    let mut out = String::new();
    for it in y.ticks() {
        out += &line("g", (LEFT, y_at(it)), (WIDE - RIGHT, y_at(it)));
        out += &text(LEFT - 6.0, y_at(it) + 4.0, "end", &tick(it));
    }
    for it in x.ticks() {
        out += &line("g", (x_at(it), bottom), (x_at(it), bottom + 4.0));
        out += &text(x_at(it), bottom + 18.0, "middle", &tick(it));
    }
    out += &text(WIDE - RIGHT, bottom + 36.0, "end", &chart.x);
    out + &text(0.0, TOP - 8.0, "start", &chart.y)
}

fn across(axis: &Axis) -> impl Fn(f64) -> f64 + '_ {
    |it| LEFT + axis.place(it) * (WIDE - LEFT - RIGHT)
}

fn up(axis: &Axis) -> impl Fn(f64) -> f64 + '_ {
    |it| TOP + PLOT - axis.place(it) * PLOT
}

fn lines(chart: &Chart, series: &[Series], scale: Scale) -> (String, f64) {
    let points = || series.iter().flat_map(|it| it.points.iter());
    let x = Axis::over(points().map(|it| it.0), scale);
    let y = Axis::over(points().map(|it| it.1).chain([0.0]), Scale::Even);
    let mut out = frame(chart, &x, &y);
    let (x_at, y_at) = (across(&x), up(&y));
    let mut key_at = (LEFT, TOP + PLOT + 60.0);
    for (i, it) in series.iter().enumerate() {
        let every = it.points.len().div_ceil(MOST_POINTS).max(1);
        let last = it.points.len().saturating_sub(1);
        let shown = it.points.iter().enumerate().filter(|(n, _)| n % every == 0 || *n == last);
        let good = shown.filter(|(_, it)| it.0.is_finite() && it.1.is_finite());
        let path: Vec<String> =
            good.map(|(_, it)| format!("{:.1} {:.1}", x_at(it.0), y_at(it.1))).collect();
        let class = i % 8;
        if path.len() == 1 {
            let (cx, cy) = path[0].split_once(' ').unwrap_or_default();
            out += &format!("<circle class=\"f{class}\" cx=\"{cx}\" cy=\"{cy}\" r=\"3\"/>\n");
        } else if !path.is_empty() {
            // Beyond eight the colours come again, with dashes.
            let dashes = ["", " stroke-dasharray=\"6 3\"", " stroke-dasharray=\"2 3\""][i / 8 % 3];
            out += &format!("<path class=\"l s{class}\"{dashes} d=\"M{}\"/>\n", path.join("L"));
        }
        let room = 28.0 + width(&it.name) as f64 * 7.5 + 20.0;
        if key_at.0 + room > WIDE && key_at.0 > LEFT {
            key_at = (LEFT, key_at.1 + 18.0);
        }
        out += &line(
            &format!("l s{class}"),
            (key_at.0, key_at.1 - 4.0),
            (key_at.0 + 20.0, key_at.1 - 4.0),
        );
        out += &text(key_at.0 + 26.0, key_at.1, "start", &it.name);
        key_at.0 += room;
    }
    (out, key_at.1 + 12.0)
}

fn bars(chart: &Chart, bars: &[Bar]) -> (String, f64) {
    let ends = bars.iter().flat_map(|it| [it.value, it.interval.map_or(it.value, |it| it.1)]);
    let axis = Axis::over(ends.chain([0.0]), Scale::Even);
    let longest = bars.iter().map(|it| width(&it.name)).max().unwrap_or(0) as f64;
    let left = (longest * 7.5 + 12.0).clamp(LEFT, WIDE / 2.0);
    let at = |it: f64| left + axis.place(it) * (WIDE - left - 72.0);
    let mut out = String::new();
    let bottom = TOP + bars.len() as f64 * ROW;
    for it in axis.ticks() {
        out += &line("g", (at(it), TOP - 4.0), (at(it), bottom));
        out += &text(at(it), bottom + 16.0, "middle", &tick(it));
    }
    for (i, it) in bars.iter().enumerate() {
        let y = TOP + i as f64 * ROW;
        let long = (at(it.value) - at(0.0)).max(0.0);
        out += &format!(
            "<rect class=\"b\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{long:.1}\" height=\"14\"/>\n",
            at(0.0)
        );
        let mut end = at(it.value);
        let mut said = shown((it.value * 1e4).round() / 1e4);
        // What has an interval is a share.
        if let Some((low, high)) = it.interval {
            out += &line("i", (at(low), y + 7.0), (at(high), y + 7.0));
            end = at(high);
            said = per_cent(it.value);
        }
        out += &text(left - 6.0, y + 11.0, "end", &it.name);
        out += &text(end + 6.0, y + 11.0, "start", &said);
    }
    out += &text(WIDE - RIGHT, bottom + 34.0, "end", &chart.y);
    (out, bottom + BELOW)
}

fn histogram(
    chart: &Chart,
    (borders, counts): (&[f64], &[u64]),
    thresholds: &[f64],
) -> (String, f64) {
    let x = Axis::over(borders.iter().copied(), Scale::Even);
    let y = Axis::over(counts.iter().map(|it| *it as f64).chain([0.0]), Scale::Even);
    let mut out = frame(chart, &x, &y);
    let (x_at, y_at) = (across(&x), up(&y));
    for (pair, n) in borders.windows(2).zip(counts) {
        let (left, right, top) = (x_at(pair[0]), x_at(pair[1]), y_at(*n as f64));
        out += &format!(
            "<rect class=\"b\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\n",
            left,
            (right - left - 0.5).max(0.5),
            TOP + PLOT - top
        );
    }
    for it in thresholds {
        out += &line("h", (x_at(*it), TOP), (x_at(*it), TOP + PLOT));
        out += &text(x_at(*it) + 4.0, TOP + 10.0, "start", &shown(*it));
    }
    (out, TOP + PLOT + BELOW)
}

fn spans(chart: &Chart, spans: &[Span]) -> (String, f64) {
    let axis = Axis::over(spans.iter().flat_map(|it| [it.start, it.end]), Scale::Even);
    let longest = spans.iter().map(|it| width(&it.name)).max().unwrap_or(0) as f64;
    let left = (longest * 7.5 + 12.0).clamp(LEFT, WIDE / 2.0);
    let at = |it: f64| left + axis.place(it) * (WIDE - left - RIGHT);
    let bottom = TOP + spans.len() as f64 * ROW;
    let mut out = String::new();
    for it in axis.ticks() {
        out += &line("g", (at(it), TOP - 4.0), (at(it), bottom));
        out += &text(at(it), bottom + 16.0, "middle", &tick(it));
    }
    for (i, it) in spans.iter().enumerate() {
        let y = TOP + i as f64 * ROW;
        let long = (at(it.end) - at(it.start)).max(1.5);
        out += &format!(
            "<rect class=\"b\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{long:.1}\" height=\"14\"><title>{}</title></rect>\n",
            at(it.start),
            escaped(&it.note)
        );
        out += &text(left - 6.0, y + 11.0, "end", &it.name);
    }
    out += &text(WIDE - RIGHT, bottom + 34.0, "end", &chart.x);
    (out, bottom + BELOW)
}
