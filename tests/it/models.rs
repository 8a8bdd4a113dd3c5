//! Bringing networks in: what is imported, what is refused and why, and that embeddings of two networks never meet.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Site, models_dir, photo};

const YUNET: &str = "face_detection_yunet_2023mar_int8bq.onnx";
const SFACE: &str = "face_recognition_sface_2021dec_int8bq.onnx";

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A site with the downloads of `make models` in `downloads` and the shipped manifest, nothing installed.
fn with_downloads() -> Site {
    let site = Site::new();
    fs::create_dir(site.path("downloads")).unwrap();
    for file in [YUNET, SFACE] {
        let from = project("target/downloads").join(file);
        assert!(from.is_file(), "no {}: run `make models`", from.display());
        fs::copy(from, site.path("downloads").join(file)).unwrap();
    }
    fs::copy(project("models/manifest.toml"), site.path("manifest.toml")).unwrap();
    site
}

const IMPORT: [&str; 6] = ["models", "import", "--manifest", "manifest.toml", "--from", "downloads"];

/// The import is refused with these words, and nothing is installed.
fn refused(site: &Site, args: &[&str], words: &[&str]) {
    let outcome = site.run(args.iter().copied());
    assert_eq!(outcome.code, 1, "{}", outcome.stdout);
    for word in words {
        assert!(outcome.stderr.contains(word), "{word:?} is not in: {}", outcome.stderr);
    }
    assert_eq!(fs::read_dir(site.path("models")).unwrap().count(), 0);
}

#[test]
fn net_the_manifest_is_imported_and_listed() {
    let site = with_downloads();
    let outcome = site.run(IMPORT);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stdout.contains("mobilefacenet: skipped"), "{}", outcome.stdout);
    let listed = site.run(["models", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let of = |i: usize, key: &str| listed["models"][i][key].clone();
    assert_eq!((of(0, "name"), of(1, "name")), ("sface".into(), "yunet".into()));
    assert!(of(0, "id").as_str().unwrap().starts_with("sface@"));
    assert_eq!(of(0, "card")["licence"], "Apache-2.0");
    // SFace normalises inside its graph: what the manifest leaves to it is found there.
    assert_eq!(of(0, "card")["input"]["mean"], 127.5);
    assert_eq!(site.run(["models", "list"]).code, 0);
}

#[test]
fn net_a_download_with_another_hash_is_refused() {
    let site = with_downloads();
    let path = site.path("downloads").join(SFACE);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    refused(&site, &IMPORT, &[SFACE, "SHA-256", "fb143eea07838aa5", "fetch it again"]);
}

#[test]
fn net_a_truncated_download_is_refused() {
    let site = with_downloads();
    let path = site.path("downloads").join(YUNET);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    refused(&site, &IMPORT, &[YUNET, "SHA-256"]);
}

#[test]
fn net_a_file_of_another_network_is_refused_layer_by_layer() {
    let site = with_downloads();
    // The manifest says SFace and pins YuNet's file: the hash fits, the graph does not.
    let manifest = fs::read_to_string(site.path("manifest.toml")).unwrap();
    let sface = manifest.find("name = \"sface\"").unwrap();
    let (head, tail) = manifest.split_at(sface);
    let tail = tail
        .replacen(
            "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
            "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
            1,
        )
        .replacen(SFACE, YUNET, 1);
    fs::write(site.path("manifest.toml"), format!("{head}{tail}")).unwrap();
    refused(&site, &IMPORT, &["network sface is not imported", "this is not sface", "it has 12 outputs"]);
    let own = format!("downloads/{YUNET}");
    refused(
        &site,
        &["models", "import", &own, "--name", "mine"],
        &["sface, mobilefacenet, minifasnet-v2", YUNET],
    );
}

#[test]
fn net_a_truncated_file_of_ones_own_is_refused() {
    let site = with_downloads();
    let bytes = fs::read(site.path("downloads").join(SFACE)).unwrap();
    fs::write(site.path("cut.onnx"), &bytes[..bytes.len() / 2]).unwrap();
    refused(&site, &["models", "import", "cut.onnx", "--name", "mine"], &["cut.onnx", "because"]);
    fs::write(site.path("text.onnx"), "not a network").unwrap();
    refused(&site, &["models", "import", "text.onnx", "--name", "mine"], &["text.onnx", "because"]);
    refused(&site, &["models", "import", "gone.onnx", "--name", "mine"], &["gone.onnx", "cannot be read"]);
    refused(&site, &["models", "import", "text.onnx", "--name", "../x"], &["cannot be a model's name"]);
}

#[test]
fn net_an_encoder_of_ones_own_gets_its_name_and_never_meets_the_other_s_templates() {
    let site = with_downloads();
    assert_eq!(site.run(IMPORT).code, 0);
    let (obama, other) = (photo("obama.jpg"), photo("obama2.jpg"));
    let enrolled = site.run(["enroll", "--name", "Barack Obama", "--images", obama.to_str().unwrap()]);
    assert_eq!(enrolled.code, 0, "{}", enrolled.stderr);
    let known = site.run(["identify", other.to_str().unwrap()]);
    assert_eq!(known.code, 0, "{}", known.stdout);

    let own = format!("downloads/{SFACE}");
    assert_eq!(site.run(["models", "import", &own, "--name", "mine", "--licence", "MIT"]).code, 0);
    let listed = site.run(["models", "list"]).stdout;
    assert!(listed.contains("mine@") && listed.contains("sface@"), "{listed}");
    site.write_config("[encoder]\nmodel = \"mine\"\n[decision]\nthreshold = 0.5\n");
    let unknown = site.run(["identify", other.to_str().unwrap()]);
    assert_eq!(unknown.code, 3, "templates of sface must not be compared: {}", unknown.stdout);
}

#[test]
fn net_an_altered_model_file_is_refused_by_its_own_hash() {
    let site = Site::new();
    let mut bytes = fs::read(models_dir().join("sface.safetensors")).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 0x40;
    fs::write(site.path("models/sface.safetensors"), &bytes).unwrap();
    fs::copy(models_dir().join("yunet.safetensors"), site.path("models/yunet.safetensors")).unwrap();
    let listed = site.run(["models", "list"]);
    assert_eq!(listed.code, 3);
    assert!(listed.stdout.contains("BAD") && listed.stdout.contains("altered"), "{}", listed.stdout);
    let obama = photo("obama.jpg");
    let verify = site.run(["verify", obama.to_str().unwrap(), obama.to_str().unwrap()]);
    assert_eq!(verify.code, 1);
    assert!(
        verify.stderr.contains("sface.safetensors") && verify.stderr.contains("altered"),
        "{}",
        verify.stderr
    );
}
