//! How the door is now, what just happened, and what can be done about it.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};

use super::super::accounts::Role;
use super::super::desk::Trouble;
use super::super::session::Visitor;
use super::super::text as t;
use super::events::{is_told, row};
use super::form::Form;
use super::icons::icon;
use super::shell::{self, csrf, empty};
use super::{Page, Shared, Who, bad, change, odd, times};
use crate::daemon::protocol::{Reply, Request, Status};
use crate::journal::Filter;
use crate::policy::Change;

/// Events shown, and how many are read to find them among those that say little.
const SHOWN: usize = 14;
const READ: usize = 80;

pub(super) async fn show(State(app): Shared, Extension(visitor): Who) -> Page {
    let status = match app.desk.ask(&visitor, Request::Status).await {
        Ok(Reply::Status(status)) => Some(status),
        Ok(_) => return Err(odd()),
        Err(Trouble::Gone(_)) => None,
        Err(trouble) => return Err(trouble.into()),
    };
    let filter = Filter { limit: Some(READ), ..Filter::default() };
    let records = match app.desk.ask(&visitor, Request::Records { filter }).await {
        Ok(Reply::Records { records }) => records,
        Ok(_) => return Err(odd()),
        Err(Trouble::Gone(_)) => Vec::new(),
        Err(trouble) => return Err(trouble.into()),
    };
    let zone = app.zone();
    let latest = records.iter().rev().filter(|record| is_told(record.event.kind)).take(SHOWN);
    let content = html! {
        (shell::head(t::NOW, html! {}))
        div .now {
            div .column {
                div #state aria-live="polite" { (state(status.as_deref(), &visitor)) }
                (live())
            }
            section .card .latest aria-labelledby="latest" {
                div .title { h2 #latest { (t::LATEST) } a href="/events" { (t::ALL_EVENTS) (icon("next")) } }
                ol .feed #feed data-most=(SHOWN) {
                    @for record in latest { li { (row(record, &zone)) } }
                }
                div #feed-empty hidden[!records.is_empty()] {
                    (empty("events", t::NOTHING_YET, t::NOTHING_YET_MORE))
                }
            }
        }
    };
    Ok(shell::page(&app, &visitor, "/", t::NOW, content))
}

/// The state of the door: what is rendered with the page, and again with the news.
pub(super) fn state(status: Option<&Status>, visitor: &Visitor) -> Markup {
    let Some(status) = status else {
        return html! {
            section .card .door .alarm {
                div .big { (icon("alarm")) div { h2 { (t::UNREACHABLE) } p { (t::NO_SERVICE) } } }
            }
        };
    };
    let (class, sign, word) = match (status.lockdown, status.door.as_str(), status.held_open) {
        (true, "locked", _) => ("lockdown", "lock", t::LOCKDOWN),
        (_, "locked", _) => ("locked", "lock", t::LOCKED),
        (_, _, true) => ("open", "unlock", t::HELD_OPEN),
        _ => ("open", "unlock", t::UNLOCKED),
    };
    let leaf = match status.leaf.as_deref() {
        Some("open") => t::LEAF_OPEN,
        Some(_) => t::LEAF_CLOSED,
        None => t::NO_CONTACT,
    };
    html! {
        section class={ "card door " (class) } {
            div .big {
                (icon(sign))
                div { h2 { (word) } p { @if status.lockdown { (t::LOCKDOWN_ON) } @else { (leaf) } } }
            }
            @for alarm in status.alarms.iter().chain(&status.faults).chain(&status.throttle) {
                p .line-alarm role="alert" { (icon("alarm")) (alarm) }
            }
            @if let Some(advice) = &status.advice { p .told { (icon("people")) (t::TOLD) " " strong { (advice) } } }
            @if visitor.may(Role::Operator) { (orders(status, visitor)) }
        }
        dl .facts .card {
            (fact(t::CAMERA, match status.frame_age_ms { None => t::NO_FRAME.into(), Some(_) => t::fps(status.fps) }, status.faults.is_empty() && status.frame_age_ms.is_some()))
            (fact(t::DECISION, status.latency_ms.map_or("–".into(), t::latency), true))
            (fact(t::CLOCK, if status.clock_trusted { t::CLOCK_GOOD } else { t::CLOCK_BAD }.into(), status.clock_trusted))
            (fact(t::ENROLLED, t::people(status.people), status.people > 0))
            (fact(t::UP, times::span(status.uptime_s), true))
        }
    }
}

fn fact(what: &str, value: String, good: bool) -> Markup {
    html! { div { dt { (what) } dd .doubt[!good] { (value) } } }
}

/// What an operator can do at the door.
fn orders(status: &Status, visitor: &Visitor) -> Markup {
    let button = |order: &str, name: &str, class: &str| {
        html! {
            form method="post" action={ "/door/" (order) } { (csrf(visitor)) button class=(class) { (name) } }
        }
    };
    html! {
        div .orders {
            (button("unlock", t::UNLOCK_ONCE, ""))
            @if status.door != "locked" { (button("lock", t::LOCK_NOW, "primary")) }
            @if !status.lockdown {
                details .menu {
                    summary .button { (t::HOLD_OPEN) }
                    form method="post" action="/door/hold" {
                        (csrf(visitor))
                        label { (t::HOLD_FOR)
                            select name="for_s" { @for (s, name) in t::HOLD_TIMES { option value=(s) { (name) } } }
                        }
                        button .primary { (t::HOLD_OPEN) }
                    }
                }
            }
            @if status.throttle.is_some() { (button("face-on", t::FACE_ON, "")) }
            @if status.lockdown {
                form method="post" action="/lockdown" { (csrf(visitor)) button .primary name="on" value="" { (t::LOCKDOWN_END) } }
            } @else {
                details .menu .last {
                    summary .button .danger { (t::LOCKDOWN) }
                    form method="post" action="/lockdown" {
                        (csrf(visitor))
                        p { (t::LOCKDOWN_SURE) }
                        button .danger name="on" value="yes" { (t::LOCKDOWN_BEGIN) }
                    }
                }
            }
        }
    }
}

/// Where the picture goes once somebody asks for it.
fn live() -> Markup {
    html! {
        section .card .live #live aria-labelledby="live-title" {
            div .title { h2 #live-title { (t::LIVE) } button .quiet type="button" #live-hide hidden { (t::HIDE_PICTURE) } }
            canvas #live-picture width="480" height="360" hidden role="img" aria-label=(t::LIVE) aria-describedby="live-who" {}
            p #live-who .soft hidden data-nobody=(t::NOBODY_IN_VIEW) aria-live="polite" {}
            div #live-ask .ask {
                button type="button" #live-show { (icon("camera")) (t::SHOW_PICTURE) }
                p .soft { (t::PICTURE_HINT) }
            }
            noscript { p .soft { (t::NEEDS_SCRIPT) } }
        }
    }
}

/// Moves the door.
pub(super) async fn order(
    State(app): Shared,
    Extension(visitor): Who,
    Path(order): Path<String>,
    Form(fields): Form,
) -> Response {
    let (request, done) = match order.as_str() {
        "unlock" => (Ok(Request::Unlock), t::DONE_UNLOCK),
        "lock" => (Ok(Request::Lock), t::DONE_LOCK),
        "face-on" => (Ok(Request::FaceOn), t::DONE_FACE_ON),
        "hold" => {
            let for_s = fields.get("for_s").parse().map_err(|_| bad(t::BAD_FORM));
            (for_s.map(|for_s| Request::HoldOpen { for_s }), t::DONE_HOLD)
        }
        _ => (Err(bad(t::NOT_FOUND)), ""),
    };
    change(&app, &visitor, request, done, "/").await
}

/// Begins or ends lockdown.
pub(super) async fn lockdown(State(app): Shared, Extension(visitor): Who, Form(fields): Form) -> Response {
    let on = fields.has("on");
    let done = if on { t::DONE_LOCKDOWN } else { t::DONE_LOCKDOWN_OVER };
    let request = Request::ChangePolicy { change: Change::Lockdown(on) };
    change(&app, &visitor, Ok(request), done, "/").await
}
