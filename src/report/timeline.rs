//! The strip over time: who was in view, the best score of each frame against the threshold, the verdicts, and how the
//! door stood.

use std::ops::Range;

use maud::{Markup, html};

use super::{Report, Timeline};
use crate::daemon::trace::DoorState;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 8.0;
const SPANS_TOP: f64 = 8.0;
const SPANS_HEIGHT: f64 = 30.0;
const SCORES_TOP: f64 = 56.0;
const SCORES_HEIGHT: f64 = 130.0;
const VERDICTS_Y: f64 = 208.0;
const DOOR_TOP: f64 = 224.0;
const DOOR_HEIGHT: f64 = 20.0;
const HEIGHT: f64 = 274.0;

/// Draws the strip.
pub(super) fn strip(report: &Report<'_>, clock: &Timeline) -> Markup {
    let x = |seconds: f64| LEFT + (WIDTH - LEFT - RIGHT) * seconds / clock.length();
    let y = |score: f64| SCORES_TOP + SCORES_HEIGHT * (1.0 - score.clamp(0.0, 1.0));
    let threshold = f64::from(report.threshold.0);
    html! {
        svg class="timeline" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="What happened over time" {
            (row_label("in view", SPANS_TOP + 19.0))
            @for span in &report.spans {
                @let (from, to) = (x(time_of(report, clock, span.frames.start)), x(time_of(report, clock, span.frames.end)));
                g class=(if span.expected { "span expected" } else { "span" }) {
                    title { (span.who) ": " (span.note) ". " (span.outcome) }
                    rect class="shade" x=(at(from)) y=(SPANS_TOP) width=(at(to - from)) height=(DOOR_TOP - SPANS_TOP) {}
                    rect class="who" x=(at(from)) y=(SPANS_TOP) width=(at(to - from)) height=(SPANS_HEIGHT) rx="4" {}
                    text x=(at((from + to) / 2.0)) y=(SPANS_TOP + 19.5) text-anchor="middle" { (short(&span.who)) }
                }
            }
            (row_label("best score", SCORES_TOP + SCORES_HEIGHT / 4.0 + 4.0))
            @for score in [0.0, 0.5, 1.0] {
                line class="grid" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y(score)) y2=(y(score)) {}
                text class="tick" x=(LEFT - 4.0) y=(y(score) + 3.0) text-anchor="end" { (score) }
            }
            line class="threshold" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(at(y(threshold))) y2=(at(y(threshold))) {}
            text class="threshold-label" x=(LEFT + 4.0) y=(at(y(threshold) - 4.0)) { "named from " (format!("{threshold:.2}")) }
            @for frame in report.frames {
                @let seconds = clock.seconds(frame.analysis.captured);
                @for face in &frame.analysis.faces {
                    @match &face.matched {
                        Some(found) => {
                            circle class=(if found.best.score >= report.threshold { "known" } else { "unknown" })
                                cx=(at(x(seconds))) cy=(at(y(f64::from(found.best.score.0)))) r="2.6" {
                                title { (format!("{seconds:.1} s: {} {:.2}", found.best.name, found.best.score.0)) }
                            }
                        }
                        None => circle class="poor" cx=(at(x(seconds))) cy=(at(y(0.0) - 4.0)) r="2" {}
                    }
                }
                @for conclusion in &frame.conclusions {
                    @let class = super::picture::conclusion_class(conclusion);
                    g class=(format!("verdict {class}")) transform=(format!("translate({} {VERDICTS_Y})", at(x(seconds)))) {
                        title { (format!("{seconds:.1} s: ")) (super::picture::conclusion_words(conclusion)) }
                        @if class == "granted" { path d="M-5 0 L-1.5 4 L6 -5" {} }
                        @else { path d="M-4 -4 L4 4 M4 -4 L-4 4" {} }
                    }
                }
            }
            (row_label("verdicts", VERDICTS_Y + 4.0))
            (row_label("door", DOOR_TOP + 14.0))
            rect class="locked" x=(LEFT) y=(DOOR_TOP) width=(WIDTH - LEFT - RIGHT) height=(DOOR_HEIGHT) rx="3" {}
            @for open in open_times(report, clock) {
                rect class="unlocked" x=(at(x(open.start))) y=(DOOR_TOP) width=(at(x(open.end) - x(open.start))) height=(DOOR_HEIGHT) rx="3" {
                    title { (format!("open from {:.1} s to {:.1} s", open.start, open.end)) }
                }
            }
            @for seconds in ticks(clock.length()) {
                line class="grid" x1=(at(x(seconds))) x2=(at(x(seconds))) y1=(DOOR_TOP + DOOR_HEIGHT) y2=(DOOR_TOP + DOOR_HEIGHT + 5.0) {}
                text class="tick" x=(at(x(seconds))) y=(DOOR_TOP + DOOR_HEIGHT + 18.0) text-anchor="middle" { (seconds) " s" }
            }
        }
    }
}

fn row_label(words: &str, y: f64) -> Markup {
    html! { text class="row" x="0" y=(y) { (words) } }
}

/// When a frame of this number was, or the next one that was looked at.
fn time_of(report: &Report<'_>, clock: &Timeline, seq: u64) -> f64 {
    let frame = report.frames.iter().find(|frame| frame.analysis.seq >= seq);
    frame.map_or(clock.length(), |frame| clock.seconds(frame.analysis.captured))
}

/// When the door stood open.
fn open_times(report: &Report<'_>, clock: &Timeline) -> Vec<Range<f64>> {
    let mut times: Vec<Range<f64>> = Vec::new();
    let mut open = false;
    for frame in report.frames {
        let seconds = clock.seconds(frame.analysis.captured);
        match (open, frame.door) {
            (false, DoorState::Unlocked) => times.push(seconds..seconds),
            (true, _) => {
                if let Some(last) = times.last_mut() {
                    last.end = seconds;
                }
            }
            (false, DoorState::Locked) => {}
        }
        open = frame.door == DoorState::Unlocked;
    }
    times
}

/// Round times along the axis, at most a dozen.
fn ticks(length: f64) -> Vec<f64> {
    let step = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0].into_iter().find(|s| length / s <= 12.0).unwrap_or(300.0);
    (0..=(length / step) as u64).map(|i| i as f64 * step).collect()
}

/// The last word of a name: there is little room.
fn short(name: &str) -> &str {
    name.rsplit(' ').next().unwrap_or(name)
}

fn at(position: f64) -> String {
    format!("{position:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::Score;
    use crate::report::testing::story;

    fn with_story(test: impl FnOnce(&Report<'_>, &Timeline)) {
        let frames = story();
        let report = Report {
            title: "",
            summary: String::new(),
            passed: true,
            facts: Vec::new(),
            spans: Vec::new(),
            frames: &frames,
            threshold: Score(0.5),
            events: Vec::new(),
        };
        let clock = Timeline { start: frames[0].analysis.captured, end: frames[59].analysis.captured };
        test(&report, &clock);
    }

    #[test]
    fn the_door_is_open_from_the_grant_to_the_end_of_the_pulse() {
        with_story(|report, clock| {
            let open = open_times(report, clock);
            assert_eq!(open.len(), 1);
            assert!((open[0].start - 0.9).abs() < 1e-9 && (open[0].end - 3.9).abs() < 1e-9, "{open:?}");
        });
    }

    #[test]
    fn every_score_and_verdict_has_its_mark() {
        with_story(|report, clock| {
            let drawn = strip(report, clock).into_string();
            assert_eq!(drawn.matches("<circle class=\"known\"").count(), 8);
            assert_eq!(drawn.matches("<circle class=\"unknown\"").count(), 12);
            assert_eq!(drawn.matches("<circle class=\"poor\"").count(), 2);
            assert_eq!(drawn.matches("class=\"verdict granted\"").count(), 1);
            assert_eq!(drawn.matches("class=\"verdict refused\"").count(), 1);
        });
    }

    #[test]
    fn frames_that_nobody_looked_at_are_found_by_the_next_one() {
        with_story(|report, clock| {
            assert!((time_of(report, clock, 33) - 3.3).abs() < 1e-9);
            assert_eq!(time_of(report, clock, 1000), clock.length());
        });
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(5.9), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(ticks(48.3), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0]);
        assert!(ticks(1e4).len() < 40);
    }
}
