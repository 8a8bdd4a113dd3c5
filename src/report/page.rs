//! The page as a whole: heading and outcome, the strip over time, the pictures by who was in view, the journal.

use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::picture::{conclusion_words, label, overlaid};
use super::timeline::strip;
use super::{Report, Span, Timeline};
use crate::daemon::trace::TracedFrame;

/// A frame with its picture.
pub(super) struct Shown<'a> {
    pub(super) frame: &'a TracedFrame,
    /// A `data:` address.
    pub(super) data: String,
}

/// Builds the page.
pub(super) fn render(report: &Report<'_>, clock: &Timeline, shown: &[Shown<'_>]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (report.title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header {
                    p class=(if report.passed { "stamp passed" } else { "stamp failed" }) { (if report.passed { "PASSED" } else { "FAILED" }) }
                    h1 { (report.title) }
                    p class="summary" { (report.summary) }
                    dl { @for (name, value) in &report.facts { div { dt { (name) } dd { (value) } } } }
                }
                main {
                    section { (strip(report, clock)) (legend()) }
                    @if !report.spans.is_empty() { (outcomes(&report.spans, report, clock)) }
                    (pictures(report, clock, shown))
                    (journal(report))
                }
            }
        }
    }
}

fn legend() -> Markup {
    html! {
        p class="legend" {
            span class="known" { "named" } span class="unknown" { "nobody known" } span class="poor" { "not good enough to judge" }
            span class="expected" { "enrolled" } span class="stranger" { "stranger" }
        }
    }
}

fn outcomes(spans: &[Span], report: &Report<'_>, clock: &Timeline) -> Markup {
    html! {
        section {
            h2 { "Who walked up, and what came of it" }
            div class="scroll" { table {
                thead { tr { th { "Time" } th { "Who" } th { "About" } th { "Door should" } th { "What happened" } th { "Right?" } } }
                tbody { @for span in spans {
                    tr {
                        td class="number" { (seconds_of(report, clock, span)) }
                        td { strong { (span.who) } }
                        td { (span.note) }
                        td { (if span.expected { "open" } else { "stay locked" }) }
                        td { (span.outcome) }
                        td { @if span.right { span class="yes" { "yes" } } @else { span class="no" { "NO" } } }
                    }
                } }
            } }
        }
    }
}

fn seconds_of(report: &Report<'_>, clock: &Timeline, span: &Span) -> String {
    let first = report.frames.iter().find(|f| f.analysis.seq >= span.frames.start);
    first.map_or_else(String::new, |f| format!("{:.1} s", clock.seconds(f.analysis.captured)))
}

/// The pictures in groups: from each arrival to the next.
fn pictures(report: &Report<'_>, clock: &Timeline, shown: &[Shown<'_>]) -> Markup {
    let first = report.spans.first().map_or(u64::MAX, |span| span.frames.start);
    let mut groups: Vec<(Option<&Span>, u64, u64)> = vec![(None, 0, first)];
    for (i, span) in report.spans.iter().enumerate() {
        let next = report.spans.get(i + 1).map_or(u64::MAX, |next| next.frames.start);
        groups.push((Some(span), span.frames.start, next));
    }
    html! {
        @for (span, from, to) in groups {
            @let members: Vec<_> = shown.iter().filter(|s| (from..to).contains(&s.frame.analysis.seq)).collect();
            @if !members.is_empty() {
                section {
                    h2 {
                        @match span {
                            Some(span) => { (span.who) " " small { (span.note) " — " (span.outcome) } },
                            None => { "Nobody yet" },
                        }
                    }
                    div class="grid" { @for shown in members { (figure(report, clock, shown)) } }
                }
            }
        }
    }
}

fn figure(report: &Report<'_>, clock: &Timeline, shown: &Shown<'_>) -> Markup {
    let analysis = &shown.frame.analysis;
    let seen: Vec<String> = analysis.faces.iter().map(|face| label(face, report.threshold)).collect();
    let concluded: Vec<String> = shown.frame.conclusions.iter().map(conclusion_words).collect();
    html! {
        figure {
            (overlaid(shown.frame, &shown.data, report.threshold))
            figcaption {
                b { (format!("{:.1} s", clock.seconds(analysis.captured))) } " "
                span class="seq" { "frame " (analysis.seq) }
                @if seen.is_empty() { " nobody in view" } @else { " " (seen.join(", ")) }
                @if let Some(face) = analysis.faces.first() {
                    br;
                    span class="figures" {
                        (format!(
                            "eyes {:.0} px, sharp {:.0}, light {:.0}, yaw {:.0}°, pitch {:.0}°",
                            face.quality.eye_distance_px, face.quality.sharpness, face.quality.light,
                            face.quality.yaw_deg, face.quality.pitch_deg
                        ))
                    }
                }
                @for words in concluded { br; b { (words) } }
            }
        }
    }
}

fn journal(report: &Report<'_>) -> Markup {
    html! {
        section {
            h2 { "The journal" }
            div class="scroll" { table {
                thead { tr { th { "Time" } th { "Event" } th { "Who and why" } } }
                tbody { @for event in &report.events {
                    tr class=(event.kind.replace(' ', "-")) {
                        td class="number" { (event.at.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()) }
                        td { (event.kind) }
                        td { (event.text) }
                    }
                } }
            } }
        }
    }
}
