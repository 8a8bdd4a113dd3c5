//! The console's way to the daemon: the control socket and nothing else. Each request is held here, once more and in one
//! place, to what the visitor's role may do, so that a page that forgot to ask does no harm; and what changes anything
//! goes out in the name of the visitor's account.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;

use super::accounts::Role;
use super::session::Visitor;
use super::text as t;
use crate::daemon::client::Client;
use crate::daemon::protocol::{Reply, Request};
use crate::policy::Change;

/// Requests under way at a time: the daemon serves others as well.
const AT_A_TIME: usize = 4;

/// Replies that wait for a browser that is slow.
const WAITING: usize = 64;

/// Why the daemon did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The role does not allow it.
    #[error("{}", t::needs_role(*.0))]
    NotAllowed(Role),
    /// The daemon said no, in its own words.
    #[error("{0}")]
    Refused(String),
    /// The daemon could not be asked.
    #[error("{0}")]
    Gone(String),
}

/// Asks the daemon.
#[derive(Clone, Debug)]
pub struct Desk {
    socket: PathBuf,
    asking: Arc<Semaphore>,
}

/// The least role that may ask this. What is not in the list takes the highest.
pub fn needs(request: &Request) -> Role {
    match request {
        Request::Status
        | Request::People
        | Request::Person { .. }
        | Request::Records { .. }
        | Request::Follow { .. }
        | Request::Policy
        | Request::Figures
        | Request::Explain { .. }
        | Request::Verify { .. }
        | Request::Picture { .. } => Role::Viewer,
        Request::Unlock { .. }
        | Request::Lock { .. }
        | Request::HoldOpen { .. }
        | Request::FaceOn { .. }
        | Request::Enrol { .. }
        | Request::EnrolLive { .. }
        | Request::EnrolPicture { .. }
        | Request::Replay { .. }
        | Request::Snapshot { .. }
        | Request::Rename { .. } => Role::Operator,
        Request::ChangePolicy { change: Change::Lockdown(_) | Change::Person { .. } } => Role::Operator,
        _ => Role::Admin,
    }
}

impl Desk {
    /// To the daemon at this socket.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, asking: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    /// Asks in the visitor's name. That the daemon refuses is [`Trouble::Refused`].
    ///
    /// # Errors
    /// When the visitor may not, the daemon refuses, or cannot be asked.
    pub async fn ask(&self, visitor: &Visitor, request: Request) -> Result<Reply, Trouble> {
        let request = self.signed(visitor, request)?;
        self.send(request).await
    }

    /// Asks for the console itself, which only looks.
    ///
    /// # Errors
    /// As for [`Desk::ask`].
    pub async fn look(&self, request: Request) -> Result<Reply, Trouble> {
        match needs(&request) {
            Role::Viewer => self.send(request).await,
            role => Err(Trouble::NotAllowed(role)),
        }
    }

    /// Asks for what has many replies. Dropping the receiver hangs up, with the next reply at the latest.
    ///
    /// # Errors
    /// When the visitor may not.
    pub fn stream(
        &self,
        visitor: &Visitor,
        request: Request,
    ) -> Result<mpsc::Receiver<Result<Reply, Trouble>>, Trouble> {
        let request = self.signed(visitor, request)?;
        let (to, replies) = mpsc::channel(WAITING);
        let socket = self.socket.clone();
        spawn_blocking(move || {
            let each = |reply| to.blocking_send(reply).is_ok();
            stream(&socket, &request, each);
        });
        Ok(replies)
    }

    fn signed(&self, visitor: &Visitor, request: Request) -> Result<Request, Trouble> {
        let role = needs(&request);
        if !visitor.may(role) {
            return Err(Trouble::NotAllowed(role));
        }
        let only_looks = role == Role::Viewer && !matches!(request, Request::Picture { .. });
        Ok(match only_looks {
            true => request,
            false => Request::As { account: visitor.account.clone(), request: Box::new(request) },
        })
    }

    async fn send(&self, request: Request) -> Result<Reply, Trouble> {
        let _turn = self.asking.acquire().await.map_err(|_| Trouble::Gone(t::STOPPING.into()))?;
        let socket = self.socket.clone();
        let asked = spawn_blocking(move || {
            let mut client = connect(&socket)?;
            client.request(&request).map_err(|error| Trouble::Gone(error.to_string()))
        });
        match asked.await.map_err(|_| Trouble::Gone(t::STOPPING.into()))?? {
            Reply::Error { message } => Err(Trouble::Refused(message)),
            reply => Ok(reply),
        }
    }
}

/// Asks and hands out each reply until `each` wants no more.
pub(super) fn stream(
    socket: &std::path::Path,
    request: &Request,
    mut each: impl FnMut(Result<Reply, Trouble>) -> bool,
) {
    let mut client = match connect(socket) {
        Ok(client) => client,
        Err(trouble) => {
            each(Err(trouble));
            return;
        }
    };
    let replies = match client.stream(request) {
        Ok(replies) => replies,
        Err(error) => {
            each(Err(Trouble::Gone(error.to_string())));
            return;
        }
    };
    for reply in replies {
        let reply = match reply {
            Ok(Reply::Error { message }) => Err(Trouble::Refused(message)),
            Ok(reply) => Ok(reply),
            Err(error) => Err(Trouble::Gone(error.to_string())),
        };
        if !each(reply) {
            return;
        }
    }
}

fn connect(socket: &std::path::Path) -> Result<Client, Trouble> {
    match Client::connect(socket) {
        Ok(Some(client)) => Ok(client),
        Ok(None) => Err(Trouble::Gone(t::NO_SERVICE.into())),
        Err(error) => Err(Trouble::Gone(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::session::TokenHash;
    use crate::policy::{PersonChange, RuleId};

    fn visitor(role: Role) -> Visitor {
        Visitor { account: "ada".into(), role, csrf: String::new(), session: TokenHash::of("t") }
    }

    #[test]
    fn roles_may_what_they_are_for() {
        let person = Change::Person { name: "Ada".into(), change: PersonChange::default() };
        for (request, role) in [
            (Request::Status, Role::Viewer),
            (Request::Picture { door: None }, Role::Viewer),
            (Request::Unlock { door: None }, Role::Operator),
            (Request::EnrolLive { name: "A".into(), more: false, door: None }, Role::Operator),
            (Request::ChangePolicy { change: Change::Lockdown(true) }, Role::Operator),
            (Request::ChangePolicy { change: person }, Role::Operator),
            (Request::ChangePolicy { change: Change::RemoveRule(RuleId(1)) }, Role::Admin),
            (Request::Remove { name: "Ada".into() }, Role::Admin),
            (Request::As { account: "eve".into(), request: Box::new(Request::Status) }, Role::Admin),
        ] {
            assert_eq!(needs(&request), role, "{request:?}");
        }
    }

    #[test]
    fn what_changes_anything_is_signed_and_what_a_role_may_not_never_leaves() {
        let desk = Desk::new("/nowhere".into());
        let signed = desk.signed(&visitor(Role::Operator), Request::Unlock { door: None }).unwrap();
        assert_eq!(
            signed,
            Request::As { account: "ada".into(), request: Box::new(Request::Unlock { door: None }) }
        );
        assert_eq!(desk.signed(&visitor(Role::Viewer), Request::People).unwrap(), Request::People);
        let no = desk.signed(&visitor(Role::Viewer), Request::Unlock { door: None }).unwrap_err();
        assert_eq!(no, Trouble::NotAllowed(Role::Operator));
        let no = desk.signed(&visitor(Role::Operator), Request::Remove { name: "Ada".into() });
        assert_eq!(no.unwrap_err(), Trouble::NotAllowed(Role::Admin));
    }

    #[tokio::test]
    async fn without_a_daemon_it_is_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::new(folder.path().join("control.sock"));
        let trouble = desk.ask(&visitor(Role::Admin), Request::Status).await.unwrap_err();
        assert_eq!(trouble, Trouble::Gone(t::NO_SERVICE.into()));
        assert!(matches!(desk.look(Request::Unlock { door: None }).await, Err(Trouble::NotAllowed(_))));
    }
}
