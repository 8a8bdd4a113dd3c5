//! One event with all there is about it: for a decision each limit with the value that met it.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use super::super::accounts::Role;
use super::super::{text as t, words};
use super::icons::icon;
use super::{Page, Shared, Who, odd, shell, times};
use crate::access::Evidence;
use crate::daemon::protocol::{Reply, Request};
use crate::gallery::Candidate;
use crate::journal::{EventId, EventKind, Filter, Record};

pub(super) async fn show(State(app): Shared, Extension(visitor): Who, Path(id): Path<String>) -> Page {
    let Ok(id) = id.parse::<i64>() else {
        return Ok(shell::refusal(StatusCode::NOT_FOUND, t::NO_SUCH_EVENT));
    };
    let filter = Filter {
        after: Some(EventId(id.saturating_sub(1))),
        before: Some(EventId(id.saturating_add(1))),
        limit: Some(1),
        ..Filter::default()
    };
    let Reply::Records { records } = app.desk.ask(&visitor, Request::Records { filter }).await? else {
        return Err(odd());
    };
    let Some(record) = records.first() else {
        return Ok(shell::refusal(StatusCode::NOT_FOUND, t::NO_SUCH_EVENT));
    };
    let (zone, evidence) = (app.zone(), words::evidence(record));
    let tone = words::tone(record.event.kind).class();
    let title = words::kind_name(record.event.kind);
    let content = html! {
        p .crumb { a href="/events" { (icon("back")) (t::EVENTS) } }
        div .head {
            h1 class={ "verdict " (tone) } { span .sign { (icon(tone)) } (title) @if let Some(who) = words::subject(record) { " " span .subject { (who) } } }
        }
        div .two {
            @if let Some(evidence) = &evidence { (gates(evidence)) }
            (facts(record, evidence.as_ref(), &zone))
        }
        @if record.event.kind == EventKind::Refusal && visitor.may(Role::Operator) {
            section .card { a .button href={ "/events/" (id) "/picture" } { (t::SNAPSHOT) } " " span .soft { (t::SNAPSHOT_MORE) } }
        }
        details .card .raw {
            summary { (t::RECORD) small { (t::RECORD_MORE) } }
            pre tabindex="0" { code { (serde_json::to_string_pretty(record).unwrap_or_default()) } }
        }
    };
    Ok(shell::page(&app, &visitor, "/events", title, content))
}

/// The picture of a refusal, where one is kept. The daemon writes down who looks.
pub(super) async fn picture(State(app): Shared, Extension(visitor): Who, Path(id): Path<String>) -> Page {
    let Ok(id) = id.parse::<i64>() else {
        return Ok(shell::refusal(StatusCode::NOT_FOUND, t::NO_SUCH_EVENT));
    };
    let Reply::Snapshot { jpeg } = app.desk.ask(&visitor, Request::Snapshot { event: EventId(id) }).await?
    else {
        return Err(odd());
    };
    let jpeg = STANDARD.decode(jpeg).map_err(|_| odd())?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response())
}

/// A value against its limit.
struct Gate<'a> {
    name: &'a str,
    about: &'a str,
    /// As shown.
    value: String,
    limit: String,
    /// Whether the limit is the least or the most.
    at_most: bool,
    /// From 0 to 1 along the bar.
    along: f32,
    limit_along: f32,
    passed: bool,
}

fn gates(evidence: &Evidence) -> Markup {
    let rule = &evidence.rule;
    let score = evidence.best.as_ref().map_or(0.0, |best| best.score.0);
    let lead = evidence.runner_up.as_ref().map(|second| score - second.score.0);
    // Who is easily taken for somebody else has to be further ahead.
    let margin = if evidence.alike.is_some() { rule.alike_margin } else { rule.margin };
    let (agreed, needed) = (evidence.frames_agreed, rule.frames_needed);
    let (age, oldest) = (evidence.frame_age_ms, rule.max_frame_age.as_millis() as u64);
    let share = |value: f32, of: f32| (value / of.max(f32::EPSILON)).clamp(0.0, 1.0);
    let mut all = vec![Gate {
        name: t::SCORE,
        about: t::SCORE_MORE,
        value: format!("{score:.3}"),
        limit: format!("{:.3}", rule.threshold.0),
        at_most: false,
        along: share(score, 1.0),
        limit_along: share(rule.threshold.0, 1.0),
        passed: score >= rule.threshold.0,
    }];
    all.extend(lead.map(|lead| Gate {
        name: t::LEAD,
        about: t::LEAD_MORE,
        value: format!("{lead:.3}"),
        limit: format!("{margin:.3}"),
        at_most: false,
        along: share(lead, 0.6),
        limit_along: share(margin, 0.6),
        passed: lead >= margin,
    }));
    all.push(Gate {
        name: t::FRAMES,
        about: "",
        value: format!("{agreed} / {}", evidence.frames_seen),
        limit: needed.to_string(),
        at_most: false,
        along: share(agreed as f32, rule.frames_window as f32),
        limit_along: share(needed as f32, rule.frames_window as f32),
        passed: agreed >= needed,
    });
    all.push(Gate {
        name: t::AGE,
        about: "",
        value: format!("{age} ms"),
        limit: format!("{oldest} ms"),
        at_most: true,
        along: share(age as f32, oldest as f32 * 1.5),
        limit_along: share(1.0, 1.5),
        passed: age <= oldest,
    });
    all.extend(evidence.live.map(|live| Gate {
        name: t::ALIVE,
        about: t::ALIVE_MORE,
        value: format!("{:.2}", live.score),
        limit: format!("{:.2}", live.needed),
        at_most: false,
        along: share(live.score, 1.0),
        limit_along: share(live.needed, 1.0),
        passed: live.score >= live.needed,
    }));
    html! {
        section .card {
            h2 { (t::GATES) }
            ul .gates { @for gate in &all { (bar(gate)) } }
        }
    }
}

fn bar(gate: &Gate<'_>) -> Markup {
    let (class, word) = if gate.passed { ("pass", t::YES) } else { ("fail", t::NO) };
    let limit = if gate.at_most { t::AT_MOST } else { t::NEEDED };
    let px = |along: f32| format!("{:.1}", along * 300.0);
    html! {
        li class=(class) {
            span .sign { (icon(if gate.passed { "good" } else { "refused" })) span .hidden { (word) } }
            span .name { (gate.name) @if !gate.about.is_empty() { small { (gate.about) } } }
            span .figure { strong { (gate.value) } small { (limit) " " (gate.limit) } }
            svg .bar viewBox="0 0 300 8" preserveAspectRatio="none" aria-hidden="true" {
                rect .track width="300" height="8" rx="4" {}
                rect .fill width=(px(gate.along)) height="8" rx="4" {}
                rect .mark x=(px(gate.limit_along.min(0.994))) width="2" height="8" {}
            }
        }
    }
}

fn facts(record: &Record, evidence: Option<&Evidence>, zone: &jiff::tz::TimeZone) -> Markup {
    let detail = &record.event.detail;
    let why = match record.event.kind {
        EventKind::Refusal => Some(words::why_refused(detail)),
        _ => ["why", "what", "order", "result", "to"]
            .into_iter()
            .find_map(|key| words::word(detail, key))
            .map(str::to_owned),
    };
    html! {
        section .card {
            h2 { (t::DETAILS) }
            dl .rows {
                @if let Some(why) = why.filter(|why| !why.is_empty()) { div { dt { (t::WHY) } dd { (why) } } }
                @if let Some(rule) = words::word(detail, "by") { div { dt { (t::RULE) } dd { (rule) } } }
                @if let Some(person) = &record.event.person {
                    div { dt { (t::PERSON) } dd { a href={ "/events" (super::super::url::query(&[("person", &person.name)])) } { (person.name) } } }
                }
                @if let Some(alike) = evidence.and_then(|evidence| evidence.alike.as_ref()) { div { dt { (t::LOOKS_LIKE) } dd { (t::alike(&alike.name, alike.score.0)) } } }
                @if let Some(actor) = &record.event.actor { div { dt { (t::BY_WHOM) } dd { (actor) } } }
                @if let Some(door) = &record.event.door { div { dt { (t::DOOR) } dd { (door) } } }
                div { dt { (t::WHEN) } dd { time datetime=(record.at.wall) { (times::day(record.at.wall, zone)) ", " (times::clock(record.at.wall, zone)) } } }
                div { dt { (t::NUMBER) } dd .number { (record.id.0) } }
            }
            @if let Some(evidence) = evidence {
                h3 { (t::CANDIDATES) }
                @if evidence.best.is_none() { p .soft { (t::NEITHER) } }
                ol .candidates {
                    @for candidate in evidence.best.iter().chain(&evidence.runner_up) { (scored(candidate)) }
                }
            }
        }
    }
}

fn scored(candidate: &Candidate) -> Markup {
    html! { li { span { (candidate.name) } strong { (format!("{:.3}", candidate.score.0)) } } }
}
