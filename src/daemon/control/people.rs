//! What operators change while the door works: people, and enrolment at the door's camera, during which the door
//! decides nothing.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;

use crate::access::LookAlikes;
use crate::daemon::DaemonError;
use crate::daemon::analysis::Analysis;
use crate::daemon::doorway::DoorId;
use crate::daemon::enrolment::Sampling;
use crate::daemon::mailbox::Command;
use crate::daemon::ops::{self, Enrolment};
use crate::daemon::protocol::{Reply, Request};
use crate::journal::{Event, EventKind, Stamp};

use super::Control;

/// An enrolment at a door's camera, under way.
pub(crate) struct LiveEnrolment {
    pub(super) door: DoorId,
    name: String,
    more: bool,
    actor: String,
    replies: UnboundedSender<Reply>,
    sampling: Sampling,
}

impl Control {
    pub(super) fn command(&mut self, command: Command) -> Result<(), DaemonError> {
        match command {
            Command::Change { request, actor, reply } => {
                let answer = self.change(&request, &actor)?;
                // Nobody waits when the client hung up; what it asked is done all the same.
                let _ = reply.send(answer);
                Ok(())
            }
            Command::Write { event, reply } => {
                self.append("the outcome of an order", *event)?;
                let _ = reply.send(Reply::Done);
                Ok(())
            }
            Command::Door { door, order, actor, reply } => {
                let answer = self.order(door.as_deref(), order, actor)?;
                let _ = reply.send(answer);
                Ok(())
            }
            Command::FaceOn { door, actor, reply } => {
                let answer = self.face_on(door.as_deref(), &actor)?;
                let _ = reply.send(answer);
                Ok(())
            }
            Command::TypePin { door, person, pin, reply } => match self.doors.called(door.as_deref()) {
                Ok(door) => self.typed(door, person, pin, Some(reply)),
                Err(error) => {
                    let _ = reply.send(ops::refused(&error));
                    Ok(())
                }
            },
            Command::SpoofBegin { door, actor, replies } => self.begin_test(door.as_deref(), actor, replies),
            Command::SpoofPresent { test, species, each } => {
                self.begin_presentation(test, species, each);
                Ok(())
            }
            Command::SpoofEnd { test } => self.test_is_done(test),
            Command::EnrolLive { door, name, more, actor, replies } => {
                match self.doors.called(door.as_deref()) {
                    Ok(door) => self.begin_enrolment(door, name, more, actor, replies),
                    Err(error) => {
                        let _ = replies.send(ops::refused(&error));
                        Ok(())
                    }
                }
            }
        }
    }

    fn change(&mut self, request: &Request, actor: &str) -> Result<Reply, DaemonError> {
        if let Request::ChangePolicy { change } = request
            && let Some(unknown) = change.unknown_door(&self.doors.names())
        {
            return Ok(ops::refused(&unknown));
        }
        let at = Stamp::now(&*self.clock);
        let Some(reply) = ops::change(&mut *self.store, &self.terms, request, actor, at) else {
            return Ok(Reply::Error { message: "this changes nothing".into() });
        };
        match (&reply, request) {
            (Reply::Error { .. }, _) => {}
            (_, Request::ChangePolicy { change }) => self.rules_changed(change)?,
            (
                _,
                Request::RecordConsent { .. }
                | Request::Export { .. }
                | Request::Snapshot { .. }
                | Request::NewRecoveryCode
                | Request::Migrate { .. }
                | Request::BackOver,
            ) => self.tell_followers(),
            (
                _,
                Request::SetPin { name, .. }
                | Request::SetDuressPin { name, .. }
                | Request::ClearPin { name }
                | Request::PinOn { name },
            ) => {
                self.pins_changed(name)?;
                self.tell_followers();
            }
            _ => self.people_changed()?,
        }
        Ok(reply)
    }

    /// Publishes the people as they are now, and forgets what was seen with the others in mind.
    pub(super) fn people_changed(&mut self) -> Result<(), DaemonError> {
        let gallery = self.store.gallery(&self.terms.model).map_err(DaemonError::Read)?;
        self.board.set_people(gallery.people());
        // More people are more to be taken for.
        let (rule, known) = self.terms.bar.apply(&gallery, &self.terms.rule);
        self.board.set_bar(rule.threshold, known.as_ref());
        self.house.set_supported(known.is_none_or(|known| known.supported));
        let alike = LookAlikes::of(&gallery, &rule);
        for door in &mut self.doors.0 {
            door.attempts.set_rule(rule.clone(), alike.clone());
            door.memory.drop_all();
            door.asking.forget();
        }
        self.gallery.store(Arc::new(gallery));
        // What is held up next would be held against others.
        self.end_test("the people changed", Some("somebody was enrolled or removed; begin again"))?;
        self.tell_what_is_shown()?;
        self.count_wanted()?;
        self.read_rules()?;
        self.tell_followers();
        Ok(())
    }

    /// Finishes what a removal left to do, and forgets whoever has not come for too long: on a calendar that is believed
    /// alone, since one that has jumped ahead would forget everybody.
    pub(super) fn tend_people(&mut self) -> Result<(), DaemonError> {
        // A reader may have kept what was erased in the log.
        self.store.is_erased();
        if !self.house.trusts_clock() {
            return Ok(());
        }
        let at = Stamp::now(&*self.clock);
        let forget = self.store.forget_unused(at);
        let gone =
            forget.map_err(|source| DaemonError::Write { what: "the end of unused people", source })?;
        if gone.is_empty() {
            return Ok(());
        }
        log::info!("forgotten, because they have not come for too long: {}", gone.join(", "));
        self.people_changed()
    }

    fn begin_enrolment(
        &mut self,
        door: DoorId,
        name: String,
        more: bool,
        actor: String,
        replies: UnboundedSender<Reply>,
    ) -> Result<(), DaemonError> {
        let refusal = match &self.enrolling {
            _ if self.tests_at(door) => Some(Reply::Error {
                message: "this door is being tested with pictures; wait until that is done".into(),
            }),
            Some(other) => Some(Reply::Error {
                message: format!(
                    "{:?} is being enrolled at the camera by {}; wait until that is done",
                    other.name, other.actor
                ),
            }),
            None => ops::may_enrol(&*self.store, &name, more).err().map(|error| ops::refused(&error)),
        };
        if let Some(refusal) = refusal {
            let _ = replies.send(refusal);
            return Ok(());
        }
        let event = Event {
            actor: Some(actor.clone()),
            ..Event::new(EventKind::EnrolmentBegan, json!({ "name": name, "more": more }))
        };
        self.append_at(door, "the beginning of an enrolment", event)?;
        log::info!("{name} is being enrolled by {actor}; the door decides nothing meanwhile");
        self.doors[door].attempts.forget();
        self.doors[door].memory.cut();
        self.doors[door].asking.forget();
        self.doors[door].board.set_enrolling(Some(&name));
        let sampling = Sampling::new(self.options, self.terms.model.clone(), self.clock.now());
        self.enrolling = Some(LiveEnrolment { door, name, more, actor, replies, sampling });
        Ok(())
    }

    /// Shows a frame to the enrolment under way.
    pub(super) fn take_sample(&mut self, analysis: &Analysis) -> Result<(), DaemonError> {
        let now = self.clock.now();
        let Some(enrolling) = &mut self.enrolling else { return Ok(()) };
        if enrolling.replies.is_closed() {
            return Ok(());
        }
        if let Some(progress) = enrolling.sampling.look(analysis, now) {
            // Should the client hang up this very moment, the next tick ends the enrolment.
            let _ = enrolling.replies.send(Reply::Progress(progress));
        }
        if enrolling.sampling.is_complete() { self.finish_enrolment() } else { Ok(()) }
    }

    /// Stores all samples in one transaction.
    fn finish_enrolment(&mut self) -> Result<(), DaemonError> {
        let Some(LiveEnrolment { name, more, actor, sampling, .. }) = &self.enrolling else { return Ok(()) };
        let enrolment = Enrolment { name, templates: sampling.samples(), more: *more };
        let at = Stamp::now(&*self.clock);
        match ops::enrol(&mut *self.store, &self.terms, &enrolment, actor, at) {
            Ok(enrolled) => {
                self.people_changed()?;
                self.end_enrolment("enrolled", Some(enrolled))
            }
            Err(error) => self.end_enrolment("not stored", Some(ops::refused(&error))),
        }
    }

    /// Ends an enrolment that cannot come to a good end: the client hung up, the time is up, the recording is over.
    pub(super) fn tend_enrolment(&mut self) -> Result<(), DaemonError> {
        let Some(enrolling) = &self.enrolling else { return Ok(()) };
        let (taken, wanted) = (enrolling.sampling.samples().len(), self.options.samples);
        if enrolling.replies.is_closed() {
            return self.end_enrolment("the client hung up", None);
        }
        if enrolling.sampling.is_late(self.clock.now()) {
            let message = format!(
                "only {taken} of {wanted} good samples came together in {} s; nothing is stored. One person, near the \
                 camera, well lit and facing it",
                self.options.timeout.as_secs()
            );
            return self.end_enrolment("timed out", Some(Reply::Error { message }));
        }
        if self.doors[enrolling.door].recording_over && !self.mailbox.has_analyses_of(enrolling.door) {
            let message =
                format!("the recording ended after {taken} of {wanted} good samples; nothing is stored");
            return self.end_enrolment("the recording ended", Some(Reply::Error { message }));
        }
        Ok(())
    }

    /// Lets the door decide again, and then answers the client.
    pub(super) fn end_enrolment(&mut self, result: &str, reply: Option<Reply>) -> Result<(), DaemonError> {
        let Some(LiveEnrolment { door, name, actor, replies, sampling, .. }) = self.enrolling.take() else {
            return Ok(());
        };
        self.doors[door].board.set_enrolling(None);
        self.doors[door].attempts.forget();
        log::info!("enrolment of {name}: {result}; the door decides again");
        let detail = json!({ "name": name, "result": result, "samples": sampling.samples().len() });
        let event = Event { actor: Some(actor), ..Event::new(EventKind::EnrolmentEnded, detail) };
        self.append_at(door, "the end of an enrolment", event)?;
        if let Some(reply) = reply {
            // Nobody waits when the client has just hung up.
            let _ = replies.send(reply);
        }
        Ok(())
    }
}
