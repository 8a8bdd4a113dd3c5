//! The console as a browser meets it, over its real connection, against a daemon that is a store with a socket: what
//! needs camera or door it answers by heart.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::channel;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::accounts::Role;
use super::*;
use crate::access::{RefusalReason, Rule};
use crate::calibration::Bar;
use crate::clock::SystemClock;
use crate::daemon::ops::{self, Terms};
use crate::daemon::protocol::{Alike, Erasure, Figures, RateFigures, Reply, Request, Status};
use crate::encoder::{Embedding, ModelId, Score};
use crate::gallery::{NewTemplate, TemplateSource};
use crate::journal::replay::{Difference, Outcome, Replayed};
use crate::journal::{EventId, EventKind, Filter, Record, Stamp};
use crate::seal::Keys;
use crate::store::{OpenMode, SqliteStore, Store};
use crate::vision::quality::Quality;

const PASSWORD: &str = "an engine that weaves";

/// A console with its daemon, in a folder of its own. Its threads end with the tests.
struct House {
    at: SocketAddr,
    folder: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl House {
    fn open() -> Self {
        Self::open_with(|_| {})
    }

    fn open_with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let mut store =
            SqliteStore::open(&folder.path().join("a.db"), OpenMode::Create, "boot", &Keys::of_a_test())
                .unwrap();
        for (n, name) in ["Ada Lovelace", "Grace <Hopper>"].into_iter().enumerate() {
            store.enrol(name, &[template(n)], "test", Stamp::now(&SystemClock)).unwrap();
        }
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || daemon(&listener, store));
        let mut accounts = Accounts::default();
        for (name, role) in [("vera", Role::Viewer), ("grace", Role::Operator), ("ada", Role::Admin)] {
            accounts.add(name.parse().unwrap(), role, PASSWORD).unwrap();
        }
        let file = folder.path().join("accounts.toml");
        accounts.save(&file).unwrap();
        let mut options = Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: None,
            proxied: false,
            accounts: file,
            idle: Duration::from_secs(600),
            longest: Duration::from_secs(3600),
            socket,
            clock: Arc::new(SystemClock),
        };
        change(&mut options);
        let (ready, at) = channel();
        std::thread::spawn(move || run(options, move |at| ready.send(at).unwrap()).unwrap());
        Self { at: at.recv().unwrap(), folder }
    }

    fn send(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head =
            format!("{head}Host: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", self.at, body.len());
        stream.write_all(head.as_bytes()).unwrap();
        // The console may answer and hang up before it has read everything.
        let _ = stream.write_all(body);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Answer { status, headers, body: body.to_owned() }
    }

    fn get(&self, path: &str, cookie: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nCookie: {cookie}\r\n"), b"")
    }

    fn post(&self, path: &str, cookie: &str, form: &str) -> Answer {
        let kind = "Content-Type: application/x-www-form-urlencoded";
        self.send(&format!("POST {path} HTTP/1.1\r\nCookie: {cookie}\r\n{kind}\r\n"), form.as_bytes())
    }

    /// Cookie and proof of somebody who logs in.
    fn enter(&self, account: &str) -> (String, String) {
        let form = format!("account={account}&password={}", url::encode(PASSWORD));
        let answer = self.post("/login", "", &form);
        assert_eq!(answer.status, 303, "{}", answer.body);
        let cookie = answer.headers["set-cookie"].split(';').next().unwrap().to_owned();
        let page = self.get("/people", &cookie).body;
        let proof = page.split("data-csrf=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        (cookie, proof)
    }

    fn records(&self) -> Vec<Record> {
        let path = self.folder.path().join("a.db");
        let store = SqliteStore::open(&path, OpenMode::ReadOnly, "boot", &Keys::of_a_test()).unwrap();
        store.records(&Filter::default()).unwrap()
    }
}

fn template(n: usize) -> NewTemplate {
    let mut values = vec![0.1_f32; 8];
    values[n] = 1.0;
    let quality = Quality {
        eye_distance_px: 60.0,
        sharpness: 90.0,
        light: 120.0,
        yaw_deg: 0.0,
        pitch_deg: 0.0,
        roll_deg: 0.0,
    };
    let embedding = Embedding::normalise(values).unwrap();
    NewTemplate {
        model: ModelId("m@1".into()),
        embedding,
        quality,
        source: TemplateSource::Image,
        crop: None,
    }
}

/// Answers from the store as the daemon does, one client after the other but for those who follow.
fn daemon(listener: &UnixListener, store: SqliteStore) {
    let store = Arc::new(Mutex::new(store));
    for stream in listener.incoming().map_while(Result::ok) {
        let store = store.clone();
        std::thread::spawn(move || serve(stream, &store));
    }
}

fn serve(stream: UnixStream, store: &Mutex<SqliteStore>) {
    let mut to = stream.try_clone().unwrap();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let request: Request = serde_json::from_str(&line).unwrap();
        let (actor, request) = match request {
            Request::As { account, request } => (format!("console: {account}"), *request),
            request => ("shell".to_owned(), request),
        };
        let reply = match request {
            Request::Status => Reply::Status(Box::new(status())),
            Request::Figures => Reply::Figures(Box::new(figures())),
            Request::Unlock { .. }
            | Request::Lock { .. }
            | Request::HoldOpen { .. }
            | Request::FaceOn { .. } => Reply::Done,
            Request::Erase { name, .. } => {
                let (store, at) = (&mut *store.lock().unwrap(), Stamp::now(&SystemClock));
                match store.person(&name).and_then(|person| store.remove(&name, &actor, at).map(|()| person))
                {
                    Ok(person) => {
                        let samples = person.templates.len();
                        Reply::Erased {
                            erasure: Erasure { person: name, samples, before: None, after: None },
                        }
                    }
                    Err(error) => Reply::Error { message: error.to_string() },
                }
            }
            Request::Follow { .. } => {
                std::thread::park();
                return;
            }
            Request::Replay { far, .. } => Reply::Replayed { replayed: Box::new(replayed(far)) },
            Request::Snapshot { .. } => Reply::Snapshot { jpeg: "/9j/".into() },
            Request::Backup
            | Request::Picture { .. }
            | Request::EnrolLive { .. }
            | Request::EnrolPicture { .. } => Reply::Error { message: "no camera".into() },
            request => {
                let rule = Rule {
                    threshold: Score(0.5),
                    margin: 0.08,
                    frames_needed: 3,
                    frames_window: 5,
                    max_frame_age: Duration::from_millis(500),
                    regrant_after: Duration::from_secs(10),
                    demands: crate::access::Demands::default(),
                    alike_margin: 0.16,
                    several: crate::access::Several::Nearest,
                    supported: true,
                };
                let terms = Terms {
                    model: ModelId("m@1".into()),
                    rule,
                    bar: Bar::Set(Score(0.5)),
                    pin_digits: 4,
                    models: "none".into(),
                };
                ops::answer(&mut *store.lock().unwrap(), &terms, &request, &actor, Stamp::now(&SystemClock))
            }
        };
        let mut line = serde_json::to_vec(&reply).unwrap();
        line.push(b'\n');
        if to.write_all(&line).is_err() {
            return;
        }
    }
}

/// One refusal that would have been a grant.
fn replayed(far: Option<f64>) -> Replayed {
    assert_eq!(far, Some(1e-3));
    let wall = "2026-11-20T08:00:00Z".parse().unwrap();
    let difference = Difference {
        event: Some(EventId(7)),
        wall,
        door: "door".into(),
        outcome: Outcome::Granted,
        was: None,
        was_refused: Some(RefusalReason::Unknown),
        would_be: Some("Grace <Hopper>".into()),
        would_be_refused: None,
        score_then: Some(0.46),
        score: Some(0.47),
        gate: None,
        already: false,
        photo_check_unasked: false,
    };
    Replayed {
        attempts: 12,
        threshold_now: 0.5,
        threshold: 0.44,
        differences: vec![difference],
        ..Replayed::default()
    }
}

fn figures() -> Figures {
    let rate = |far, in_force| RateFigures {
        far,
        in_force,
        threshold: 0.5,
        supported: in_force,
        false_accepts: far / 2.0,
        false_accepts_up_to: far,
        false_rejects: 0.01,
    };
    Figures {
        threshold: 0.5,
        margin: 0.08,
        people: 2,
        measured_on: vec!["made up: 5 people, 9 pictures".into()],
        rates: vec![rate(1e-3, true), rate(1e-6, false)],
        alike: vec![Alike { a: "Ada Lovelace".into(), b: "Grace <Hopper>".into(), score: 0.46 }],
    }
}

fn status() -> Status {
    let door = serde_json::json!({
        "name": "door", "side": "in", "area": "inside", "state": "locked", "held_open": false, "leaf": "closed",
        "alarms": [], "relay": "r", "camera": "c", "frame_age_ms": 5, "fps": 15.0, "latency_ms": 50,
        "mode": "deciding", "faults": [],
    });
    serde_json::from_value(serde_json::json!({
        "version": "0", "pid": 1, "uptime_s": 5, "doors": [door], "model": "m@1", "people": 2, "threshold": 0.5,
        "clock_trusted": true,
    }))
    .unwrap()
}

/// Every address that shows something.
const PAGES: [&str; 9] = [
    "/",
    "/events",
    "/events/1",
    "/people",
    "/people/enrol",
    "/person",
    "/policy",
    "/site",
    "/events/export",
];

/// Every address that changes something, with a form that it would take.
const CHANGES: [(&str, &str); 15] = [
    ("/site/backup", ""),
    ("/door/unlock", ""),
    ("/door/lock", ""),
    ("/door/hold", "for_s=900"),
    ("/door/face-on", ""),
    ("/lockdown", "on=yes"),
    ("/person/rename", "name=Ada+Lovelace&to=Ada"),
    ("/person/terms", "name=Ada+Lovelace&groups=lab&until=2026-11-24T18%3A00&entries=3"),
    ("/person/expire", "name=Ada+Lovelace"),
    ("/person/erase", "name=Ada+Lovelace&typed=Ada+Lovelace"),
    ("/policy/rule", "effect=allow&who=lab&day=mon&from=07%3A00&until=19%3A00"),
    ("/policy/rule/remove", "id=1"),
    ("/policy/holiday", "name=X&first=2026-12-24&last=2026-12-26&yearly=yes"),
    ("/policy/holiday/remove", "date=2026-12-24"),
    ("/policy/settings", "zone=Europe%2FBerlin&passback=300"),
];

/// Those besides the rules that take an admin.
const ADMINS: [&str; 2] = ["/person/erase", "/site/backup"];

#[test]
fn nothing_is_shown_to_whoever_is_not_logged_in() {
    let house = House::open();
    for page in PAGES {
        let answer = house.get(page, "");
        assert_eq!(answer.status, 303, "{page}");
        assert!(answer.headers["location"].starts_with("/login"), "{page}");
    }
    for (path, form) in CHANGES {
        assert_eq!(house.post(path, "accessd=guess", form).status, 401, "{path}");
    }
    assert_eq!(house.get("/live/picture", "").status, 401);
    assert_eq!(house.post("/login", "", "account=ada&password=wrong").status, 401);
}

#[test]
fn every_answer_is_held_to_its_own_scripts_and_kept_by_nobody() {
    let house = House::open();
    let (cookie, _) = house.enter("ada");
    for page in PAGES.into_iter().chain(["/login", "/nowhere"]) {
        let answer = house.get(page, &cookie);
        assert!(answer.headers["content-security-policy"].starts_with("default-src 'none'"), "{page}");
        assert!(!answer.headers["content-security-policy"].contains("unsafe"));
        assert_eq!(answer.headers["cache-control"], "no-store", "{page}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        let is_page = answer.headers.get("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        assert!(!is_page || !answer.body.contains("Grace <Hopper>"), "{page}: a name is markup");
        assert!(!answer.body.contains("style=\"") && !answer.body.contains("<script>"), "{page}");
    }
}

#[test]
fn every_page_is_shown() {
    let house = House::open();
    let (cookie, _) = house.enter("vera");
    let person = "/person?name=Ada+Lovelace";
    let why = "/policy?name=Ada+Lovelace";
    for page in ["/", "/events", "/events/1", "/people", person, why, "/site?try=0.6"] {
        let answer = house.get(page, &cookie);
        assert_eq!(answer.status, 200, "{page}: {}", answer.body);
        assert!(answer.body.len() < 60_000, "{page} has {} bytes", answer.body.len());
    }
    assert_eq!(house.get("/events/999999", &cookie).status, 404);
    assert_eq!(house.get("/person?name=Nobody", &cookie).status, 422);
}

#[test]
fn another_rate_is_tried_and_a_picture_of_a_refusal_shown_to_those_who_may() {
    let house = House::open();
    for (account, may) in [("vera", false), ("grace", true), ("ada", true)] {
        let (cookie, _) = house.enter(account);
        let page = house.get("/site?far=1e-3", &cookie);
        assert_eq!(page.status, 200, "{}", page.body);
        let told = page.body.contains("Would have granted 1 more and refused 0 that came in.");
        let listed = page.body.contains("/events/7") && page.body.contains("0.460 → 0.470");
        assert_eq!((told, listed), (may, may), "{account}: {}", page.body);
        assert!(!page.body.contains("Grace <Hopper>"), "a name is markup");
        let picture = house.get("/events/1/picture", &cookie);
        assert_eq!(picture.status, if may { 200 } else { 403 }, "{account}");
        assert_eq!(picture.headers["content-type"] == "image/jpeg", may);
        assert_eq!(picture.headers["cache-control"], "no-store");
    }
}

#[test]
fn what_an_admin_changes_is_in_the_journal_under_their_name() {
    let house = House::open();
    let (cookie, proof) = house.enter("ada");
    for (path, form) in CHANGES.into_iter().filter(|(path, _)| *path != "/site/backup") {
        // The person is renamed on the way.
        let form =
            form.replace("Ada+Lovelace", if path == "/person/rename" { "Ada+Lovelace" } else { "Ada" });
        let answer = house.post(path, &cookie, &format!("{form}&csrf={proof}"));
        assert_eq!(answer.status, 303, "{path}: {}", answer.body);
        let page = house.get(&answer.headers["location"], &cookie);
        assert!(page.body.contains("class=\"flash\""), "{path}: {}", page.body);
    }
    let records = house.records();
    let by_ada: Vec<EventKind> = records
        .iter()
        .filter(|record| record.event.actor.as_deref() == Some("console: ada"))
        .map(|record| record.event.kind)
        .collect();
    for kind in [EventKind::Rename, EventKind::Remove, EventKind::Lockdown, EventKind::Policy] {
        assert!(by_ada.contains(&kind), "{kind:?} in {by_ada:?}");
    }
}

#[test]
fn roles_may_what_they_are_for_and_nothing_changes_besides() {
    let house = House::open();
    let before = house.records().len();
    let (cookie, proof) = house.enter("vera");
    for (path, form) in CHANGES {
        assert_eq!(house.post(path, &cookie, &format!("{form}&csrf={proof}")).status, 403, "{path}");
    }
    assert_eq!(house.records().len(), before);
    assert!(!house.get("/", &cookie).body.contains("action=\"/door"));
    assert_eq!(house.get("/people/enrol", &cookie).status, 403);

    let (cookie, proof) = house.enter("grace");
    for (path, form) in
        CHANGES.into_iter().filter(|(path, _)| path.starts_with("/policy") || ADMINS.contains(path))
    {
        assert_eq!(house.post(path, &cookie, &format!("{form}&csrf={proof}")).status, 403, "{path}");
    }
    assert_eq!(house.records().len(), before);
    assert_eq!(house.post("/door/unlock", &cookie, &format!("csrf={proof}")).status, 303);
}

#[test]
fn a_change_takes_the_proof_of_its_session_and_comes_from_our_own_page() {
    let house = House::open();
    let ((cookie, proof), (_, other)) = (house.enter("ada"), house.enter("grace"));
    let before = house.records().len();
    for (path, form) in CHANGES {
        for wrong in ["", "guess", &other] {
            assert_eq!(
                house.post(path, &cookie, &format!("{form}&csrf={wrong}")).status,
                403,
                "{path} {wrong}"
            );
        }
        let head = format!(
            "POST {path} HTTP/1.1\r\nCookie: {cookie}\r\nOrigin: http://evil.example\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n"
        );
        assert_eq!(house.send(&head, format!("{form}&csrf={proof}").as_bytes()).status, 403, "{path}");
    }
    assert_eq!(house.records().len(), before);
}

#[test]
fn a_password_that_fails_too_often_waits_even_when_it_is_right() {
    let house = House::open();
    for _ in 0..5 {
        assert_eq!(house.post("/login", "", "account=ada&password=wrong+one+again").status, 401);
    }
    let right = format!("account=ada&password={}", url::encode(PASSWORD));
    assert_eq!(house.post("/login", "", &right).status, 429);
    let (cookie, _) = house.enter("grace");
    assert_eq!(house.get("/people", &cookie).status, 200, "others do not wait");
}

#[test]
fn a_session_ends_with_its_account_and_by_logging_out() {
    let house = House::open();
    let (cookie, proof) = house.enter("ada");
    assert_eq!(house.post("/logout", &cookie, &format!("csrf={proof}")).status, 303);
    assert_eq!(house.get("/people", &cookie).status, 303);
    let (cookie, _) = house.enter("ada");
    let file = house.folder.path().join("accounts.toml");
    let mut accounts = Accounts::load(&file).unwrap();
    accounts.remove("ada").unwrap();
    accounts.save(&file).unwrap();
    assert_eq!(house.get("/people", &cookie).status, 303);
}

#[test]
fn behind_a_proxy_with_tls_cookies_are_for_tls_alone() {
    let house = House::open_with(|options| options.proxied = true);
    let form = format!("account=ada&password={}", url::encode(PASSWORD));
    let answer = house.post("/login", "", &form);
    let cookie = &answer.headers["set-cookie"];
    assert!(cookie.starts_with("__Host-accessd=") && cookie.contains("; Secure"), "{cookie}");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && cookie.contains("Path=/"),
        "{cookie}"
    );
    assert!(answer.headers.contains_key("strict-transport-security"));
}

#[test]
fn a_daemon_that_is_gone_is_said_to_be_gone() {
    let house = House::open_with(|options| options.socket = Path::new("/nowhere/control.sock").into());
    let form = format!("account=ada&password={}", url::encode(PASSWORD));
    let cookie = house.post("/login", "", &form).headers["set-cookie"].split(';').next().unwrap().to_owned();
    let now = house.get("/", &cookie);
    assert_eq!(now.status, 200);
    assert!(now.body.contains(text::UNREACHABLE));
    assert_eq!(house.get("/people", &cookie).status, 503);
}

#[test]
fn bodies_and_addresses_have_bounds() {
    let house = House::open();
    let (cookie, proof) = house.enter("ada");
    let large = format!("csrf={proof}&name={}", "x".repeat(guard::MAX_BODY));
    assert_eq!(house.post("/person/rename", &cookie, &large).status, 413);
    assert_eq!(house.get(&format!("/events?person={}", "x".repeat(5000)), &cookie).status, 414);
    assert_eq!(house.send(&format!("DELETE /person HTTP/1.1\r\nCookie: {cookie}\r\n"), b"").status, 405);
}

/// What somebody with an account may send: any address, any fields with any values, any body.
#[test]
fn nothing_that_is_sent_breaks_a_page() {
    let house = House::open();
    let (cookie, proof) = house.enter("ada");
    let names = [
        "name",
        "to",
        "typed",
        "groups",
        "from",
        "until",
        "entries",
        "effect",
        "who",
        "day",
        "holidays",
        "first",
        "last",
        "after_first",
        "id",
        "date",
        "yearly",
        "zone",
        "passback",
        "for_s",
        "on",
        "person",
        "what",
        "before",
        "as",
        "at",
        "more",
        "try",
    ];
    let values = prop_oneof![
        Just("Ada Lovelace".to_owned()),
        Just("2026-11-24".to_owned()),
        Just("9999-12-31T23:59".to_owned()),
        Just("-009999-01-01".to_owned()),
        Just("2026-11-24..2026-11-20".to_owned()),
        Just("18446744073709551616".to_owned()),
        Just("-9223372036854775808".to_owned()),
        Just("9223372036854775807".to_owned()),
        Just("allow".to_owned()),
        Just("mon".to_owned()),
        Just("24:00".to_owned()),
        Just("everybody".to_owned()),
        Just("csv".to_owned()),
        Just("\0".to_owned()),
        "[a-z0-9:. -]{0,20}",
        ".{0,40}",
    ];
    let fields = prop::collection::vec((prop::sample::select(names.to_vec()), values), 0..8);
    let posts: Vec<&str> = CHANGES
        .iter()
        .map(|(path, _)| *path)
        .chain(["/people/enrol/live", "/people/enrol/picture"])
        .collect();
    let path = prop_oneof![
        prop::sample::select(PAGES.to_vec()).prop_map(|path| (false, path.to_owned())),
        prop::sample::select(posts).prop_map(|path| (true, path.to_owned())),
        "[a-z0-9/%.-]{1,12}".prop_map(|path| (false, format!("/{path}"))),
        "-?[0-9]{1,22}".prop_map(|id| (false, format!("/events/{id}"))),
    ];
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) });
    let sent = runner.run(&(path, fields), |((changes, path), fields)| {
        let form: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", url::encode(value))).collect();
        let form = form.join("&");
        let answer = match changes {
            true => house.post(&path, &cookie, &format!("{form}&csrf={proof}")),
            false => house.get(&format!("{path}?{form}"), &cookie),
        };
        prop_assert!((200..500).contains(&answer.status), "{path} {form}: {} {}", answer.status, answer.body);
        prop_assert!(answer.status != 401, "the session is over");
        Ok(())
    });
    sent.unwrap();
    // Whatever came, it still answers.
    assert_eq!(house.get("/people", &cookie).status, 200);
}
