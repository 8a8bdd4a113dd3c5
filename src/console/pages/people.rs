//! Everybody who is enrolled.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::State;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::super::accounts::Role;
use super::super::desk::Trouble;
use super::super::session::Visitor;
use super::super::{App, lock, text as t, url};
use super::icons::icon;
use super::shell::{self, empty};
use super::{Page, Shared, Who, odd, times};
use crate::daemon::protocol::{Reply, Request};
use crate::gallery::{Person, PersonId};
use crate::policy::{PersonTerms, Policy, RuleBook};

pub(super) async fn show(State(app): Shared, Extension(visitor): Who) -> Page {
    let Reply::People { people } = app.desk.ask(&visitor, Request::People).await? else { return Err(odd()) };
    let book = book(&app, &visitor).await?;
    let (zone, now) = (app.zone(), app.options.clock.wall());
    let terms: HashMap<PersonId, &PersonTerms> = book.people.iter().map(|row| (row.id, &row.terms)).collect();
    let actions = html! {
        @if visitor.may(Role::Operator) { a .button .primary href="/people/enrol" { (icon("add")) (t::ENROL) } }
    };
    let content = html! {
        (shell::head(t::PEOPLE, actions))
        @if people.is_empty() {
            div .card { (empty("people", t::NOBODY, t::NOBODY_MORE)) }
        } @else {
            section .card .people {
                label .find { (icon("search")) span .hidden { (t::FIND) } input type="search" #find placeholder=(t::FIND) autocomplete="off"; }
                table #people {
                    thead { tr { th scope="col" { (t::NAME) } th scope="col" { (t::GROUPS) } th scope="col" { (t::VALID) } th scope="col" .figure { (t::SAMPLES) } th scope="col" { (t::LAST_IN) } } }
                    tbody { @for person in &people { (line(person, terms.get(&person.id).copied(), now, &zone)) } }
                }
                p .soft .none hidden #find-none { (t::NO_MATCH_PERSON) }
            }
        }
    };
    Ok(shell::page(&app, &visitor, "/people", t::PEOPLE, content))
}

/// The rule book; its zone is what times are shown in from now on.
pub(super) async fn book(app: &App, visitor: &Visitor) -> Result<RuleBook, Trouble> {
    let Reply::Policy { book } = app.desk.ask(visitor, Request::Policy).await? else { return Err(odd().0) };
    if let Ok(policy) = Policy::new((*book).clone()) {
        *lock(&app.zone) = policy.zone().clone();
    }
    Ok(*book)
}

fn line(person: &Person, terms: Option<&PersonTerms>, now: Timestamp, zone: &TimeZone) -> Markup {
    let none = PersonTerms::default();
    let terms = terms.unwrap_or(&none);
    html! {
        tr {
            th scope="row" { a href={ "/person" (url::query(&[("name", &person.name)])) } { (initials(&person.name)) (person.name) } }
            td data-name=(t::GROUPS) { (tags(terms)) }
            td data-name=(t::VALID) { (validity(terms, now, zone)) }
            td .figure data-name=(t::SAMPLES) { (person.templates.len()) }
            td data-name=(t::LAST_IN) { @match person.last_grant { Some(at) => { (times::moment(at, zone)) } None => { span .soft { (t::NEVER) } } } }
        }
    }
}

/// Who it is at a glance, without a picture: two letters.
pub(super) fn initials(name: &str) -> Markup {
    let mut words = name.split_whitespace();
    let first = words.next().and_then(|word| word.chars().next());
    let last = words.next_back().and_then(|word| word.chars().next());
    let letters: String = first.into_iter().chain(last).flat_map(char::to_uppercase).collect();
    html! { span .initials aria-hidden="true" { (letters) } }
}

/// Their groups.
pub(super) fn tags(terms: &PersonTerms) -> Markup {
    html! { @for group in &terms.groups { span .tag { (group) } } }
}

/// Whether and how long they may come.
pub(super) fn validity(terms: &PersonTerms, now: Timestamp, zone: &TimeZone) -> Markup {
    let over = terms.valid_until.is_some_and(|until| until <= now) || terms.entries_left == Some(0);
    html! {
        @if over { span .tag .bad { (t::EXPIRED) } }
        @match (terms.valid_from.filter(|from| *from > now), terms.valid_until) {
            (None, None) if terms.entries_left.is_none() => { span .soft { (t::ALWAYS) } }
            (from, until) => {
                @let limits = [
                    from.map(|from| t::from_moment(&times::moment(from, zone))),
                    until.map(|until| t::until_moment(&times::moment(until, zone))),
                    terms.entries_left.map(t::entries),
                ];
                (limits.into_iter().flatten().collect::<Vec<_>>().join(" · "))
            }
        }
    }
}
