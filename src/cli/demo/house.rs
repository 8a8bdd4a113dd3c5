//! A door with a month behind it, and the web console to look at it: people, rules and a journal that are made up, the
//! demo's clip in a loop for a camera, the real service and the real console, until one of them ends or Ctrl-C does.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::service::Service;
use super::{Demo, accessd};
use crate::cli::backend::keys;
use crate::cli::output::Output;
use crate::clock::{Clock, MonoTime, SystemClock};
use crate::config::Config;
use crate::console::accounts::{Accounts, Role};
use crate::demo::month::{Colleague, Dice, OFFICE, events};
use crate::demo::script::{ENROLLED, FPS};
use crate::encoder::Embedding;
use crate::gallery::{NewTemplate, PersonId, TemplateSource};
use crate::journal::Stamp;
use crate::policy::{Change, Holiday, Limit, PersonChange, RuleId};
use crate::store::{OpenMode, SqliteStore, Store};
use crate::vision::quality::Quality;

/// The accounts of the made-up door; the password is told with the address, and is for nothing else.
const ACCOUNTS: [(&str, Role); 3] = [("ada", Role::Admin), ("grace", Role::Operator), ("vera", Role::Viewer)];
const PASSWORD: &str = "only-for-the-demo";

/// Rules besides the first, which goes: the numbers count on from it.
const RULES: [&str; 6] = [
    r#"{"effect":"allow","who":"staff","days":"mon-fri","from":"07:00","until":"19:00","holidays":"not"}"#,
    r#"{"effect":"allow","who":"cleaners","days":"tue","from":"18:00","until":"22:00"}"#,
    r#"{"effect":"allow","who":"lab","from":"06:00","until":"23:00"}"#,
    r#"{"effect":"allow","who":"visitors"}"#,
    r#"{"effect":"deny","who":"visitors","from":"20:00","until":"06:00"}"#,
    r#"{"effect":"allow","who":"residents"}"#,
];

/// The made-up house.
pub(super) struct House<'a> {
    pub(super) folder: &'a Path,
    pub(super) listen: &'a str,
    pub(super) days: i64,
}

impl House<'_> {
    /// What the demo's config has besides.
    pub(super) fn configure(&self, config: &mut Config) {
        config.camera.source = format!("clip:clip?fps={FPS}&loop");
        config.console.listen = self.listen.to_owned();
        config.console.accounts = "accounts.toml".into();
        config.console.live_picture = "on".into();
        // Rules with hours are to be seen at work wherever the demo runs.
        config.clock.trust = "always".into();
    }

    /// Makes people, rules, journal and accounts up. The one whom the clip shows has been enrolled; the paths of `config`
    /// are those of the demo's folder.
    pub(super) fn furnish(&self, config: &Config) -> anyhow::Result<usize> {
        let mut store = SqliteStore::open(
            &config.paths.database,
            OpenMode::Existing,
            "made-up-for-the-demo",
            &keys(config),
        )?;
        let end = SystemClock.wall();
        let begin = end - (24 * self.days).hours();
        let mut stamp = Stamps { begin, at: begin };
        let people = enrol(&mut store, &mut stamp)?;
        agree(&mut store, &mut stamp, end)?;
        let month = events(&people, end, self.days, &TimeZone::system(), 20_261_124);
        let count = month.len();
        for (at, event) in month {
            store.append(&event, stamp.of(at))?;
        }
        let mut accounts = Accounts::default();
        for (name, role) in ACCOUNTS {
            accounts.add(name.parse()?, role, PASSWORD)?;
        }
        accounts.save(&self.folder.join(&config.console.accounts))?;
        Ok(count)
    }

    /// Runs service and console until one of them ends.
    pub(super) fn serve(&self, out: &mut Output) -> anyhow::Result<()> {
        let mut service = Service::start(self.folder)?;
        let console = accessd(self.folder)?.arg("console").stdin(Stdio::null()).spawn();
        let mut console = Console(console.context("the console cannot be started")?);
        out.line(format_args!(
            "\nhttp://{}/  accounts ada (admin), grace (operator), vera (viewer)",
            self.listen
        ))?;
        out.line(format_args!("password {PASSWORD}; Ctrl-C ends it"))?;
        out.flush()?;
        loop {
            ensure!(!service.is_over()?, "the service ended; see {}/service.log", self.folder.display());
            ensure!(console.0.try_wait()?.is_none(), "the console ended");
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }
}

/// The running console. Dropping it ends it.
struct Console(Child);

impl Drop for Console {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to kill.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Stamps of the made-up past, in order.
struct Stamps {
    begin: Timestamp,
    at: Timestamp,
}

impl Stamps {
    fn of(&mut self, at: Timestamp) -> Stamp {
        self.at = self.at.max(at);
        let since = Duration::try_from(self.at.duration_since(self.begin)).unwrap_or_default();
        Stamp { wall: at, mono: MonoTime::from_millis(since.as_millis() as u64) }
    }

    fn next(&mut self) -> Stamp {
        self.of(self.at + 1.second())
    }
}

/// Enrols the office. Their faces are numbers that no face has.
fn enrol(store: &mut SqliteStore, stamp: &mut Stamps) -> anyhow::Result<Vec<(Colleague, PersonId)>> {
    let shown = store.person(ENROLLED.0)?;
    let model = shown.templates.first().context("nobody is enrolled for the clip")?.model.clone();
    let dim = store.gallery(&model)?.dim();
    let mut people = Vec::new();
    for (n, colleague) in OFFICE.into_iter().enumerate() {
        let templates: anyhow::Result<Vec<NewTemplate>> = (0..3 + n % 3)
            .map(|sample| {
                let values = made_up(n, sample, dim);
                let embedding = Embedding::normalise(values).context("made-up numbers are no embedding")?;
                let quality = quality(n, sample);
                let source = if n % 4 == 0 { TemplateSource::Image } else { TemplateSource::Camera };
                Ok(NewTemplate { model: model.clone(), embedding, quality, source, crop: None })
            })
            .collect();
        let id = store.enrol(colleague.name, &templates?, "console: ada", stamp.next())?;
        people.push((colleague, id));
    }
    Ok(people)
}

/// Numbers that differ much between people and little between the samples of one: by chance that can be repeated.
fn made_up(person: usize, sample: usize, dim: usize) -> Vec<f32> {
    let mut face = Dice::new(person as u64);
    let mut noise = Dice::new(1000 + (person * 31 + sample) as u64);
    let number = |dice: &mut Dice| dice.share() as f32 * 2.0 - 1.0;
    (0..dim).map(|_| number(&mut face) + 0.4 * number(&mut noise)).collect()
}

fn quality(person: usize, sample: usize) -> Quality {
    let vary = |n: usize, span: f32| ((person * 7 + sample * 13 + n) % 17) as f32 / 17.0 * span;
    Quality {
        eye_distance_px: 54.0 + vary(1, 38.0),
        sharpness: 90.0 + vary(2, 240.0),
        light: 98.0 + vary(3, 56.0),
        yaw_deg: vary(4, 16.0) - 8.0,
        pitch_deg: vary(5, 12.0) - 6.0,
        roll_deg: 0.0,
    }
}

/// Groups, validity, rules and holidays.
fn agree(store: &mut SqliteStore, stamp: &mut Stamps, end: Timestamp) -> anyhow::Result<()> {
    let mut change = |change: Change| store.change_policy(&change, "console: ada", stamp.next());
    for rule in RULES {
        change(Change::AddRule(serde_json::from_str(rule).expect("the demo's rules are rules")))?;
    }
    change(Change::RemoveRule(RuleId(1)))?;
    let in_group = |group: &str| PersonChange { join: [group.to_owned()].into(), ..PersonChange::default() };
    for colleague in OFFICE {
        let mut terms = in_group(colleague.group);
        if colleague.group == "visitors" {
            terms.valid_until = Some(Limit::At(end + (24 * 4).hours()));
            terms.entries = Some(Limit::At(400));
        }
        change(Change::Person { name: colleague.name.into(), change: terms })?;
    }
    change(Change::Person { name: ENROLLED.0.into(), change: in_group("residents") })?;
    for (dates, name) in [("2026-12-24..2026-12-26", "Christmas"), ("2027-01-01", "New Year")] {
        let dates = dates.parse()?;
        change(Change::AddHoliday(Holiday { dates, name: name.into(), yearly: true }))?;
    }
    Ok(())
}

impl Demo {
    /// The house that the options ask for.
    pub(super) fn house(&self) -> House<'_> {
        House { folder: &self.out, listen: &self.listen, days: i64::from(self.days) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_faces_are_alike_for_one_person_and_for_nobody_else() {
        let face = |person, sample| Embedding::normalise(made_up(person, sample, 128)).unwrap();
        let score = |a: &Embedding, b: &Embedding| crate::encoder::compare(a, b).score.0;
        for person in 0..OFFICE.len() {
            assert!(score(&face(person, 0), &face(person, 1)) > 0.6, "{person}");
            for other in (0..OFFICE.len()).filter(|other| *other != person) {
                assert!(score(&face(person, 0), &face(other, 1)) < 0.45, "{person} and {other}");
            }
        }
    }

    #[test]
    fn the_rules_of_the_house_are_rules() {
        for rule in RULES {
            serde_json::from_str::<crate::policy::Rule>(rule).unwrap();
        }
    }
}
