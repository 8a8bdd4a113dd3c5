//! `accessd run`: the service. Builds camera, networks, relay and store as configured and hands them to the daemon.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use super::adapters::{
    NO_DOOR, attempts, bar, bookkeeping, camera_factory, camera_spec, checked_by, console_terms, dice,
    door_rules, doubt, enrolment, forget_after, gates, inputs_factory, is_watched, keep, keypad_factory,
    learning, load_networks, open_lamps, other_encoder, patience, pin_options, places, risks, rule,
    second_camera, snapshots, start_guard, trust,
};
use super::backend::open_store;
use super::exposed::exposed;
use super::{Exit, Globals, UsageError, logging};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::daemon::analyser::FaceAnalyser;
use crate::daemon::{self, DoorParts, Parts, Patience, Shutdown};
use crate::store::OpenMode;

/// Run the service until SIGTERM or Ctrl-C; doors are locked before, after and on every error
#[derive(Args, Debug)]
pub(super) struct Run {
    /// Camera to use instead of camera.source in the config, where there is one door
    #[arg(long, value_name = "SPEC")]
    camera: Option<String>,
    /// Relay to drive instead of door.relay in the config, where there is one door
    #[arg(long, value_name = "SPEC")]
    relay: Option<String>,
    /// Write what was seen and concluded in each frame to this file, one JSON object a line; no pictures
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

impl Run {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        // What is created from here on is for its owner alone, whatever the shell or the unit says.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let origin = globals.origin();
        let mut config = origin.load()?;
        logging::for_the_service(&config.log, globals);
        log::info!("accessd {} with {origin}", env!("CARGO_PKG_VERSION"));
        for what in exposed(&config, origin.file()) {
            log::warn!("{what}");
        }
        if (self.camera.is_some() || self.relay.is_some()) && config.has_several_doors() {
            let what =
                "there are several doors, each with its own camera and relay: leave --camera and --relay out";
            return Err(UsageError(what.into()).into());
        }
        if let Some(camera) = &self.camera {
            config.camera.source.clone_from(camera);
        }
        if let Some(relay) = &self.relay {
            config.door.relay.clone_from(relay);
        }
        let patience = patience(&config);
        if patience != Patience::Door {
            log::warn!("{}", NO_DOOR);
        }
        let ended = daemon::run(self.parts(&config)?, Shutdown::on_signals(), patience)?;
        log::info!("{}", farewell(&ended));
        Ok(Exit::Done)
    }

    /// What is quickly found to be wrong comes first, and the database, which may be created, last.
    fn parts(&self, config: &Config) -> anyhow::Result<Parts> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let setups = config.doors();
        let cameras: Vec<_> =
            setups.iter().map(|door| camera_spec(&door.camera)).collect::<Result<_, _>>()?;
        // Locked before the networks are loaded, which takes seconds on a small board.
        let strikes: Vec<_> =
            setups.iter().map(|door| start_guard(&door.door, clock.clone())).collect::<Result<_, _>>()?;
        let trace = self.trace.as_deref().map(create_trace).transpose()?;
        let networks = load_networks(config)?;
        let model = networks.model().clone();
        let (doubt, photo_check) = doubt(config, &model, networks.team())?;
        log::info!("{photo_check}");
        let mut doors = Vec::new();
        for (((setup, place), camera), strike) in setups.iter().zip(places(config)).zip(cameras).zip(strikes)
        {
            let (second, sight) = second_camera(&setup.camera, &clock)?.unzip();
            // Clones share the weights; the tracks are each door's own.
            let analyser = FaceAnalyser::new(networks.clone(), gates(config), clock.clone())
                .with_doubt(doubt.clone())
                .watching(is_watched(config))
                .with_second(sight);
            doors.push(DoorParts {
                place,
                camera: camera.to_string(),
                open_camera: camera_factory(camera, &setup.camera, clock.clone()),
                analyser: Box::new(analyser),
                strike: Box::new(strike),
                open_inputs: inputs_factory(&setup.inputs, clock.clone())?,
                open_keypad: keypad_factory(&setup.inputs)?,
                lamps: open_lamps(&setup.lamps, &clock)?,
                rules: door_rules(&setup.door)?,
                dice: dice(config)?,
                second,
            });
        }
        let mut store = bookkeeping(config, open_store(config, OpenMode::Create)?)?;
        store.forget_after(forget_after(config));
        Ok(Parts {
            doors,
            photo_check,
            checked_by: checked_by(doubt.as_ref()),
            pins: pin_options(config),
            risks: risks(config),
            other: other_encoder(config, &store, &model),
            store: Box::new(store),
            clock,
            patience: attempts(config),
            trust: trust(config),
            bar: bar(config, &model)?,
            rule: rule(config),
            gates: gates(config),
            settings: config.changed(),
            keep: keep(config),
            snapshots: snapshots(config),
            models: config.paths.models.clone(),
            learning: learning(config),
            enrolment: enrolment(config),
            socket: config.paths.socket.clone(),
            trace,
            console: console_terms(config),
            version: env!("CARGO_PKG_VERSION").into(),
        })
    }
}

fn create_trace(path: &Path) -> anyhow::Result<Box<dyn Write + Send>> {
    let file = File::create(path).with_context(|| format!("trace {} cannot be written", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
}

fn farewell(exit: &daemon::Exit) -> String {
    match exit {
        daemon::Exit::Asked { why } => format!("stopped: {why}"),
        daemon::Exit::RecordingOver => "stopped: the recording is over".into(),
    }
}
