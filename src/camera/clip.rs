//! A recording as a camera: plays in real time and drops what the reader is too slow for, as a real one does.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use image::RgbImage;

use super::folder::Folder;
use super::mjpeg::MjpegFile;
use super::pacing::{FrameRate, Pacer, Waiter};
use super::spec::{CameraSpec, ClipSpec};
use super::y4m::{self, Y4mFile};
use super::{Camera, CameraError, Fault, WantedFormat};
use crate::clock::Clock;
use crate::frame::Frame;

/// Pictures in their order.
pub(super) trait Recording: Send {
    /// The next picture, `None` at the end.
    fn next(&mut self) -> Result<Option<RgbImage>, Fault>;
    /// Passes over the next picture without decoding it; `false` at the end.
    fn skip(&mut self) -> Result<bool, Fault>;
    /// Back to the first picture.
    fn rewind(&mut self) -> Result<(), Fault>;
    /// Pictures a second, if the recording tells.
    fn rate(&self) -> Option<FrameRate>;
}

/// A recording that is played.
pub struct ClipCamera {
    name: String,
    recording: Box<dyn Recording>,
    repeat: bool,
    pacer: Pacer,
    clock: Arc<dyn Clock>,
    /// Number of the first picture of this pass; passes before it count on.
    base: u64,
    /// Pictures of this pass that are behind us.
    passed: u64,
    /// Pictures of one pass, once the end was seen.
    length: Option<u64>,
}

impl ClipCamera {
    /// Opens the recording; it starts playing when the first frame is asked for. `waiter` waits until a picture is
    /// due.
    ///
    /// # Errors
    /// When there is no recording at the path or not one of a known kind.
    pub fn open(
        spec: &ClipSpec,
        wanted: WantedFormat,
        clock: Arc<dyn Clock>,
        waiter: Box<dyn Waiter>,
    ) -> Result<Self, CameraError> {
        let name = CameraSpec::Clip(spec.clone()).to_string();
        let opened = open_recording(&spec.path).and_then(|recording| {
            let rate = if spec.paced { Some(rate_of(spec, &*recording, wanted)?) } else { None };
            Ok((recording, rate))
        });
        let (recording, rate) = opened.map_err(|fault| fault.of(&name))?;
        let pacer = Pacer::new(rate, clock.clone(), waiter);
        Ok(Self { name, recording, repeat: spec.repeat, pacer, clock, base: 0, passed: 0, length: None })
    }

    /// Picture `index`, counted over all passes; `None` behind the end.
    fn picture(&mut self, index: u64) -> Result<Option<RgbImage>, Fault> {
        loop {
            let wanted = index - self.base;
            if let Some(length) = self.length.filter(|&length| wanted >= length) {
                self.base += wanted / length * length;
                self.passed = 0;
                self.recording.rewind()?;
                continue;
            }
            if self.passed < wanted {
                if self.recording.skip()? {
                    self.passed += 1;
                    continue;
                }
            } else if let Some(image) = self.recording.next()? {
                self.passed += 1;
                return Ok(Some(image));
            }
            if !self.repeat || self.passed == 0 {
                return Ok(None);
            }
            self.length = Some(self.passed);
        }
    }
}

impl Camera for ClipCamera {
    fn next(&mut self) -> Result<Frame, CameraError> {
        let seq = self.pacer.next_index();
        let captured = self.clock.now();
        match self.picture(seq) {
            Ok(Some(image)) => Ok(Frame { seq, captured, image }),
            Ok(None) => Err(CameraError::Ended { camera: self.name.clone() }),
            Err(fault) => Err(fault.of(&self.name)),
        }
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

/// What the configuration of the clip says, else the recording, else the configuration of the camera.
fn rate_of(spec: &ClipSpec, recording: &dyn Recording, wanted: WantedFormat) -> Result<FrameRate, Fault> {
    if let Some(rate) = spec.fps.or(recording.rate()) {
        return Ok(rate);
    }
    FrameRate::whole(wanted.fps).map_err(|error| Fault::new(format!("camera.fps: {error}")))
}

fn open_recording(path: &Path) -> Result<Box<dyn Recording>, Fault> {
    let kind = std::fs::metadata(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Fault::new("there is no such folder or file; check the path"),
        _ => Fault::with("it could not be opened; check its permissions", source),
    })?;
    if kind.is_dir() {
        return Ok(Box::new(Folder::open(path)?));
    }
    if !kind.is_file() {
        return Err(Fault::new("this is neither a folder nor a regular file; a pipe goes with command:"));
    }
    let start = start_of(path)?;
    match start.as_slice() {
        [] => Err(Fault::new("the file is empty; record it again")),
        start if start.starts_with(y4m::MAGIC) => Ok(Box::new(Y4mFile::open(path)?)),
        start => match foreign_container(start) {
            Some(kind) => Err(Fault::new(format!(
                "{kind} recordings are not read; convert it: ffmpeg -i RECORDING -c:v mjpeg -q:v 3 -f mjpeg \
                 RECORDING.mjpeg"
            ))),
            None => Ok(Box::new(MjpegFile::open(path)?)),
        },
    }
}

fn start_of(path: &Path) -> Result<Vec<u8>, Fault> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(16).read_to_end(&mut start))
        .map_err(|source| Fault::with("it could not be opened; check its permissions", source))?;
    Ok(start)
}

/// The name of a container that people have and accessd does not read.
fn foreign_container(start: &[u8]) -> Option<&'static str> {
    match start {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some("MP4"),
        [0x1A, 0x45, 0xDF, 0xA3, ..] => Some("Matroska and WebM"),
        [0, 0, 1, ..] | [0, 0, 0, 1, ..] => Some("H.264 and H.265"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::pacing::tests::{Advance, sim_clock};
    use super::*;
    use crate::clock::SimClock;
    use image::Rgb;
    use std::time::Duration;

    /// Pictures 0, 1, 2 … by colour; counts what was decoded.
    struct Counting {
        length: u8,
        at: u8,
        decoded: Arc<std::sync::Mutex<Vec<u8>>>,
    }

    impl Recording for Counting {
        fn next(&mut self) -> Result<Option<RgbImage>, Fault> {
            let at = self.at;
            if !self.skip()? {
                return Ok(None);
            }
            self.decoded.lock().expect("no panic").push(at);
            Ok(Some(RgbImage::from_pixel(1, 1, Rgb([at; 3]))))
        }

        fn skip(&mut self) -> Result<bool, Fault> {
            let there = self.at < self.length;
            self.at += u8::from(there);
            Ok(there)
        }

        fn rewind(&mut self) -> Result<(), Fault> {
            self.at = 0;
            Ok(())
        }

        fn rate(&self) -> Option<FrameRate> {
            None
        }
    }

    struct Played {
        camera: ClipCamera,
        clock: Arc<SimClock>,
        decoded: Arc<std::sync::Mutex<Vec<u8>>>,
    }

    fn play(length: u8, fps: Option<u32>, repeat: bool) -> Played {
        let clock = sim_clock();
        let decoded = Arc::default();
        let recording = Box::new(Counting { length, at: 0, decoded: Arc::clone(&decoded) });
        let rate = fps.map(|fps| FrameRate::whole(fps).expect("in range"));
        let pacer = Pacer::new(rate, clock.clone(), Box::new(Advance(clock.clone())));
        let camera = ClipCamera {
            name: "clip:test".into(),
            recording,
            repeat,
            pacer,
            clock: clock.clone(),
            base: 0,
            passed: 0,
            length: None,
        };
        Played { camera, clock, decoded }
    }

    /// Number, capture time in ms and colour of the next frame.
    fn next(played: &mut Played) -> Option<(u64, u64, u8)> {
        match played.camera.next() {
            Ok(frame) => Some((frame.seq, frame.captured.as_millis(), frame.image.get_pixel(0, 0)[0])),
            Err(CameraError::Ended { camera }) => {
                assert_eq!(camera, "clip:test");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn plays_in_time_and_ends() {
        let mut played = play(3, Some(10), false);
        let frames: Vec<_> = (0..5).map(|_| next(&mut played)).collect();
        assert_eq!(frames, [Some((0, 1000, 0)), Some((1, 1100, 1)), Some((2, 1200, 2)), None, None]);
    }

    #[test]
    fn a_slow_reader_misses_pictures_and_the_count_shows_it() {
        let mut played = play(9, Some(10), false);
        assert_eq!(next(&mut played), Some((0, 1000, 0)));
        played.clock.advance(Duration::from_millis(450));
        assert_eq!(next(&mut played), Some((4, 1450, 4)));
        assert_eq!(next(&mut played), Some((5, 1500, 5)));
        assert_eq!(*played.decoded.lock().expect("no panic"), [0, 4, 5]);
        played.clock.advance(Duration::from_secs(60));
        assert_eq!(next(&mut played), None);
    }

    #[test]
    fn a_loop_starts_again_and_counts_on() {
        let mut played = play(3, None, true);
        let frames: Vec<_> = (0..7).filter_map(|_| next(&mut played)).map(|f| (f.0, f.2)).collect();
        assert_eq!(frames, [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1), (5, 2), (6, 0)]);
    }

    #[test]
    fn a_late_reader_of_a_loop_comes_out_where_the_loop_is() {
        let mut played = play(3, Some(10), true);
        assert_eq!(next(&mut played), Some((0, 1000, 0)));
        played.clock.advance(Duration::from_secs(100));
        assert_eq!(next(&mut played), Some((1000, 101_000, 1)));
        assert_eq!(next(&mut played), Some((1001, 101_100, 2)));
        assert_eq!(next(&mut played), Some((1002, 101_200, 0)));
    }

    #[test]
    fn a_loop_of_nothing_ends() {
        assert_eq!(next(&mut play(0, None, true)), None);
    }

    #[test]
    fn containers_are_told_by_their_first_bytes() {
        assert_eq!(foreign_container(b"\0\0\0\x20ftypisom"), Some("MP4"));
        assert_eq!(foreign_container(b"\x1A\x45\xDF\xA3\x01"), Some("Matroska and WebM"));
        assert_eq!(foreign_container(b"\0\0\0\x01\x67"), Some("H.264 and H.265"));
        assert_eq!(foreign_container(b"\xFF\xD8\xFF\xE0"), None);
        assert_eq!(foreign_container(b"RIFF\x00\x00\x00\x00AVI "), None);
    }
}
