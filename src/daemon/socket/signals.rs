//! SIGTERM, SIGINT and SIGHUP: the first one locks and stops, the second ends the process at once.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::daemon::status::Board;

/// How long a door that is unlocked gets to lock when somebody insists.
const LAST_CHANCE: Duration = Duration::from_millis(300);

/// The signals that stop the daemon.
pub(super) struct Signals(Option<[Signal; 3]>);

impl Signals {
    /// Listens to them, or to none.
    pub(super) fn listen(wanted: bool) -> io::Result<Self> {
        if !wanted {
            return Ok(Self(None));
        }
        let [term, int, hup] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self(Some([term?, int?, hup?])))
    }

    /// Waits for one and names it.
    pub(super) async fn next(&mut self) -> &'static str {
        let Some([term, int, hup]) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
            _ = hup.recv() => "SIGHUP",
        }
    }
}

/// Ends the process; a door that is unlocked gets a moment to lock first. The kernel frees the relay's line.
pub(super) async fn end_at_once(signal: &str, board: &Board) -> ! {
    log::error!("{signal} again: ending at once");
    let locked = async {
        while board.any_unlocked() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = tokio::time::timeout(LAST_CHANCE, locked).await;
    std::process::exit(1)
}
