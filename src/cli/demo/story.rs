//! The demo told line by line as it happens: the journal through the service's socket, and from the script who is
//! really walking up.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::ensure;

use super::service::Service;
use crate::cli::log::line::{self, Words};
use crate::cli::output::Output;
use crate::clock::{Clock, MonoTime, SystemClock};
use crate::config::Config;
use crate::daemon::client::Client;
use crate::daemon::protocol::{Reply, Request};
use crate::daemon::trace::TracedFrame;
use crate::demo::script::Appearance;
use crate::journal::{Filter, Record};

/// How long the service may take to load its networks and open its socket on a slow machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How often the trace is looked at.
const TURN: Duration = Duration::from_millis(50);

/// Tells everything until the service ends with its recording.
pub(super) fn tell(
    mut service: Service,
    folder: &Path,
    config: &Config,
    script: &[Appearance],
    out: &mut Output,
) -> anyhow::Result<()> {
    let records = follow(connect(&mut service, &folder.join(&config.paths.socket))?);
    let mut tail = Tail { path: folder.join("trace.jsonl"), file: None, rest: String::new() };
    let mut teller = Teller { script, told: 0, began: None };
    loop {
        let over = service.is_over()?;
        for frame in tail.read()? {
            teller.frame(&frame, out)?;
        }
        match records.recv_timeout(TURN) {
            Ok(record) => teller.record(&record, out)?,
            Err(RecvTimeoutError::Timeout) if !over => {}
            // The service hangs up when it ends; its end itself is seen above.
            Err(RecvTimeoutError::Disconnected) if !over => std::thread::park_timeout(TURN),
            Err(_) => break,
        }
        out.flush()?;
    }
    Ok(out.flush()?)
}

/// Waits for the socket.
fn connect(service: &mut Service, socket: &Path) -> anyhow::Result<Client> {
    let limit = SystemClock.now() + START_LIMIT;
    loop {
        if let Some(client) = Client::connect(socket)? {
            return Ok(client);
        }
        ensure!(!service.is_over()?, "the service ended before it could be asked anything");
        ensure!(SystemClock.now() < limit, "the service did not open {} in time", socket.display());
        std::thread::park_timeout(TURN);
    }
}

/// The journal from its beginning, as it grows, until the service hangs up.
fn follow(mut client: Client) -> Receiver<Record> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let Ok(replies) = client.stream(&Request::Follow { filter: Filter::default() }) else { return };
        for reply in replies {
            let Ok(Reply::Record { record }) = reply else { return };
            if send.send(*record).is_err() {
                return;
            }
        }
    });
    receive
}

/// Puts what happens into lines.
struct Teller<'a> {
    script: &'a [Appearance],
    /// So many of the script have been announced.
    told: usize,
    /// When the clip began.
    began: Option<MonoTime>,
}

impl Teller<'_> {
    fn frame(&mut self, frame: &TracedFrame, out: &mut Output) -> anyhow::Result<()> {
        self.began.get_or_insert(frame.analysis.captured);
        while let Some(next) = self.script.get(self.told).filter(|next| next.begins <= frame.analysis.seq) {
            let about = if next.is_enrolled() { "enrolled" } else { "not enrolled" };
            out.line(format_args!(
                "\n{}  {} walks up ({about}; {})",
                self.time(frame.analysis.captured),
                next.person,
                next.note
            ))?;
            self.told += 1;
        }
        Ok(())
    }

    fn record(&self, record: &Record, out: &mut Output) -> anyhow::Result<()> {
        let Words { what, more } = line::words(record);
        out.line(format_args!("{}  {what:<12}  {more}", self.time(record.at.mono)))?;
        Ok(())
    }

    /// Seconds since the clip began; blank before.
    fn time(&self, at: MonoTime) -> String {
        match self.began.filter(|began| *began <= at) {
            Some(began) => format!("{:6.1} s", at.since(began).as_secs_f64()),
            None => " ".repeat(8),
        }
    }
}

/// Reads a growing trace.
struct Tail {
    path: std::path::PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end is not there yet.
    rest: String,
}

impl Tail {
    fn read(&mut self) -> anyhow::Result<Vec<TracedFrame>> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        file.read_to_string(&mut self.rest)?;
        let whole = self.rest.rfind('\n').map_or(0, |end| end + 1);
        let frames = self.rest[..whole].lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        self.rest.drain(..whole);
        Ok(frames)
    }
}
