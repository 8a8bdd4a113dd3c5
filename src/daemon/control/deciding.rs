//! From an analysed frame to the door. The order is the point: the verdict, then its record on disk, then the relay,
//! then the record of what the relay did.

use serde_json::json;

use crate::access::{Evidence, Grant, Look, LookOutcome, RefusalReason, Verdict};
use crate::daemon::DaemonError;
use crate::daemon::analysis::{Analysis, SeenFace};
use crate::daemon::status::DoorNow;
use crate::daemon::trace::Conclusion;
use crate::door::{Handled, Input};
use crate::journal::{Event, EventId, EventKind, PersonRef, Stamp, record_grant};
use crate::store::StoreError;

use super::Control;

impl Control {
    /// Weighs what a frame showed, and acts on what follows.
    pub(super) fn decide(&mut self, analysis: &Analysis) -> Result<Vec<Conclusion>, DaemonError> {
        if analysis.gallery_generation != self.gallery.load().generation() {
            // Matched against people who may have been removed or renamed since.
            self.attempts.forget();
            return Ok(Vec::new());
        }
        let looks: Vec<Look> = analysis.faces.iter().filter_map(|face| look(analysis, face)).collect();
        let verdicts = self.attempts.observe(&looks, self.clock.now());
        verdicts
            .into_iter()
            .map(|verdict| match verdict {
                Verdict::Grant(grant) => self.grant(grant),
                Verdict::Refuse(reason, evidence) => self.refuse(reason, evidence),
            })
            .collect()
    }

    fn grant(&mut self, grant: Grant) -> Result<Conclusion, DaemonError> {
        let (name, evidence) = (grant.name().to_owned(), grant.evidence().clone());
        if !self.is_still_enrolled(&grant)? {
            log::warn!("{name} was recognised but is enrolled no more; the door stays locked");
            self.attempts.forget();
            return Ok(Conclusion::Refused { reason: "no longer enrolled".into(), evidence });
        }
        let at = Stamp::now(&*self.clock);
        let person = PersonRef { id: grant.person(), name: name.clone() };
        let admitted = match self.house.admit(grant, at) {
            Ok(admitted) => admitted,
            Err(refusal) => return self.turn_away(person, &refusal, evidence),
        };
        let recorded = record_grant(admitted, |event| self.store.append(event, at))
            .map_err(|source| DaemonError::Write { what: "a grant", source })?;
        self.tell_followers();
        log::info!(
            event = recorded.event().0, person = name.as_str(), frame_age_ms = evidence.frame_age_ms;
            "{name} is let in (event {})", recorded.event().0
        );
        let event = recorded.event();
        let opened = self.drive(Input::Grant(recorded), Some(event))?;
        if opened {
            self.entered(person.id, at);
        }
        self.count_entry(person.id)?;
        Ok(if opened {
            Conclusion::Granted { name, evidence }
        } else {
            Conclusion::Refused { reason: "late".into(), evidence }
        })
    }

    /// The gallery's generation says so already; this asks the database itself, once a grant.
    fn is_still_enrolled(&self, grant: &Grant) -> Result<bool, DaemonError> {
        match self.store.person(grant.name()) {
            Ok(person) => Ok(person.id == grant.person()),
            Err(StoreError::UnknownPerson { .. }) => Ok(false),
            Err(error) => Err(DaemonError::Read(error)),
        }
    }

    fn refuse(&mut self, reason: RefusalReason, evidence: Evidence) -> Result<Conclusion, DaemonError> {
        let mut detail = serde_json::to_value(&evidence).expect("evidence is plain data");
        detail["reason"] = serde_json::to_value(reason).expect("a reason is a word");
        let is_attempt = matches!(reason, RefusalReason::Unknown | RefusalReason::Ambiguous);
        let reason = detail["reason"].as_str().unwrap_or_default().to_owned();
        log::info!(reason = reason.as_str(); "a face is refused: {reason}");
        self.lamps.state.refused(self.clock.now());
        self.append("a refusal", Event::new(EventKind::Refusal, detail))?;
        if is_attempt {
            self.failed_attempt()?;
        }
        Ok(Conclusion::Refused { reason, evidence })
    }

    /// Hands an input to the door and writes down what became of it; whether the door was unlocked by it. `grant` is
    /// the event that this is the consequence of.
    pub(super) fn drive(&mut self, input: Input, grant: Option<EventId>) -> Result<bool, DaemonError> {
        let Handled { transitions, notices, dropped, fault } = self.driver.handle(input, self.clock.now());
        let honoured = grant.is_some() && dropped.is_none() && fault.is_none();
        self.board.set_door(DoorNow::of(self.driver.door()));
        for transition in transitions {
            let (kind, state) = match transition.unlocked {
                true => (EventKind::Unlocked, "unlocked"),
                false => (EventKind::Locked, "locked"),
            };
            log::info!(door = state; "the door is {state}: {}", transition.why);
            let detail = json!({ "why": transition.why, "grant": grant });
            self.append("a move of the relay", Event::new(kind, detail))?;
        }
        for notice in notices {
            self.note(&notice)?;
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
            self.append("a grant that came too late", event)?;
        }
        match fault {
            Some(fault) => {
                self.board.set_fault("relay", Some(fault.to_string()));
                Err(DaemonError::Relay(fault))
            }
            None => Ok(honoured),
        }
    }
}

/// What one face says about its track; nothing when it was good enough but has not been compared,
/// or when the camera repeats itself: a frozen picture of somebody who was there says nothing about now.
fn look(analysis: &Analysis, face: &SeenFace) -> Option<Look> {
    if face.repeated {
        return None;
    }
    let outcome = match face.issue {
        Some(issue) => LookOutcome::Unusable(issue),
        None if face.embedding.is_some() => LookOutcome::Compared(face.matched.clone()),
        None => return None,
    };
    let (seq, captured) = (analysis.seq, analysis.captured);
    let (proof, signs, yaw_deg) = (face.proof, face.signs, face.quality.yaw_deg);
    Some(Look { track: face.track, seq, captured, outcome, proof, signs, yaw_deg })
}
