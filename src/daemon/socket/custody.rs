//! People as somebody's data, over the socket. What takes long is done on threads of its own, with a view of the database of
//! its own, so that neither the door nor other clients wait; what changes anything goes to control.

use std::io::{self, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::sync::mpsc;

use crate::daemon::custody::{self, PATIENCE};
use crate::daemon::mailbox::Command;
use crate::daemon::ops::refused;
use crate::daemon::protocol::{Erasure, Reply, Request};
use crate::store::{Search, StoreError, Traces};

use super::connection::Client;

/// Bytes of a backup in one reply.
const PIECE: usize = 256 << 10;

/// Pieces that wait for a slow client; the thread that makes them waits then.
const PIECES_AHEAD: usize = 4;

/// Between two searches for what is left.
const PAUSE: Duration = Duration::from_millis(200);

impl Client {
    /// Gives out everything that is kept about a person, once that is written down.
    pub(super) async fn export(&mut self, name: String) -> Reply {
        match self.change(Request::Export { name: name.clone() }).await {
            Reply::Done => self
                .with_reader(|reader| reader.export(&name))
                .map_or_else(|error| refused(&error), |export| Reply::Export { export: Box::new(export) }),
            refusal => refusal,
        }
    }

    /// Erases a person, and searches before and afterwards when that is wanted.
    pub(super) async fn erase(&mut self, name: String, prove: bool) -> Reply {
        self.try_to_erase(name, prove).await.unwrap_or_else(|refusal| refusal)
    }

    async fn try_to_erase(&mut self, name: String, prove: bool) -> Result<Reply, Reply> {
        let refusal = |error: StoreError| refused(&error);
        let person = self.with_reader(|reader| reader.person(&name)).map_err(refusal)?;
        let traces = if prove {
            Some(self.with_reader(|reader| reader.traces(&name)).map_err(refusal)?)
        } else {
            None
        };
        let (traces, before) = self.search(traces).await?;
        match self.change(Request::Erase { name, prove }).await {
            Reply::Done => {}
            other => return Err(other),
        }
        let after = self.search_until_nothing_is_left(traces).await?;
        let erasure = Erasure { samples: person.templates.len(), person: person.name.clone(), before, after };
        if let Some(event) = custody::proof(&person, &erasure, &self.actor) {
            let event = Box::new(event);
            match self.command(|reply| Command::Write { event, reply }).await {
                Reply::Done => {}
                other => return Err(other),
            }
        }
        Ok(Reply::Erased { erasure })
    }

    /// Readers in the middle of a query keep the pages as they were; control folds them away as soon as they are done.
    async fn search_until_nothing_is_left(&self, traces: Option<Traces>) -> Result<Option<Search>, Reply> {
        let (mut traces, mut found) = self.search(traces).await?;
        let deadline = self.desk.clock.now() + PATIENCE;
        while found.as_ref().is_some_and(|found| found.pieces() > 0) && self.desk.clock.now() < deadline {
            tokio::time::sleep(PAUSE).await;
            (traces, found) = self.search(traces).await?;
        }
        Ok(found)
    }

    /// Sends a backup as it is written.
    pub(super) async fn back_up(&mut self) -> io::Result<()> {
        let event = Box::new(custody::backup_event(&self.actor));
        let written = self.command(|reply| Command::Write { event, reply }).await;
        let reader = self.with_reader(|reader| reader.reader());
        let reader = match (written, reader) {
            (Reply::Done, Ok(reader)) => reader,
            (Reply::Done, Err(error)) => return self.send(&refused(&error)).await,
            (refusal, _) => return self.send(&refusal).await,
        };
        let (pieces, mut arriving) = mpsc::channel(PIECES_AHEAD);
        let now = self.desk.clock.wall();
        let taking = tokio::task::spawn_blocking(move || {
            reader.back_up(&mut Outlet { pieces, gathered: Vec::new() }, now)
        });
        while let Some(piece) = arriving.recv().await {
            self.send(&Reply::Piece { data: BASE64.encode(piece) }).await?;
        }
        let last = match taking.await {
            Ok(Ok(header)) => Reply::BackedUp { header },
            Ok(Err(error)) => refused(&error),
            Err(error) => Reply::Error { message: format!("the backup broke off: {error}") },
        };
        self.send(&last).await
    }

    async fn search(&self, traces: Option<Traces>) -> Result<(Option<Traces>, Option<Search>), Reply> {
        let Some(traces) = traces else { return Ok((None, None)) };
        let reader = self.with_reader(|reader| reader.reader()).map_err(|error| refused(&error))?;
        let search = move || {
            let found = reader.look_for(&traces);
            (Some(traces), Some(found))
        };
        let done = tokio::task::spawn_blocking(search).await;
        done.map_err(|error| Reply::Error { message: format!("the search broke off: {error}") })
    }
}

/// Gathers what is written into pieces and hands them to the client's task.
struct Outlet {
    pieces: mpsc::Sender<Vec<u8>>,
    gathered: Vec<u8>,
}

impl Outlet {
    fn hand_over(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.gathered);
        self.pieces.blocking_send(piece).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() { Ok(()) } else { self.hand_over() }
    }
}
