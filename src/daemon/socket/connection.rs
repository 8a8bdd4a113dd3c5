//! One client: its requests, one after the other, each answered before the next is read.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use zeroize::Zeroize;

use crate::daemon::mailbox::Command;
use crate::daemon::migrating::{self, CutOver};
use crate::daemon::ops::{self, Terms};
use crate::daemon::protocol::{Reply, Request};
use crate::daemon::replaying;
use crate::daemon::supervise::chain;
use crate::door::Order;
use crate::journal::{Event, EventId, Filter, Record};
use crate::store::{Store, StoreError};

use super::Desk;
use super::lines::{self, Line, Lines, MAX_LINE};
use super::roles::{self, Peer};
use super::testing::{TEST_IDLE, Test};

/// Serves one client until it hangs up, idles too long, or the daemon halts.
pub(super) async fn serve(stream: UnixStream, desk: Arc<Desk>) {
    let peer = who(&stream);
    let (from, to) = stream.into_split();
    let mut client = Client {
        from: Lines::new(from),
        to,
        desk,
        uid: 0,
        actor: String::new(),
        may_change: false,
        test: None,
    };
    let served = match peer {
        Ok(peer) => {
            let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
            client.may_change = peer.may_change(rustix::process::geteuid().as_raw(), &groups);
            client.uid = peer.uid;
            client.actor = actor(peer.uid);
            client.converse().await
        }
        Err(error) => client.refuse(format!("the system does not say who you are: {error}")).await,
    };
    if let Err(error) = served {
        log::debug!("{} hung up or was hung up on: {error}", client.actor);
    }
}

pub(super) struct Client {
    pub(super) from: Lines<OwnedReadHalf>,
    to: OwnedWriteHalf,
    pub(super) desk: Arc<Desk>,
    uid: u32,
    pub(super) actor: String,
    may_change: bool,
    /// The test of a door that it has begun; dropped with it, which ends the test.
    pub(super) test: Option<Test>,
}

/// Who is at the other end, as the kernel tells it.
fn who(stream: &UnixStream) -> io::Result<Peer> {
    let peer = stream.peer_cred()?;
    let mut groups = roles::groups_of(stream.as_fd())?;
    groups.push(peer.gid());
    Ok(Peer { uid: peer.uid(), groups })
}

impl Client {
    async fn converse(&mut self) -> io::Result<()> {
        let mut halted = self.desk.halt.subscribe();
        loop {
            // Whoever tests a door takes their time between two pictures; control ends a test that is forgotten.
            let idle = if self.test.is_some() { TEST_IDLE } else { self.desk.limits.client_idle };
            let line = tokio::select! {
                _ = halted.wait_for(|halted| *halted) => return Ok(()),
                line = timeout(idle, self.from.next()) => line??,
            };
            let text = match line {
                Line::End => return Ok(()),
                Line::TooLong => return self.refuse(format!("a request has at most {MAX_LINE} bytes")).await,
                Line::NotText => {
                    self.refuse("a request must be UTF-8".into()).await?;
                    continue;
                }
                Line::Text(text) => text,
            };
            let mut text = text;
            let request = serde_json::from_str(&text);
            // It may hold a face.
            text.zeroize();
            match request {
                Ok(request) => self.answer(request).await?,
                Err(error) => {
                    let message = format!(
                        "not a request: {error}; one JSON object a line, such as {{\"do\":\"status\"}}"
                    );
                    self.refuse(message).await?;
                }
            }
        }
    }

    async fn answer(&mut self, request: Request) -> io::Result<()> {
        let Request::As { account, request } = request else { return self.answer_one(request).await };
        if !self.desk.console.users.contains(&self.uid) {
            return self.refuse("only the console speaks for its accounts".into()).await;
        }
        if matches!(*request, Request::As { .. }) || !is_account(&account) {
            return self.refuse(format!("{account:?} is no account of the console")).await;
        }
        let own = std::mem::replace(&mut self.actor, format!("console: {account}"));
        let answered = self.answer_one(*request).await;
        self.actor = own;
        answered
    }

    async fn answer_one(&mut self, request: Request) -> io::Result<()> {
        if request.is_for_admins() && !self.may_change {
            log::warn!("{} may not change things and was refused", self.actor);
            return self.refuse(not_an_admin(&self.actor)).await;
        }
        let reply = match request {
            Request::Status => {
                let mut status = self.desk.board.status(self.desk.clock.now());
                // A screen that shows the status may hang where everybody sees it.
                status.duress = status.duress.filter(|_| self.may_change);
                Reply::Status(Box::new(status))
            }
            Request::TypePin { person, pin, door } => {
                self.command(|reply| Command::TypePin { door, person, pin, reply }).await
            }
            Request::Follow { filter } => return self.follow(filter).await,
            Request::EnrolLive { name, more, door } => return self.enrol_live(name, more, door).await,
            Request::SpoofBegin { door } => return self.begin_test(door).await,
            Request::SpoofPresent { species, seconds } => return self.present(species, seconds).await,
            Request::SpoofEnd => return self.end_test().await,
            Request::Unlock { door } => self.order(door, Order::Unlock).await,
            Request::Lock { door } => self.order(door, Order::Lock).await,
            Request::Backup => return self.back_up().await,
            Request::Export { name } => self.export(name).await,
            Request::Erase { name, prove } => self.erase(name, prove).await,
            Request::HoldOpen { for_s, door } => {
                self.order(door, Order::HoldOpen(Duration::from_secs(for_s))).await
            }
            Request::FaceOn { door } => {
                let actor = self.actor.clone();
                self.command(|reply| Command::FaceOn { door, actor, reply }).await
            }
            request @ Request::Verify { .. } => self.read_aside(request).await,
            request @ Request::Replay { .. } => self.replay(request).await,
            Request::CutOver { order } => self.cut_over(order).await,
            Request::Figures => self.figures().await,
            Request::Picture { door } => self.picture(door.as_deref()).await,
            Request::EnrolPicture { name, picture, more } => self.enrol_picture(name, picture, more).await,
            request @ Request::Migration => {
                let terms = &self.desk.terms;
                self.with_reader(|reader| migrating::read(reader, terms, &request)).unwrap_or_else(stopping)
            }
            request => match self.with_reader(|reader| ops::read(reader, &request)) {
                Some(reply) => reply,
                None => self.change(request).await,
            },
        };
        self.send(&reply).await
    }

    /// Answers what takes long on a thread and a view of its own, so that nobody else waits.
    async fn read_aside(&self, request: Request) -> Reply {
        let reader = match self.with_reader(|reader| reader.reader()) {
            Ok(reader) => reader,
            Err(error) => return Reply::Error { message: chain(&error) },
        };
        let read = move || ops::read(&*reader, &request).unwrap_or_else(stopping);
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| stopping())
    }

    /// Works out a replay on a thread and a view of its own; one at a time, as the door needs the processor.
    async fn replay(&self, request: Request) -> Reply {
        log::info!("{} has kept attempts weighed again: {request:?}", self.actor);
        self.weigh(move |reader, terms| replaying::answer(reader, terms, &request).unwrap_or_else(stopping))
            .await
            .unwrap_or_else(|message| Reply::Error { message })
    }

    /// Whether another encoder may take over; when it may, that is written down.
    async fn cut_over(&self, order: CutOver) -> Reply {
        log::info!("{} asks whether another encoder may take over", self.actor);
        let judged = self.weigh(move |reader, terms| migrating::judge(reader, terms, &order)).await;
        let (replayed, event) = match judged.flatten() {
            Ok(may) => may,
            Err(message) => return Reply::Error { message },
        };
        let event = Box::new(Event { actor: Some(self.actor.clone()), ..event });
        match self.command(|reply| Command::Write { event, reply }).await {
            Reply::Done => Reply::Replayed { replayed: Box::new(replayed) },
            failed => failed,
        }
    }

    /// Works something out on a thread and a view of its own.
    async fn weigh<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Store, &Terms) -> T + Send + 'static,
    ) -> Result<T, String> {
        let Ok(turn) = self.desk.replaying.clone().try_lock_owned() else {
            return Err("another replay is under way; try again in a moment".into());
        };
        let reader = self.with_reader(|reader| reader.reader()).map_err(|error| chain(&error))?;
        let terms = self.desk.terms.clone();
        let work = move || {
            let _turn = turn;
            work(&*reader, &terms)
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| STOPPING.to_owned())
    }

    pub(super) async fn change(&self, request: Request) -> Reply {
        let actor = self.actor.clone();
        self.command(|reply| Command::Change { request, actor, reply }).await
    }

    async fn order(&self, door: Option<String>, order: Order) -> Reply {
        let actor = self.actor.clone();
        self.command(|reply| Command::Door { door, order, actor, reply }).await
    }

    /// Has control do something, and waits for its answer.
    pub(super) async fn command(&self, command: impl FnOnce(oneshot::Sender<Reply>) -> Command) -> Reply {
        let (reply, answer) = oneshot::channel();
        self.desk.mailbox.command(command(reply));
        let mut halted = self.desk.halt.subscribe();
        tokio::select! {
            biased;
            answer = answer => answer.unwrap_or_else(|_| stopping()),
            _ = halted.wait_for(|halted| *halted) => stopping(),
        }
    }

    async fn enrol_live(&mut self, name: String, more: bool, door: Option<String>) -> io::Result<()> {
        let (replies, mut answers) = mpsc::unbounded_channel();
        let actor = self.actor.clone();
        self.desk.mailbox.command(Command::EnrolLive { door, name, more, actor, replies });
        let mut halted = self.desk.halt.subscribe();
        loop {
            // Dropping `answers` tells control that nobody enrols any more.
            let answer = tokio::select! {
                biased;
                answer = answers.recv() => answer,
                _ = halted.wait_for(|halted| *halted) => None,
                () = self.from.hung_up() => return Err(io::ErrorKind::ConnectionAborted.into()),
            };
            let Some(answer) = answer else { return self.send(&stopping()).await };
            self.send(&answer).await?;
            if !matches!(answer, Reply::Progress(_)) {
                return Ok(());
            }
        }
    }

    /// Sends records as they are written, until the client hangs up.
    async fn follow(&mut self, filter: Filter) -> io::Result<()> {
        let mut journal = self.desk.journal.clone();
        let mut halted = self.desk.halt.subscribe();
        journal.mark_unchanged();
        let (mut records, mut last) = match self.with_reader(|reader| from_before(reader, &filter)) {
            Ok(before) => before,
            Err(error) => return self.refuse(chain(&error)).await,
        };
        loop {
            for record in records {
                last = last.max(Some(record.id));
                self.send(&Reply::Record { record: Box::new(record) }).await?;
            }
            let over = tokio::select! {
                changed = journal.changed() => changed.is_err(),
                _ = halted.wait_for(|halted| *halted) => true,
                () = self.from.hung_up() => return Ok(()),
            };
            let next = Filter { after: last, limit: None, ..filter.clone() };
            records = match self.with_reader(|reader| reader.records(&next)) {
                Ok(records) => records,
                Err(error) => return self.refuse(chain(&error)).await,
            };
            if over {
                for record in records {
                    self.send(&Reply::Record { record: Box::new(record) }).await?;
                }
                return self.send(&stopping()).await;
            }
        }
    }

    pub(super) async fn refuse(&mut self, message: String) -> io::Result<()> {
        self.send(&Reply::Error { message }).await
    }

    pub(super) async fn send(&mut self, reply: &Reply) -> io::Result<()> {
        lines::send(&mut self.to, reply, self.desk.limits.client_slow).await
    }

    pub(super) fn with_reader<T>(&self, read: impl FnOnce(&dyn Store) -> T) -> T {
        read(&**self.desk.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The records a follower sees first, and the newest one it has then seen or does not want to see.
fn from_before(reader: &dyn Store, filter: &Filter) -> Result<(Vec<Record>, Option<EventId>), StoreError> {
    let newest = reader.records(&Filter { limit: Some(1), ..Filter::default() })?;
    let newest = newest.last().map(|record| record.id);
    let limit = filter.limit.unwrap_or(ops::MAX_RECORDS).min(ops::MAX_RECORDS);
    let records = reader.records(&Filter { limit: Some(limit), ..filter.clone() })?;
    Ok((records, newest.max(filter.after)))
}

fn not_an_admin(actor: &str) -> String {
    format!(
        "{actor} may look but change nothing: that is for root and the group {0}; `sudo usermod -aG {0} NAME`, then log in again",
        roles::ADMINS
    )
}

const STOPPING: &str = "the daemon is stopping";

pub(super) fn stopping() -> Reply {
    Reply::Error { message: STOPPING.into() }
}

/// How a client is named in the journal: `uid 1000 (ada)`.
pub(crate) fn actor(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    match user_name(&users, uid) {
        Some(name) => format!("uid {uid} ({name})"),
        None => format!("uid {uid}"),
    }
}

/// Whether the console may call an account so: what the journal says must not look like anything else.
fn is_account(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    (1..=32).contains(&name.len()) && name.chars().all(fits)
}

/// A user's id, where there is such a user.
pub(crate) fn uid_of(name: &str) -> Option<u32> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    user_id(&users, name)
}

fn user_id(users: &str, name: &str) -> Option<u32> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// A user's name in the format of passwd(5).
fn user_name(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_as_in_passwd() {
        let users = "root:x:0:0:root:/root:/bin/bash\n# comment\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(user_name(users, 1000), Some("ada"));
        assert_eq!(user_name(users, 0), Some("root"));
        assert_eq!(user_name(users, 7), None);
        assert_eq!((user_id(users, "ada"), user_id(users, "ad")), (Some(1000), None));
        assert_eq!(actor(0), "uid 0 (root)");
        assert_eq!(actor(3_999_999_999), "uid 3999999999");
    }

    #[test]
    fn an_account_looks_like_nothing_else() {
        assert!(is_account("ada") && is_account("ada.l-2_x"));
        for name in ["", "Ada", "ada (root)", "a\nb", "ä", &"x".repeat(33)] {
            assert!(!is_account(name), "{name:?}");
        }
    }
}
