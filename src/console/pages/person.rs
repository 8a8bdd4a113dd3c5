//! One person: what is stored about them, what is agreed with them, and what they did lately.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::super::accounts::Role;
use super::super::desk::Trouble;
use super::super::session::Visitor;
use super::super::{text as t, url};
use super::events::dated_row;
use super::form::{Fields, Form, Query};
use super::icons::icon;
use super::people::{book, initials, tags, validity};
use super::shell::{self, csrf};
use super::{Page, Shared, Who, bad, change, conclude, odd, times};
use crate::daemon::protocol::{Erasure, Reply, Request, Status};
use crate::gallery::{Person, TemplateSource};
use crate::journal::Filter;
use crate::policy::{Change, Limit, PersonChange, PersonTerms, Who as Whom};

/// Events of theirs that are shown.
const RECENT: usize = 8;

pub(super) async fn show(State(app): Shared, Extension(visitor): Who, Query(query): Query) -> Page {
    let name = query.need("name")?;
    let Reply::People { people } = app.desk.ask(&visitor, Request::Person { name }).await? else {
        return Err(odd());
    };
    let Some(person) = people.into_iter().next() else { return Err(odd()) };
    let book = book(&app, &visitor).await?;
    let terms =
        book.people.into_iter().find(|row| row.id == person.id).map(|row| row.terms).unwrap_or_default();
    let Reply::Status(status) = app.desk.ask(&visitor, Request::Status).await? else { return Err(odd()) };
    let filter = Filter { person: Some(person.name.clone()), limit: Some(RECENT), ..Filter::default() };
    let Reply::Records { mut records } = app.desk.ask(&visitor, Request::Records { filter }).await? else {
        return Err(odd());
    };
    records.reverse();
    let (zone, now) = (app.zone(), app.options.clock.wall());
    let actions = html! {
        @if visitor.may(Role::Operator) {
            a .button href={ "/people/enrol" (url::query(&[("name", &person.name), ("more", "yes")])) } { (icon("add")) (t::MORE_SAMPLES) }
        }
    };
    let content = html! {
        p .crumb { a href="/people" { (icon("back")) (t::PEOPLE) } }
        div .head { h1 .named { (initials(&person.name)) (person.name) } div .actions { (actions) } }
        div .two {
            div .column {
                section .card {
                    dl .rows {
                        div { dt { (t::GROUPS) } dd { @if terms.groups.is_empty() { span .soft { (t::NONE) } } @else { (tags(&terms)) } } }
                        div { dt { (t::VALID) } dd { (validity(&terms, now, &zone)) } }
                        div { dt { (t::SINCE) } dd { (times::moment(person.created, &zone)) } }
                        div { dt { (t::LAST_IN) } dd { @match person.last_grant { Some(at) => (times::moment(at, &zone)), None => (t::NEVER) } } }
                    }
                    @if visitor.may(Role::Operator) { (agree(&person, &terms, &zone, &visitor)) }
                }
                (samples(&person, &status, &zone))
            }
            div .column {
                section .card {
                    div .title { h2 { (t::RECENT) } a href={ "/events" (url::query(&[("person", &person.name)])) } { (t::ALL_EVENTS) (icon("next")) } }
                    @if records.is_empty() { p .soft { (t::NOTHING_YET) } } @else { ol .feed { @for record in &records { li { (dated_row(record, &zone)) } } } }
                }
                @if visitor.may(Role::Operator) { (rename_form(&person, &visitor)) }
                @if visitor.may(Role::Admin) { (erase_form(&person, &visitor)) }
            }
        }
    };
    Ok(shell::page(&app, &visitor, "/people", &person.name, content))
}

fn samples(person: &Person, status: &Status, zone: &TimeZone) -> Markup {
    html! {
        section .card {
            h2 { (t::SAMPLES) }
            table .samples {
                thead { tr {
                    th scope="col" { (t::TAKEN) } th scope="col" { (t::SOURCE) }
                    th scope="col" .figure { (t::EYES) } th scope="col" .figure { (t::SHARPNESS) } th scope="col" .figure { (t::LIGHT) } th scope="col" .figure { (t::TURN) }
                } }
                tbody {
                    @for sample in &person.templates {
                        @let quality = &sample.quality;
                        tr {
                            td data-name=(t::TAKEN) { (times::day(sample.created, zone)) @if sample.model.to_string() != status.model { " " span .tag .bad { (t::NOT_OF_MODEL) } } }
                            td data-name=(t::SOURCE) { (match sample.source { TemplateSource::Camera => t::BY_CAMERA, TemplateSource::Image => t::BY_PICTURE, TemplateSource::Learnt => t::BY_DOOR, TemplateSource::Migrated => t::BY_MIGRATION }) }
                            td .figure data-name=(t::EYES) { (format!("{:.0} px", quality.eye_distance_px)) }
                            td .figure data-name=(t::SHARPNESS) { (format!("{:.0}", quality.sharpness)) }
                            td .figure data-name=(t::LIGHT) { (format!("{:.0}", quality.light)) }
                            td .figure data-name=(t::TURN) { (format!("{:.0}°", quality.yaw_deg.abs().max(quality.pitch_deg.abs()))) }
                        }
                    }
                }
            }
        }
    }
}

fn agree(person: &Person, terms: &PersonTerms, zone: &TimeZone, visitor: &Visitor) -> Markup {
    let groups: Vec<&str> = terms.groups.iter().map(String::as_str).collect();
    html! {
        details .edit {
            summary { (icon("change")) (t::TERMS) }
            form method="post" action="/person/terms" {
                (csrf(visitor))
                input type="hidden" name="name" value=(person.name);
                label { (t::GROUPS) small { (t::GROUPS_HINT) } input name="groups" value=(groups.join(", ")) maxlength="400" autocapitalize="none"; }
                label { (t::VALID_FROM) input type="datetime-local" name="from" value=(times::as_field(terms.valid_from, zone)); }
                label { (t::VALID_UNTIL) input type="datetime-local" name="until" value=(times::as_field(terms.valid_until, zone)); }
                label { (t::ENTRIES) small { (t::ENTRIES_HINT) } input type="number" min="0" max="1000000" name="entries" value=[terms.entries_left]; }
                div .buttons { button .primary { (t::SAVE) } button formaction="/person/expire" { (t::EXPIRE_NOW) } }
            }
        }
    }
}

fn rename_form(person: &Person, visitor: &Visitor) -> Markup {
    html! {
        section .card {
            h2 { (t::RENAME) }
            form .inline method="post" action="/person/rename" {
                (csrf(visitor))
                input type="hidden" name="name" value=(person.name);
                label { span .hidden { (t::NEW_NAME) } input name="to" value=(person.name) required maxlength="64"; }
                button { (t::RENAME) }
            }
        }
    }
}

fn erase_form(person: &Person, visitor: &Visitor) -> Markup {
    html! {
        section .card .danger-zone {
            h2 { (t::ERASE) }
            p .soft { (t::ERASE_MORE) }
            form .inline method="post" action="/person/erase" {
                (csrf(visitor))
                input type="hidden" name="name" value=(person.name);
                label { span .hidden { (t::ERASE_CONFIRM) } input name="typed" required placeholder=(t::ERASE_CONFIRM) autocomplete="off" maxlength="64"; }
                button .danger { (t::ERASE) }
            }
        }
    }
}

fn page_of(name: &str) -> String {
    format!("/person{}", url::query(&[("name", name)]))
}

/// Gives a person another name.
pub(super) async fn rename(State(app): Shared, Extension(visitor): Who, Form(fields): Form) -> Response {
    let (name, to) = (fields.get("name").to_owned(), fields.get("to").to_owned());
    let request = fields.need("to").map(|to| Request::Rename { name: name.clone(), to });
    let asked = match request {
        Ok(request) => app.desk.ask(&visitor, request).await,
        Err(trouble) => Err(trouble),
    };
    let now_called = if asked.is_ok() { &to } else { &name };
    let page = page_of(now_called);
    conclude(&app, &visitor, asked.map(|_| t::renamed(&to)), &page)
}

/// Changes groups, validity and entries to what the form says.
pub(super) async fn terms(State(app): Shared, Extension(visitor): Who, Form(fields): Form) -> Response {
    let name = fields.get("name").to_owned();
    let before = match book(&app, &visitor).await {
        Ok(book) => book.people.into_iter().find(|row| row.name == name).map(|row| row.terms),
        Err(trouble) => return conclude(&app, &visitor, Err(trouble), "/people"),
    };
    let change_of = wanted(&fields, &before.unwrap_or_default(), &app.zone());
    let request = change_of
        .map(|change| Request::ChangePolicy { change: Change::Person { name: name.clone(), change } });
    change(&app, &visitor, request, t::saved(&name), &page_of(&name)).await
}

/// What has to change for the terms to be what the form says.
fn wanted(fields: &Fields, before: &PersonTerms, zone: &TimeZone) -> Result<PersonChange, Trouble> {
    let named = fields.get("groups").split(',').map(str::trim).filter(|group| !group.is_empty());
    let mut groups = std::collections::BTreeSet::new();
    for group in named {
        match group.parse::<Whom>() {
            Ok(Whom::Group(group)) => groups.insert(group),
            Ok(Whom::Everybody) => return Err(bad(t::EVERYBODY_IS_NO_GROUP)),
            Err(error) => return Err(bad(error.to_string())),
        };
    }
    let limit = |at: Option<Timestamp>| at.map_or(Limit::None, Limit::At);
    let entries = match fields.get("entries") {
        "" => Limit::None,
        text => Limit::At(text.parse::<u32>().map_err(|_| bad(t::BAD_ENTRIES))?),
    };
    Ok(PersonChange {
        join: &groups - &before.groups,
        leave: &before.groups - &groups,
        valid_from: Some(limit(times::of_field(fields.get("from"), zone)?)),
        valid_until: Some(limit(times::of_field(fields.get("until"), zone)?)),
        entries: Some(entries),
        with: None,
    })
}

/// From now on they are not let in; nothing else about them changes.
pub(super) async fn expire(State(app): Shared, Extension(visitor): Who, Form(fields): Form) -> Response {
    let name = fields.get("name").to_owned();
    let until = Some(Limit::At(app.options.clock.wall()));
    let change_of = PersonChange { valid_until: until, ..PersonChange::default() };
    let request = Request::ChangePolicy { change: Change::Person { name: name.clone(), change: change_of } };
    change(&app, &visitor, Ok(request), t::saved(&name), &page_of(&name)).await
}

/// Erases a person whose name was typed once more.
pub(super) async fn erase(State(app): Shared, Extension(visitor): Who, Form(fields): Form) -> Response {
    let (name, typed) = (fields.get("name").to_owned(), fields.get("typed"));
    if name.is_empty() || name != typed {
        return conclude(&app, &visitor, Err(bad(t::ERASE_MISMATCH)), &page_of(&name));
    }
    let asked = app.desk.ask(&visitor, Request::Erase { name: name.clone(), prove: true }).await;
    let to = if asked.is_ok() { "/people".to_owned() } else { page_of(&name) };
    let how = asked.and_then(|reply| match reply {
        Reply::Erased { erasure } => proof(&erasure),
        _ => Err(bad(t::ODD_ANSWER)),
    });
    conclude(&app, &visitor, how, &to)
}

/// What was sought and found of somebody, before and after they were erased. Traces that are left are no success.
fn proof(erasure: &Erasure) -> Result<String, Trouble> {
    let (Some(before), Some(after)) = (&erasure.before, &erasure.after) else {
        return Ok(t::erased(&erasure.person));
    };
    if after.pieces() > 0 || !after.unread.is_empty() {
        return Err(bad(t::erased_not_proven(&erasure.person, after.pieces(), after.unread.len())));
    }
    Ok(t::erased_proven(&erasure.person, erasure.samples, after.files, after.bytes, before.pieces()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change_to(form: &str) -> Result<PersonChange, Trouble> {
        let before =
            PersonTerms { groups: ["staff".to_owned(), "lab".to_owned()].into(), ..PersonTerms::default() };
        wanted(&Fields::parse(form), &before, &TimeZone::UTC)
    }

    #[test]
    fn terms_become_what_the_form_says() {
        let change = change_to("groups=Lab%2C+visitors&until=2026-11-24T18%3A00&entries=3").unwrap();
        assert_eq!(change.join, ["visitors".to_owned()].into());
        assert_eq!(change.leave, ["staff".to_owned()].into());
        assert_eq!(change.valid_until, Some(Limit::At("2026-11-24T18:00:00Z".parse().unwrap())));
        assert_eq!((change.valid_from, change.entries), (Some(Limit::None), Some(Limit::At(3))));
        assert_eq!(change_to("groups=").unwrap().leave.len(), 2);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for form in ["groups=a+b", "groups=everybody", "entries=-1", "entries=many", "until=soon"] {
            assert!(change_to(form).is_err(), "{form}");
        }
    }
}
