//! Who may enter when: the rules as a week that can be read, holidays, visitors, and the question whether somebody may
//! enter at some time. Judged here by the same pure function as at the door, on the same book.

use axum::Extension;
use axum::extract::State;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use maud::{Markup, html};

use super::super::accounts::Role;
use super::super::desk::Trouble;
use super::super::session::Visitor;
use super::super::{text as t, url};
use super::form::{Fields, Query};
use super::icons::icon;
use super::people::{book, tags, validity};
use super::rules::{holiday_form, rule_form, settings_form};
use super::shell::{self, csrf, empty};
use super::{Page, Shared, Who, odd, times};
use crate::daemon::protocol::{Reply, Request, Status};
use crate::policy::{
    Doubts, Effect, Entry, Gate, Now, NumberedRule, PersonTerms, Place, Policy, RuleBook, Says, Schedule,
    Shown, Step, Subject, Who as Whom, With,
};

/// The week is looked at in steps of so many minutes.
const STEP_MIN: i64 = 15;

pub(super) async fn show(State(app): Shared, Extension(visitor): Who, Query(query): Query) -> Page {
    let book = book(&app, &visitor).await?;
    let (zone, now) = (app.zone(), app.options.clock.wall());
    let Reply::Status(status) = app.desk.ask(&visitor, Request::Status).await? else { return Err(odd()) };
    let why = ask(&book, &query, &status, now, &zone);
    let admin = visitor.may(Role::Admin);
    let content = html! {
        (shell::head(t::POLICY, html! {}))
        section .card .week aria-labelledby="week" {
            (week(&book, &zone, now, admin.then_some(&visitor)))
            @if admin { (rule_form(&book, &visitor)) }
        }
        div .two {
            div .column {
                section .card #why { h2 { (t::MAY_THEY) } (why_form(&book, &query, &status)) @if let Some(answer) = &why { (answered(answer)) } }
                section .card { h2 { (t::VISITORS) } p .soft { (t::VISITORS_MORE) } (visitors(&book, now, &zone)) }
            }
            div .column {
                section .card { h2 { (t::HOLIDAYS) } (holidays(&book, admin.then_some(&visitor))) @if admin { (holiday_form(&visitor)) } }
                section .card { h2 { (t::SETTINGS) } (settings_form(&book, &visitor, admin)) }
            }
        }
    };
    Ok(shell::page(&app, &visitor, "/policy", t::POLICY, content))
}

/// The days of the week that `now` is in, Monday first.
fn days(now: Timestamp, zone: &TimeZone) -> Vec<Date> {
    let today = times::date(now, zone);
    let since = i64::from(today.weekday().since(Weekday::Monday));
    let monday = today.checked_sub(since.days()).unwrap_or(today);
    (0..7_i64).filter_map(|n| monday.checked_add(n.days()).ok()).collect()
}

/// The stretches of a day, in minutes, in which a rule counts.
fn stretches(schedule: &Schedule, day: Date, is_holiday: impl Fn(Date) -> bool) -> Vec<(i64, i64)> {
    let counts = |minute: i64| {
        let at = day.at((minute / 60) as i8, (minute % 60) as i8, 0, 0);
        schedule.window(at, &is_holiday).is_some()
    };
    let mut found: Vec<(i64, i64)> = Vec::new();
    for minute in (0..24 * 60).step_by(STEP_MIN as usize).filter(|minute| counts(*minute)) {
        match found.last_mut() {
            Some((_, until)) if *until == minute => *until += STEP_MIN,
            _ => found.push((minute, minute + STEP_MIN)),
        }
    }
    found
}

fn week(book: &RuleBook, zone: &TimeZone, now: Timestamp, admin: Option<&Visitor>) -> Markup {
    let (days, today) = (days(now, zone), times::date(now, zone));
    let holiday = |date: Date| book.holidays.iter().find(|holiday| holiday.has(date));
    html! {
        div .title { h2 #week { (t::WEEK) } ul .legend { li .allow { (t::ALLOW) } li .deny { (t::DENY) } li .hold { (t::KEEP_OPEN) } } }
        @if book.rules.is_empty() { (empty("policy", t::NO_RULES, t::NO_RULES_MORE)) }
        @else {
            table .rules {
                thead { tr {
                    th scope="col" { (t::RULES) }
                    @for (day, name) in days.iter().zip(t::DAY_NAMES) {
                        th scope="col" .day .today[*day == today] .holiday[holiday(*day).is_some()] title=[holiday(*day).map(|holiday| holiday.name.as_str())] { (name) small { (day.day()) } }
                    }
                    @if admin.is_some() { td {} }
                } }
                tbody {
                    @for numbered in &book.rules {
                        tr {
                            th scope="row" { (sentence(numbered)) }
                            @for (day, name) in days.iter().zip(t::DAY_NAMES) { td .day data-day=(name) { (strip(numbered, *day, |date| holiday(date).is_some())) } }
                            @if let Some(visitor) = admin { td .act { (remove_rule(numbered, visitor)) } }
                        }
                    }
                }
            }
        }
    }
}

/// A rule in words.
fn sentence(numbered: &NumberedRule) -> Markup {
    let rule = &numbered.rule;
    let (class, does) = match rule.effect {
        Effect::Allow => ("allow", t::ALLOW),
        Effect::Deny => ("deny", t::DENY),
        Effect::HoldOpen => ("hold", t::KEEP_OPEN),
    };
    html! {
        span class={ "effect " (class) } { (does) }
        @if rule.effect != Effect::HoldOpen { " " strong { (rule.who) } }
        small {
            (t::rule_number(numbered.id.0)) " · " (rule.when)
            @if let Some(first) = &rule.after_first { ", " (t::once_in(&first.to_string())) }
            @if rule.with != With::Face { ", " (t::WITH_WORD) " " (rule.with) }
            @if !rule.doors.is_empty() { " · " (t::at_doors(&rule.doors)) }
        }
    }
}

/// A day of a rule.
fn strip(numbered: &NumberedRule, day: Date, is_holiday: impl Fn(Date) -> bool) -> Markup {
    let class = match numbered.rule.effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
        Effect::HoldOpen => "hold",
    };
    let stretches = stretches(&numbered.rule.when, day, is_holiday);
    let clock = |minute: i64| format!("{:02}:{:02}", minute / 60, minute % 60);
    let said: Vec<String> =
        stretches.iter().map(|(from, until)| format!("{}–{}", clock(*from), clock(*until))).collect();
    let said = if said.is_empty() { "–".to_owned() } else { said.join(", ") };
    html! {
        svg .strip viewBox="0 0 1440 100" preserveAspectRatio="none" role="img" aria-label=(said) {
            title { (said) }
            rect .track width="1440" height="100" {}
            @for (from, until) in &stretches { rect class=(class) x=(from) width=(until - from) height="100" {} }
            rect .noon x="718" width="4" height="100" {}
        }
    }
}

fn remove_rule(numbered: &NumberedRule, visitor: &Visitor) -> Markup {
    html! {
        form method="post" action="/policy/rule/remove" {
            (csrf(visitor))
            input type="hidden" name="id" value=(numbered.id.0);
            button .quiet aria-label={ (t::REMOVE) ": " (numbered.rule) } title=(t::REMOVE) { (icon("refused")) }
        }
    }
}

fn visitors(book: &RuleBook, now: Timestamp, zone: &TimeZone) -> Markup {
    let limited = |terms: &PersonTerms| {
        terms.valid_until.is_some()
            || terms.entries_left.is_some()
            || terms.valid_from.is_some_and(|from| from > now)
    };
    let limited: Vec<_> = book.people.iter().filter(|row| limited(&row.terms)).collect();
    html! {
        @if limited.is_empty() { p .soft { (t::NO_VISITORS) } }
        ul .lines {
            @for row in limited {
                li { a href={ "/person" (url::query(&[("name", &row.name)])) } { (row.name) } (tags(&row.terms)) span .end { (validity(&row.terms, now, zone)) } }
            }
        }
    }
}

fn holidays(book: &RuleBook, admin: Option<&Visitor>) -> Markup {
    html! {
        @if book.holidays.is_empty() { p .soft { (t::NO_HOLIDAYS) } }
        ul .lines {
            @for holiday in &book.holidays {
                li {
                    span { (holiday.name) }
                    span .end { (holiday.dates) @if holiday.yearly { " · " (t::YEARLY) } }
                    @if let Some(visitor) = admin {
                        form method="post" action="/policy/holiday/remove" {
                            (csrf(visitor))
                            input type="hidden" name="date" value=(holiday.dates.first());
                            button .quiet aria-label={ (t::REMOVE) ": " (holiday.name) } title=(t::REMOVE) { (icon("refused")) }
                        }
                    }
                }
            }
        }
    }
}

/// Whether somebody may enter, step by step.
struct Why {
    title: String,
    may: bool,
    steps: Vec<(String, String, &'static str)>,
}

fn ask(
    book: &RuleBook,
    query: &Fields,
    status: &Status,
    now: Timestamp,
    zone: &TimeZone,
) -> Option<Result<Why, Trouble>> {
    let name = Some(query.get("name")).filter(|name| !name.is_empty())?;
    let supposed = times::of_field(query.get("at"), zone);
    Some(supposed.and_then(|at| judge(book, name, at, query.get("door"), status, now)))
}

fn judge(
    book: &RuleBook,
    name: &str,
    at: Option<Timestamp>,
    door: &str,
    status: &Status,
    now: Timestamp,
) -> Result<Why, Trouble> {
    let row = book.people.iter().find(|row| row.name.eq_ignore_ascii_case(name));
    let row = row.ok_or_else(|| Trouble::Refused(t::nobody_called(name)))?;
    let policy = Policy::new(book.clone()).map_err(|error| Trouble::Refused(error.to_string()))?;
    let entries =
        book.people.iter().filter_map(|row| Some((row.id, Entry { wall: row.last_entry?, mono: None })));
    let wall = at.unwrap_or(now);
    let doors = status.doors.iter().map(|door| (door.name.clone(), door.side, door.area.clone()));
    let places = Place::all(doors);
    let place = places.iter().find(|place| door.is_empty() || place.is_called(door));
    let place = place.ok_or_else(|| Trouble::Refused(t::no_door(door)))?;
    let clock_trusted = status.clock_trusted || at.is_some();
    let threshold_supported = status.far.is_none_or(|far| far.supported);
    let moment = Now { wall, mono: None, clock_trusted, threshold_supported, gate: Gate::Open, place };
    // Their face, which leaves nothing to doubt.
    let shown = Shown { face: Some(Doubts::default()), pin: false };
    let steps = policy.explain(row.id, shown, &entries.collect(), &moment);
    let may = steps.last().is_some_and(|step| step.says == Says::Admits);
    let shown = format!("{}, {}", row.name, times::moment(wall, policy.zone()));
    Ok(Why { title: shown, may, steps: steps.iter().map(|step| in_words(step, &policy)).collect() })
}

fn in_words(step: &Step, policy: &Policy) -> (String, String, &'static str) {
    let about = match step.subject {
        Subject::Rule(id) => policy.name_of(id),
        Subject::Enrolled => t::STEP_ENROLLED.into(),
        Subject::Lockdown => t::STEP_LOCKDOWN.into(),
        Subject::Attempts => t::STEP_ATTEMPTS.into(),
        Subject::Validity => t::STEP_VALIDITY.into(),
        Subject::Entries => t::STEP_ENTRIES.into(),
        Subject::Passback => t::STEP_PASSBACK.into(),
        Subject::End => t::STEP_END.into(),
    };
    match &step.says {
        Says::Passes => (about, t::NOTHING_AGAINST.into(), "good"),
        Says::Silent(why) => (about, (*why).to_owned(), "plain"),
        Says::Admits => (about, t::LETS_IN.into(), "good"),
        Says::Asks(why) => (about, why.to_string(), "plain"),
        Says::Refuses(refusal) => (about, policy.words(refusal), "refused"),
    }
}

fn why_form(book: &RuleBook, query: &Fields, status: &Status) -> Markup {
    html! {
        form .inline method="get" action="/policy#why" {
            label { (t::PERSON) select name="name" required {
                @for row in &book.people { option value=(row.name) selected[row.name == query.get("name")] { (row.name) } }
            } }
            @if status.doors.len() > 1 {
                label { (t::DOOR) select name="door" { @for door in &status.doors { option value=(door.name) selected[door.name == query.get("door")] { (door.name) } } } }
            }
            label { (t::AT) input type="datetime-local" name="at" value=(query.get("at")); }
            button { (t::ASK) }
        }
    }
}

fn answered(answer: &Result<Why, Trouble>) -> Markup {
    match answer {
        Err(trouble) => html! { p .flash .bad role="alert" { (icon("alarm")) (trouble) } },
        Ok(why) => html! {
            div .answer .yes[why.may] .no[!why.may] {
                p { (icon(if why.may { "good" } else { "refused" })) strong { (if why.may { t::YES } else { t::NO }) } span { (why.title) } }
                ol .steps { @for (about, says, class) in &why.steps { li class=(class) { span .sign { (icon(class)) } span { (about) } small { (says) } } } }
            }
        },
    }
}

/// Everybody and the groups that there are, for those who choose.
pub(super) fn groups(book: &RuleBook) -> Vec<String> {
    let of_people = book.people.iter().flat_map(|row| row.terms.groups.iter().cloned());
    let of_rules = book.rules.iter().filter_map(|numbered| match &numbered.rule.who {
        Whom::Group(group) => Some(group.clone()),
        Whom::Everybody => None,
    });
    let mut all: Vec<String> = of_people.chain(of_rules).collect();
    all.sort();
    all.dedup();
    all.insert(0, t::EVERYBODY.to_owned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(json: &str) -> Schedule {
        serde_json::from_str::<crate::policy::Rule>(json).unwrap().when
    }

    #[test]
    fn a_day_shows_when_a_rule_counts() {
        let office = schedule(
            r#"{"effect":"allow","who":"staff","days":"mon-fri","from":"07:00","until":"19:00","holidays":"not"}"#,
        );
        let monday = "2026-11-23".parse().unwrap();
        assert_eq!(stretches(&office, monday, |_| false), [(420, 1140)]);
        assert_eq!(stretches(&office, monday, |_| true), []);
        let night =
            schedule(r#"{"effect":"allow","who":"staff","days":"mon","from":"22:00","until":"06:00"}"#);
        assert_eq!(stretches(&night, monday, |_| false), [(1320, 1440)]);
        assert_eq!(stretches(&night, monday.tomorrow().unwrap(), |_| false), [(0, 360)]);
        assert_eq!(stretches(&Schedule::ALWAYS, monday, |_| false), [(0, 1440)]);
    }

    #[test]
    fn the_week_begins_on_monday() {
        let sunday = "2026-11-29T12:00:00Z".parse().unwrap();
        let week = days(sunday, &TimeZone::UTC);
        assert_eq!((week.len(), week[0].to_string()), (7, "2026-11-23".to_owned()));
    }
}
