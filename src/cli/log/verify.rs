//! `accessd log verify`: whether the journal is as it was written; `accessd log key`: what others verify it with.

use std::path::Path;

use anyhow::{Context, bail};
use clap::Args;

use super::super::backend::{Backend, keys};
use super::super::output::{Output, count};
use super::super::{Exit, Globals};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::journal::chain::{Against, Hash, Head, Key, Verification};
use crate::store::journal_seal;

/// Verify that no record was changed, removed, moved or put in, and name the first that was
///
/// Every record is held against its hash, which covers all records before it, and the hashes against the signatures of this
/// device's key. That the newest records were cut off shows only against a head that was kept elsewhere: the system's log
/// has one with each signature (`journalctl -t accessd -g accessd-head`), and so has the file that journal.head_file names.
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// A head that was kept elsewhere: a file with lines of them, such as a system's log, or the hash of a record
    #[arg(long, value_name = "FILE|HASH")]
    head: Vec<String>,
    /// A public key to believe besides this device's, such as that of the device before
    #[arg(long, value_name = "KEY")]
    key: Vec<Key>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        let against = self.against(&config)?;
        let started = SystemClock.now();
        let found = Backend::to_read(&config)?.verify(&against)?;
        let took = SystemClock.now().since(started);
        let mut out = Output::new();
        if self.json {
            out.json(&found)?;
        } else {
            for line in told(&found) {
                out.line(line)?;
            }
            out.line(format_args!("verified in {:.2} s", took.as_secs_f64()))?;
        }
        out.flush()?;
        Ok(if found.is_whole() { Exit::Done } else { Exit::No })
    }

    fn against(&self, config: &Config) -> anyhow::Result<Against> {
        let mut against = Against { keys: self.key.clone(), ..Against::default() };
        // Whoever may not have the device's key names its public half, or is told that it is not known.
        against.keys.extend(keys(config).load().ok().map(|device| journal_seal(&device).public()));
        for head in &self.head {
            match head.parse::<Hash>() {
                Ok(hash) => against.hashes.push(hash),
                Err(_) => against.heads.extend(heads_of(Path::new(head))?),
            }
        }
        Ok(against)
    }
}

/// The heads in a file; other lines are passed over.
fn heads_of(file: &Path) -> anyhow::Result<Vec<Head>> {
    let text = std::fs::read(file)
        .with_context(|| format!("{} is neither a hash nor a file that can be read", file.display()))?;
    let text = String::from_utf8_lossy(&text);
    let heads: Vec<Head> = text.lines().filter_map(|line| line.parse().ok()).collect();
    if heads.is_empty() {
        bail!("{} has no line with a head, such as `accessd-head 1024 6f0c…`", file.display());
    }
    Ok(heads)
}

fn told(found: &Verification) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(pruned) = &found.pruned {
        let (from, to) = (pruned.earliest, pruned.latest);
        lines.push(format!(
            "{} were pruned, from {from} to {to}; their summary is signed",
            records(pruned.records)
        ));
    }
    match &found.broken {
        Some(broken) => {
            lines.push(format!("BROKEN at record {}: {}", broken.event, broken.what));
            lines.push(format!("before it: {} as written", records(found.records)));
        }
        None => {
            let to = found.head.map_or(String::new(), |head| format!(", up to {}", head.id));
            lines.push(format!("{} are as they were written{to}", records(found.records)));
        }
    }
    if let Some(signed) = found.signed_to {
        let keys = found.keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let checkpoints = count(found.checkpoints as usize, "signature", "signatures");
        lines.push(format!("signed up to {signed} ({checkpoints}) with {keys}"));
    }
    if found.heads_found > 0 {
        lines
            .push(format!("{} kept elsewhere are in it", count(found.heads_found as usize, "head", "heads")));
    }
    if let Some(head) = &found.head {
        lines.push(head.to_string());
    }
    lines.extend(found.doubts.iter().map(|doubt| format!("not shown: {doubt}")));
    lines
}

fn records(n: u64) -> String {
    count(n as usize, "record", "records")
}

/// Print the public key that this device signs its journal with
#[derive(Args, Debug)]
pub(super) struct ShowKey {}

impl ShowKey {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let device = keys(&globals.load()?).load()?;
        let mut out = Output::new();
        out.line(journal_seal(&device).public())?;
        out.flush()?;
        Ok(Exit::Done)
    }
}
