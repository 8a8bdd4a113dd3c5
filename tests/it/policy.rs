//! Who may enter when, from a shell: the rule book in the database, and the real service with a clip and a simulated
//! relay, driven as an operator would.

use std::fs;

use crate::crash::{door_with, relay_lines};
use crate::support::{Service, Site, photo, until};

fn done<'a>(site: &Site, args: impl IntoIterator<Item = &'a str>) -> String {
    let args: Vec<&str> = args.into_iter().collect();
    let outcome = site.run(args.iter().copied());
    assert_eq!(outcome.code, 0, "{args:?}: {}{}", outcome.stdout, outcome.stderr);
    outcome.stdout
}

/// Validity and `policy why --at` were read in the machine's zone, which many leave at UTC, and not in that of the rules.
#[test]
fn times_are_written_and_told_in_the_zone_of_the_rules() {
    let site = Site::new();
    site.enrol("Vera", &[[1.0, 0.0, 0.0]]);
    done(&site, ["policy", "zone", "Asia/Tokyo"]);
    for (until, told) in [
        ("2030-11-25 17:00", "Vera: until 2030-11-25 17:00 JST\n"),
        ("2030-11-25", "Vera: until 2030-11-26 00:00 JST\n"),
        ("2030-11-25T17:00:00+00:00", "Vera: until 2030-11-26 02:00 JST\n"),
    ] {
        assert_eq!(done(&site, ["person", "set", "Vera", "--valid-until", until]), told);
    }
    let list = done(&site, ["policy", "list"]);
    assert!(list.contains("until 2030-11-26 02:00 JST"), "{list}");
    for (at, code, day) in
        [("2030-11-26 01:59", 0, "on Tue 2030-11-26 01:59 JST"), ("2030-11-26 02:00", 3, "02:00 JST")]
    {
        let outcome = site.run(["policy", "why", "Vera", "--at", at]);
        assert_eq!(outcome.code, code, "{}{}", outcome.stdout, outcome.stderr);
        assert!(outcome.stdout.lines().next().unwrap().ends_with(day), "{}", outcome.stdout);
    }
    let bad = site.run(["person", "set", "Vera", "--valid-until", "whenever"]);
    assert!(bad.code == 2 && bad.stderr.contains("is no moment"), "{}", bad.stderr);
}

#[test]
fn a_rule_book_is_made_listed_explained_and_taken_elsewhere() {
    let site = Site::new();
    site.enrol("Ada", &[[1.0, 0.0, 0.0]]);
    site.enrol("Bob", &[[0.0, 1.0, 0.0]]);
    assert_eq!(done(&site, ["policy", "list"]), "rule 1: allow everybody always\n");
    let staff = ["policy", "allow", "staff", "--days", "mon-fri", "--from", "07:00", "--until", "19:00"];
    let told = done(&site, staff.into_iter().chain(["--not-on-holidays"]));
    assert!(told.starts_with("rule 2: allow staff mon-fri 07:00-19:00, not on holidays\n"), "{told}");
    assert!(told.contains("rule 1 still lets everybody in always"), "{told}");
    done(&site, ["policy", "remove", "1"]);
    done(&site, ["policy", "allow", "cleaners", "--days", "tue", "--from", "18:00", "--until", "02:00"]);
    done(&site, ["policy", "zone", "Europe/Berlin"]);
    done(&site, ["policy", "passback", "30s"]);
    done(&site, ["holiday", "add", "2026-12-24..2026-12-26", "Christmas", "--yearly"]);
    assert!(done(&site, ["holiday", "list"]).contains("Christmas"));
    assert_eq!(done(&site, ["person", "set", "ada", "--group", "Staff"]), "Ada: of staff\n");
    let bob =
        ["person", "set", "Bob", "--group", "cleaners", "--valid-until", "2030-01-01T00:00:00Z", "--one-use"];
    assert_eq!(done(&site, bob), "Bob: of cleaners, until 2030-01-01 01:00 CET, entries left: 1\n");

    for (name, at, code, last) in [
        (
            "Ada",
            "2026-11-23T10:00:00Z",
            0,
            "rule 2: allow staff mon-fri 07:00-19:00, not on holidays: LETS THEM IN",
        ),
        ("Ada", "2026-11-22T10:00:00Z", 3, "no further rule: KEEPS THEM OUT: no rule lets them in now"),
        ("Ada", "2026-12-25T10:00:00Z", 3, "no further rule: KEEPS THEM OUT: no rule lets them in now"),
        // Wednesday, an hour after midnight in Berlin.
        ("Bob", "2026-11-25T00:30:00Z", 0, "rule 3: allow cleaners tue 18:00-02:00: LETS THEM IN"),
        ("Bob", "2031-11-25T18:30:00Z", 3, "validity: KEEPS THEM OUT: valid until 2030-01-01 01:00 CET"),
    ] {
        let outcome = site.run(["policy", "why", name, "--at", at]);
        assert_eq!(outcome.code, code, "{}{}", outcome.stdout, outcome.stderr);
        assert_eq!(outcome.stdout.lines().last().unwrap().trim(), last);
    }

    let text = done(&site, ["policy", "export"]);
    fs::write(site.path("book.toml"), &text).unwrap();
    let other = Site::new();
    other.enrol("Bob", &[[0.0, 1.0, 0.0]]);
    other.enrol("Ada", &[[1.0, 0.0, 0.0]]);
    fs::copy(site.path("book.toml"), other.path("book.toml")).unwrap();
    done(&other, ["policy", "import", "book.toml"]);
    assert_eq!(done(&other, ["policy", "export"]), text);
    done(&other, ["holiday", "remove", "2029-12-25"]);
    assert!(!done(&other, ["policy", "export"]).contains("Christmas"));

    let log = done(&site, ["log", "--kind", "policy"]);
    for words in ["removed rule 1: allow everybody always", "times are those of Europe/Berlin", "by uid "] {
        assert!(log.contains(words), "{words}: {log}");
    }
    done(&site, ["lockdown", "on"]);
    assert!(done(&site, ["policy", "list"]).contains("LOCKDOWN"));
    done(&site, ["lockdown", "off"]);
    assert!(done(&site, ["log"]).contains("lockdown over"));
}

#[test]
fn what_makes_no_rule_is_refused_with_an_example() {
    let site = Site::new();
    site.enrol("Ada", &[[1.0, 0.0, 0.0]]);
    fs::write(site.path("bad.toml"), "[[rule]]\neffect = \"allow\"\nday = \"mon\"\n").unwrap();
    for (args, code, words) in [
        (&["policy", "allow", "staff", "--days", "monday"][..], 2, "`mon-fri`"),
        (&["policy", "allow", "staff", "--from", "25:00"], 2, "`07:00`"),
        (&["policy", "allow", "two words"], 2, "cannot be a group"),
        (&["policy", "remove", "7"], 1, "there is no rule 7"),
        (&["policy", "zone", "Europe/Atlantis"], 1, "Europe/Berlin"),
        (&["policy", "import", "bad.toml"], 1, "is no rule book"),
        (&["policy", "import", "none.toml"], 1, "none.toml cannot be read"),
        (&["policy", "why", "Zoe"], 1, "nobody is enrolled as \"Zoe\""),
        (&["person", "set", "Ada"], 2, "nothing to change"),
        (&["person", "set", "Ada", "--group", "everybody"], 2, "already"),
        (&["holiday", "add", "christmas", "x"], 2, "is no date"),
        (&["holiday", "remove", "2026-01-02"], 1, "is no holiday"),
        (&["door", "face-on"], 1, "no service answers"),
    ] {
        let outcome = site.run(args.iter().copied());
        assert_eq!(outcome.code, code, "{args:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(words), "{args:?}: {}", outcome.stderr);
    }
    assert_eq!(done(&site, ["policy", "list"]), "rule 1: allow everybody always\n", "nothing changed");
    let told = done(&site, ["policy", "remove", "1"]);
    assert!(told.contains("no rule lets anybody in now"), "{told}");
}

/// Waits until the newest refusal or grant in the log says this.
fn until_log(site: &Site, words: &str) {
    until(words, || site.run(["log", "--kind", "grant,refusal", "--limit", "1"]).stdout.contains(words));
}

#[test]
fn net_the_service_keeps_to_the_rule_book_as_an_operator_changes_it() {
    let site = door_with("obama2.jpg");
    site.write_config(
        "[camera]\nsource = \"clip:clip?loop&fps=10\"\n[door]\nrelay = \"sim:relay.log\"\n[liveness]\nwatch_ms = 0\n\
         [decision]\nregrant_after_ms = 500\nmax_frame_age_ms = 2000\n[clock]\ntrust = \"always\"\n\
         [inputs]\nrex = \"sim:rex\"\npanic = \"sim:panic\"\n",
    );
    let obama = photo("obama.jpg");
    done(&site, ["enroll", "--name", "Barack", "--images", obama.to_str().unwrap()]);
    let service = Service::start(&site);
    until_log(&site, "rule 1: allow everybody always");

    // Of no group that is let in.
    done(&site, ["policy", "remove", "1"]);
    done(&site, ["policy", "allow", "staff"]);
    until_log(&site, "known, but not let in: no rule lets them in now");
    done(&site, ["person", "set", "Barack", "--group", "staff"]);
    until_log(&site, "rule 2: allow staff always");

    // A visitor whose time is over, then one who may come in once.
    done(&site, ["person", "set", "Barack", "--valid-until", "2026-01-01 12:00"]);
    until_log(&site, "not let in: valid until 2026-01-01 12:00 ");
    done(&site, ["person", "set", "Barack", "--valid-until", "none", "--one-use"]);
    until_log(&site, "not let in: no entries left");
    done(&site, ["person", "set", "Barack", "--entries", "none"]);
    until_log(&site, "rule 2: allow staff always");
    done(&site, ["policy", "passback", "1h"]);
    until_log(&site, "not let in: anti-passback: came in ");
    done(&site, ["policy", "passback", "0s"]);

    // Lockdown, also by the panic button; the way out stays.
    done(&site, ["lockdown", "on"]);
    until_log(&site, "not let in: lockdown");
    assert!(done(&site, ["status"]).contains("LOCKDOWN"));
    until("the door is locked", || !relay_lines(&site).last().unwrap().energised);
    fs::write(site.path("rex"), "1").unwrap();
    until("the exit button opens", || relay_lines(&site).last().unwrap().energised);
    fs::write(site.path("rex"), "0").unwrap();
    done(&site, ["lockdown", "off"]);
    until_log(&site, "rule 2: allow staff always");
    fs::write(site.path("panic"), "1").unwrap();
    until_log(&site, "not let in: lockdown");
    fs::write(site.path("panic"), "0").unwrap();
    assert!(done(&site, ["log", "--kind", "lockdown"]).contains("by panic button"));

    // Lockdown outlives a restart.
    assert_eq!(service.stop(), Some(0));
    let service = Service::start(&site);
    until_log(&site, "not let in: lockdown");
    done(&site, ["lockdown", "off"]);

    // Open hours.
    done(&site, ["policy", "hold-open"]);
    until("it is open", || done(&site, ["door", "status"]).contains("unlocked, held open"));
    assert!(relay_lines(&site).last().unwrap().why.contains("hold open always"));
    done(&site, ["policy", "remove", "3"]);
    until("it is locked", || site.run(["log", "--kind", "locked"]).stdout.contains("the end of open hours"));

    // A person removed is not let in.
    done(&site, ["remove", "Barack", "--yes"]);
    until("nobody is known", || site.run(["policy", "why", "Barack"]).stderr.contains("nobody is enrolled"));
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn net_without_a_clock_to_trust_what_is_limited_in_time_refuses() {
    let site = door_with("obama2.jpg");
    site.write_config(
        "[camera]\nsource = \"clip:clip?loop&fps=10\"\n[door]\nrelay = \"sim:relay.log\"\n[liveness]\nwatch_ms = 0\n\
         [decision]\nregrant_after_ms = 500\nmax_frame_age_ms = 2000\n[clock]\ntrust = \"never\"\n",
    );
    let obama = photo("obama.jpg");
    done(&site, ["enroll", "--name", "Barack", "--images", obama.to_str().unwrap()]);
    done(&site, ["policy", "remove", "1"]);
    done(&site, ["policy", "allow", "everybody", "--from", "00:00", "--until", "23:59"]);
    let service = Service::start(&site);
    until_log(&site, "not let in: the clock is not trusted");
    assert!(done(&site, ["status"]).contains("NOT TRUSTED"));
    assert_eq!(site.run(["policy", "why", "Barack"]).code, 3);
    assert!(relay_lines(&site).iter().all(|line| !line.energised));
    assert_eq!(service.stop(), Some(0));
}
