//! The control socket: operators on this machine reach the daemon here. One thread, all clients side by side; a
//! client that is slow, silent or wrong keeps nobody else waiting. Reads are answered here, changes go to control.
//!
//! Who may connect is decided by the socket file: mode 0660, of the daemon's user and group. Each client's
//! credentials are read from the kernel: they tell who may change things from who may look, and what is changed is
//! written down under them.

mod connection;
mod custody;
mod lines;
mod pictures;
mod roles;
mod signals;
mod testing;

pub(crate) use connection::{actor, uid_of};

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustix::fs::{FlockOperation, flock};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::frame::Frame;
use crate::gallery::Gallery;
use crate::store::Store;

use super::doorway::Doorway;
use super::mailbox::{Mailbox, Note};
use super::ops::Terms;
use super::protocol::{Figures, Reply};
use super::slot::Slot;
use super::status::Board;
use super::studio::Studio;
use super::supervise::{Halt, Shutdown};
use super::view::View;
use super::{ConsoleTerms, DaemonError, Limits};

use signals::Signals;

/// Clients at a time.
const MAX_CLIENTS: usize = 32;

/// Clients the kernel keeps waiting.
const BACKLOG: u32 = 64;

/// Owner and group may connect, nobody else.
const MODE: u32 = 0o660;

/// At a stop, how long clients get to take what is meant for them.
const FAREWELL: Duration = Duration::from_millis(300);

/// What the socket thread answers from.
pub(crate) struct Desk {
    pub(crate) reader: Mutex<Box<dyn Store>>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Changes with each journal entry.
    pub(crate) journal: watch::Receiver<u64>,
    pub(crate) halt: Arc<Halt>,
    pub(crate) limits: Limits,
    pub(crate) console: ConsoleTerms,
    pub(crate) terms: Terms,
    /// Held while a replay is worked out.
    pub(crate) replaying: Arc<tokio::sync::Mutex<()>>,
    pub(crate) gallery: Arc<ArcSwap<Gallery>>,
    /// What was worked out last, and for which state of the people.
    pub(crate) figures: Mutex<Option<(u64, Box<Figures>)>>,
    /// What the doors' cameras see, in the order of the doors.
    pub(crate) eyes: Vec<Eye>,
    pub(crate) studio: Arc<Studio>,
}

/// What one door's camera sees, for the console.
pub(crate) struct Eye {
    pub(crate) door: String,
    pub(crate) view: Arc<View>,
    /// Nudged when a picture waits for the networks.
    pub(crate) frames: Arc<Slot<Frame>>,
}

impl Eye {
    /// Of a door; nobody watches yet.
    pub(crate) fn of(doorway: &Doorway) -> Self {
        let (door, frames) = (doorway.place.door.clone(), doorway.frames.clone());
        Self { door, view: Arc::default(), frames }
    }
}

/// The socket, listening. Its file is removed with it.
pub(crate) struct ControlSocket {
    listener: UnixListener,
    runtime: Runtime,
    file: SocketFile,
}

impl ControlSocket {
    /// Makes the socket, in the place of one that a daemon which was killed left behind.
    ///
    /// # Errors
    /// [`DaemonError::AlreadyRunning`] when a daemon answers, [`DaemonError::Socket`] for everything else.
    pub(crate) fn bind(path: &Path) -> Result<Self, DaemonError> {
        let failed = |what: &str| {
            let (path, what) = (path.to_owned(), what.to_owned());
            move |source| DaemonError::Socket { path, what, source }
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folder =
            File::open(folder).map_err(failed("its folder must exist and be readable; create it"))?;
        // Two daemons started at once must not both find a dead socket and remove each other's.
        flock(&folder, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| failed("another program holds its folder; try again")(error.into()))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("the system gives no event queue"))?;
        let listener = runtime.block_on(async {
            remove_dead(path).await?;
            let socket = UnixSocket::new_stream().map_err(failed("the system gives no socket"))?;
            socket.bind(path).map_err(failed("it cannot be made; check the folder's owner and mode"))?;
            // The mode is set before anybody can connect.
            std::fs::set_permissions(path, Permissions::from_mode(MODE))
                .map_err(failed("its mode cannot be set"))?;
            socket.listen(BACKLOG).map_err(failed("it cannot be listened on"))
        })?;
        Ok(Self { listener, runtime, file: SocketFile(path.to_owned()) })
    }

    /// Serves clients and signals until the daemon halts.
    ///
    /// # Errors
    /// When the signals cannot be listened to or the listener fails for good.
    pub(crate) fn serve(self, desk: Desk, shutdown: &Shutdown) -> io::Result<()> {
        let Self { listener, runtime, file } = self;
        let desk = Arc::new(desk);
        runtime.block_on(async {
            let mut clients = JoinSet::new();
            let served = receive(&listener, &mut clients, &desk, shutdown).await;
            drop(listener);
            drop(file);
            let all_gone = async { while clients.join_next().await.is_some() {} };
            // Those who do not go are hung up on.
            let _ = tokio::time::timeout(FAREWELL, all_gone).await;
            served
        })
    }
}

/// Takes clients, signals and requests to stop until the daemon halts.
async fn receive(
    listener: &UnixListener,
    clients: &mut JoinSet<()>,
    desk: &Arc<Desk>,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let mut halted = desk.halt.subscribe();
    let mut signals = Signals::listen(shutdown.signals())?;
    let mut stopping = false;
    loop {
        tokio::select! {
            _ = halted.wait_for(|halted| *halted) => return Ok(()),
            why = shutdown.asked(), if !stopping => {
                stopping = true;
                desk.mailbox.note(Note::Stop { why });
            }
            signal = signals.next() => {
                if stopping {
                    signals::end_at_once(signal, &desk.board).await;
                }
                stopping = true;
                desk.mailbox.note(Note::Stop { why: signal.to_owned() });
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => admit(stream, clients, desk),
                Err(error) => {
                    // Out of file descriptors, most likely; those in use come free again.
                    log::warn!("a client could not be accepted: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(ended) = clients.join_next(), if !clients.is_empty() => {
                if let Err(error) = ended {
                    log::error!("a client's connection broke: {error}");
                }
            }
        }
    }
}

fn admit(stream: UnixStream, clients: &mut JoinSet<()>, desk: &Arc<Desk>) {
    if clients.len() < MAX_CLIENTS {
        clients.spawn(connection::serve(stream, desk.clone()));
        return;
    }
    let busy = Reply::Error {
        message: format!("{MAX_CLIENTS} clients are connected, no more are taken; end one of them"),
    };
    // It fits into an empty socket buffer; a client that is gone already misses nothing.
    let _ = stream.try_write(&lines::encode(&busy));
}

/// Removes the socket of a daemon that was killed.
async fn remove_dead(path: &Path) -> Result<(), DaemonError> {
    let failed =
        |what: &str, source| DaemonError::Socket { path: path.to_owned(), what: what.into(), source };
    match UnixStream::connect(path).await {
        Ok(other) => {
            let pid = other.peer_cred().ok().and_then(|peer| peer.pid());
            Err(DaemonError::AlreadyRunning { socket: path.to_owned(), pid })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            if !is_socket(path) {
                let error = io::Error::from(io::ErrorKind::AlreadyExists);
                return Err(failed("there is a file that is no socket; move it away", error));
            }
            log::info!("removing {}, which a daemon that was killed left behind", path.display());
            std::fs::remove_file(path).map_err(|error| failed("the dead one cannot be removed", error))
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(failed("its path is too long for a socket (107 bytes); choose a shorter one", error))
        }
        Err(error) => Err(failed("whether a daemon answers on it cannot be told", error)),
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket())
}

/// Removes the file when the daemon ends.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            log::warn!("{} could not be removed: {error}", self.0.display());
        }
    }
}
