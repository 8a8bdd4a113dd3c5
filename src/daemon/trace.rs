//! One JSON line per analysed frame: what was seen, what was concluded and how the door stood. Reports are made of
//! it. No pictures, no embeddings; off unless somebody asks for it.

use std::io::Write;

use serde::Serialize;

use crate::access::Evidence;
use crate::journal::Stamp;

use super::analysis::Analysis;

/// A conclusion about one track.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub(crate) enum Conclusion {
    /// The door opened for this person.
    Granted { name: String, evidence: Evidence },
    /// It did not.
    Refused { reason: String, evidence: Evidence },
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    decided: Stamp,
    door: &'static str,
    enrolling: bool,
    conclusions: &'a [Conclusion],
    #[serde(flatten)]
    analysis: &'a Analysis,
}

/// Where trace lines go.
pub(crate) struct Trace(Option<Box<dyn Write + Send>>);

impl Trace {
    pub(crate) fn new(to: Option<Box<dyn Write + Send>>) -> Self {
        Self(to)
    }

    /// Writes one line. A trace that cannot be written ends, and the door goes on.
    pub(crate) fn write(
        &mut self,
        decided: Stamp,
        analysis: &Analysis,
        conclusions: &[Conclusion],
        unlocked: bool,
        enrolling: bool,
    ) {
        let Some(to) = &mut self.0 else { return };
        let door = if unlocked { "unlocked" } else { "locked" };
        let line = Line { decided, door, enrolling, conclusions, analysis };
        let written = serde_json::to_vec(&line).map_err(std::io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            to.write_all(&bytes)?;
            to.flush()
        });
        if let Err(error) = written {
            log::error!("the trace ends here, it cannot be written: {error}");
            self.0 = None;
        }
    }
}
