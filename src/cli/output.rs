//! Standard output for all commands: lines, tables for people, JSON for programs. A reader that goes away
//! (`accessd log | head`) ends the command quietly.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

/// Standard output does not take what is written.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written")]
pub(super) struct OutputError(#[from] io::Error);

impl OutputError {
    /// Whether the reader went away, which is its right.
    pub(super) fn is_closed_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Standard output, buffered; what is left goes out with [`Output::finish`].
pub(super) struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// Opens it.
    pub(super) fn new() -> Self {
        Self { stdout: BufWriter::new(io::stdout().lock()) }
    }

    /// One line.
    pub(super) fn line(&mut self, text: impl Display) -> Result<(), OutputError> {
        Ok(writeln!(self.stdout, "{text}")?)
    }

    /// A table, without its trailing blanks.
    pub(super) fn table(&mut self, table: &Table) -> Result<(), OutputError> {
        for line in table.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// One value, over several lines.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), OutputError> {
        serde_json::to_writer_pretty(&mut self.stdout, value).map_err(io::Error::from)?;
        self.line("")
    }

    /// One value on one line.
    pub(super) fn json_line(&mut self, value: &impl Serialize) -> Result<(), OutputError> {
        serde_json::to_writer(&mut self.stdout, value).map_err(io::Error::from)?;
        self.line("")
    }

    /// What is written so far reaches the reader now.
    pub(super) fn flush(&mut self) -> Result<(), OutputError> {
        Ok(self.stdout.flush()?)
    }
}

/// A table with headings and no lines: it reads well and greps well.
pub(super) fn table<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(headings);
    table
}

/// Sets numbers to the right.
pub(super) fn align_right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Calendar time as people read it, in this machine's zone: `2026-11-23 12:04:31`.
pub(super) fn local_time(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `1 person`, `2 people`.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// `one in 10,000`.
pub(super) fn one_in(share: f64) -> String {
    if share <= 0.0 {
        return "none".into();
    }
    let whole = (1.0 / share).round() as u64;
    let digits = whole.to_string();
    let grouped: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|three| std::str::from_utf8(three).expect("digits")).collect();
    format!("one in {}", grouped.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_told_as_one_in_so_many() {
        for (share, text) in
            [(1e-4, "one in 10,000"), (0.25, "one in 4"), (1.7e-6, "one in 588,235"), (0.0, "none")]
        {
            assert_eq!(one_in(share), text);
        }
    }
}
