//! Pictures that an operator hands over for enrolment. They are read and made small on a thread of their own, looked at
//! by the networks that the vision thread owns, between two frames, and then enrolled as any other templates are.
//! The embeddings never leave the daemon.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use tokio::sync::oneshot;

use crate::frame::image_from;
use crate::gallery::NewTemplate;
use crate::vision::resample::scale;

/// Most pixels of such a picture; it takes three bytes each while it is read.
const MAX_PIXELS: u64 = 12_000_000;

/// Longest side that the networks get, in px: a face that serves is large enough in it.
const LONGEST_PX: u32 = 1280;

/// Pictures that wait at most: each takes some 5 MB.
const MAX_WAITING: usize = 4;

/// What came of a picture: a template, or what is wrong with the picture, in words.
pub(crate) type Studied = Result<NewTemplate, String>;

/// One picture for the networks.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) image: RgbImage,
    pub(crate) answer: oneshot::Sender<Studied>,
}

/// Pictures that wait for the vision thread.
#[derive(Debug, Default)]
pub(crate) struct Studio {
    waiting: Mutex<VecDeque<Job>>,
}

impl Studio {
    /// Leaves a picture for the networks; the answer comes over the channel, or never when the daemon ends.
    ///
    /// # Errors
    /// When too many wait, in words.
    pub(crate) fn leave(&self, image: RgbImage) -> Result<oneshot::Receiver<Studied>, String> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_WAITING {
            return Err("other pictures are being looked at; try again in a moment".into());
        }
        let (answer, studied) = oneshot::channel();
        waiting.push_back(Job { image, answer });
        Ok(studied)
    }

    /// The next picture, for the vision thread.
    pub(crate) fn next(&self) -> Option<Job> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// Reads a picture as it came over the socket, in base64, and makes it small.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn read(picture: &str) -> Result<RgbImage, String> {
    let bytes = STANDARD.decode(picture).map_err(|error| format!("the picture is no base64: {error}"))?;
    let image =
        image_from(Path::new("from the console"), &bytes, MAX_PIXELS).map_err(|error| error.to_string())?;
    let (width, height) = image.dimensions();
    let longest = width.max(height);
    if longest <= LONGEST_PX {
        return Ok(image);
    }
    let side = |px: u32| ((u64::from(px) * u64::from(LONGEST_PX) / u64::from(longest)) as u32).max(1);
    let (to_width, to_height) = (side(width), side(height));
    let from = (width as usize, height as usize);
    let rgb = scale(image.as_raw(), from, (to_width as usize, to_height as usize));
    RgbImage::from_raw(to_width, to_height, rgb).ok_or_else(|| "the picture could not be made small".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::png::PngEncoder;

    fn png(width: u32, height: u32) -> String {
        let mut bytes = Vec::new();
        RgbImage::new(width, height).write_with_encoder(PngEncoder::new(&mut bytes)).unwrap();
        STANDARD.encode(bytes)
    }

    #[test]
    fn a_picture_is_read_and_made_small() {
        assert_eq!(read(&png(64, 48)).unwrap().dimensions(), (64, 48));
        assert_eq!(read(&png(2560, 1280)).unwrap().dimensions(), (1280, 640));
        assert_eq!(read(&png(4000, 1)).unwrap().dimensions(), (1280, 1));
    }

    #[test]
    fn what_is_no_picture_or_too_large_is_refused_in_words() {
        assert!(read("???").unwrap_err().contains("base64"));
        assert!(read(&STANDARD.encode("hello")).unwrap_err().contains("not a picture"));
        // Small as a file, 36 MB as pixels.
        let large = read(&png(4000, 3001)).unwrap_err();
        assert!(large.contains("4000×3001") && large.contains("12 megapixels"), "{large}");
    }

    #[test]
    fn only_so_many_pictures_wait() {
        let studio = Studio::default();
        let waiting: Vec<_> = (0..MAX_WAITING).map(|_| studio.leave(RgbImage::new(1, 1)).unwrap()).collect();
        assert!(studio.leave(RgbImage::new(1, 1)).is_err());
        assert!(studio.next().is_some());
        assert!(studio.leave(RgbImage::new(1, 1)).is_ok());
        drop(waiting);
    }
}
