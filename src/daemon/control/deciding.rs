//! From an analysed frame to the door. The order is the point: the verdict, then its record on disk, then the relay,
//! then the record of what the relay did.

use serde_json::json;

use crate::access::{Advice, Evidence, Grant, RefusalReason, Told, Verdict};
use crate::daemon::DaemonError;
use crate::daemon::analysis::{Analysis, looks};
use crate::daemon::doorway::DoorId;
use crate::daemon::status::DoorNow;
use crate::daemon::trace::Conclusion;
use crate::door::{Handled, Input, LeafNotice, Notice};
use crate::journal::explain::Circumstances;
use crate::journal::{Event, EventId, EventKind, PersonRef, Stamp, decision, record_grant};
use crate::liveness::challenge::Tell;
use crate::policy::{Admitted, Refusal, TurnedAway};
use crate::store::StoreError;
use crate::vision::tracks::TrackId;

use super::Control;
use super::memory::Fallen;

impl Control {
    /// Weighs what a frame showed, and acts on what follows.
    pub(super) fn decide(
        &mut self,
        door: DoorId,
        analysis: &Analysis,
    ) -> Result<Vec<Conclusion>, DaemonError> {
        if analysis.gallery_generation != self.gallery.load().generation() {
            // Matched against people who may have been removed or renamed since.
            self.doors[door].attempts.forget();
            self.doors[door].memory.cut();
            self.doors[door].asking.forget();
            return Ok(Vec::new());
        }
        let at = &mut self.doors[door];
        at.looks.take(analysis, at.attempts.rule().frames_window);
        let looks = looks(analysis);
        let now = self.clock.now();
        let threshold = at.attempts.rule().threshold.0;
        at.memory.take(analysis, &looks, threshold, now);
        if let Some((track, advice)) = self.doors[door].advise(&looks, now) {
            self.advised(door, analysis, track, advice)?;
        }
        let mut conclusions = Vec::new();
        for verdict in self.doors[door].attempts.observe(&looks, now) {
            self.first_event = None;
            let fallen = Fallen::of(&verdict);
            let conclusion = match verdict {
                Verdict::Grant(grant) => {
                    let track = grant.evidence().map(|evidence| evidence.track);
                    let around = track.map(|track| self.circumstances(door, analysis, track));
                    self.grant(door, grant, around.unwrap_or_default())?
                }
                Verdict::Refuse(reason, evidence) => {
                    let around = self.circumstances(door, analysis, evidence.track);
                    Some(self.refuse(door, reason, *evidence, &around)?)
                }
                Verdict::Tell(told) => {
                    self.tell(door, &told)?;
                    None
                }
            };
            self.remember(door, analysis, fallen, conclusion.as_ref());
            conclusions.extend(conclusion);
        }
        for conclusion in &conclusions {
            if let (Conclusion::Granted { name, evidence }, Some(grant)) = (conclusion, self.last_grant) {
                self.migrate_look(door, analysis, evidence, grant)?;
                self.learn(analysis, name, evidence, grant)?;
            }
        }
        Ok(conclusions)
    }

    /// Tells the person at the door what to do, by lamp, status and log.
    fn tell(&mut self, door: DoorId, told: &Told) -> Result<(), DaemonError> {
        let (now, words) = (self.clock.now(), told.what.words());
        log::info!(person = told.name.as_str(); "{} is told: {words}", told.name);
        self.doors[door].lamps.state.told(told.what, now);
        self.doors[door].board.set_told((told.what != Tell::Done).then(|| words.to_owned()), now);
        let person = Some(PersonRef { id: told.person, name: told.name.clone() });
        let detail = json!({ "what": words, "track": told.track });
        let event = Event { person, ..Event::new(EventKind::Challenge, detail) };
        self.append_at(door, "what a person is told", event).map(drop)
    }

    /// A person has been told the same for a while: that is why they were not let in.
    fn advised(
        &mut self,
        door: DoorId,
        analysis: &Analysis,
        track: TrackId,
        advice: Advice,
    ) -> Result<(), DaemonError> {
        let face = analysis.faces.iter().find(|face| face.track == track);
        log::info!(track = track.0; "somebody at the door is told: {}", advice.as_str());
        let detail = json!({ "advice": advice, "track": track, "quality": face.map(|face| face.quality) });
        self.append_at(door, "what somebody was told", Event::new(EventKind::Advice, detail)).map(drop)
    }

    fn circumstances(&self, door: DoorId, analysis: &Analysis, track: TrackId) -> Circumstances {
        let (gallery, now) = (self.gallery.load(), self.clock.now());
        self.doors[door].looks.circumstances(analysis, track, &gallery, self.board.far(), now)
    }

    /// What is concluded; nothing when somebody who is being asked for their PIN was seen once more.
    fn grant(
        &mut self,
        door: DoorId,
        grant: Grant,
        around: Circumstances,
    ) -> Result<Option<Conclusion>, DaemonError> {
        let name = grant.name().to_owned();
        let evidence = grant.evidence().cloned().expect("looks grant with evidence");
        if !self.is_still_enrolled(&grant)? {
            log::warn!("{name} was recognised but is enrolled no more; the door stays locked");
            self.doors[door].attempts.forget();
            self.doors[door].memory.cut();
            self.doors[door].asking.forget();
            return Ok(Some(Conclusion::Refused { reason: "no longer enrolled".into(), evidence }));
        }
        let at = Stamp::now(&*self.clock);
        let person = PersonRef { id: grant.person(), name: name.clone() };
        let pin = self.doors[door].asking.take_proof(person.id, self.pins.wait, at.mono);
        match self.admit(door, grant, pin.as_ref(), at) {
            Ok(admitted) => Ok(Some(if self.let_pass(door, admitted, &around, at)? {
                Conclusion::Granted { name, evidence }
            } else {
                Conclusion::Refused { reason: "late".into(), evidence }
            })),
            Err(turned) if matches!(turned.refusal, Refusal::NeedsPin(..)) => {
                self.ask_for_pin(door, turned, person, around)
            }
            Err(TurnedAway { refusal, .. }) => {
                let reason = self.turn_away(door, person, &refusal, Some(&evidence), &around)?;
                Ok(Some(Conclusion::Refused { reason, evidence }))
            }
        }
    }

    /// Writes an admission down and opens; whether the door was unlocked by it.
    pub(super) fn let_pass(
        &mut self,
        door: DoorId,
        admitted: Admitted,
        around: &Circumstances,
        at: Stamp,
    ) -> Result<bool, DaemonError> {
        let grant = admitted.grant();
        let person = PersonRef { id: grant.person(), name: grant.name().to_owned() };
        let frame_age_ms = grant.evidence().map(|evidence| evidence.frame_age_ms);
        let (passage, before) = (self.passage(door, at), self.before(door, person.id));
        let inwards = passage.clone().filter(|passage| passage.inside);
        let recorded =
            record_grant(admitted, around, |event| self.store.append_grant(event, inwards.as_ref(), at))
                .map_err(|source| DaemonError::Write { what: "a grant", source })?;
        self.last_grant = Some(recorded.event());
        self.first_event.get_or_insert((recorded.event(), EventKind::Grant));
        self.tell_followers();
        let (name, event) = (person.name.as_str(), recorded.event());
        let (at_door, way) = (self.doors[door].place.door.as_str(), self.doors[door].place.side);
        log::info!(
            event = event.0, person = name, door = at_door, frame_age_ms = frame_age_ms.unwrap_or_default();
            "{name} is let {way} (event {})", event.0
        );
        let opened = self.drive(door, Input::Grant(recorded), Some(event))?;
        let id = person.id;
        match (opened, inwards) {
            (true, _) => self.passes(door, person, passage, before, at)?,
            (false, Some(_)) => self.stays(door, id, before)?,
            (false, None) => {}
        }
        self.count_entry(id)?;
        Ok(opened)
    }

    /// The gallery's generation says so already; this asks the database itself, once a grant.
    pub(super) fn is_still_enrolled(&self, grant: &Grant) -> Result<bool, DaemonError> {
        match self.store.person(grant.name()) {
            Ok(person) => Ok(person.id == grant.person()),
            Err(StoreError::UnknownPerson { .. }) => Ok(false),
            Err(error) => Err(DaemonError::Read(error)),
        }
    }

    fn refuse(
        &mut self,
        door: DoorId,
        reason: RefusalReason,
        evidence: Evidence,
        around: &Circumstances,
    ) -> Result<Conclusion, DaemonError> {
        let mut detail = decision(Some(&evidence), around);
        detail["reason"] = serde_json::to_value(reason).expect("a reason is a word");
        let is_attempt =
            matches!(reason, RefusalReason::Unknown | RefusalReason::Ambiguous | RefusalReason::Challenge);
        self.doors[door].board.set_told(None, self.clock.now());
        let reason = detail["reason"].as_str().unwrap_or_default().to_owned();
        let at_door = self.doors[door].place.door.as_str();
        log::info!(reason = reason.as_str(), door = at_door; "a face is refused: {reason}");
        self.doors[door].lamps.state.refused(self.clock.now());
        self.append_at(door, "a refusal", Event::new(EventKind::Refusal, detail))?;
        if is_attempt {
            self.failed_attempt(door)?;
        }
        Ok(Conclusion::Refused { reason, evidence })
    }

    /// Hands an input to a door and writes down what became of it; whether the door was unlocked by it. `grant` is
    /// the event that this is the consequence of.
    pub(super) fn drive(
        &mut self,
        door: DoorId,
        input: Input,
        grant: Option<EventId>,
    ) -> Result<bool, DaemonError> {
        let handled = self.act(door, input);
        self.record(door, handled, grant)
    }

    /// Hands one input each to all doors, and only then writes down what became of them: no door waits for the record of
    /// another.
    pub(super) fn drive_all(&mut self, input: impl Fn() -> Input) -> Result<(), DaemonError> {
        let handled: Vec<_> = self.doors.ids().map(|door| (door, self.act(door, input()))).collect();
        let mut outcome = Ok(());
        for (door, handled) in handled {
            let recorded = self.record(door, handled, None).map(drop);
            outcome = outcome.and(recorded);
        }
        outcome
    }

    fn act(&mut self, door: DoorId, input: Input) -> Handled {
        let doorway = &mut self.doors[door];
        let handled = doorway.driver.handle(input, self.clock.now());
        doorway.board.set_door(DoorNow::of(doorway.driver.door()));
        handled
    }

    fn record(
        &mut self,
        door: DoorId,
        handled: Handled,
        grant: Option<EventId>,
    ) -> Result<bool, DaemonError> {
        let Handled { transitions, notices, dropped, fault } = handled;
        let honoured = grant.is_some() && dropped.is_none() && fault.is_none();
        let was_opened = notices.contains(&Notice::Leaf(LeafNotice::Opened));
        let was_locked = transitions.last().is_some_and(|last| !last.unlocked);
        for transition in transitions {
            let (kind, state) = match transition.unlocked {
                true => (EventKind::Unlocked, "unlocked"),
                false => (EventKind::Locked, "locked"),
            };
            let name = self.doors[door].place.door.as_str();
            log::info!(door = name, state = state; "the door is {state}: {}", transition.why);
            let detail = json!({ "why": transition.why, "grant": grant });
            self.append_at(door, "a move of the relay", Event::new(kind, detail))?;
        }
        for notice in notices {
            self.note(door, &notice)?;
        }
        if let Some(dropped) = dropped {
            log::warn!("{} is not let in after all: {}", dropped.name, dropped.why);
            let event = Event {
                person: Some(PersonRef { id: dropped.person, name: dropped.name }),
                ..Event::new(
                    EventKind::Refusal,
                    json!({ "reason": RefusalReason::Stale, "why": dropped.why, "grant": dropped.event }),
                )
            };
            self.append_at(door, "a grant that came too late", event)?;
        }
        match (was_opened, was_locked) {
            (true, _) => self.all_have_gone(door)?,
            (false, true) => self.nobody_has_gone(door)?,
            (false, false) => {}
        }
        match fault {
            Some(fault) => {
                self.doors[door].board.set_fault("relay", Some(fault.to_string()));
                Err(DaemonError::Relay(fault))
            }
            None => Ok(honoured),
        }
    }
}
