//! Cameras of this machine through V4L2: USB webcams and what looks like one.
//!
//! A thread of its own reads the device and keeps the newest picture; pictures are decoded by the thread that asks for
//! them. It waits for each picture for a bounded time, so that a camera that freezes is an error like one that is
//! unplugged, and is opened again. Devices are listed by nokhwa, and read through the `v4l` crate on which nokhwa
//! stands: see "Cameras are read below nokhwa" in `ARCHITECTURE.md`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use v4l::buffer::{Flags, Metadata, Type};
use v4l::capability::Flags as Capability;
use v4l::io::mmap::Stream;
use v4l::io::traits::CaptureStream;
use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Device, Format, FourCC, Fraction};

use super::latest::{Latest, Stop};
use super::spec::V4lDevice;
use super::{Camera, CameraError, Fault, WantedFormat};
use crate::clock::{Clock, MonoTime};
use crate::frame::{Frame, MAX_FRAME_PIXELS};

mod offers;

pub use offers::{Layout, Offer};
use offers::{decode, nearest_first, offers_of};

/// How many of the offered formats are tried before giving up: some drivers refuse what they offer.
const TRIES: usize = 5;

/// Buffers that the driver fills in turn.
const BUFFERS: u32 = 4;

/// A camera may take so long for its first picture …
const FIRST_PICTURE: Duration = Duration::from_secs(5);

/// … and this or three of its intervals for every further one, else it is frozen.
const NEXT_PICTURE: Duration = Duration::from_millis(1500);

/// A capture time further back than this is not believed, unless it is on the clock that ours is.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Pictures from before the stream was opened that are left out. Some drivers hand out an old one first; one whose
/// stamps are always old has a clock of its own.
const STALE_PICTURES: u32 = 5;

/// A camera of this machine.
#[derive(Clone, Debug)]
pub struct CameraDevice {
    /// Its device file.
    pub path: PathBuf,
    /// The name that does not change with the order of plugging in, if it has one.
    pub by_id: Option<PathBuf>,
    /// What the driver calls it.
    pub name: String,
}

/// An open V4L2 device.
pub(super) struct V4lCamera {
    name: String,
    offer: Offer,
    latest: Arc<Latest>,
}

impl V4lCamera {
    pub(super) fn open(
        device: &V4lDevice,
        wanted: WantedFormat,
        clock: Arc<dyn Clock>,
        name: String,
    ) -> Result<Self, CameraError> {
        let opened = path_of(device).and_then(|path| start(path, wanted, clock));
        let (offer, latest) = opened.map_err(|fault| fault.of(&name))?;
        log::info!("camera {name}: {offer}");
        Ok(Self { name, offer, latest })
    }
}

impl Camera for V4lCamera {
    fn next(&mut self) -> Result<Frame, CameraError> {
        let offer = self.offer;
        self.latest.next_frame(|bytes| decode(&offer, bytes)).map_err(|stop| {
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

/// Opens the device on the thread that will read it, and returns once it streams.
fn start(path: PathBuf, wanted: WantedFormat, clock: Arc<dyn Clock>) -> Result<(Offer, Arc<Latest>), Fault> {
    let latest = Arc::<Latest>::default();
    let (opened, answer) = sync_channel(1);
    let into = Arc::clone(&latest);
    std::thread::Builder::new()
        .name("camera-read".to_owned())
        .spawn(move || read_frames(&path, wanted, &*clock, &into, &opened))
        .map_err(|source| Fault::with("no thread could be started to read it", source))?;
    let offer = answer.recv().map_err(|_| Fault::new("the camera's driver library gave up"))??;
    Ok((offer, latest))
}

/// A device that is set up, and how its buffers are padded.
struct Opened {
    device: Device,
    offer: Offer,
    stride: usize,
}

fn read_frames(
    path: &Path,
    wanted: WantedFormat,
    clock: &dyn Clock,
    latest: &Latest,
    opened: &SyncSender<Result<Offer, Fault>>,
) {
    let _closing = latest.closed_with_thread();
    let started = open_device(path, wanted).and_then(|camera| {
        let stream = Stream::with_buffers(&camera.device, Type::VideoCapture, BUFFERS);
        Ok((stream.map_err(|error| not_opened(path, error))?, camera))
    });
    // The receiver waits for exactly one answer.
    let (mut stream, camera) = match started {
        Ok(started) => started,
        Err(fault) => return drop(opened.send(Err(fault))),
    };
    let _ = opened.send(Ok(camera.offer));
    let mut age = Age::new(clock.now());
    let patience = patience(&camera.offer);
    stream.set_timeout(FIRST_PICTURE);
    loop {
        let (bytes, meta) = match stream.next() {
            Ok(picture) => picture,
            Err(error) => return latest.end(silence(&error, latest.delivered())),
        };
        let captured = age.of(clock, meta);
        let whole = true_length(&camera, bytes, meta);
        let wanted = match (captured, whole) {
            (None, _) => true,
            (Some(captured), Ok(bytes)) => latest.put(captured, bytes),
            (Some(_), Err(why)) => {
                latest.spoil(why);
                !latest.is_abandoned()
            }
        };
        if !wanted {
            return;
        }
        stream.set_timeout(patience);
    }
}

/// How long the next picture is waited for.
fn patience(offer: &Offer) -> Duration {
    let interval = offer.interval.map_or(0.0, |(num, den)| f64::from(num) / f64::from(den.max(1)));
    NEXT_PICTURE.max(Duration::from_secs_f64(3.0 * interval.clamp(0.0, 10.0)))
}

/// What to say when no picture came.
fn silence(error: &io::Error, delivered: u64) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut if delivered == 0 => "it opens, and no picture comes".to_owned(),
        io::ErrorKind::TimedOut => "it is frozen: no picture came for too long".to_owned(),
        _ => error.to_string(),
    }
}

/// The bytes of the picture alone: buffers are longer, rows may be padded.
fn true_length(camera: &Opened, bytes: &[u8], meta: &Metadata) -> Result<Vec<u8>, &'static str> {
    let used = match meta.bytesused as usize {
        0 => return Err("the driver delivered an empty picture"),
        used => &bytes[..used.min(bytes.len())],
    };
    if meta.flags.contains(Flags::ERROR) {
        return Err("the driver says that it is damaged");
    }
    let Offer { layout, width, height, .. } = camera.offer;
    match layout.rows(width, height) {
        Some((row, rows)) if camera.stride > row => {
            let rows = used.chunks(camera.stride).take(rows);
            Ok(rows.flat_map(|padded| &padded[..row.min(padded.len())]).copied().collect())
        }
        _ => Ok(used.to_vec()),
    }
}

/// When pictures were taken.
struct Age {
    started: MonoTime,
    /// Pictures of this stream so far.
    seen: u64,
    stale: u32,
}

impl Age {
    fn new(started: MonoTime) -> Self {
        Self { started, seen: 0, stale: 0 }
    }
}

impl Age {
    /// When the light of this picture was caught; `None` for one from before the stream was opened. The first picture
    /// is always taken for such a one: a camera that has frozen may hand out its last picture again to whoever opens it,
    /// with whatever stamp, and must not count as back for it.
    fn of(&mut self, clock: &dyn Clock, meta: &Metadata) -> Option<MonoTime> {
        self.seen += 1;
        if self.seen == 1 {
            return None;
        }
        let now = clock.now();
        let stamp = Duration::from(meta.timestamp);
        if !meta.flags.contains(Flags::TIMESTAMP_MONOTONIC) {
            // The wall clock, or none.
            let wall = Duration::try_from(clock.wall().as_duration()).unwrap_or_default();
            let age = wall.checked_sub(stamp).filter(|age| *age <= MAX_AGE);
            return Some(now - age.unwrap_or_default());
        }
        let captured = clock.of_kernel(stamp);
        if captured >= self.started {
            return Some(captured.min(now));
        }
        self.stale += 1;
        (self.stale > STALE_PICTURES).then_some(now)
    }
}

/// Opens the device and sets the format that suits best.
fn open_device(path: &Path, wanted: WantedFormat) -> Result<Opened, Fault> {
    let failed = |error| not_opened(path, error);
    let device = Device::with_path(path).map_err(failed)?;
    if !captures(&device).map_err(failed)? {
        return Err(not_opened(path, io::ErrorKind::Unsupported.into()));
    }
    let offered = offers_of(&device, wanted).map_err(failed)?;
    for offer in nearest_first(offered, wanted).into_iter().take(TRIES) {
        match set(&device, offer) {
            Ok((offer, stride)) => return Ok(Opened { device, offer, stride }),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Err(failed(error)),
            Err(error) => log::debug!("{} refuses {offer}: {error}", path.display()),
        }
    }
    Err(Fault::new(format!(
        "{path} has no format that can be used (accessd doctor shows them); a program can convert: command:ffmpeg -f \
         v4l2 -i {path} -c:v mjpeg -f mjpeg -",
        path = path.display()
    )))
}

/// Whether pictures come out of it: the metadata nodes of webcams have /dev/videoN too.
fn captures(device: &Device) -> io::Result<bool> {
    let all = Capability::VIDEO_CAPTURE | Capability::STREAMING;
    Ok(device.query_caps()?.capabilities.contains(all))
}

/// Sets a format; gives what the driver made of it, and the bytes from row to row.
fn set(device: &Device, offer: Offer) -> io::Result<(Offer, usize)> {
    let asked = Format::new(offer.width, offer.height, FourCC::new(&offer.fourcc));
    let got = device.set_format(&asked)?;
    if got.fourcc.repr != offer.fourcc {
        return Err(io::Error::other(format!("it gives {got} instead")));
    }
    let (width, height) = (got.width, got.height);
    if u64::from(width) * u64::from(height) > MAX_FRAME_PIXELS || width == 0 || height == 0 {
        return Err(io::Error::other(format!("it gives {width}×{height} instead")));
    }
    let mut interval = offer.interval;
    if let Some((num, den)) = offer.interval {
        match device.set_params(&Parameters::new(Fraction::new(num, den))) {
            Ok(set) if set.interval.denominator > 0 => {
                interval = Some((set.interval.numerator, set.interval.denominator));
            }
            // Not every driver lets itself be told; it then gives what it gives.
            Ok(_) | Err(_) => {}
        }
    }
    Ok((Offer { width, height, interval, ..offer }, got.stride as usize))
}

/// Says what to try for what the system says.
fn not_opened(path: &Path, error: io::Error) -> Fault {
    let path = path.display();
    let hint = match error.kind() {
        io::ErrorKind::ResourceBusy => format!("another program uses it (fuser -v {path} shows which)"),
        io::ErrorKind::PermissionDenied => {
            "no permission; the user who runs accessd must be in the group video".to_owned()
        }
        io::ErrorKind::NotFound => "it was unplugged".to_owned(),
        _ => "it may not be a camera (accessd doctor lists them), or one that only a program can read, as a Raspberry \
              Pi camera module: command:rpicam-vid -t 0 --codec mjpeg -o -"
            .to_owned(),
    };
    Fault::with(format!("{path} could not be opened: {hint}"), error)
}

/// The cameras of this machine, by number of their device.
pub fn devices() -> Vec<CameraDevice> {
    // The V4L2 side of this never fails: without devices it is empty.
    let found = nokhwa::query(nokhwa::utils::ApiBackend::Video4Linux).unwrap_or_default();
    let mut found: Vec<(u32, String)> = found
        .into_iter()
        .filter_map(|camera| Some((camera.index().as_index().ok()?, camera.human_name())))
        .collect();
    found.sort();
    let links = by_id();
    let camera = |(index, name)| {
        let path = PathBuf::from(format!("/dev/video{index}"));
        // One that is busy or not ours to open may be a camera.
        let not_one = Device::with_path(&path).and_then(|device| captures(&device)).is_ok_and(|is| !is);
        let by_id = links.iter().find(|link| link.canonicalize().is_ok_and(|target| target == path)).cloned();
        (!not_one).then_some(CameraDevice { path, by_id, name })
    };
    found.into_iter().filter_map(camera).collect()
}

/// What a camera can give.
///
/// # Errors
/// When it cannot be opened.
pub fn offers(path: &Path, wanted: WantedFormat) -> io::Result<Vec<Offer>> {
    let device = Device::with_path(path)?;
    Ok(nearest_first(offers_of(&device, wanted)?, wanted))
}

fn by_id() -> Vec<PathBuf> {
    let names = std::fs::read_dir("/dev/v4l/by-id").into_iter().flatten().flatten();
    let mut names: Vec<PathBuf> = names.map(|entry| entry.path()).collect();
    names.sort();
    names
}

/// The device file, which must be there.
fn path_of(device: &V4lDevice) -> Result<PathBuf, Fault> {
    let path = match device {
        V4lDevice::Index(index) => format!("/dev/video{index}").into(),
        V4lDevice::Path(path) => path.clone(),
    };
    // Links such as /dev/v4l/by-id/NAME are followed now, so that messages name the device.
    path.canonicalize().map_err(|_| missing(&path))
}

fn missing(path: &Path) -> Fault {
    let there: Vec<String> = devices()
        .into_iter()
        .map(|camera| format!("{} ({})", camera.by_id.unwrap_or(camera.path).display(), camera.name))
        .collect();
    let there = if there.is_empty() { "no camera is plugged in".to_owned() } else { there.join(", ") };
    Fault::new(format!("there is no {}; cameras here: {there}", path.display()))
}

#[cfg(test)]
mod tests {
    use image::RgbImage;
    use jiff::Timestamp;

    use super::offers::tests::offer;
    use super::*;
    use crate::clock::SimClock;

    /// What a buffer of the driver holds, as the decoder gets it.
    fn whole(offer: Offer, stride: usize, bytes: &[u8], used: u32) -> Result<Vec<u8>, &'static str> {
        let Some(device) = Device::with_path("/dev/null").ok() else { panic!("there is /dev/null") };
        true_length(
            &Opened { device, offer, stride },
            bytes,
            &Metadata { bytesused: used, ..Metadata::default() },
        )
    }

    #[test]
    fn every_layout_is_decoded_from_a_buffer_with_a_stale_tail_and_padded_rows() {
        for (name, row, rows) in [
            (b"YUYV", vec![235, 128, 235, 128], 2),
            (b"RGB3", vec![255; 6], 2),
            (b"BGR3", vec![255; 6], 2),
            (b"GREY", vec![255; 2], 2),
        ] {
            let offer = offer(2, 2, name, 30);
            let padded: Vec<u8> = [&row[..], &[17; 5]].concat().repeat(rows);
            let buffer = [&padded[..], &[99; 40]].concat();
            let bytes = whole(offer, row.len() + 5, &buffer, padded.len() as u32).expect("whole");
            assert_eq!(bytes, row.repeat(rows), "{offer}");
            let image = decode(&offer, &bytes).expect("decodes");
            assert!(image.pixels().all(|pixel| pixel.0 == [255; 3]), "{offer}");
            let error = decode(&offer, &bytes[1..]).expect_err("too short");
            assert!(error.contains("bytes where"), "{error}");
        }
        // NV12 has rows of Y, then half as many of Cb and Cr.
        let nv12 = offer(2, 2, b"NV12", 30);
        let padded = [[235, 235, 9], [235, 235, 9], [128, 128, 9]].concat();
        let bytes = whole(nv12, 3, &padded, 9).expect("whole");
        assert!(decode(&nv12, &bytes).expect("decodes").pixels().all(|pixel| pixel.0 == [255; 3]));
        let white = RgbImage::from_pixel(2, 1, image::Rgb([255; 3]));
        let mut jpeg = Vec::new();
        image::codecs::jpeg::JpegEncoder::new(&mut jpeg).encode_image(&white).expect("encode");
        let length = jpeg.len();
        jpeg.extend_from_slice(&[0xFF, 0xD8, 0xFF, 17, 0xFF, 0xD9]);
        let bytes = whole(offer(2, 1, b"MJPG", 30), 0, &jpeg, length as u32).expect("whole");
        assert_eq!((bytes.len(), decode(&offer(2, 1, b"MJPG", 30), &bytes)), (length, Ok(white)));
        assert!(decode(&offer(2, 1, b"MJPG", 30), &[0; 50]).is_err());
    }

    #[test]
    fn empty_and_damaged_pictures_are_told() {
        let offer = offer(2, 2, b"GREY", 30);
        assert_eq!(whole(offer, 2, &[0; 4], 0), Err("the driver delivered an empty picture"));
        let device = Device::with_path("/dev/null").expect("there is /dev/null");
        let meta = Metadata { bytesused: 4, flags: Flags::ERROR, ..Metadata::default() };
        let damaged = true_length(&Opened { device, offer, stride: 2 }, &[0; 4], &meta);
        assert_eq!(damaged, Err("the driver says that it is damaged"));
    }

    #[test]
    fn pictures_are_as_old_as_their_stamps_and_old_ones_are_left_out() {
        let clock =
            SimClock::new(MonoTime::from_millis(100_000), Timestamp::from_second(5_000).expect("a time"));
        let mut age = Age::new(clock.now());
        clock.advance(Duration::from_millis(500));
        let mut captured = |flags: Flags, ms: u64| {
            let timestamp = Duration::from_millis(ms).into();
            age.of(&clock, &Metadata { flags, timestamp, ..Metadata::default() }).map(MonoTime::as_millis)
        };
        let mono = Flags::TIMESTAMP_MONOTONIC;
        assert_eq!(captured(mono, 100_400), None, "the first may be an old one with a new stamp");
        assert_eq!(captured(mono, 100_460), Some(100_460));
        assert_eq!(captured(mono, 200_000), Some(100_500), "nothing is seen before it happens");
        assert_eq!(captured(mono, 40_000), None, "left over from before");
        let wall = Flags::TIMESTAMP_UNKNOWN;
        assert_eq!(captured(wall, 5_000_460), Some(100_460));
        assert_eq!(captured(wall, 0), Some(100_500), "no stamp");
        assert_eq!(captured(wall, 5_000_900), Some(100_500), "the clock was set");
        let seen: Vec<_> = (0..6).map(|_| captured(mono, 40_000)).collect();
        assert_eq!(seen[3..], [None, Some(100_500), Some(100_500)], "a camera with a clock of its own");
    }

    #[test]
    fn a_slow_camera_is_not_a_frozen_one() {
        assert_eq!(patience(&offer(640, 480, b"YUYV", 30)), NEXT_PICTURE);
        assert_eq!(patience(&Offer { interval: None, ..offer(640, 480, b"YUYV", 30) }), NEXT_PICTURE);
        assert_eq!(patience(&offer(640, 480, b"YUYV", 1)), Duration::from_secs(3));
        assert!(silence(&io::ErrorKind::TimedOut.into(), 0).contains("no picture comes"));
        assert!(silence(&io::ErrorKind::TimedOut.into(), 7).contains("frozen"));
        assert!(silence(&io::Error::from_raw_os_error(19), 7).contains("No such device"));
    }

    #[test]
    fn links_are_followed_and_dead_ones_are_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("video12"), "").expect("write");
        for (name, target) in [("by-id", "video12"), ("dead", "gone")] {
            std::os::unix::fs::symlink(path(target), path(name)).expect("link");
        }
        let found = path_of(&V4lDevice::Path(path("by-id"))).expect("there");
        assert_eq!(found.file_name(), Some("video12".as_ref()));
        let dead = path_of(&V4lDevice::Path(path("dead"))).expect_err("a dead link").to_string();
        assert!(dead.contains("cameras here:"), "{dead}");
    }

    #[test]
    fn what_the_system_says_comes_with_what_to_try() {
        for (kind, expected) in [
            (io::ErrorKind::ResourceBusy, "fuser -v /dev/video3"),
            (io::ErrorKind::PermissionDenied, "group video"),
            (io::ErrorKind::Unsupported, "command:rpicam-vid"),
        ] {
            let message = not_opened(Path::new("/dev/video3"), kind.into()).to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_missing_device_and_one_that_is_no_camera_are_errors() {
        let clock = Arc::new(crate::clock::SystemClock);
        let wanted = WantedFormat { width: 640, height: 480, fps: 15 };
        for (device, expected) in [
            (V4lDevice::Index(4_000_000), "camera x: there is no /dev/video4000000"),
            (
                V4lDevice::Path("/dev/null".into()),
                "camera x: /dev/null could not be opened: it may not be a camera",
            ),
        ] {
            let Err(error) = V4lCamera::open(&device, wanted, clock.clone(), "x".into()) else {
                panic!("{device:?} opened")
            };
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}
