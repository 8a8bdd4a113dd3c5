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
use crate::daemon::protocol::{DoorStatus, Reply, Request, Status};
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
                (live(status.as_deref()))
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

/// The state of the doors: what is rendered with the page, and again with the news.
pub(super) fn state(status: Option<&Status>, visitor: &Visitor) -> Markup {
    let Some(status) = status else {
        return html! {
            section .card .door .alarm {
                div .big { (icon("alarm")) div { h2 { (t::UNREACHABLE) } p { (t::NO_SERVICE) } } }
            }
        };
    };
    let several = status.doors.len() > 1;
    html! {
        @if visitor.may(Role::Operator) && (several || status.lockdown) { (all_doors(status, visitor)) }
        @for door in &status.doors { (one(status, door, several, visitor)) }
        dl .facts .card {
            (fact(t::CLOCK, if status.clock_trusted { t::CLOCK_GOOD } else { t::CLOCK_BAD }.into(), status.clock_trusted))
            (fact(t::ENROLLED, t::people(status.people), status.people > 0))
            (fact(t::UP, times::span(status.uptime_s), true))
        }
    }
}

/// One door.
fn one(status: &Status, door: &DoorStatus, several: bool, visitor: &Visitor) -> Markup {
    let (class, sign, word) = match (status.lockdown, door.state.as_str(), door.held_open) {
        (true, "locked", _) => ("lockdown", "lock", t::LOCKDOWN),
        (_, "locked", _) => ("locked", "lock", t::LOCKED),
        (_, _, true) => ("open", "unlock", t::HELD_OPEN),
        _ => ("open", "unlock", t::UNLOCKED),
    };
    let leaf = match door.leaf.as_deref() {
        Some("open") => t::LEAF_OPEN,
        Some(_) => t::LEAF_CLOSED,
        None => t::NO_CONTACT,
    };
    let pictures = match door.frame_age_ms {
        None => t::NO_FRAME.into(),
        Some(_) => t::fps(door.fps),
    };
    html! {
        section class={ "card door " (class) } {
            div .big {
                (icon(sign))
                div {
                    @if several { p .which { (door.name) } }
                    h2 { (word) }
                    p { @if status.lockdown { (t::LOCKDOWN_ON) } @else { (leaf) } }
                }
            }
            @for alarm in door.alarms.iter().chain(&door.faults).chain(&door.throttle) {
                p .line-alarm role="alert" { (icon("alarm")) (alarm) }
            }
            @if let Some(advice) = door.told.as_ref().or(door.advice.as_ref()) { p .told { (icon("people")) (t::TOLD) " " strong { (advice) } } }
            @if visitor.may(Role::Operator) { (orders(status, door, several, visitor)) }
            dl .facts .inside {
                (fact(t::CAMERA, pictures, door.faults.is_empty() && door.frame_age_ms.is_some()))
                (fact(t::DECISION, door.latency_ms.map_or("–".into(), t::latency), true))
            }
        }
    }
}

/// What is done to all doors at once.
fn all_doors(status: &Status, visitor: &Visitor) -> Markup {
    html! { section .card .all-doors { (lockdown_button(status.lockdown, visitor)) } }
}

fn fact(what: &str, value: String, good: bool) -> Markup {
    html! { div { dt { (what) } dd .doubt[!good] { (value) } } }
}

/// What an operator can do at a door.
fn orders(status: &Status, door: &DoorStatus, several: bool, visitor: &Visitor) -> Markup {
    let which = html! { (csrf(visitor)) input type="hidden" name="door" value=(door.name); };
    let button = |order: &str, name: &str, class: &str| {
        html! { form method="post" action={ "/door/" (order) } { (which) button class=(class) { (name) } } }
    };
    html! {
        div .orders {
            (button("unlock", t::UNLOCK_ONCE, ""))
            @if door.state != "locked" { (button("lock", t::LOCK_NOW, "primary")) }
            @if !status.lockdown {
                details .menu {
                    summary .button { (t::HOLD_OPEN) }
                    form method="post" action="/door/hold" {
                        (which)
                        label { (t::HOLD_FOR)
                            select name="for_s" { @for (s, name) in t::HOLD_TIMES { option value=(s) { (name) } } }
                        }
                        button .primary { (t::HOLD_OPEN) }
                    }
                }
            }
            @if door.throttle.is_some() { (button("face-on", t::FACE_ON, "")) }
            @if !several && !status.lockdown { (lockdown_button(false, visitor)) }
        }
    }
}

fn lockdown_button(on: bool, visitor: &Visitor) -> Markup {
    html! {
        @if on {
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

/// Where the picture goes once somebody asks for it.
fn live(status: Option<&Status>) -> Markup {
    let doors = status.map(|status| status.doors.as_slice()).unwrap_or_default();
    html! {
        section .card .live #live aria-labelledby="live-title" {
            div .title { h2 #live-title { (t::LIVE) } button .quiet type="button" #live-hide hidden { (t::HIDE_PICTURE) } }
            canvas #live-picture width="480" height="360" hidden role="img" aria-label=(t::LIVE) aria-describedby="live-who" {}
            p #live-who .soft hidden data-nobody=(t::NOBODY_IN_VIEW) aria-live="polite" {}
            div #live-ask .ask {
                @if doors.len() > 1 {
                    label { (t::DOOR) select #live-door { @for door in doors { option value=(door.name) { (door.name) } } } }
                }
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
    let door = Some(fields.get("door").to_owned()).filter(|door| !door.is_empty());
    let (request, done) = match order.as_str() {
        "unlock" => (Ok(Request::Unlock { door }), t::DONE_UNLOCK),
        "lock" => (Ok(Request::Lock { door }), t::DONE_LOCK),
        "face-on" => (Ok(Request::FaceOn { door }), t::DONE_FACE_ON),
        "hold" => {
            let for_s = fields.get("for_s").parse().map_err(|_| bad(t::BAD_FORM));
            (for_s.map(|for_s| Request::HoldOpen { for_s, door }), t::DONE_HOLD)
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
