//! What the door decides by, what that is worth, and what runs.

use axum::Extension;
use axum::extract::State;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::super::accounts::Role;
use super::super::session::Visitor;
use super::super::words;
use super::super::{text as t, url};
use super::form::Query;
use super::replay::{Replayed, replay};
use super::{Page, Shared, Who, kept, odd, shell, times};
use crate::daemon::protocol::{Far, Figures, Reply, Request, Status};
use crate::journal::{EventKind, Filter, Record};

/// Decisions whose scores are shown.
const DECISIONS: usize = 1000;

/// Decisions of a replay that are named.
const REPLAYED_SHOWN: usize = 6;

/// Bars of the histogram, from a score of 0 to 1.
const BARS: usize = 40;

pub(super) async fn show(State(app): Shared, Extension(visitor): Who, Query(query): Query) -> Page {
    let Reply::Status(status) = app.desk.ask(&visitor, Request::Status).await? else { return Err(odd()) };
    let filter = Filter {
        kinds: vec![EventKind::Grant, EventKind::Refusal],
        limit: Some(DECISIONS),
        ..Filter::default()
    };
    let Reply::Records { records } = app.desk.ask(&visitor, Request::Records { filter }).await? else {
        return Err(odd());
    };
    let Reply::Figures(figures) = app.desk.ask(&visitor, Request::Figures).await? else { return Err(odd()) };
    let far = query.get("far");
    let kept = kept::ask(&app, &visitor, far).await?;
    let tried: Option<f32> = query.get("try").parse().ok().filter(|tried| (0.0..=1.0).contains(tried));
    let zone = app.zone();
    let content = html! {
        (shell::head(t::SITE, html! {}))
        div .two {
            div .column {
                section .card .meaning {
                    h2 { (t::THRESHOLD) }
                    p .figure-large { (format!("{:.3}", status.threshold)) }
                    (meaning(&status))
                    @if !figures.measured_on.is_empty() { p .soft { (t::MEASURED_ON) " " (figures.measured_on.join("; ")) "." } }
                }
                @if !figures.rates.is_empty() { (rates(&figures)) }
                section .card #try { h2 { (t::REPLAY) } p .soft { (t::REPLAY_MORE) } (replay_form(tried, status.threshold)) @if let Some(tried) = tried { (replayed(&replay(&records, tried), &zone)) } }
                @if visitor.may(Role::Operator) && !figures.rates.is_empty() { (kept::card(&figures, far, &kept, &zone)) }
                section .card { h2 { (t::SCORES) } p .soft { (t::SCORES_MORE) } (histogram(&records, status.threshold, tried)) }
            }
            div .column {
                section .card { h2 { (t::ALIKE) } p .soft { (t::ALIKE_MORE) } (alike(&figures)) }
                section .card {
                    h2 { (t::LIVENESS) }
                    p { (status.photo_check) }
                    @for door in &status.doors {
                        p { @if status.doors.len() > 1 { (door.name) ": " } (door.photo_proof.text) }
                    }
                }
                section .card { h2 { (t::VERSIONS) } (versions(&status)) }
                @if visitor.may(Role::Admin) { (backup(&visitor)) }
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

/// What each rate would mean.
fn rates(figures: &Figures) -> Markup {
    html! {
        section .card {
            h2 { (t::RATES) }
            p .soft { (t::RATES_MORE) }
            table .rates {
                thead { tr { th scope="col" { (t::RATE) } th scope="col" .figure { (t::THRESHOLD) } th scope="col" .figure { (t::LETS_IN_AT_MOST) } th scope="col" .figure { (t::MISSED_LOOKS) } } }
                tbody {
                    @for rate in &figures.rates {
                        tr .now-in-force[rate.in_force] {
                            th scope="row" { (one_in(rate.far)) @if rate.in_force { " " span .tag { (t::IN_FORCE) } } @if !rate.supported { " " span .tag .bad { (t::UNSUPPORTED) } } }
                            td .figure data-name=(t::THRESHOLD) { (format!("{:.3}", rate.threshold)) }
                            td .figure data-name=(t::LETS_IN_AT_MOST) title=(t::up_to(&one_in(rate.false_accepts_up_to))) { (one_in(rate.false_accepts)) }
                            td .figure data-name=(t::MISSED_LOOKS) { (format!("{:.1} %", rate.false_rejects * 100.0)) }
                        }
                    }
                }
            }
        }
    }
}

/// Everything the door keeps, sealed, as a file.
fn backup(visitor: &Visitor) -> Markup {
    html! {
        section .card {
            h2 { (t::BACKUP) }
            p .soft { (t::BACKUP_MORE) }
            form .inline method="post" action="/site/backup" { (shell::csrf(visitor)) button { (super::icons::icon("download")) (t::BACKUP_GET) } }
        }
    }
}

/// Who could be taken for whom.
fn alike(figures: &Figures) -> Markup {
    let person = |name: &str| html! { a href={ "/person" (url::query(&[("name", name)])) } { (name) } };
    html! {
        @if figures.alike.is_empty() { p { (t::NOBODY_ALIKE) } }
        ul .lines { @for pair in &figures.alike { li { (person(&pair.a)) span .soft { (t::AND) } (person(&pair.b)) span .end { (format!("{:.3}", pair.score)) } } } }
    }
}

fn replay_form(tried: Option<f32>, now: f32) -> Markup {
    html! {
        form .inline method="get" action="/site#try" {
            label { (t::ANOTHER_THRESHOLD) input type="number" name="try" min="0" max="1" step="0.001" required value=(format!("{:.3}", tried.unwrap_or(now))); }
            button { (t::REPLAY_BUTTON) }
        }
    }
}

fn replayed(found: &Replayed<'_>, zone: &TimeZone) -> Markup {
    let some = |records: &[&Record]| {
        html! { ol .feed { @for record in records.iter().take(REPLAYED_SHOWN) { li { (super::events::dated_row(record, zone)) } } } }
    };
    html! {
        div .replayed aria-live="polite" {
            p .change[!found.lost.is_empty()] { (t::would_be_refused(found.lost.len(), found.grants)) }
            (some(&found.lost))
            p .change[!found.won.is_empty()] { (t::would_go_further(found.won.len(), found.refusals)) }
            (some(&found.won))
        }
    }
}

/// `one in 10,000`
pub(super) fn one_in(share: f64) -> String {
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
fn histogram(records: &[Record], threshold: f32, tried: Option<f32>) -> Markup {
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
            @if let Some(tried) = tried { line .tried x1=(tried * 600.0) x2=(tried * 600.0) y1="0" y2="140" {} }
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
            @for door in &status.doors {
                @if status.doors.len() > 1 { div { dt { (t::DOOR) } dd { strong { (door.name) } } } }
                div { dt { (t::CAMERA) } dd .break { (door.camera) } }
                div { dt { (t::RELAY) } dd .break { (door.relay) } }
            }
            div { dt { (t::UP) } dd { (times::span(status.uptime_s)) } }
            @let troubles = status.troubles();
            div { dt { (t::FAULTS) } dd { @if troubles.is_empty() { (t::NONE) } @for trouble in &troubles { p { (trouble) } } } }
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
