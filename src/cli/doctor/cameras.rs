//! Every camera of this machine: what it offers, and what twenty pictures of it look like.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::adapters::{prefix, wanted};
use super::{Finding, State};
use crate::camera::{self, Camera, CameraSpec, V4lDevice, WantedFormat};
use crate::clock::{Clock, MonoTime, SystemClock};
use crate::config::Config;
use crate::frame::Frame;

/// Pictures taken of each camera.
const PICTURES: usize = 20;

/// A camera that has not given them by then is too slow to be judged.
const PATIENCE: Duration = Duration::from_secs(15);

/// Formats that are listed; webcams have dozens.
const LISTED: usize = 6;

/// What pictures look like.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Look {
    fps: f64,
    /// Mean brightness, 0 to 255.
    light: f64,
    /// Variance of the Laplacian of the whole picture: low when it is blurred, or of a bare wall.
    sharpness: f64,
    /// Oldest picture when it was handed out.
    age: Duration,
}

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let doors = config.doors();
    let configured: Vec<CameraSpec> =
        doors.iter().filter_map(|door| door.camera.source.parse().ok()).collect();
    let mut findings = listed(&configured, wanted(&config.camera));
    for door in doors {
        let found = match door.camera.source.parse::<CameraSpec>() {
            Ok(spec) => tried(&spec, wanted(&door.camera), true),
            Err(error) => {
                vec![Finding::new("camera", State::Fail, format!("{error}; correct camera.source"))]
            }
        };
        findings.extend(found.into_iter().map(|found| found.of(&prefix(config, &door))));
    }
    findings
}

/// The V4L2 devices with what they offer, each of them tried but for the doors' own, which are tried as such.
#[cfg(feature = "v4l")]
fn listed(configured: &[CameraSpec], wanted: WantedFormat) -> Vec<Finding> {
    let devices = camera::devices();
    if devices.is_empty() {
        let what = "no V4L2 camera here: plug one in, or give a program (camera.source = \"command:rpicam-vid …\" on a \
                    Raspberry Pi) or a recording";
        return vec![Finding::new("cameras", State::Note, what)];
    }
    let each = devices.into_iter().flat_map(|device| {
        let place = device.by_id.as_ref().unwrap_or(&device.path).display().to_string();
        let name = format!("{} ({}), camera.source = \"v4l:{place}\"", device.path.display(), device.name);
        match camera::offers(&device.path, wanted) {
            Ok(offers) if offers.is_empty() => {
                vec![Finding::new("cameras", State::Note, format!("{name}: no format that accessd reads"))]
            }
            Ok(offers) => {
                let shown: Vec<String> = offers.iter().take(LISTED).map(ToString::to_string).collect();
                let more = offers.len().saturating_sub(LISTED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let listed = format!("{name}: {}{more}", shown.join(", "));
                let mut findings = vec![Finding::new("cameras", State::Ok, listed)];
                if !configured.iter().any(|spec| is_device(spec, &device.path)) {
                    let spec = CameraSpec::V4l(V4lDevice::Path(device.path));
                    findings.extend(tried(&spec, wanted, false));
                }
                findings
            }
            Err(error) => {
                vec![Finding::new("cameras", State::Warn, format!("{name}: cannot be asked: {error}"))]
            }
        }
    });
    each.collect()
}

/// Whether a configured camera is the device at `path`, whichever of its names is configured.
#[cfg_attr(not(feature = "v4l"), allow(dead_code, reason = "without V4L2 no devices are listed"))]
fn is_device(configured: &CameraSpec, path: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    match configured {
        CameraSpec::V4l(V4lDevice::Index(index)) => path == Path::new(&format!("/dev/video{index}")),
        CameraSpec::V4l(V4lDevice::Path(named)) => real(named) == real(path),
        CameraSpec::Command(_) | CameraSpec::Clip(_) => false,
    }
}

#[cfg(not(feature = "v4l"))]
fn listed(_configured: &[CameraSpec], _wanted: WantedFormat) -> Vec<Finding> {
    vec![Finding::new("cameras", State::Note, "this accessd was built without V4L2 cameras (feature v4l)")]
}

/// Twenty pictures of one camera. A recording is not judged by its speed.
fn tried(spec: &CameraSpec, wanted: WantedFormat, configured: bool) -> Vec<Finding> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let live = !matches!(spec, CameraSpec::Clip(_));
    let taken = camera::open(spec, wanted, clock.clone()).and_then(|mut camera| take(&mut *camera, &*clock));
    match taken {
        Ok((look, size)) => {
            let mut findings =
                vec![Finding::new("camera", State::Ok, format!("{spec}: {}", described(&look, size)))];
            let advice = advice(&look, wanted, live);
            findings.extend(advice.into_iter().map(|what| Finding::new("camera", State::Warn, what)));
            findings
        }
        Err(error) => {
            let busy = error.to_string().contains("another program uses it");
            let state = match (busy, configured) {
                (true, _) => State::Note,
                (false, true) => State::Fail,
                (false, false) => State::Warn,
            };
            let hint = if busy { "; if that is the service, `accessd status` tells how it does" } else { "" };
            let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
            vec![Finding::new("camera", state, format!("{error}{cause}{hint}"))]
        }
    }
}

fn take(camera: &mut dyn Camera, clock: &dyn Clock) -> Result<(Look, (u32, u32)), camera::CameraError> {
    let mut seen: Vec<Seen> = Vec::new();
    let mut size = (0, 0);
    let until = clock.now() + PATIENCE;
    while seen.len() < PICTURES && clock.now() < until {
        match camera.next() {
            Ok(frame) => {
                size = frame.image.dimensions();
                seen.push(Seen::of(&frame, clock.now()));
            }
            Err(camera::CameraError::Ended { .. }) if !seen.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok((judge(&seen), size))
}

/// What counts of one picture.
#[derive(Clone, Copy, Debug)]
struct Seen {
    seq: u64,
    captured: MonoTime,
    age: Duration,
    light: f64,
    sharpness: f64,
}

impl Seen {
    fn of(frame: &Frame, now: MonoTime) -> Self {
        let grey = image::imageops::grayscale(&frame.image);
        let pixels = f64::from(grey.width()) * f64::from(grey.height());
        let light = grey.pixels().map(|pixel| f64::from(pixel[0])).sum::<f64>() / pixels.max(1.0);
        Self {
            seq: frame.seq,
            captured: frame.captured,
            age: now.since(frame.captured),
            light,
            sharpness: laplacian_variance(&grey),
        }
    }
}

/// Variance of the Laplacian (4 neighbours): Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000.
fn laplacian_variance(grey: &image::GrayImage) -> f64 {
    let at = |x: u32, y: u32| f64::from(grey.get_pixel(x, y)[0]);
    let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for y in 1..grey.height().saturating_sub(1) {
        for x in 1..grey.width().saturating_sub(1) {
            let value = at(x - 1, y) + at(x + 1, y) + at(x, y - 1) + at(x, y + 1) - 4.0 * at(x, y);
            n += 1.0;
            sum += value;
            squares += value * value;
        }
    }
    if n == 0.0 { 0.0 } else { squares / n - (sum / n).powi(2) }
}

fn judge(seen: &[Seen]) -> Look {
    let mean = |of: fn(&Seen) -> f64| seen.iter().map(of).sum::<f64>() / seen.len().max(1) as f64;
    let fps = match (seen.first(), seen.last()) {
        (Some(first), Some(last)) if last.captured > first.captured => {
            (last.seq - first.seq) as f64 / last.captured.since(first.captured).as_secs_f64()
        }
        _ => 0.0,
    };
    Look {
        fps,
        light: mean(|seen| seen.light),
        sharpness: mean(|seen| seen.sharpness),
        age: seen.iter().map(|seen| seen.age).max().unwrap_or_default(),
    }
}

fn described(look: &Look, (width, height): (u32, u32)) -> String {
    format!(
        "{width}×{height}, {:.1} frames/s, brightness {:.0} of 255, sharpness {:.0}, at most {} ms old",
        look.fps,
        look.light,
        look.sharpness,
        look.age.as_millis()
    )
}

/// What to change.
fn advice(look: &Look, wanted: WantedFormat, live: bool) -> Vec<String> {
    let mut advice = Vec::new();
    if live && look.fps < 5.0 {
        advice.push(format!(
            "{:.1} frames/s are too few to follow a face: more light (a camera exposes longer in the dark), a smaller \
             picture, or another cable",
            look.fps
        ));
    } else if live && look.fps < f64::from(wanted.fps) * 0.6 {
        advice.push(format!(
            "{:.1} frames/s where camera.fps asks for {}: more light, or a smaller picture",
            look.fps, wanted.fps
        ));
    }
    if look.light < 40.0 {
        advice.push("it is dark: a lamp that shines on the faces, not into the camera".to_owned());
    } else if look.light > 215.0 {
        advice.push("it is too bright: keep the sun and lamps out of the picture".to_owned());
    }
    if look.sharpness < 15.0 {
        advice
            .push("it is blurred, or looks at a bare wall: clean the lens, set its focus to 1 m".to_owned());
    }
    if live && look.age > Duration::from_millis(400) {
        let age = look.age.as_millis();
        advice.push(format!(
            "pictures are {age} ms old when they come: a smaller picture, or less load on this machine"
        ));
    }
    advice
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    const WANTED: WantedFormat = WantedFormat { width: 640, height: 480, fps: 15 };

    fn seen(seq: u64, ms: u64, image: RgbImage) -> Seen {
        let captured = MonoTime::from_millis(ms);
        Seen::of(&Frame { seq, captured, image }, captured + Duration::from_millis(30))
    }

    #[test]
    fn a_good_picture_has_nothing_to_change_and_a_bad_one_says_what() {
        let chessboard = |x: u32, y: u32| Rgb([if (x + y).is_multiple_of(2) { 90 } else { 150 }; 3]);
        let good: Vec<Seen> =
            (0..20).map(|n| seen(n, n * 66, RgbImage::from_fn(16, 16, chessboard))).collect();
        let look = judge(&good);
        assert!((look.fps - 15.15).abs() < 0.1 && (look.light - 120.0).abs() < 1.0, "{look:?}");
        assert_eq!(advice(&look, WANTED, true), [""; 0]);
        let dark: Vec<Seen> =
            (0..20).map(|n| seen(n, n * 500, RgbImage::from_pixel(16, 16, Rgb([9; 3])))).collect();
        let told = advice(&judge(&dark), WANTED, true).join("\n");
        for word in ["2.0 frames/s are too few", "it is dark", "it is blurred"] {
            assert!(told.contains(word), "{word}: {told}");
        }
        assert!(
            !advice(&judge(&dark), WANTED, false).join("\n").contains("frames/s"),
            "a recording has its own rate"
        );
    }

    #[test]
    fn sharpness_is_the_variance_of_the_laplacian() {
        // One bright pixel in the middle of 3×3: one inner pixel, no variance; 5×5 has nine.
        let dot = |size: u32| {
            image::GrayImage::from_fn(size, size, |x, y| {
                image::Luma([if x == size / 2 && y == size / 2 { 8 } else { 0 }])
            })
        };
        assert_eq!(laplacian_variance(&dot(3)), 0.0);
        // -32 once, 8 four times, 0 four times: mean 0, squares 1024 + 4·64.
        assert!((laplacian_variance(&dot(5)) - 1280.0 / 9.0).abs() < 1e-9);
    }

    #[test]
    fn a_camera_that_is_not_there_fails_when_it_is_the_configured_one() {
        let spec: CameraSpec = "clip:/no/such/recording".parse().unwrap();
        assert_eq!(tried(&spec, WANTED, true)[0].state, State::Fail);
        assert_eq!(tried(&spec, WANTED, false)[0].state, State::Warn);
    }

    #[test]
    fn the_configured_camera_is_known_by_each_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let (node, by_id) = (folder.path().join("video7"), folder.path().join("usb-cam-index0"));
        std::fs::write(&node, "").unwrap();
        std::os::unix::fs::symlink("video7", &by_id).unwrap();
        let spec = |text: &str| -> CameraSpec { text.parse().unwrap() };
        assert!(is_device(&spec(&format!("v4l:{}", by_id.display())), &node));
        assert!(is_device(&spec("v4l:7"), Path::new("/dev/video7")));
        assert!(!is_device(&spec("v4l:7"), Path::new("/dev/video70")));
        assert!(!is_device(&spec("clip:walk"), &node));
    }
}
