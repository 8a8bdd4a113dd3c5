//! What the door decides by, what that is worth, and what runs.

use axum::Extension;
use axum::extract::State;
use maud::{Markup, html};

use super::super::text as t;
use super::super::words;
use super::{Page, Shared, Who, odd, shell, times};
use crate::daemon::protocol::{Far, Reply, Request, Status};
use crate::journal::{EventKind, Filter, Record};

/// Decisions whose scores are shown.
const DECISIONS: usize = 1000;

/// Bars of the histogram, from a score of 0 to 1.
const BARS: usize = 40;

pub(super) async fn show(State(app): Shared, Extension(visitor): Who) -> Page {
    let Reply::Status(status) = app.desk.ask(&visitor, Request::Status).await? else { return Err(odd()) };
    let filter = Filter {
        kinds: vec![EventKind::Grant, EventKind::Refusal],
        limit: Some(DECISIONS),
        ..Filter::default()
    };
    let Reply::Records { records } = app.desk.ask(&visitor, Request::Records { filter }).await? else {
        return Err(odd());
    };
    let content = html! {
        (shell::head(t::SITE, html! {}))
        div .two {
            div .column {
                section .card .meaning {
                    h2 { (t::THRESHOLD) }
                    p .figure-large { (format!("{:.3}", status.threshold)) }
                    (meaning(&status))
                }
                section .card { h2 { (t::SCORES) } p .soft { (t::SCORES_MORE) } (histogram(&records, status.threshold)) }
            }
            div .column {
                section .card { h2 { (t::LIVENESS) } p { (status.photo_check) } }
                section .card { h2 { (t::VERSIONS) } (versions(&status)) }
            }
        }
    };
    Ok(shell::page(&app, &visitor, "/site", t::SITE, content))
}

/// What the threshold means for strangers.
fn meaning(status: &Status) -> Markup {
    html! {
        @match status.far {
            None => p { (t::BY_HAND) },
            Some(Far { wanted, at_most, supported }) => {
                p { (t::strangers(&one_in(at_most), &one_in(wanted), status.people)) }
                @if !supported { p .line-alarm { (super::icons::icon("alarm")) (t::NOT_SUPPORTED) } }
            }
        }
    }
}

/// `one in 10,000`
fn one_in(share: f64) -> String {
    if share <= 0.0 {
        return t::NONE.into();
    }
    let n = (1.0 / share).round() as u64;
    let digits = n.to_string();
    let grouped: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|three| std::str::from_utf8(three).ok()).collect();
    format!("one in {}", grouped.join(","))
}

/// Scores of grants and of refusals, and where the threshold lies between them.
fn histogram(records: &[Record], threshold: f32) -> Markup {
    let (mut granted, mut refused) = ([0_u32; BARS], [0_u32; BARS]);
    for record in records {
        let score = words::evidence(record).and_then(|evidence| Some(evidence.best?.score.0));
        let Some(score) = score.filter(|score| score.is_finite()) else { continue };
        let bar = ((score.clamp(0.0, 1.0) * BARS as f32) as usize).min(BARS - 1);
        match record.event.kind {
            EventKind::Grant => granted[bar] += 1,
            _ => refused[bar] += 1,
        }
    }
    let most = granted.iter().chain(&refused).copied().max().unwrap_or(0);
    if most == 0 {
        return html! { p .soft { (t::NO_SCORES) } };
    }
    let (width, height) = (600.0 / BARS as f32, 140.0);
    let bar = |n: usize, count: u32, class: &str| {
        let tall = height * (count as f32).sqrt() / (most as f32).sqrt();
        html! {
            @if count > 0 { rect class=(class) x=(format!("{:.1}", n as f32 * width + 1.0)) y=(format!("{:.1}", height - tall)) width=(format!("{:.1}", width - 2.0)) height=(format!("{tall:.1}")) rx="1.500" { title { (count) } } }
        }
    };
    let total = |all: &[u32; BARS]| all.iter().sum::<u32>();
    html! {
        svg .histogram viewBox="0 0 600 164" role="img" aria-label=(t::histogram_said(total(&granted), total(&refused))) {
            @for n in 0..BARS { (bar(n, refused[n], "refused")) (bar(n, granted[n], "good")) }
            line .axis x1="0" x2="600" y1="140" y2="140" {}
            line .limit x1=(threshold * 600.0) x2=(threshold * 600.0) y1="0" y2="140" {}
            @for (x, tick) in [(0, "0"), (150, "0.25"), (300, "0.5"), (450, "0.75"), (600, "1")] {
                text x=(x) y="158" text-anchor=(match x { 0 => "start", 600 => "end", _ => "middle" }) { (tick) }
            }
        }
        ul .legend { li .good { (t::GROUP_IN) " " (total(&granted)) } li .refused { (t::GROUP_REFUSED) " " (total(&refused)) } li .limit { (t::THRESHOLD) } }
    }
}

fn versions(status: &Status) -> Markup {
    html! {
        dl .rows {
            div { dt { (t::SERVICE) } dd { "accessd " (status.version) } }
            div { dt { (t::CONSOLE) } dd { "accessd " (env!("CARGO_PKG_VERSION")) } }
            div { dt { (t::ENCODER) } dd .break { (status.model) } }
            div { dt { (t::CAMERA) } dd .break { (status.camera) } }
            div { dt { (t::RELAY) } dd .break { (status.relay) } }
            div { dt { (t::UP) } dd { (times::span(status.uptime_s)) } }
            div { dt { (t::FAULTS) } dd { @if status.faults.is_empty() { (t::NONE) } @for fault in &status.faults { p { (fault) } } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_told_as_people_say_them() {
        assert_eq!(one_in(1e-4), "one in 10,000");
        assert_eq!(one_in(0.1), "one in 10");
        assert_eq!(one_in(0.0), t::NONE);
    }
}
