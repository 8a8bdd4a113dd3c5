//! The command line: one file per command. Builds the adapters and hands them in; prints what went wrong, once, with
//! everything that caused it.

mod adapters;
mod backend;
mod backup;
mod bench;
mod calibrate;
mod check;
mod completions;
mod consent;
mod console;
mod demo;
mod doctor;
mod door;
mod enroll;
mod erase;
mod eval;
mod exit;
mod explain;
mod export;
mod exposed;
mod forget_learnt;
mod guard;
mod holiday;
mod identify;
mod list;
mod lockdown;
mod log;
mod logging;
mod man;
mod memory;
mod models;
mod output;
mod person;
mod picture;
mod pin;
mod policy;
mod remove;
mod rename;
mod replay;
mod restore;
mod run;
mod settings;
mod show;
mod spoof_test;
mod status;
mod train;
mod verify;
mod when;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};

pub use exit::Exit;
use exit::UsageError;
use output::OutputError;
use settings::Origin;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "accessd",
    version,
    about = "Face access control for a door: a camera, a Siamese encoder, a relay",
    after_help = exit::HELP,
    max_term_width = 110,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
struct Globals {
    /// Config file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say more about what is being done; twice for every detail
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

impl Globals {
    /// Where the config comes from.
    fn origin(&self) -> Origin {
        Origin::find(self.config.as_deref())
    }

    /// The config.
    fn load(&self) -> Result<Config, ConfigError> {
        self.origin().load()
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Enroll(enroll::Enroll),
    List(list::List),
    Show(show::Show),
    Rename(rename::Rename),
    Remove(remove::Remove),
    ForgetLearnt(forget_learnt::ForgetLearnt),
    Erase(erase::Erase),
    Consent(consent::Consent),
    Export(export::Export),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Log(log::Log),
    Explain(explain::Explain),
    Replay(replay::Replay),
    Policy(policy::Policy),
    Holiday(holiday::Holiday),
    Person(person::Person),
    Pin(pin::Pin),
    Lockdown(lockdown::Lockdown),
    Verify(verify::Verify),
    Identify(identify::Identify),
    Status(status::Status),
    Console(console::Console),
    Door(door::Door),
    Doctor(doctor::Doctor),
    #[command(hide = true)]
    Guard(guard::Guard),
    Check(check::Check),
    Models(models::Models),
    Bench(bench::Bench),
    Calibrate(calibrate::Calibrate),
    SpoofTest(spoof_test::SpoofTest),
    Train(train::Train),
    Eval(eval::Eval),
    Demo(demo::Demo),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Runs the program.
pub fn main() -> ExitCode {
    memory::keep_to_itself();
    let cli = Cli::parse();
    match perform(cli) {
        Ok(exit) => exit.into(),
        Err(error) => explain(&error).into(),
    }
}

fn perform(Cli { globals, command }: Cli) -> anyhow::Result<Exit> {
    if let Command::Run(run) = command {
        // The service logs as its config says.
        return run.perform(&globals);
    }
    if let Command::Console(console) = command {
        // It logs as a service does, but for its accounts.
        return console.perform(&globals);
    }
    logging::for_a_command(&globals);
    match command {
        Command::Run(run) => run.perform(&globals),
        Command::Enroll(enroll) => enroll.perform(&globals),
        Command::List(list) => list.perform(&globals),
        Command::Show(show) => show.perform(&globals),
        Command::Rename(rename) => rename.perform(&globals),
        Command::Remove(remove) => remove.perform(&globals),
        Command::ForgetLearnt(forget) => forget.perform(&globals),
        Command::Erase(erase) => erase.perform(&globals),
        Command::Consent(consent) => consent.perform(&globals),
        Command::Export(export) => export.perform(&globals),
        Command::Backup(backup) => backup.perform(&globals),
        Command::Restore(restore) => restore.perform(&globals),
        Command::Log(log) => log.perform(&globals),
        Command::Explain(explain) => explain.perform(&globals),
        Command::Replay(replay) => replay.perform(&globals),
        Command::Policy(policy) => policy.perform(&globals),
        Command::Holiday(holiday) => holiday.perform(&globals),
        Command::Person(person) => person.perform(&globals),
        Command::Pin(pin) => pin.perform(&globals),
        Command::Lockdown(lockdown) => lockdown.perform(&globals),
        Command::Verify(verify) => verify.perform(&globals),
        Command::Identify(identify) => identify.perform(&globals),
        Command::Status(status) => status.perform(&globals),
        Command::Console(console) => console.perform(&globals),
        Command::Door(door) => door.perform(&globals),
        Command::Doctor(doctor) => doctor.perform(&globals),
        Command::Guard(guard) => guard.perform(),
        Command::Check(check) => check.perform(&globals),
        Command::Models(models) => models.perform(&globals),
        Command::Bench(bench) => bench.perform(&globals),
        Command::Calibrate(calibrate) => calibrate.perform(&globals),
        Command::SpoofTest(test) => test.perform(&globals),
        Command::Train(train) => train.perform(&globals),
        Command::Eval(eval) => eval.perform(&globals),
        Command::Demo(demo) => demo.perform(&globals),
        Command::Completions(completions) => completions.perform(),
        Command::Man(man) => man.perform(),
    }
}

/// Prints an error with what caused it and says how the program ends.
fn explain(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<OutputError>().is_some_and(OutputError::is_closed_pipe) {
        return Exit::Done;
    }
    eprintln!("{}", chain(error));
    if error.is::<UsageError>() { Exit::Usage } else { Exit::Failed }
}

/// `error: …` and a line `  because: …` for each cause that says something new.
fn chain(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text += &format!("\n  because: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_every_option_is_explained() {
        let cli = Cli::command();
        for command in cli.get_subcommands() {
            assert!(command.get_about().is_some(), "{} is not explained", command.get_name());
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {} is not explained", command.get_name(), arg.get_id());
            }
        }
    }

    #[test]
    fn a_chain_of_errors_is_printed_once_without_echoes() {
        let error = anyhow!("disk full").context("disk full").context("store refused");
        assert_eq!(chain(&error), "error: store refused\n  because: disk full");
    }

    #[test]
    fn errors_end_with_their_codes() {
        assert_eq!(explain(&anyhow!("no")), Exit::Failed);
        assert_eq!(explain(&UsageError("what?".into()).into()), Exit::Usage);
        let closed: Result<(), _> = Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!(explain(&closed.map_err(OutputError::from).unwrap_err().into()), Exit::Done);
        let socket =
            Err::<(), _>(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).context("daemon died");
        assert_eq!(explain(&socket.unwrap_err()), Exit::Failed);
    }
}
