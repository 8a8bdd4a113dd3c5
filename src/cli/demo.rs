//! `accessd demo`: the whole door on one's own desk. Draws a clip of people walking up, enrols one of them, plays the
//! clip to the real service with a simulated relay, tells what happens, and checks it against who was really there.

mod house;
mod service;
mod story;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::backend::open_store;
use super::log::line;
use super::output::{self, Output, count, one_in};
use super::{Exit, Globals};
use crate::config::Config;
use crate::daemon::client::Client;
use crate::daemon::trace::{TracedFrame, read_trace};
use crate::demo::clip::{Painter, frame_name};
use crate::demo::judge::{Outcome, judge};
use crate::demo::script::{ENROLLED, script};
use crate::encoder::Score;
use crate::frame::load_image;
use crate::journal::{EventKind, Filter, Record};
use crate::report::{EventLine, Report, Span};
use crate::store::{OpenMode, Store};
use service::Service;

/// Play people walking up to a simulated door; exit code 3 when it opens for the wrong one or not for the right one
///
/// Leaves DIR/report.html, a page that shows what the camera saw and the door did.
#[derive(Args, Debug)]
pub(super) struct Demo {
    /// Folder of the photographs, as `make photos` fetches them
    #[arg(long, value_name = "DIR", default_value = "target/photos")]
    photos: PathBuf,
    /// Folder of the installed networks, as `make models` makes them
    #[arg(long, value_name = "DIR", default_value = "target/models")]
    models: PathBuf,
    /// Folder for everything the demo makes; what an earlier run left there is replaced
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    out: PathBuf,
    /// Make up people, rules and a month of events, play the clip in a loop, and serve the web console until Ctrl-C
    #[arg(long)]
    console: bool,
    /// Where the console of --console listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8480", requires = "console")]
    listen: String,
    /// So many days of events
    #[arg(long, value_name = "N", default_value_t = 30, requires = "console")]
    days: u32,
}

/// The door's config; its file names count from the demo's folder.
const CONFIG: &str = include_str!("../../config/demo.toml");

/// What a run leaves in its folder. The database's helper files go with it.
const CLIP: &str = "clip";
const LEFT_BEHIND: [&str; 11] = [
    "accessd.toml",
    "accounts.toml",
    "accessd.db",
    "device.key",
    "accessd.db-wal",
    "accessd.db-shm",
    "accessd.db.lock",
    "relay.log",
    "trace.jsonl",
    "service.log",
    "report.html",
];

impl Demo {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let painter = Painter::new(script(), &self.photos)?;
        let config = self.lay_out()?;
        self.enrol()?;
        let mut out = Output::new();
        if self.console {
            out.line(format_args!("making up {} of events", count(self.days as usize, "day", "days")))?;
            out.flush()?;
            let events = self.house().furnish(&self.at_home(&config))?;
            out.line(format_args!("{} are in the journal", count(events, "event", "events")))?;
        }
        out.line(format_args!(
            "drawing {} of people walking up",
            count(painter.frames() as usize, "picture", "pictures")
        ))?;
        out.flush()?;
        draw(&painter, &self.out.join(CLIP), globals.quiet)?;

        if self.console {
            self.house().serve(&mut out)?;
        }
        let service = Service::start(&self.out)?;
        story::tell(service, &self.out, &config, &script(), &mut out)?;

        let frames = read_trace(&self.out.join("trace.jsonl"))?;
        let store = open_store(&self.at_home(&config), OpenMode::ReadOnly)?;
        let records = store.records(&Filter::default())?;
        let outcome = judge(&script(), &frames, &records);
        print(&outcome, &mut out)?;
        let page = self.out.join("report.html");
        report(&outcome, &frames, &records, &config).write(&page, |seq| self.picture(seq))?;
        out.line(format_args!("\nreport: {}", page.display()))?;
        out.flush()?;
        Ok(if outcome.passed() { Exit::Done } else { Exit::No })
    }

    /// The config with the paths as they are seen from here.
    fn at_home(&self, config: &Config) -> Config {
        let mut config = config.clone();
        for path in [&mut config.paths.database, &mut config.paths.device_key] {
            *path = self.out.join(&*path);
        }
        config
    }

    /// Empties the folder of an earlier run and writes the config.
    fn lay_out(&self) -> anyhow::Result<Config> {
        let folder = self.out.display();
        let mut config = demo_config();
        let running = Client::connect(&self.out.join(&config.paths.socket))?;
        ensure!(
            running.is_none(),
            "a demo is playing in {folder} already; wait for its end or give another --out"
        );
        std::fs::create_dir_all(&self.out).with_context(|| format!("folder {folder} cannot be made"))?;
        for name in LEFT_BEHIND {
            gone(std::fs::remove_file(self.out.join(name)))
                .with_context(|| format!("{folder}/{name} cannot be replaced"))?;
        }
        gone(std::fs::remove_dir_all(self.out.join(CLIP)))
            .with_context(|| format!("{folder}/{CLIP} cannot be replaced"))?;
        config.paths.models = std::path::absolute(&self.models)?;
        if self.console {
            self.house().configure(&mut config);
        }
        let text =
            toml::to_string(&config).context("the models' folder cannot be written into a config file")?;
        std::fs::write(self.out.join("accessd.toml"), text)
            .with_context(|| format!("{folder}/accessd.toml cannot be written"))?;
        Ok(config)
    }

    /// Enrols as an operator does.
    fn enrol(&self) -> anyhow::Result<()> {
        let (name, photo) = ENROLLED;
        let photo = std::path::absolute(self.photos.join(photo))?;
        let status = accessd(&self.out)?.args(["enroll", "--name", name, "--images"]).arg(&photo).status();
        ensure!(status.context("the enrolment cannot be started")?.success(), "{name} could not be enrolled");
        Ok(())
    }

    fn picture(&self, seq: u64) -> image::ImageResult<image::RgbImage> {
        let file = self.out.join(CLIP).join(frame_name(seq));
        load_image(&file).map_err(|e| image::ImageError::IoError(std::io::Error::other(e)))
    }
}

/// This program, with the demo's config, in the demo's folder.
fn accessd(folder: &Path) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("this program cannot be found to be started again")?;
    let mut command = Command::new(program);
    command.current_dir(folder).args(["--config", "accessd.toml"]);
    Ok(command)
}

fn demo_config() -> Config {
    Config::parse(CONFIG).expect("the shipped config is valid; a test says so")
}

/// That a thing was not there is as good as that it was removed.
fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    removed.or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

fn draw(painter: &Painter, clip: &Path, quiet: bool) -> anyhow::Result<()> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures").expect("the template is valid");
    let bar =
        if quiet { ProgressBar::hidden() } else { ProgressBar::new(painter.frames()).with_style(style) };
    painter.write(clip, || bar.inc(1))?;
    bar.finish_and_clear();
    Ok(())
}

fn print(outcome: &Outcome, out: &mut Output) -> anyhow::Result<()> {
    let mut table = output::table(["", "WHO WALKED UP", "", "DOOR SHOULD", "WHAT HAPPENED"]);
    for row in &outcome.rows {
        table.add_row([
            if row.problems.is_empty() { "ok" } else { "WRONG" },
            row.appearance.person,
            row.appearance.note,
            if row.appearance.is_enrolled() { "open" } else { "stay locked" },
            &row.words(),
        ]);
    }
    out.line("")?;
    out.table(&table)?;
    for problem in &outcome.problems {
        out.line(format_args!("WRONG: {problem}"))?;
    }
    out.line(format_args!("\n{}", summary(outcome)))?;
    Ok(())
}

/// The outcome in one sentence.
fn summary(outcome: &Outcome) -> String {
    let wrong = outcome.problems.len() + outcome.rows.iter().map(|row| row.problems.len()).sum::<usize>();
    if wrong > 0 {
        return format!("The door did wrong: {}.", count(wrong, "problem", "problems"));
    }
    let (friends, strangers): (Vec<_>, Vec<_>) =
        outcome.rows.iter().partition(|row| row.appearance.is_enrolled());
    format!(
        "The door opened for {} all {} times, and stayed locked for all {} visits of strangers.",
        ENROLLED.0,
        friends.len(),
        strangers.len()
    )
}

fn report<'a>(
    outcome: &Outcome,
    frames: &'a [TracedFrame],
    records: &[Record],
    config: &Config,
) -> Report<'a> {
    let span = |row: &crate::demo::judge::Row| Span {
        frames: row.appearance.frames(),
        who: row.appearance.person.to_owned(),
        note: row.appearance.note.to_owned(),
        expected: row.appearance.is_enrolled(),
        outcome: row.words(),
        right: row.problems.is_empty(),
    };
    let event = |record: &Record| {
        let line::Words { what, more } = line::words(record);
        EventLine { at: record.at.wall, kind: what.to_owned(), text: more }
    };
    Report {
        title: "accessd: a demonstration",
        summary: summary(outcome),
        passed: outcome.passed(),
        facts: facts(frames, records, config),
        spans: outcome.rows.iter().map(span).collect(),
        frames,
        threshold: Score(threshold(records)),
        events: records.iter().map(event).collect(),
    }
}

/// The threshold that was in force last.
fn threshold(records: &[Record]) -> f32 {
    let told =
        records.iter().rev().find_map(|record| record.event.detail.pointer("/rule/threshold")?.as_f64());
    told.unwrap_or(f64::NAN) as f32
}

fn facts(frames: &[TracedFrame], records: &[Record], config: &Config) -> Vec<(&'static str, String)> {
    let start = records.iter().find(|record| record.event.kind == EventKind::Start);
    let started = |key: &str| {
        let value = start.and_then(|record| record.event.detail.get(key)).and_then(|value| value.as_str());
        value.unwrap_or("unknown").to_owned()
    };
    let mut delays: Vec<u128> =
        frames.iter().map(|f| f.decided.mono.since(f.analysis.captured).as_millis()).collect();
    delays.sort_unstable();
    let played = frames.last().map_or(0, |frame| frame.analysis.seq + 1);
    let decision = &config.decision;
    let mut facts = vec![
        ("Enrolled", format!("{} from {}", ENROLLED.0, ENROLLED.1)),
        ("Encoder", started("model")),
        ("Camera", started("camera")),
        (
            "Named from",
            format!(
                "cosine {:.2}, for {} false accepts per attempt",
                threshold(records),
                one_in(decision.far_per_attempt)
            ),
        ),
        (
            "Photo check",
            format!("{}: the people of the clip are drawn from photographs", config.liveness.mode),
        ),
        ("Let in by", format!("{} of {} frames", decision.frames_needed, decision.frames_window)),
        ("Frames looked at", format!("{} of {played}", frames.len())),
    ];
    if let Some(median) = delays.get(delays.len() / 2) {
        facts.push(("Capture to decision", format!("{median} ms (median)")));
    }
    facts.extend(start.map(|record| ("Played", output::local_time(record.at.wall))));
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::script::FPS;

    fn demo_in(out: &Path) -> Demo {
        Demo {
            photos: "photos".into(),
            models: "some/models".into(),
            out: out.to_owned(),
            console: false,
            listen: "127.0.0.1:0".into(),
            days: 30,
        }
    }

    #[test]
    fn the_shipped_config_plays_the_clip_as_it_was_drawn() {
        let config = demo_config();
        assert_eq!(config.camera.source, format!("clip:{CLIP}?fps={FPS}"));
        assert!(LEFT_BEHIND.iter().any(|name| config.door.relay == format!("sim:{name}")));
        assert!(LEFT_BEHIND.iter().any(|name| config.paths.database == Path::new(name)));
        assert!(LEFT_BEHIND.iter().any(|name| config.paths.device_key == Path::new(name)));
        assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn the_script_leaves_time_to_lock_and_to_be_let_in_again() {
        let config = demo_config();
        let frame_ms = 1000 / u64::from(FPS);
        for pair in script().windows(2) {
            // The latest grant falls with the last frame of a walk at most; the next face can be matched some
            // frames into the next walk.
            let pause_ms = (pair[1].begins - pair[0].frames().end) * frame_ms;
            assert!(
                pause_ms + 1200 >= config.door.pulse_ms,
                "the door is locked before the next is recognised"
            );
        }
        let friends: Vec<_> = script().into_iter().filter(|a| a.is_enrolled()).collect();
        for pair in friends.windows(2) {
            let apart_ms = (pair[1].begins - pair[0].frames().end) * frame_ms;
            assert!(apart_ms >= config.decision.regrant_after_ms, "{apart_ms} ms apart");
        }
    }

    #[test]
    fn a_demo_that_is_playing_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("relay.log"), b"theirs").unwrap();
        let _service = std::os::unix::net::UnixListener::bind(dir.path().join("control.sock")).unwrap();
        let demo = demo_in(dir.path());
        let error = demo.lay_out().unwrap_err().to_string();
        assert!(error.contains("is playing in") && error.contains("another --out"), "{error}");
        assert!(dir.path().join("relay.log").exists());
    }

    #[test]
    fn an_earlier_run_is_cleared_away_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("demo");
        std::fs::create_dir_all(out.join(CLIP)).unwrap();
        std::fs::write(out.join(CLIP).join("old.jpg"), b"").unwrap();
        std::fs::write(out.join("relay.log"), b"old").unwrap();
        std::fs::write(out.join("mine.txt"), b"keep").unwrap();
        let demo = demo_in(&out);
        let config = demo.lay_out().unwrap();
        assert!(!out.join(CLIP).exists() && !out.join("relay.log").exists());
        assert!(out.join("mine.txt").exists());
        assert!(config.paths.models.is_absolute());
        let written = Config::load(&out.join("accessd.toml")).unwrap();
        assert_eq!(written, config, "what the service reads");
    }
}
