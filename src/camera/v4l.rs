//! Cameras of this machine through V4L2 (nokhwa): USB webcams and what looks like one.
//!
//! A thread of its own opens the device, as nokhwa's handle does not leave the thread it was made on, and waits for
//! frames, which can take for ever when a camera freezes. Frames are decoded by the thread that asks for them.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use image::RgbImage;
use jiff::Timestamp;
use nokhwa::utils::{
    CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType, Resolution,
};

use super::latest::{Latest, Stop};
use super::spec::V4lDevice;
use super::{Camera, CameraError, Fault, WantedFormat, pixels};
use crate::clock::{Clock, MonoTime};
use crate::frame::{Frame, MAX_FRAME_PIXELS, decode_jpeg};

/// Layouts that are decoded here.
const LAYOUTS: [FrameFormat; 6] = [
    FrameFormat::MJPEG,
    FrameFormat::YUYV,
    FrameFormat::NV12,
    FrameFormat::RAWRGB,
    FrameFormat::RAWBGR,
    FrameFormat::GRAY,
];

/// How many of the offered formats are tried before giving up: some drivers refuse what they offer.
const TRIES: usize = 5;

/// A capture time further back than this is not believed.
const MAX_AGE: Duration = Duration::from_secs(1);

/// An open V4L2 device.
pub(super) struct V4lCamera {
    name: String,
    format: CameraFormat,
    latest: Arc<Latest>,
}

impl V4lCamera {
    pub(super) fn open(
        device: &V4lDevice,
        wanted: WantedFormat,
        clock: Arc<dyn Clock>,
        name: String,
    ) -> Result<Self, CameraError> {
        let opened = index_of(device).and_then(|index| start(index, wanted, clock));
        let (format, latest) = opened.map_err(|fault| fault.of(&name))?;
        log::info!("camera {name}: {format}");
        Ok(Self { name, format, latest })
    }
}

impl Camera for V4lCamera {
    fn next(&mut self) -> Result<Frame, CameraError> {
        let format = self.format;
        self.latest.next_frame(|bytes| decode(format, bytes)).map_err(|stop| {
            let fault = match stop {
                Stop::Failed(fault) => fault,
                Stop::Over(why) => {
                    Fault::new(format!("it gives no more frames ({why}); check the cable and the power"))
                }
            };
            fault.of(&self.name)
        })
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

impl Drop for V4lCamera {
    fn drop(&mut self) {
        self.latest.abandon();
    }
}

/// Opens the device on a thread of its own and returns once it streams.
fn start(
    index: u32,
    wanted: WantedFormat,
    clock: Arc<dyn Clock>,
) -> Result<(CameraFormat, Arc<Latest>), Fault> {
    let latest = Arc::<Latest>::default();
    let (opened, answer) = sync_channel(1);
    let into = Arc::clone(&latest);
    std::thread::Builder::new()
        .name("camera-read".to_owned())
        .spawn(move || read_frames(index, wanted, &*clock, &into, &opened))
        .map_err(|source| Fault::with("no thread could be started to read it", source))?;
    let format = answer.recv().map_err(|_| Fault::new("the camera's driver library gave up"))??;
    Ok((format, latest))
}

fn read_frames(
    index: u32,
    wanted: WantedFormat,
    clock: &dyn Clock,
    latest: &Latest,
    opened: &SyncSender<Result<CameraFormat, Fault>>,
) {
    let _closing = latest.closed_with_thread();
    let mut camera = match open_stream(index, wanted) {
        Ok(camera) => camera,
        // The receiver waits for exactly one answer.
        Err(fault) => return drop(opened.send(Err(fault))),
    };
    let _ = opened.send(Ok(camera.camera_format()));
    loop {
        match camera.frame() {
            Ok(buffer) => {
                let captured = captured_at(clock.now(), clock.wall(), buffer.capture_timestamp());
                if !latest.put(captured, buffer.buffer().to_vec()) {
                    return;
                }
            }
            Err(error) => return latest.end(error.to_string()),
        }
    }
}

fn open_stream(index: u32, wanted: WantedFormat) -> Result<nokhwa::Camera, Fault> {
    let failed = |error: nokhwa::NokhwaError| not_opened(index, error);
    let any = RequestedFormat::with_formats(RequestedFormatType::None, &LAYOUTS);
    let mut camera = nokhwa::Camera::new(CameraIndex::Index(index), any).map_err(failed)?;
    let offered = camera.compatible_camera_formats().map_err(failed)?;
    for format in nearest_first(&offered, wanted).into_iter().take(TRIES) {
        let exactly = RequestedFormat::with_formats(RequestedFormatType::Exact(format), &LAYOUTS);
        match camera.set_camera_requset(exactly) {
            Ok(_) => {
                camera.open_stream().map_err(failed)?;
                return Ok(camera);
            }
            Err(error) => log::debug!("/dev/video{index} refuses {format}: {error}"),
        }
    }
    Err(Fault::new(format!(
        "/dev/video{index} has no format that can be used (v4l2-ctl --list-formats-ext shows them); a program can \
         convert: command:ffmpeg -f v4l2 -i /dev/video{index} -c:v mjpeg -f mjpeg -"
    )))
}

/// Says what to try for what the system says.
fn not_opened(index: u32, error: nokhwa::NokhwaError) -> Fault {
    let text = error.to_string();
    let hint = if text.contains("busy") {
        format!("another program uses it (fuser -v /dev/video{index} shows which)")
    } else if text.contains("denied") {
        "no permission; the user who runs accessd must be in the group video".to_owned()
    } else {
        "it may not be a camera (v4l2-ctl --list-devices), or one that only a program can read, as a Raspberry Pi \
         camera module: command:rpicam-vid -t 0 --codec mjpeg -o -"
            .to_owned()
    };
    Fault::with(format!("/dev/video{index} could not be opened: {hint}"), error)
}

/// Formats that can be decoded, best first: nearest in size, then fast enough, then the layout that suits the size
/// (above 640×480 raw pixels do not fit through USB 2 at full rate, below they save the JPEG's loss), then not faster
/// than needed.
fn nearest_first(offered: &[CameraFormat], wanted: WantedFormat) -> Vec<CameraFormat> {
    let mut formats: Vec<CameraFormat> = offered
        .iter()
        .copied()
        .filter(|format| LAYOUTS.contains(&format.format()) && pixels_of(format.resolution()) > 0)
        .filter(|format| pixels_of(format.resolution()) <= MAX_FRAME_PIXELS)
        .collect();
    formats.sort_by_key(|format| {
        let size = format.resolution();
        let off = size.width().abs_diff(wanted.width) + size.height().abs_diff(wanted.height);
        let too_slow = wanted.fps.saturating_sub(format.frame_rate());
        let too_fast = format.frame_rate().saturating_sub(wanted.fps);
        (off, too_slow, layout_rank(*format), too_fast)
    });
    formats
}

fn pixels_of(size: Resolution) -> u64 {
    u64::from(size.width()) * u64::from(size.height())
}

fn layout_rank(format: CameraFormat) -> u8 {
    let large = pixels_of(format.resolution()) > 640 * 480;
    match format.format() {
        FrameFormat::MJPEG if large => 0,
        FrameFormat::YUYV => 1,
        FrameFormat::NV12 => 2,
        FrameFormat::MJPEG => 3,
        FrameFormat::RAWRGB | FrameFormat::RAWBGR => 4,
        FrameFormat::GRAY => 5,
    }
}

/// The pixels of a frame. `bytes` is the whole capture buffer: longer than the frame, with what was there before.
fn decode(format: CameraFormat, bytes: &[u8]) -> Result<RgbImage, String> {
    let (width, height) = (format.width(), format.height());
    let raw = match format.format() {
        FrameFormat::MJPEG => return decode_jpeg(bytes, MAX_FRAME_PIXELS).map_err(|error| error.to_string()),
        FrameFormat::YUYV => pixels::yuyv(width, height, bytes),
        FrameFormat::NV12 => pixels::nv12(width, height, bytes),
        FrameFormat::RAWRGB => pixels::rgb(width, height, bytes),
        FrameFormat::RAWBGR => pixels::bgr(width, height, bytes),
        FrameFormat::GRAY => pixels::grey(width, height, bytes),
    };
    raw.map_err(|error| error.to_string())
}

/// When the light was caught. The driver's stamp comes as wall time (`since_epoch`); how long ago that is counts back
/// from `now`, unless the clock was set in between.
fn captured_at(now: MonoTime, wall: Timestamp, since_epoch: Option<Duration>) -> MonoTime {
    let wall = Duration::try_from(wall.as_duration()).unwrap_or_default();
    let age = since_epoch.and_then(|stamp| wall.checked_sub(stamp)).filter(|age| *age <= MAX_AGE);
    now - age.unwrap_or_default()
}

/// N of /dev/videoN.
fn index_of(device: &V4lDevice) -> Result<u32, Fault> {
    match device {
        V4lDevice::Index(index) => {
            let path = format!("/dev/video{index}");
            if Path::new(&path).exists() { Ok(*index) } else { Err(missing(Path::new(&path))) }
        }
        V4lDevice::Path(path) => resolve(path),
    }
}

/// Follows links such as /dev/v4l/by-id/NAME to their /dev/videoN: devices are opened by number.
fn resolve(path: &Path) -> Result<u32, Fault> {
    let target = path.canonicalize().map_err(|_| missing(path))?;
    let number =
        target.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("video"));
    number.and_then(|number| number.parse().ok()).ok_or_else(|| {
        Fault::new(format!("{} leads to {}, which is no /dev/videoN", path.display(), target.display()))
    })
}

fn missing(path: &Path) -> Fault {
    let names = std::fs::read_dir("/dev/v4l/by-id").into_iter().flatten().flatten();
    let mut names: Vec<String> = names.map(|entry| entry.path().display().to_string()).collect();
    names.sort();
    let there = if names.is_empty() { "no camera is plugged in".to_owned() } else { names.join(", ") };
    Fault::new(format!("there is no {}; cameras here: {there}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(width: u32, height: u32, layout: FrameFormat, fps: u32) -> CameraFormat {
        CameraFormat::new(Resolution::new(width, height), layout, fps)
    }

    fn best(offered: &[CameraFormat], width: u32, height: u32, fps: u32) -> Option<CameraFormat> {
        nearest_first(offered, WantedFormat { width, height, fps }).first().copied()
    }

    #[test]
    fn a_webcam_is_used_at_the_nearest_size_in_the_layout_that_suits_it() {
        use FrameFormat::{MJPEG, YUYV};
        let webcam = [
            offer(320, 240, YUYV, 30),
            offer(640, 480, MJPEG, 15),
            offer(640, 480, MJPEG, 30),
            offer(640, 480, YUYV, 30),
            offer(640, 480, YUYV, 15),
            offer(1280, 720, YUYV, 10),
            offer(1280, 720, MJPEG, 30),
            offer(1920, 1080, YUYV, 30),
            offer(1920, 1080, MJPEG, 30),
        ];
        for (wanted, expected) in [
            ((640, 480, 15), offer(640, 480, YUYV, 15)),
            ((640, 480, 20), offer(640, 480, YUYV, 30)),
            ((1280, 720, 15), offer(1280, 720, MJPEG, 30)),
            ((1920, 1080, 30), offer(1920, 1080, MJPEG, 30)),
            ((160, 120, 30), offer(320, 240, YUYV, 30)),
            ((3840, 2160, 60), offer(1920, 1080, MJPEG, 30)),
        ] {
            assert_eq!(best(&webcam, wanted.0, wanted.1, wanted.2), Some(expected), "{wanted:?}");
        }
    }

    #[test]
    fn size_comes_before_rate_and_rate_before_layout() {
        use FrameFormat::{MJPEG, NV12};
        let offered = [offer(640, 480, MJPEG, 30), offer(640, 480, NV12, 5), offer(800, 600, NV12, 60)];
        assert_eq!(best(&offered, 640, 480, 25), Some(offered[0]));
    }

    #[test]
    fn impossible_offers_are_left_out() {
        let offered = [offer(0, 0, FrameFormat::YUYV, 30), offer(40_000, 40_000, FrameFormat::MJPEG, 30)];
        assert_eq!(best(&offered, 640, 480, 15), None);
        assert_eq!(best(&[], 640, 480, 15), None);
    }

    #[test]
    fn every_layout_is_decoded_from_a_buffer_with_a_stale_tail() {
        for (layout, bytes) in [
            (FrameFormat::YUYV, vec![235, 128, 235, 128]),
            (FrameFormat::NV12, vec![235, 235, 128, 128]),
            (FrameFormat::RAWRGB, vec![255; 6]),
            (FrameFormat::RAWBGR, vec![255; 6]),
            (FrameFormat::GRAY, vec![255; 2]),
        ] {
            let format = offer(2, 1, layout, 30);
            let buffer = [&bytes[..], &[17; 9]].concat();
            let image = decode(format, &buffer).expect("decodes");
            assert!(image.pixels().all(|pixel| pixel.0 == [255; 3]), "{layout:?}");
            let error = decode(format, &bytes[1..]).expect_err("too short");
            assert!(error.contains("bytes where"), "{error}");
        }
        let white = RgbImage::from_pixel(2, 1, image::Rgb([255; 3]));
        let mut jpeg = Vec::new();
        image::codecs::jpeg::JpegEncoder::new(&mut jpeg).encode_image(&white).expect("encode");
        jpeg.extend_from_slice(&[0xFF, 0xD8, 0xFF, 17, 0xFF, 0xD9]);
        assert_eq!(decode(offer(2, 1, FrameFormat::MJPEG, 30), &jpeg), Ok(white));
        assert!(decode(offer(2, 1, FrameFormat::MJPEG, 30), &[0; 50]).is_err());
    }

    #[test]
    fn the_drivers_stamp_is_used_unless_the_clock_jumped() {
        let now = MonoTime::from_millis(100_000);
        let wall = Timestamp::from_millisecond(5_000_000).expect("in range");
        let captured =
            |stamp_ms: Option<u64>| captured_at(now, wall, stamp_ms.map(Duration::from_millis)).as_millis();
        assert_eq!(captured(Some(4_999_960)), 99_960);
        assert_eq!(captured(Some(5_000_000)), 100_000);
        assert_eq!(captured(None), 100_000);
        assert_eq!(captured(Some(5_000_700)), 100_000, "a stamp of the future");
        assert_eq!(captured(Some(1_000_000)), 100_000, "an hour old");
    }

    #[test]
    fn links_lead_to_a_number() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("video12"), "").expect("write");
        std::fs::write(path("media0"), "").expect("write");
        for (name, target) in
            [("by-id", "video12"), ("twice", "by-id"), ("wrong", "media0"), ("dead", "gone")]
        {
            std::os::unix::fs::symlink(path(target), path(name)).expect("link");
        }
        assert_eq!(resolve(&path("by-id")).ok(), Some(12));
        assert_eq!(resolve(&path("twice")).ok(), Some(12));
        let wrong = resolve(&path("wrong")).expect_err("no video device").to_string();
        assert!(wrong.contains("media0, which is no /dev/videoN"), "{wrong}");
        let dead = resolve(&path("dead")).expect_err("a dead link").to_string();
        assert!(dead.contains("cameras here:"), "{dead}");
    }

    #[test]
    fn what_the_system_says_comes_with_what_to_try() {
        for (said, expected) in [
            ("Device or resource busy (os error 16)", "fuser -v /dev/video3"),
            ("Permission denied (os error 13)", "group video"),
            ("Inappropriate ioctl", "command:rpicam-vid"),
        ] {
            let error = nokhwa::NokhwaError::OpenDeviceError("3".into(), said.into());
            let message = not_opened(3, error).to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_missing_device_is_an_error() {
        let device = V4lDevice::Index(4_000_000);
        let clock = Arc::new(crate::clock::SystemClock);
        let wanted = WantedFormat { width: 640, height: 480, fps: 15 };
        let Err(error) = V4lCamera::open(&device, wanted, clock, "v4l:4000000".into()) else {
            panic!("there is no such device")
        };
        assert!(
            error.to_string().starts_with("camera v4l:4000000: there is no /dev/video4000000"),
            "{error}"
        );
    }
}
