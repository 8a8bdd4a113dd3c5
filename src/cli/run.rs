//! `accessd run`: the service. Builds camera, networks, relay and store as configured and hands them to the daemon.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use super::adapters::{
    NO_DOOR, attempts, bar, camera_factory, camera_spec, door_rules, doubt, enrolment, gates, inputs_factory,
    is_watched, load_networks, open_lamps, patience, rule, start_guard, trust,
};
use super::backend::open_store;
use super::{Exit, Globals, logging};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::daemon::analyser::FaceAnalyser;
use crate::daemon::{self, Parts, Patience, Shutdown};
use crate::store::OpenMode;

/// Run the service until SIGTERM or Ctrl-C; the door is locked before, after and on every error
#[derive(Args, Debug)]
pub(super) struct Run {
    /// Camera to use instead of camera.source in the config
    #[arg(long, value_name = "SPEC")]
    camera: Option<String>,
    /// Relay to drive instead of door.relay in the config
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
        let camera = camera_spec(config)?;
        // Locked before the networks are loaded, which takes seconds on a small board.
        let strike = start_guard(config, clock.clone())?;
        let open_inputs = inputs_factory(config, clock.clone())?;
        let lamps = open_lamps(config, &clock)?;
        let trace = self.trace.as_deref().map(create_trace).transpose()?;
        let networks = load_networks(config)?;
        let model = networks.model().clone();
        let (doubt, photo_check) = doubt(config, &model, networks.team())?;
        log::info!("{photo_check}");
        let store = open_store(config, OpenMode::Create)?;
        Ok(Parts {
            camera: camera.to_string(),
            open_camera: camera_factory(camera, config, clock.clone()),
            photo_check,
            analyser: Box::new(
                FaceAnalyser::new(networks, gates(config), clock.clone())
                    .with_doubt(doubt)
                    .watching(is_watched(config)),
            ),
            strike: Box::new(strike),
            open_inputs,
            lamps,
            store: Box::new(store),
            clock,
            patience: attempts(config),
            trust: trust(config),
            bar: bar(config, &model)?,
            rule: rule(config),
            door: door_rules(config)?,
            enrolment: enrolment(config),
            socket: config.paths.socket.clone(),
            trace,
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
