//! `accessd holiday`: the days that rules may leave out.

use clap::{Args, Subcommand};
use jiff::civil::Date;

use super::backend::Backend;
use super::output::{self, Output};
use super::{Exit, Globals};
use crate::policy::{Change, Dates, Holiday as Day, RuleBook};

/// Say which days are holidays, for rules that leave them out
#[derive(Args, Debug)]
pub(super) struct Holiday {
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Add a holiday
    Add {
        /// A day or a stretch of days: 2026-12-24 or 2026-12-24..2027-01-01
        dates: Dates,
        /// What it is called
        name: String,
        /// Every year on the same dates
        #[arg(long)]
        yearly: bool,
    },
    /// List all holidays
    List,
    /// Remove the holidays that have this day
    Remove {
        /// The day
        date: Date,
    },
}

impl Holiday {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        let change = match self.order {
            Order::List => return list(&Backend::to_read(&config)?.rule_book()?),
            Order::Add { dates, name, yearly } => Change::AddHoliday(Day { dates, name, yearly }),
            Order::Remove { date } => Change::RemoveHoliday(date),
        };
        Backend::to_change(&config)?.change_policy(change)?;
        Ok(Exit::Done)
    }
}

fn list(book: &RuleBook) -> anyhow::Result<Exit> {
    let mut out = Output::new();
    if book.holidays.is_empty() {
        out.line("no holidays; add one: accessd holiday add 2026-12-25 Christmas --yearly")?;
    } else {
        let mut table = output::table(["DATES", "NAME", "EVERY YEAR"]);
        for day in &book.holidays {
            let yearly = if day.yearly { "yes" } else { "no" };
            table.add_row([day.dates.to_string(), day.name.clone(), yearly.into()]);
        }
        out.table(&table)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}
