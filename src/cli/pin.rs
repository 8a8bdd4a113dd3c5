//! `accessd pin`: PINs of people. What is typed is never an argument, never shown and never logged.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::backend::Backend;
use super::output::{self, Output};
use super::{Exit, Globals};
use crate::access::pin;
use crate::daemon::protocol::Request;

/// Give people PINs: as a second factor, or instead of a face
#[derive(Args, Debug)]
pub(super) struct Pin {
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Give a person a PIN: typed twice at the terminal, or one line of standard input
    Set {
        /// Their name
        name: String,
    },
    /// Give a person who has a PIN another one, which opens as usual and raises a silent alarm
    Duress {
        /// Their name
        name: String,
    },
    /// Take a person's PINs away
    Clear {
        /// Their name
        name: String,
    },
    /// Take a person's PIN again, after too many wrong ones have switched it off
    On {
        /// Their name
        name: String,
    },
    /// Show each person's number for the keypad, and who has a PIN
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Pin {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        let mut out = Output::new();
        match self.order {
            Order::List { json } => list(&mut Backend::to_read(&config)?, json, &mut out)?,
            Order::Set { name } => {
                let mut backend = Backend::to_change(&config)?;
                // A misspelt name is found before anything is typed.
                let person = backend.person(&name)?;
                let pin = read("PIN")?;
                backend.change_person(&Request::SetPin { name: person.name.clone(), pin })?;
                let number = person.id.0;
                out.line(format_args!("{} has a PIN; their number is {number}: {number}*PIN", person.name))?;
            }
            Order::Duress { name } => {
                let mut backend = Backend::to_change(&config)?;
                let person = backend.person(&name)?;
                let pin = read("duress PIN")?;
                backend.change_person(&Request::SetDuressPin { name: person.name.clone(), pin })?;
                out.line(format_args!("{} has a duress PIN", person.name))?;
            }
            Order::Clear { name } => {
                Backend::to_change(&config)?.change_person(&Request::ClearPin { name })?;
            }
            Order::On { name } => Backend::to_change(&config)?.change_person(&Request::PinOn { name })?,
        }
        out.flush()?;
        Ok(Exit::Done)
    }
}

fn list(backend: &mut Backend, json: bool, out: &mut Output) -> anyhow::Result<()> {
    let book = backend.rule_book()?;
    if json {
        let rows = book
            .people
            .iter()
            .map(|row| serde_json::json!({ "name": row.name, "number": row.id, "has_pin": row.has_pin }));
        out.json(&rows.collect::<Vec<_>>())?;
        return Ok(());
    }
    let mut table = output::table(["NAME", "NUMBER", "PIN"]);
    for row in &book.people {
        let pin = if row.has_pin { "yes" } else { "none" };
        table.add_row([row.name.clone(), row.id.0.to_string(), pin.to_owned()]);
    }
    output::align_right(&mut table, [1]);
    Ok(out.table(&table)?)
}

/// A PIN: typed twice without being shown, or a line of standard input.
fn read(what: &str) -> anyhow::Result<pin::Pin> {
    if !io::stdin().is_terminal() {
        return Ok(pin::Pin::new(&line()?)?);
    }
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt).map(Zeroizing::new).context("the terminal cannot be read")
    };
    let first = ask(format!("{what}: "))?;
    let pin = pin::Pin::new(first.trim())?;
    if ask("once more: ".into())?.trim() != first.trim() {
        bail!("the two are not the same; nothing has changed");
    }
    Ok(pin)
}

/// The first line of standard input, without its end.
pub(super) fn line() -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(256));
    io::stdin().lock().read_line(&mut text).context("standard input cannot be read")?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}
