//! Who may enter when, as control applies it: judges each grant by the rule book, keeps open hours, counts failed
//! attempts, and carries out lockdown. The judgement itself is `policy`'s.

use jiff::civil::DateTime;
use serde_json::json;

use crate::access::{Evidence, Grant, PinProof};
use crate::clock::{Clock, MonoTime, Trust};
use crate::daemon::DaemonError;
use crate::daemon::doorway::{DoorId, Doorway};
use crate::daemon::ops;
use crate::daemon::protocol::{Reply, Request};
use crate::door::{Input, MAX_HOLD_OPEN, Order};
use crate::gallery::PersonId;
use crate::journal::explain::Circumstances;
use crate::journal::{Event, EventKind, PersonRef, Stamp, decision};
use crate::policy::{
    Admitted, Change, Direction, Entries, Entry, Gate, HoldOpen, Now, Passage, Policy, PolicyError, Refusal,
    Risks, RuleBook, RuleId, Side, TurnedAway,
};

use super::Control;

/// Open hours and the clock are looked at this often.
const EVERY_MS: u64 = 1_000;

/// The rule book with what it is judged by.
pub(crate) struct HouseRules {
    policy: Policy,
    entries: Entries,
    trust: Trust,
    trusted: bool,
    risks: Risks,
    supported: bool,
    next_look: MonoTime,
}

/// A window of open hours that has begun at a door.
pub(crate) struct Holding {
    rule: RuleId,
    began: DateTime,
    until: MonoTime,
    /// An operator has ordered something else meanwhile.
    overruled: bool,
}

impl HouseRules {
    /// Of a book, with everybody's last entry as the book has it.
    ///
    /// # Errors
    /// When the book cannot be used.
    pub(crate) fn new(
        book: RuleBook,
        risks: Risks,
        supported: bool,
        trust: Trust,
        clock: &dyn Clock,
    ) -> Result<Self, PolicyError> {
        let entries = book.people.iter().filter_map(|row| {
            let wall = row.last_entry?;
            Some((row.id, Entry { wall, mono: None }))
        });
        Ok(Self {
            entries: entries.collect(),
            policy: Policy::new(book)?.with_risks(risks),
            risks,
            supported,
            trust,
            trusted: trust.holds(clock),
            next_look: MonoTime::default(),
        })
    }

    pub(super) fn trusts_clock(&self) -> bool {
        self.trusted
    }

    pub(crate) fn is_locked_down(&self) -> bool {
        self.policy.book().lockdown
    }

    /// Whether an entry of theirs is one of a number.
    fn counts_entries_of(&self, person: PersonId) -> bool {
        let row = self.policy.book().people.iter().find(|row| row.id == person);
        row.is_some_and(|row| row.terms.entries_left.is_some())
    }

    /// A refusal in words.
    pub(super) fn words(&self, refusal: &Refusal) -> String {
        self.policy.words(refusal)
    }

    /// Who has this number.
    pub(super) fn person(&self, id: PersonId) -> Option<PersonRef> {
        let row = self.policy.book().people.iter().find(|row| row.id == id)?;
        Some(PersonRef { id, name: row.name.clone() })
    }

    /// Whether measurements show that the threshold in force keeps the rate that is wanted.
    pub(super) fn set_supported(&mut self, supported: bool) {
        self.supported = supported;
    }

    /// Whether anybody asks who went where.
    pub(super) fn minds_passages(&self) -> bool {
        let book = self.policy.book();
        book.direction != Direction::Off || book.passback_s > 0
    }

    /// When somebody came in last.
    pub(super) fn entry(&self, person: PersonId) -> Option<Entry> {
        self.entries.get(&person).copied()
    }

    /// Somebody comes in.
    pub(super) fn enters(&mut self, person: PersonId, entry: Entry) {
        self.set_entry(person, Some(entry));
    }

    /// Puts somebody's last entry to what it was.
    pub(super) fn set_entry(&mut self, person: PersonId, entry: Option<Entry>) {
        match entry {
            Some(entry) => self.entries.insert(person, entry),
            None => self.entries.remove(&person),
        };
        // Open hours may wait for the first to come in.
        self.next_look = MonoTime::default();
    }

    /// Where somebody went last.
    pub(super) fn passage(&self, person: PersonId, area: &str) -> Option<Passage> {
        self.policy.passage(person, area).cloned()
    }

    pub(super) fn set_passage(&mut self, person: PersonId, area: &str, passage: Option<Passage>) {
        self.policy.set_passage(person, area, passage);
    }

    fn now<'a>(&self, door: &'a Doorway, at: Stamp) -> Now<'a> {
        let (gate, place) = (door.throttle.gate(at.mono), &door.place);
        Now {
            wall: at.wall,
            mono: Some(at.mono),
            clock_trusted: self.trusted,
            threshold_supported: self.supported,
            gate,
            place,
        }
    }
}

impl Control {
    /// Whether the rules let somebody pass a door now.
    pub(super) fn admit(
        &self,
        door: DoorId,
        grant: Grant,
        pin: Option<&PinProof>,
        at: Stamp,
    ) -> Result<Admitted, TurnedAway> {
        let now = self.house.now(&self.doors[door], at);
        self.house.policy.admit(grant, pin, &self.house.entries, &now)
    }

    /// An operator orders a door about: open hours stand back until the next ones.
    pub(super) fn overrule(&mut self, door: DoorId) {
        if let Some(holding) = &mut self.doors[door].holding {
            holding.overruled = true;
        }
    }

    /// Takes the rule book as it is now.
    pub(super) fn read_rules(&mut self) -> Result<(), DaemonError> {
        let book = self.store.rule_book().map_err(DaemonError::Read)?;
        self.house.policy = Policy::new(book).map_err(DaemonError::Policy)?.with_risks(self.house.risks);
        let policy = &self.house.policy;
        self.house.entries.retain(|person, _| policy.knows(*person));
        self.house.next_look = MonoTime::default();
        self.show_rules();
        Ok(())
    }

    /// Somebody known may not enter: said to the journal with the rule. Gives why, in words.
    pub(super) fn turn_away(
        &mut self,
        door: DoorId,
        person: PersonRef,
        refusal: &Refusal,
        evidence: Option<&Evidence>,
        around: &Circumstances,
    ) -> Result<String, DaemonError> {
        let why = self.house.policy.words(refusal);
        let (at_door, way) = (self.doors[door].place.door.as_str(), self.doors[door].place.side);
        log::info!(person = person.name.as_str(), door = at_door; "{} is known but not let {way}: {why}", person.name);
        self.doors[door].lamps.state.refused(self.clock.now());
        let mut detail = decision(evidence, around);
        detail["reason"] = "policy".into();
        detail["why"] = why.clone().into();
        if way == Side::Out {
            detail["side"] = "out".into();
        }
        let event = Event { person: Some(person), ..Event::new(EventKind::Refusal, detail) };
        self.append_at(door, "a refusal", event)?;
        Ok(why)
    }

    /// A grant is on disk; the store has counted it.
    pub(super) fn count_entry(&mut self, person: PersonId) -> Result<(), DaemonError> {
        if self.house.counts_entries_of(person) { self.read_rules() } else { Ok(()) }
    }

    /// A face was nobody's.
    pub(super) fn failed_attempt(&mut self, door: DoorId) -> Result<(), DaemonError> {
        let name = self.doors[door].place.door.clone();
        match self.doors[door].throttle.failed(self.clock.now()) {
            None | Some(Gate::Open) => return Ok(()),
            Some(Gate::Paused(pause)) => {
                let for_s = pause.as_secs();
                log::warn!(door = name.as_str(); "too many failed attempts: no face opens the door for {for_s} s");
                self.append_at(door, "a pause", Event::new(EventKind::Throttled, json!({ "for_s": for_s })))?;
            }
            Some(Gate::Off) => {
                log::error!(
                    door = name.as_str();
                    "far too many failed attempts: no face opens the door before an operator says so"
                );
                self.append_at(door, "the end of patience", Event::new(EventKind::FaceOff, json!({})))?;
            }
        }
        self.show_rules();
        Ok(())
    }

    /// An operator trusts faces again.
    pub(super) fn face_on(&mut self, door: Option<&str>, actor: &str) -> Result<Reply, DaemonError> {
        let door = match self.doors.called(door) {
            Ok(door) => door,
            Err(error) => return Ok(ops::refused(&error)),
        };
        let event = Event { actor: Some(actor.to_owned()), ..Event::new(EventKind::FaceOn, json!({})) };
        self.append_at(door, "an order of an operator", event)?;
        self.doors[door].throttle.clear();
        self.show_rules();
        Ok(Reply::Done)
    }

    /// After a change of the rule book, which is on disk.
    pub(super) fn rules_changed(&mut self, change: &Change) -> Result<(), DaemonError> {
        self.read_rules()?;
        self.tell_followers();
        if matches!(change, Change::Forgive(_)) {
            self.doors.0.iter_mut().for_each(|door| door.going.clear());
        }
        if *change == Change::Lockdown(true) {
            log::warn!("lockdown: nobody is let in");
            // As an operator's order it leaves the way out to whoever holds the exit button.
            self.drive_all(|| Input::Operator { order: Order::Lock, who: "lockdown".into() })?;
        }
        self.keep_hours()
    }

    /// A panic button: lockdown begins with its press, at all doors. Its release ends nothing.
    pub(super) fn panic_button(&mut self, pressed: bool) -> Result<(), DaemonError> {
        if !pressed || self.house.is_locked_down() {
            return Ok(());
        }
        let change = Change::Lockdown(true);
        let request = Request::ChangePolicy { change: change.clone() };
        let at = Stamp::now(&*self.clock);
        match ops::change(&mut *self.store, &self.terms, &request, "panic button", at) {
            Some(Reply::Error { message }) => Err(DaemonError::Lockdown(message)),
            _ => self.rules_changed(&change),
        }
    }

    /// Opens and closes the open hours. Called at every turn; looks once a second.
    pub(super) fn keep_hours(&mut self) -> Result<(), DaemonError> {
        let at = Stamp::now(&*self.clock);
        if at.mono < self.house.next_look {
            return Ok(());
        }
        self.house.next_look = MonoTime::from_millis(at.mono.as_millis() + EVERY_MS);
        self.house.trusted = self.house.trust.holds(&*self.clock);
        self.store.believe_clock(self.house.trusted);
        self.show_rules();
        for door in self.doors.ids() {
            let now = self.house.now(&self.doors[door], at);
            match self.house.policy.hold_open(&self.house.entries, &now) {
                Some(hold) => self.open_hours(door, &hold, at)?,
                None => self.close_hours(door)?,
            }
        }
        Ok(())
    }

    fn open_hours(&mut self, door: DoorId, hold: &HoldOpen, at: Stamp) -> Result<(), DaemonError> {
        let same = |h: &&Holding| (h.rule, h.began) == (hold.rule, hold.began);
        if self.doors[door].holding.as_ref().filter(same).is_some_and(|h| h.overruled || at.mono < h.until) {
            return Ok(());
        }
        let (rule, time) = (self.house.policy.name_of(hold.rule), hold.left.min(MAX_HOLD_OPEN));
        log::info!("open hours by {rule}");
        let detail = json!({ "what": rule, "for_s": time.as_secs() });
        self.append_at(door, "open hours", Event::new(EventKind::OpenHours, detail))?;
        let until = at.mono + time;
        let holding = Holding { rule: hold.rule, began: hold.began, until, overruled: false };
        self.doors[door].holding = Some(holding);
        self.drive(door, Input::Operator { order: Order::HoldOpen(time), who: rule }, None).map(drop)
    }

    /// Also before their time: the rule is gone, lockdown began, the clock is not trusted any more.
    fn close_hours(&mut self, door: DoorId) -> Result<(), DaemonError> {
        let Some(holding) = self.doors[door].holding.take() else { return Ok(()) };
        if holding.overruled || !self.doors[door].driver.door().is_held_open() {
            return Ok(());
        }
        let who = "the end of open hours".to_owned();
        self.drive(door, Input::Operator { order: Order::Lock, who }, None).map(drop)
    }

    /// What `accessd status` tells of all this.
    fn show_rules(&self) {
        let now = self.clock.now();
        for door in &self.doors.0 {
            door.board.set_gate(door.throttle.gate(now));
        }
        self.board.set_rules(self.house.is_locked_down(), self.house.trusted);
    }
}
