//! Where presentations are judged: by the running service, or before a camera that is opened here, by the same rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::super::adapters::{
    bar, bookkeeping, camera_spec, checked_by, dice, door_called, doubt, gates, is_watched, load_networks,
    open_camera, rule, second_camera, trust,
};
use super::super::backend::{Service, open_store, own_actor};
use crate::access::{Attempts, LookAlikes};
use crate::camera::{Camera, CameraError};
use crate::clock::{Clock, SystemClock};
use crate::config::{CameraConfig, Config};
use crate::daemon::SecondParts;
use crate::daemon::analyser::FaceAnalyser;
use crate::daemon::analysis::Analyser;
use crate::daemon::presentation::{Judged, Presentation, Step};
use crate::daemon::second::SecondLoop;
use crate::daemon::tested::{began, ended, presented, shown};
use crate::gallery::Gallery;
use crate::journal::{Event, EventId, Stamp};
use crate::liveness::spoof::{Report, Settings, Shown, Species, Tally};
use crate::store::{OpenMode, SqliteStore, Store};

/// Pauses before a second camera that failed is opened again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));

/// Without somebody who is enrolled there is nobody whose picture could be held up.
pub(super) const NOBODY: &str = "nobody is enrolled: enrol those whose pictures you will hold up first, with `accessd enroll --name NAME`";

/// A door on which presentations are judged.
pub(super) trait Bench {
    /// What it is called.
    fn door(&self) -> &str;

    /// One presentation; `cue` hears what to do.
    fn present(
        &mut self,
        species: Species,
        seconds: u64,
        cue: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Judged>;

    /// Ends the test: its record, what was counted, and what is shown of the door now.
    fn end(&mut self) -> anyhow::Result<(EventId, Report, Shown)>;

    /// Breaks it off; what was counted so far is kept.
    fn break_off(&mut self) -> anyhow::Result<()>;
}

/// The service's door.
pub(super) struct ServiceBench {
    service: Service,
    door: String,
}

impl ServiceBench {
    pub(super) fn begin(mut service: Service, door: Option<String>) -> anyhow::Result<Self> {
        let (door, _) = service.begin_test(door)?;
        Ok(Self { service, door })
    }
}

impl Bench for ServiceBench {
    fn door(&self) -> &str {
        &self.door
    }

    fn present(
        &mut self,
        species: Species,
        seconds: u64,
        cue: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Judged> {
        self.service.present(species, seconds, cue)
    }

    fn end(&mut self) -> anyhow::Result<(EventId, Report, Shown)> {
        self.service.end_test()
    }

    /// That is hanging up.
    fn break_off(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A camera of our own, and the database, which no service can open meanwhile.
pub(super) struct OwnBench {
    door: String,
    camera: Box<dyn Camera>,
    analyser: FaceAnalyser,
    attempts: Attempts,
    gallery: Gallery,
    store: SqliteStore,
    settings: Settings,
    species: BTreeMap<Species, Tally>,
    clock: Arc<SystemClock>,
}

impl OwnBench {
    pub(super) fn open(config: &Config, door: Option<&str>, camera: Option<&str>) -> anyhow::Result<Self> {
        let clock = Arc::new(SystemClock);
        let setup = door_called(config, door)?;
        let camera = match camera {
            Some(source) => CameraConfig { source: source.to_owned(), ..setup.camera },
            None => setup.camera,
        };
        let spec = camera_spec(&camera)?;
        let networks = load_networks(config)?;
        let model = networks.model().clone();
        let (doubt, told) = doubt(config, &model, networks.team())?;
        log::info!("{told}");
        let checked = checked_by(doubt.as_ref());
        ensure!(config.paths.database.exists(), NOBODY);
        let mut store = bookkeeping(config, open_store(config, OpenMode::Existing)?)?;
        store.believe_clock(trust(config).holds(&SystemClock));
        let gallery = store.gallery(&model)?;
        ensure!(gallery.people() > 0, NOBODY);
        let (rule, _) = bar(config, &model)?.apply(&gallery, &rule(config));
        let as_clock: Arc<dyn Clock> = clock.clone();
        let (second, sight) = second_camera(&camera, &as_clock)?.unzip();
        let beside = second.as_ref().map(|second| second.camera.clone());
        let settings = checked.settings(&spec.to_string(), beside.as_deref(), &model, &rule);
        let mut attempts = Attempts::new(rule.clone()).with_dice(dice(config)?);
        attempts.set_rule(rule.clone(), LookAlikes::of(&gallery, &rule));
        let analyser = FaceAnalyser::new(networks, gates(config), clock.clone())
            .with_doubt(doubt)
            .watching(is_watched(config))
            .with_second(sight);
        if let Some(SecondParts { open, eye, .. }) = second {
            let second = SecondLoop { open, eye, pauses: PAUSES };
            // It ends with the process.
            std::thread::Builder::new()
                .name("second camera".into())
                .spawn(move || second.run(|| false, std::thread::sleep))
                .context("no thread for the second camera")?;
        }
        let camera = open_camera(&spec, &camera, clock.clone())?;
        let door = setup.door.name;
        let mut bench = Self {
            door,
            camera,
            analyser,
            attempts,
            gallery,
            store,
            settings,
            species: BTreeMap::new(),
            clock,
        };
        bench.append(began(&own_actor(), &bench.settings))?;
        Ok(bench)
    }

    fn write_end(&mut self, why: &str) -> anyhow::Result<(EventId, Report)> {
        let report = Report { species: self.species.clone(), settings: self.settings.clone() };
        Ok((self.append(ended(&own_actor(), why, &report))?, report))
    }

    fn append(&mut self, event: Event) -> anyhow::Result<EventId> {
        Ok(self.store.append(&event.at_door(&self.door), Stamp::now(&*self.clock))?)
    }
}

impl Bench for OwnBench {
    fn door(&self) -> &str {
        &self.door
    }

    fn present(
        &mut self,
        species: Species,
        seconds: u64,
        cue: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Judged> {
        let each = Duration::from_secs(seconds);
        let mut presentation = Presentation::new(species, each, self.clock.now());
        loop {
            let frame = match self.camera.next() {
                Ok(frame) => frame,
                Err(error @ CameraError::Ended { .. }) => return Err(error.into()),
                Err(error) => return Err(error).context("the camera gives no picture"),
            };
            let analysis = self.analyser.analyse(&frame, &self.gallery)?;
            let now = self.clock.now();
            let mut step = presentation.look(&mut self.attempts, &analysis, now);
            if step == Step::Nothing {
                step = presentation.tick(self.clock.now());
            }
            match step {
                Step::Nothing => {}
                Step::Cue(what) => cue(what.words()),
                Step::Tell(told) => cue(told.what.words()),
                Step::NotClear => {
                    bail!(
                        "a face stays in view; take everything with a face away from the camera, and yourself"
                    )
                }
                Step::Over(judged) => {
                    self.species.entry(species).or_default().count(judged.outcome);
                    self.append(presented(&own_actor(), &judged))?;
                    return Ok(judged);
                }
            }
        }
    }

    fn end(&mut self) -> anyhow::Result<(EventId, Report, Shown)> {
        let (event, report) = self.write_end("done")?;
        Ok((event, report, shown(&self.store, &self.door, &self.settings)?))
    }

    fn break_off(&mut self) -> anyhow::Result<()> {
        self.write_end("broken off").map(drop)
    }
}
