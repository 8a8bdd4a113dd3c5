//! A set of image files → one embedding each: every image is read, searched for its face, aligned and embedded once,
//! however many comparisons it takes part in, on several threads.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use indicatif::ProgressBar;

use super::EvalError;
use crate::encoder::Embedding;
use crate::frame::load_image;
use crate::recognition::{FoundFace, Recogniser};

/// Turns one image file into the embedding of the person it is about.
pub trait EmbedFile: Send {
    /// `None` when no face is found.
    ///
    /// # Errors
    /// When the file cannot be decoded or a network fails.
    fn embed_file(&mut self, path: &Path) -> Result<Option<Embedding>, EvalError>;
}

impl EmbedFile for Recogniser {
    fn embed_file(&mut self, path: &Path) -> Result<Option<Embedding>, EvalError> {
        let picture = load_image(path)?;
        let network = |e| EvalError::Network { path: path.to_owned(), source: Box::new(e) };
        let faces = self.find(&picture).map_err(network)?;
        let Some(face) = subject(&faces, picture.dimensions()) else { return Ok(None) };
        Ok(self.embed(&[&face.crop]).map_err(network)?.pop())
    }
}

/// The face a protocol's image is about when several are found.
fn subject(faces: &[FoundFace], size: (u32, u32)) -> Option<&FoundFace> {
    faces.iter().max_by(|a, b| a.face.prominence(size).total_cmp(&b.face.prominence(size)))
}

/// Checks that every image is there before any work is done. `list` names them, for the message.
///
/// # Errors
/// With the number of missing images and the first of them.
pub fn require_images(list: &Path, root: &Path, images: &[PathBuf]) -> Result<Vec<PathBuf>, EvalError> {
    let missing: Vec<&PathBuf> = images.iter().filter(|image| !root.join(image).is_file()).collect();
    match missing.first() {
        None => Ok(images.iter().map(|image| root.join(image)).collect()),
        Some(first) => Err(EvalError::MissingImages {
            list: list.to_owned(),
            root: root.to_owned(),
            count: missing.len(),
            first: first.to_path_buf(),
        }),
    }
}

/// Embeds all `files`, in order, one thread a worker; `bar` counts them. The first failure stops all threads.
///
/// # Errors
/// That failure.
///
/// # Panics
/// Without workers, or when a worker panics.
pub fn embed_all<W: EmbedFile>(
    files: &[PathBuf],
    workers: Vec<W>,
    bar: &ProgressBar,
) -> Result<Vec<Option<Embedding>>, EvalError> {
    assert!(!workers.is_empty(), "somebody must do the work");
    bar.set_length(files.len() as u64);
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = Mutex::new(vec![None; files.len()]);
    let work = |mut worker: W| -> Result<(), EvalError> {
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(number) else { break };
            let embedding = worker.embed_file(file).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            done.lock().expect("no thread panics while it holds the list")[number] = embedding;
            bar.inc(1);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = workers.into_iter().map(|w| scope.spawn(|| alone(|| work(w)))).collect();
        threads.into_iter().try_for_each(|t| t.join().expect("a worker does not panic"))
    })?;
    Ok(done.into_inner().expect("all threads have ended well"))
}

/// Runs `work` with a rayon pool of one thread, so that the networks of several workers do not each spread over all
/// cores and wait for one another.
fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::eval::testing::{ByName, at, touch};
    use crate::vision::align::AlignedCrop;
    use crate::vision::quality::Quality;
    use crate::vision::{BBox, Face};

    fn found(x: f32, y: f32, side: f32) -> FoundFace {
        let face = Face { bbox: BBox { x, y, w: side, h: side }, landmarks: [[0.0; 2]; 5], score: 0.9 };
        let quality = Quality {
            eye_distance_px: side / 2.0,
            sharpness: 100.0,
            light: 100.0,
            yaw_deg: 0.0,
            pitch_deg: 0.0,
            roll_deg: 0.0,
        };
        FoundFace { face, crop: AlignedCrop(RgbImage::new(112, 112)), quality }
    }

    #[test]
    fn the_subject_is_large_and_central() {
        let size = (250, 250);
        let (central, corner, small) =
            (found(70.0, 70.0, 100.0), found(0.0, 0.0, 110.0), found(115.0, 115.0, 20.0));
        let faces = [corner.clone(), small.clone(), central.clone()];
        assert_eq!(
            subject(&faces, size).unwrap().face,
            central.face,
            "not the slightly larger one in the corner"
        );
        assert_eq!(subject(&[small.clone(), corner.clone()], size).unwrap().face, small.face);
        assert!(subject(&[], size).is_none());
    }

    #[test]
    fn embeddings_keep_the_order_of_the_files_on_any_number_of_threads() {
        let files: Vec<PathBuf> = (0..50).map(|i| PathBuf::from(format!("{i}.jpg"))).collect();
        for threads in [1, 2, 7] {
            let worker = || ByName(|name: &str| name.parse().ok().filter(|d| *d != 7.0).map(at));
            let bar = ProgressBar::hidden();
            let all = embed_all(&files, (0..threads).map(|_| worker()).collect(), &bar).unwrap();
            for (i, embedding) in all.iter().enumerate() {
                assert_eq!(*embedding, (i != 7).then(|| at(i as f32)), "file {i}");
            }
            assert_eq!(bar.position(), 50);
        }
    }

    struct Breaks;
    impl EmbedFile for Breaks {
        fn embed_file(&mut self, path: &Path) -> Result<Option<Embedding>, EvalError> {
            load_image(path)?;
            Ok(None)
        }
    }

    #[test]
    fn a_damaged_image_is_named_and_ends_the_work() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["a.jpg", "b.jpg"]);
        let files = vec![dir.path().join("a.jpg"), dir.path().join("b.jpg")];
        let error = embed_all(&files, vec![Breaks, Breaks], &ProgressBar::hidden()).unwrap_err().to_string();
        assert!(error.contains(".jpg: the file is empty; copy it again"), "{error}");
    }

    #[test]
    fn missing_images_are_counted_and_the_first_is_named() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["Ann/Ann_0001.jpg"]);
        let images: Vec<PathBuf> =
            ["Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", "Bob/Bob_0001.jpg"].iter().map(PathBuf::from).collect();
        let list = Path::new("pairs.txt");
        let error = require_images(list, dir.path(), &images).unwrap_err().to_string();
        assert!(error.starts_with("pairs.txt names 2 images that are not under"), "{error}");
        assert!(error.contains("(first: Ann/Ann_0002.jpg); is --images the folder"), "{error}");
        assert_eq!(require_images(list, dir.path(), &images[..1]).unwrap(), [dir.path().join(&images[0])]);
    }
}
