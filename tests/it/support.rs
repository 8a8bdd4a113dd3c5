//! What the tests of the real program share: a door of their own in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use accessd::clock::{Clock, SystemClock};
use accessd::encoder::{Embedding, ModelId};
use accessd::gallery::{NewTemplate, TemplateSource};
use accessd::journal::Stamp;
use accessd::seal::{DeviceKey, Keys, Secret};
use accessd::store::{OpenMode, SqliteStore, Store, boot_id};
use accessd::vision::quality::Quality;
use assert_cmd::Command;
use tempfile::TempDir;

/// Folder of the installed networks: `$ACCESSD_MODELS`, or `target/models`.
///
/// # Panics
/// When they are not there.
pub fn models_dir() -> PathBuf {
    let fallback = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/models");
    let dir = std::env::var_os("ACCESSD_MODELS").map_or_else(fallback, PathBuf::from);
    assert!(dir.join("sface.safetensors").is_file(), "no networks in {}: run `make models`", dir.display());
    dir
}

/// One of the public-domain photographs: in `$ACCESSD_PHOTOS`, or `target/photos`.
///
/// # Panics
/// When they are not there.
pub fn photo(name: &str) -> PathBuf {
    let fallback = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/photos");
    let path = std::env::var_os("ACCESSD_PHOTOS").map_or_else(fallback, PathBuf::from).join(name);
    assert!(path.is_file(), "no photograph {}: run `make photos`", path.display());
    path
}

/// Something that stands beside the project, in a folder `shared` of one of the folders it lies in: reference values and
/// recordings that are no part of it. `None`, and a line that says so, when it is not there.
pub fn beside(name: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let found = here.map(|folder| folder.join("shared").join(name)).find(|path| path.exists());
    if found.is_none() {
        println!("no {name} beside the project: skipped");
    }
    found
}

/// A door of a test's own: config, database, models, socket and relay in one folder.
pub struct Site {
    dir: TempDir,
}

/// What a command did.
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Site {
    /// A door with a valid config and nobody enrolled; there is no database yet.
    pub fn new() -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(site.path("models")).unwrap();
        site.write_config("");
        site
    }

    /// The same with the networks.
    pub fn with_networks() -> Self {
        let site = Self::new();
        fs::remove_dir(site.path("models")).unwrap();
        std::os::unix::fs::symlink(models_dir(), site.path("models")).unwrap();
        site
    }

    /// The path of a thing of this site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the config: the paths of this site, and whatever else is given.
    pub fn write_config(&self, more: &str) {
        let dir = self.dir.path().display();
        let text = format!(
            "[paths]\ndatabase = \"{dir}/accessd.db\"\ndevice_key = \"{dir}/device.key\"\nmodels = \"{dir}/models\"\nsocket = \"{dir}/control.sock\"\n{more}"
        );
        fs::write(self.path("accessd.toml"), text).unwrap();
    }

    /// The program with this site's config.
    pub fn accessd<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("accessd"));
        command
            .current_dir(self.dir.path())
            .env_clear()
            .env("TZ", "UTC")
            .env("ACCESSD_CONFIG", "accessd.toml");
        command
            .args(args.into_iter().map(|arg| arg.replace("{dir}", &self.dir.path().display().to_string())));
        command
    }

    /// Runs it to its end.
    pub fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Outcome {
        outcome(&mut self.accessd(args))
    }

    /// Where its device key is.
    pub fn keys(&self) -> Keys {
        Keys::new(&self.path("device.key"), None)
    }

    /// The database, opened for writing.
    pub fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path("accessd.db"), OpenMode::Create, &boot_id(), &self.keys()).unwrap()
    }

    /// Enrols somebody with made-up samples.
    pub fn enrol(&self, name: &str, samples: &[[f32; 3]]) {
        let templates: Vec<NewTemplate> = samples.iter().map(|values| template(values)).collect();
        self.store().enrol(name, &templates, "uid 0 (test)", Stamp::now(&SystemClock)).unwrap();
    }

    /// A hash of every file that holds something worth keeping. SQLite's own helper files come and go.
    pub fn fingerprint(&self) -> Vec<(PathBuf, String)> {
        let mut files = Vec::new();
        gather(self.dir.path(), &mut files);
        files.sort();
        let hash = |file: PathBuf| {
            let hash = blake3::hash(&fs::read(&file).unwrap()).to_string();
            (file, hash)
        };
        files.into_iter().map(hash).collect()
    }
}

/// Runs a command to its end.
pub fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A device key that is the same in every run.
pub fn held_keys() -> Keys {
    Keys::Held(DeviceKey::new(Secret::from_slice(&[7; 32]).unwrap()))
}

/// A made-up sample.
pub fn template(values: &[f32]) -> NewTemplate {
    NewTemplate {
        model: ModelId("made-up@1".into()),
        embedding: Embedding::normalise(values.to_vec()).unwrap(),
        quality: Quality {
            eye_distance_px: 61.0,
            sharpness: 85.0,
            light: 120.0,
            yaw_deg: -3.0,
            pitch_deg: 4.0,
            roll_deg: 0.0,
        },
        source: TemplateSource::Image,
        crop: None,
    }
}

/// A service that ends with the test.
pub struct Service(std::process::Child);

impl Service {
    /// Starts it and waits until it answers.
    pub fn start(site: &Site) -> Self {
        let service = Self::spawn(site);
        until("the service answers", || site.run(["status"]).code == 0);
        service
    }

    /// Starts it and does not wait.
    pub fn spawn(site: &Site) -> Self {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("accessd"));
        command.arg("run").current_dir(site.path("")).env("ACCESSD_CONFIG", "accessd.toml");
        let log = fs::File::create(site.path("service.log")).unwrap();
        Self(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Kills it as the kernel does when memory runs out: no handler runs.
    pub fn kill_9(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits until it ends by itself, and gives its exit code.
    pub fn wait(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }

    /// Asks it to stop, as systemd does, and gives its exit code.
    pub fn stop(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Fails when it has ended, as it should have.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Polls until something is so.
///
/// # Panics
/// After a minute.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = SystemClock.now() + Duration::from_secs(60);
    while !is_so() {
        assert!(SystemClock.now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn gather(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        let name = path.to_string_lossy();
        if kind.is_dir() {
            gather(&path, files);
        } else if kind.is_file() && !["-shm", "-wal", ".lock"].iter().any(|ending| name.ends_with(ending)) {
            files.push(path);
        }
    }
}
