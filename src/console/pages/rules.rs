//! Changes of the rule book, and the forms that ask for them.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::super::desk::Trouble;
use super::super::session::Visitor;
use super::super::text as t;
use super::form::{Fields, Form};
use super::icons::icon;
use super::policy::groups;
use super::shell::csrf;
use super::{Shared, Who, bad, change, conclude};
use crate::daemon::protocol::Request;
use crate::policy::{
    Change, Dates, Effect, Holiday, OnHolidays, Rule, RuleBook, RuleError, RuleId, Schedule, Who as Whom,
    With,
};

const BACK: &str = "/policy";

pub(super) fn rule_form(book: &RuleBook, visitor: &Visitor) -> Markup {
    html! {
        details .edit {
            summary { (icon("add")) (t::ADD_RULE) }
            form .rule method="post" action="/policy/rule" {
                (csrf(visitor))
                label { (t::EFFECT) select name="effect" { option value="allow" { (t::ALLOW) } option value="deny" { (t::DENY) } option value="hold-open" { (t::KEEP_OPEN) } } }
                label { (t::WHO) input name="who" value=(t::EVERYBODY) list="groups" required maxlength="32" autocapitalize="none"; }
                datalist #groups { @for group in groups(book) { option value=(group) {} } }
                fieldset .chips {
                    legend { (t::DAYS) }
                    @for name in t::DAY_NAMES { label .chip { input type="checkbox" name="day" value=(name.to_lowercase()) checked; span { (name) } } }
                }
                label { (t::FROM) input type="time" name="from" value="07:00" required; }
                label { (t::UNTIL) input type="time" name="until" value="19:00" required; }
                label { (t::ON_HOLIDAYS) select name="holidays" { option value="too" { (t::TOO) } option value="not" { (t::NOT_ON) } option value="only" { (t::ONLY_ON) } } }
                label { (t::WITH) select name="with" { option value="face" { (t::WITH_FACE) } option value="face-and-pin" { (t::WITH_BOTH) } option value="face-or-pin" { (t::WITH_EITHER) } } }
                label { (t::AFTER_FIRST) input name="after_first" list="groups" maxlength="32" autocapitalize="none"; }
                label { (t::AT_DOORS) small { (t::AT_DOORS_HINT) } input name="doors" maxlength="200"; }
                fieldset .pair {
                    legend { (t::DATES) }
                    label { span .hidden { (t::FIRST_DAY) } input type="date" name="first"; }
                    label { span .hidden { (t::LAST_DAY) } input type="date" name="last"; }
                }
                div .buttons { button .primary { (t::ADD_RULE) } }
            }
        }
    }
}

/// Adds a rule.
pub(super) async fn add(State(app): Shared, Extension(visitor): Who, Form(fields): Form) -> Response {
    let request = rule(&fields).map(|rule| Request::ChangePolicy { change: Change::AddRule(rule) });
    change(&app, &visitor, request, t::RULE_ADDED, BACK).await
}

fn rule(fields: &Fields) -> Result<Rule, Trouble> {
    let effect = match fields.get("effect") {
        "allow" => Effect::Allow,
        "deny" => Effect::Deny,
        "hold-open" => Effect::HoldOpen,
        _ => return Err(bad(t::BAD_FORM)),
    };
    let said = |error: RuleError| bad(error.to_string());
    let who = match effect {
        Effect::HoldOpen => Whom::Everybody,
        _ => fields.need("who")?.parse().map_err(said)?,
    };
    let days: Vec<&str> = fields.all("day").collect();
    if days.is_empty() {
        return Err(bad(t::NO_DAYS));
    }
    // The end of a day is written as its midnight in a field of the browser.
    let until = match fields.get("until") {
        "00:00" => "24:00".to_owned(),
        _ => fields.need("until")?,
    };
    let after_first = Some(fields.get("after_first")).filter(|group| !group.is_empty());
    Ok(Rule {
        effect,
        who,
        when: Schedule {
            days: days.join(",").parse().map_err(said)?,
            from: fields.need("from")?.parse().map_err(said)?,
            until: until.parse().map_err(said)?,
            dates: dates(fields)?,
            holidays: match fields.get("holidays") {
                "not" => OnHolidays::Not,
                "only" => OnHolidays::Only,
                _ => OnHolidays::Too,
            },
        },
        after_first: after_first.map(str::parse).transpose().map_err(said)?,
        doors: doors(fields),
        with: with(fields, effect)?,
    })
}

/// What they must show, of a rule that allows.
fn with(fields: &Fields, effect: Effect) -> Result<With, Trouble> {
    match fields.get("with") {
        "" => Ok(With::Face),
        text if effect == Effect::Allow => text.parse().map_err(|error: RuleError| bad(error.to_string())),
        _ => Ok(With::Face),
    }
}

/// The doors that are named; all where none is.
fn doors(fields: &Fields) -> std::collections::BTreeSet<String> {
    let named = fields.get("doors").split(',').map(str::trim).filter(|door| !door.is_empty());
    named.map(str::to_owned).collect()
}

/// From the first day to the last; one of them alone is that day.
fn dates(fields: &Fields) -> Result<Option<Dates>, Trouble> {
    let (first, last) = (fields.get("first"), fields.get("last"));
    let text = match (first, last) {
        ("", "") => return Ok(None),
        ("", one) | (one, "") => one.to_owned(),
        (first, last) => format!("{first}..{last}"),
    };
    text.parse().map(Some).map_err(|error: RuleError| bad(error.to_string()))
}

/// Removes a rule.
pub(super) async fn remove(State(app): Shared, Extension(visitor): Who, Form(fields): Form) -> Response {
    let id = fields.get("id").parse().map_err(|_| bad(t::BAD_FORM));
    let request = id.map(|id| Request::ChangePolicy { change: Change::RemoveRule(RuleId(id)) });
    change(&app, &visitor, request, t::RULE_REMOVED, BACK).await
}

pub(super) fn holiday_form(visitor: &Visitor) -> Markup {
    html! {
        details .edit {
            summary { (icon("add")) (t::ADD) }
            form method="post" action="/policy/holiday" {
                (csrf(visitor))
                label { (t::NAME) input name="name" required maxlength="64"; }
                label { (t::FIRST_DAY) input type="date" name="first" required; }
                label { (t::LAST_DAY) input type="date" name="last"; }
                label .tick { input type="checkbox" name="yearly" value="yes"; (t::YEARLY) }
                div .buttons { button .primary { (t::ADD) } }
            }
        }
    }
}

/// Adds a holiday.
pub(super) async fn add_holiday(State(app): Shared, Extension(visitor): Who, Form(fields): Form) -> Response {
    let holiday = fields.need("name").and_then(|name| {
        let dates = dates(&fields)?.ok_or_else(|| bad(t::BAD_FORM))?;
        Ok(Holiday { dates, name, yearly: fields.has("yearly") })
    });
    let request = holiday.map(|holiday| Request::ChangePolicy { change: Change::AddHoliday(holiday) });
    change(&app, &visitor, request, t::HOLIDAY_ADDED, BACK).await
}

/// Removes the holidays that have a day.
pub(super) async fn remove_holiday(
    State(app): Shared,
    Extension(visitor): Who,
    Form(fields): Form,
) -> Response {
    let date = fields.get("date").parse().map_err(|_| bad(t::BAD_FORM));
    let request = date.map(|date| Request::ChangePolicy { change: Change::RemoveHoliday(date) });
    change(&app, &visitor, request, t::HOLIDAY_REMOVED, BACK).await
}

pub(super) fn settings_form(book: &RuleBook, visitor: &Visitor, admin: bool) -> Markup {
    let zone = book.zone.as_deref().unwrap_or_default();
    html! {
        @if admin {
            form method="post" action="/policy/settings" {
                (csrf(visitor))
                label { (t::ZONE) input name="zone" value=(zone) placeholder=(t::ZONE_MACHINE) maxlength="64" autocapitalize="none" spellcheck="false"; }
                label { (t::PASSBACK) small { (t::SECONDS) } input type="number" name="passback" min="0" max="86400" value=(book.passback_s); }
                div .buttons { button { (t::SAVE) } }
            }
        } @else {
            dl .rows {
                div { dt { (t::ZONE) } dd { @if zone.is_empty() { (t::ZONE_MACHINE) } @else { (zone) } } }
                div { dt { (t::PASSBACK) } dd { (book.passback_s) " " (t::SECONDS) } }
            }
        }
    }
}

/// Changes zone and anti-passback, one after the other.
pub(super) async fn settings(State(app): Shared, Extension(visitor): Who, Form(fields): Form) -> Response {
    let zone = Some(fields.get("zone").to_owned()).filter(|zone| !zone.is_empty());
    let Ok(passback) = fields.get("passback").parse::<u32>() else {
        return conclude(&app, &visitor, Err(bad(t::BAD_FORM)), BACK);
    };
    let change_zone = Request::ChangePolicy { change: Change::Zone(zone) };
    if let Err(trouble) = app.desk.ask(&visitor, change_zone).await {
        return conclude(&app, &visitor, Err(trouble), BACK);
    }
    let request = Request::ChangePolicy { change: Change::Passback(passback) };
    change(&app, &visitor, Ok(request), t::SETTINGS_SAVED, BACK).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: &str) -> Result<String, Trouble> {
        rule(&Fields::parse(form)).map(|rule| rule.to_string())
    }

    #[test]
    fn a_form_makes_the_rule_that_it_shows() {
        let base = "effect=allow&who=Staff&day=mon&day=tue&day=wed&from=07%3A00&until=19%3A00&holidays=not";
        assert_eq!(written(base).unwrap(), "allow staff mon-wed 07:00-19:00, not on holidays");
        let all = "effect=deny&who=everybody&day=mon&day=tue&day=wed&day=thu&day=fri&day=sat&day=sun&from=00:00&until=00:00";
        assert_eq!(written(all).unwrap(), "deny everybody always");
        let dated = format!("{base}&first=2026-12-01&last=2026-12-24&after_first=lab");
        assert_eq!(
            written(&dated).unwrap(),
            "allow staff mon-wed 07:00-19:00 on 2026-12-01..2026-12-24, not on holidays, once lab came in"
        );
        assert!(
            written("effect=hold-open&day=mon&from=09:00&until=17:00").unwrap().starts_with("hold open mon")
        );
    }

    #[test]
    fn what_is_no_rule_is_said() {
        for form in [
            "",
            "effect=allow&who=a+b&day=mon&from=07:00&until=19:00",
            "effect=allow&who=staff&from=07:00&until=19:00",
            "effect=allow&who=staff&day=xyz&from=07:00&until=19:00",
            "effect=allow&who=staff&day=mon&from=7&until=19:00",
            "effect=allow&who=staff&day=mon&from=07:00&until=19:00&first=2026-12-24&last=2026-12-01",
            "effect=open&who=staff&day=mon&from=07:00&until=19:00",
        ] {
            assert!(matches!(written(form), Err(Trouble::Refused(_))), "{form}");
        }
    }
}
