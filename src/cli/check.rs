//! `accessd check`: would the door work with this config? Looks at everything the service needs and changes nothing.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use rustix::fs::Access;
use serde::Serialize;

use super::adapters::{
    NO_DOOR, bar, doubt, keypad_spec, learning, load_networks, patience, places, prefix, wired_inputs,
};
use super::backend::{Service, keys, open_to_read, own_actor};
use super::exposed::exposed;
use super::output::{self, Output, count};
use super::settings::Origin;
use super::{Exit, Globals};
use crate::camera::{CameraSpec, V4lDevice};
use crate::clock::SystemClock;
use crate::config::{Config, ConfigError, InputsConfig};
use crate::daemon::Patience;
use crate::door::keypad::look_for_keypad;
use crate::door::{self, LineSpec};
use crate::encoder::ModelId;
use crate::journal::Stamp;
use crate::models::Library;
use crate::policy::NumberedRule;
use crate::seal::KeyError;
use crate::store::{self, Migrating, Store};

/// Check config, database, networks, camera, relay and socket; exit code 3 when something is wrong
#[derive(Args, Debug)]
pub(super) struct Check {
    /// Print JSON: {"ok", "findings": [{"what", "state": "ok"|"warn"|"fail", "detail"}]}
    #[arg(long)]
    json: bool,
    /// Repair the database first, as far as nothing has to be made up: indexes, rows of nobody, templates that do not open,
    /// permissions. The service must not run; take a copy first
    #[arg(long)]
    repair: bool,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// The door works, and somebody should know.
    Warn,
    /// The door does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    what: &'static str,
    state: State,
    /// How it is, and what to do about it.
    detail: String,
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    findings: &'a [Finding],
}

impl Check {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let repaired = if self.repair { repair(&globals.load()?)? } else { Vec::new() };
        let mut findings = examine(&globals.origin());
        findings.extend(repaired);
        let ok = findings.iter().all(|finding| finding.state != State::Fail);
        let mut out = Output::new();
        if self.json {
            out.json(&Report { ok, findings: &findings })?;
        } else {
            out.table(&table(&findings))?;
        }
        out.flush()?;
        Ok(if ok { Exit::Done } else { Exit::No })
    }
}

/// Repairs the database, and says what was done.
fn repair(config: &Config) -> anyhow::Result<Vec<Finding>> {
    anyhow::ensure!(
        Service::find(&config.paths.socket)?.is_none(),
        "the service is running: stop it first (systemctl stop accessd)"
    );
    let at = Stamp::now(&SystemClock);
    let done = store::repair(&config.paths.database, &keys(config), &own_actor(), at, &store::boot_id())?;
    Ok(done.into_iter().map(|what| warn("repaired", what)).collect())
}

fn table(findings: &[Finding]) -> comfy_table::Table {
    let mut table = output::table(["", "WHAT", "HOW IT IS"]);
    for finding in findings {
        let state = match finding.state {
            State::Ok => "ok",
            State::Warn => "WARN",
            State::Fail => "FAIL",
        };
        table.add_row([state, finding.what, &finding.detail]);
    }
    table
}

fn examine(origin: &Origin) -> Vec<Finding> {
    let config = match origin.load() {
        Ok(config) => config,
        Err(ConfigError::Wrong { path, problems }) => {
            let told =
                problems.iter().map(|problem| fail("config", format!("{}, {problem}", path.display())));
            return told.collect();
        }
        Err(error) => return vec![failure("config", error)],
    };
    let mut findings = vec![ok("config", origin.to_string())];
    if patience(&config) != Patience::Door {
        findings.push(warn("limits", NO_DOOR.to_owned()));
    }
    findings.extend(exposed(&config, origin.file()).into_iter().map(|what| warn("files", what)));
    findings.push(device_key(&config));
    findings.extend(database(&config));
    findings.extend(networks(&config));
    for door in config.doors() {
        let name = prefix(&config, &door);
        let of_door = [camera(&door.camera.source), relay(&door.door.relay)].into_iter();
        let second = Some(door.camera.second.as_str()).filter(|source| *source != "none").map(camera);
        let second = second.map(|found| Finding { detail: format!("second: {}", found.detail), ..found });
        let of_door = of_door.chain(second).chain(inputs(&door.inputs)).chain(keypad(&door.inputs));
        findings.extend(of_door.map(|found| Finding { detail: format!("{name}{}", found.detail), ..found }));
    }
    findings.extend(rules_of_no_door(&config));
    findings.push(socket(&config.paths.socket));
    findings
}

fn device_key(config: &Config) -> Finding {
    const WHAT: &str = "key";
    let path = config.paths.device_key.display();
    match keys(config).load() {
        Ok(key) => ok(WHAT, format!("{} ({path})", key.id())),
        Err(KeyError::Missing { .. }) if !config.paths.database.exists() => {
            warn(WHAT, format!("{path} is not there yet; the first start makes it"))
        }
        // Whether the service has one from systemd cannot be seen from here.
        Err(error) => warn(WHAT, error.to_string()),
    }
}

fn database(config: &Config) -> Vec<Finding> {
    const WHAT: &str = "database";
    let path = config.paths.database.as_path();
    if !path.exists() && !path.is_symlink() {
        return vec![match folder_of(path) {
            Ok(_) => {
                warn(WHAT, format!("{} is not there yet; the first enrolment creates it", path.display()))
            }
            Err(why) => fail(WHAT, format!("{} cannot be created: {why}", path.display())),
        }];
    }
    let found = match store::check(path, &keys(config)) {
        Ok(found) => found,
        Err(error) => return vec![failure(WHAT, error)],
    };
    let mut findings: Vec<Finding> = Vec::new();
    if found.is_sound() {
        let people = count(found.people as usize, "person", "people");
        let samples = count(found.templates as usize, "sample", "samples");
        let records = count(found.records as usize, "event", "events");
        findings.push(ok(WHAT, format!("{}: {people}, {samples}, {records}", path.display())));
    }
    let told = found.findings.into_iter();
    findings.extend(told.map(|f| if f.damage { fail(WHAT, f.what) } else { warn(WHAT, f.what) }));
    findings
}

fn networks(config: &Config) -> Vec<Finding> {
    const WHAT: &str = "networks";
    match load_networks(config) {
        Err(error) => vec![failure(WHAT, error)],
        Ok(networks) => {
            let mut findings = vec![ok(WHAT, format!("{} on {}", networks.model(), config.encoder.device))];
            let doubt = doubt(config, networks.model(), networks.team());
            if learning(config).is_some() && !matches!(doubt, Ok((Some(_), _))) {
                let nothing = "learning.mode is \"guarded\", and without a photo check no face is learnt";
                findings.push(warn("learning", nothing.to_owned()));
            }
            findings.push(match doubt {
                Ok((Some(_), told)) => ok("photos", told),
                Ok((None, told)) => warn("photos", told),
                Err(error) => fail("photos", format!("{error:#}")),
            });
            if let Err(error) = bar(config, networks.model()) {
                findings.push(fail("threshold", format!("{error:#}")));
            }
            findings.extend(people_unknown_to(networks.model(), config));
            findings.extend(migration(networks.model(), config));
            findings
        }
    }
}

/// Rules that name a door which the config does not have: they count nowhere, also those that deny.
fn rules_of_no_door(config: &Config) -> Vec<Finding> {
    let Ok(book) = open_to_read(config).and_then(|store| store.rule_book()) else { return Vec::new() };
    let names: Vec<String> = places(config).into_iter().map(|place| place.door).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let told = |numbered: &NumberedRule| {
        let unknown = numbered.rule.unknown_doors(&names).next()?;
        let NumberedRule { id, rule } = numbered;
        Some(warn(
            "rules",
            format!("rule {} is for a door {unknown:?} that the config does not have: {rule}", id.0),
        ))
    };
    book.rules.iter().filter_map(told).collect()
}

/// People whom the door cannot recognise because their samples are of another encoder.
fn people_unknown_to(model: &ModelId, config: &Config) -> Option<Finding> {
    let people = open_to_read(config).ok()?.people().ok()?;
    let unknown: Vec<&str> = people
        .iter()
        .filter(|person| person.templates.iter().all(|template| template.model != *model))
        .map(|person| person.name.as_str())
        .collect();
    (!unknown.is_empty()).then(|| {
        warn(
            "people",
            format!(
                "no sample of this encoder, so the door does not know them: {}; take new ones with accessd enroll \
                 --name NAME --more",
                unknown.join(", ")
            ),
        )
    })
}

/// A change of the encoder that is under way, and whether the other one can be used.
fn migration(model: &ModelId, config: &Config) -> Option<Finding> {
    const WHAT: &str = "migration";
    let migration = open_to_read(config).ok()?.migration().ok()??;
    let (from, to) = (&migration.from.id, &migration.to.id);
    let told = format!("from {from} to {to}: `accessd models migrate` says how far it is");
    let Some(other) = migration.other(model) else {
        return Some(warn(WHAT, format!("{told}; {model} is neither of the two, so it stands still")));
    };
    Some(match Library::new(&config.paths.models).load(&other.name, "encoder") {
        Ok(file) if file.card.id() == other.id => ok(WHAT, told),
        Ok(file) => {
            warn(WHAT, format!("{told}; it stands still: {} is installed in its place", file.card.id()))
        }
        Err(error) => warn(WHAT, format!("{told}; it stands still: {error}")),
    })
}

fn camera(source: &str) -> Finding {
    const WHAT: &str = "camera";
    let spec = match CameraSpec::from_str(source) {
        Ok(spec) => spec,
        Err(error) => return failure(WHAT, error),
    };
    let missing = match &spec {
        CameraSpec::V4l(device) => missing_device(device),
        CameraSpec::Command(words) => missing_program(words.first().map_or("", String::as_str)),
        CameraSpec::Clip(clip) => {
            (!clip.path.exists()).then(|| format!("there is no recording at {}", clip.path.display()))
        }
    };
    match missing {
        Some(why) => fail(WHAT, format!("{spec}: {why}; set camera.source")),
        None => ok(WHAT, spec.to_string()),
    }
}

fn missing_device(device: &V4lDevice) -> Option<String> {
    let path = match device {
        V4lDevice::Index(n) => PathBuf::from(format!("/dev/video{n}")),
        V4lDevice::Path(path) => path.clone(),
    };
    match std::fs::metadata(&path) {
        Ok(found) if found.file_type().is_char_device() => {
            (!allows(&path, Access::READ_OK | Access::WRITE_OK))
                .then(|| format!("this user may not use {}; join the group video", path.display()))
        }
        Ok(_) => Some(format!("{} is no device", path.display())),
        Err(_) => Some(format!("there is no {}; is the camera plugged in?", path.display())),
    }
}

fn missing_program(program: &str) -> Option<String> {
    let found = if program.contains('/') {
        Path::new(program).is_file()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
    };
    (!found).then(|| format!("there is no program {program:?}"))
}

fn relay(spec: &str) -> Finding {
    const WHAT: &str = "relay";
    match LineSpec::from_str(spec) {
        Err(error) => failure(WHAT, error),
        Ok(LineSpec::Sim(path)) if path.is_dir() => fail(
            WHAT,
            format!("{spec}: it is a folder; give a file, such as sim:{}/relay.log", path.display()),
        ),
        Ok(LineSpec::Sim(path)) => match folder_of(&path) {
            Ok(_) => ok(WHAT, format!("{spec}: simulated, no lock moves")),
            Err(why) => fail(WHAT, format!("{spec}: {why}")),
        },
        Ok(LineSpec::Gpio(line)) => match door::find_line(&line) {
            Ok(found) => ok(WHAT, format!("{spec}: {found}")),
            Err(error) => failure(WHAT, error),
        },
        Ok(LineSpec::Pi(_)) => ok(WHAT, format!("{spec}: through the registers; accessd doctor tries it")),
    }
}

/// What else is wired to the door; nothing is said of what is not.
fn inputs(inputs: &InputsConfig) -> Vec<Finding> {
    const WHAT: &str = "inputs";
    let wired = match wired_inputs(inputs) {
        Ok(wired) => wired,
        Err(error) => return vec![fail(WHAT, format!("{error:#}"))],
    };
    let each = wired.into_iter().map(|(sensor, spec)| match &spec {
        LineSpec::Gpio(line) => match door::find_line(line) {
            Ok(found) => ok(WHAT, format!("{} {spec}: {found}", sensor.as_str())),
            Err(error) => failure(WHAT, error),
        },
        LineSpec::Sim(_) | LineSpec::Pi(_) => ok(WHAT, format!("{} {spec}", sensor.as_str())),
    });
    each.collect()
}

/// The keypad, if there is to be one.
fn keypad(inputs: &InputsConfig) -> Option<Finding> {
    const WHAT: &str = "keypad";
    Some(match keypad_spec(inputs) {
        Ok(None) => return None,
        Err(error) => fail(WHAT, format!("{error:#}")),
        Ok(Some(spec)) => match look_for_keypad(&spec) {
            Ok(found) => ok(WHAT, format!("{spec}: {found}")),
            Err(error) => failure(WHAT, error),
        },
    })
}

fn socket(path: &Path) -> Finding {
    const WHAT: &str = "service";
    match Service::find(path) {
        Err(error) => fail(WHAT, format!("{error:#}")),
        Ok(Some(mut service)) => match service.status() {
            Ok(status) => ok(WHAT, format!("runs as pid {}, answers at {}", status.pid, path.display())),
            Err(error) => fail(WHAT, format!("{error:#}")),
        },
        Ok(None) => match folder_of(path) {
            Ok(_) => ok(WHAT, format!("does not run; it will answer at {}", path.display())),
            Err(why) => {
                warn(WHAT, format!("does not run, and cannot make its socket {}: {why}", path.display()))
            }
        },
    }
}

/// The folder a file is to be made in, or why it cannot be.
fn folder_of(file: &Path) -> Result<&Path, String> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(format!("there is no folder {}; create it", folder.display()));
    }
    if !allows(folder, Access::WRITE_OK) {
        return Err(format!(
            "this user may not write in {}; run as the service's user or root",
            folder.display()
        ));
    }
    Ok(folder)
}

fn allows(path: &Path, access: Access) -> bool {
    rustix::fs::access(path, access).is_ok()
}

fn ok(what: &'static str, detail: String) -> Finding {
    Finding { what, state: State::Ok, detail }
}

fn warn(what: &'static str, detail: String) -> Finding {
    Finding { what, state: State::Warn, detail }
}

fn fail(what: &'static str, detail: String) -> Finding {
    Finding { what, state: State::Fail, detail }
}

/// An error with what caused it.
fn failure(what: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> Finding {
    fail(what, format!("{:#}", anyhow::Error::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_of(finding: &Finding, words: &str) -> State {
        assert!(finding.detail.contains(words), "{finding:?}");
        finding.state
    }

    #[test]
    fn cameras_that_are_not_there_fail() {
        let dir = tempfile::tempdir().unwrap();
        let there = format!("clip:{}", dir.path().display());
        assert_eq!(state_of(&camera(&there), &there), State::Ok);
        assert_eq!(state_of(&camera("clip:/no/such"), "no recording at /no/such"), State::Fail);
        assert_eq!(state_of(&camera("v4l:/dev/null"), "/dev/null"), State::Ok);
        assert_eq!(state_of(&camera("v4l:/dev/no-camera"), "is the camera plugged in?"), State::Fail);
        assert_eq!(state_of(&camera("command:sh -c true"), "sh"), State::Ok);
        assert_eq!(
            state_of(&camera("command:no-such-program"), "no program \"no-such-program\""),
            State::Fail
        );
        assert_eq!(state_of(&camera("usb:0"), "usb:0"), State::Fail);
    }

    #[test]
    fn a_relay_needs_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let spec = |name: &str| format!("sim:{}", dir.path().join(name).display());
        assert_eq!(relay(&spec("relay.log")).state, State::Ok);
        assert_eq!(state_of(&relay(&spec("no/relay.log")), "create it"), State::Fail);
        assert_eq!(state_of(&relay(&format!("sim:{}", dir.path().display())), "it is a folder"), State::Fail);
    }

    #[test]
    fn a_database_that_is_not_there_yet_is_no_failure_and_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accessd.db");
        let at = |path: &Path| {
            let mut config = Config::default();
            config.paths.database = path.to_owned();
            config
        };
        let found = database(&at(&path));
        assert_eq!(state_of(&found[0], "the first enrolment creates it"), State::Warn);
        assert!(!path.exists());
        assert_eq!(database(&at(&dir.path().join("no/accessd.db")))[0].state, State::Fail);
    }
}
