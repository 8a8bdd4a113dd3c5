//! The slot of one frame between the camera thread and the vision thread: the newest frame wins, so that vision
//! never works on the past and the camera never waits for vision.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Holds at most one thing, the newest.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

/// What waiting at the slot brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken<T> {
    /// The newest thing.
    Thing(T),
    /// Nothing, but somebody wants the waiting one's attention.
    Nudge,
    /// The slot is closed and empty.
    Closed,
}

#[derive(Debug)]
struct State<T> {
    newest: Option<T>,
    replaced: u64,
    nudged: bool,
    closed: bool,
}

impl<T> Slot<T> {
    /// An empty slot.
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State { newest: None, replaced: 0, nudged: false, closed: false }),
            changed: Condvar::new(),
        }
    }

    /// Puts a thing in, in the place of an older one that nobody took.
    pub(crate) fn put(&self, thing: T) {
        let mut state = self.lock();
        if state.newest.replace(thing).is_some() {
            state.replaced += 1;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for a thing. Of a slot that is closed the last thing put in is still handed out.
    pub(crate) fn take(&self) -> Taken<T> {
        let mut state = self.lock();
        loop {
            if let Some(thing) = state.newest.take() {
                return Taken::Thing(thing);
            }
            if state.closed {
                return Taken::Closed;
            }
            if std::mem::take(&mut state.nudged) {
                return Taken::Nudge;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Has whoever waits look up from it, once.
    pub(crate) fn nudge(&self) {
        self.lock().nudged = true;
        self.changed.notify_one();
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// How many things were replaced before anybody took them.
    pub(crate) fn replaced(&self) -> u64 {
        self.lock().replaced
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_newest_wins_and_the_others_are_counted() {
        let slot = Slot::new();
        (1..=4).for_each(|n| slot.put(n));
        assert_eq!(slot.take(), Taken::Thing(4));
        assert_eq!(slot.replaced(), 3);
    }

    #[test]
    fn the_last_one_is_handed_out_after_closing() {
        let slot = Slot::new();
        slot.put("last");
        slot.close();
        assert_eq!((slot.take(), slot.take()), (Taken::Thing("last"), Taken::Closed));
    }

    #[test]
    fn closing_wakes_a_waiting_thread() {
        let slot = Arc::new(Slot::<u8>::new());
        let waiting = std::thread::spawn({
            let slot = slot.clone();
            move || slot.take()
        });
        slot.close();
        assert_eq!(waiting.join().unwrap(), Taken::Closed);
    }

    #[test]
    fn a_nudge_is_felt_once_and_after_the_things() {
        let slot = Slot::new();
        slot.nudge();
        slot.put(1);
        assert_eq!((slot.take(), slot.take()), (Taken::Thing(1), Taken::Nudge));
        slot.nudge();
        slot.close();
        assert_eq!(slot.take(), Taken::Closed);
    }
}
