//! PINs as an operator and the people at the door meet them: from a shell, and with the real service, a clip, a simulated
//! relay and a keypad whose events are played back.

use std::fs::{self, File, OpenOptions};
use std::io::Write;

use crate::crash::{door_with, relay_lines};
use crate::support::{Outcome, Service, Site, outcome, photo, until};

/// What a USB keypad gave while `483920` and Enter were typed on it, as the kernel hands it out: times, scan codes, presses,
/// releases and the marks between reports. Made by [`events`], kept so that a change of the reader is held against it.
const RECORDED: &[u8] = include_bytes!("keypad.events");

/// `struct input_event` of a 64-bit kernel, for each key: its scan code, the key down, up, and a mark after each report.
fn events(text: &str) -> Vec<u8> {
    const CODES: [u16; 10] = [82, 79, 80, 81, 75, 76, 77, 71, 72, 73];
    let (mut bytes, mut micros) = (Vec::new(), 1_790_000_000_000_000_i64);
    let mut event = |kind: u16, code: u16, value: i32| {
        bytes.extend((micros / 1_000_000).to_le_bytes());
        bytes.extend((micros % 1_000_000).to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(code.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        micros += 12_345;
    };
    for key in text.chars() {
        let code = match key {
            '\n' => 96,
            '*' => 55,
            digit => CODES[digit.to_digit(10).unwrap() as usize],
        };
        for value in [1, 0] {
            event(4, 4, 0x0007_0059);
            event(1, code, value);
            event(0, 0, 0);
        }
    }
    bytes
}

#[test]
fn the_recording_is_what_the_kernel_would_give() {
    assert_eq!(RECORDED, events("483920\n"));
    assert_eq!(RECORDED.len(), 7 * 6 * 24);
}

fn done<'a>(site: &Site, args: impl IntoIterator<Item = &'a str>) -> String {
    let args: Vec<&str> = args.into_iter().collect();
    let outcome = site.run(args.iter().copied());
    assert_eq!(outcome.code, 0, "{args:?}: {}{}", outcome.stdout, outcome.stderr);
    outcome.stdout
}

/// A command that reads a PIN from its standard input.
fn with_pin(site: &Site, args: &[&str], pin: &str) -> Outcome {
    outcome(site.accessd(args.iter().copied()).write_stdin(format!("{pin}\n")))
}

fn set(site: &Site, args: &[&str], pin: &str) -> String {
    let outcome = with_pin(site, args, pin);
    assert_eq!(outcome.code, 0, "{args:?}: {}", outcome.stderr);
    outcome.stdout
}

#[test]
fn pins_are_given_listed_and_taken_away_and_never_shown() {
    let site = Site::new();
    site.enrol("Ada", &[[1.0, 0.0, 0.0]]);
    let told = set(&site, &["pin", "set", "ada"], "483920");
    assert_eq!(told, "Ada has a PIN; their number is 1: 1*PIN\n");
    assert_eq!(set(&site, &["pin", "duress", "Ada"], "593811"), "Ada has a duress PIN\n");
    let told = done(&site, ["person", "add", "Ines Ortiz"]);
    assert!(told.contains("accessd pin set \"Ines Ortiz\""), "{told}");
    let list = done(&site, ["pin", "list"]);
    let rows: Vec<Vec<&str>> = list.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [vec!["Ada", "1", "yes"], vec!["Ines", "Ortiz", "2", "none"]]);
    for (args, pin, words) in [
        (&["pin", "set", "Ada"][..], "12345", "at least 6 digits here: pin.min_digits"),
        (&["pin", "set", "Ada"], "123456", "tried first"),
        (&["pin", "set", "Ada"], "12ab56", "4 to 12 digits"),
        (&["pin", "set", "Ada"], "", "4 to 12 digits"),
        (&["pin", "set", "Zoe"], "483920", "nobody is enrolled as \"Zoe\""),
        (&["pin", "duress", "Ada"], "483920", "another one than the usual one"),
        (&["pin", "duress", "Ada"], "5938112", "as many digits as the usual one, 6"),
        (&["pin", "duress", "Ines Ortiz"], "593811", "has no PIN yet"),
        (&["door", "pin"], "483920", "no service answers"),
    ] {
        let outcome = with_pin(&site, args, pin);
        assert_eq!(outcome.code, 1, "{args:?}: {}", outcome.stdout);
        assert!(outcome.stderr.contains(words), "{args:?}: {}", outcome.stderr);
        assert!(pin.is_empty() || !outcome.stderr.contains(pin), "{args:?} repeats it: {}", outcome.stderr);
    }
    assert_eq!(site.run(["pin", "set", "Ada", "483920"]).code, 2, "never on the command line");
    done(&site, ["pin", "clear", "Ada"]);
    let log = done(&site, ["log"]);
    for words in ["PIN set       Ada  by uid ", "PIN set       Ada  for duress  by uid ", "PIN cleared   Ada"]
    {
        assert!(log.contains(words), "{words}: {log}");
    }
    set(&site, &["pin", "set", "Ada"], "483920");
    done(&site, ["remove", "Ada", "--yes"]);
    assert_eq!(site.run(["pin", "clear", "Ines Ortiz"]).code, 1, "she has none");
    nowhere(&site, &["483920", "593811"]);
}

/// No file of the site holds one of these texts.
fn nowhere(site: &Site, texts: &[&str]) {
    for file in fs::read_dir(site.path("")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() && path.extension().is_none_or(|ending| ending != "events") {
            let bytes = fs::read(&path).unwrap();
            for text in texts {
                let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
                assert!(!found, "{text} is in {}", path.display());
            }
        }
    }
}

#[test]
fn a_thousand_pins_for_each_person_also_when_more_people_come() {
    let site = Site::new();
    site.write_config("[pin]\nmin_digits = 4\n");
    for n in 0..10_u8 {
        done(&site, ["person", "add", &format!("Person {n}")]);
    }
    set(&site, &["pin", "set", "Person 3"], "4839");
    let refused = site.run(["person", "add", "Person 10"]);
    assert_eq!(refused.code, 1);
    let words = "for 11 people a PIN has at least 5 digits, and Person 3 would be left with a shorter one";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    done(&site, ["pin", "clear", "Person 3"]);
    done(&site, ["person", "add", "Person 10"]);
    assert_eq!(with_pin(&site, &["pin", "set", "Person 3"], "4839").code, 1);
    set(&site, &["pin", "set", "Person 3"], "48392");
}

#[test]
fn what_must_be_shown_is_agreed_explained_and_taken_elsewhere() {
    let site = Site::new();
    site.enrol("Ada", &[[1.0, 0.0, 0.0]]);
    done(
        &site,
        ["policy", "allow", "everybody", "--from", "19:00", "--until", "07:00", "--with", "face-and-pin"],
    );
    done(&site, ["policy", "remove", "1"]);
    done(&site, ["policy", "zone", "UTC"]);
    let why = |show: &str| site.run(["policy", "why", "Ada", "--at", "2026-11-23T22:00:00Z", "--show", show]);
    let last = |outcome: &Outcome| outcome.stdout.lines().last().unwrap().trim().to_owned();
    let none = why("face");
    assert_eq!(none.code, 3);
    let told =
        "KEEPS THEM OUT: a PIN is asked for and they have none (accessd pin set): it takes face and PIN";
    assert!(last(&none).contains(told), "{}", none.stdout);
    set(&site, &["pin", "set", "Ada"], "483920");
    assert!(
        last(&why("face")).contains("WAITS FOR THE PIN: the PIN is asked for: it takes face and PIN; rule 2")
    );
    assert_eq!((why("face-and-pin").code, why("pin").code), (0, 3));
    assert_eq!(done(&site, ["person", "set", "Ada", "--with", "face-or-pin"]), "Ada: with face or PIN\n");
    assert_eq!(why("pin").code, 0, "what is agreed goes before the rule");
    let book = done(&site, ["policy", "export"]);
    assert!(book.contains("with = \"face-and-pin\"") && book.contains("with = \"face-or-pin\""), "{book}");
    let other = Site::new();
    other.enrol("Ada", &[[1.0, 0.0, 0.0]]);
    fs::write(other.path("book.toml"), &book).unwrap();
    done(&other, ["policy", "import", "book.toml"]);
    assert_eq!(done(&other, ["policy", "export"]), book);
    assert_eq!(done(&site, ["person", "set", "Ada", "--with", "none"]), "Ada: nothing in particular\n");
    for (args, words) in [
        (&["policy", "allow", "staff", "--with", "card"][..], "`face-and-pin`"),
        (&["policy", "deny", "staff", "--with", "face"], "unexpected argument"),
        (&["person", "set", "Ada", "--with", "card"], "`face-and-pin`"),
    ] {
        let outcome = site.run(args.iter().copied());
        assert_eq!(outcome.code, 2, "{args:?}");
        assert!(outcome.stderr.contains(words), "{args:?}: {}", outcome.stderr);
    }
}

/// Waits until the newest event of a kind says this.
fn until_log(site: &Site, kind: &str, words: &str) {
    until(words, || site.run(["log", "--kind", kind, "--limit", "1"]).stdout.contains(words));
}

fn is_lit(site: &Site, lamp: &str) -> bool {
    let text = fs::read_to_string(site.path(lamp)).unwrap_or_default();
    text.lines().last().is_some_and(|line| line.contains("\"energised\":true"))
}

#[test]
fn net_a_door_that_asks_for_pins_as_the_people_at_it_meet_it() {
    let site = door_with("obama2.jpg");
    site.write_config(
        "[camera]\nsource = \"clip:clip?loop&fps=10\"\n[door]\nrelay = \"sim:relay.log\"\n\
         [decision]\nregrant_after_ms = 500\nmax_frame_age_ms = 2000\n[clock]\ntrust = \"always\"\n\
         [pin]\nwait_s = 5\n[throttle]\npin_attempts = 10\npin_off_after = 10\n\
         [inputs]\nkeypad = \"events:keypad.events\"\n[lamps]\npin = \"sim:lamp.log\"\n",
    );
    let mut keypad = File::create(site.path("keypad.events")).unwrap();
    let obama = photo("obama.jpg");
    done(&site, ["enroll", "--name", "Barack", "--images", obama.to_str().unwrap()]);
    let service = Service::start(&site);
    until_log(&site, "grant", "rule 1: allow everybody always");

    // Face and PIN: the face names him, a lamp asks, nothing opens, the wait is over; then he types.
    set(&site, &["pin", "set", "Barack"], "483920");
    set(&site, &["pin", "duress", "Barack"], "593811");
    done(&site, ["policy", "allow", "everybody", "--with", "face-and-pin"]);
    done(&site, ["policy", "remove", "1"]);
    done(&site, ["door", "lock"]);
    let grants = || done(&site, ["log", "--kind", "grant"]).lines().count();
    let before = grants();
    until_log(&site, "pin_asked", "it takes face and PIN; rule 2: allow everybody always, with face and PIN");
    until("the lamp asks", || is_lit(&site, "lamp.log"));
    until("status says who is asked", || done(&site, ["status"]).contains("Barack: enter PIN"));
    until_log(&site, "refusal", "Barack  known, but not let in: no PIN within 5 s");
    assert_eq!(grants(), before);
    assert!(!relay_lines(&site).last().unwrap().energised);
    until("he is asked again", || done(&site, ["status"]).contains("Barack: enter PIN"));
    keypad.write_all(RECORDED).unwrap();
    until("the PIN opens", || grants() > before);
    until_log(&site, "grant", "PIN, rule 2: allow everybody always, with face and PIN");
    until("the door is open", || relay_lines(&site).last().unwrap().energised);

    // Under duress: the same at the door, and an alarm.
    let before = grants();
    until("he is asked again", || done(&site, ["status"]).contains("Barack: enter PIN"));
    keypad.write_all(&events("593811\n")).unwrap();
    until_log(&site, "duress", "DURESS        Barack");
    assert_eq!(grants(), before + 1);
    assert!(done(&site, ["status"]).contains("DURESS"), "told to the service's own user");

    // Somebody without a face comes in by number and PIN, at the keypad and handed on by another program.
    done(&site, ["person", "add", "Ines"]);
    set(&site, &["pin", "set", "Ines"], "720416");
    let look = with_pin(&site, &["door", "pin", "Ines"], "720416");
    assert_eq!((look.code, look.stdout.as_str()), (0, "right; look at the camera\n"));
    done(&site, ["person", "set", "Ines", "--with", "face-or-pin"]);
    keypad.write_all(&events("2*720416\n")).unwrap();
    until_log(&site, "grant", "Ines  PIN, rule 2");
    let opened = with_pin(&site, &["door", "pin"], "2*720416");
    assert_eq!((opened.code, opened.stdout.as_str()), (0, "open\n"), "{}", opened.stderr);

    // Guessing comes to an end, and an operator begins anew.
    for _ in 0..10 {
        let wrong = with_pin(&site, &["door", "pin", "Ines"], "111222");
        assert_eq!((wrong.code, wrong.stdout.as_str()), (3, "wrong PIN\n"));
    }
    assert!(with_pin(&site, &["door", "pin", "Ines"], "720416").stdout.contains("accessd pin on"));
    let log = done(&site, ["log", "--kind", "wrong_pin,pin_throttled,pin_off"]);
    for words in ["wrong PIN     Ines", "PIN PAUSED    for s 30", "PIN OFF       Ines"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    done(&site, ["pin", "on", "Ines"]);
    assert!(
        with_pin(&site, &["door", "pin", "Ines"], "720416").stdout.contains("no PIN is taken for"),
        "the door pauses"
    );

    // A keypad that is unplugged is missed, and used again.
    assert_eq!(service.stop(), Some(0));
    fs::remove_file(site.path("keypad.events")).unwrap();
    let service = Service::start(&site);
    until("it is missed", || done(&site, ["status"]).contains("keypad events:keypad.events"));
    fs::write(site.path("keypad.events"), []).unwrap();
    until("it is back", || !done(&site, ["status"]).contains("keypad events:keypad.events"));
    let mut keypad = OpenOptions::new().append(true).open(site.path("keypad.events")).unwrap();
    let before = grants();
    keypad.write_all(&events("2*720416\n")).unwrap();
    until("it opens", || grants() > before);

    done(&site, ["pin", "clear", "Ines"]);
    assert_eq!(with_pin(&site, &["door", "pin", "Ines"], "720416").stdout, "wrong PIN\n");
    assert_eq!(service.stop(), Some(0));
    nowhere(&site, &["483920", "593811", "720416"]);
}
