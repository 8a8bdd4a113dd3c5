//! `accessd erase`: a person goes, and every file is searched for what might be left of them.

use clap::Args;

use super::backend::Backend;
use super::output::{Output, count};
use super::remove::may_go;
use super::{Exit, Globals};
use crate::daemon::protocol::Erasure;
use crate::store::Search;

/// Erase a person: their key is destroyed, and with --prove every file is searched for what might be left
///
/// The journal keeps the name. Backups from before hold templates that nothing opens any more, unless their key file was
/// copied: see SECURITY.md.
#[derive(Args, Debug)]
pub(super) struct Erase {
    /// Their name
    name: String,
    /// Search every file of the database's folder for their templates and their key, before and afterwards
    #[arg(long)]
    prove: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Print JSON: {"person", "samples", "before", "after"}
    #[arg(long)]
    json: bool,
}

impl Erase {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let mut backend = Backend::to_change(&globals.load()?)?;
        let person = backend.person(&self.name)?;
        let mut out = Output::new();
        if !self.yes && !may_go(&person)? {
            out.line(format_args!("{} stays", person.name))?;
            out.flush()?;
            return Ok(Exit::No);
        }
        let erasure = backend.erase(&person.name, self.prove)?;
        if self.json {
            out.json(&erasure)?;
        } else {
            print(&erasure, &mut out)?;
        }
        out.flush()?;
        Ok(if is_proved(&erasure) { Exit::Done } else { Exit::No })
    }
}

/// Without a search there is nothing that could fail.
fn is_proved(erasure: &Erasure) -> bool {
    let found_all = erasure.before.as_ref().is_none_or(|before| before.pieces() > 0 || before.sought == 0);
    found_all && erasure.after.as_ref().is_none_or(|after| after.pieces() == 0 && after.unread.is_empty())
}

fn print(erasure: &Erasure, out: &mut Output) -> anyhow::Result<()> {
    let samples = count(erasure.samples, "sample", "samples");
    out.line(format_args!(
        "{} is erased with {samples}; the key they were sealed with is destroyed",
        erasure.person
    ))?;
    if let (Some(before), Some(after)) = (&erasure.before, &erasure.after) {
        let what = format!(
            "searched for {} of 16 bytes: templates in the clear and sealed, key in the clear and wrapped",
            count(after.sought as usize, "piece", "pieces")
        );
        out.line(what)?;
        found("before", before, out)?;
        found("now", after, out)?;
    }
    Ok(())
}

fn found(when: &str, search: &Search, out: &mut Output) -> anyhow::Result<()> {
    let files = count(search.files as usize, "file", "files");
    out.line(format_args!("{when}: {} found in {files}, {} bytes", search.pieces(), search.bytes))?;
    for sighting in &search.found {
        let pieces = count(sighting.pieces as usize, "piece", "pieces");
        out.line(format_args!("    {}: {pieces} of a {}", sighting.file.display(), sighting.what))?;
    }
    for unread in &search.unread {
        out.line(format_args!("    NOT SEARCHED {unread}"))?;
    }
    Ok(())
}
