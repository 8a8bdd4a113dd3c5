//! Charts as SVG text: lines over linear or logarithmic axes, and histograms. They read well in light and dark.

use std::fmt::Write;

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By powers of ten; values below the axis are drawn at its end.
    Log,
    /// By quantiles of the normal distribution, as DET plots have it (Martin et al., 1997).
    Probit,
}

/// One axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with its unit.
    pub title: String,
    /// Smallest and largest value.
    pub range: (f64, f64),
    /// How values lie along it.
    pub scale: Scale,
}

/// One line or set of bars.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the legend; empty ones are left out.
    pub name: String,
    /// Points, in order.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub style: Style,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Style {
    /// A line.
    Line,
    /// A thin, faint line.
    Faint,
    /// Bars from the bottom, each as wide as the step to the next point.
    Bars,
    /// A dashed line.
    Dashed,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// What is drawn, in this order.
    pub series: Vec<Series>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 52.0;
/// Told apart by everybody, colour-blind people too (Okabe and Ito, 2008).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

impl Axis {
    /// A linear axis.
    pub fn linear(title: &str, low: f64, high: f64) -> Self {
        Self { title: title.into(), range: (low, high), scale: Scale::Linear }
    }

    /// An axis of powers of ten.
    pub fn log(title: &str, low: f64, high: f64) -> Self {
        Self { title: title.into(), range: (low, high), scale: Scale::Log }
    }

    /// An axis of normal quantiles.
    pub fn probit(title: &str, low: f64, high: f64) -> Self {
        Self { title: title.into(), range: (low, high), scale: Scale::Probit }
    }

    fn warp(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(self.range.0).log10(),
            Scale::Probit => probit(value.clamp(self.range.0, self.range.1)),
        }
    }

    /// Where a value lies, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let (low, high) = (self.warp(self.range.0), self.warp(self.range.1));
        ((self.warp(value) - low) / (high - low).max(1e-12)).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let (low, high) = self.range;
        match self.scale {
            Scale::Linear => linear_ticks(low, high),
            Scale::Log => {
                let powers = low.log10().ceil() as i32..=high.log10().floor() as i32;
                powers.map(|p| (10_f64.powi(p), if p == 0 { "1".into() } else { format!("1e{p}") })).collect()
            }
            Scale::Probit => {
                let all = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6];
                let inside = all.into_iter().filter(|v| (low..=high).contains(v));
                inside.map(|v| (v, format!("{} %", short(100.0 * v)))).collect()
            }
        }
    }
}

/// Five to ten round values.
fn linear_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let span = (high - low).max(1e-12);
    let rough = span / 6.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|f| f * power).find(|s| *s >= rough).unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| (i as f64 * step, short(i as f64 * step))).collect()
}

/// A number without needless digits.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// The quantile of the standard normal distribution, by bisection of its integral.
fn probit(share: f64) -> f64 {
    let (mut low, mut high) = (-6.0, 6.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if cumulative(middle) < share { low = middle } else { high = middle }
    }
    low
}

/// The standard normal distribution (Abramowitz and Stegun 7.1.26, error below 1.5e-7).
fn cumulative(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let erf = 1.0 - poly * (-x * x).exp();
    if z >= 0.0 { f64::midpoint(1.0, erf) } else { f64::midpoint(1.0, -erf) }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Chart {
    /// The chart as an SVG document.
    pub fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
             <style>.bg{{fill:#fff}}.t{{fill:#222}}.g{{stroke:#ddd}}.f{{stroke:#999;fill:none}}\
             @media(prefers-color-scheme:dark){{.bg{{fill:#16181c}}.t{{fill:#ddd}}.g{{stroke:#333}}.f{{stroke:#777}}}}\
             </style>\n<title>{0}</title>\n<rect class=\"bg\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
             <text class=\"t\" x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"600\">{0}</text>\n",
            escape(&self.title)
        );
        self.draw(&mut svg).expect("a string takes everything");
        svg + "</svg>\n"
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (across, up) = (self.x.place(x), self.y.place(y));
        (LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM))
    }

    fn draw(&self, svg: &mut String) -> std::fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, label) in self.x.ticks() {
            let (x, _) = self.at((value, self.y.range.0));
            writeln!(svg, "<line class=\"g\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>")?;
            writeln!(
                svg,
                "<text class=\"t\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                bottom + 17.0
            )?;
        }
        for (value, label) in self.y.ticks() {
            let (_, y) = self.at((self.x.range.0, value));
            writeln!(svg, "<line class=\"g\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>")?;
            writeln!(
                svg,
                "<text class=\"t\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 7.0,
                y + 4.0
            )?;
        }
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            self.one(svg, series, colour)?;
        }
        let (w, h) = (right - LEFT, bottom - TOP);
        writeln!(svg, "<rect class=\"f\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{w}\" height=\"{h}\"/>")?;
        let middle = f64::midpoint(LEFT, right);
        writeln!(
            svg,
            "<text class=\"t\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 12.0,
            escape(&self.x.title)
        )?;
        let middle = f64::midpoint(TOP, bottom);
        writeln!(
            svg,
            "<text class=\"t\" transform=\"translate(16 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escape(&self.y.title)
        )?;
        self.legend(svg)
    }

    fn one(&self, svg: &mut String, series: &Series, colour: &str) -> std::fmt::Result {
        if series.style == Style::Bars {
            let step = series.points.windows(2).map(|w| w[1].0 - w[0].0).fold(f64::INFINITY, f64::min);
            for &(x, y) in series.points.iter().filter(|p| p.1 > 0.0) {
                let ((left, top), (end, bottom)) = (self.at((x, y)), self.at((x + step, self.y.range.0)));
                let (w, h) = ((end - left).max(1.0), bottom - top);
                writeln!(
                    svg,
                    "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" fill=\"{colour}\" fill-opacity=\"0.55\"/>"
                )?;
            }
            return Ok(());
        }
        let (width, rest) = match series.style {
            Style::Faint => (1.0, " stroke-opacity=\"0.35\""),
            Style::Dashed => (1.5, " stroke-dasharray=\"5 4\""),
            Style::Line | Style::Bars => (2.0, ""),
        };
        let points: Vec<String> =
            series.points.iter().map(|p| self.at(*p)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"{rest}/>",
            points.join(" ")
        )
    }

    fn legend(&self, svg: &mut String) -> std::fmt::Result {
        let named = self.series.iter().zip(COLOURS.iter().cycle()).filter(|(s, _)| !s.name.is_empty());
        for (i, (series, colour)) in named.enumerate() {
            let y = TOP + 18.0 + 17.0 * i as f64;
            let x = WIDTH - RIGHT - 12.0;
            writeln!(
                svg,
                "<text class=\"t\" x=\"{}\" y=\"{y}\" text-anchor=\"end\">{}</text>",
                x - 20.0,
                escape(&series.name)
            )?;
            writeln!(
                svg,
                "<rect x=\"{}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>",
                x - 14.0,
                y - 6.0
            )?;
        }
        Ok(())
    }
}

/// Shares of values in `bins` equal steps from `low` to `high`, as points for bars.
pub fn histogram(
    values: impl IntoIterator<Item = f64>,
    (low, high): (f64, f64),
    bins: usize,
) -> Vec<(f64, f64)> {
    let (mut counts, mut total) = (vec![0_usize; bins], 0_usize);
    let step = (high - low) / bins as f64;
    for value in values {
        let bin = (((value - low) / step).max(0.0) as usize).min(bins - 1);
        counts[bin] += 1;
        total += 1;
    }
    let share = |count: usize| count as f64 / total.max(1) as f64;
    counts.into_iter().enumerate().map(|(i, count)| (low + i as f64 * step, share(count))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(series: Vec<Series>) -> Chart {
        Chart { title: "A < B".into(), x: Axis::linear("x", 0.0, 10.0), y: Axis::log("y", 1e-3, 1.0), series }
    }

    #[test]
    fn values_lie_where_they_should() {
        let c = chart(Vec::new());
        assert_eq!(c.at((0.0, 1e-3)), (LEFT, HEIGHT - BOTTOM));
        assert_eq!(c.at((10.0, 1.0)), (WIDTH - RIGHT, TOP));
        assert!((c.y.place(10_f64.powf(-1.5)) - 0.5).abs() < 1e-9);
        assert_eq!(c.y.place(0.0), 0.0, "0 has no logarithm and is drawn at the end");
        let det = Axis::probit("", 0.01, 0.99);
        assert!((det.place(0.5) - 0.5).abs() < 1e-6);
        assert!((probit(0.025) + 1.959_96).abs() < 1e-4 && (probit(0.84134) - 1.0).abs() < 1e-4);
    }

    #[test]
    fn ticks_are_round_and_few() {
        let labels = |a: Axis| a.ticks().into_iter().map(|t| t.1).collect::<Vec<_>>();
        assert_eq!(labels(Axis::linear("", 0.0, 1.0)), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(labels(Axis::linear("", -1.0, 1.0)).len(), 5);
        assert_eq!(labels(Axis::log("", 1e-3, 1.0)), ["1e-3", "1e-2", "1e-1", "1"]);
        assert_eq!(labels(Axis::linear("", 0.0, 37.0)), ["0", "10", "20", "30"]);
    }

    #[test]
    fn text_is_escaped_and_every_series_is_drawn() {
        let line = |style| Series { name: "a & b".into(), points: vec![(0.0, 0.1), (5.0, 0.5)], style };
        let svg =
            chart(vec![line(Style::Line), line(Style::Bars), line(Style::Dashed), line(Style::Faint)]).svg();
        assert!(svg.contains("A &lt; B") && svg.contains("a &amp; b") && !svg.contains("NaN"));
        assert_eq!((svg.matches("<polyline").count(), svg.matches("fill-opacity").count()), (3, 2));
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_histogram_counts_everything_once() {
        let bars = histogram([-5.0, 0.0, 0.1, 0.9, 1.0, 7.0], (0.0, 1.0), 10);
        assert!((bars.iter().map(|b| b.1).sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!((bars[0].1, bars[1].1, bars[9].1), (2.0 / 6.0, 1.0 / 6.0, 3.0 / 6.0));
    }
}
