//! What systemd is told: ready, alive, stopping.
//!
//! Ready means that the door works: the first frame has been analysed. A camera that gives no picture at start also
//! counts as ready, with its trouble in the status line: a unit that waits for a camera would be killed and started
//! over for ever, which repairs no cable and hides the journal entry that names it. For the same reason the watchdog
//! is tied to the control thread's turns and not to frames: as long as control turns, the door is locked in time, and
//! the camera is opened again from within. Vision or a camera driver that hangs for good is found by the supervisor,
//! which stops the daemon with a fault.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::clock::MonoTime;

/// Between signs of life when the unit has no `WatchdogSec=`.
const UNWATCHED: Duration = Duration::from_secs(10);

/// Talks to the service manager.
pub(crate) struct Readiness {
    tell: Box<dyn FnMut(NotifyState<'_>) + Send>,
    every: Duration,
    alive_at: Option<MonoTime>,
    ready: bool,
}

impl Readiness {
    /// Talks to systemd, if it started this process.
    pub(crate) fn systemd() -> Self {
        let every = sd_notify::watchdog_enabled().map_or(UNWATCHED, |limit| limit / 4);
        Self::new(every, |state| {
            if let Err(error) = sd_notify::notify(&[state]) {
                log::warn!("systemd could not be told: {error}");
            }
        })
    }

    /// Talks to `tell`, with a sign of life after each `every`.
    pub(crate) fn new(every: Duration, tell: impl FnMut(NotifyState<'_>) + Send + 'static) -> Self {
        Self { tell: Box::new(tell), every, alive_at: None, ready: false }
    }

    /// The door works; only the first call is told.
    pub(crate) fn ready(&mut self) {
        if !std::mem::replace(&mut self.ready, true) {
            (self.tell)(NotifyState::Ready);
        }
    }

    /// The text in `systemctl status`.
    pub(crate) fn status(&mut self, line: &str) {
        // The message is lines of KEY=VALUE: a line break would begin another key.
        (self.tell)(NotifyState::Status(&line.replace(['\n', '\r'], " ")));
    }

    /// Control turns.
    pub(crate) fn alive(&mut self, now: MonoTime) {
        if self.alive_at.is_none_or(|then| now.since(then) >= self.every) {
            self.alive_at = Some(now);
            (self.tell)(NotifyState::Watchdog);
        }
    }

    /// The daemon stops.
    pub(crate) fn stopping(&mut self) {
        (self.tell)(NotifyState::Stopping);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn ready_is_told_once_and_life_at_intervals() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut readiness = Readiness::new(Duration::from_secs(2), {
            let told = told.clone();
            move |state| told.lock().unwrap().push(state.to_string())
        });
        readiness.ready();
        readiness.ready();
        (0..50).for_each(|n| readiness.alive(MonoTime::from_millis(n * 100)));
        readiness.stopping();
        let wanted = ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"];
        assert_eq!(*told.lock().unwrap(), wanted);
    }
}
