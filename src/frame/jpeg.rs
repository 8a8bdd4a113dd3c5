//! JPEG as cameras and operators hand it over: where a picture ends, and its pixels.
//!
//! [`Walk`] steps from marker to marker, so that a thumbnail inside an APP segment is never taken for the picture;
//! the MJPEG splitter feeds it a growing buffer, [`decode_jpeg`] a whole picture. Marker codes are those of
//! ITU-T T.81, table B.1.

use image::RgbImage;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

/// The most bytes one JPEG picture of a stream may have: 16 MiB.
pub const MAX_STREAM_JPEG_BYTES: usize = 16 << 20;

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const DHT: u8 = 0xC4;
const RST0: u8 = 0xD0;
const RST7: u8 = 0xD7;

/// Bytes the decoder may look ahead behind the last bit of a picture: its bit buffer is 64 bits wide.
const LOOKAHEAD: usize = 8;

/// An APP0 segment with the name `AVI1`. It tells the decoder that the Huffman tables left out are the customary ones
/// (T.81, tables K.3–K.6), as in the MJPEG of many USB cameras.
const AVI1: [u8; 9] = [0xFF, 0xE0, 0x00, 0x07, b'A', b'V', b'I', b'1', 0];

/// Why a JPEG picture could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JpegError {
    /// It does not begin like a JPEG.
    #[error("it is not a JPEG picture")]
    NotJpeg,
    /// It stops before its end.
    #[error("the JPEG picture is cut short")]
    Truncated,
    /// It has more pixels than the caller allows.
    #[error("the JPEG picture has {width}×{height} px, more than the {max_pixels} px allowed")]
    TooLarge {
        /// Its width in px.
        width: u32,
        /// Its height in px.
        height: u32,
        /// The caller's limit.
        max_pixels: u64,
    },
    /// Its bytes make no sense.
    #[error("the JPEG picture is damaged: {0}")]
    Damaged(String),
}

/// How far a [`Walk`] got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The bytes at hand are in order, the end is not among them.
    More,
    /// The picture is whole: it has this many bytes, its EOI marker included.
    Whole(usize),
    /// It cannot be a picture.
    Broken {
        /// What is wrong, to follow "the JPEG picture is damaged:".
        why: &'static str,
        /// From which byte on the next picture may be sought.
        resume: usize,
    },
}

/// A walk over one picture from SOI to EOI, marker by marker. Where it stops depends on the bytes alone, not on how
/// many of them are at hand at a time.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    at: usize,
    max_bytes: usize,
    in_scan: bool,
    next_restart: u8,
    scans: usize,
    has_huffman: bool,
    baseline: bool,
}

impl Walk {
    /// A walk from the SOI marker at byte 0 of a picture that may have `max_bytes`.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            at: 2,
            max_bytes,
            in_scan: false,
            next_restart: RST0,
            scans: 0,
            has_huffman: false,
            baseline: false,
        }
    }

    /// Walks on. `picture` begins with the SOI marker and holds at least what the call before was given.
    pub(crate) fn advance(&mut self, picture: &[u8]) -> Step {
        loop {
            if self.at > self.max_bytes {
                return Step::Broken { why: "it has no end within the size limit", resume: self.at };
            }
            let stop = if self.in_scan { self.scan(picture) } else { self.segment(picture) };
            if let Some(step) = stop {
                return step;
            }
        }
    }

    /// One header segment: its marker, its length, over it.
    fn segment(&mut self, picture: &[u8]) -> Option<Step> {
        let start = self.at;
        let Some(&[first, code]) = picture.get(start..start + 2) else { return Some(Step::More) };
        if first != 0xFF {
            return Some(Step::Broken { why: "there are stray bytes between its segments", resume: start });
        }
        match code {
            0xFF => {
                self.at += 1;
                return None;
            }
            SOI => return Some(Step::Broken { why: "another picture starts in its header", resume: start }),
            EOI if self.scans > 0 => return Some(Step::Whole(start + 2)),
            EOI => {
                return Some(Step::Broken { why: "it ends before its picture data", resume: start + 2 });
            }
            0x00..=0x01 | RST0..=RST7 => {
                return Some(Step::Broken { why: "its header has a misplaced marker", resume: start + 2 });
            }
            _ => {}
        }
        let Some(&[high, low]) = picture.get(start + 2..start + 4) else { return Some(Step::More) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < 2 {
            return Some(Step::Broken {
                why: "its header has a segment of impossible length",
                resume: start + 2,
            });
        }
        if start + 2 + length > picture.len() {
            return Some(Step::More);
        }
        match code {
            DHT if self.scans == 0 => self.has_huffman = true,
            0xC0 | 0xC1 => self.baseline = true,
            SOS => {
                self.scans += 1;
                self.in_scan = true;
                self.next_restart = RST0;
            }
            _ => {}
        }
        self.at = start + 2 + length;
        None
    }

    /// Entropy-coded data up to the next marker that matters.
    fn scan(&mut self, picture: &[u8]) -> Option<Step> {
        let end = picture.len().min(self.max_bytes.saturating_add(1));
        let ahead = picture.get(self.at..end).unwrap_or_default();
        let Some(skip) = ahead.iter().position(|&byte| byte == 0xFF) else {
            self.at = self.at.max(end);
            return (end == picture.len()).then_some(Step::More).filter(|_| self.at <= self.max_bytes);
        };
        self.at += skip;
        let Some(&code) = picture.get(self.at + 1) else { return Some(Step::More) };
        match code {
            0x00 => self.at += 2,
            0xFF => self.at += 1,
            RST0..=RST7 if code == self.next_restart => {
                self.next_restart = if code == RST7 { RST0 } else { code + 1 };
                self.at += 2;
            }
            RST0..=RST7 => {
                return Some(Step::Broken {
                    why: "part of its picture data is missing",
                    resume: self.at + 2,
                });
            }
            EOI => return Some(Step::Whole(self.at + 2)),
            SOI => {
                return Some(Step::Broken { why: "another picture starts before its end", resume: self.at });
            }
            // Tables and further scans (progressive pictures, one scan per component), comments.
            DHT | SOS | 0xDB..=0xDD | 0xE0..=0xEF | 0xFE => self.in_scan = false,
            _ => {
                return Some(Step::Broken {
                    why: "its picture data has a misplaced marker",
                    resume: self.at + 2,
                });
            }
        }
        None
    }
}

/// The pixels of a JPEG picture: colour or grey, baseline or progressive. Bytes behind its end are ignored.
///
/// # Errors
/// When it is no JPEG, is cut short, has more than `max_pixels`, or is damaged; never half a picture of baseline
/// coding. (A progressive one that was cut between two scans is only coarser, and passes.)
pub fn decode_jpeg(bytes: &[u8], max_pixels: u64) -> Result<RgbImage, JpegError> {
    decode_with_exif(bytes, max_pixels).map(|(image, _)| image)
}

/// As [`decode_jpeg`], with the picture's EXIF data, if it has any.
pub(crate) fn decode_with_exif(
    bytes: &[u8],
    max_pixels: u64,
) -> Result<(RgbImage, Option<Vec<u8>>), JpegError> {
    if !bytes.starts_with(&[0xFF, SOI, 0xFF]) {
        return Err(JpegError::NotJpeg);
    }
    let mut walk = Walk::new(usize::MAX - 1);
    let end = match walk.advance(bytes) {
        Step::Whole(end) => end,
        Step::More => return Err(JpegError::Truncated),
        Step::Broken { why, .. } => return Err(JpegError::Damaged(why.into())),
    };
    let data = for_decoder(&bytes[..end], &walk);
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&data[..]), options);
    decoder.decode_headers().map_err(from_zune)?;
    let (width, height) = decoder.dimensions().map_or((0, 0), |(w, h)| (w as u32, h as u32));
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(JpegError::TooLarge { width, height, max_pixels });
    }
    let pixels = decoder.decode().map_err(from_zune)?;
    let exif = decoder.exif().cloned();
    RgbImage::from_raw(width, height, pixels)
        .map(|image| (image, exif))
        .ok_or_else(|| JpegError::Damaged("its pixels do not fill it".into()))
}

/// The picture as the decoder needs it. Behind an EOI marker the decoder goes on with zeros for ever and so passes off
/// half a picture as whole; at the end of its input it reports the lack. So the EOI is taken away, and just enough
/// bytes are put in its place for the look-ahead behind the last bit. (Progressive scans need their markers.)
fn for_decoder(picture: &[u8], walk: &Walk) -> Vec<u8> {
    let mut data = Vec::with_capacity(picture.len() + AVI1.len() + LOOKAHEAD);
    let (soi, rest) = picture.split_at(2);
    data.extend_from_slice(soi);
    if !walk.has_huffman {
        data.extend_from_slice(&AVI1);
    }
    data.extend_from_slice(rest);
    if walk.baseline {
        data.truncate(data.len() - 2);
        data.extend_from_slice(&[0; LOOKAHEAD]);
    }
    data
}

fn from_zune(error: DecodeErrors) -> JpegError {
    match error {
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => JpegError::Truncated,
        DecodeErrors::FormatStatic("Premature end of buffer") => JpegError::Truncated,
        other => JpegError::Damaged(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::jpeg::JpegEncoder;
    use image::{GrayImage, Luma, Rgb};
    use proptest::prelude::*;

    const MANY: u64 = 1 << 24;

    /// A colourful, uneven picture: every block has detail.
    fn drawn(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 7 + y * 3) as u8, (x * y / 5) as u8, (200 - (y % 100)) as u8])
        })
    }

    fn jpeg(image: &RgbImage) -> Vec<u8> {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(image).expect("encode");
        bytes
    }

    fn mean_difference(a: &RgbImage, b: &RgbImage) -> f64 {
        assert_eq!(a.dimensions(), b.dimensions());
        let sum: u64 = a.iter().zip(b.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / a.len() as f64
    }

    /// `bytes` without the segments of one marker.
    fn without(bytes: &[u8], marker: u8) -> Vec<u8> {
        let mut out = bytes[..2].to_vec();
        let mut at = 2;
        while bytes[at + 1] != SOS {
            let next = at + 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
            if bytes[at + 1] != marker {
                out.extend_from_slice(&bytes[at..next]);
            }
            at = next;
        }
        out.extend_from_slice(&bytes[at..]);
        out
    }

    #[test]
    fn colour_comes_back() {
        for (width, height) in [(64, 48), (1, 1), (37, 23), (8, 200)] {
            let image = drawn(width, height);
            let decoded = decode_jpeg(&jpeg(&image), MANY).expect("decodes");
            assert!(mean_difference(&image, &decoded) < 12.0, "{width}×{height}");
        }
    }

    #[test]
    fn flat_pictures_need_no_bytes_behind_their_end() {
        for value in [0, 128, 255] {
            let flat = RgbImage::from_pixel(16, 400, Rgb([value; 3]));
            let decoded = decode_jpeg(&jpeg(&flat), MANY).expect("decodes");
            assert!(mean_difference(&flat, &decoded) < 2.0);
        }
    }

    #[test]
    fn grey_becomes_rgb_by_repetition() {
        let grey = GrayImage::from_fn(40, 30, |x, y| Luma([(x * 4 + y) as u8]));
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 95).encode_image(&grey).expect("encode");
        let decoded = decode_jpeg(&bytes, MANY).expect("decodes");
        assert!(decoded.pixels().all(|p| p[0] == p[1] && p[1] == p[2]));
        let off = decoded.pixels().zip(grey.pixels()).map(|(a, b)| a[0].abs_diff(b[0])).max();
        assert!(off.is_some_and(|off| off < 16), "{off:?}");
    }

    #[test]
    fn left_out_huffman_tables_are_the_customary_ones() {
        let full = jpeg(&drawn(48, 32));
        let bare = without(&full, DHT);
        assert!(bare.len() + 400 < full.len());
        assert_eq!(decode_jpeg(&bare, MANY), decode_jpeg(&full, MANY));
        assert!(decode_jpeg(&bare, MANY).is_ok());
    }

    #[test]
    fn bytes_behind_the_end_are_ignored() {
        let mut bytes = jpeg(&drawn(48, 32));
        let alone = decode_jpeg(&bytes, MANY).expect("decodes");
        bytes.extend_from_slice(&jpeg(&drawn(99, 99)));
        assert_eq!(decode_jpeg(&bytes, MANY), Ok(alone));
    }

    #[test]
    fn cut_short_is_an_error_wherever_it_is_cut() {
        let whole = jpeg(&drawn(160, 120));
        for cut in 3..whole.len() {
            assert_eq!(decode_jpeg(&whole[..cut], MANY), Err(JpegError::Truncated), "cut at {cut}");
        }
    }

    #[test]
    fn cut_short_and_closed_with_an_end_marker_is_an_error_too() {
        let whole = jpeg(&drawn(160, 120));
        let mut walk = Walk::new(usize::MAX - 1);
        walk.advance(&whole[..1000]);
        assert!(walk.in_scan);
        // Of the last two blocks or so the decoder cannot tell.
        for cut in (1000..whole.len() - 100).step_by(61).filter(|&cut| whole[cut - 1] != 0xFF) {
            let mut bytes = whole[..cut].to_vec();
            bytes.extend_from_slice(&[0xFF, EOI]);
            assert!(decode_jpeg(&bytes, MANY).is_err(), "cut at {cut} of {}", whole.len());
        }
    }

    #[test]
    fn size_is_checked_before_memory_is_taken() {
        let mut bytes = jpeg(&drawn(16, 16));
        let frame = bytes.windows(2).position(|w| w == [0xFF, 0xC0]).expect("a frame header");
        bytes[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
        let error = decode_jpeg(&bytes, MANY).expect_err("65535×65535");
        assert_eq!(error, JpegError::TooLarge { width: 65535, height: 65535, max_pixels: MANY });
        assert!(error.to_string().contains("65535×65535 px"), "{error}");
    }

    #[test]
    fn other_bytes_are_not_a_jpeg() {
        for bytes in [&b""[..], b"\xFF", b"\xFF\xD8", b"hello world", b"\x89PNG\r\n\x1a\n"] {
            assert_eq!(decode_jpeg(bytes, MANY), Err(JpegError::NotJpeg));
        }
    }

    #[test]
    fn a_thumbnail_in_a_segment_is_not_the_end() {
        let thumbnail = jpeg(&drawn(16, 16));
        let main = jpeg(&drawn(64, 48));
        let mut bytes = main[..2].to_vec();
        bytes.extend_from_slice(&[0xFF, 0xE2]);
        bytes.extend_from_slice(&(thumbnail.len() as u16 + 2).to_be_bytes());
        bytes.extend_from_slice(&thumbnail);
        bytes.extend_from_slice(&main[2..]);
        assert_eq!(Walk::new(1 << 20).advance(&bytes), Step::Whole(bytes.len()));
        assert_eq!(decode_jpeg(&bytes, MANY).expect("decodes").dimensions(), (64, 48));
    }

    #[test]
    fn a_missing_restart_interval_is_noticed() {
        // SOI, DRI, SOS, then data with RST0, RST1, RST3.
        let head = [0xFF, 0xD8, 0xFF, 0xDD, 0, 4, 0, 1, 0xFF, 0xDA, 0, 2];
        let walked = |markers: &[u8]| {
            let mut bytes = head.to_vec();
            markers.iter().for_each(|m| bytes.extend_from_slice(&[0x12, 0xFF, *m]));
            Walk::new(1 << 20).advance(&bytes)
        };
        assert_eq!(walked(&[0xD0, 0xD1, 0xD2, EOI]), Step::Whole(head.len() + 12));
        let why = "part of its picture data is missing";
        assert_eq!(walked(&[0xD0, 0xD1, 0xD3, EOI]), Step::Broken { why, resume: head.len() + 9 });
    }

    #[test]
    fn a_picture_without_end_is_given_up_at_the_limit() {
        let mut bytes = jpeg(&drawn(64, 48));
        bytes.truncate(bytes.len() - 2);
        bytes.resize(5000, 0x11);
        let whole_at_once = Walk::new(4000).advance(&bytes);
        assert!(matches!(whole_at_once, Step::Broken { resume: 4001, .. }), "{whole_at_once:?}");
        let mut walk = Walk::new(4000);
        let first = (1..=bytes.len()).map(|n| walk.advance(&bytes[..n])).find(|s| *s != Step::More);
        assert_eq!(first, Some(whole_at_once));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn damage_never_panics(at in 0usize..2000, with in proptest::collection::vec(any::<u8>(), 1..8)) {
            let mut bytes = jpeg(&drawn(50, 40));
            let at = at % bytes.len();
            for (offset, byte) in with.iter().enumerate() {
                if let Some(target) = bytes.get_mut(at + offset) {
                    *target = *byte;
                }
            }
            let _ = decode_jpeg(&bytes, MANY);
        }

        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut bytes = vec![0xFF, 0xD8, 0xFF];
            bytes.extend_from_slice(&noise);
            let _ = decode_jpeg(&bytes, MANY);
            let mut walk = Walk::new(400);
            for end in 0..=bytes.len() {
                if walk.advance(&bytes[..end]) != Step::More {
                    break;
                }
            }
        }
    }
}
