//! The folder of installed networks, `NAME.safetensors` each.

use std::path::{Path, PathBuf};

use crate::nn::model_file::{ModelFile, ModelFileError};

/// Why the folder or a network in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The folder cannot be read or made.
    #[error("models folder {}: cannot be {doing}; set `paths.models`, or make it with `accessd models import`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// `read` or `written`.
        doing: &'static str,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// No network of this name.
    #[error("no network called {name:?} in {}; installed are: {}", path.display(), if installed.is_empty() { "none (fetch them with `make models`)".to_owned() } else { installed.join(", ") })]
    NotInstalled {
        /// The name asked for.
        name: String,
        /// The folder.
        path: PathBuf,
        /// What is there.
        installed: Vec<String>,
    },
    /// Installed, but for another job.
    #[error("network {name:?} is a {job}, and {} is needed; `accessd models list` shows what there is", match *wanted { "encoder" => "an encoder", "liveness" => "a liveness network", _ => "a detector" })]
    OtherJob {
        /// The name asked for.
        name: String,
        /// What it is.
        job: String,
        /// What was needed.
        wanted: &'static str,
    },
    /// Its file is bad.
    #[error(transparent)]
    File(#[from] ModelFileError),
}

/// One file of the folder.
#[derive(Debug)]
pub struct Installed {
    /// Its name, from the file's name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The network, or why it cannot be used.
    pub file: Result<ModelFile, ModelFileError>,
}

/// A folder of installed networks.
#[derive(Clone, Debug)]
pub struct Library {
    folder: PathBuf,
}

impl Library {
    /// The library in `folder`, which need not exist yet.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.safetensors"))
    }

    /// Whether something has this name.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    fn names(&self) -> Result<Vec<String>, LibraryError> {
        let fail = |source| LibraryError::Folder { path: self.folder.clone(), doing: "read", source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            if path.extension().is_some_and(|e| e == "safetensors") {
                names.extend(path.file_stem().and_then(|s| s.to_str()).map(str::to_owned));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Everything in the folder, good or bad, by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Installed>, LibraryError> {
        let installed = self.names()?.into_iter().map(|name| {
            let path = self.path(&name);
            Installed { file: ModelFile::read(&path), name, path }
        });
        Ok(installed.collect())
    }

    /// All networks that do this job, by name.
    ///
    /// # Errors
    /// When the folder cannot be read, or a file in it is damaged: it may be one of them.
    pub fn of_job(&self, wanted: &str) -> Result<Vec<ModelFile>, LibraryError> {
        let mut files = Vec::new();
        for name in self.names()? {
            let file = ModelFile::read(&self.path(&name))?;
            files.extend((file.card.job == wanted).then_some(file));
        }
        Ok(files)
    }

    /// Loads a network of this name that does this job.
    ///
    /// # Errors
    /// When it is not there, damaged, or for another job.
    pub fn load(&self, name: &str, wanted: &'static str) -> Result<ModelFile, LibraryError> {
        let path = self.path(name);
        if !path.exists() {
            let installed = self.names().unwrap_or_default();
            return Err(LibraryError::NotInstalled {
                name: name.to_owned(),
                path: self.folder.clone(),
                installed,
            });
        }
        let file = ModelFile::read(&path)?;
        if file.card.job != wanted {
            return Err(LibraryError::OtherJob { name: name.to_owned(), job: file.card.job, wanted });
        }
        Ok(file)
    }

    /// Installs a network under its card's name, in place of one that had the name before.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn install(&self, file: &ModelFile) -> Result<PathBuf, LibraryError> {
        std::fs::create_dir_all(&self.folder).map_err(|source| LibraryError::Folder {
            path: self.folder.clone(),
            doing: "written",
            source,
        })?;
        let path = self.path(&file.card.name);
        file.write(&path)?;
        Ok(path)
    }
}
