//! PINs at the door: who is asked for one, what was typed, and what follows. Hashing is the pin thread's, the judgement
//! `policy`'s; here is what waits for what.
//!
//! **Face and PIN must meet.** The door waits [`Pins::wait`] for the PIN of whoever it recognised. What opens is a grant of
//! looks that are [at most two seconds old](crate::access::GRANT_LIFETIME) when the PIN is right: while somebody types, their
//! looks go on and the newest grant is kept. Who has looked down at the keys for longer looks up again, and the next looks
//! open. So nobody opens with the face of a person who has left, nor with a PIN that somebody else typed for them before.
//!
//! **One at a time.** While one person is asked, another who would be has to wait, or types their number with the PIN; who
//! needs none comes in meanwhile.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;

use crate::access::pin::{Against, Pin};
use crate::access::{Grant, PinProof};
use crate::clock::MonoTime;
use crate::daemon::doorway::DoorId;
use crate::daemon::pin_loop::Job;
use crate::daemon::protocol::{PinAnswer, Reply};
use crate::daemon::trace::Conclusion;
use crate::daemon::{DaemonError, PinOptions};
use crate::door::Waits;
use crate::door::keypad::Typed;
use crate::gallery::PersonId;
use crate::journal::explain::Circumstances;
use crate::journal::{Event, EventKind, PersonRef, Stamp, decision};
use crate::policy::{Gate, PinPause, PinThrottle, Refusal, TurnedAway};

use super::Control;

/// A call for help is raised so long after its PIN: until then the door, its lamps and the answer have the machine to themselves,
/// as with the usual one. Should the service end before, it raises what is left; should the power go, the grant tells.
const HELP_AFTER: Duration = Duration::from_millis(300);

/// What all doors share of PINs.
pub(crate) struct Pins {
    jobs: SyncSender<Job>,
    pub(super) wait: Duration,
    throttle: PinThrottle,
    help: Vec<Help>,
}

/// A call for help that is still to be raised.
struct Help {
    door: DoorId,
    person: PersonRef,
    due: MonoTime,
}

/// Who is asked for a PIN at one door, and what was typed there.
#[derive(Default)]
pub(crate) struct Asking {
    asked: Option<Asked>,
    /// A PIN that was right and waits for its face.
    proved: Option<PinProof>,
    checking: Option<Checking>,
}

/// Somebody who was recognised and is asked for their PIN.
struct Asked {
    person: PersonRef,
    until: MonoTime,
    /// Of the newest looks.
    grant: Grant,
    around: Circumstances,
}

/// A PIN that is being hashed.
struct Checking {
    /// The number it is held against, whether it is somebody's or not.
    number: PersonId,
    /// Whose that is.
    person: Option<PersonRef>,
    wrong_before: u32,
    answer: Answer,
}

/// Where the answer goes.
pub(super) type Answer = Option<oneshot::Sender<Reply>>;

impl Pins {
    pub(crate) fn new(jobs: SyncSender<Job>, options: &PinOptions) -> Self {
        let throttle = PinThrottle::new(options.patience);
        Self { jobs, wait: options.wait, throttle, help: Vec::new() }
    }
}

impl Asking {
    /// The right PIN of this person, typed at most `wait` ago, is used with their face.
    pub(super) fn take_proof(&mut self, person: PersonId, wait: Duration, now: MonoTime) -> Option<PinProof> {
        let good = |proof: &PinProof| now.since(proof.typed()) <= wait;
        self.proved.take_if(|proof| proof.person() == person).filter(good)
    }

    /// Forgets who was asked and what was typed.
    pub(crate) fn forget(&mut self) {
        (self.asked, self.proved) = (None, None);
    }

    fn waits(&self) -> Waits {
        match (&self.asked, &self.proved) {
            (_, Some(_)) => Waits::Face,
            (Some(_), None) => Waits::Pin,
            (None, None) => Waits::Nothing,
        }
    }
}

impl Control {
    /// Somebody recognised needs their PIN. What is concluded for the trace, the first time.
    pub(super) fn ask_for_pin(
        &mut self,
        door: DoorId,
        turned: TurnedAway,
        person: PersonRef,
        around: Circumstances,
    ) -> Result<Option<Conclusion>, DaemonError> {
        let now = self.clock.now();
        let TurnedAway { refusal, grant } = turned;
        // Further looks may grant at once; while another is being asked nothing comes of it.
        self.doors[door].attempts.take_back(person.id);
        match &mut self.doors[door].asking.asked {
            Some(asked) if asked.person.id == person.id => {
                (asked.grant, asked.around) = (*grant, around);
                return Ok(None);
            }
            Some(_) => return Ok(None),
            None => {}
        }
        let why = self.house.words(&refusal);
        log::info!(person = person.name.as_str(); "{}: enter PIN ({why})", person.name);
        let mut detail = decision(grant.evidence(), &around);
        detail["why"] = why.clone().into();
        let event = Event { person: Some(person.clone()), ..Event::new(EventKind::PinAsked, detail) };
        self.append_at(door, "that a PIN is asked for", event)?;
        let evidence = grant.evidence().cloned();
        self.doors[door].asking.asked =
            Some(Asked { person, until: now + self.pins.wait, grant: *grant, around });
        self.show_prompt(door);
        Ok(evidence.map(|evidence| Conclusion::Refused { reason: why, evidence }))
    }

    /// What was typed at the keypad.
    pub(super) fn keyed(&mut self, door: DoorId, typed: Typed) -> Result<(), DaemonError> {
        match typed {
            Typed::Pin { person, pin } => self.typed(door, person, pin, None),
            Typed::Nonsense => {
                self.doors[door].lamps.state.refused(self.clock.now());
                Ok(())
            }
        }
    }

    /// Somebody has typed a PIN: their own by number, or that of whoever is being asked.
    pub(super) fn typed(
        &mut self,
        door: DoorId,
        number: Option<PersonId>,
        pin: Pin,
        answer: Answer,
    ) -> Result<(), DaemonError> {
        let now = self.clock.now();
        if self.doors[door].asking.checking.is_some() || self.enrols_at(door) || self.tests_at(door) {
            return self.answer(door, answer, PinAnswer::Busy);
        }
        let asked = self.doors[door].asking.asked.as_ref().map(|asked| asked.person.id);
        let Some(number) = number.or(asked) else {
            return self.answer(door, answer, PinAnswer::NobodyAsked);
        };
        let person = self.house.person(number);
        let stored = match &person {
            Some(person) => self.store.pin(person.id).map_err(DaemonError::Read)?,
            None => None,
        };
        let wrong_before = stored.as_ref().map_or(0, |stored| stored.failures);
        match self.pins.throttle.gate(door.0, number, wrong_before, now) {
            Gate::Open => {}
            Gate::Paused(left) => {
                return self.answer(door, answer, PinAnswer::Paused { for_s: left.as_secs().max(1) });
            }
            Gate::Off => return self.answer(door, answer, PinAnswer::Off),
        }
        let against = Against { person: person.as_ref().map(|person| person.id), stored };
        self.doors[door].asking.checking = Some(Checking { number, person, wrong_before, answer });
        let job = Job { door, pin, against, typed: now };
        self.pins.jobs.try_send(job).map_err(|_| DaemonError::ThreadDied {
            thread: "pin",
            door: None,
            why: "it takes nothing more".into(),
        })
    }

    /// The pin thread has looked at it.
    pub(super) fn pin_checked(&mut self, door: DoorId, proof: Option<PinProof>) -> Result<(), DaemonError> {
        let Some(Checking { number, person, wrong_before, answer }) = self.doors[door].asking.checking.take()
        else {
            return Ok(());
        };
        match (proof, person) {
            (Some(proof), Some(person)) => {
                let under_duress = proof.under_duress();
                self.pin_is_right(door, proof, person.clone(), answer)?;
                if under_duress {
                    let due = self.clock.now() + HELP_AFTER;
                    self.pins.help.push(Help { door, person, due });
                }
                Ok(())
            }
            (_, person) => self.pin_is_wrong(door, number, person, wrong_before, answer),
        }
    }

    fn pin_is_right(
        &mut self,
        door: DoorId,
        proof: PinProof,
        person: PersonRef,
        answer: Answer,
    ) -> Result<(), DaemonError> {
        let at = Stamp::now(&*self.clock);
        self.pins.throttle.right(door.0, person.id);
        let seen = self.doors[door].asking.asked.take_if(|asked| asked.person.id == person.id);
        let fresh = seen.filter(|seen| seen.grant.is_good_at(at.mono));
        let (grant, around) = match fresh {
            Some(Asked { grant, around, .. }) => (grant, around),
            None => (proof.grant(person.name.clone()), Circumstances::default()),
        };
        if !self.is_still_enrolled(&grant)? {
            log::warn!("{} typed a PIN but is enrolled no more; the door stays locked", person.name);
            return self.answer(door, answer, PinAnswer::Wrong);
        }
        match self.admit(door, grant, Some(&proof), at) {
            Ok(admitted) => {
                let opened = self.let_pass(door, admitted, &around, at)?;
                self.doors[door].attempts.hold_back(person.id, at.mono);
                self.answer(door, answer, if opened { PinAnswer::Open } else { PinAnswer::Refused })
            }
            Err(TurnedAway { refusal: Refusal::NeedsFace(_), .. }) => {
                log::info!(person = person.name.as_str(); "{}: the PIN is right, now the face", person.name);
                self.doors[door].attempts.take_back(person.id);
                self.doors[door].asking.proved = Some(proof);
                self.answer(door, answer, PinAnswer::Look)
            }
            Err(TurnedAway { refusal, grant }) => {
                self.turn_away(door, person, &refusal, grant.evidence(), &around)?;
                self.answer(door, answer, PinAnswer::Refused)
            }
        }
    }

    fn pin_is_wrong(
        &mut self,
        door: DoorId,
        number: PersonId,
        person: Option<PersonRef>,
        wrong_before: u32,
        answer: Answer,
    ) -> Result<(), DaemonError> {
        let now = self.clock.now();
        self.doors[door].lamps.state.refused(now);
        // A number that is nobody's is not written down: a PIN may have slipped into it.
        let detail =
            if person.is_some() { json!({}) } else { json!({ "what": "for a number that is nobody's" }) };
        let event = Event { person: person.clone(), ..Event::new(EventKind::WrongPin, detail) };
        log::info!("a wrong PIN was typed");
        self.append_at(door, "a wrong PIN", event)?;
        for pause in self.pins.throttle.failed(door.0, number, now) {
            let (of, time) = match pause {
                PinPause::OfTheDoor(time) => (None, time),
                PinPause::OfThePerson(time) => (person.clone(), time),
            };
            if pause == PinPause::OfThePerson(time) && of.is_none() {
                continue;
            }
            log::warn!("too many wrong PINs: none is taken for {} s", time.as_secs());
            let detail = json!({ "for_s": time.as_secs() });
            self.append_at(
                door,
                "a pause",
                Event { person: of, ..Event::new(EventKind::PinThrottled, detail) },
            )?;
        }
        if self.pins.throttle.is_the_last(wrong_before + 1)
            && let Some(person) = person
        {
            log::error!("far too many wrong PINs: that of {} is off until `accessd pin on`", person.name);
            let event = Event { person: Some(person), ..Event::new(EventKind::PinOff, json!({})) };
            self.append_at(door, "the end of patience", event)?;
        }
        self.answer(door, answer, PinAnswer::Wrong)
    }

    /// Raises the calls for help that are due, or all of them. Silently: the journal, the system's log, and `accessd status` for
    /// those who may change things.
    pub(super) fn call_for_help(&mut self, all: bool) -> Result<(), DaemonError> {
        let now = self.clock.now();
        let due: Vec<Help> = self.pins.help.extract_if(.., |help| all || help.due <= now).collect();
        for Help { door, person, .. } in due {
            log::error!(person = person.name.as_str(); "DURESS: {} has typed the PIN that calls for help", person.name);
            let at_door = self.doors[door].place.door.as_str();
            let at_door = if self.doors.are_several() { format!(" at {at_door}") } else { String::new() };
            self.board.set_duress(format!("{}{at_door}, {:.0}", person.name, self.clock.wall()));
            let event = Event { person: Some(person), ..Event::new(EventKind::Duress, json!({})) };
            self.append_at(door, "a call for help", event)?;
        }
        Ok(())
    }

    /// What time brings: whoever does not give their PIN in time is not let in.
    pub(super) fn tend_pins(&mut self) -> Result<(), DaemonError> {
        self.doors.ids().try_for_each(|door| self.tend_pins_of(door))?;
        self.call_for_help(false)
    }

    fn tend_pins_of(&mut self, door: DoorId) -> Result<(), DaemonError> {
        let (now, wait) = (self.clock.now(), self.pins.wait);
        let Asking { asked, proved, checking } = &mut self.doors[door].asking;
        proved.take_if(|proof| now.since(proof.typed()) > wait);
        // One that is being looked at was typed in time.
        let late = asked.take_if(|asked| checking.is_none() && now >= asked.until);
        if let Some(Asked { person, grant, around, .. }) = late {
            self.doors[door].attempts.hold_back(person.id, now);
            log::info!(person = person.name.as_str(); "{} gave no PIN in time", person.name);
            self.doors[door].lamps.state.refused(now);
            let mut detail = decision(grant.evidence(), &around);
            detail["reason"] = "policy".into();
            detail["why"] = format!("no PIN within {} s", wait.as_secs()).into();
            let event = Event { person: Some(person), ..Event::new(EventKind::Refusal, detail) };
            self.append_at(door, "a refusal", event)?;
        }
        self.show_prompt(door);
        Ok(())
    }

    /// After a change of somebody's PIN.
    pub(super) fn pins_changed(&mut self, name: &str) -> Result<(), DaemonError> {
        let person = self.store.person(name).map_err(DaemonError::Read)?.id;
        self.pins.throttle.forgive(person);
        self.doors.0.iter_mut().for_each(|door| door.asking.forget());
        self.read_rules()
    }

    pub(super) fn keypad_lost(&mut self, door: DoorId, what: String) -> Result<(), DaemonError> {
        log::error!("{what}");
        self.doors[door].board.set_fault("keypad", Some(what.clone()));
        let event = Event::new(EventKind::InputsLost, json!({ "what": what }));
        self.append_at(door, "the loss of the keypad", event).map(drop)
    }

    pub(super) fn keypad_back(&mut self, door: DoorId) -> Result<(), DaemonError> {
        log::info!("the keypad can be read again");
        self.doors[door].board.set_fault("keypad", None);
        let event = Event::new(EventKind::InputsBack, json!({ "what": "the keypad" }));
        self.append_at(door, "the return of the keypad", event).map(drop)
    }

    fn answer(&mut self, door: DoorId, to: Answer, answer: PinAnswer) -> Result<(), DaemonError> {
        match answer {
            PinAnswer::Open | PinAnswer::Look => {}
            _ => self.doors[door].lamps.state.refused(self.clock.now()),
        }
        self.show_prompt(door);
        if let Some(to) = to {
            // Nobody waits when the client hung up; what it typed is done all the same.
            let _ = to.send(Reply::Typed { answer });
        }
        Ok(())
    }

    fn show_prompt(&mut self, door: DoorId) {
        let waits = self.doors[door].asking.waits();
        self.doors[door].lamps.state.waits(waits);
        let prompt = match (waits, &self.doors[door].asking.asked) {
            (Waits::Pin, Some(asked)) => Some(format!("{}: enter PIN", asked.person.name)),
            (Waits::Face, _) => Some("look at the camera".to_owned()),
            _ => None,
        };
        self.doors[door].board.set_prompt(prompt);
    }
}
