//! `models/manifest.toml`: where each network comes from, what it takes and gives, and under which terms.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::nn::model_file::InputSpec;

/// All networks that `make models` fetches.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The networks.
    #[serde(rename = "network")]
    pub networks: Vec<Listed>,
}

/// One network of the manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// The name it is installed under.
    pub name: String,
    /// `detector`, `encoder` or `liveness`.
    pub job: String,
    /// Which code imports and runs it.
    pub architecture: String,
    /// `pypi` or `npm`.
    pub ecosystem: String,
    /// The package that carries it.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// SHA-256 of the package file, hex.
    pub package_sha256: String,
    /// Path of the network's file inside the package.
    pub file: String,
    /// SHA-256 of that file, hex.
    pub sha256: String,
    /// SPDX expression, as declared by the publisher.
    pub licence: String,
    /// What is known and not known about its training data.
    pub provenance: String,
    /// The paper or project it comes from.
    pub source: String,
    /// Whether accessd runs without it.
    pub optional: bool,
    /// What it takes.
    pub input: InputSpec,
    /// What it gives, in words.
    pub output: String,
}

/// Why the manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not readable.
    #[error("manifest {}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// Not a manifest.
    #[error("manifest {}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line and key.
        source: Box<toml::de::Error>,
    },
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// When the file is missing or has other keys than these.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ManifestError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|e| ManifestError::Parse { path: path.to_owned(), source: Box::new(e) })
    }
}

impl Listed {
    /// The last part of the file's path: its name after download.
    pub fn file_name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_manifest_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/manifest.toml");
        let manifest = Manifest::read(&path).unwrap();
        let names: Vec<_> = manifest.networks.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["yunet", "sface", "mobilefacenet", "fr_liveness"]);
        for n in &manifest.networks {
            assert!(n.sha256.len() == 64 && n.package_sha256.len() == 64, "{}", n.name);
            assert!(!n.file_name().contains('/') && n.file_name().ends_with(".onnx"), "{}", n.name);
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.toml");
        std::fs::write(&path, "[[network]]\nname = \"x\"\nweigth = 1\n").unwrap();
        let message = Manifest::read(&path).unwrap_err().to_string();
        assert!(
            message.contains("m.toml") && message.contains("weigth") && message.contains("line 3"),
            "{message}"
        );
    }
}
