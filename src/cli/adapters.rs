//! From the config to the things at the edge: camera, relay and the rules that the config states.

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::access::{Demands, Learning, Rule, Several};
use crate::calibration::Bar;
use crate::calibration::cohort::Cohort;
use crate::camera::{self, Camera, CameraError, CameraSpec, WantedFormat};
use crate::clock::{Clock, Trust};
use crate::config::{CameraConfig, Config, DoorConfig, DoorSetup, InputsConfig, LampsConfig};
use crate::daemon::analyser::Doubt;
use crate::daemon::migrating::OtherEncoder;
use crate::daemon::presentation::CheckedBy;
use crate::daemon::second::{SecondEye, SecondSight};
use crate::daemon::{
    self, CameraFactory, ConsoleTerms, EnrolmentOptions, Patience, PinOptions, SecondParts, Snapshots,
};
use crate::door::guard::GuardedStrike;
use crate::door::keypad::{KeypadFactory, KeypadSpec, open_keypad};
use crate::door::{
    DirectStrike, InputsFactory, Lamp, LineSpec, Pulse, Relay, RelayError, Relock, Rules, Sensor, StrikeKind,
    open_inputs, open_relay,
};
use crate::encoder::network::Encoder;
use crate::encoder::{ModelId, Score};
use crate::gallery::Gallery;
use crate::journal::replay::Keep;
use crate::liveness::challenge::{Dice, Terms};
use crate::liveness::check::PhotoCheck;
use crate::models::Library;
use crate::nn::device;
use crate::nn::team::Team;
use crate::policy::{OnRisk, Patience as Attempts, PinPatience, Place, Risks, WhichDoor, which_door};
use crate::recognition::{Recogniser, RecogniserOptions, RecognitionError, load_photo_check};
use crate::store::{HeadFile, KeepAttempts, KeepSnapshots, Migrating, Retention, SqliteStore};
use crate::vision::align::AlignedCrop;
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
        alike_margin: decision.alike_margin,
        frames_needed: decision.frames_needed,
        frames_window: decision.frames_window,
        max_frame_age: patience(config).stretch(Duration::from_millis(decision.max_frame_age_ms)),
        regrant_after: Duration::from_millis(decision.regrant_after_ms),
        several: match decision.several.as_str() {
            "refuse" => Several::Refuse,
            "each" => Several::Each,
            _ => Several::Nearest,
        },
        supported: true,
        demands: demands(config),
    }
}

/// Where the journal's heads go, and how long it is kept.
pub(super) fn bookkeeping(config: &Config, store: SqliteStore) -> anyhow::Result<SqliteStore> {
    let journal = &config.journal;
    let head_file = match journal.head_file.as_path() {
        none if none == Path::new(NONE) => None,
        file => Some(HeadFile::at(file).context("no thread for journal.head_file")?),
    };
    let retention = Retention {
        age: (journal.keep_days > 0).then(|| Duration::from_secs(journal.keep_days * 86_400)),
        count: (journal.keep_events > 0).then_some(journal.keep_events),
    };
    let store = store
        .with_retention(retention)
        .with_attempts(kept_attempts(config))
        .with_snapshots(kept_snapshots(config))
        .with_crops(keeps_crops(config));
    Ok(match head_file {
        Some(file) => store.with_head_file(file),
        None => store,
    })
}

/// How long attempts are kept.
fn kept_attempts(config: &Config) -> KeepAttempts {
    let privacy = &config.privacy;
    let days = (keep(config) != Keep::Nobody).then_some(privacy.attempt_days);
    KeepAttempts { days, most: privacy.attempts_most }
}

/// How long pictures of refusals are kept.
fn kept_snapshots(config: &Config) -> KeepSnapshots {
    let privacy = &config.privacy;
    let days = (snapshots(config) != Snapshots::Off).then_some(privacy.snapshot_days);
    KeepSnapshots { days, most: privacy.snapshots_most }
}

/// Whether the pictures that samples are made of are kept.
pub(super) fn keeps_crops(config: &Config) -> bool {
    config.privacy.keep_crops == "on"
}

/// Of which refusals pictures are kept.
pub(super) fn snapshots(config: &Config) -> Snapshots {
    match config.privacy.snapshots.as_str() {
        "strangers" => Snapshots::Strangers,
        "refusals" => Snapshots::Refusals,
        _ => Snapshots::Off,
    }
}

/// Of whose attempts embeddings are kept.
pub(super) fn keep(config: &Config) -> Keep {
    match config.privacy.keep_attempts.as_str() {
        "recognised" => Keep::Recognised,
        "everybody" => Keep::Everybody,
        _ => Keep::Nobody,
    }
}

/// What a face must show of itself.
fn demands(config: &Config) -> Demands {
    if config.liveness.mode == "off" {
        return Demands::default();
    }
    Demands { watch: Duration::from_millis(config.liveness.watch_ms), challenge: challenge(config) }
}

/// What a person is asked to do.
fn challenge(config: &Config) -> Option<Terms> {
    let liveness = &config.liveness;
    (liveness.mode == "challenge").then(|| Terms {
        steps: liveness.challenge_steps,
        each: patience(config).stretch(Duration::from_secs(liveness.challenge_s)),
        blink: false,
    })
}

/// Dice for challenges, from the system's source of random numbers.
pub(super) fn dice(config: &Config) -> anyhow::Result<Option<Dice>> {
    const SOURCE: &str = "/dev/urandom";
    if challenge(config).is_none() {
        return Ok(None);
    }
    let mut source = std::fs::File::open(SOURCE)
        .with_context(|| format!("{SOURCE} cannot be read, and liveness.mode \"challenge\" draws from it"))?;
    Ok(Some(Dice::new(move || {
        let mut bytes = [0; 8];
        // Without a draw nobody passes.
        source.read_exact(&mut bytes).ok().map(|()| u64::from_le_bytes(bytes))
    })))
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

/// How PINs are gone about.
pub(super) fn pin_options(config: &Config) -> PinOptions {
    let throttle = &config.throttle;
    PinOptions {
        digits: config.pin.min_digits,
        wait: Duration::from_secs(config.pin.wait_s),
        patience: PinPatience { attempts: throttle.pin_attempts, off_after: throttle.pin_off_after },
    }
}

/// What doubts lead to.
pub(super) fn risks(config: &Config) -> Risks {
    let on = |word: &str| match word {
        "pin" => OnRisk::Pin,
        "pin-if-set" => OnRisk::PinIfSet,
        _ => OnRisk::Ignore,
    };
    let risk = &config.risk;
    Risks {
        look_alike: on(&risk.look_alike),
        liveness: on(&risk.liveness),
        threshold: on(&risk.rate),
        clock_asks: risk.clock == "pin",
    }
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

/// How faces that are let in are learnt, if they are.
pub(super) fn learning(config: &Config) -> Option<Learning> {
    let learning = &config.learning;
    (learning.mode == "guarded").then_some(Learning { most: learning.most, above: learning.above })
}

/// The encoder that is not in force, while the encoder is changed. One that cannot be used is told and left out: the door does
/// without.
pub(super) fn other_encoder(config: &Config, store: &SqliteStore, model: &ModelId) -> Option<OtherEncoder> {
    let load = || -> anyhow::Result<Option<OtherEncoder>> {
        let Some(migration) = store.migration()? else { return Ok(None) };
        let other = migration.other(model).with_context(|| {
            format!("{model} is in force, which is neither {} nor {}", migration.from.id, migration.to.id)
        })?;
        let file = Library::new(&config.paths.models).load(&other.name, "encoder")?;
        ensure!(
            file.card.id() == other.id,
            "the network installed as {} is {}, not {}",
            other.name,
            file.card.id(),
            other.id
        );
        let mut encoder = Encoder::new(&file, &device("cpu")?)?;
        let embed = move |crop: &AlignedCrop| match encoder.embed(&[crop]) {
            Ok(mut embeddings) => embeddings.pop().ok_or_else(|| "it gave no embedding".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let above = config.learning.above;
        Ok(Some(OtherEncoder { model: other.id.clone(), embed: Box::new(embed), above }))
    };
    load().unwrap_or_else(|error| {
        log::warn!("the change of the encoder stands still: {error:#}");
        None
    })
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

/// The door that is called so, or the only one where none is named.
pub(super) fn door_called(config: &Config, name: Option<&str>) -> Result<DoorSetup, WhichDoor> {
    let mut doors = config.doors();
    let names: Vec<&str> = doors.iter().map(|door| door.door.name.as_str()).collect();
    let at = which_door(&names, name)?;
    Ok(doors.swap_remove(at))
}

/// Every door with its name, its side and its area, as the rules see it.
pub(super) fn places(config: &Config) -> Vec<Place> {
    // The loader takes no other word for a side.
    Place::all(
        config
            .doors()
            .into_iter()
            .map(|DoorSetup { door, .. }| (door.name, door.side.parse().unwrap_or_default(), door.area)),
    )
}

/// What begins what is said of a door: its name, where there are several.
pub(super) fn prefix(config: &Config, door: &DoorSetup) -> String {
    if config.has_several_doors() { format!("{}: ", door.door.name) } else { String::new() }
}

/// How long the strike is unlocked, and when it is locked early.
pub(super) fn door_rules(door: &DoorConfig) -> anyhow::Result<Rules> {
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
    door: &DoorConfig,
    clock: Arc<dyn Clock>,
) -> Result<DirectStrike, RelayError> {
    let relay = open_relay(&door.relay, clock)?;
    Ok(DirectStrike::new(relay, strike_kind(door)))
}

/// The strike on a line that the guard's process holds, which is started for it.
pub(super) fn start_guard(door: &DoorConfig, clock: Arc<dyn Clock>) -> Result<GuardedStrike, RelayError> {
    let kind = strike_kind(door);
    // The running program, also when an upgrade has put another in its place.
    let mut program = Command::new("/proc/self/exe");
    program.args(["guard", "--relay", &door.relay, "--strike", kind.as_str()]);
    let relay = door.relay.clone();
    let open = Box::new({
        let relay = relay.clone();
        move || open_relay(&relay, clock.clone())
    });
    GuardedStrike::start(program, relay, kind, open)
}

fn strike_kind(door: &DoorConfig) -> StrikeKind {
    // The loader takes no other word.
    door.strike.parse().unwrap_or_default()
}

/// What else is wired to the door; nothing when nothing is.
pub(super) fn inputs_factory(
    inputs: &InputsConfig,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Option<InputsFactory>> {
    let wired = wired_inputs(inputs)?;
    if wired.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(move || open_inputs(&wired, clock.clone()))))
}

/// The inputs that are not `none`.
pub(super) fn wired_inputs(inputs: &InputsConfig) -> anyhow::Result<Vec<(Sensor, LineSpec)>> {
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

/// The keypad, if there is one.
pub(super) fn keypad_spec(inputs: &InputsConfig) -> anyhow::Result<Option<KeypadSpec>> {
    let keypad = &inputs.keypad;
    if keypad == NONE {
        return Ok(None);
    }
    keypad.parse().map(Some).context("inputs.keypad cannot be used")
}

/// Opens it, again and again if need be.
pub(super) fn keypad_factory(inputs: &InputsConfig) -> anyhow::Result<Option<KeypadFactory>> {
    let spec = keypad_spec(inputs)?;
    Ok(spec.map(|spec| Box::new(move || open_keypad(&spec)) as KeypadFactory))
}

/// The lamps that are not `none`, dark.
pub(super) fn open_lamps(
    lamps: &LampsConfig,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Vec<(Lamp, Box<dyn Relay>)>> {
    let line = |lamp: Lamp| match lamp {
        Lamp::Granted => &lamps.granted,
        Lamp::Refused => &lamps.refused,
        Lamp::Look => &lamps.look,
        Lamp::Left => &lamps.left,
        Lamp::Right => &lamps.right,
        Lamp::Fault => &lamps.fault,
        Lamp::Pin => &lamps.pin,
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
pub(super) fn camera_spec(camera: &CameraConfig) -> anyhow::Result<CameraSpec> {
    let source = &camera.source;
    source.parse().with_context(|| format!("camera {source:?} cannot be used"))
}

/// The second camera of a door with how it is used, for the daemon and for the analyser; nothing where there is none.
pub(super) fn second_camera(
    config: &CameraConfig,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Option<(SecondParts, SecondSight)>> {
    if config.second == NONE {
        return Ok(None);
    }
    let source = &config.second;
    let spec: CameraSpec =
        source.parse().with_context(|| format!("camera.second {source:?} cannot be used"))?;
    let (eye, apart) = (Arc::<SecondEye>::default(), config.second_apart);
    let sight = SecondSight { eye: eye.clone(), apart, ignore_loss: config.second_lost == "ignore" };
    let camera = format!("{spec} (lost: {}, apart {apart})", config.second_lost);
    let open = camera_factory(spec, config, clock.clone());
    Ok(Some((SecondParts { camera, open, eye }, sight)))
}

/// Opens a camera, again and again if need be.
pub(super) fn camera_factory(
    spec: CameraSpec,
    config: &CameraConfig,
    clock: Arc<dyn Clock>,
) -> CameraFactory {
    let wanted = wanted(config);
    Box::new(move || camera::open(&spec, wanted, clock.clone()))
}

/// Opens a camera once.
pub(super) fn open_camera(
    spec: &CameraSpec,
    config: &CameraConfig,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Camera>, CameraError> {
    camera::open(spec, wanted(config), clock)
}

/// The format that a camera is asked for.
pub(super) fn wanted(config: &CameraConfig) -> WantedFormat {
    let &CameraConfig { width, height, fps, .. } = config;
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

/// The photo check as the config wants it, and what there is to say about it; what that keeps out is told apart.
pub(super) fn doubt(
    config: &Config,
    model: &ModelId,
    team: &Team,
) -> anyhow::Result<(Option<Doubt>, String)> {
    if config.liveness.mode == "off" {
        return Ok((None, "no check, liveness.mode is \"off\"".into()));
    }
    match photo_check(config, &[], team)? {
        Some(check) => {
            let models = check.models().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let told = format!("checked by {models}, alive from {:.2}", check.threshold());
            Ok((Some(Doubt { check, bar: bar(config, model)?, rule: rule(config) }), told))
        }
        None if config.liveness.mode == "required" => bail!(
            "liveness.mode is \"required\", and no network in {} tells a face from a picture of one; `make models` fetches \
             one where npm is installed, and `accessd models import` takes others",
            config.paths.models.display()
        ),
        None => Ok((None, "no check, no liveness network is installed".into())),
    }
}

/// By which networks faces are checked, as the settings of a spoof test name it.
pub(super) fn checked_by(doubt: Option<&Doubt>) -> CheckedBy {
    let check = doubt.map(|doubt| &doubt.check);
    CheckedBy {
        networks: check.map(PhotoCheck::models).unwrap_or_default(),
        alive_from: check.map(|check| check.threshold() as f32),
    }
}

/// Days after which unused people are forgotten, if ever.
pub(super) fn forget_after(config: &Config) -> Option<u32> {
    Some(config.privacy.forget_after_days).filter(|days| *days > 0)
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

/// The user of accessd-console.service.
const CONSOLE_USER: &str = "accessd-console";

/// What the web console may ask of the daemon.
pub(super) fn console_terms(config: &Config) -> ConsoleTerms {
    // Whoever runs the daemon can write its database as well, and so may speak for an account.
    let own = rustix::process::getuid().as_raw();
    let users = daemon::uid_of(CONSOLE_USER).into_iter().chain([own]).collect();
    ConsoleTerms { users, live_picture: config.console.live_picture == "on" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_sees_the_picture_only_where_the_config_says_so() {
        let mut config = Config::default();
        assert!(!console_terms(&config).live_picture);
        config.console.live_picture = "on".into();
        let terms = console_terms(&config);
        assert!(terms.live_picture);
        assert!(terms.users.contains(&rustix::process::getuid().as_raw()), "the daemon's own user");
    }

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
        assert!(!asked && told == "no check, no liveness network is installed", "{told}");
        let (asked, told) = with("off").unwrap();
        assert!(!asked && told.contains("liveness.mode is \"off\""), "{told}");
        let error = with("required").unwrap_err();
        assert!(error.contains("liveness.mode is \"required\", and no network in"), "{error}");
    }

    #[test]
    fn each_word_of_a_risk_does_what_it_says() {
        assert_eq!(
            risks(&Config::default()),
            Risks {
                look_alike: OnRisk::PinIfSet,
                liveness: OnRisk::PinIfSet,
                threshold: OnRisk::Ignore,
                clock_asks: false
            }
        );
        let text =
            "[risk]\nlook_alike = \"pin\"\nliveness = \"ignore\"\nrate = \"pin-if-set\"\nclock = \"pin\"\n";
        let expected = Risks {
            look_alike: OnRisk::Pin,
            liveness: OnRisk::Ignore,
            threshold: OnRisk::PinIfSet,
            clock_asks: true,
        };
        assert_eq!(risks(&Config::parse(text).unwrap()), expected);
    }

    #[test]
    fn attempts_and_pictures_are_kept_only_where_the_config_says_so_and_as_long_as_it_says() {
        let off = Config::default();
        assert_eq!((keep(&off), snapshots(&off)), (Keep::Nobody, Snapshots::Off));
        assert_eq!((kept_attempts(&off).days, kept_snapshots(&off).days), (None, None));
        for (word, kept) in [("recognised", Keep::Recognised), ("everybody", Keep::Everybody)] {
            let text =
                format!("[privacy]\nkeep_attempts = \"{word}\"\nattempt_days = 30\nattempts_most = 77\n");
            let config = Config::parse(&text).unwrap();
            assert_eq!(keep(&config), kept);
            assert_eq!(kept_attempts(&config), KeepAttempts { days: Some(30), most: 77 });
            assert_eq!(kept_snapshots(&config).days, None, "one does not bring the other");
        }
        for (word, kept) in [("strangers", Snapshots::Strangers), ("refusals", Snapshots::Refusals)] {
            let text = format!("[privacy]\nsnapshots = \"{word}\"\nsnapshot_days = 9\nsnapshots_most = 55\n");
            let config = Config::parse(&text).unwrap();
            assert_eq!(snapshots(&config), kept);
            assert_eq!(kept_snapshots(&config), KeepSnapshots { days: Some(9), most: 55 });
        }
        assert!(Config::parse("[privacy]\nkeep_attempts = \"all\"\n").is_err());
    }

    #[test]
    fn unused_people_are_forgotten_only_where_the_config_says_so() {
        assert_eq!(forget_after(&Config::default()), None);
        let config = Config::parse("[privacy]\nforget_after_days = 90\n").unwrap();
        assert_eq!(forget_after(&config), Some(90));
    }

    #[test]
    fn each_word_for_company_and_the_margin_of_kin_reach_the_rule() {
        for (word, several) in
            [("nearest", Several::Nearest), ("refuse", Several::Refuse), ("each", Several::Each)]
        {
            let text = format!("[decision]\nseveral = \"{word}\"\nalike_margin = 0.3\n");
            let made = rule(&Config::parse(&text).unwrap());
            assert_eq!((made.several, made.alike_margin), (several, 0.3));
        }
        assert_eq!(rule(&Config::default()).several, Several::Nearest);
        assert!(Config::parse("[decision]\nseveral = \"both\"\n").is_err());
    }

    #[test]
    fn no_threshold_of_the_config_is_one_that_nothing_reads() {
        let with = |section: &str, key: &str, value: &str| {
            let mut config = Config::parse(&format!("[{section}]\n{key} = {value}\n")).unwrap();
            let cohort = crate::calibration::testing::cohort();
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("m.cohort.json"), serde_json::to_string(&cohort).unwrap())
                .unwrap();
            config.paths.models = folder.path().into();
            let nobody = Gallery::new(cohort.model.clone(), 0, Vec::new());
            let (rule, _) = bar(&config, &cohort.model).unwrap().apply(&nobody, &rule(&config));
            (rule, gates(&config), enrolment(&config))
        };
        let default = with("log", "level", "\"info\"");
        for (section, key, value) in [
            ("decision", "far_per_attempt", "0.01"),
            ("decision", "threshold", "0.9"),
            ("decision", "margin", "0.3"),
            ("decision", "alike_margin", "0.3"),
            ("decision", "several", "\"refuse\""),
            ("decision", "frames_needed", "4"),
            ("decision", "frames_window", "6"),
            ("decision", "max_frame_age_ms", "300"),
            ("decision", "regrant_after_ms", "1"),
            ("vision", "min_eye_distance_px", "99"),
            ("vision", "min_sharpness", "99"),
            ("vision", "min_light", "99"),
            ("vision", "max_light", "99"),
            ("vision", "max_yaw_deg", "9"),
            ("vision", "max_pitch_deg", "9"),
            ("enrolment", "samples", "9"),
            ("enrolment", "timeout_s", "9"),
            ("enrolment", "interval_ms", "9"),
        ] {
            assert!(with(section, key, value) != default, "{section}.{key} changes nothing");
        }
    }

    #[test]
    fn nothing_is_learnt_unless_the_config_says_so() {
        assert_eq!(learning(&Config::default()), None);
        let text = "[learning]\nmode = \"guarded\"\nmost = 7\nabove = 0.2\n";
        assert_eq!(learning(&Config::parse(text).unwrap()), Some(Learning { most: 7, above: 0.2 }));
    }

    #[test]
    fn only_the_emulators_profile_lets_old_frames_decide() {
        let door = Config::default();
        assert_eq!(rule(&door).max_frame_age, Duration::from_millis(500));
        let emulator = Config::parse("[limits]\nprofile = \"emulator\"\n").unwrap();
        assert_eq!(rule(&emulator).max_frame_age, Duration::from_secs(100));
    }
}
