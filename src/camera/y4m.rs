//! Y4M (YUV4MPEG2) recordings: raw YCbCr frames behind a line of text.
//!
//! 8 bits a sample, 4:2:0, 4:2:2, 4:4:4 and grey; BT.601 limited range unless the header has `XCOLORRANGE=FULL`. The
//! format is described in the manual page yuv4mpeg(5) of mjpegtools.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use image::RgbImage;

use super::Fault;
use super::clip::Recording;
use super::pacing::FrameRate;
use super::pixels::{self, Chroma, Range};
use crate::frame::MAX_FRAME_PIXELS;

/// How every Y4M file begins.
pub(super) const MAGIC: &[u8] = b"YUV4MPEG2";

/// The longest line of text that is looked at.
const MAX_LINE_BYTES: u64 = 4096;

/// What the first line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    width: u32,
    height: u32,
    rate: Option<FrameRate>,
    chroma: Chroma,
    range: Range,
}

impl Header {
    fn parse(line: &str) -> Result<Self, Fault> {
        let mut words = line.split(' ');
        if words.next().map(str::as_bytes) != Some(MAGIC) {
            return Err(Fault::new("its first line is not that of a Y4M file"));
        }
        let mut header =
            Self { width: 0, height: 0, rate: None, chroma: Chroma::C420, range: Range::Limited };
        for word in words {
            let Some(tag) = word.chars().next() else { continue };
            let value = &word[tag.len_utf8()..];
            match tag {
                'W' => header.width = number(word, value)?,
                'H' => header.height = number(word, value)?,
                'F' => header.rate = rate(value),
                'C' => header.chroma = chroma(value)?,
                'X' if value == "COLORRANGE=FULL" => header.range = Range::Full,
                // Interlacing, pixel aspect and comments change nothing here.
                _ => {}
            }
        }
        header.checked()
    }

    fn checked(self) -> Result<Self, Fault> {
        let (width, height) = (self.width, self.height);
        if width == 0 || height == 0 {
            return Err(Fault::new("its header has no width (W…) or no height (H…)"));
        }
        if u64::from(width) * u64::from(height) > MAX_FRAME_PIXELS {
            return Err(Fault::new(format!(
                "its pictures of {width}×{height} px are larger than the {MAX_FRAME_PIXELS} px allowed; scale it down"
            )));
        }
        Ok(self)
    }

    fn frame_bytes(&self) -> usize {
        self.chroma.frame_bytes(self.width as usize, self.height as usize)
    }
}

fn number(word: &str, value: &str) -> Result<u32, Fault> {
    value.parse().map_err(|_| Fault::new(format!("its header has \"{word}\" where a size in px belongs")))
}

/// `30000:1001`; unknown (`0:0`) and impossible rates are none.
fn rate(value: &str) -> Option<FrameRate> {
    let (pictures, seconds) = value.split_once(':')?;
    FrameRate::new(pictures.parse().ok()?, seconds.parse().ok()?).ok()
}

fn chroma(value: &str) -> Result<Chroma, Fault> {
    match value {
        // They differ in where a chroma sample sits, by less than a pixel.
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => Ok(Chroma::C420),
        "422" => Ok(Chroma::C422),
        "444" => Ok(Chroma::C444),
        "mono" => Ok(Chroma::Mono),
        other => Err(Fault::new(format!(
            "its pixel layout \"{other}\" is not read; known are 420, 420jpeg, 420mpeg2, 420paldv, 422, 444 and mono \
             (ffmpeg … -pix_fmt yuv420p)"
        ))),
    }
}

/// Frames one behind the other from `input`.
struct Reader<R> {
    input: R,
    header: Header,
    frame: Vec<u8>,
    offset: u64,
    number: u64,
}

impl<R: BufRead> Reader<R> {
    fn new(mut input: R) -> Result<Self, Fault> {
        let line = read_line(&mut input)?.unwrap_or_default();
        let header = Header::parse(&String::from_utf8_lossy(&line))?;
        let frame = vec![0; header.frame_bytes()];
        Ok(Self { input, header, frame, offset: line.len() as u64 + 1, number: 0 })
    }

    /// Reads the next frame's samples; `false` at the end.
    fn read(&mut self) -> Result<bool, Fault> {
        let start = self.offset;
        let number = self.number + 1;
        let Some(line) = read_line(&mut self.input)? else { return Ok(false) };
        if !(line == b"FRAME" || line.starts_with(b"FRAME ")) {
            return Err(Fault::new(format!(
                "picture {number}, at byte {start}, is damaged: it does not begin with FRAME; record it again"
            )));
        }
        self.input.read_exact(&mut self.frame).map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => Fault::new(format!(
                "it is cut short in picture {number}, which starts at byte {start}; cut it there \
                 (truncate -s {start}) or record it again"
            )),
            _ => reading(source),
        })?;
        self.offset = start + line.len() as u64 + 1 + self.frame.len() as u64;
        self.number = number;
        Ok(true)
    }

    fn image(&self) -> Result<RgbImage, Fault> {
        let Header { width, height, chroma, range, .. } = self.header;
        pixels::planar(width, height, chroma, range, &self.frame)
            .map_err(|short| Fault::new(short.to_string()))
    }
}

fn reading(source: std::io::Error) -> Fault {
    Fault::with("reading it failed; check the disk", source)
}

/// A line without its end, `None` at the end of the file.
fn read_line(input: &mut impl BufRead) -> Result<Option<Vec<u8>>, Fault> {
    let mut line = Vec::new();
    input.take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(reading)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(Fault::new("a line of its header has no end; it is cut short or no Y4M file"));
    }
    Ok(Some(line))
}

/// A Y4M file played as a recording.
pub(super) struct Y4mFile {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
}

impl Y4mFile {
    pub(super) fn open(path: &Path) -> Result<Self, Fault> {
        let file = File::open(path).map_err(|source| Fault::with("it could not be opened", source))?;
        let reader = Reader::new(BufReader::with_capacity(256 << 10, file))?;
        Ok(Self { path: path.to_path_buf(), reader })
    }
}

impl Recording for Y4mFile {
    fn next(&mut self) -> Result<Option<RgbImage>, Fault> {
        if self.reader.read()? { self.reader.image().map(Some) } else { Ok(None) }
    }

    fn skip(&mut self) -> Result<bool, Fault> {
        self.reader.read()
    }

    fn rewind(&mut self) -> Result<(), Fault> {
        *self = Self::open(&self.path)?;
        Ok(())
    }

    fn rate(&self) -> Option<FrameRate> {
        self.reader.header.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(bytes: &[u8]) -> Result<Vec<RgbImage>, Fault> {
        let mut reader = Reader::new(bytes)?;
        let mut images = Vec::new();
        while reader.read()? {
            images.push(reader.image()?);
        }
        Ok(images)
    }

    fn message(bytes: &[u8]) -> String {
        frames(bytes).expect_err("must be refused").to_string()
    }

    /// A file from the y4m crate's writer: an opinion that is not ours.
    fn written(width: usize, height: usize, space: y4m::Colorspace, frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = y4m::encode(width, height, y4m::Ratio::new(30000, 1001))
            .with_colorspace(space)
            .write_header(&mut bytes)
            .expect("header");
        let luma = width * height;
        for frame in frames {
            let (y, rest) = frame.split_at(luma);
            let (u, v) = rest.split_at(rest.len() / 2);
            encoder.write_frame(&y4m::Frame::new([y, u, v], None)).expect("frame");
        }
        bytes
    }

    #[test]
    fn every_layout_is_read_at_odd_sizes_too() {
        let table = [
            (y4m::Colorspace::C420, Chroma::C420),
            (y4m::Colorspace::C420jpeg, Chroma::C420),
            (y4m::Colorspace::C420paldv, Chroma::C420),
            (y4m::Colorspace::C420mpeg2, Chroma::C420),
            (y4m::Colorspace::C422, Chroma::C422),
            (y4m::Colorspace::C444, Chroma::C444),
            (y4m::Colorspace::Cmono, Chroma::Mono),
        ];
        for (space, chroma) in table {
            let data: Vec<Vec<u8>> = (0..3u8)
                .map(|n| (0..chroma.frame_bytes(7, 5)).map(|i| (i * 37) as u8 ^ n).collect())
                .collect();
            let read = frames(&written(7, 5, space, &data)).expect("reads");
            let expected = data.iter().map(|d| pixels::planar(7, 5, chroma, Range::Limited, d));
            assert_eq!(read, expected.collect::<Result<Vec<_>, _>>().expect("long enough"), "{space:?}");
        }
    }

    #[test]
    fn the_header_is_understood() {
        let header = |text: &str| Header::parse(text).expect(text);
        let plain = header("YUV4MPEG2 W4 H2");
        assert_eq!((plain.width, plain.height, plain.rate), (4, 2, None));
        assert_eq!((plain.chroma, plain.range), (Chroma::C420, Range::Limited));
        let full = header("YUV4MPEG2 W4 H2 F30000:1001 Ip A1:1 Cmono XYSCSS=420JPEG XCOLORRANGE=FULL é");
        assert_eq!(full.rate, FrameRate::new(30000, 1001).ok());
        assert_eq!((full.chroma, full.range), (Chroma::Mono, Range::Full));
        assert_eq!(header("YUV4MPEG2 W4 H2 F0:0").rate, None);
    }

    #[test]
    fn grey_spans_its_range() {
        let limited = frames(b"YUV4MPEG2 W3 H1 Cmono\nFRAME\n\x10\x7E\xEB").expect("reads");
        assert_eq!(limited[0].as_raw(), &[0, 0, 0, 128, 128, 128, 255, 255, 255]);
        let full = frames(b"YUV4MPEG2 W3 H1 Cmono XCOLORRANGE=FULL\nFRAME Ip\n\x00\x7E\xFF").expect("reads");
        assert_eq!(full[0].as_raw(), &[0, 0, 0, 126, 126, 126, 255, 255, 255]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (bytes, expected) in [
            (&b""[..], "not that of a Y4M file"),
            (b"YUV4MPEG W1 H1\n", "not that of a Y4M file"),
            (b"YUV4MPEG2 W1 H1", "has no end"),
            (b"YUV4MPEG2 H2\n", "no width"),
            (b"YUV4MPEG2 W2\n", "no height"),
            (b"YUV4MPEG2 W2 H0\n", "no height"),
            (b"YUV4MPEG2 Wxx H2\n", "\"Wxx\" where a size in px belongs"),
            (b"YUV4MPEG2 W-4 H2\n", "\"W-4\""),
            (b"YUV4MPEG2 W4294967295 H4294967295\n", "4294967295×4294967295 px are larger"),
            (b"YUV4MPEG2 W99999999999999999999 H1\n", "where a size in px belongs"),
            (b"YUV4MPEG2 W4 H2 C420p10\n", "\"420p10\" is not read; known are 420"),
            (b"YUV4MPEG2 W4 H2 C411\n", "-pix_fmt yuv420p"),
            (b"YUV4MPEG2 W1 H1 Cmono\nFRAME\nxFRAME\n", "cut short in picture 2, which starts at byte 29"),
            (b"YUV4MPEG2 W1 H1 Cmono\nFRAME\nxFRUME\ny", "picture 2, at byte 29, is damaged"),
            (b"YUV4MPEG2 W1 H1 Cmono\nFRAME\nxFRA", "has no end"),
        ] {
            let message = message(bytes);
            assert!(message.contains(expected), "{expected} / {message}");
        }
        let endless = [MAGIC, &vec![b' '; 10_000]].concat();
        assert!(message(&endless).contains("has no end"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            header in "YUV4MPEG2( [WHFCIAX][0-9:a-z=]{0,6}){0,6}\n",
            body in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let _ = frames(&[header.as_bytes(), b"FRAME\n", &body].concat());
            let _ = frames(&body);
        }
    }
}
