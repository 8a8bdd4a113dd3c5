//! The aligned picture of a face as it is kept beside a template, where the operator wants that: another encoder can make its
//! own template of it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroize;

use crate::frame::decode_jpeg;
use crate::vision::align::{AlignedCrop, CROP_SIDE};

/// JPEG quality: what SFace makes of it has a cosine of 0.997 and more with what it makes of the picture itself, at some 9 kB.
const JPEG_QUALITY: u8 = 95;

/// Most bytes of one; several times what one takes.
pub const MAX_CROP: usize = 48 << 10;

/// A JPEG of 112×112 pixels. Travels as base64; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptCrop(Vec<u8>);

impl KeptCrop {
    /// Makes one; `None` when it cannot be coded.
    pub fn of(crop: &AlignedCrop) -> Option<Self> {
        let mut bytes = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
        encoder
            .write_image(crop.0.as_raw(), crop.0.width(), crop.0.height(), ExtendedColorType::Rgb8)
            .ok()?;
        Some(Self(bytes))
    }

    /// Takes bytes that were kept or sent.
    ///
    /// # Errors
    /// When they are no JPEG of 112×112 pixels, or far larger than one takes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.len() > MAX_CROP {
            return Err(format!("a crop has {} bytes, at most {MAX_CROP} are taken", bytes.len()));
        }
        let crop = Self(bytes);
        crop.picture().map(|_| crop)
    }

    /// The JPEG.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The picture again.
    ///
    /// # Errors
    /// When it is none.
    pub fn picture(&self) -> Result<AlignedCrop, String> {
        let most = u64::from(CROP_SIDE) * u64::from(CROP_SIDE);
        let image = decode_jpeg(&self.0, most).map_err(|error| format!("a crop is no picture: {error}"))?;
        if image.dimensions() != (CROP_SIDE, CROP_SIDE) {
            let (width, height) = image.dimensions();
            return Err(format!("a crop has {width}×{height} pixels instead of {CROP_SIDE}×{CROP_SIDE}"));
        }
        Ok(AlignedCrop(image))
    }
}

impl Drop for KeptCrop {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for KeptCrop {
    /// Never prints the picture.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeptCrop({} bytes)", self.0.len())
    }
}

impl Serialize for KeptCrop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for KeptCrop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::deserialize(deserializer)?;
        let bytes = BASE64.decode(&text);
        text.zeroize();
        Self::from_bytes(bytes.map_err(serde::de::Error::custom)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    #[test]
    fn a_crop_is_nearly_what_it_was_and_nothing_else_is_one() {
        let crop = AlignedCrop(RgbImage::from_fn(CROP_SIDE, CROP_SIDE, |x, y| {
            image::Rgb([(2 * x) as u8, (2 * y) as u8, 128])
        }));
        let kept = KeptCrop::of(&crop).unwrap();
        let again: KeptCrop = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
        assert_eq!(again, kept);
        let picture = again.picture().unwrap();
        let off = picture.0.as_raw().iter().zip(crop.0.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(off.is_some_and(|off| off <= 8), "{off:?}");

        let small = KeptCrop::of(&AlignedCrop(RgbImage::new(64, 64))).unwrap();
        let wide = KeptCrop::of(&AlignedCrop(RgbImage::new(200, 200))).unwrap();
        for (bytes, expected) in [
            (small.bytes().to_vec(), "64×64"),
            (wide.bytes().to_vec(), "200×200"),
            (b"no picture".to_vec(), "no picture"),
            (kept.bytes()[..kept.bytes().len() / 2].to_vec(), "no picture"),
            (vec![0xff; MAX_CROP + 1], "bytes"),
        ] {
            let why = KeptCrop::from_bytes(bytes).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
        assert!(serde_json::from_str::<KeptCrop>("\"???\"").is_err());
        assert_eq!(format!("{kept:?}"), format!("KeptCrop({} bytes)", kept.bytes().len()));
    }
}
