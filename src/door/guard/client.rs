//! The daemon's end: a strike that another process holds. When that process does not obey, it is ended, and the line is
//! taken over and driven locked from here.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::watch::{Answer, Order};
use crate::door::{DirectStrike, Relay, RelayError, Strike, StrikeKind};

/// The guard answers within this, or is taken for hung.
const PATIENCE: Duration = Duration::from_secs(1);

/// It may take longer to start: a small board loads the program from its card first.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How long it gets to end.
const FAREWELL: Duration = Duration::from_millis(500);

/// Opens the relay in this process.
pub type OpenRelay = Box<dyn Fn() -> Result<Box<dyn Relay>, RelayError> + Send>;

/// A strike that the guard's process holds.
pub struct GuardedStrike {
    relay: String,
    kind: StrikeKind,
    open: OpenRelay,
    guard: Option<Guard>,
    /// The line, once it has been taken over.
    own: Option<DirectStrike>,
}

struct Guard {
    child: Child,
    socket: BufReader<UnixStream>,
}

impl GuardedStrike {
    /// Starts `program`, which must serve its standard input as [`super::process::serve`] does, and waits until it holds
    /// the line, locked. `open` is for the time when it fails.
    ///
    /// # Errors
    /// When the guard cannot be started or cannot have the line.
    pub fn start(
        mut program: Command,
        relay: String,
        kind: StrikeKind,
        open: OpenRelay,
    ) -> Result<Self, RelayError> {
        let failed = |source| RelayError {
            relay: relay.clone(),
            what: "the process that guards it could not be started".to_owned(),
            source,
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        // A group of its own: Ctrl-C in a terminal is for the service, which then locks.
        let child = program
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        // The command keeps its copy of the guard's end until it is dropped; the socket must close with the guard.
        drop(program);
        let mut guard = Guard { child, socket: BufReader::new(ours) };
        match guard.hear(START_PATIENCE) {
            Ok(Answer::State { .. }) => Ok(Self { relay, kind, open, guard: Some(guard), own: None }),
            Ok(Answer::Fault { what, cause }) => {
                guard.end();
                Err(RelayError { relay, what, source: io::Error::other(cause) })
            }
            Err(source) => {
                guard.end();
                Err(failed(source))
            }
        }
    }

    /// The guard's process, as long as there is one.
    pub fn guard_pid(&self) -> Option<u32> {
        self.guard.as_ref().map(|guard| guard.child.id())
    }

    fn ask(&mut self, order: &Order) -> Result<(bool, String), RelayError> {
        let Some(guard) = &mut self.guard else {
            return Err(self.fault("its guard is gone; the service must be started again", None));
        };
        match guard.say(order).and_then(|()| guard.hear(PATIENCE)) {
            Ok(Answer::State { unlocked, why }) => Ok((unlocked, why)),
            Ok(Answer::Fault { what, cause }) => Err(self.fault(&what, Some(io::Error::other(cause)))),
            Err(source) => {
                self.take_over();
                Err(self.fault("the process that guards it does not answer and was ended", Some(source)))
            }
        }
    }

    fn fault(&self, what: &str, source: Option<io::Error>) -> RelayError {
        let source = source.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
        RelayError { relay: self.relay.clone(), what: what.to_owned(), source }
    }

    /// Ends the guard and takes the line, which drives it locked.
    fn take_over(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            guard.end();
        }
        match (self.open)() {
            Ok(relay) => {
                let mut own = DirectStrike::new(relay, self.kind);
                if let Err(error) = own.lock("taken over from the guard") {
                    log::error!("{error}: {}", error.source);
                }
                self.own = Some(own);
            }
            Err(error) => {
                log::error!("the line could not be taken over from the guard: {error}: {}", error.source)
            }
        }
    }
}

impl Strike for GuardedStrike {
    fn unlock(&mut self, at_most: Duration, why: &str) -> Result<(), RelayError> {
        let at_most_ms = u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX);
        match self.ask(&Order::Unlock { at_most_ms, why: why.to_owned() })? {
            (true, _) => Ok(()),
            (false, why) => Err(self.fault(&format!("the guard did not unlock ({why})"), None)),
        }
    }

    fn lock(&mut self, why: &str) -> Result<(), RelayError> {
        if self.guard.is_some()
            && let Ok((false, _)) = self.ask(&Order::Lock { why: why.to_owned() })
        {
            return Ok(());
        }
        if self.own.is_none() {
            self.take_over();
        }
        match &mut self.own {
            Some(own) => own.lock(why),
            None => Err(self.fault("neither its guard nor the service holds it", None)),
        }
    }

    fn beat(&mut self, unlocked: bool) -> Result<Option<String>, RelayError> {
        let (is_unlocked, why) = self.ask(&Order::Beat)?;
        Ok((unlocked && !is_unlocked).then_some(why))
    }

    fn describe(&self) -> String {
        self.relay.clone()
    }
}

impl Guard {
    fn say(&mut self, order: &Order) -> io::Result<()> {
        let mut line = serde_json::to_vec(order).map_err(io::Error::from)?;
        line.push(b'\n');
        self.socket.get_ref().set_write_timeout(Some(PATIENCE))?;
        self.socket.get_mut().write_all(&line)
    }

    fn hear(&mut self, patience: Duration) -> io::Result<Answer> {
        self.socket.get_ref().set_read_timeout(Some(patience))?;
        let mut line = Vec::new();
        match self.socket.read_until(b'\n', &mut line)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended")),
            _ => serde_json::from_slice(&line).map_err(io::Error::from),
        }
    }

    /// Hangs up, upon which it locks and ends, and sees to it that it does.
    fn end(&mut self) {
        const PAUSE: Duration = Duration::from_millis(5);
        // Fails when it has hung up itself.
        let _ = self.socket.get_ref().shutdown(std::net::Shutdown::Both);
        for _ in 0..FAREWELL.as_millis() / PAUSE.as_millis() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        // Fails when it has just ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for GuardedStrike {
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            guard.end();
        }
    }
}
