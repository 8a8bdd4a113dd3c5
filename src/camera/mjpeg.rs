//! MJPEG: a stream of bytes taken apart into JPEG pictures, and a file of them played as a recording.
//!
//! What lies between the pictures is ignored, so that HTTP multipart streams and MJPEG in AVI pass too.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use image::RgbImage;

use super::Fault;
use super::clip::Recording;
use super::pacing::FrameRate;
use crate::frame::{MAX_FRAME_PIXELS, MAX_STREAM_JPEG_BYTES, Step, Walk, decode_jpeg};

/// So many bytes without the start of a picture are no MJPEG: 1 MiB.
pub const MAX_JUNK_BYTES: usize = 1 << 20;

/// Bytes read at a time.
pub(super) const CHUNK: usize = 64 << 10;

/// The start of a picture: SOI, and the first byte of the marker that always follows.
const START: [u8; 3] = [0xFF, 0xD8, 0xFF];

/// What a [`Splitter`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A whole picture.
    Picture {
        /// Where in the stream it starts, in bytes.
        offset: u64,
        /// From SOI to EOI.
        bytes: Vec<u8>,
    },
    /// The start of a picture that does not go on as one; the search continues behind it.
    Broken {
        /// Where in the stream it starts, in bytes.
        offset: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// [`MAX_JUNK_BYTES`] without the start of a picture.
    Junk {
        /// Where in the stream they end, in bytes.
        offset: u64,
    },
}

/// Takes a stream apart into pictures. What it finds does not depend on how the stream is cut into chunks.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    offset: u64,
    walk: Option<Walk>,
    junk: usize,
}

impl Splitter {
    /// More of the stream. Ask [`Splitter::next_piece`] until it has nothing before the next chunk.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next piece, `None` when more bytes are needed for it.
    pub fn next_piece(&mut self) -> Option<Piece> {
        let walk = match &mut self.walk {
            Some(walk) => walk,
            None => {
                if let Some(junk) = self.find_start() {
                    return Some(junk);
                }
                if !self.buffer.starts_with(&START) {
                    return None;
                }
                self.walk.insert(Walk::new(MAX_STREAM_JPEG_BYTES))
            }
        };
        let offset = self.offset;
        match walk.advance(&self.buffer) {
            Step::More => None,
            Step::Whole(length) => {
                self.walk = None;
                self.offset += length as u64;
                let rest = self.buffer.split_off(length);
                Some(Piece::Picture { offset, bytes: std::mem::replace(&mut self.buffer, rest) })
            }
            Step::Broken { why, resume } => {
                self.walk = None;
                self.drop_bytes(resume);
                Some(Piece::Broken { offset, why })
            }
        }
    }

    /// Where an unfinished picture starts, when the stream ends here.
    pub fn unfinished(&self) -> Option<u64> {
        self.walk.as_ref().map(|_| self.offset)
    }

    /// Drops what lies before the next start of a picture; [`Piece::Junk`] when that is too much.
    fn find_start(&mut self) -> Option<Piece> {
        let start = self.buffer.windows(START.len()).position(|window| window == START);
        // Without a start the last two bytes may be the first two of one.
        let junk = start.unwrap_or(self.buffer.len().saturating_sub(START.len() - 1));
        let allowed = MAX_JUNK_BYTES - self.junk;
        if junk > allowed {
            self.drop_bytes(allowed);
            self.junk = 0;
            return Some(Piece::Junk { offset: self.offset });
        }
        self.drop_bytes(junk);
        self.junk = if start.is_some() { 0 } else { self.junk + junk };
        None
    }

    fn drop_bytes(&mut self, count: usize) {
        self.buffer.drain(..count);
        self.offset += count as u64;
    }
}

/// A file of JPEG pictures one behind the other.
pub(super) struct MjpegFile {
    path: PathBuf,
    file: File,
    splitter: Splitter,
    chunk: Vec<u8>,
    number: u64,
}

impl MjpegFile {
    pub(super) fn open(path: &Path) -> Result<Self, Fault> {
        let file = File::open(path).map_err(|source| Fault::with("it could not be opened", source))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            splitter: Splitter::default(),
            chunk: vec![0; CHUNK],
            number: 0,
        })
    }

    /// The next picture's bytes and offset, `None` at the end.
    fn next_bytes(&mut self) -> Result<Option<(u64, Vec<u8>)>, Fault> {
        loop {
            match self.splitter.next_piece() {
                Some(Piece::Picture { offset, bytes }) => {
                    self.number += 1;
                    return Ok(Some((offset, bytes)));
                }
                Some(Piece::Broken { offset, why }) => {
                    let why = format!("the JPEG picture is damaged: {why}");
                    return Err(damaged(self.number + 1, offset, why));
                }
                Some(Piece::Junk { .. }) if self.number == 0 => return Err(no_pictures()),
                Some(Piece::Junk { offset }) => {
                    return Err(Fault::new(format!(
                        "behind picture {} there is no other up to byte {offset}; cut the file there",
                        self.number
                    )));
                }
                None if !self.fill()? => return self.at_end(),
                None => {}
            }
        }
    }

    fn fill(&mut self) -> Result<bool, Fault> {
        let count = self
            .file
            .read(&mut self.chunk)
            .map_err(|source| Fault::with("reading it failed; check the disk", source))?;
        self.splitter.push(&self.chunk[..count]);
        Ok(count > 0)
    }

    fn at_end(&self) -> Result<Option<(u64, Vec<u8>)>, Fault> {
        match self.splitter.unfinished() {
            Some(offset) => Err(Fault::new(format!(
                "it is cut short in picture {}, which starts at byte {offset}; cut it there (truncate -s {offset}) \
                 or record it again",
                self.number + 1
            ))),
            None if self.number == 0 => Err(no_pictures()),
            None => Ok(None),
        }
    }
}

fn damaged(number: u64, offset: u64, why: impl std::fmt::Display) -> Fault {
    Fault::new(format!("picture {number}, at byte {offset}, cannot be shown: {why}; record it again"))
}

fn no_pictures() -> Fault {
    Fault::new("it holds no JPEG picture; a clip is a folder of pictures, an MJPEG file or a Y4M file")
}

impl Recording for MjpegFile {
    fn next(&mut self) -> Result<Option<RgbImage>, Fault> {
        let Some((offset, bytes)) = self.next_bytes()? else { return Ok(None) };
        decode_jpeg(&bytes, MAX_FRAME_PIXELS).map(Some).map_err(|why| damaged(self.number, offset, why))
    }

    fn skip(&mut self) -> Result<bool, Fault> {
        Ok(self.next_bytes()?.is_some())
    }

    fn rewind(&mut self) -> Result<(), Fault> {
        *self = Self::open(&self.path)?;
        Ok(())
    }

    fn rate(&self) -> Option<FrameRate> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use image::codecs::jpeg::JpegEncoder;
    use proptest::prelude::*;

    fn jpeg(value: u8, size: u32) -> Vec<u8> {
        let image = RgbImage::from_fn(size, size, |x, y| Rgb([value, (x * 9) as u8, (y * 5) as u8]));
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 80).encode_image(&image).expect("encode");
        bytes
    }

    /// All pieces of a stream that comes in chunks of these sizes, in turn.
    fn pieces(stream: &[u8], sizes: &[usize]) -> (Vec<Piece>, Option<u64>) {
        let mut splitter = Splitter::default();
        let (mut found, mut rest) = (Vec::new(), stream);
        for size in sizes.iter().cycle() {
            let (chunk, behind) = rest.split_at((*size).min(rest.len()));
            splitter.push(chunk);
            found.extend(std::iter::from_fn(|| splitter.next_piece()));
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        (found, splitter.unfinished())
    }

    fn pictures(pieces: &[Piece]) -> Vec<&[u8]> {
        let mut found = Vec::new();
        for piece in pieces {
            if let Piece::Picture { bytes, .. } = piece {
                found.push(&bytes[..]);
            }
        }
        found
    }

    #[test]
    fn pictures_come_out_as_they_went_in_with_their_offsets() {
        let (a, b) = (jpeg(1, 24), jpeg(2, 40));
        let (found, unfinished) = pieces(&[a.clone(), b.clone()].concat(), &[1000]);
        let offset = a.len() as u64;
        let expected = vec![Piece::Picture { offset: 0, bytes: a }, Piece::Picture { offset, bytes: b }];
        assert_eq!(found, expected);
        assert_eq!(unfinished, None);
    }

    #[test]
    fn a_multipart_stream_is_one_of_pictures() {
        let (a, b) = (jpeg(1, 24), jpeg(2, 40));
        let head = b"\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 99\r\n\r\n";
        let stream = [&head[..], &a, &head[..], &b, &head[..]].concat();
        assert_eq!(pictures(&pieces(&stream, &[7]).0), [&a[..], &b[..]]);
    }

    #[test]
    fn a_picture_that_breaks_off_costs_no_other() {
        let (a, b, c) = (jpeg(1, 40), jpeg(2, 40), jpeg(3, 40));
        let cut = a.len() - 100;
        let (found, _) = pieces(&[&a[..cut], &b, &c].concat(), &[333]);
        assert_eq!(found[0], Piece::Broken { offset: 0, why: "another picture starts before its end" });
        assert_eq!(pictures(&found), [&b[..], &c[..]]);
    }

    #[test]
    fn the_end_of_the_stream_in_a_picture_is_told() {
        let (a, b) = (jpeg(1, 24), jpeg(2, 40));
        let (found, unfinished) = pieces(&[&a[..], &b[..b.len() - 1]].concat(), &[4096]);
        assert_eq!(found.len(), 1);
        assert_eq!(unfinished, Some(a.len() as u64));
    }

    #[test]
    fn junk_is_noticed_at_its_limit_and_forgiven_below() {
        let a = jpeg(1, 24);
        let below = [&vec![0x41; MAX_JUNK_BYTES][..], &a].concat();
        assert_eq!(pictures(&pieces(&below, &[CHUNK]).0), [&a[..]]);
        let above = [&vec![0x41; MAX_JUNK_BYTES + 1][..], &a].concat();
        let (found, _) = pieces(&above, &[CHUNK]);
        assert_eq!(found[0], Piece::Junk { offset: MAX_JUNK_BYTES as u64 });
        assert_eq!(pictures(&found), [&a[..]]);
    }

    #[test]
    fn a_picture_beyond_the_size_limit_is_broken_and_memory_stays_bounded() {
        let mut head = jpeg(1, 24);
        head.truncate(head.len() - 2);
        let stream = [&head[..], &vec![0x22; MAX_STREAM_JPEG_BYTES]].concat();
        let (found, _) = pieces(&stream, &[CHUNK]);
        assert_eq!(found, [Piece::Broken { offset: 0, why: "it has no end within the size limit" }]);
    }

    /// A stretch of a stream: a picture, part of one, or other bytes.
    fn stretch() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (any::<u8>(), 1u32..40).prop_map(|(value, size)| jpeg(value, size)),
            (any::<u8>(), 1u32..40, 1usize..900).prop_map(|(value, size, cut)| {
                let mut bytes = jpeg(value, size);
                bytes.truncate(cut);
                bytes
            }),
            proptest::collection::vec(any::<u8>(), 0..200),
            proptest::collection::vec(
                prop_oneof![Just(0xFFu8), Just(0xD8), Just(0xD9), Just(0xDA), Just(0)],
                0..9
            ),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn chunks_make_no_difference(
            stream in proptest::collection::vec(stretch(), 0..8).prop_map(|s| s.concat()),
            sizes in proptest::collection::vec(1usize..500, 1..10),
        ) {
            prop_assert_eq!(pieces(&stream, &sizes), pieces(&stream, &[stream.len().max(1)]));
        }
    }
}
