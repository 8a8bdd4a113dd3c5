//! Two doors in one service, as an operator has them: the real program with a camera and a simulated relay each.

use std::fs;

use accessd::door::sim::Line;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use serde_json::Value;

use crate::support::{Service, Site, photo, until};

/// Photographs that move a little, from a program that ends while there is a file `NAME.off`, a camera that is unplugged, and
/// when nobody reads them any more.
const FEED: &str =
    "while [ ! -e $1.off ]; do for f in clip/*.jpg; do cat $f || exit; sleep 0.1; done; done\n";

/// The doors, and whatever else.
fn two_doors(more: &str) -> String {
    let door = |name: &str, side: &str| {
        format!(
            "[[door]]\nname = \"{name}\"\nside = \"{side}\"\nrelay = \"sim:{name}.log\"\npulse_ms = 60000\n\
             [door.camera]\nsource = \"command:/bin/sh feed.sh {name}\"\n"
        )
    };
    format!("{more}{}{}", door("entry", "in"), door("exit", "out"))
}

/// A house with an entry and an exit. Before both stands the same person.
fn house() -> Site {
    let site = Site::with_networks();
    let image = accessd::frame::load_image(&photo("obama2.jpg")).unwrap();
    let (width, height) = (image.width() * 480 / image.height(), 480);
    let image = imageops::resize(&image, width, height, FilterType::Triangle);
    fs::create_dir(site.path("clip")).unwrap();
    for i in 0..10_u32 {
        let mut frame = RgbImage::from_pixel(640, 480, Rgb([110, 112, 108]));
        imageops::replace(&mut frame, &image, 150 + i64::from(i) * 3, 0);
        frame.save(site.path(&format!("clip/{i:02}.jpg"))).unwrap();
    }
    fs::write(site.path("feed.sh"), FEED).unwrap();
    site.write_config(&two_doors(
        "[decision]\nregrant_after_ms = 500\nmax_frame_age_ms = 2000\n[throttle]\nattempts = 0\n[clock]\ntrust = \"always\"\n\
         [liveness]\nwatch_ms = 0\n",
    ));
    done(&site, &["enroll", "--name", "Barack", "--images", photo("obama.jpg").to_str().unwrap()]);
    site
}

fn done(site: &Site, args: &[&str]) -> String {
    let outcome = site.run(args.iter().copied());
    assert_eq!(outcome.code, 0, "{args:?}: {}{}", outcome.stdout, outcome.stderr);
    outcome.stdout
}

fn refused(site: &Site, args: &[&str], code: i32) -> String {
    let outcome = site.run(args.iter().copied());
    assert_eq!(outcome.code, code, "{args:?}: {}{}", outcome.stdout, outcome.stderr);
    outcome.stderr + &outcome.stdout
}

/// Unplugs a camera, or plugs it in again.
fn camera(site: &Site, name: &str, on: bool) {
    let off = site.path(&format!("{name}.off"));
    match on {
        true => fs::remove_file(off).unwrap(),
        false => fs::write(off, "").unwrap(),
    }
}

fn relay(site: &Site, door: &str) -> Vec<Line> {
    let text = fs::read_to_string(site.path(&format!("{door}.log"))).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn is_unlocked(site: &Site, door: &str) -> bool {
    relay(site, door).last().is_some_and(|line| line.energised)
}

/// The grants at a door.
fn grants(site: &Site, door: &str) -> Vec<Value> {
    let log = done(site, &["log", "--kind", "grant", "--door", door, "--json"]);
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until the newest decision at a door says this.
fn until_decided(site: &Site, door: &str, words: &str) {
    until(&format!("{words} at {door}"), || {
        let log = site.run(["log", "--kind", "grant,refusal", "--door", door, "--limit", "1"]);
        log.stdout.contains(words)
    });
}

#[test]
fn net_people_come_in_and_go_out_and_nobody_comes_in_twice() {
    let site = house();
    camera(&site, "exit", false);
    let told = done(&site, &["policy", "passback", "--direction", "both"]);
    assert_eq!(
        told,
        "whoever is inside must leave before coming in again, and come in before leaving again\n"
    );
    let service = Service::start(&site);

    // In; then a second time, which is refused. The exit sees nothing meanwhile.
    until_decided(&site, "entry", "anti-passback: is inside since");
    assert_eq!(grants(&site, "entry").len(), 1);
    until("the exit's camera is missed", || {
        site.run(["log", "--kind", "camera_lost"]).stdout.contains("[exit]")
    });
    let status = done(&site, &["status"]);
    assert!(
        status.contains("entry (in inside): ") && status.contains("exit (out inside): locked"),
        "{status}"
    );
    assert_eq!(status.lines().filter(|line| line.starts_with("fault ")).count(), 1, "{status}");
    assert!(done(&site, &["policy", "inside"]).contains("Barack"));
    let why = refused(&site, &["policy", "why", "Barack", "--door", "entry"], 3);
    assert!(why.starts_with("Barack in at entry on ") && why.contains("was last seen: came in on "), "{why}");
    assert!(why.trim_end().lines().last().unwrap().contains("anti-passback: KEEPS THEM OUT"), "{why}");
    let why = done(&site, &["policy", "why", "Barack", "--door", "exit"]);
    assert!(why.ends_with("the way out: whoever is enrolled may leave: LETS THEM OUT\n"), "{why}");

    // A service that is killed knows it still, and locks both doors.
    done(&site, &["door", "unlock", "--door", "exit"]);
    assert!(is_unlocked(&site, "entry") && is_unlocked(&site, "exit"));
    service.kill_9();
    for door in ["entry", "exit"] {
        until("the guard locks", || !is_unlocked(&site, door));
        assert_eq!(relay(&site, door).last().unwrap().why, "the guard locked: the service ended", "{door}");
    }
    let service = Service::start(&site);
    let refusals = || site.run(["log", "--kind", "refusal", "--door", "entry"]).stdout.lines().count();
    let before = refusals();
    until("he is refused again", || refusals() > before);
    assert_eq!(grants(&site, "entry").len(), 1);

    // Forgiven, he comes in again; then he leaves, once.
    done(&site, &["policy", "forgive", "Barack"]);
    until("he is let in", || grants(&site, "entry").len() == 2);
    camera(&site, "entry", false);
    camera(&site, "exit", true);
    until_decided(&site, "exit", "anti-passback: left ");
    let [out]: [Value; 1] = grants(&site, "exit").try_into().unwrap();
    assert_eq!((&out["door"], &out["detail"]["side"]), (&"exit".into(), &"out".into()));
    assert!(is_unlocked(&site, "exit"));
    assert_eq!(done(&site, &["policy", "inside"]), "nobody was seen to come in who has not left\n");

    // Both cameras: he goes round and round, in and out in turn.
    camera(&site, "entry", true);
    until("he has been in and out", || grants(&site, "exit").len() >= 3);
    let log = done(&site, &["log", "--kind", "grant", "--json"]);
    let doors: Vec<String> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["door"].as_str().unwrap().to_owned())
        .collect();
    assert!(doors[2..].windows(2).all(|two| two[0] != two[1]), "{doors:?}");
    assert_eq!(service.stop(), Some(0));
    assert!(!is_unlocked(&site, "entry") && !is_unlocked(&site, "exit"));
}

#[test]
fn net_rules_orders_and_lockdown_name_their_door() {
    let site = house();
    let service = Service::start(&site);
    until("both let him pass", || grants(&site, "entry").len() + grants(&site, "exit").len() > 1);

    // Orders.
    let several = "there are several doors: entry, exit; say which with --door NAME";
    for order in ["unlock", "lock", "hold-open", "face-on"] {
        assert!(refused(&site, &["door", order], 1).contains(several));
    }
    assert!(refused(&site, &["enroll", "--name", "Zoe"], 1).contains(several));
    assert!(refused(&site, &["policy", "why", "Barack"], 1).contains(several));
    let unknown = refused(&site, &["door", "lock", "--door", "gate"], 1);
    assert!(unknown.contains("no door is called \"gate\"; there are: entry, exit"), "{unknown}");
    assert!(refused(&site, &["run", "--relay", "sim:x"], 2).contains("there are several doors"));
    done(&site, &["door", "hold-open", "--door", "exit"]);
    assert!(done(&site, &["door", "status"]).contains("exit: unlocked, held open"));
    assert!(done(&site, &["door", "status", "--door", "exit"]).starts_with("unlocked, held open"));
    done(&site, &["door", "lock", "--door", "exit"]);

    // Rules.
    let unknown = refused(&site, &["policy", "allow", "staff", "--door", "gate"], 1);
    assert!(unknown.contains("no door is called \"gate\""), "{unknown}");
    done(&site, &["policy", "remove", "1"]);
    let told = done(&site, &["policy", "allow", "staff", "--door", "entry"]);
    assert!(told.starts_with("rule 2: allow staff always, at entry\n"), "{told}");
    until_decided(&site, "entry", "not let in: no rule lets them in now");
    until_decided(&site, "exit", "the way out: whoever is enrolled may leave");
    done(&site, &["person", "set", "Barack", "--group", "staff"]);
    until_decided(&site, "entry", "rule 2: allow staff always, at entry");
    done(&site, &["policy", "deny", "staff", "--door", "exit"]);
    until_decided(&site, "exit", "rule 3: deny staff always, at exit");
    done(&site, &["policy", "hold-open", "--door", "exit"]);
    until("the exit is held open", || done(&site, &["door", "status"]).contains("exit: unlocked, held open"));
    assert!(!done(&site, &["door", "status"]).contains("entry: unlocked, held open"));

    // Lockdown is for both.
    done(&site, &["lockdown", "on"]);
    for door in ["entry", "exit"] {
        until_decided(&site, door, "lockdown");
        assert!(!is_unlocked(&site, door), "{door}");
    }
    done(&site, &["lockdown", "off"]);
    assert_eq!(service.stop(), Some(0));

    // A door that is renamed leaves its rules behind, which is told.
    let text = fs::read_to_string(site.path("accessd.toml"))
        .unwrap()
        .replace("name = \"exit\"", "name = \"way out\"");
    fs::write(site.path("accessd.toml"), text).unwrap();
    let check = site.run(["check"]).stdout;
    assert!(check.contains("rule 3 is for a door \"exit\" that the config does not have"), "{check}");
    assert!(check.contains("entry: sim:entry.log") && check.contains("way out: sim:exit.log"), "{check}");
}

#[test]
fn configs_whose_doors_contradict_each_other_are_refused() {
    let site = Site::new();
    let wrong = |text: &str, words: &str| {
        site.write_config(text);
        for command in [&["check"][..], &["run"]] {
            let outcome = site.run(command.iter().copied());
            assert_ne!(outcome.code, 0, "{command:?} takes {text}");
            assert!((outcome.stderr + &outcome.stdout).contains(words), "{words}");
        }
    };
    let good = two_doors("");
    wrong(&good.replace("sim:exit.log", "sim:entry.log"), "which is door.relay of door \"entry\" already");
    wrong(&good.replace("feed.sh exit", "feed.sh entry"), "which is camera.source of door \"entry\" already");
    wrong(
        &good.replace("name = \"exit\"", "name = \"Entry\""),
        "which is door.name of door \"entry\" already",
    );
    wrong(&good.replace("side = \"out\"", "side = \"away\""), "door.side is \"away\"");
    wrong(&two_doors("[inputs]\nrex = \"sim:rex\"\n"), "[inputs] stands beside [[door]]");
    wrong(&two_doors("[camera]\nsource = \"v4l:0\"\n"), "camera.source stands beside several [[door]]");
}
