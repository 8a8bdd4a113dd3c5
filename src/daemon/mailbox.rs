//! Everything that reaches the control thread, in order of urgency: notes (stop, a dead thread, the camera), then
//! what operators ask, then analysed frames, and last what may wait for all of them. Analyses are bounded and the oldest give way, so that vision never
//! waits for a slow disk; the others are few by their nature.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::access::PinProof;
use crate::access::pin::Pin;
use crate::clock::MonoTime;
use crate::door::keypad::Typed;
use crate::door::{Order, Sensor};
use crate::gallery::PersonId;
use crate::journal::Event;
use crate::liveness::spoof::Species;

use super::analysis::Analysis;
use super::doorway::DoorId;
use super::migrating::Made;
use super::protocol::{Reply, Request};

/// Analyses of one door kept for a control thread that is busy; more would be too old to decide on.
const ANALYSES_KEPT: usize = 4;

/// What the threads tell control.
#[derive(Debug)]
pub(crate) enum Note {
    /// Lock and stop in good order.
    Stop {
        /// Who wants it: `SIGTERM`, …
        why: String,
    },
    /// A thread ended that should not have.
    ThreadDied {
        /// Its name.
        thread: &'static str,
        /// Whose it is, where there are several doors.
        door: Option<String>,
        /// Its error or panic message.
        why: String,
    },
    /// The camera could not be opened or read; it is being tried again.
    CameraFailed {
        /// Of this door.
        door: DoorId,
        /// What the camera said.
        what: String,
    },
    /// An input of the door has a new level that can be believed.
    Sensed {
        /// Of this door.
        door: DoorId,
        /// Which.
        sensor: Sensor,
        /// Its level.
        active: bool,
        /// Since when.
        since: MonoTime,
    },
    /// The inputs cannot be read; they are being tried again.
    InputsFailed {
        /// Of this door.
        door: DoorId,
        /// What they said.
        what: String,
    },
    /// They can be read again.
    InputsBack {
        /// Those of this door.
        door: DoorId,
    },
    /// Something was typed at a door's keypad.
    Typed {
        /// Which door's.
        door: DoorId,
        /// What.
        typed: Typed,
    },
    /// What was typed has been held against somebody's PINs.
    PinChecked {
        /// At this door.
        door: DoorId,
        /// What it proves.
        proof: Option<PinProof>,
    },
    /// A keypad cannot be read; it is being tried again.
    KeypadFailed {
        /// Of this door.
        door: DoorId,
        /// What it said.
        what: String,
    },
    /// It can be read again.
    KeypadBack {
        /// That of this door.
        door: DoorId,
    },
    /// The recording is over and its last frame has been analysed.
    RecordingOver {
        /// At this door.
        door: DoorId,
    },
}

/// What an operator asks of control; everything else is answered by the socket thread.
#[derive(Debug)]
pub(crate) enum Command {
    /// A change of the people.
    Change {
        /// What to change.
        request: Request,
        /// Who asks.
        actor: String,
        /// Where the answer goes.
        reply: tokio::sync::oneshot::Sender<Reply>,
    },
    /// An event to be written.
    Write {
        /// It.
        event: Box<Event>,
        /// Where the answer goes.
        reply: tokio::sync::oneshot::Sender<Reply>,
    },
    /// A move of a door.
    Door {
        /// Of which, as it was named.
        door: Option<String>,
        /// Which.
        order: Order,
        /// Who asks.
        actor: String,
        /// Where the answer goes.
        reply: tokio::sync::oneshot::Sender<Reply>,
    },
    /// A PIN that a client hands on.
    TypePin {
        /// At which door, as it was named.
        door: Option<String>,
        /// Whose it is said to be.
        person: Option<PersonId>,
        /// The PIN.
        pin: Pin,
        /// Where the answer goes.
        reply: tokio::sync::oneshot::Sender<Reply>,
    },
    /// Lets faces open a door again.
    FaceOn {
        /// Which, as it was named.
        door: Option<String>,
        /// Who asks.
        actor: String,
        /// Where the answer goes.
        reply: tokio::sync::oneshot::Sender<Reply>,
    },
    /// A test of a door begins.
    SpoofBegin {
        /// Which, as it was named.
        door: Option<String>,
        /// Who asks.
        actor: String,
        /// Where everything about it goes; closed when the client hung up.
        replies: tokio::sync::mpsc::UnboundedSender<Reply>,
    },
    /// A presentation of that test.
    SpoofPresent {
        /// Which test.
        test: u64,
        /// Of what.
        species: Species,
        /// How long it may take.
        each: Duration,
    },
    /// The end of that test.
    SpoofEnd {
        /// Which test.
        test: u64,
    },
    /// Enrolment at a door's camera.
    EnrolLive {
        /// Which, as it was named.
        door: Option<String>,
        /// The name.
        name: String,
        /// Add to a person who is already enrolled.
        more: bool,
        /// Who asks.
        actor: String,
        /// Where progress and the answer go; closed when the client hung up.
        replies: tokio::sync::mpsc::UnboundedSender<Reply>,
    },
}

/// One thing for control to do.
#[derive(Debug)]
pub(crate) enum Mail {
    /// From another thread.
    Note(Note),
    /// From an operator.
    Command(Command),
    /// From a door's camera, looked at.
    Analysis(DoorId, Box<Analysis>),
    /// What another encoder made; everything else comes first.
    Made(Made),
}

/// The control thread's inbox.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    notes: VecDeque<Note>,
    commands: VecDeque<Command>,
    analyses: VecDeque<(DoorId, Box<Analysis>)>,
    made: VecDeque<Made>,
    dropped: u64,
}

impl Mailbox {
    /// Posts a note.
    pub(crate) fn note(&self, note: Note) {
        self.lock().notes.push_back(note);
        self.arrived.notify_one();
    }

    /// Posts a command.
    pub(crate) fn command(&self, command: Command) {
        self.lock().commands.push_back(command);
        self.arrived.notify_one();
    }

    /// Posts an analysis; the oldest waiting one of the same door gives way when there are too many.
    pub(crate) fn analysis(&self, door: DoorId, analysis: Analysis) {
        let mut state = self.lock();
        let of_the_door = || state.analyses.iter().enumerate().filter(|(_, (of, _))| *of == door);
        if of_the_door().count() == ANALYSES_KEPT
            && let Some((oldest, _)) = of_the_door().next()
        {
            state.analyses.remove(oldest);
            state.dropped += 1;
        }
        state.analyses.push_back((door, Box::new(analysis)));
        drop(state);
        self.arrived.notify_one();
    }

    /// Posts what another encoder made.
    pub(crate) fn made(&self, made: Made) {
        self.lock().made.push_back(made);
        self.arrived.notify_one();
    }

    /// Waits at most `patience` for the most urgent thing.
    pub(crate) fn wait(&self, patience: Duration) -> Option<Mail> {
        let mut state = self.lock();
        if state.is_empty() {
            state = self.arrived.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.most_urgent()
    }

    /// Whether analyses wait.
    pub(crate) fn has_analyses(&self) -> bool {
        !self.lock().analyses.is_empty()
    }

    /// Whether analyses of a door wait.
    pub(crate) fn has_analyses_of(&self, door: DoorId) -> bool {
        self.lock().analyses.iter().any(|(of, _)| *of == door)
    }

    /// Analyses that gave way before control took them.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.commands.is_empty() && self.analyses.is_empty() && self.made.is_empty()
    }

    fn most_urgent(&mut self) -> Option<Mail> {
        if let Some(note) = self.notes.pop_front() {
            return Some(Mail::Note(note));
        }
        if let Some(command) = self.commands.pop_front() {
            return Some(Mail::Command(command));
        }
        if let Some((door, analysis)) = self.analyses.pop_front() {
            return Some(Mail::Analysis(door, analysis));
        }
        self.made.pop_front().map(Mail::Made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::fakes::empty_analysis;

    fn stop() -> Note {
        Note::Stop { why: "test".into() }
    }

    #[test]
    fn a_stop_overtakes_frames() {
        let mailbox = Mailbox::default();
        let (person, templates, detail) = (PersonId(1), Vec::new(), serde_json::Value::Null);
        mailbox.made(Made::Templates { person, templates, detail });
        mailbox.analysis(DoorId(0), empty_analysis(1));
        mailbox.note(stop());
        assert!(matches!(mailbox.wait(Duration::ZERO), Some(Mail::Note(Note::Stop { .. }))));
        assert!(matches!(mailbox.wait(Duration::ZERO), Some(Mail::Analysis(_, a)) if a.seq == 1));
        assert!(matches!(mailbox.wait(Duration::ZERO), Some(Mail::Made(_))));
        assert!(mailbox.wait(Duration::ZERO).is_none());
    }

    #[test]
    fn the_oldest_analyses_give_way() {
        let mailbox = Mailbox::default();
        mailbox.analysis(DoorId(1), empty_analysis(77));
        (0..10).for_each(|seq| mailbox.analysis(DoorId(0), empty_analysis(seq)));
        assert_eq!(mailbox.dropped(), 6);
        let next = || match mailbox.wait(Duration::ZERO) {
            Some(Mail::Analysis(door, analysis)) => (door.0, analysis.seq),
            other => panic!("{other:?}"),
        };
        assert_eq!(next(), (1, 77), "a busy door takes nothing from another");
        assert_eq!(next(), (0, 6));
        assert!(mailbox.has_analyses());
    }
}
