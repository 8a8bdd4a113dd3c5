//! What another rate would have made of the attempts that the daemon keeps: asked of it, shown as counts and a list.

use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::super::App;
use super::super::accounts::Role;
use super::super::desk::Trouble;
use super::super::session::Visitor;
use super::super::{text as t, words};
use super::times;
use crate::daemon::protocol::{Figures, Reply, Request};
use crate::journal::replay::{Difference, Outcome, Replayed};

/// Attempts that are named.
const SHOWN: usize = 30;

/// What came of asking.
pub(super) enum Tried {
    /// Nobody has asked.
    Nothing,
    /// What would have changed.
    Found(Box<Replayed>),
    /// Why the daemon cannot tell, in its words: it keeps no attempts, most likely.
    Refused(String),
}

/// Asks the daemon, where a rate is to be tried and the visitor may.
///
/// # Errors
/// When the daemon cannot be asked.
pub(super) async fn ask(app: &App, visitor: &Visitor, far: &str) -> Result<Tried, Trouble> {
    let Ok(far) = far.parse::<f64>() else { return Ok(Tried::Nothing) };
    if !visitor.may(Role::Operator) {
        return Ok(Tried::Nothing);
    }
    let request = Request::Replay { far: Some(far), threshold: None, model: None };
    match app.desk.ask(visitor, request).await {
        Ok(Reply::Replayed { replayed }) => Ok(Tried::Found(replayed)),
        Ok(_) => Err(Trouble::Gone(t::ODD_ANSWER.into())),
        Err(Trouble::Refused(why)) => Ok(Tried::Refused(why)),
        Err(trouble) => Err(trouble),
    }
}

/// The form, and below it what was found.
pub(super) fn card(figures: &Figures, far: &str, tried: &Tried, zone: &TimeZone) -> Markup {
    html! {
        section .card #kept {
            h2 { (t::KEPT) }
            p .soft { (t::KEPT_MORE) }
            form .inline method="get" action="/site#kept" {
                label { (t::RATE) select name="far" {
                    @for rate in &figures.rates {
                        @let value = format!("{:e}", rate.far);
                        option value=(value) selected[value == far] { (super::site::one_in(rate.far)) @if rate.in_force { " (" (t::IN_FORCE) ")" } }
                    }
                } }
                button { (t::REPLAY_BUTTON) }
            }
            @match tried {
                Tried::Nothing => {},
                Tried::Refused(why) => p aria-live="polite" { (why) },
                Tried::Found(found) => (replayed(found, zone)),
            }
        }
    }
}

fn replayed(found: &Replayed, zone: &TimeZone) -> Markup {
    let (granted, refused) = (found.count(Outcome::Granted), found.count(Outcome::Refused));
    let (unrecognised, other) = (found.count(Outcome::Unrecognised), found.count(Outcome::Other));
    html! {
        div .replayed aria-live="polite" {
            p { (t::kept_and_tried(found.attempts, found.threshold_now, found.threshold)) }
            @if !found.supported { p .line-alarm { (super::icons::icon("alarm")) (t::NOT_SUPPORTED) } }
            p .change[granted + refused + other > 0] { (t::would_have(granted, refused)) }
            @if unrecognised > 0 { p { (t::not_recognised(unrecognised)) } }
            @if other > 0 { p .line-alarm { (super::icons::icon("alarm")) (t::taken_for_others(other)) } }
            ol .lines { @for difference in found.differences.iter().rev().take(SHOWN) { li { (row(difference, zone)) } } }
        }
    }
}

fn row(difference: &Difference, zone: &TimeZone) -> Markup {
    let ended = |name: &Option<String>, refused: &Option<crate::access::RefusalReason>| match (name, refused)
    {
        (Some(name), _) => name.clone(),
        (None, Some(reason)) => words::reason_name(*reason).to_owned(),
        (None, None) => t::NOT_DECIDED.to_owned(),
    };
    let scores = [difference.score_then, difference.score]
        .map(|score| score.map_or("–".into(), |s| format!("{s:.3}")));
    let when = times::moment(difference.wall, zone);
    html! {
        @match difference.event {
            Some(event) => a href={ "/events/" (event.0) } { (when) },
            None => span { (when) },
        }
        span { (ended(&difference.was, &difference.was_refused)) " → " strong { (ended(&difference.would_be, &difference.would_be_refused)) } }
        @if let Some(gate) = &difference.gate { span .soft { (gate.name) } }
        span .end { (scores[0]) " → " (scores[1]) }
    }
}
