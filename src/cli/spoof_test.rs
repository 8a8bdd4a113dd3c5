//! `accessd spoof-test`: tries a door with pictures of people who are enrolled, and with those people, and counts what it would
//! have done. While the service runs it does so at its own camera and opens for no face meanwhile; without it a camera is opened
//! here, and no relay.

mod bench;

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::backend::Service;
use super::output::{Output, align_right, table};
use super::{Exit, Globals, UsageError};
use crate::config::Config;
use crate::daemon::presentation::Judged;
use crate::journal::EventId;
use crate::liveness::spoof::{Report, Settings, Shown, Species, Tally, percent};
use bench::{Bench, OwnBench, ServiceBench};

/// Time for one presentation from when a face is in view, in s, where nobody is asked to do anything.
const SECONDS: u64 = 10;

/// Try whether pictures of enrolled people open your door, and count
///
/// Guides you through living people, prints, phones and screens, one species after the other (ISO/IEC 30107-3). No face opens
/// the door meanwhile; the exit button works. What was counted is written to the log with the settings that it holds for, and
/// `accessd status` tells it. Keep your own face out of view while you hold a picture up.
#[derive(Args, Debug)]
pub(super) struct SpoofTest {
    /// What to try, with commas: live, print, phone, screen; all of them when not given
    #[arg(long, value_name = "SPECIES", value_delimiter = ',', value_parser = str::parse::<Species>)]
    species: Vec<Species>,
    /// How often each is held up; 30 that fail show that at most 11.6 % pass, 10 that at most 30.8 % do
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    count: u64,
    /// How long the door looks at each, in s; 10, and the time for the challenge where there is one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=300))]
    seconds: Option<u64>,
    /// Which door; need not be said where there is one
    #[arg(long, value_name = "NAME")]
    door: Option<String>,
    /// Camera to try, while no service runs: as camera.source in the config
    #[arg(long, value_name = "SPEC")]
    camera: Option<String>,
    /// Do not wait for Enter before each species
    #[arg(long)]
    yes: bool,
    /// Print what was counted as JSON; shares are from 0 to 1, with their exact 95 % interval
    #[arg(long)]
    json: bool,
}

/// What was counted, as JSON tells it.
#[derive(Serialize)]
struct Answer<'a> {
    door: &'a str,
    event: EventId,
    species: BTreeMap<Species, Figures>,
    settings: &'a Settings,
    shown: &'a Shown,
}

/// One species.
#[derive(Serialize)]
struct Figures {
    presented: u64,
    recognised: u64,
    #[serde(flatten)]
    tally: Tally,
    /// Of the recognised, those that the door would have opened for.
    accept_rate: f64,
    accept_interval95: (f64, f64),
    /// Of living people who were recognised, those who were taken for pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    bpcer: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bpcer_interval95: Option<(f64, f64)>,
}

impl Figures {
    fn of(species: Species, tally: Tally) -> Self {
        let (accept_rate, accept_interval95) = tally.accepts();
        let bpcer = (species == Species::Live).then(|| tally.taken_for_pictures());
        Self {
            presented: tally.presented(),
            recognised: tally.recognised(),
            tally,
            accept_rate,
            accept_interval95,
            bpcer: bpcer.map(|(rate, _)| rate),
            bpcer_interval95: bpcer.map(|(_, interval)| interval),
        }
    }
}

impl SpoofTest {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        let mut bench: Box<dyn Bench> = match Service::find(&config.paths.socket)? {
            Some(service) => Box::new(self.at_the_door(service)?),
            None => Box::new(OwnBench::open(&config, self.door.as_deref(), self.camera.as_deref())?),
        };
        let tried = self.guide(&config, &mut *bench);
        if let Err(error) = tried {
            bench.break_off()?;
            return Err(error.context("the test is broken off; `accessd log` has what was counted so far"));
        }
        let door = bench.door().to_owned();
        let (event, report, shown) = bench.end()?;
        self.tell(&door, event, &report, &shown)
    }

    fn at_the_door(&self, mut service: Service) -> anyhow::Result<ServiceBench> {
        if self.camera.is_some() {
            let what =
                "the running service has the camera: leave --camera out to use it, or stop the service first";
            return Err(UsageError(what.into()).into());
        }
        if service.status()?.people == 0 {
            bail!(bench::NOBODY);
        }
        ServiceBench::begin(service, self.door.clone())
    }

    /// Goes through the species.
    fn guide(&self, config: &Config, bench: &mut dyn Bench) -> anyhow::Result<()> {
        let seconds = self.seconds.unwrap_or_else(|| SECONDS + challenge_s(config));
        eprintln!("{}", intro(bench.door()));
        for species in self.chosen() {
            eprintln!("\n{}", guide(species));
            if !self.yes && !wanted(species, self.count)? {
                continue;
            }
            for number in 1..=self.count {
                eprintln!("  {} {number} of {}", species.as_str(), self.count);
                let judged = bench.present(species, seconds, &mut |what| eprintln!("      {what}"))?;
                eprintln!("      -> {}", came_of(&judged));
            }
        }
        Ok(())
    }

    /// Each species once, in the order in which they were named.
    fn chosen(&self) -> Vec<Species> {
        let named = if self.species.is_empty() { Species::ALL.to_vec() } else { self.species.clone() };
        let mut chosen = Vec::new();
        for species in named {
            if !chosen.contains(&species) {
                chosen.push(species);
            }
        }
        chosen
    }

    fn tell(&self, door: &str, event: EventId, report: &Report, shown: &Shown) -> anyhow::Result<Exit> {
        let species: BTreeMap<_, _> =
            report.species.iter().map(|(kind, tally)| (*kind, Figures::of(*kind, *tally))).collect();
        let passed =
            |(kind, figures): (&Species, &Figures)| *kind != Species::Live && figures.tally.accepted > 0;
        let any_passed = species.iter().any(passed);
        let mut out = Output::new();
        if self.json {
            out.json(&Answer { door, event, species, settings: &report.settings, shown })?;
        } else {
            out.table(&as_table(&species))?;
            out.line(format_args!("\n{}", shown.text))?;
            out.line(format_args!(
                "record {} of the log; it holds as long as these stay as they are:",
                event.0
            ))?;
            for line in held_to(&report.settings) {
                out.line(format_args!("  {line}"))?;
            }
        }
        out.flush()?;
        Ok(if any_passed { Exit::No } else { Exit::Done })
    }
}

fn challenge_s(config: &Config) -> u64 {
    let liveness = &config.liveness;
    match liveness.mode.as_str() {
        // Facing the camera before each step takes its time as well.
        "challenge" => 2 * liveness.challenge_steps as u64 * liveness.challenge_s,
        _ => 0,
    }
}

fn intro(door: &str) -> String {
    format!(
        "Test of {door}: people who are enrolled, and pictures of them, come before the camera, one at a time. No face opens \
         the door\nuntil the test is over; the exit button works. Between two of them no face may be in view for a second, \
         yours neither."
    )
}

/// What to do for a species.
fn guide(species: Species) -> &'static str {
    match species {
        Species::Live => {
            "LIVE. People who are enrolled step before the camera as they do to come in, and leave again. Take several\n\
             people, with and without glasses, at several times of day: what is refused here is refused every day."
        }
        Species::Print => {
            "PRINT. A photograph of somebody enrolled on paper, sharp and as large as life, matt and glossy, with its\n\
             borders and cut out along the head. Hold it as still as you can, move it, tilt it, bend it, at several distances."
        }
        Species::Phone => {
            "PHONE. A photograph of somebody enrolled on a phone, and a film in which they blink and turn their head. Bright\n\
             and dark, upright and across, near enough to hide the phone's frame and further away."
        }
        Species::Screen => {
            "SCREEN. The same on a tablet or a laptop: as large as life, with the frame in view and out of view."
        }
    }
}

/// Asks whether to go on with a species; the end of input ends all of them.
fn wanted(species: Species, count: u64) -> anyhow::Result<bool> {
    eprint!("Enter to begin ({} {count} times), s and Enter to leave it out: ", species.as_str());
    std::io::stderr().flush()?;
    let mut answer = String::new();
    if std::io::stdin().lock().read_line(&mut answer)? == 0 {
        eprintln!();
        return Ok(false);
    }
    Ok(!answer.trim().eq_ignore_ascii_case("s"))
}

/// `taken for a picture: Ada, score 0.71, alive 0.03`
fn came_of(judged: &Judged) -> String {
    let person = judged.person.clone();
    let score = judged.score.map(|score| format!("score {score:.2}"));
    let live = judged.live.map(|live| format!("alive {live:.2}"));
    let figures: Vec<String> = [person, score, live].into_iter().flatten().collect();
    match figures.as_slice() {
        [] => judged.outcome.words().to_owned(),
        some => format!("{}: {}", judged.outcome.words(), some.join(", ")),
    }
}

fn as_table(species: &BTreeMap<Species, Figures>) -> comfy_table::Table {
    let mut rows = table([
        "species",
        "held up",
        "recognised",
        "would have opened",
        "95 %",
        "taken for a picture",
        "held back",
    ]);
    align_right(&mut rows, [1, 2, 3]);
    for (kind, figures) in species {
        let interval = |(low, high)| format!("{} to {}", percent(low), percent(high));
        let pictures = match figures.bpcer_interval95 {
            Some(bounds) => format!("{} (BPCER {})", figures.tally.picture, interval(bounds)),
            None => figures.tally.picture.to_string(),
        };
        rows.add_row([
            kind.as_str().to_owned(),
            figures.presented.to_string(),
            figures.recognised.to_string(),
            figures.tally.accepted.to_string(),
            interval(figures.accept_interval95),
            pictures,
            figures.tally.held.to_string(),
        ]);
    }
    rows
}

/// The settings that a test holds for, a line each.
fn held_to(settings: &Settings) -> Vec<String> {
    let networks: Vec<&str> = settings.networks.iter().map(|model| model.0.as_str()).collect();
    let checked = match settings.alive_from {
        Some(from) => format!("checked by {}, alive from {from:.2}", networks.join(", ")),
        None => "no liveness network".to_owned(),
    };
    let challenge = settings.challenge.as_ref().map_or(String::new(), |what| format!(", challenge {what}"));
    vec![
        match &settings.second {
            Some(second) => format!("camera {}, second camera {second}", settings.camera),
            None => format!("camera {}", settings.camera),
        },
        format!("encoder {}, score from {:.3} or stricter", settings.encoder, settings.threshold),
        format!("{checked}, watched for {} ms{challenge}", settings.watch_ms),
        format!("{} looks, several faces: {}", settings.looks, settings.several),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::liveness::spoof::Outcome;

    #[test]
    fn json_has_the_bpcer_of_the_living_alone() {
        let tally = Tally { accepted: 9, picture: 1, ..Tally::default() };
        let live = serde_json::to_value(Figures::of(Species::Live, tally)).unwrap();
        assert_eq!((live["bpcer"].as_f64(), live["accept_rate"].as_f64()), (Some(0.1), Some(0.9)));
        assert_eq!((&live["presented"], &live["accepted"]), (&10.into(), &9.into()));
        let print = serde_json::to_value(Figures::of(Species::Print, tally)).unwrap();
        assert!(print.get("bpcer").is_none());
    }

    #[test]
    fn what_came_of_a_presentation_is_told_with_its_figures() {
        let mut judged = Judged {
            species: Species::Print,
            outcome: Outcome::Picture,
            reason: None,
            person: Some("Ada".into()),
            score: Some(0.711),
            live: Some(0.03),
        };
        assert_eq!(came_of(&judged), "taken for a picture: Ada, score 0.71, alive 0.03");
        (judged.outcome, judged.person, judged.score, judged.live) = (Outcome::NoFace, None, None, None);
        assert_eq!(came_of(&judged), "no face was found");
    }

    #[test]
    fn the_challenge_adds_its_time() {
        assert_eq!(challenge_s(&Config::default()), 0);
        let text = "[liveness]\nmode = \"challenge\"\nchallenge_steps = 2\nchallenge_s = 6\n";
        assert_eq!(challenge_s(&Config::parse(text).unwrap()), 24);
    }
}
