//! The command line: one file per command. Builds the adapters and hands them in.

use std::process::ExitCode;

/// Runs the program.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
