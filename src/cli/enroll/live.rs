//! Samples taken before a camera that is opened here, by the same rules as the service's; and the line that tells how
//! either goes. Nothing is stored before the last sample is there, so that an interruption leaves nothing behind.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use super::super::adapters::{camera_spec, enrolment, gates, load_networks, open_camera};
use crate::camera::CameraError;
use crate::clock::{Clock, SystemClock};
use crate::config::{CameraConfig, Config};
use crate::daemon::analyser::FaceAnalyser;
use crate::daemon::analysis::Analyser;
use crate::daemon::enrolment::Sampling;
use crate::daemon::protocol::EnrolProgress;
use crate::gallery::{Gallery, NewTemplate};

/// Takes the samples of one person with a camera of our own.
pub(super) fn sample(config: &Config, camera: &CameraConfig) -> anyhow::Result<Vec<NewTemplate>> {
    let line = Line::new();
    let samples = gather(config, camera, &line);
    line.clear();
    samples
}

fn gather(config: &Config, camera: &CameraConfig, line: &Line) -> anyhow::Result<Vec<NewTemplate>> {
    let clock = Arc::new(SystemClock);
    let mut camera = open_camera(&camera_spec(camera)?, camera, clock.clone())?;
    let mut analyser = FaceAnalyser::new(load_networks(config)?, gates(config), clock.clone());
    let nobody = Gallery::new(analyser.model().clone(), 0, Vec::new());
    let options = enrolment(config);
    let mut sampling = Sampling::new(options, analyser.model().clone(), clock.now());
    while !sampling.is_complete() {
        let taken = sampling.samples().len();
        ensure!(
            !sampling.is_late(clock.now()),
            "nothing is stored: only {taken} of {} good samples in {} s; come closer, face the camera, and see that there \
             is light",
            options.samples,
            options.timeout.as_secs()
        );
        let frame = match camera.next() {
            Ok(frame) => frame,
            Err(CameraError::Ended { camera }) => {
                bail!("nothing is stored: {camera} ended after {taken} of {} good samples", options.samples)
            }
            Err(error) => return Err(error).context("nothing is stored: the camera gives no picture"),
        };
        let analysis = analyser.analyse(&frame, &nobody)?;
        if let Some(progress) = sampling.look(&analysis, clock.now()) {
            line.show(&progress);
        }
    }
    Ok(sampling.samples().to_vec())
}

/// The line on the terminal that tells how it goes; nothing when there is no terminal.
pub(super) struct Line(ProgressBar);

impl Line {
    /// Before the first progress.
    pub(super) fn new() -> Self {
        let style =
            ProgressStyle::with_template("{bar:20} {pos}/{len}  {msg}").expect("the template is valid");
        Self(ProgressBar::new(1).with_style(style).with_message("waiting for the camera"))
    }

    /// Tells how it goes.
    pub(super) fn show(&self, progress: &EnrolProgress) {
        self.0.set_length(progress.wanted as u64);
        self.0.set_position(progress.taken as u64);
        self.0.set_message(told(progress));
    }

    /// Gives the line back.
    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// `eyes 62 px, light 120, sharpness 85: hold still`
fn told(progress: &EnrolProgress) -> String {
    let hint = if progress.hint.is_empty() { "good, sample taken" } else { &progress.hint };
    match &progress.quality {
        Some(q) => format!(
            "eyes {:.0} px, light {:.0}, sharpness {:.0}: {hint}",
            q.eye_distance_px, q.light, q.sharpness
        ),
        None => hint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::quality::Quality;

    #[test]
    fn the_line_tells_figures_and_what_to_do() {
        let quality = Quality {
            eye_distance_px: 61.7,
            sharpness: 85.2,
            light: 120.0,
            yaw_deg: 0.0,
            pitch_deg: 0.0,
            roll_deg: 0.0,
        };
        let progress =
            |quality, hint: &str| EnrolProgress { taken: 1, wanted: 5, quality, hint: hint.into() };
        assert_eq!(
            told(&progress(Some(quality), "hold still")),
            "eyes 62 px, light 120, sharpness 85: hold still"
        );
        assert_eq!(told(&progress(None, "nobody in view")), "nobody in view");
        assert!(told(&progress(Some(quality), "")).ends_with("good, sample taken"));
    }
}
