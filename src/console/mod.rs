//! The web console: a page on which the person who runs the door looks at it, enrols people and says who may enter when.
//!
//! A process of its own, `accessd console`, with a user of its own. It reaches the daemon over the control socket alone and
//! knows neither database nor networks nor camera, so that a hole in the page is no hole in the door: whatever it sends,
//! the daemon judges, and every change is in the journal with the account it came from.
//!
//! | file | what it does |
//! |---|---|
//! | `server` | address, TLS, connections |
//! | `guard` | what every request passes: bounds, session, proof; what every answer bears |
//! | `accounts`, `session`, `limiter` | who may log in, who is logged in, how often a login may fail |
//! | `desk`, `feed` | the way to the daemon: requests held to roles; news for all who watch |
//! | `pages` | what is shown, rendered here |
//! | `words`, `text` | events in words; every string of the pages in one place |
//! | `assets` | style and script, as they are in the tree |

pub mod accounts;
mod assets;
mod desk;
mod feed;
mod guard;
mod limiter;
mod pages;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod text;
mod url;
mod words;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::Semaphore;

use crate::clock::{Clock, MonoTime};
use crate::daemon::protocol::Picture;

use accounts::{AccountError, Accounts};
use desk::Desk;
use feed::Feed;
use limiter::Limiter;
use session::{Sessions, TokenHash, Visitor};

/// What a console is made of.
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Certificate and key, both PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// A proxy on this machine serves it with TLS.
    pub proxied: bool,
    /// The accounts' file.
    pub accounts: PathBuf,
    /// A session ends when nothing was asked for so long,
    pub idle: Duration,
    /// and in any case after so long.
    pub longest: Duration,
    /// The daemon's control socket.
    pub socket: PathBuf,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
}

/// Why the console could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// An address that others reach, without TLS.
    #[error(
        "{listen} is reached from other machines, and passwords would travel in the clear: set console.certificate and \
         console.key, or listen on 127.0.0.1 and come by `ssh -L 8480:127.0.0.1:8480` or a reverse proxy"
    )]
    Public {
        /// The address.
        listen: SocketAddr,
    },
    /// One of certificate and key.
    #[error("console.certificate and console.key belong together; set both or none")]
    HalfTls,
    /// They cannot be used.
    #[error("{}: {what}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to try.
        what: String,
        /// What the library said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The address cannot be listened on.
    #[error(
        "{listen} cannot be listened on; is another console running, or is the address not of this machine?"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The accounts cannot be used.
    #[error("the accounts cannot be used")]
    Accounts(#[from] AccountError),
    /// The system gives no threads or events.
    #[error("the console cannot run")]
    System(#[source] std::io::Error),
}

/// Serves the console until SIGTERM or SIGINT; `ready` is called once it listens.
///
/// # Errors
/// When it cannot start.
pub fn run(options: Options, ready: impl FnOnce(SocketAddr)) -> Result<(), ConsoleError> {
    server::run(options, ready)
}

/// A picture, when it was fetched, and of which door it is.
type Shown = (MonoTime, Option<String>, Arc<Picture>);

/// What every request has at hand.
struct App {
    options: Options,
    desk: Desk,
    feed: Feed,
    accounts: Mutex<Accounts>,
    sessions: Mutex<Sessions>,
    limiter: Mutex<Limiter>,
    /// Hashes a password at a time: each takes memory and a core.
    hashing: Semaphore,
    /// The zone that the door's times are meant in, as last heard.
    zone: Mutex<TimeZone>,
    /// The newest picture, for all who watch.
    picture: tokio::sync::Mutex<Option<Shown>>,
}

impl App {
    /// To be called within the runtime.
    fn new(options: Options) -> Result<Arc<Self>, ConsoleError> {
        let accounts = Accounts::load(&options.accounts)?;
        let desk = Desk::new(options.socket.clone());
        let feed = Feed::start(options.socket.clone(), desk.clone()).map_err(ConsoleError::System)?;
        Ok(Arc::new(Self {
            desk,
            feed,
            accounts: Mutex::new(accounts),
            sessions: Mutex::new(Sessions::new(options.idle, options.longest)),
            limiter: Mutex::default(),
            hashing: Semaphore::new(1),
            zone: Mutex::new(TimeZone::system()),
            picture: tokio::sync::Mutex::new(None),
            options,
        }))
    }

    fn now(&self) -> MonoTime {
        self.options.clock.now()
    }

    /// Whether browsers reach it by TLS alone.
    fn is_secure(&self) -> bool {
        self.options.tls.is_some() || self.options.proxied
    }

    /// The browser keeps a `__Host-` cookie from everybody but this host.
    fn cookie_name(&self) -> &'static str {
        if self.is_secure() { "__Host-accessd" } else { "accessd" }
    }

    /// Whose session it is.
    fn visitor(&self, session: TokenHash, counts: bool) -> Option<Visitor> {
        let accounts = self.accounts();
        lock(&self.sessions).visitor(session, |name| accounts.find(name), counts, self.now())
    }

    /// The accounts as they are now. While the file cannot be read nobody has one.
    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        let mut accounts = lock(&self.accounts);
        if accounts.is_outdated(&self.options.accounts) {
            *accounts = Accounts::load(&self.options.accounts).unwrap_or_else(|error| {
                log::error!("{error}");
                Accounts::default()
            });
        }
        accounts
    }

    fn zone(&self) -> TimeZone {
        lock(&self.zone).clone()
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
