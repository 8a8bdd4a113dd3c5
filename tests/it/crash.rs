//! The service killed without a word, in the middle of a pulse and of an enrolment: the door is locked at the next
//! start, no opening is without its record, and nobody is enrolled by half.

use std::fs;

use accessd::clock::{Clock, SystemClock};
use accessd::daemon::client::Client;
use accessd::daemon::protocol::{Reply, Request};
use accessd::door::sim::Line;
use accessd::frame::load_image;
use accessd::journal::{EventKind, Filter};
use accessd::store::{OpenMode, SqliteStore, Store, boot_id, check};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Service, Site, photo, until};

/// A door before which one photograph stands for ever, moving a little, and which does not watch whether it is one.
pub fn door_with(photograph: &str) -> Site {
    let site = Site::with_networks();
    let image = load_image(&photo(photograph)).unwrap();
    let height = 480;
    let width = image.width() * height / image.height();
    let image = imageops::resize(&image, width, height, FilterType::Triangle);
    fs::create_dir(site.path("clip")).unwrap();
    for i in 0..20_u32 {
        let mut frame = RgbImage::from_pixel(640, 480, Rgb([110, 112, 108]));
        imageops::replace(&mut frame, &image, 150 + i64::from(i % 10) * 3, 0);
        frame.save(site.path(&format!("clip/{i:02}.png"))).unwrap();
    }
    site.write_config(
        "[camera]\nsource = \"clip:clip?loop&fps=10\"\n\
         [door]\nrelay = \"sim:relay.log\"\npulse_ms = 60000\n\
         [enrolment]\nsamples = 20\n\
         [liveness]\nwatch_ms = 0\n",
    );
    site
}

pub fn relay_lines(site: &Site) -> Vec<Line> {
    let text = fs::read_to_string(site.path("relay.log")).unwrap_or_default();
    // The last line may be half written while the service runs.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn database(site: &Site) -> SqliteStore {
    let path = site.path("accessd.db");
    let checkup = check(&path, &site.keys()).unwrap();
    assert!(checkup.is_sound(), "{:?}", checkup.findings);
    SqliteStore::open(&path, OpenMode::ReadOnly, &boot_id(), &site.keys()).unwrap()
}

/// No `energised` without a grant recorded before it.
fn every_opening_has_its_record(site: &Site) {
    let filter = Filter { kinds: vec![EventKind::Grant], ..Filter::default() };
    let grants = database(site).records(&filter).unwrap();
    let openings: Vec<Line> = relay_lines(site).into_iter().filter(|line| line.energised).collect();
    assert!(!openings.is_empty() && grants.len() >= openings.len());
    for opening in openings {
        assert!(
            grants.iter().any(|g| g.at.mono.as_millis() <= opening.mono_ms),
            "{opening:?} has no grant before it"
        );
    }
}

#[test]
fn net_kill_9_in_the_middle_of_a_pulse() {
    let site = door_with("obama2.jpg");
    let enrolled =
        site.run(["enroll", "--name", "Barack Obama", "--images", photo("obama.jpg").to_str().unwrap()]);
    assert_eq!(enrolled.code, 0, "{}", enrolled.stderr);

    let service = Service::start(&site);
    until("the door opens", || relay_lines(&site).iter().any(|line| line.energised));
    assert!(relay_lines(&site).last().unwrap().energised, "in the middle of a pulse of a minute");
    service.kill_9();
    let killed = SystemClock.now();
    until("the guard locks", || !relay_lines(&site).last().unwrap().energised);
    let line = relay_lines(&site).pop().unwrap();
    assert_eq!(line.why, "the guard locked: the service ended");
    assert!(line.mono_ms <= killed.as_millis() + 1_000, "{line:?}, killed at {killed:?}");
    every_opening_has_its_record(&site);

    // Nobody is in view at the next start: what locks is the start, not a decision.
    for i in 0..20 {
        RgbImage::new(640, 480).save(site.path(&format!("clip/{i:02}.png"))).unwrap();
    }
    let before = relay_lines(&site).len();
    let service = Service::start(&site);
    let first = &relay_lines(&site)[before];
    assert!(!first.energised && first.why == "start", "{first:?}");
    assert!(site.run(["status"]).stdout.contains("locked"));
    assert!(site.run(["list"]).stdout.contains("Barack Obama"));
    assert_eq!(service.stop(), Some(0));
    every_opening_has_its_record(&site);
    assert!(relay_lines(&site)[before..].iter().all(|line| !line.energised));
}

/// A door that an operator has unlocked for a minute.
fn unlocked_door() -> (Site, Service) {
    let site = door_with("obama2.jpg");
    let service = Service::start(&site);
    let outcome = site.run(["door", "unlock"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(relay_lines(&site).last().unwrap().energised);
    assert!(site.run(["door", "status"]).stdout.starts_with("unlocked"));
    (site, service)
}

#[test]
fn net_a_stopped_service_loses_the_strike_within_four_seconds() {
    let (site, service) = unlocked_door();
    let pid = Pid::from_raw(service.pid().cast_signed()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let stopped = SystemClock.now();
    until("the guard locks", || !relay_lines(&site).last().unwrap().energised);
    let line = relay_lines(&site).pop().unwrap();
    assert!(line.why.contains("no sign of life"), "{line:?}");
    assert!(line.mono_ms <= stopped.as_millis() + 4_000, "{line:?}, stopped at {stopped:?}");
    // Once it goes on it learns what happened, says so, and is not locked out of its own door.
    kill_process(pid, Signal::CONT).unwrap();
    until("it is in the log", || site.run(["log", "--kind", "locked"]).stdout.contains("no sign of life"));
    assert_eq!(site.run(["door", "unlock"]).code, 0);
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn net_a_guard_that_is_killed_leaves_the_door_locked_and_ends_the_service() {
    let (site, service) = unlocked_door();
    let guard = relay_lines(&site).last().unwrap().pid;
    assert_ne!(guard, service.pid());
    kill_process(Pid::from_raw(guard.cast_signed()).unwrap(), Signal::KILL).unwrap();
    let killed = SystemClock.now();
    until("the service locks", || !relay_lines(&site).last().unwrap().energised);
    let line = relay_lines(&site).pop().unwrap();
    assert!(line.mono_ms <= killed.as_millis() + 2_000, "{line:?}, killed at {killed:?}");
    assert_eq!(service.wait(), Some(1), "a service manager starts it again");
    let faults = site.run(["log", "--kind", "fault"]).stdout;
    assert!(faults.contains("the process that guards it does not answer"), "{faults}");
}

#[test]
fn net_the_exit_button_works_without_a_camera_and_nothing_opens_at_the_start() {
    let site = door_with("obama2.jpg");
    site.write_config(
        "[camera]\nsource = \"command:sh -c 'exit 1'\"\n[door]\nrelay = \"sim:relay.log\"\nrelock = \"on-open\"\n\
         [inputs]\nrex = \"sim:rex\"\ncontact = \"sim:contact\"\n[lamps]\nfault = \"sim:fault\"\n",
    );
    // A button that is stuck must not open the door at every start.
    fs::write(site.path("rex"), "1").unwrap();
    let service = Service::start(&site);
    until("the button is read", || site.run(["status"]).stdout.contains("check its wiring"));
    assert!(relay_lines(&site).iter().all(|line| !line.energised));
    fs::write(site.path("rex"), "0").unwrap();
    until("it is released", || !site.run(["status"]).stdout.contains("check its wiring"));
    fs::write(site.path("rex"), "1").unwrap();
    until("it opens", || relay_lines(&site).last().unwrap().energised);
    fs::write(site.path("rex"), "0").unwrap();
    until("it is released", || site.run(["door", "status"]).code == 0);
    std::thread::sleep(std::time::Duration::from_millis(100));
    fs::write(site.path("contact"), "1").unwrap();
    until("opening locks", || !relay_lines(&site).last().unwrap().energised);
    assert_eq!(relay_lines(&site).last().unwrap().why, "the door was opened");
    until("the loss of the camera is told", || site.run(["status"]).stdout.contains("no picture"));
    let lamp = || fs::read_to_string(site.path("fault")).unwrap();
    until("the lamp shows it", || lamp().lines().last().unwrap().contains("\"energised\":true"));
    let log = site.run(["log"]).stdout;
    for words in ["exit STUCK", "exit button", "opened", "camera lost"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert!(!log.contains("FORCED"), "{log}");
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn the_relay_is_locked_from_outside_and_the_kill_test_measures_it() {
    let site = Site::new();
    site.write_config("[door]\nrelay = \"sim:relay.log\"\n");
    assert_eq!(site.run(["door", "relock"]).code, 0);
    assert_eq!(relay_lines(&site).last().unwrap().why, "relocked from outside");
    let outcome = site.run(["doctor", "--kill-test"]);
    assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("ms after SIGKILL"), "{}", outcome.stdout);
    let lines = relay_lines(&site);
    assert!(lines.iter().any(|line| line.energised && line.why == "kill test"));
    assert_eq!(lines.last().unwrap().why, "the guard locked: the service ended");
}

#[test]
fn net_kill_9_in_the_middle_of_an_enrolment() {
    let site = door_with("obama.jpg");
    let service = Service::start(&site);
    let mut client = Client::connect(&site.path("control.sock")).unwrap().unwrap();
    let request = Request::EnrolLive { name: "Barack Obama".to_owned(), more: false, door: None };
    let mut taken = 0;
    for reply in client.stream(&request).unwrap() {
        match reply.unwrap() {
            Reply::Progress(progress) => taken = progress.taken,
            other => panic!("the enrolment ended: {other:?}"),
        }
        if taken >= 3 {
            break;
        }
    }
    assert!(taken >= 3);
    service.kill_9();
    let store = database(&site);
    assert_eq!(store.people().unwrap(), []);
    let kinds = vec![EventKind::Enrol, EventKind::Grant];
    assert_eq!(store.records(&Filter { kinds, ..Filter::default() }).unwrap(), []);

    let service = Service::start(&site);
    assert!(site.run(["list"]).stdout.contains("nobody is enrolled"));
    assert_eq!(service.stop(), Some(0));
}

/// Many kills at times that sweep over a whole enrolment from pictures.
#[test]
fn net_kill_9_at_any_time_of_an_enrolment_from_pictures() {
    let site = Site::with_networks();
    let (one, two) = (photo("obama.jpg"), photo("obama2.jpg"));
    let args = |name: &str| {
        let images = [one.to_str().unwrap(), two.to_str().unwrap()].map(str::to_owned);
        [["enroll", "--name", name, "--images"].map(str::to_owned).to_vec(), images.to_vec()].concat()
    };
    let whole = std::time::Instant::now();
    let done = site.run(args("Nobody Kills").iter().map(String::as_str));
    assert_eq!(done.code, 0, "{}", done.stderr);
    let whole = whole.elapsed();
    let rounds = 12;
    for round in 0..rounds {
        let name = format!("Person {round}");
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("accessd"));
        command.args(args(&name)).current_dir(site.path("")).env("ACCESSD_CONFIG", "accessd.toml");
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        // From the middle, before which nothing is written, to beyond the end.
        let at = whole.mul_f64(0.5 + 0.6 * f64::from(round) / f64::from(rounds));
        let started = std::time::Instant::now();
        until("the moment of the kill", || started.elapsed() >= at);
        let _ = child.kill();
        child.wait().unwrap();
        let store = database(&site);
        let filter =
            Filter { kinds: vec![EventKind::Enrol], person: Some(name.clone()), ..Filter::default() };
        let events = store.records(&filter).unwrap().len();
        match store.person(&name) {
            Ok(person) => assert_eq!((person.templates.len(), events), (2, 1), "{name}"),
            Err(_) => assert_eq!(events, 0, "{name}"),
        }
    }
}
