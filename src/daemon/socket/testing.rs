//! A client that tests a door with pictures. The test is the connection's: it ends when the client hangs up, whatever else
//! happens, so that no door is left deciding nothing.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::daemon::mailbox::Command;
use crate::daemon::protocol::Reply;
use crate::liveness::spoof::Species;

use super::connection::{Client, stopping};

/// A client that tests a door may be silent for so long: longer than control bears it.
pub(super) const TEST_IDLE: Duration = Duration::from_secs(10 * 60);
/// Time that a presentation may take from when a face is in view, in s.
const SECONDS: std::ops::RangeInclusive<u64> = 2..=300;

/// A test that a client has begun.
pub(super) struct Test {
    id: u64,
    answers: UnboundedReceiver<Reply>,
}

impl Client {
    pub(super) async fn begin_test(&mut self, door: Option<String>) -> io::Result<()> {
        if self.test.as_ref().is_some_and(|test| !test.answers.is_closed()) {
            return self.refuse("you test a door already; end that first".into()).await;
        }
        let (replies, mut answers) = mpsc::unbounded_channel();
        let actor = self.actor.clone();
        self.desk.mailbox.command(Command::SpoofBegin { door, actor, replies });
        let mut halted = self.desk.halt.subscribe();
        let answer = tokio::select! {
            biased;
            answer = answers.recv() => answer,
            _ = halted.wait_for(|halted| *halted) => None,
        };
        let answer = answer.unwrap_or_else(stopping);
        if let Reply::Testing { test, .. } = &answer {
            self.test = Some(Test { id: *test, answers });
        }
        self.send(&answer).await
    }

    pub(super) async fn present(&mut self, species: Species, seconds: u64) -> io::Result<()> {
        if !SECONDS.contains(&seconds) {
            let message = format!("a presentation takes {} to {} s", SECONDS.start(), SECONDS.end());
            return self.refuse(message).await;
        }
        let Some(test) = &self.test else { return self.refuse(NOT_TESTING.into()).await };
        let each = Duration::from_secs(seconds);
        self.desk.mailbox.command(Command::SpoofPresent { test: test.id, species, each });
        self.hand_on().await
    }

    pub(super) async fn end_test(&mut self) -> io::Result<()> {
        let Some(test) = &self.test else { return self.refuse(NOT_TESTING.into()).await };
        self.desk.mailbox.command(Command::SpoofEnd { test: test.id });
        let handed_on = self.hand_on().await;
        self.test = None;
        handed_on
    }

    /// Hands on what control says of the test, up to the last of it.
    async fn hand_on(&mut self) -> io::Result<()> {
        let mut halted = self.desk.halt.subscribe();
        loop {
            let Some(test) = &mut self.test else { return Ok(()) };
            let answer = tokio::select! {
                biased;
                answer = test.answers.recv() => answer,
                _ = halted.wait_for(|halted| *halted) => Some(stopping()),
                () = self.from.hung_up() => return Err(io::ErrorKind::ConnectionAborted.into()),
            };
            let is_over = answer.is_none();
            let answer = answer.unwrap_or_else(|| Reply::Error { message: "the test has ended".into() });
            self.send(&answer).await?;
            if is_over {
                self.test = None;
            }
            if is_over || !matches!(answer, Reply::Cue { .. }) {
                return Ok(());
            }
        }
    }
}

const NOT_TESTING: &str = "no test of a door has been begun on this connection";
