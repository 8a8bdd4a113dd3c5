//! `accessd enroll`: a person is made known to the door, from pictures or at a camera.
//!
//! Pictures are found, judged and embedded here; only templates go to the service or the database, in one piece:
//! either everything is stored or nothing.

mod live;
mod pictures;

use std::path::PathBuf;

use clap::Args;

use super::adapters::door_called;
use super::backend::{Backend, Service, open_to_read};
use super::output::{Output, count};
use super::{Exit, Globals, UsageError};
use crate::config::{CameraConfig, Config};
use crate::daemon::ops;
use crate::daemon::protocol::LookAlike;
use crate::gallery::Person;
use crate::store::StoreError;

/// Enrol a person from pictures, or at the camera
///
/// Every picture must show exactly one face that is large, sharp, lit and frontal enough (see [vision] in the config),
/// and all of the same person; otherwise nothing is stored. Without --images the person stands before the door's
/// camera while the service runs, or before the one that --camera or the config names.
///
/// A face close to that of somebody else who is enrolled is stored with a warning: kin look alike, and the door lets
/// in nobody whom it cannot tell from another. With --more the samples must be like those stored.
#[derive(Args, Debug)]
pub(super) struct Enroll {
    /// The person's name
    #[arg(long)]
    name: String,
    /// Pictures of the person: files, or folders with nothing but such pictures
    #[arg(long, value_name = "PATH", num_args = 1..)]
    images: Vec<PathBuf>,
    /// Camera to take the samples with, while no service runs: as camera.source in the config
    #[arg(long, value_name = "SPEC", conflicts_with = "images")]
    camera: Option<String>,
    /// At which door's camera; need not be said where there is one
    #[arg(long, value_name = "NAME", conflicts_with_all = ["images", "camera"])]
    door: Option<String>,
    /// Add samples to a person who is already enrolled
    #[arg(long)]
    more: bool,
    /// Leave out pictures that are refused, as long as one is good
    #[arg(long, requires = "images")]
    skip_bad: bool,
    /// Print JSON: {"person", "lookalikes": [{"name", "score"}], "skipped": [{"image", "why"}]}
    #[arg(long)]
    json: bool,
}

/// An enrolment that is done.
struct Enrolled {
    person: Person,
    lookalikes: Vec<LookAlike>,
    skipped: Vec<pictures::Refusal>,
}

impl Enroll {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        let enrolled = match Service::find(&config.paths.socket)? {
            Some(service) if self.images.is_empty() => self.at_the_door(service)?,
            service => {
                if service.is_none() {
                    self.check_name(&config)?;
                }
                self.with_own_samples(&config)?
            }
        };
        enrolled.report(self.json)?;
        Ok(Exit::Done)
    }

    /// The service takes the samples with its camera.
    fn at_the_door(&self, mut service: Service) -> anyhow::Result<Enrolled> {
        if self.camera.is_some() {
            let what =
                "the running service has the camera: leave --camera out to use it, or stop the service first";
            return Err(UsageError(what.into()).into());
        }
        let line = live::Line::new();
        let enrolled =
            service.enrol_live(&self.name, self.more, self.door.clone(), |progress| line.show(progress));
        line.clear();
        let (person, lookalikes) = enrolled?;
        Ok(Enrolled { person, lookalikes, skipped: Vec::new() })
    }

    /// Samples are taken here, and only then is it opened where they are kept: a service does not wait for long, and
    /// a database is not made for nothing.
    fn with_own_samples(&self, config: &Config) -> anyhow::Result<Enrolled> {
        let (templates, skipped) = if self.images.is_empty() {
            (live::sample(config, &self.own_camera(config)?)?, Vec::new())
        } else {
            pictures::judge(config, &self.images, self.skip_bad)?
        };
        let (person, lookalikes) = Backend::to_enrol(config)?.enrol(&self.name, templates, self.more)?;
        Ok(Enrolled { person, lookalikes, skipped })
    }

    /// The camera to open here.
    fn own_camera(&self, config: &Config) -> anyhow::Result<CameraConfig> {
        match &self.camera {
            Some(source) => Ok(CameraConfig { source: source.clone(), ..config.camera.clone() }),
            None => Ok(door_called(config, self.door.as_deref())?.camera),
        }
    }

    /// Whether the name can be enrolled, asked before work is done for it.
    fn check_name(&self, config: &Config) -> Result<(), StoreError> {
        if config.paths.database.exists() {
            ops::may_enrol(&open_to_read(config)?, &self.name, self.more)
        } else if self.more {
            Err(StoreError::UnknownPerson { name: self.name.clone(), nearest: None })
        } else {
            Ok(())
        }
    }
}

impl Enrolled {
    fn report(&self, json: bool) -> anyhow::Result<()> {
        for alike in &self.lookalikes {
            eprintln!("{}", warning(&self.person.name, alike));
        }
        let mut out = Output::new();
        if json {
            out.json(&serde_json::json!({
                "person": self.person,
                "lookalikes": self.lookalikes,
                "skipped": self.skipped,
            }))?;
        } else {
            for refusal in &self.skipped {
                out.line(format_args!("left out {refusal}"))?;
            }
            let samples = count(self.person.templates.len(), "sample", "samples");
            out.line(format_args!("{} is enrolled with {samples}", self.person.name))?;
        }
        Ok(out.flush()?)
    }
}

/// What an operator should know and do about two people who look alike.
fn warning(name: &str, alike: &LookAlike) -> String {
    let other = &alike.name;
    format!(
        "warning: this face is close to {other}'s (score {:.2}). The door lets nobody in whom it cannot tell from \
         another, and asks both of them to be further ahead (decision.alike_margin); a second factor is what keeps twins \
         apart. If {name} and {other} are one person: accessd remove {name:?}, then accessd enroll --name \
         {other:?} --more",
        alike.score
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookalike_is_named_with_score_and_way_out() {
        let text = warning("Robert", &LookAlike { name: "Bob".into(), score: 0.812 });
        assert!(text.starts_with("warning: this face is close to Bob's (score 0.81)."), "{text}");
        assert!(
            text.ends_with("accessd remove \"Robert\", then accessd enroll --name \"Bob\" --more"),
            "{text}"
        );
    }
}
