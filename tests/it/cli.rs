//! The real program from a shell: what people and programs read, and the codes it ends with.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use accessd::clock::{MonoTime, SystemClock};
use accessd::gallery::PersonId;
use accessd::journal::{Event, EventKind, PersonRef, Stamp};
use accessd::store::Store;
use serde_json::{Value, json};

use crate::support::{Outcome, Service, Site, outcome};

const ADA: [f32; 3] = [1.0, 0.0, 0.0];
const BOB: [f32; 3] = [0.0, 1.0, 0.0];

/// Runs a command that must succeed and gives its standard output.
fn done<'a>(site: &Site, args: impl IntoIterator<Item = &'a str>) -> String {
    let Outcome { code, stdout, stderr } = site.run(args);
    assert_eq!(code, 0, "{stdout}{stderr}");
    stdout
}

fn json_of<'a>(site: &Site, args: impl IntoIterator<Item = &'a str>) -> Value {
    serde_json::from_str(&done(site, args)).unwrap()
}

/// A site with two people and a day at the door.
fn lively() -> Site {
    let site = Site::new();
    site.enrol("Ada Lovelace", &[ADA, ADA]);
    site.enrol("Bob", &[BOB]);
    let mut store = site.store();
    let ada = PersonRef { id: PersonId(1), name: "Ada Lovelace".into() };
    let grant = json!({
        "track": 1, "seq": 9, "frame_age_ms": 80, "frames_agreed": 3, "frames_seen": 3,
        "best": {"person": 1, "name": "Ada Lovelace", "score": 0.74},
        "runner_up": {"person": 2, "name": "Bob", "score": 0.21},
        "rule": {
            "threshold": 0.5, "margin": 0.08, "frames_needed": 3, "frames_window": 5,
            "max_frame_age": {"secs": 0, "nanos": 500_000_000}, "regrant_after": {"secs": 10, "nanos": 0}
        }
    });
    for (at, event) in [
        ("2026-03-01T07:00:00Z", Event::new(EventKind::Start, json!({"version": "0.1.0"}))),
        ("2026-03-01T08:00:00Z", Event { person: Some(ada), ..Event::new(EventKind::Grant, grant) }),
        (
            "2026-03-01T08:00:05Z",
            Event::new(EventKind::Locked, json!({"why": "the pulse is over", "grant": 4})),
        ),
        ("2026-03-02T09:00:00Z", Event::new(EventKind::Stop, json!({"why": "SIGTERM"}))),
    ] {
        let at = Stamp { wall: at.parse().unwrap(), mono: MonoTime::from_millis(1) };
        store.append(&event, at).unwrap();
    }
    site
}

#[test]
fn help_tells_of_every_command_and_every_exit_code() {
    let site = Site::new();
    let help = done(&site, ["--help"]);
    for command in [
        "run",
        "enroll",
        "list",
        "show",
        "rename",
        "remove",
        "forget-learnt",
        "log",
        "verify",
        "identify",
        "status",
        "check",
        "bench",
        "completions",
        "man",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in {help}");
        let of_its_own = done(&site, [command, "--help"]);
        assert!(of_its_own.contains(&format!("Usage: accessd {command}")), "{of_its_own}");
    }
    for code in 0..4 {
        assert!(help.contains(&format!("\n  {code}  ")), "{code} is not in {help}");
    }
    assert!(help.contains("$ACCESSD_CONFIG"), "{help}");
    assert_eq!(done(&site, ["--version"]), format!("accessd {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    let site = Site::new();
    for args in [&[][..], &["open"], &["show"], &["log", "--json", "--csv"], &["list", "-q", "-v"]] {
        let outcome = site.run(args.iter().copied());
        assert_eq!(outcome.code, 2, "{args:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{args:?}");
    }
}

#[test]
fn the_option_wins_over_the_environment() {
    let site = Site::new();
    site.enrol("Ada", &[ADA]);
    fs::write(site.path("other.toml"), format!("[paths]\ndatabase = {:?}\n", site.path("other.db"))).unwrap();
    assert!(done(&site, ["list"]).contains("Ada"));
    let other = site.run(["list", "--config", "other.toml"]);
    assert!(other.stderr.contains("other.db"), "{}", other.stderr);
}

#[test]
fn people_are_listed_for_people_and_programs() {
    let site = lively();
    let list = done(&site, ["list"]);
    let rows: Vec<&str> = list.lines().collect();
    assert_eq!(rows.len(), 3, "{list}");
    assert!(rows[0].contains("NAME") && rows[0].contains("LAST LET IN"), "{list}");
    assert!(rows[1].contains("Ada Lovelace") && rows[1].contains("2026-03-01 08:00:00"), "{list}");
    assert!(rows[2].contains("Bob") && rows[2].ends_with("never"), "{list}");
    assert!(!list.contains('\u{1b}'), "no colours in a pipe: {list:?}");

    let people = json_of(&site, ["list", "--json"]);
    assert_eq!(people["people"][0]["name"], "Ada Lovelace");
    assert_eq!(people["people"][0]["templates"].as_array().unwrap().len(), 2);
    assert_eq!(people["people"][0]["last_grant"], "2026-03-01T08:00:00Z");
    assert!(people["people"][1]["last_grant"].is_null());
    let text = people.to_string();
    assert!(!text.contains("embedding"), "templates never leave the database: {text}");
}

#[test]
fn an_empty_database_says_how_to_begin() {
    let site = Site::new();
    drop(site.store());
    assert!(done(&site, ["list"]).contains("nobody is enrolled; begin with: accessd enroll --name NAME"));
    assert_eq!(json_of(&site, ["list", "--json"]), json!({"people": []}));
    assert_eq!(done(&site, ["log"]), "");
}

#[test]
fn show_tells_the_quality_of_every_sample() {
    let site = lively();
    let text = done(&site, ["show", "Ada Lovelace"]);
    assert!(text.contains("name         Ada Lovelace\n"), "{text}");
    assert!(text.contains("samples      2\n"), "{text}");
    let row = text.lines().last().unwrap();
    for figure in ["picture", "61", "85", "120", "-3°", "+4°", "made-up@1"] {
        assert!(row.contains(figure), "{figure}: {text}");
    }
    let person = json_of(&site, ["show", "Bob", "--json"]);
    assert_eq!(person["name"], "Bob");
    assert_eq!(person["templates"][0]["quality"]["eye_distance_px"], 61.0);
}

#[test]
fn rename_and_remove_change_the_database_and_say_who_did_it() {
    let site = lively();
    assert_eq!(done(&site, ["rename", "Bob", "Robert"]), "Bob is now Robert\n");
    assert_eq!(done(&site, ["remove", "Robert", "--yes"]), "Robert is removed with 1 sample\n");
    let people = json_of(&site, ["list", "--json"]);
    assert_eq!(people["people"].as_array().unwrap().len(), 1);
    let log = done(&site, ["log", "--kind", "rename,remove", "--json"]);
    let records: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2, "{log}");
    let uid = rustix::process::getuid().as_raw();
    for record in &records {
        let actor = record["actor"].as_str().unwrap();
        assert!(actor.starts_with(&format!("uid {uid}")), "{actor}");
    }
}

#[test]
fn the_log_reads_well_and_can_be_narrowed() {
    let site = lively();
    let march = |more: &[&'static str]| {
        let args = ["log", "--since", "2026-03-01", "--until", "2026-03-03"];
        done(&site, args.into_iter().chain(more.iter().copied()))
    };
    let all = march(&[]);
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.len(), 4, "{all}");
    assert_eq!(lines[0], "2026-03-01 07:00:00  started       version 0.1.0");
    assert_eq!(
        lines[1],
        "2026-03-01 08:00:00  granted       Ada Lovelace  score 0.74, runner-up 0.21 (Bob), 3 of 3 frames, 80 ms old"
    );
    assert_eq!(lines[3], "2026-03-02 09:00:00  stopped       SIGTERM");

    assert_eq!(march(&["--kind", "grant", "--kind", "stop"]).lines().count(), 2);
    assert_eq!(march(&["--limit", "1"]).trim_end(), lines[3]);
    let of_ada = done(&site, ["log", "--person", "Ada Lovelace"]);
    assert_eq!(of_ada.lines().count(), 2, "{of_ada}");
    let early = done(&site, ["log", "--since", "2026-03-01", "--until", "2026-03-01 08:00"]);
    assert_eq!(early.trim_end(), lines[0], "until is exclusive");
    let west = outcome(site.accessd(["log", "--kind", "start"]).env("TZ", "America/New_York"));
    assert!(west.stdout.starts_with("2026-03-01 02:00:00"), "the local zone counts: {}", west.stdout);
}

#[test]
fn the_log_is_json_by_line_and_csv_with_a_header() {
    let site = lively();
    let json = done(&site, ["log", "--kind", "grant", "--json"]);
    let record: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(record["kind"], "grant");
    assert_eq!(record["wall"], "2026-03-01T08:00:00Z");
    assert_eq!(record["person"]["name"], "Ada Lovelace");
    assert_eq!(record["detail"]["frames_agreed"], 3);

    let csv = done(&site, ["log", "--until", "2026-04-01", "--csv"]);
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    let header: Vec<String> = rows.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(header, ["id", "time", "kind", "person_id", "person", "actor", "detail", "door"]);
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    let grant = rows.iter().find(|row| &row[2] == "grant").unwrap();
    assert_eq!((&grant[1], &grant[4]), ("2026-03-01T08:00:00Z", "Ada Lovelace"));
    let detail: Value = serde_json::from_str(&grant[6]).unwrap();
    assert_eq!(detail["frame_age_ms"], 80);
}

#[test]
fn a_reader_that_goes_away_ends_the_log_quietly() {
    let site = Site::new();
    let mut store = site.store();
    for _ in 0..2000 {
        store.append(&Event::new(EventKind::Start, json!({})), Stamp::now(&SystemClock)).unwrap();
    }
    drop(store);
    // More than a pipe holds, so that the program is still writing when the reader goes.
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("accessd"));
    command.args(["log", "--limit", "2000", "--json"]).env("ACCESSD_CONFIG", site.path("accessd.toml"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn check_tells_what_is_missing_and_makes_nothing() {
    let site = Site::new();
    site.write_config("[camera]\nsource = \"clip:no-clip\"\n[door]\nrelay = \"sim:no-folder/relay.log\"\n");
    let before = site.fingerprint();
    let outcome = site.run(["check"]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    for words in [
        "ok    config",
        "WARN  database",
        "FAIL  networks",
        "make models",
        "FAIL  camera    clip:no-clip: there is no recording at no-clip",
        "FAIL  relay     sim:no-folder/relay.log: there is no folder no-folder",
        "ok    service   does not run",
    ] {
        assert!(outcome.stdout.contains(words), "{words}: {}", outcome.stdout);
    }
    assert_eq!(site.fingerprint(), before);
    let report: Value = serde_json::from_str(&site.run(["check", "--json"]).stdout).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(
        report["findings"][0],
        json!({
            "what": "config", "state": "ok", "detail": "accessd.toml (from $ACCESSD_CONFIG)"
        })
    );
}

#[test]
fn check_lists_every_problem_of_a_config() {
    let site = Site::new();
    site.write_config("[camera]\nfps = 0\nwidht = 3\n");
    let outcome = site.run(["check"]);
    assert_eq!(outcome.code, 3);
    assert_eq!(outcome.stdout.matches("FAIL  config").count(), 2, "{}", outcome.stdout);
}

#[test]
fn check_and_the_service_warn_of_limits_that_are_not_a_doors() {
    let site = Site::with_networks();
    site.write_config("[limits]\nprofile = \"emulator\"\n");
    let stdout = site.run(["check"]).stdout;
    assert!(stdout.contains("WARN  limits"), "{stdout}");
    let run = site.run(["run", "--camera", "clip:/nowhere", "--relay", "sim:{dir}/no/such/folder/relay.log"]);
    assert!(run.stderr.contains("old pictures open the door"), "{}", run.stderr);
    site.write_config("");
    assert!(!site.run(["check"]).stdout.contains("limits"));
}

#[test]
fn check_counts_what_is_in_a_good_database() {
    let site = lively();
    let stdout = site.run(["check"]).stdout;
    assert!(stdout.contains("accessd.db: 2 people, 3 samples, 6 events"), "{stdout}");
}

#[test]
fn status_needs_a_service() {
    let site = Site::new();
    let outcome = site.run(["status"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("no service answers at"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("start it with `accessd run`"), "{}", outcome.stderr);
}

#[test]
fn completions_are_made_for_every_shell() {
    let site = Site::new();
    for (shell, words) in
        [("bash", "complete -F _accessd"), ("zsh", "#compdef accessd"), ("fish", "complete -c accessd")]
    {
        let script = done(&site, ["completions", shell]);
        assert!(script.contains(words), "{shell}");
        assert!(script.contains("enroll"), "{shell}");
    }
}

#[test]
fn manual_pages_are_made_for_every_command() {
    let site = Site::new();
    done(&site, ["man", "pages/1"]);
    let top = fs::read_to_string(site.path("pages/1/accessd.1")).unwrap();
    assert!(top.contains(".TH accessd 1") && top.contains("Exit codes"), "{top}");
    let enroll = fs::read_to_string(site.path("pages/1/accessd-enroll.1")).unwrap();
    assert!(enroll.contains("skip\\-bad"), "{enroll}");
}

#[test]
fn commands_on_people_need_no_networks_and_no_config() {
    let site = Site::new();
    let bare = outcome(site.accessd(["completions", "bash"]).env("ACCESSD_CONFIG", "no-such.toml"));
    assert_eq!(bare.code, 0, "{}", bare.stderr);
    site.enrol("Ada", &[ADA]);
    assert!(done(&site, ["list"]).contains("made-up@1"));
}

#[test]
fn net_bench_times_every_stage() {
    let site = Site::with_networks();
    let report = json_of(&site, ["bench", "--rounds", "3", "--json"]);
    assert_eq!((&report["rounds"], &report["people"]), (&json!(3), &json!(1000)));
    assert_eq!((&report["width"], &report["height"]), (&json!(640), &json!(480)));
    for stage in ["decode", "detect", "align", "embed", "match", "frame"] {
        let ms = &report["ms"][stage];
        let [min, median, p95] = ["min", "median", "p95"].map(|name| ms[name].as_f64().unwrap());
        assert!(0.0 < min && min <= median && median <= p95, "{stage}: {ms}");
    }
    assert!(done(&site, ["bench", "--rounds", "1"]).contains("embed"));
}

#[test]
fn net_check_is_content_with_a_good_setup() {
    let site = Site::with_networks();
    fs::create_dir(site.path("clip")).unwrap();
    site.write_config("[camera]\nsource = \"clip:clip\"\n[door]\nrelay = \"sim:relay.log\"\n");
    site.enrol("Ada", &[ADA]);
    let outcome = site.run(["check"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stdout);
    assert!(outcome.stdout.contains("ok    networks  sface@"), "{}", outcome.stdout);
    // Her samples are of a made-up encoder.
    assert!(outcome.stdout.contains("WARN  people"), "{}", outcome.stdout);
    assert!(!site.path("relay.log").exists());
}

#[test]
fn net_commands_go_through_the_running_service() {
    let site = Site::with_networks();
    fs::create_dir(site.path("clip")).unwrap();
    image::RgbImage::new(320, 240).save(site.path("clip/1.png")).unwrap();
    site.write_config("[camera]\nsource = \"clip:clip?loop&fps=5\"\n[door]\nrelay = \"sim:relay.log\"\n");
    site.enrol("Ada", &[ADA]);
    let service = Service::start(&site);

    let status = json_of(&site, ["status", "--json"]);
    assert_eq!((&status["doors"][0]["state"], &status["pid"]), (&json!("locked"), &json!(service.pid())));
    assert!(done(&site, ["status"]).contains("door      locked, deciding"));
    assert!(site.run(["check"]).stdout.contains(&format!("ok    service   runs as pid {}", service.pid())));
    assert!(done(&site, ["list"]).contains("Ada"));

    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("accessd"));
    command.args(["log", "--follow", "--kind", "rename", "--json"]).current_dir(site.path(""));
    let mut follower = command.env("ACCESSD_CONFIG", "accessd.toml").stdout(Stdio::piped()).spawn().unwrap();
    let mut news = BufReader::new(follower.stdout.take().unwrap());
    assert_eq!(done(&site, ["rename", "Ada", "Eve"]), "Ada is now Eve\n");
    let mut line = String::new();
    news.read_line(&mut line).unwrap();
    let record: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&record["kind"], &record["detail"]["to"]), (&json!("rename"), &json!("Eve")));
    assert!(record["actor"].as_str().unwrap().starts_with("uid "), "{record}");

    let busy = site.run(["enroll", "--name", "Bob", "--camera", "clip:clip"]);
    assert_eq!((busy.code, busy.stderr.contains("the running service has the camera")), (2, true));
    assert_eq!(site.run(["remove", "Bob", "--yes"]).code, 1);
    let second = site.run(["run"]);
    assert_eq!(second.code, 1);
    assert!(second.stderr.contains(&service.pid().to_string()), "{}", second.stderr);

    assert_eq!(service.stop(), Some(0));
    let ended = follower.wait().unwrap();
    assert!(ended.code().is_some_and(|code| code < 2), "{ended}");
    assert_eq!(site.run(["status"]).code, 1);
    let last = done(&site, ["log", "-n", "1"]);
    assert!(last.contains("stopped") && last.contains("SIGTERM"), "{last}");
}

#[test]
fn net_the_service_starts_the_threads_that_it_is_given() {
    let site = Site::with_networks();
    fs::create_dir(site.path("clip")).unwrap();
    image::RgbImage::new(320, 240).save(site.path("clip/1.png")).unwrap();
    for (threads, started) in [(1, 0), (3, 3)] {
        site.write_config(&format!(
            "[camera]\nsource = \"clip:clip?loop&fps=5\"\n[door]\nrelay = \"sim:relay.log\"\n[vision]\nthreads = {threads}\n"
        ));
        let service = Service::start(&site);
        let tasks = fs::read_dir(format!("/proc/{}/task", service.pid())).unwrap();
        let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
        assert_eq!(names.filter(|name| name.starts_with("vision-")).count(), started);
        let report = json_of(&site, ["bench", "--rounds", "1", "--json"]);
        assert_eq!(report["threads"], json!(threads));
        assert_eq!(service.stop(), Some(0));
    }
}

#[test]
fn today_is_in_the_log_of_today() {
    let site = Site::new();
    let mut store = site.store();
    store.append(&Event::new(EventKind::Start, json!({})), Stamp::now(&SystemClock)).unwrap();
    drop(store);
    assert_eq!(done(&site, ["log", "--since", "1h"]).lines().count(), 1);
    assert_eq!(done(&site, ["log", "--until", "1h"]).lines().count(), 0);
}
