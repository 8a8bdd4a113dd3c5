//! A page to look at: figures, charts and the pairs that went worst, as pictures. One file that needs nothing else.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::curves::OperatingPoint;
use super::metrics::Interval;
use crate::plot::Chart;
use crate::vision::resample::scale;

/// Width of a picture in px; on the page it is half as wide, for sharp screens.
const WIDTH: usize = 224;

/// A table with a heading.
pub struct Table {
    /// Above it.
    pub title: String,
    /// Below the heading.
    pub note: String,
    /// Column headings.
    pub head: Vec<String>,
    /// Rows.
    pub rows: Vec<Vec<String>>,
}

/// Two pictures that were compared.
pub struct PairShown {
    /// Both, as `data:` addresses.
    pub pictures: [String; 2],
    /// Whose and which.
    pub names: [String; 2],
    /// Their Euclidean distance.
    pub distance: f32,
    /// Their cosine.
    pub score: f32,
}

/// Everything on the page.
pub struct Page {
    /// Its title.
    pub title: String,
    /// One sentence.
    pub summary: String,
    /// What matters most: name and value. What follows the value's first comma or bracket is set small.
    pub facts: Vec<(String, String)>,
    /// Charts.
    pub charts: Vec<Chart>,
    /// Tables.
    pub tables: Vec<Table>,
    /// Pairs under a heading with a note.
    pub pairs: Vec<(String, String, Vec<PairShown>)>,
    /// What the figures do not say.
    pub limits: Vec<String>,
    /// Tables for whoever wants to know more, folded at the end.
    pub appendix: Vec<Table>,
}

/// A value and what explains it.
fn parted(value: &str) -> (&str, &str) {
    let at = value.find([',', '(']).unwrap_or(value.len());
    (value[..at].trim_end(), value[at..].trim_start_matches(',').trim_start())
}

impl Table {
    fn html(&self) -> Markup {
        html! {
            @if !self.note.is_empty() { p class="soft" { (self.note) } }
            div class="scroll" { table {
                thead { tr { @for cell in &self.head { th { (cell) } } } }
                tbody { @for row in &self.rows { tr { @for cell in row { td { (cell) } } } } }
            } }
        }
    }
}

const STYLE: &str = "
:root{color-scheme:light dark;--bg:#fff;--fg:#1c1e21;--soft:#666;--line:#ddd;--card:#f6f7f9}
@media(prefers-color-scheme:dark){:root{--bg:#16181c;--fg:#e4e6ea;--soft:#9aa0a8;--line:#33373d;--card:#1e2126}}
body{margin:0 auto;max-width:68rem;padding:1.5rem;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}
h1{margin:0;font-size:1.7rem}h2{margin:2.2rem 0 .4rem;font-size:1.2rem}p{margin:.3rem 0}.soft{color:var(--soft)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.7rem;margin:1.2rem 0}
.facts div{background:var(--card);border-radius:.5rem;padding:.6rem .8rem}.facts dt{color:var(--soft);font-size:.85rem}
.facts dd{margin:0;font-size:1.1rem;font-weight:600;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(28rem,100%),1fr));gap:1rem}
.charts svg{width:100%;height:auto;border:1px solid var(--line);border-radius:.5rem}
.scroll{overflow-x:auto}table{border-collapse:collapse}th,td{padding:.25rem .9rem .25rem 0;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap;font-variant-numeric:tabular-nums}
th{color:var(--soft);font-weight:500}.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1rem;margin-top:.6rem}
figure{margin:0;background:var(--card);border-radius:.5rem;padding:.6rem}figure img{width:calc(50% - .2rem);border-radius:.3rem}
figure img+img{margin-left:.4rem}figcaption{font-size:.85rem;color:var(--soft)}figcaption b{color:var(--fg)}
.facts p{margin:0;font-size:.85rem}li{margin:.2rem 0}details{margin-top:2.2rem}summary{font-size:1.2rem;font-weight:600;cursor:pointer}";

impl Page {
    /// The page as HTML.
    pub fn html(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { (self.title) }
                    p class="soft" { (self.summary) }
                    dl class="facts" { @for (name, value) in &self.facts {
                        @let (main, rest) = parted(value);
                        div { dt { (name) } dd { (main) } @if !rest.is_empty() { p class="soft" { (rest) } } }
                    } }
                    div class="charts" { @for chart in &self.charts { (PreEscaped(chart.svg())) } }
                    @for table in &self.tables { h2 { (table.title) } (table.html()) }
                    @for (title, note, pairs) in &self.pairs {
                        @if !pairs.is_empty() {
                            h2 { (title) }
                            p class="soft" { (note) }
                            div class="pairs" { @for pair in pairs {
                                figure {
                                    @for (data, name) in pair.pictures.iter().zip(&pair.names) { img src=(data) alt=(name); }
                                    figcaption {
                                        b { "distance " (format!("{:.3}", pair.distance)) } ", cosine " (format!("{:.3}", pair.score))
                                        br; (pair.names[0]) br; (pair.names[1])
                                    }
                                }
                            } }
                        }
                    }
                    @if !self.limits.is_empty() {
                        h2 { "What this does not say" }
                        ul { @for limit in &self.limits { li { (limit) } } }
                    }
                    @for table in &self.appendix { details { summary { (table.title) } (table.html()) } }
                }
            }
        };
        page.into_string()
    }
}

/// A picture, made smaller, as a `data:` address.
///
/// # Errors
/// When it cannot be encoded.
pub fn data_uri(picture: &RgbImage) -> image::ImageResult<String> {
    let (w, h) = (picture.width().max(1) as usize, picture.height().max(1) as usize);
    let width = w.min(WIDTH);
    let height = (h * width).div_ceil(w);
    let mut bytes = Vec::new();
    let small = scale(picture.as_raw(), (w, h), (width, height));
    JpegEncoder::new_with_quality(&mut bytes, 85).encode(
        &small,
        width as u32,
        height as u32,
        image::ExtendedColorType::Rgb8,
    )?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes)))
}

/// `98.67 %`
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// `98.00 % to 99.12 %`
pub fn between(Interval(low, high): Interval) -> String {
    format!("{} to {}", percent(low), percent(high))
}

/// Operating points as a table.
pub fn points_table(points: &[OperatingPoint], impostors: usize) -> Table {
    let row = |point: &OperatingPoint| {
        let text = |value: Option<String>| value.unwrap_or_else(|| "not supported".into());
        vec![
            point.fmr.to_owned(),
            text(point.threshold.map(|t| format!("{t:.3}"))),
            text(point.measured_fmr_ci95.map(between)),
            text(point.tmr.map(percent)),
            text(point.tmr_ci95.map(between)),
        ]
    };
    Table {
        title: "Thresholds".into(),
        note: format!(
            "A false match rate below one in {impostors}, the number of impostor pairs, is not supported by them. 95 % intervals take pairs for independent; those that share a person are not, and the truth is wider."
        ),
        head: ["FMR wanted", "cosine", "FMR, 95 % interval", "true match rate", "95 % interval"]
            .map(String::from)
            .to_vec(),
        rows: points.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::curves::operating_points;
    use crate::eval::metrics::Scores;

    #[test]
    fn the_page_holds_everything_and_needs_nothing_else() {
        let picture = data_uri(&RgbImage::new(300, 200)).unwrap();
        let scores = Scores::new(vec![0.9; 50], vec![0.1; 200]);
        let page = Page {
            title: "Run <1>".into(),
            summary: "One sentence.".into(),
            facts: vec![("EER".into(), "0.00 %, 95 % interval 0 to 3".into())],
            charts: vec![crate::eval::curves::roc("ROC", &scores)],
            tables: vec![points_table(&operating_points(&scores), 200)],
            pairs: vec![(
                "Closest".into(),
                "note".into(),
                vec![PairShown {
                    pictures: [picture.clone(), picture],
                    names: ["a/1".into(), "b/2".into()],
                    distance: 0.5,
                    score: 0.875,
                }],
            )],
            limits: vec!["Not this.".into()],
            appendix: vec![Table {
                title: "Settings".into(),
                note: String::new(),
                head: Vec::new(),
                rows: vec![vec!["run.seed".into()]],
            }],
        };
        let html = page.html();
        for part in [
            "Run &lt;1&gt;",
            "One sentence.",
            "<svg",
            "not supported",
            "a/1",
            "0.500",
            "Not this.",
            "<dd>0.00 %</dd>",
            "run.seed",
            "data:image/jpeg",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("src=\"http") && !html.contains("href="));
    }
}
