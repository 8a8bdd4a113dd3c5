//! The journal: found by time, person and kind, a page at a time.

use axum::Extension;
use axum::extract::State;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::super::desk::Trouble;
use super::super::words::{self, GROUPS};
use super::super::{App, text as t, url};
use super::form::{Fields, Query};
use super::icons::icon;
use super::shell::{self, empty};
use super::{Page, Shared, Who, odd, times};
use crate::daemon::protocol::{Reply, Request};
use crate::journal::{EventId, EventKind, Filter, Record};

/// Events on a page.
const A_PAGE: usize = 60;

/// What is looked for, as the address says it.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    pub(super) from: String,
    pub(super) until: String,
    pub(super) person: String,
    pub(super) groups: Vec<&'static str>,
}

impl Wish {
    pub(super) fn of(query: &Fields) -> Self {
        let groups =
            GROUPS.iter().map(|(key, ..)| *key).filter(|key| query.all("what").any(|what| what == *key));
        let get = |name| query.get(name).chars().take(80).collect();
        Self { from: get("from"), until: get("until"), person: get("person"), groups: groups.collect() }
    }

    /// As the journal takes it. A day that is named as the end belongs to it.
    pub(super) fn filter(&self, zone: &TimeZone) -> Result<Filter, Trouble> {
        let groups = GROUPS.iter().filter(|(key, ..)| self.groups.contains(key));
        Ok(Filter {
            since: times::of_field(&self.from, zone)?,
            until: times::end_of_field(&self.until, zone)?,
            person: Some(self.person.clone()).filter(|person| !person.is_empty()),
            kinds: groups.flat_map(|(_, _, kinds)| kinds.iter().copied()).collect(),
            ..Filter::default()
        })
    }

    /// As an address has it.
    pub(super) fn query(&self, more: &[(&str, &str)]) -> String {
        let mut pairs = vec![("from", self.from.as_str()), ("until", &self.until), ("person", &self.person)];
        pairs.extend(self.groups.iter().map(|group| ("what", *group)));
        pairs.extend(more);
        url::query(&pairs)
    }

    fn is_any(&self) -> bool {
        self.query(&[]).is_empty()
    }
}

pub(super) async fn show(State(app): Shared, Extension(visitor): Who, Query(query): Query) -> Page {
    let (wish, zone) = (Wish::of(&query), app.zone());
    let before = query.get("before").parse().ok().map(EventId);
    let (records, problem) = match find(&app, &visitor, &wish, before, &zone).await {
        Ok(records) => (records, None),
        Err(Trouble::Refused(why)) => (Vec::new(), Some(why)),
        Err(trouble) => return Err(trouble.into()),
    };
    let more = (records.len() == A_PAGE).then(|| records.last().map(|record| record.id.0)).flatten();
    let export = |format: &str| format!("/events/export{}", wish.query(&[("as", format)]));
    let actions = html! {
        form method="post" action="/events/verify" { (shell::csrf(&visitor)) button { (icon("good")) (t::VERIFY) } }
        details .menu .right {
            summary .button { (icon("download")) (t::EXPORT) }
            div { a href=(export("csv")) download { "CSV" } a href=(export("json")) download { "JSON" } }
        }
    };
    let content = html! {
        (shell::head(t::EVENTS, actions))
        (form(&wish))
        @if let Some(problem) = &problem { p .flash .bad role="alert" { (icon("alarm")) (problem) } }
        @if records.is_empty() {
            @if wish.is_any() && before.is_none() {
                div .card { (empty("events", t::NOTHING_YET, t::NOTHING_YET_MORE)) }
            } @else {
                div .card { (empty("search", t::NO_MATCH, t::NO_MATCH_MORE)) }
            }
        } @else {
            (by_day(&records, &zone, times::date(app.options.clock.wall(), &zone)))
        }
        div .pager {
            @if before.is_some() { a .button href={ "/events" (wish.query(&[])) } { (t::NEWEST) } }
            @if let Some(id) = more {
                a .button href={ "/events" (wish.query(&[("before", &id.to_string())])) } { (t::OLDER) (icon("next")) }
            }
        }
    };
    Ok(shell::page(&app, &visitor, "/events", t::EVENTS, content))
}

/// A page of them, newest first.
async fn find(
    app: &App,
    visitor: &super::Visitor,
    wish: &Wish,
    before: Option<EventId>,
    zone: &TimeZone,
) -> Result<Vec<Record>, Trouble> {
    let filter = Filter { before, limit: Some(A_PAGE), ..wish.filter(zone)? };
    match app.desk.ask(visitor, Request::Records { filter }).await? {
        Reply::Records { mut records } => {
            records.reverse();
            Ok(records)
        }
        _ => Err(odd().0),
    }
}

fn form(wish: &Wish) -> Markup {
    html! {
        form .filter .card method="get" action="/events" role="search" {
            label { (t::FROM) input type="date" name="from" value=(wish.from); }
            label { (t::UNTIL) input type="date" name="until" value=(wish.until); }
            label .wide { (t::PERSON) input name="person" value=(wish.person) placeholder=(t::ANYBODY) maxlength="64" autocomplete="off"; }
            fieldset .chips {
                legend { (t::KINDS) }
                @for (key, name, _) in GROUPS {
                    label .chip { input type="checkbox" name="what" value=(key) checked[wish.groups.contains(&key)]; span { (name) } }
                }
            }
            div .buttons {
                button .primary { (t::FILTER) }
                @if !wish.is_any() { a .button .quiet href="/events" { (t::CLEAR) } }
            }
        }
    }
}

fn by_day(records: &[Record], zone: &TimeZone, today: jiff::civil::Date) -> Markup {
    let day = |record: &Record| times::date(record.at.wall, zone);
    html! {
        @for day_of in records.chunk_by(|a, b| day(a) == day(b)) {
            section .card .day {
                h2 { (times::heading(day(&day_of[0]), today)) }
                (rows(day_of, zone))
            }
        }
    }
}

/// Several of them.
pub(super) fn rows(records: &[Record], zone: &TimeZone) -> Markup {
    html! { ol .feed { @for record in records { li { (row(record, zone)) } } } }
}

/// One of them, leading to all there is about it.
pub(super) fn row(record: &Record, zone: &TimeZone) -> Markup {
    row_at(record, &times::clock(record.at.wall, zone))
}

/// The same with its day, where others are not of the same one.
pub(super) fn dated_row(record: &Record, zone: &TimeZone) -> Markup {
    row_at(record, &times::moment(record.at.wall, zone))
}

fn row_at(record: &Record, at: &str) -> Markup {
    let (kind, tone) = (record.event.kind, words::tone(record.event.kind));
    let note = words::note(record);
    html! {
        a class={ "event " (tone.class()) } href={ "/events/" (record.id.0) } {
            span .sign { (icon(tone.class())) }
            span .what {
                strong { (words::kind_name(kind)) }
                @if let Some(subject) = words::subject(record) { " " span .subject { (subject) } }
                @if !note.is_empty() { span .note { (note) } }
            }
            time datetime=(record.at.wall) { (at) }
        }
    }
}

/// Whether it is worth a line among the latest: that a strike moves is told by what moved it.
pub(super) fn is_told(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Unlocked | EventKind::Locked | EventKind::DoorOpened | EventKind::DoorClosed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(query: &str) -> Wish {
        Wish::of(&Fields::parse(query))
    }

    #[test]
    fn what_is_looked_for_is_in_the_address_and_nothing_else() {
        let found =
            wish("from=2026-11-01&until=2026-11-02&person=Ada+L&what=in&what=out&what=teleport&csrf=x");
        assert_eq!(found.groups, ["in", "out"]);
        assert_eq!(found.query(&[]), "?from=2026-11-01&until=2026-11-02&person=Ada%20L&what=in&what=out");
        let filter = found.filter(&TimeZone::UTC).unwrap();
        assert_eq!(filter.kinds, [EventKind::Grant, EventKind::Refusal]);
        assert_eq!(filter.until.unwrap().to_string(), "2026-11-03T00:00:00Z", "the day belongs to it");
        assert!(wish("").is_any() && wish("").filter(&TimeZone::UTC).unwrap() == Filter::default());
        assert!(wish("from=never").filter(&TimeZone::UTC).is_err());
    }
}
