//! The rows of the rule book: rules, holidays, what is agreed with each person, and what holds for the whole door.
//!
//! The daemon reads the whole book at once and judges from memory; changes come one at a time, each with its event.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, Transaction, params};

use super::journal::{from_tag, micros, tag, timestamp};
use super::trouble::Trouble;
use super::{StoreError, people};
use crate::gallery::PersonId;
use crate::journal::{EventKind, PersonRef};
use crate::policy::{
    Change, Direction, Document, Holiday, NumberedRule, Passage, PersonRow, PersonTerms, Rule, RuleBook,
    RuleId, With, check_zone,
};

/// What a change did, for its event.
pub(super) struct Done {
    pub kind: EventKind,
    pub person: Option<PersonRef>,
    pub what: String,
}

/// Everything.
pub(super) fn book(conn: &Connection) -> Result<RuleBook, Trouble> {
    let state =
        conn.query_row("SELECT zone, passback_s, lockdown, direction FROM policy_state", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, String>(3)?))
        })?;
    let (zone, passback_s, lockdown, direction) = state;
    let direction = from_tag(&direction, || "the direction of anti-passback is".to_owned())?;
    let holidays = holidays(conn)?.into_iter().map(|(_, holiday)| holiday).collect();
    Ok(RuleBook { zone, passback_s, direction, lockdown, rules: rules(conn)?, holidays, people: rows(conn)? })
}

/// Carries a change out; belongs into one transaction with its event.
pub(super) fn change(tx: &Transaction<'_>, change: &Change, wall: Timestamp) -> Result<Done, Trouble> {
    let mut done = Done { kind: EventKind::Policy, person: None, what: String::new() };
    done.what = match change {
        Change::AddRule(rule) => format!("added rule {}: {rule}", insert_rule(tx, rule)?),
        Change::RemoveRule(id) => {
            let found = rules(tx)?.into_iter().find(|numbered| numbered.id == *id);
            let Some(NumberedRule { rule, .. }) = found else {
                return Err(refused(format!("there is no rule {}; `accessd policy list` shows all", id.0)));
            };
            tx.execute("DELETE FROM rules WHERE id = ?1", [id.0])?;
            format!("removed rule {}: {rule}", id.0)
        }
        Change::AddHoliday(holiday) => {
            insert_holiday(tx, holiday)?;
            format!("added holiday {} {}", holiday.dates, holiday.name)
        }
        Change::RemoveHoliday(date) => {
            let gone: Vec<_> = holidays(tx)?.into_iter().filter(|(_, holiday)| holiday.has(*date)).collect();
            if gone.is_empty() {
                return Err(refused(format!("{date} is no holiday; `accessd holiday list` shows all")));
            }
            for (id, _) in &gone {
                tx.execute("DELETE FROM holidays WHERE id = ?1", [id])?;
            }
            let names: Vec<&str> = gone.iter().map(|(_, holiday)| holiday.name.as_str()).collect();
            format!("removed holiday {}", names.join(", "))
        }
        Change::Zone(zone) => {
            set_zone(tx, zone.as_deref())?;
            format!("times are those of {}", zone.as_deref().unwrap_or("the machine's zone"))
        }
        Change::Passback(seconds) => {
            tx.execute("UPDATE policy_state SET passback_s = ?1", [seconds])?;
            match seconds {
                0 => "anti-passback off".to_owned(),
                some => format!("nobody enters twice within {some} s"),
            }
        }
        Change::Direction(direction) => {
            set_direction(tx, *direction)?;
            direction.to_string()
        }
        Change::Forgive(name) => {
            done.person = name.as_deref().map(|name| people::known(tx, name)).transpose()?;
            forgive(tx, done.person.as_ref(), wall)?;
            let whom = if name.is_some() { "forgiven" } else { "everybody is forgiven" };
            format!("anti-passback: {whom}")
        }
        Change::Lockdown(on) => {
            tx.execute("UPDATE policy_state SET lockdown = ?1", [on])?;
            done.kind = if *on { EventKind::Lockdown } else { EventKind::LockdownOver };
            String::new()
        }
        Change::Person { name, change } => {
            let person = people::known(tx, name)?;
            let terms = change.apply(&terms_of(tx, person.id)?);
            set_terms(tx, &person, &terms)?;
            done.person = Some(person);
            // A record is read anywhere: in no zone but the one that all share.
            terms.words(&TimeZone::UTC)
        }
        Change::Import(document) => import(tx, document)?,
    };
    Ok(done)
}

/// Takes one entry from a person whose entries are numbered; belongs into one transaction with the grant.
pub(super) fn spend_entry(tx: &Transaction<'_>, person: PersonId) -> rusqlite::Result<()> {
    let mut spend = tx.prepare_cached(
        "UPDATE terms SET entries_left = entries_left - 1 WHERE person = ?1 AND entries_left > 0",
    )?;
    spend.execute([person.0])?;
    Ok(())
}

/// Puts down where somebody went, or takes back what was put down.
pub(super) fn set_passage(
    tx: &Transaction<'_>,
    person: PersonId,
    area: &str,
    passage: Option<&Passage>,
) -> rusqlite::Result<()> {
    let area = area.to_lowercase();
    let Some(Passage { inside, at, .. }) = passage else {
        tx.execute("DELETE FROM passages WHERE person = ?1 AND area = ?2", params![person.0, area])?;
        return Ok(());
    };
    // Of people who are enrolled alone: somebody may have been removed while the door was open for them.
    let mut put = tx.prepare_cached(
        "INSERT OR REPLACE INTO passages (person, area, inside, wall) SELECT id, ?2, ?3, ?4 FROM people WHERE id = ?1",
    )?;
    put.execute(params![person.0, area, inside, micros(*at)])?;
    Ok(())
}

/// Nobody's place is known from then on: what was seen while it did not matter must keep nobody out.
fn set_direction(tx: &Transaction<'_>, direction: Direction) -> rusqlite::Result<()> {
    let before: String = tx.query_row("SELECT direction FROM policy_state", [], |row| row.get(0))?;
    if before == tag(&Direction::Off) {
        tx.execute("DELETE FROM passages", [])?;
    }
    tx.execute("UPDATE policy_state SET direction = ?1", [tag(&direction)])?;
    Ok(())
}

fn forgive(tx: &Transaction<'_>, person: Option<&PersonRef>, wall: Timestamp) -> rusqlite::Result<()> {
    let person = person.map(|person| person.id.0);
    tx.execute("DELETE FROM passages WHERE ?1 IS NULL OR person = ?1", [person])?;
    tx.execute(
        "INSERT OR REPLACE INTO forgiven (person, wall) SELECT id, ?2 FROM people WHERE ?1 IS NULL OR id = ?1",
        params![person, micros(wall)],
    )?;
    Ok(())
}

fn import(tx: &Transaction<'_>, document: &Document) -> Result<String, Trouble> {
    tx.execute("DELETE FROM rules", [])?;
    tx.execute("DELETE FROM holidays", [])?;
    for rule in &document.rules {
        insert_rule(tx, rule)?;
    }
    for holiday in &document.holidays {
        insert_holiday(tx, holiday)?;
    }
    set_zone(tx, document.zone.as_deref())?;
    tx.execute("UPDATE policy_state SET passback_s = ?1", [document.passback_s])?;
    set_direction(tx, document.direction)?;
    for (name, terms) in &document.people {
        set_terms(tx, &people::known(tx, name)?, terms)?;
    }
    Ok(format!(
        "imported {} rules, {} holidays, terms of {} people",
        document.rules.len(),
        document.holidays.len(),
        document.people.len()
    ))
}

fn rules(conn: &Connection) -> Result<Vec<NumberedRule>, Trouble> {
    let mut rows = conn.prepare_cached("SELECT id, rule FROM rules ORDER BY id")?;
    let rows = rows.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (id, text) = row?;
        let rule = serde_json::from_str(&text)
            .map_err(|error| Trouble::Damaged(format!("rule {id} cannot be read ({error})")))?;
        Ok(NumberedRule { id: RuleId(id), rule })
    })
    .collect()
}

fn insert_rule(tx: &Transaction<'_>, rule: &Rule) -> Result<i64, Trouble> {
    let text = serde_json::to_string(rule).expect("a rule is plain data");
    tx.execute("INSERT INTO rules (rule) VALUES (?1)", [text])?;
    Ok(tx.last_insert_rowid())
}

fn holidays(conn: &Connection) -> Result<Vec<(i64, Holiday)>, Trouble> {
    let mut rows =
        conn.prepare_cached("SELECT id, dates, name, yearly FROM holidays ORDER BY dates, name")?;
    let rows = rows.query_map([], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?))
    })?;
    rows.map(|row| {
        let (id, dates, name, yearly) = row?;
        let dates = dates
            .parse()
            .map_err(|error| Trouble::Damaged(format!("holiday {id} cannot be read ({error})")))?;
        Ok((id, Holiday { dates, name, yearly }))
    })
    .collect()
}

fn insert_holiday(tx: &Transaction<'_>, holiday: &Holiday) -> Result<(), Trouble> {
    tx.execute(
        "INSERT INTO holidays (dates, name, yearly) VALUES (?1, ?2, ?3)",
        params![holiday.dates.to_string(), holiday.name, holiday.yearly],
    )?;
    Ok(())
}

fn set_zone(tx: &Transaction<'_>, zone: Option<&str>) -> Result<(), Trouble> {
    check_zone(zone).map_err(|error| refused(error.to_string()))?;
    tx.execute("UPDATE policy_state SET zone = ?1", [zone])?;
    Ok(())
}

/// Everybody with what is agreed and their last entry, by name.
fn rows(conn: &Connection) -> Result<Vec<PersonRow>, Trouble> {
    let mut groups: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    let mut memberships = conn.prepare_cached("SELECT person, member_of FROM memberships")?;
    for row in memberships.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (person, group) = row?;
        groups.entry(person).or_default().insert(group);
    }
    let mut passages: BTreeMap<i64, Vec<Passage>> = BTreeMap::new();
    let mut seen = conn.prepare_cached("SELECT person, area, inside, wall FROM passages")?;
    let seen = seen.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?))))?;
    for row in seen {
        let (person, (area, inside, wall)) = row?;
        passages.entry(person).or_default().push(Passage { area, inside, at: timestamp(wall)? });
    }
    let mut rows = conn.prepare_cached(
        "SELECT people.id, name, valid_from, valid_until, entries_left, forgiven.wall,
            (SELECT wall FROM events WHERE person = people.id AND kind = 'grant'
                AND coalesce(json_extract(detail, '$.side'), 'in') = 'in' ORDER BY id DESC LIMIT 1),
            must_show, EXISTS (SELECT 1 FROM pins WHERE pins.person = people.id)
         FROM people LEFT JOIN terms ON terms.person = people.id LEFT JOIN forgiven ON forgiven.person = people.id
         ORDER BY name_key",
    )?;
    let rows = rows.query_map([], |row| {
        let limits = (row.get(2)?, row.get(3)?, row.get(4)?);
        let shows = (row.get::<_, Option<String>>(7)?, row.get(8)?);
        let times = (row.get(5)?, row.get(6)?);
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, limits, times, shows))
    })?;
    rows.map(|row| {
        let (id, name, (from, until, entries_left), (forgiven, last), (with, has_pin)) = row?;
        let with = with.map(|with| with.parse::<With>()).transpose();
        let with = with.map_err(|error| Trouble::Damaged(format!("what {name:?} must show: {error}")))?;
        let terms = PersonTerms {
            groups: groups.remove(&id).unwrap_or_default(),
            valid_from: moment(from)?,
            valid_until: moment(until)?,
            entries_left,
            with,
        };
        let passages = passages.remove(&id).unwrap_or_default();
        let (last_entry, forgiven) = (moment(last)?, moment(forgiven)?);
        Ok(PersonRow { id: PersonId(id), name, terms, last_entry, passages, forgiven, has_pin })
    })
    .collect()
}

fn moment(micros: Option<i64>) -> Result<Option<Timestamp>, Trouble> {
    micros.map(timestamp).transpose()
}

fn terms_of(tx: &Transaction<'_>, person: PersonId) -> Result<PersonTerms, Trouble> {
    let row = rows(tx)?.into_iter().find(|row| row.id == person);
    Ok(row.map(|row| row.terms).unwrap_or_default())
}

fn set_terms(tx: &Transaction<'_>, person: &PersonRef, terms: &PersonTerms) -> Result<(), Trouble> {
    if let (Some(from), Some(until)) = (terms.valid_from, terms.valid_until)
        && until <= from
    {
        let name = &person.name;
        return Err(refused(format!("{name:?} would be valid until {until}, which is not after {from}")));
    }
    tx.execute("DELETE FROM memberships WHERE person = ?1", [person.id.0])?;
    for group in &terms.groups {
        tx.execute(
            "INSERT INTO memberships (person, member_of) VALUES (?1, ?2)",
            params![person.id.0, group.to_lowercase()],
        )?;
    }
    tx.execute(
        "INSERT OR REPLACE INTO terms (person, valid_from, valid_until, entries_left, must_show)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            person.id.0,
            terms.valid_from.map(micros),
            terms.valid_until.map(micros),
            terms.entries_left,
            terms.with.map(With::word)
        ],
    )?;
    Ok(())
}

fn refused(why: String) -> Trouble {
    StoreError::Policy(why).into()
}

#[cfg(test)]
mod tests {
    use crate::clock::MonoTime;
    use crate::encoder::{Embedding, ModelId};
    use crate::gallery::{NewTemplate, TemplateSource};
    use crate::journal::{Event, Filter, Stamp};
    use crate::policy::{Limit, PersonChange};
    use crate::seal::Keys;
    use crate::store::{OpenMode, SqliteStore, Store};
    use crate::vision::quality::Quality;

    use super::*;

    const AT: Stamp = Stamp { wall: Timestamp::UNIX_EPOCH, mono: MonoTime::from_millis(1) };

    fn template() -> NewTemplate {
        let quality = Quality {
            eye_distance_px: 60.0,
            sharpness: 100.0,
            light: 120.0,
            yaw_deg: 0.0,
            pitch_deg: 0.0,
            roll_deg: 0.0,
        };
        let embedding = Embedding::normalise(vec![1.0, 2.0]).unwrap();
        NewTemplate {
            model: ModelId("m@1".into()),
            embedding,
            quality,
            source: TemplateSource::Image,
            crop: None,
        }
    }

    fn store() -> (tempfile::TempDir, SqliteStore) {
        let dir = tempfile::tempdir().unwrap();
        let mut store =
            SqliteStore::open(&dir.path().join("a.db"), OpenMode::Create, "boot", &Keys::of_a_test())
                .unwrap();
        store.enrol("Ada", &[template()], "test", AT).unwrap();
        (dir, store)
    }

    fn person(change: PersonChange) -> Change {
        Change::Person { name: "ada".into(), change }
    }

    #[test]
    fn a_new_database_lets_everybody_enrolled_in_always() {
        let (_dir, store) = store();
        let book = store.rule_book().unwrap();
        assert_eq!(book.rules.len(), 1);
        assert_eq!(book.rules[0].rule.to_string(), "allow everybody always");
        assert_eq!((book.zone, book.passback_s, book.lockdown), (None, 0, false));
        assert_eq!(book.people[0].terms, PersonTerms::default());
    }

    #[test]
    fn changes_are_kept_and_journalled_and_go_with_the_person() {
        let (dir, mut store) = store();
        let rule: Rule =
            serde_json::from_str(r#"{"effect":"allow","who":"staff","days":"mon-fri"}"#).unwrap();
        let joins = PersonChange {
            join: ["staff".to_owned()].into(),
            valid_until: Some(Limit::At("2030-01-01T00:00:00Z".parse().unwrap())),
            entries: Some(Limit::At(1)),
            ..PersonChange::default()
        };
        let holiday = Holiday { dates: "2026-05-01".parse().unwrap(), name: "May".into(), yearly: true };
        for change in [
            Change::AddRule(rule.clone()),
            Change::RemoveRule(RuleId(1)),
            Change::AddHoliday(holiday.clone()),
            Change::Zone(Some("Europe/Berlin".into())),
            Change::Passback(60),
            Change::Lockdown(true),
            person(joins),
        ] {
            store.change_policy(&change, "uid 0", AT).unwrap();
        }
        drop(store);
        let mut store =
            SqliteStore::open(&dir.path().join("a.db"), OpenMode::Existing, "boot", &Keys::of_a_test())
                .unwrap();
        let book = store.rule_book().unwrap();
        assert_eq!(book.rules, [NumberedRule { id: RuleId(2), rule }]);
        assert_eq!(
            (book.holidays.as_slice(), book.passback_s, book.lockdown),
            ([holiday].as_slice(), 60, true)
        );
        assert_eq!(book.zone.as_deref(), Some("Europe/Berlin"));
        let terms = book.people[0].terms.clone();
        assert!(
            terms.groups.contains("staff") && terms.entries_left == Some(1) && terms.valid_until.is_some()
        );
        let kinds = vec![EventKind::Policy, EventKind::Lockdown];
        let records = store.records(&Filter { kinds, ..Filter::default() }).unwrap();
        assert_eq!(records.len(), 7);
        assert_eq!(records[1].event.detail["what"], "removed rule 1: allow everybody always");
        assert_eq!(records[6].event.person.as_ref().unwrap().name, "Ada");

        let ada = PersonRef { id: book.people[0].id, name: "Ada".into() };
        for left in [0, 0] {
            let grant =
                Event { person: Some(ada.clone()), ..Event::new(EventKind::Grant, serde_json::json!({})) };
            store.append(&grant, AT).unwrap();
            assert_eq!(store.rule_book().unwrap().people[0].terms.entries_left, Some(left));
        }
        assert_eq!(store.rule_book().unwrap().people[0].last_entry, Some(AT.wall));

        store.remove("Ada", "uid 0", AT).unwrap();
        let rows = |table: &str| -> i64 {
            store.conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
        };
        assert_eq!((rows("terms"), rows("memberships")), (0, 0));
    }

    #[test]
    fn where_people_are_is_kept_until_they_are_forgiven_or_removed() {
        let (dir, mut store) = store();
        store.enrol("Bob", &[template()], "test", AT).unwrap();
        let passage = |inside| Passage { area: "inside".into(), inside, at: AT.wall };
        let of = |book: &RuleBook, name: &str| {
            let row = book.people.iter().find(|row| row.name == name).unwrap();
            (row.passage("Inside").map(|passage| passage.inside), row.forgiven)
        };
        let (ada, bob) = (store.person("Ada").unwrap().id, store.person("Bob").unwrap().id);
        store.change_policy(&Change::Direction(Direction::Both), "uid 0", AT).unwrap();
        let grant = Event {
            person: Some(PersonRef { id: ada, name: "Ada".into() }),
            ..Event::new(EventKind::Grant, serde_json::json!({}))
        };
        store.append_grant(&grant, Some(&passage(true)), AT).unwrap();
        store.set_passage(bob, "Inside", Some(&passage(false))).unwrap();
        store.set_passage(PersonId(99), "inside", Some(&passage(true))).unwrap();
        drop(store);
        let mut store =
            SqliteStore::open(&dir.path().join("a.db"), OpenMode::Existing, "boot", &Keys::of_a_test())
                .unwrap();
        let book = store.rule_book().unwrap();
        assert_eq!((of(&book, "Ada"), of(&book, "Bob")), ((Some(true), None), (Some(false), None)));
        assert_eq!(book.direction, Direction::Both);
        store.set_passage(bob, "inside", None).unwrap();
        store.change_policy(&Change::Forgive(Some("ada".into())), "uid 0", AT).unwrap();
        let book = store.rule_book().unwrap();
        assert_eq!((of(&book, "Ada"), of(&book, "Bob")), ((None, Some(AT.wall)), (None, None)));
        store.set_passage(bob, "inside", Some(&passage(true))).unwrap();
        store.change_policy(&Change::Forgive(None), "uid 0", AT).unwrap();
        assert_eq!(of(&store.rule_book().unwrap(), "Bob"), (None, Some(AT.wall)));
        // What was seen before direction mattered keeps nobody out.
        for direction in [Direction::Off, Direction::In] {
            store.set_passage(bob, "inside", Some(&passage(true))).unwrap();
            store.change_policy(&Change::Direction(direction), "uid 0", AT).unwrap();
        }
        assert_eq!(of(&store.rule_book().unwrap(), "Bob").0, None);
        store.set_passage(bob, "inside", Some(&passage(true))).unwrap();
        store.change_policy(&Change::Direction(Direction::Both), "uid 0", AT).unwrap();
        assert_eq!(of(&store.rule_book().unwrap(), "Bob").0, Some(true), "it mattered already");
        store.remove("Bob", "uid 0", AT).unwrap();
        store.remove("Ada", "uid 0", AT).unwrap();
        for table in ["passages", "forgiven"] {
            let rows: i64 =
                store.conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
            assert_eq!(rows, 0, "{table}");
        }
        assert!(store.change_policy(&Change::Forgive(Some("Ada".into())), "uid 0", AT).is_err());
    }

    #[test]
    fn going_out_is_no_entry_and_takes_none() {
        let (_dir, mut store) = store();
        let once = PersonChange { entries: Some(Limit::At(1)), ..PersonChange::default() };
        store.change_policy(&person(once), "uid 0", AT).unwrap();
        let ada = PersonRef { id: store.person("Ada").unwrap().id, name: "Ada".into() };
        let leaving =
            Event { person: Some(ada), ..Event::new(EventKind::Grant, serde_json::json!({"side": "out"})) };
        store.append_grant(&leaving, None, AT).unwrap();
        let row = store.rule_book().unwrap().people.remove(0);
        assert_eq!((row.terms.entries_left, row.last_entry), (Some(1), None));
    }

    #[test]
    fn what_cannot_be_is_refused_and_changes_nothing() {
        let (_dir, mut store) = store();
        let before = store.rule_book().unwrap();
        let ends_first = PersonChange {
            valid_from: Some(Limit::At("2026-02-01T00:00:00Z".parse().unwrap())),
            valid_until: Some(Limit::At("2026-01-01T00:00:00Z".parse().unwrap())),
            ..PersonChange::default()
        };
        let strangers =
            Document { people: [("Zoe".to_owned(), PersonTerms::default())].into(), ..Document::default() };
        for (change, why) in [
            (Change::RemoveRule(RuleId(7)), "there is no rule 7"),
            (Change::RemoveHoliday("2026-05-01".parse().unwrap()), "is no holiday"),
            (Change::Zone(Some("Europe/Atlantis".into())), "no time zone"),
            (person(ends_first), "is not after"),
            (Change::Import(strangers), "nobody is enrolled as \"Zoe\""),
        ] {
            let error = store.change_policy(&change, "uid 0", AT).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(store.rule_book().unwrap(), before, "an import is whole or not at all");
    }
}
