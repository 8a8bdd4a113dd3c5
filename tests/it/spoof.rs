//! `accessd spoof-test`, driven as its user drives it: over the socket of a running service, and before a camera of its own.

use accessd::journal::{EventKind, Filter};
use accessd::store::{OpenMode, SqliteStore, Store, boot_id};
use serde_json::Value;

use crate::attacks::scene::{self, Pose, Sheet, Shot};
use crate::attacks::{MIDDLE, Networks, Photo, door, seconds};
use crate::support::{Service, Site, until};

/// A recording of `frames` pictures of something, with an empty hall before and after, again and again.
fn record(site: &Site, folder: &str, frames: u32, held: &Sheet, pose: fn(f32) -> Pose) {
    let empty = |from: u32| (from..from + 15).map(|i| Shot::of_hall().film(u64::from(i)));
    let shown =
        (0..frames).map(|i| Shot::of_hall().hold(held, 120.0, MIDDLE, pose(seconds(i))).film(u64::from(i)));
    scene::write(&site.path(folder), empty(0).chain(shown).chain(empty(500)));
}

fn photo() -> Photo {
    Photo::load("obama3.jpg")
}

/// Points the camera of the config at a recording that goes on for ever.
fn looks_at(site: &Site, folder: &str) {
    let config = std::fs::read_to_string(site.path("accessd.toml")).unwrap();
    std::fs::write(
        site.path("accessd.toml"),
        config.replace("clip:clip?fps=10", &format!("clip:{folder}?fps=10&loop")),
    )
    .unwrap();
}

fn test(site: &Site, species: &str, more: &[&str]) -> (i32, Value, String) {
    let args = ["spoof-test", "--species", species, "--yes", "--json"];
    let outcome = site.run(args.into_iter().chain(more.iter().copied()));
    let json = serde_json::from_str(&outcome.stdout).unwrap_or(Value::Null);
    (outcome.code, json, outcome.stderr)
}

fn count(site: &Site, kind: EventKind) -> usize {
    let store =
        SqliteStore::open(&site.path("accessd.db"), OpenMode::ReadOnly, &boot_id(), &site.keys()).unwrap();
    store.records(&Filter { kinds: vec![kind], ..Filter::default() }).unwrap().len()
}

#[test]
fn net_a_spoof_test_of_the_running_service_counts_and_opens_nothing() {
    let photo = photo();
    let site = door(Networks::None, "");
    record(&site, "print", 40, &Sheet::print(&photo.image, &photo.face, 120.0), Pose::hand);
    looks_at(&site, "print");
    let service = Service::start(&site);
    let status = site.run(["status"]).stdout;
    assert!(status.contains("photo-proof: not shown; to try it: accessd spoof-test"), "{status}");
    let (code, told, said) = test(&site, "print", &["--count", "2"]);
    assert_eq!(code, 0, "{said}");
    println!("{said}\n{told:#}");
    let print = &told["species"]["print"];
    assert_eq!((&print["presented"], &print["accepted"]), (&2.into(), &0.into()), "{told}");
    assert!(print["recognised"].as_u64() > Some(0), "else it shows nothing: {told}");
    let high = print["accept_interval95"][1].as_f64().unwrap();
    assert!(high > 0.8 && high < 1.0, "two that fail show little: {high}");
    let status = site.run(["status"]).stdout;
    assert!(status.contains("photo-proof: print 0 of "), "{status}");
    assert!(status.contains("phone: not shown, screen: not shown"), "{status}");
    // A client that goes away ends its test.
    let mut gone = std::process::Command::new(assert_cmd::cargo::cargo_bin!("accessd"))
        .args(["spoof-test", "--species", "print", "--count", "50", "--yes"])
        .current_dir(site.path(""))
        .env("ACCESSD_CONFIG", "accessd.toml")
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("the test has begun", || site.run(["status"]).stdout.contains("spoof test by"));
    gone.kill().unwrap();
    gone.wait().unwrap();
    until("the door decides again", || site.run(["status"]).stdout.contains("locked, deciding"));
    assert_eq!(service.stop(), Some(0));
    assert_eq!((count(&site, EventKind::SpoofTestBegan), count(&site, EventKind::SpoofTestEnded)), (2, 2));
    let relay = std::fs::read_to_string(site.path("relay.log")).unwrap();
    assert!(relay.contains("\"energised\":false") && !relay.contains("\"energised\":true"), "{relay}");
    let log = site.run(["log", "--kind", "spoof_test_began,spoof_test_ended"]).stdout;
    assert!(log.contains("uid ") && log.contains("the client hung up"), "{log}");
    assert_eq!(site.run(["log", "verify"]).code, 0);
}

#[test]
fn net_a_spoof_test_without_the_service_lets_the_living_in_and_names_what_passes() {
    let photo = photo();
    let site = door(Networks::None, "");
    record(&site, "person", 30, &Sheet::person(&photo.image, &photo.face, 120.0), Pose::sway);
    let camera = format!("clip:{}?fps=10&loop", site.path("person").display());
    let (code, told, said) = test(&site, "live", &["--count", "2", "--camera", &camera]);
    assert_eq!(code, 0, "{said}");
    let live = &told["species"]["live"];
    assert_eq!((&live["accepted"], &live["bpcer"]), (&2.into(), &0.0.into()), "{told} {said}");
    assert_eq!(told["settings"]["camera"].as_str(), Some(camera.as_str()));
    // What passes as living would pass as an attack as well: the exit code says so, and the interval how often.
    let (code, told, said) = test(&site, "phone", &["--count", "1", "--camera", &camera]);
    assert_eq!((code, &told["species"]["phone"]["accepted"]), (3, &1.into()), "{told} {said}");
    assert!(
        told["shown"]["text"].as_str().unwrap().contains("phone 1 of 1 passed (2.5 % to 100.0 %)"),
        "{told}"
    );
    assert!(!site.path("relay.log").exists(), "no relay was touched");
    // Of another camera it shows nothing.
    looks_at(&site, "person");
    let service = Service::start(&site);
    let status = site.run(["status"]).stdout;
    assert!(
        status.contains("for other settings (camera): print: not shown, phone 1 of 1 passed"),
        "{status}"
    );
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn net_a_spoof_test_that_cannot_be_is_refused_with_what_to_do() {
    let site = Site::with_networks();
    site.write_config("[camera]\nsource = \"clip:nowhere?fps=10\"\n[door]\nrelay = \"sim:relay.log\"\n");
    let refused = site.run(["spoof-test", "--yes"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("nobody is enrolled"), "{}", refused.stderr);
    let unknown = site.run(["spoof-test", "--species", "mask"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("known are live, print, phone, screen"), "{}", unknown.stderr);
}
