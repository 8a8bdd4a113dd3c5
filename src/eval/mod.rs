//! How good the encoder is, by the field's protocols: 1:1 verification ([`verify`]) and 1:N open-set identification
//! ([`identify`]).
//!
//! ```text
//! pairs.txt ──────pairs──▶ images ──embed_set──▶ embeddings ──verify────▶ scores ──metrics──▶ accuracy, EER, TMR@FMR
//! openset.csv ──openset──▶   "          "            "      ──identify──▶    "        "     ──▶ rank-1, FNIR@FPIR
//! ```
//!
//! The lists are read and every image they name is checked to exist before a network runs. An image in which no
//! face is found counts against the encoder: a door would not open for it.

pub mod cohort;
pub mod curves;
pub mod door;
pub mod embed_set;
pub mod identify;
pub mod metrics;
pub mod openset;
pub mod pad;
pub mod page;
pub mod pairs;
mod pairs_csv;
pub mod verify;

use std::path::PathBuf;

use crate::frame::ImageError;
use crate::recognition::RecognitionError;

/// Why an evaluation could not be made. No figure is ever given for a part of a protocol.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A list could not be read.
    #[error("{} cannot be read; give the path of a protocol file", path.display())]
    Read {
        /// The list.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A person's folder could not be read.
    #[error("the folder {} cannot be read; is --images the folder that holds one folder a person?", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A line of a list is wrong.
    #[error("{} line {line}: {what}", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what it should be.
        what: String,
    },
    /// A list as a whole is wrong.
    #[error("{}: {what}", path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// What is wrong, and what it should be.
        what: String,
    },
    /// The list names images that are not there.
    #[error(
        "{} names {count} image{} that {} not under {} (first: {}); is --images the folder that holds one folder a person?",
        list.display(), if *count == 1 { "" } else { "s" }, if *count == 1 { "is" } else { "are" }, root.display(),
        first.display()
    )]
    MissingImages {
        /// The list.
        list: PathBuf,
        /// The folder of images.
        root: PathBuf,
        /// How many are missing.
        count: usize,
        /// The first of them, relative to the folder.
        first: PathBuf,
    },
    /// An image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A network failed.
    #[error("image {}", path.display())]
    Network {
        /// The image it was looking at.
        path: PathBuf,
        /// What failed.
        #[source]
        source: Box<RecognitionError>,
    },
}

#[cfg(test)]
pub(crate) mod testing {
    //! Embeddings without a network.

    use std::path::Path;

    use super::EvalError;
    use super::embed_set::EmbedFile;
    use crate::encoder::Embedding;

    /// Embeds a file by a rule on its name.
    pub struct ByName<F>(pub F);

    impl<F: FnMut(&str) -> Option<Embedding> + Send> EmbedFile for ByName<F> {
        fn embed_file(&mut self, path: &Path) -> Result<Option<Embedding>, EvalError> {
            Ok((self.0)(path.file_stem().and_then(|n| n.to_str()).unwrap_or_default()))
        }
    }

    /// The unit vector at `degrees` in the plane: two of them score the cosine of the angle between.
    pub fn at(degrees: f32) -> Embedding {
        let (y, x) = degrees.to_radians().sin_cos();
        Embedding::normalise(vec![x, y]).unwrap()
    }

    /// Makes empty files.
    pub fn touch(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
    }
}
