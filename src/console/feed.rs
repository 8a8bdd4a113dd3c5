//! What happens now, for every page that is open: one connection to the daemon follows the journal and asks for the
//! status, however many watch.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use super::desk::{self, Desk, Trouble};
use crate::daemon::protocol::{Reply, Request, Status};
use crate::journal::{Filter, Record};

/// News that a slow browser may be behind.
const BEHIND: usize = 64;

/// How often the status is asked for while anybody watches.
const STATUS_EVERY: Duration = Duration::from_millis(1500);

/// How long to wait before the daemon is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// One piece of news.
#[derive(Clone, Debug)]
pub enum News {
    /// Something happened at the door.
    Happened(Arc<Record>),
    /// How the door is; `None` when the daemon cannot be asked.
    State(Option<Arc<Status>>),
}

/// The news, for whoever listens.
#[derive(Clone, Debug)]
pub struct Feed {
    news: broadcast::Sender<News>,
}

impl Feed {
    /// Begins to follow the daemon at this socket. To be called within the runtime.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(socket: PathBuf, desk: Desk) -> std::io::Result<Self> {
        let (news, _) = broadcast::channel(BEHIND);
        let feed = Self { news };
        let to = feed.news.clone();
        std::thread::Builder::new().name("follow".into()).spawn(move || follow(&socket, &to))?;
        tokio::spawn(tell_status(desk, feed.news.clone()));
        Ok(feed)
    }

    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }
}

/// Follows the journal for ever; the thread ends with the process.
fn follow(socket: &Path, to: &broadcast::Sender<News>) {
    // Nothing from before: pages show that themselves.
    let request = Request::Follow { filter: Filter { limit: Some(0), ..Filter::default() } };
    loop {
        desk::stream(socket, &request, |reply| match reply {
            Ok(Reply::Record { record }) => {
                // Nobody may be listening.
                let _ = to.send(News::Happened(Arc::from(record)));
                true
            }
            _ => false,
        });
        std::thread::sleep(AGAIN_AFTER);
    }
}

async fn tell_status(desk: Desk, to: broadcast::Sender<News>) {
    let mut turn = tokio::time::interval(STATUS_EVERY);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        if to.receiver_count() == 0 {
            continue;
        }
        let state = match desk.look(Request::Status).await {
            Ok(Reply::Status(status)) => Some(Arc::from(status)),
            Ok(_) | Err(Trouble::Refused(_) | Trouble::NotAllowed(_)) => continue,
            Err(Trouble::Gone(_)) => None,
        };
        let _ = to.send(News::State(state));
    }
}
