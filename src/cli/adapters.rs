//! From the config to the things at the edge: camera, relay and the rules that the config states.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::access::Rule;
use crate::camera::{self, Camera, CameraError, CameraSpec, WantedFormat};
use crate::clock::Clock;
use crate::config::{CameraConfig, Config};
use crate::daemon::{CameraFactory, EnrolmentOptions, Patience};
use crate::door::{Pulse, PulseError};
use crate::encoder::Score;
use crate::recognition::{Recogniser, RecogniserOptions, RecognitionError};
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

/// What a grant takes.
pub(super) fn rule(config: &Config) -> Rule {
    let decision = &config.decision;
    Rule {
        threshold: Score(decision.threshold),
        margin: decision.margin,
        frames_needed: decision.frames_needed,
        frames_window: decision.frames_window,
        max_frame_age: patience(config).stretch(Duration::from_millis(decision.max_frame_age_ms)),
        regrant_after: Duration::from_millis(decision.regrant_after_ms),
    }
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

/// How long a grant energises the strike.
pub(super) fn pulse(config: &Config) -> Result<Pulse, PulseError> {
    Pulse::from_millis(config.door.pulse_ms)
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_emulators_profile_lets_old_frames_decide() {
        let door = Config::default();
        assert_eq!(rule(&door).max_frame_age, Duration::from_millis(500));
        let emulator = Config::parse("[limits]\nprofile = \"emulator\"\n").unwrap();
        assert_eq!(rule(&emulator).max_frame_age, Duration::from_secs(100));
    }
}
