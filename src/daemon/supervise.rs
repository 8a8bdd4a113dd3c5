//! Watching the threads: each is started here, each end and each panic is reported here, and a thread that hangs is
//! noticed by its beat. Whatever ends outside a stop ends the daemon, with the door locked.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{Clock, MonoTime};

use super::mailbox::{Mailbox, Note};

/// Asks a running daemon to lock and stop, from any thread; clones ask the same daemon.
#[derive(Clone, Debug)]
pub struct Shutdown {
    asked: Arc<watch::Sender<Option<String>>>,
    signals: bool,
}

impl Shutdown {
    /// Stops only when [`Shutdown::ask`] is called.
    pub fn by_hand() -> Self {
        Self { asked: Arc::new(watch::Sender::new(None)), signals: false }
    }

    /// Stops on SIGTERM, SIGINT and SIGHUP too; a second signal ends the process at once.
    pub fn on_signals() -> Self {
        Self { signals: true, ..Self::by_hand() }
    }

    /// Lock and stop; `why` goes into the journal. Only the first call counts.
    pub fn ask(&self, why: &str) {
        self.asked.send_if_modified(|asked| {
            let first = asked.is_none();
            if first {
                *asked = Some(why.to_owned());
            }
            first
        });
    }

    pub(crate) fn signals(&self) -> bool {
        self.signals
    }

    /// Waits until somebody asked, and says why.
    pub(crate) async fn asked(&self) -> String {
        let mut asked = self.asked.subscribe();
        match asked.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Tells all threads to end; set once control has locked the door.
#[derive(Debug)]
pub(crate) struct Halt {
    set: Mutex<bool>,
    changed: Condvar,
    for_tasks: watch::Sender<bool>,
}

impl Halt {
    pub(crate) fn new() -> Self {
        Self { set: Mutex::new(false), changed: Condvar::new(), for_tasks: watch::Sender::new(false) }
    }

    pub(crate) fn set(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
        self.for_tasks.send_replace(true);
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits at most `patience`.
    pub(crate) fn wait(&self, patience: Duration) {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(set, patience, |set| !*set));
    }

    /// The same for async tasks.
    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.for_tasks.subscribe()
    }
}

/// Since when a thread has been at one piece of work; 0 when it is waiting.
#[derive(Debug, Default)]
pub(crate) struct Beat(AtomicU64);

impl Beat {
    pub(crate) fn busy(&self, now: MonoTime) {
        self.0.store(now.as_millis().max(1), Ordering::Relaxed);
    }

    pub(crate) fn idle(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Marks the thread as busy while `work` runs.
    pub(crate) fn during<T>(&self, clock: &dyn Clock, work: impl FnOnce() -> T) -> T {
        self.busy(clock.now());
        let done = work();
        self.idle();
        done
    }

    /// How long the present piece of work has taken.
    pub(crate) fn busy_for(&self, now: MonoTime) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => now.since(MonoTime::from_millis(since)),
        }
    }
}

/// The threads of one daemon.
pub(crate) struct Crew {
    mailbox: Arc<Mailbox>,
    halt: Arc<Halt>,
    ended: (Sender<Worker>, Receiver<Worker>),
    at_work: Vec<Worker>,
}

/// A thread by what it does and, where there are several doors, whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) thread: &'static str,
    pub(crate) door: Option<String>,
}

impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.door {
            Some(door) => write!(f, "{} of {door}", self.thread),
            None => f.write_str(self.thread),
        }
    }
}

impl From<&'static str> for Worker {
    fn from(thread: &'static str) -> Self {
        Self { thread, door: None }
    }
}

impl Crew {
    pub(crate) fn new(mailbox: Arc<Mailbox>, halt: Arc<Halt>) -> Self {
        Self { mailbox, halt, ended: channel(), at_work: Vec::new() }
    }

    /// Starts a thread. When `work` fails or panics while the daemon is not halting, control is told.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn start<E: Error>(
        &mut self,
        worker: Worker,
        work: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> std::io::Result<()> {
        let (mailbox, halt, ended) = (self.mailbox.clone(), self.halt.clone(), self.ended.0.clone());
        let named = worker.clone();
        std::thread::Builder::new().name(worker.to_string()).spawn(move || {
            let failed = match catch_unwind(AssertUnwindSafe(work)) {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(chain(&error)),
                Err(panic) => Some(panic_message(&*panic)),
            };
            if let Some(why) = failed.filter(|_| !halt.is_set()) {
                let Worker { thread, door } = named.clone();
                mailbox.note(Note::ThreadDied { thread, door, why });
            }
            // The receiver is gone only when the daemon did not wait for this thread.
            let _ = ended.send(named);
        })?;
        self.at_work.push(worker);
        Ok(())
    }

    /// Waits at most `patience` for the end of a thread and names it.
    pub(crate) fn wait_for_an_end(&mut self, patience: Duration) -> Option<Worker> {
        match self.ended.1.recv_timeout(patience) {
            Ok(worker) => {
                self.at_work.retain(|at_work| *at_work != worker);
                Some(worker)
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Waits at most `patience` for all threads and names those that hang; they die with the process.
    pub(crate) fn dismiss(&mut self, patience: Duration, clock: &dyn Clock) -> Vec<Worker> {
        let deadline = clock.now() + patience;
        while !self.at_work.is_empty() {
            let left = deadline.since(clock.now());
            if left.is_zero() {
                break;
            }
            self.wait_for_an_end(left);
        }
        std::mem::take(&mut self.at_work)
    }
}

/// An error with everything that caused it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

/// What a thread said when it panicked.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.as_deref().unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::daemon::mailbox::Mail;

    fn crew() -> (Crew, Arc<Mailbox>, Arc<Halt>) {
        let (mailbox, halt) = (Arc::new(Mailbox::default()), Arc::new(Halt::new()));
        (Crew::new(mailbox.clone(), halt.clone()), mailbox, halt)
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the outer thing failed")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_panic_is_reported_with_its_message() {
        let (mut crew, mailbox, _) = crew();
        crew.start("eye".into(), || -> Result<(), Outer> { panic!("lens cap on frame {}", 7) }).unwrap();
        assert_eq!(crew.wait_for_an_end(Duration::from_secs(5)), Some(Worker::from("eye")));
        let Some(Mail::Note(Note::ThreadDied { thread, why, .. })) = mailbox.wait(Duration::ZERO) else {
            panic!("nothing reported")
        };
        assert_eq!((thread, why.as_str()), ("eye", "panicked: lens cap on frame 7"));
    }

    #[test]
    fn an_error_is_reported_with_its_causes() {
        let (mut crew, mailbox, _) = crew();
        crew.start("eye".into(), || Err(Outer(std::io::Error::other("no light")))).unwrap();
        let Some(Mail::Note(Note::ThreadDied { why, .. })) = mailbox.wait(Duration::from_secs(5)) else {
            panic!("nothing reported")
        };
        assert_eq!(why, "the outer thing failed: no light");
    }

    #[test]
    fn a_hanging_thread_is_named_and_left_behind() {
        let (mut crew, _, halt) = crew();
        let (release, hang) = channel::<()>();
        crew.start("stuck".into(), move || {
            let _ = hang.recv();
            Ok::<(), Outer>(())
        })
        .unwrap();
        crew.start("good".into(), || Ok::<(), Outer>(())).unwrap();
        halt.set();
        assert_eq!(crew.dismiss(Duration::from_millis(200), &SystemClock), [Worker::from("stuck")]);
        drop(release);
    }

    #[test]
    fn a_beat_tells_how_long_the_work_takes() {
        let beat = Beat::default();
        let (start, later) = (MonoTime::from_millis(1_000), MonoTime::from_millis(4_500));
        assert_eq!(beat.busy_for(later), Duration::ZERO);
        beat.busy(start);
        assert_eq!(beat.busy_for(later), Duration::from_millis(3_500));
        beat.idle();
        assert_eq!(beat.busy_for(later), Duration::ZERO);
    }
}
