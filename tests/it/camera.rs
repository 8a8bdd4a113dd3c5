//! Cameras as the daemon meets them: opened by their spec, on drawn pictures and real child processes.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use accessd::camera::{self, Camera, CameraError, CameraSpec, ClipCamera, Waiter, WantedFormat};
use accessd::clock::{Clock, MonoTime, SimClock, SystemClock};
use accessd::frame::Frame;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use jiff::Timestamp;

const WANTED: WantedFormat = WantedFormat { width: 640, height: 480, fps: 10 };

/// Long enough for a child on a busy machine; nothing waits so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// A picture that can be told by its colour, with some detail.
fn drawn(number: u8) -> RgbImage {
    RgbImage::from_fn(48, 32, |x, y| match (x % 16, y % 16) {
        (0, _) | (_, 0) => Rgb([0; 3]),
        _ => Rgb([number * 20, 128, 255 - number * 20]),
    })
}

/// Which of the drawn pictures it is.
fn number_of(image: &RgbImage) -> u8 {
    assert_eq!(image.dimensions(), (48, 32));
    (f32::from(image.get_pixel(8, 8)[0]) / 20.0).round() as u8
}

fn encoded(image: RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, format).expect("encode");
    bytes.into_inner()
}

fn jpeg(number: u8) -> Vec<u8> {
    encoded(drawn(number), ImageFormat::Jpeg)
}

/// A JPEG that stops in the middle of its picture data.
fn cut_jpeg(number: u8) -> Vec<u8> {
    let mut bytes = jpeg(number);
    bytes.truncate(bytes.len() - 40);
    bytes
}

fn mjpeg(numbers: impl IntoIterator<Item = u8>) -> Vec<u8> {
    numbers.into_iter().flat_map(jpeg).collect()
}

/// A Y4M file of 4:4:4 pictures, full range, of the drawn pictures' red in Y.
fn y4m(numbers: impl IntoIterator<Item = u8>, rate: &str) -> Vec<u8> {
    let mut bytes = format!("YUV4MPEG2 W48 H32 F{rate} Ip A1:1 C444 XCOLORRANGE=FULL\n").into_bytes();
    for number in numbers {
        bytes.extend_from_slice(b"FRAME\n");
        bytes.extend(drawn(number).pixels().map(|pixel| pixel[0]));
        bytes.extend(std::iter::repeat_n(128, 2 * 48 * 32));
    }
    bytes
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).expect("write");
        self.path(name)
    }
}

/// Waiting moves the clock.
struct Advance(Arc<SimClock>);

impl Waiter for Advance {
    fn wait_until(&mut self, due: MonoTime) {
        self.0.advance(due.since(self.0.now()));
    }
}

fn clip_spec(path: &Path, options: &str) -> CameraSpec {
    format!("clip:{}{options}", path.display()).parse().expect("a spec")
}

/// The clip on a clock of its own, which starts at 0.
fn simulated(path: &Path, options: &str) -> (ClipCamera, Arc<SimClock>) {
    let clock = Arc::new(SimClock::new(MonoTime::default(), Timestamp::UNIX_EPOCH));
    let CameraSpec::Clip(spec) = clip_spec(path, options) else { panic!("not a clip") };
    let waiter = Box::new(Advance(clock.clone()));
    (ClipCamera::open(&spec, WANTED, clock.clone(), waiter).expect("opens"), clock)
}

fn try_open(spec: &CameraSpec) -> Result<Box<dyn Camera>, CameraError> {
    camera::open(spec, WANTED, Arc::new(SystemClock))
}

fn open(spec: &CameraSpec) -> Box<dyn Camera> {
    try_open(spec).unwrap_or_else(|error| panic!("{error}"))
}

fn told(frame: &Frame) -> (u64, u8) {
    (frame.seq, number_of(&frame.image))
}

/// Number and picture of all frames, and how it ended.
fn play(camera: &mut dyn Camera) -> (Vec<(u64, u8)>, CameraError) {
    let mut frames = Vec::new();
    loop {
        match camera.next() {
            Ok(frame) => frames.push(told(&frame)),
            Err(end) => return (frames, end),
        }
    }
}

/// What a clip says when it cannot be opened, or when it stops after some frames.
fn failure(path: &Path) -> (usize, String) {
    match try_open(&clip_spec(path, "?pace=off")) {
        Err(error) => (0, chain(&error)),
        Ok(mut camera) => {
            let (frames, end) = play(&mut *camera);
            (frames.len(), chain(&end))
        }
    }
}

/// The error with its causes, as the program prints it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[test]
fn a_folder_plays_its_pictures_by_number_whatever_their_format() {
    let folder = Folder::new();
    folder.put("frame_10.jpg", jpeg(10));
    folder.put("frame_9.png", encoded(drawn(9), ImageFormat::Png));
    folder.put("frame_1.ppm", encoded(drawn(1), ImageFormat::Pnm));
    folder.put("frame_002.JPEG", jpeg(2));
    folder.put("notes.txt", "no picture");
    folder.put(".frame_3.jpg", "hidden");
    let mut camera = open(&clip_spec(folder.0.path(), "?pace=off"));
    let (frames, end) = play(&mut *camera);
    assert_eq!(frames, [(0, 1), (1, 2), (2, 9), (3, 10)]);
    assert!(matches!(end, CameraError::Ended { .. }), "{end}");
    assert_eq!(end.to_string(), format!("camera {}: the recording ended", camera.describe()));
}

#[test]
fn grey_pictures_become_rgb_by_repetition() {
    let folder = Folder::new();
    folder.put("1.pgm", b"P5\n2 1\n255\n\x10\xF0");
    let frame = open(&clip_spec(folder.0.path(), "?pace=off")).next().expect("a frame");
    assert_eq!(frame.image.as_raw(), &[16, 16, 16, 240, 240, 240]);
}

#[test]
fn mjpeg_files_play_also_with_other_bytes_between_the_pictures() {
    let folder = Folder::new();
    let part = b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n";
    let multipart: Vec<u8> = (0..4).flat_map(|n| [&part[..], &jpeg(n)].concat()).collect();
    for (name, bytes) in [("plain.mjpeg", mjpeg(0..4)), ("multipart.bin", multipart)] {
        let (frames, end) = play(&mut *open(&clip_spec(&folder.put(name, bytes), "?pace=off")));
        assert_eq!(frames, [(0, 0), (1, 1), (2, 2), (3, 3)], "{name}");
        assert!(matches!(end, CameraError::Ended { .. }), "{end}");
    }
}

#[test]
fn recordings_play_at_their_own_rate_or_the_configured_one() {
    let folder = Folder::new();
    let raw = folder.put("a.y4m", y4m(0..3, "20:1"));
    let compressed = folder.put("a.mjpeg", mjpeg(0..3));
    for (path, options, expected) in [
        (&raw, "", [0, 50, 100]),
        (&raw, "?fps=4", [0, 250, 500]),
        (&compressed, "", [0, 100, 200]),
        (&compressed, "?fps=25", [0, 40, 80]),
        (&compressed, "?pace=off", [0, 0, 0]),
    ] {
        let (mut camera, _) = simulated(path, options);
        let frames: Vec<Frame> = (0..3).map(|_| camera.next().expect("a frame")).collect();
        let times: Vec<u64> = frames.iter().map(|frame| frame.captured.as_millis()).collect();
        assert_eq!(times, expected, "{} {options}", path.display());
        assert_eq!(frames.iter().map(told).collect::<Vec<_>>(), [(0, 0), (1, 1), (2, 2)]);
        assert!(matches!(camera.next(), Err(CameraError::Ended { .. })));
    }
}

#[test]
fn a_late_reader_gets_the_picture_that_is_due_from_every_kind_of_clip() {
    let folder = Folder::new();
    let pictures = folder.path("pictures");
    std::fs::create_dir(&pictures).expect("create");
    (0..8).for_each(|n| std::fs::write(pictures.join(format!("{n}.jpg")), jpeg(n)).expect("write"));
    for path in [pictures, folder.put("a.mjpeg", mjpeg(0..8)), folder.put("a.y4m", y4m(0..8, "10:1"))] {
        let (mut camera, clock) = simulated(&path, "");
        assert_eq!(told(&camera.next().expect("a frame")), (0, 0));
        clock.advance(Duration::from_millis(530));
        let frame = camera.next().expect("a frame");
        assert_eq!((told(&frame), frame.captured.as_millis()), ((5, 5), 530), "{}", path.display());
        let frame = camera.next().expect("a frame");
        assert_eq!((told(&frame), frame.captured.as_millis()), ((6, 6), 600));
        clock.advance(Duration::from_secs(3600));
        assert!(matches!(camera.next(), Err(CameraError::Ended { .. })));
    }
}

#[test]
fn a_loop_goes_on_from_the_start_in_every_kind_of_clip() {
    let folder = Folder::new();
    let pictures = folder.path("pictures");
    std::fs::create_dir(&pictures).expect("create");
    (0..3).for_each(|n| std::fs::write(pictures.join(format!("{n}.jpg")), jpeg(n)).expect("write"));
    for path in [pictures, folder.put("a.mjpeg", mjpeg(0..3)), folder.put("a.y4m", y4m(0..3, "10:1"))] {
        let (mut camera, _) = simulated(&path, "?loop");
        let frames: Vec<_> = (0..7).map(|_| told(&camera.next().expect("a frame"))).collect();
        assert_eq!(frames, [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1), (5, 2), (6, 0)], "{}", path.display());
    }
}

#[test]
fn a_clip_through_the_front_door_keeps_real_time() {
    let folder = Folder::new();
    let path = folder.put("a.mjpeg", mjpeg(0..3));
    let mut camera = open(&clip_spec(&path, "?fps=50"));
    let frames: Vec<Frame> = std::iter::from_fn(|| camera.next().ok()).collect();
    assert_eq!(frames.first().map(told), Some((0, 0)));
    for frame in &frames {
        let after = frame.captured.since(frames[0].captured);
        assert!(after >= Duration::from_millis(20 * frame.seq), "picture {} after {after:?}", frame.seq);
    }
}

#[test]
fn what_is_wrong_with_a_clip_is_said() {
    let folder = Folder::new();
    let empty_folder = folder.path("empty");
    std::fs::create_dir(&empty_folder).expect("create");
    let pictures = folder.path("pictures");
    std::fs::create_dir(&pictures).expect("create");
    std::fs::write(pictures.join("1.jpg"), jpeg(1)).expect("write");
    std::fs::write(pictures.join("2.jpg"), cut_jpeg(2)).expect("write");
    let huge_y4m = b"YUV4MPEG2 W100000 H100000 F25:1\nFRAME\n";
    let mut huge_jpeg = jpeg(0);
    let header = huge_jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).expect("a frame header");
    huge_jpeg[header + 5..header + 9].copy_from_slice(&[0xFF; 4]);
    let two_and_a_half = [mjpeg(0..2), cut_jpeg(2)].concat();
    let cut_at = mjpeg(0..2).len();
    let damaged_middle = [jpeg(0), cut_jpeg(1), jpeg(2)].concat();
    let whole_y4m = y4m(0..3, "25:1");

    let cases: Vec<(PathBuf, usize, String)> = vec![
        (folder.path("nothing"), 0, "there is no such folder or file; check the path".into()),
        (empty_folder, 0, "there is no picture in the folder; it needs files that end in jpg".into()),
        (pictures, 1, "2.jpg: the file is cut short".into()),
        (folder.put("empty.mjpeg", ""), 0, "the file is empty".into()),
        (folder.put("text.mjpeg", "hello"), 0, "it holds no JPEG picture; a clip is a folder".into()),
        (folder.put("noise.bin", vec![7; 3 << 20]), 0, "it holds no JPEG picture".into()),
        (folder.put("film.mp4", b"\0\0\0\x20ftypisom\0\0\x02\0"), 0, "MP4 recordings are not read".into()),
        (folder.put("raw.h264", b"\0\0\0\x01\x67\x42"), 0, "-c:v mjpeg".into()),
        (
            folder.put("cut.mjpeg", two_and_a_half),
            2,
            format!("cut short in picture 3, which starts at byte {cut_at}"),
        ),
        (
            folder.put("damaged.mjpeg", damaged_middle),
            1,
            format!("picture 2, at byte {}, cannot be shown", jpeg(0).len()),
        ),
        (folder.put("huge.mjpeg", huge_jpeg), 0, "65535×65535 px".into()),
        (folder.put("tail.mjpeg", [jpeg(0), vec![7; 3 << 20]].concat()), 1, "behind picture 1".into()),
        (folder.put("huge.y4m", huge_y4m), 0, "100000×100000 px are larger".into()),
        (folder.put("cut.y4m", &whole_y4m[..whole_y4m.len() - 1]), 2, "cut short in picture 3".into()),
        (
            folder.put("deep.y4m", b"YUV4MPEG2 W2 H2 C420p10\n"),
            0,
            "pixel layout \"420p10\" is not read".into(),
        ),
    ];
    for (path, frames, expected) in cases {
        let (seen, message) = failure(&path);
        assert!(message.contains(&expected), "{expected} / {message}");
        assert!(message.starts_with(&format!("camera clip:{}?pace=off: ", path.display())), "{message}");
        assert_eq!(seen, frames, "{message}");
    }
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let error = try_open(&"v4l:/dev/v4l/by-id/nobody".parse().expect("a spec")).err().expect("must fail");
    let message = error.to_string();
    assert!(message.starts_with("camera v4l:/dev/v4l/by-id/nobody: "), "{message}");
    let expected = if cfg!(feature = "v4l") { "cameras here:" } else { "built without V4L2 cameras" };
    assert!(message.contains(expected), "{message}");
}

/// A program camera: `sh -c SCRIPT`.
fn shell(script: &str) -> CameraSpec {
    CameraSpec::Command(["sh", "-c", script].map(str::to_owned).to_vec())
}

/// The next frame of a live camera, in time.
fn next(mut camera: Box<dyn Camera>) -> (Box<dyn Camera>, Result<Frame, CameraError>) {
    let (answer, answered) = mpsc::channel();
    std::thread::spawn(move || {
        let frame = camera.next();
        let _ = answer.send((camera, frame));
    });
    answered.recv_timeout(PATIENCE).expect("the camera hangs")
}

/// The error of a live camera that gives no frame.
fn next_failure(spec: &CameraSpec) -> String {
    match next(open(spec)).1 {
        Ok(frame) => panic!("frame {}", frame.seq),
        Err(error) => chain(&error),
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process runs; one that is dead and only waits to be reaped does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

#[test]
fn a_program_is_a_camera_and_its_frames_come_as_it_writes_them() {
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    let spec: CameraSpec = format!("command:cat '{}'", pipe.display()).parse().expect("a spec");
    let mut camera = open(&spec);
    assert_eq!(camera.describe(), spec.to_string());
    let mut input = std::fs::OpenOptions::new().write(true).open(&pipe).expect("the program reads");
    let mut before = SystemClock.now();
    for n in 0..4u8 {
        let (half, rest) = (jpeg(n)[..300].to_vec(), jpeg(n)[300..].to_vec());
        input.write_all(&half).and_then(|()| input.write_all(&rest)).expect("write");
        let (back, frame) = next(camera);
        camera = back;
        let frame = frame.expect("a frame");
        assert_eq!(told(&frame), (u64::from(n), n));
        assert!(frame.captured >= before && frame.captured <= SystemClock.now());
        before = frame.captured;
    }
    drop(input);
    let (_, end) = next(camera);
    let message = chain(&end.expect_err("the program has ended"));
    assert!(message.contains("its output ended after 4 pictures; it ended (exit status: 0)"), "{message}");
}

#[test]
fn the_last_picture_is_delivered_before_the_end_is_told() {
    let folder = Folder::new();
    let path = folder.put("a.mjpeg", mjpeg(0..5));
    let (camera, mut frame) = next(open(&shell(&format!("cat '{}'", path.display()))));
    let mut camera = camera;
    let mut last = None;
    while let Ok(seen) = frame {
        last = Some(told(&seen));
        (camera, frame) = next(camera);
    }
    assert_eq!(last, Some((4, 4)));
    drop(camera);
}

#[test]
fn a_program_that_dies_is_told_with_its_status_and_last_words() {
    let message = next_failure(&shell("for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 3"));
    assert!(message.contains("after 0 pictures; it ended (exit status: 3)"), "{message}");
    assert!(message.contains("it said: line 3 | line 4 | line 5 | line 6 | line 7"), "{message}");
    let message = next_failure(&shell("kill -SEGV $$"));
    assert!(message.contains("signal: 11"), "{message}");
    assert!(message.contains("it said nothing"), "{message}");
}

#[test]
fn last_words_are_kept_short_and_printable() {
    let message = next_failure(&shell(r"printf 'frame 1\rframe 2\r\033[31mred\n\n\nblue' >&2"));
    assert!(message.ends_with("it said: [31mred | blue"), "{message}");
    let message = next_failure(&shell(r"head -c 100000 /dev/zero | tr '\0' x >&2"));
    assert!(message.ends_with(&format!("| {}", "x".repeat(200))), "{message}");
    assert!(message.len() < 1500, "{} bytes", message.len());
}

#[test]
fn a_program_that_only_closes_its_output_is_ended() {
    let message = next_failure(&shell("exec >&-; exec sleep 600"));
    assert!(message.contains("it went on running and was killed"), "{message}");
}

#[test]
fn a_program_that_cannot_be_started_is_told() {
    let folder = Folder::new();
    let script = folder.put("camera.sh", "#!/bin/sh\n");
    for (spec, expected) in [
        ("command:no-such-camera-program --fast".to_owned(), "there is no such program; install it"),
        (format!("command:'{}'", script.display()), "it may not be executed; check its permissions"),
    ] {
        let error = try_open(&spec.parse().expect("a spec")).err().expect("must fail");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_program_that_writes_something_else_is_told() {
    let message = next_failure(&shell("exec yes 'this is no picture'"));
    assert!(message.contains("it wrote 1024 KiB without a JPEG picture; it must write MJPEG"), "{message}");
}

#[test]
fn broken_pictures_between_good_ones_are_skipped() {
    let folder = Folder::new();
    let bytes: Vec<u8> = (0..9).flat_map(cut_jpeg).chain(jpeg(7)).collect();
    let path = folder.put("a.mjpeg", bytes);
    let (_camera, frame) = next(open(&shell(&format!("cat '{}'; exec sleep 600", path.display()))));
    assert_eq!(told(&frame.expect("a frame")), (0, 7));
}

#[test]
fn ten_broken_pictures_in_a_row_are_an_error() {
    let folder = Folder::new();
    let bytes: Vec<u8> = (0..11).flat_map(cut_jpeg).collect();
    let path = folder.put("a.mjpeg", bytes);
    let message = next_failure(&shell(&format!("cat '{}'; exec sleep 600", path.display())));
    assert!(message.contains("10 broken pictures in a row"), "{message}");
    assert!(message.contains("another picture starts before its end; check the cable"), "{message}");
}

#[test]
fn the_program_and_what_it_started_die_with_the_camera() {
    let folder = Folder::new();
    let picture = folder.put("a.jpg", jpeg(3));
    let pids = folder.path("pids");
    let script = format!("sleep 600 & echo $$ $! > '{}'; cat '{}'; wait", pids.display(), picture.display());
    let (camera, frame) = next(open(&shell(&script)));
    assert_eq!(told(&frame.expect("a frame")), (0, 3));
    let started = std::fs::read_to_string(&pids).expect("written before the picture");
    let started: Vec<&str> = started.split_whitespace().collect();
    assert_eq!(started.len(), 2);
    assert!(started.iter().all(|pid| runs(pid)));
    drop(camera);
    assert!(!Path::new(&format!("/proc/{}", started[0])).exists(), "the program was not reaped");
    wait_for("what the program started still runs", || !runs(started[1]));
}

#[test]
fn a_slow_reader_of_a_live_camera_gets_the_newest_picture() {
    let folder = Folder::new();
    let path = folder.put("a.mjpeg", mjpeg(0..9));
    let written = folder.path("written");
    let script = format!("cat '{}'; : > '{}'; exec sleep 600", path.display(), written.display());
    let camera = open(&shell(&script));
    wait_for("the program writes", || written.exists());
    // What the pipe still holds is read while we wait for it; the last picture stays.
    let (mut camera, mut frame) = next(camera);
    while frame.as_ref().is_ok_and(|frame| frame.seq < 8) {
        (camera, frame) = next(camera);
    }
    assert_eq!(told(&frame.expect("a frame")), (8, 8));
    drop(camera);
}
