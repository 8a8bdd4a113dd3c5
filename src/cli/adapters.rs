//! From the config to the things at the edge: camera, relay and the rules that the config states.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::access::{Demands, Rule};
use crate::calibration::Bar;
use crate::calibration::cohort::Cohort;
use crate::camera::{self, Camera, CameraError, CameraSpec, WantedFormat};
use crate::clock::{Clock, Trust};
use crate::config::{CameraConfig, Config};
use crate::daemon::analyser::Doubt;
use crate::daemon::{CameraFactory, EnrolmentOptions, Patience};
use crate::door::guard::GuardedStrike;
use crate::door::{
    DirectStrike, InputsFactory, Lamp, LineSpec, Pulse, Relay, RelayError, Relock, Rules, Sensor, StrikeKind,
    open_inputs, open_relay,
};
use crate::encoder::{ModelId, Score};
use crate::gallery::Gallery;
use crate::liveness::check::PhotoCheck;
use crate::nn::team::Team;
use crate::policy::Patience as Attempts;
use crate::recognition::{Recogniser, RecogniserOptions, RecognitionError, load_photo_check};
use crate::vision::quality::QualityGates;

/// What to say of a config whose limits are not a door's.
pub(super) const NO_DOOR: &str = "limits.profile is \"emulator\": old pictures open the door; fit for tests only, set it \
                                  to \"door\"";

/// How long the service waits for its networks.
pub(super) fn patience(config: &Config) -> Patience {
    match config.limits.profile.as_str() {
        "emulator" => Patience::Emulator,
        _ => Patience::Door,
    }
}

/// A line that is not wired.
const NONE: &str = "none";

/// What a grant takes, but for the threshold, which [`bar`] gives.
pub(super) fn rule(config: &Config) -> Rule {
    let decision = &config.decision;
    Rule {
        threshold: Score(decision.threshold),
        margin: decision.margin,
        frames_needed: decision.frames_needed,
        frames_window: decision.frames_window,
        max_frame_age: patience(config).stretch(Duration::from_millis(decision.max_frame_age_ms)),
        regrant_after: Duration::from_millis(decision.regrant_after_ms),
        demands: demands(config),
    }
}

/// What a face must show of itself.
fn demands(config: &Config) -> Demands {
    if !is_watched(config) {
        return Demands::default();
    }
    Demands { watch: Duration::from_millis(config.liveness.watch_ms) }
}

/// Whether faces are watched before they open the door.
pub(super) fn is_watched(config: &Config) -> bool {
    config.liveness.mode != "off" && config.liveness.watch_ms > 0
}

/// Whether the calendar is believed.
pub(super) fn trust(config: &Config) -> Trust {
    match config.clock.trust.as_str() {
        "always" => Trust::Always,
        "never" => Trust::Never,
        _ => Trust::Auto,
    }
}

/// How many failed attempts are borne.
pub(super) fn attempts(config: &Config) -> Attempts {
    let throttle = &config.throttle;
    Attempts { attempts: throttle.attempts, face_off_after: throttle.face_off_after }
}

/// Where the threshold comes from, for the people of this encoder.
pub(super) fn bar(config: &Config, model: &ModelId) -> anyhow::Result<Bar> {
    let decision = &config.decision;
    if decision.threshold > 0.0 {
        return Ok(Bar::Set(Score(decision.threshold)));
    }
    let cohort = Arc::new(Cohort::of(model, &config.paths.models)?);
    Ok(Bar::Rate { cohort, far_per_attempt: decision.far_per_attempt })
}

/// The threshold for comparing two faces: that of a door with one person with one template.
pub(super) fn one_to_one(config: &Config, model: &ModelId) -> anyhow::Result<Score> {
    let nobody = Gallery::new(model.clone(), 0, Vec::new());
    Ok(bar(config, model)?.threshold(&nobody, &rule(config)))
}

/// What a face must be to be matched.
pub(super) fn gates(config: &Config) -> QualityGates {
    let vision = &config.vision;
    QualityGates {
        min_eye_distance_px: vision.min_eye_distance_px,
        min_sharpness: vision.min_sharpness,
        min_light: vision.min_light,
        max_light: vision.max_light,
        max_yaw_deg: vision.max_yaw_deg,
        max_pitch_deg: vision.max_pitch_deg,
    }
}

/// How enrolment at a camera goes.
pub(super) fn enrolment(config: &Config) -> EnrolmentOptions {
    let enrolment = &config.enrolment;
    EnrolmentOptions {
        samples: enrolment.samples,
        timeout: Duration::from_secs(enrolment.timeout_s),
        interval: Duration::from_millis(enrolment.interval_ms),
    }
}

/// How long the strike is unlocked, and when it is locked early.
pub(super) fn door_rules(config: &Config) -> anyhow::Result<Rules> {
    let door = &config.door;
    let relock = match door.relock.as_str() {
        "timeout" => Relock::Timeout,
        "on-open" => Relock::OnOpen,
        _ => Relock::OnClose,
    };
    let held_open_after = Duration::from_secs(door.held_open_s);
    Ok(Rules { pulse: Pulse::from_millis(door.pulse_ms)?, relock, held_open_after })
}

/// The strike on a line that this process holds.
pub(super) fn open_strike_directly(
    config: &Config,
    clock: Arc<dyn Clock>,
) -> Result<DirectStrike, RelayError> {
    let relay = open_relay(&config.door.relay, clock)?;
    Ok(DirectStrike::new(relay, strike_kind(config)))
}

/// The strike on a line that the guard's process holds, which is started for it.
pub(super) fn start_guard(config: &Config, clock: Arc<dyn Clock>) -> Result<GuardedStrike, RelayError> {
    let kind = strike_kind(config);
    // The running program, also when an upgrade has put another in its place.
    let mut program = Command::new("/proc/self/exe");
    program.args(["guard", "--relay", &config.door.relay, "--strike", kind.as_str()]);
    let relay = config.door.relay.clone();
    let open = Box::new({
        let relay = relay.clone();
        move || open_relay(&relay, clock.clone())
    });
    GuardedStrike::start(program, relay, kind, open)
}

fn strike_kind(config: &Config) -> StrikeKind {
    // The loader takes no other word.
    config.door.strike.parse().unwrap_or_default()
}

/// What else is wired to the door; nothing when nothing is.
pub(super) fn inputs_factory(
    config: &Config,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Option<InputsFactory>> {
    let wired = wired_inputs(config)?;
    if wired.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(move || open_inputs(&wired, clock.clone()))))
}

/// The inputs that are not `none`.
pub(super) fn wired_inputs(config: &Config) -> anyhow::Result<Vec<(Sensor, LineSpec)>> {
    let inputs = &config.inputs;
    let line = |sensor: Sensor| match sensor {
        Sensor::Rex => &inputs.rex,
        Sensor::Contact => &inputs.contact,
        Sensor::Tamper => &inputs.tamper,
        Sensor::Panic => &inputs.panic,
    };
    let wired = Sensor::ALL.into_iter().filter(|sensor| line(*sensor) != NONE);
    wired
        .map(|sensor| {
            let line = line(sensor);
            let spec = line
                .parse()
                .with_context(|| format!("inputs.{} {line:?} cannot be used", sensor.as_str()))?;
            Ok((sensor, spec))
        })
        .collect()
}

/// The lamps that are not `none`, dark.
pub(super) fn open_lamps(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Vec<(Lamp, Box<dyn Relay>)>> {
    let lamps = &config.lamps;
    let line = |lamp: Lamp| match lamp {
        Lamp::Granted => &lamps.granted,
        Lamp::Refused => &lamps.refused,
        Lamp::Look => &lamps.look,
        Lamp::Fault => &lamps.fault,
    };
    let wired = Lamp::ALL.into_iter().filter(|lamp| line(*lamp) != NONE);
    wired
        .map(|lamp| {
            let relay = open_relay(line(lamp), clock.clone());
            Ok((lamp, relay.with_context(|| format!("lamps.{} cannot be used", lamp.as_str()))?))
        })
        .collect()
}

/// Which camera.
pub(super) fn camera_spec(config: &Config) -> anyhow::Result<CameraSpec> {
    let source = &config.camera.source;
    source.parse().with_context(|| format!("camera {source:?} cannot be used"))
}

/// Opens a camera, again and again if need be.
pub(super) fn camera_factory(spec: CameraSpec, config: &Config, clock: Arc<dyn Clock>) -> CameraFactory {
    let wanted = wanted(config);
    Box::new(move || camera::open(&spec, wanted, clock.clone()))
}

/// Opens a camera once.
pub(super) fn open_camera(
    spec: &CameraSpec,
    config: &Config,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Camera>, CameraError> {
    camera::open(spec, wanted(config), clock)
}

fn wanted(config: &Config) -> WantedFormat {
    let CameraConfig { width, height, fps, .. } = config.camera;
    WantedFormat { width, height, fps }
}

/// Loads the networks that the config names.
pub(super) fn load_networks(config: &Config) -> Result<Recogniser, RecognitionError> {
    Recogniser::load(&RecogniserOptions {
        models: config.paths.models.clone(),
        encoder: config.encoder.model.clone(),
        device: config.encoder.device.clone(),
        detect_px: config.vision.detect_px,
        min_face_score: config.vision.min_face_score,
        threads: threads(config.vision.threads, cores()),
    })
}

/// The networks that tell a face from a picture of one, all that are installed or those `named`; run by `team`.
pub(super) fn photo_check(
    config: &Config,
    named: &[String],
    team: &Team,
) -> Result<Option<PhotoCheck>, RecognitionError> {
    let check = load_photo_check(&config.paths.models, named, &config.encoder.device)?;
    Ok(check.map(|check| check.with_team(team)))
}

/// What a door says of itself before anybody has tried to fool it.
const NOT_SHOWN: &str = "photo-proof: not shown";

/// The photo check as the config wants it, and what there is to say about it.
pub(super) fn doubt(
    config: &Config,
    model: &ModelId,
    team: &Team,
) -> anyhow::Result<(Option<Doubt>, String)> {
    if config.liveness.mode == "off" {
        return Ok((None, format!("{NOT_SHOWN}; no check, liveness.mode is \"off\"")));
    }
    match photo_check(config, &[], team)? {
        Some(check) => {
            let models = check.models().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let told = format!("{NOT_SHOWN}; checked by {models}, alive from {:.2}", check.threshold());
            Ok((Some(Doubt { check, bar: bar(config, model)?, rule: rule(config) }), told))
        }
        None if config.liveness.mode == "required" => bail!(
            "liveness.mode is \"required\", and no network in {} tells a face from a picture of one; `make models` fetches \
             one where npm is installed, and `accessd models import` takes others",
            config.paths.models.display()
        ),
        None => Ok((None, format!("{NOT_SHOWN}; no check, no liveness network is installed"))),
    }
}

/// Cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How many threads the networks that look at a face take; one core is left to everything else where nothing is said.
fn threads(wanted: usize, cores: usize) -> usize {
    match wanted {
        0 => cores.saturating_sub(1).max(1),
        wanted => wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_said_one_core_is_left_free() {
        for (wanted, cores, threads) in [(0, 1, 1), (0, 2, 1), (0, 4, 3), (1, 4, 1), (4, 4, 4), (8, 4, 8)] {
            assert_eq!(super::threads(wanted, cores), threads, "{wanted} of {cores}");
        }
    }

    #[test]
    fn each_word_of_the_liveness_mode_does_what_it_says_where_no_network_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        let with = |mode: &str| {
            let mut config = Config::parse(&format!("[liveness]\nmode = \"{mode}\"\n")).unwrap();
            config.paths.models = folder.path().to_owned();
            let told = doubt(&config, &ModelId("made-up@1".into()), &Team::new(1).unwrap());
            told.map(|(doubt, told)| (doubt.is_some(), told)).map_err(|e| e.to_string())
        };
        let (asked, told) = with("passive").unwrap();
        assert!(
            !asked && told == "photo-proof: not shown; no check, no liveness network is installed",
            "{told}"
        );
        let (asked, told) = with("off").unwrap();
        assert!(!asked && told.contains("liveness.mode is \"off\""), "{told}");
        let error = with("required").unwrap_err();
        assert!(error.contains("liveness.mode is \"required\", and no network in"), "{error}");
    }

    #[test]
    fn only_the_emulators_profile_lets_old_frames_decide() {
        let door = Config::default();
        assert_eq!(rule(&door).max_frame_age, Duration::from_millis(500));
        let emulator = Config::parse("[limits]\nprofile = \"emulator\"\n").unwrap();
        assert_eq!(rule(&emulator).max_frame_age, Duration::from_secs(100));
    }
}
