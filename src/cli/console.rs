//! `accessd console`: the web console, and its accounts.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};

use super::output::Output;
use super::{Exit, Globals, logging};
use crate::clock::SystemClock;
use crate::config::{Config, ConsoleConfig};
use crate::console::accounts::{AccountName, Accounts, MIN_PASSWORD, Role};
use crate::console::{self, ConsoleError, Options};

/// Serve the web console until SIGTERM or Ctrl-C, or look after its accounts
///
/// The console reaches the running service over its control socket and shows the door in a browser.
#[derive(Args, Debug)]
pub(super) struct Console {
    #[command(subcommand)]
    order: Option<Order>,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Add an account; its password is asked for, or read from standard input
    AddUser {
        /// Its name: a-z, 0-9, `.`, `-` and `_`
        name: AccountName,
        /// What it may do: viewer looks, operator moves the door and enrols, admin does everything
        #[arg(long, value_enum)]
        role: Role,
    },
    /// Give an account another password; it has to log in again
    SetPassword {
        /// Its name
        name: AccountName,
    },
    /// Give an account another role; it has to log in again
    SetRole {
        /// Its name
        name: AccountName,
        /// The role
        #[arg(value_enum)]
        role: Role,
    },
    /// Remove an account; its sessions end
    RemoveUser {
        /// Its name
        name: AccountName,
    },
    /// List the accounts
    Users {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Console {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        match self.order {
            None => serve(&config, globals),
            Some(order) => account(&config.console.accounts, order),
        }
    }
}

fn serve(config: &Config, globals: &Globals) -> anyhow::Result<Exit> {
    logging::for_the_service(&config.log, globals);
    let options = options(&config.console, config)?;
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    console::run(options, |at| {
        log::info!("the console is at {scheme}://{at}/");
        // Without a service manager nobody is told.
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
            log::warn!("the service manager could not be told: {error}");
        }
    })?;
    log::info!("stopped");
    Ok(Exit::Done)
}

fn options(console: &ConsoleConfig, config: &Config) -> Result<Options, ConsoleError> {
    let none = Path::new("none");
    let tls = match (console.certificate == none, console.key == none) {
        (true, true) => None,
        (false, false) => Some((console.certificate.clone(), console.key.clone())),
        _ => return Err(ConsoleError::HalfTls),
    };
    Ok(Options {
        listen: console.listen.parse().expect("the config has been checked"),
        tls,
        proxied: console.proxied_as != "none",
        accounts: console.accounts.clone(),
        idle: Duration::from_secs(console.idle_min * 60),
        longest: Duration::from_secs(console.session_h * 3600),
        socket: config.paths.socket.clone(),
        clock: Arc::new(SystemClock),
    })
}

fn account(file: &Path, order: Order) -> anyhow::Result<Exit> {
    let mut accounts = Accounts::load(file)?;
    let said = match order {
        Order::Users { json } => return list(&accounts, json),
        Order::AddUser { name, role } => {
            ensure!(
                accounts.find(name.as_str()).is_none(),
                "there is an account {0} already; `accessd console set-password {0}` gives it another password",
                name.as_str()
            );
            let said = format!("{} may log in as {role}", name.as_str());
            accounts.add(name, role, &password()?)?;
            said
        }
        Order::SetPassword { name } => {
            accounts.change(name.as_str(), None, Some(&password()?))?;
            format!("{} has another password", name.as_str())
        }
        Order::SetRole { name, role } => {
            accounts.change(name.as_str(), Some(role), None)?;
            format!("{} is {role} now", name.as_str())
        }
        Order::RemoveUser { name } => {
            accounts.remove(name.as_str())?;
            format!("{} has no account any more", name.as_str())
        }
    };
    accounts.save(file)?;
    let mut out = Output::new();
    out.line(said)?;
    out.flush()?;
    Ok(Exit::Done)
}

fn list(accounts: &Accounts, json: bool) -> anyhow::Result<Exit> {
    let mut out = Output::new();
    if json {
        let all: Vec<_> =
            accounts.all().iter().map(|a| serde_json::json!({ "name": a.name, "role": a.role })).collect();
        out.json(&all)?;
    } else if accounts.all().is_empty() {
        out.line("no accounts; add one with `accessd console add-user NAME --role admin`")?;
    } else {
        for account in accounts.all() {
            out.line(format_args!("{:<9} {}", account.role.to_string(), account.name.as_str()))?;
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// Asks for a password twice without showing it, or reads a line where nobody types.
fn password() -> anyhow::Result<String> {
    let input = io::stdin();
    if !input.is_terminal() {
        let mut line = String::new();
        input.lock().read_line(&mut line).context("the password cannot be read")?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let hidden = Hidden::begin()?;
    let first = ask(&format!("Password ({MIN_PASSWORD} characters or more): "))?;
    let second = ask("Once more: ")?;
    drop(hidden);
    ensure!(first == second, "the two are not the same; nothing has changed");
    Ok(first)
}

fn ask(prompt: &str) -> anyhow::Result<String> {
    eprint!("{prompt}");
    io::stderr().flush().context("the terminal cannot be written to")?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("the password cannot be read")?;
    eprintln!();
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(rustix::termios::Termios);

impl Hidden {
    fn begin() -> anyhow::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let input = io::stdin();
        let before = tcgetattr(&input).context("the terminal cannot be asked")?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Flush, &hidden).context("the terminal cannot be told to hide")?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // The terminal is gone then, and with it what it shows.
        let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_and_key_belong_together() {
        let config = Config::default();
        let half = ConsoleConfig { certificate: "a.pem".into(), ..ConsoleConfig::default() };
        assert!(matches!(options(&half, &config), Err(ConsoleError::HalfTls)));
        let whole = ConsoleConfig { key: "a.key".into(), ..half };
        assert!(options(&whole, &config).unwrap().tls.is_some());
        assert!(options(&ConsoleConfig::default(), &config).unwrap().tls.is_none());
    }

    #[test]
    fn an_address_that_others_reach_takes_tls() {
        let config = Config::default();
        let public = ConsoleConfig { listen: "0.0.0.0:0".into(), ..ConsoleConfig::default() };
        let error =
            console::run(options(&public, &config).unwrap(), |_| panic!("it must not listen")).unwrap_err();
        assert!(error.to_string().contains("passwords would travel in the clear"), "{error}");
    }

    #[test]
    fn each_key_of_the_console_reaches_it() {
        let config = Config::default();
        let console = ConsoleConfig {
            listen: "[::1]:99".into(),
            proxied_as: "https://door.example".into(),
            accounts: "a.toml".into(),
            idle_min: 3,
            session_h: 5,
            ..ConsoleConfig::default()
        };
        let options = options(&console, &config).unwrap();
        assert_eq!(options.listen.to_string(), "[::1]:99");
        assert!(options.proxied);
        assert_eq!(options.accounts, Path::new("a.toml"));
        assert_eq!((options.idle, options.longest), (Duration::from_secs(180), Duration::from_secs(18_000)));
    }

    #[test]
    fn accounts_are_made_changed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("accounts.toml");
        let name = || "ada".parse::<AccountName>().unwrap();
        let mut accounts = Accounts::default();
        accounts.add(name(), Role::Viewer, "an engine that weaves").unwrap();
        accounts.save(&file).unwrap();
        account(&file, Order::SetRole { name: name(), role: Role::Admin }).unwrap();
        assert_eq!(Accounts::load(&file).unwrap().find("ada").unwrap().role, Role::Admin);
        account(&file, Order::RemoveUser { name: name() }).unwrap();
        assert!(Accounts::load(&file).unwrap().all().is_empty());
        assert!(account(&file, Order::RemoveUser { name: name() }).is_err());
    }
}
