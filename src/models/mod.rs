//! Which networks there are: the manifest of those accessd fetches, import from ONNX, and the folder of installed ones.

mod import;
mod library;
mod manifest;

pub use import::{ImportError, ImportOptions, check_name, import_listed, import_own};
pub use library::{Installed, Library, LibraryError};
pub use manifest::{Listed, Manifest, ManifestError};
