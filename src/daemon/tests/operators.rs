//! Clients of the control socket, good and bad.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;
use crate::encoder::ModelId;
use crate::gallery::NewTemplate;
use crate::journal::Filter;

fn connect(house: &House) -> UnixStream {
    let stream = UnixStream::connect(house.folder.path().join("control.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Sends bytes and reads one reply.
fn say(stream: &mut UnixStream, bytes: &[u8]) -> Reply {
    stream.write_all(bytes).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

fn error(reply: Reply) -> String {
    match reply {
        Reply::Error { message } => message,
        other => panic!("{other:?}"),
    }
}

fn is_closed(stream: &mut UnixStream) -> bool {
    matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_))
}

#[test]
fn people_are_listed_changed_and_journalled_under_the_client() {
    let house = House::open();
    let rename = Request::Rename { name: "Bob".into(), to: "Robert".into() };
    assert_eq!(house.ask(&rename), Reply::Done);
    let Reply::People { people } = house.ask(&Request::People) else { panic!() };
    assert_eq!(people.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["Ada", "Robert"]);
    let Reply::People { people } = house.ask(&Request::Person { name: "Ada".into() }) else { panic!() };
    assert_eq!(people.len(), 1);
    assert!(error(house.ask(&Request::Person { name: "Bob".into() })).contains("nobody is enrolled as"));
    let me = format!("uid {}", rustix::process::getuid().as_raw());
    assert!(house.store.last(EventKind::Rename).actor.unwrap().starts_with(&me));
    let records = Request::Records { filter: Filter { limit: Some(2), ..Filter::default() } };
    let Reply::Records { records } = house.ask(&records) else { panic!() };
    let kinds: Vec<_> = records.iter().map(|r| r.event.kind).collect();
    assert_eq!(kinds, [EventKind::Start, EventKind::Rename]);
    assert!(error(house.ask(&Request::Remove { name: "Zoe".into() })).contains("nobody is enrolled as"));
    house.close();
}

#[test]
fn whoever_is_enrolled_by_a_client_can_enter() {
    let house = House::open();
    let request = Request::Enrol { name: "Cora".into(), templates: vec![template(&STRANGER)], more: false };
    let Reply::Enrolled { person, lookalikes } = house.ask(&request) else { panic!() };
    assert_eq!((person.name.as_str(), lookalikes.len()), ("Cora", 0));
    assert_eq!(house.status().people, 3);
    house.film(&[(9, STRANGER)]);
    house.film(&[(9, STRANGER)]);
    house.until_event(EventKind::Grant);
    house.close();
}

#[test]
fn templates_of_another_encoder_are_refused() {
    let house = House::open();
    let foreign = NewTemplate { model: ModelId("other@2".into()), ..template(&STRANGER) };
    let request = Request::Enrol { name: "Cora".into(), templates: vec![foreign], more: false };
    assert!(error(house.ask(&request)).contains("of encoder other@2, the door uses fake@1"));
    assert!(house.store.person("Cora").is_err());
    house.close();
}

#[test]
fn more_samples_must_be_of_the_same_person() {
    let house = House::open();
    let more = |face| Request::Enrol { name: "Bob".into(), templates: vec![template(face)], more: true };
    let message = error(house.ask(&more(&STRANGER)));
    assert!(message.contains("is this Bob? A new sample scores 0.00 with those stored"), "{message}");
    assert_eq!(house.store.person("Bob").unwrap().templates.len(), 1);
    assert!(matches!(house.ask(&more(&BOB)), Reply::Enrolled { .. }));
    house.close();
}

#[test]
fn status_tells_how_the_door_is() {
    let house = House::open();
    house.film(&[(1, ADA)]);
    until("a frame was decided on", || house.at_door().latency_ms.is_some());
    let status = house.status();
    let door = house.at_door();
    assert_eq!((status.version.as_str(), status.pid), ("0.0.0", std::process::id()));
    assert_eq!(
        (door.relay.as_str(), door.camera.as_str(), door.name.as_str()),
        ("fake relay", "fake camera", "door")
    );
    assert_eq!((status.model.as_str(), status.people, status.threshold), ("fake@1", 2, 0.5));
    assert!(door.fps > 0.0 && door.frame_age_ms.is_some() && door.faults.is_empty());
    house.close();
}

#[test]
fn nonsense_is_answered_and_the_connection_goes_on() {
    let house = House::open();
    let mut stream = connect(&house);
    let nonsense: [&[u8]; 7] = [
        b"\n",
        b"hello\n",
        b"{\"do\":\"open\"}\n",
        b"{\"do\":\"remove\",\"name\":\"Ada\",\"force\":1}\n",
        b"{\"do\":\"person\"}\n",
        b"[1,2]\n",
        b"\xff\xfe\n",
    ];
    for bytes in nonsense {
        let message = error(say(&mut stream, bytes));
        assert!(message.contains("not a request") || message.contains("must be UTF-8"), "{message}");
    }
    assert!(error(say(&mut stream, b"{\"do\":\"open\"}\n")).contains("unknown variant `open`"));
    assert!(matches!(say(&mut stream, b"{\"do\":\"status\"}\n"), Reply::Status(_)));
    house.close();
}

#[test]
fn a_line_without_an_end_is_hung_up_on() {
    let house = House::open();
    let mut stream = connect(&house);
    // The daemon may hang up before the last byte is sent.
    let _ = stream.write_all(&vec![b'x'; (1 << 20) + 1]);
    let mut answer = String::new();
    let _ = BufReader::new(&stream).read_line(&mut answer);
    assert!(answer.is_empty() || answer.contains("at most 1048576 bytes"), "{answer}");
    assert!(is_closed(&mut stream));
    house.status();
    house.close();
}

#[test]
fn the_socket_is_for_its_owner_and_group() {
    let house = House::open();
    let mode = std::fs::metadata(house.folder.path().join("control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    house.close();
}

/// Starts a second daemon on the socket of `folder`.
fn start_another(folder: &tempfile::TempDir) -> (Log, Result<Exit, DaemonError>) {
    let clock = Arc::new(SkipClock::default());
    let (stage, log) = (Stage::new(clock.clone()), Log::default());
    let store = FakeStore::new(log.clone());
    let parts = parts(&stage, &store, &log, clock, folder, &Trace::default());
    stage.shots.send(Shot::End).unwrap();
    let readiness = Readiness::new(Duration::from_secs(1), |_| {});
    (log, run_with(parts, Shutdown::by_hand(), limits(), readiness))
}

#[test]
fn a_second_daemon_is_refused_before_it_touches_the_relay() {
    let house = House::open();
    let (log, outcome) = start_another(&house.folder);
    let message = outcome.unwrap_err().to_string();
    assert!(message.contains(&format!("another accessd runs (pid {})", std::process::id())), "{message}");
    assert!(log.lines().is_empty());
    house.status();
    house.close();
}

#[test]
fn a_dead_socket_is_replaced_and_other_files_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(start_another(&folder).1.unwrap(), Exit::RecordingOver);
    std::fs::write(&socket, "precious").unwrap();
    let message = start_another(&folder).1.unwrap_err().to_string();
    assert!(message.contains("a file that is no socket"), "{message}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
}

#[test]
fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::remove_dir(folder.path()).unwrap();
    let message = start_another(&folder).1.unwrap_err().to_string();
    assert!(message.contains("its folder must exist"), "{message}");
}

#[test]
fn followers_see_what_was_and_what_comes() {
    let house = House::open();
    let mut client = house.client();
    let filter = Filter { limit: Some(1), ..Filter::default() };
    let mut replies = client.stream(&Request::Follow { filter }).unwrap();
    let mut next = || match replies.next() {
        Some(Ok(Reply::Record { record })) => record.event.kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(next(), EventKind::Start);
    house.ask(&Request::Remove { name: "Bob".into() });
    assert_eq!(next(), EventKind::Remove);
    house.let_ada_in();
    assert_eq!((next(), next()), (EventKind::Grant, EventKind::Unlocked));
    house.shutdown.ask("test");
    assert_eq!((next(), next()), (EventKind::Locked, EventKind::Stop));
    assert!(matches!(replies.next(), Some(Ok(Reply::Error { .. }))));
    assert!(replies.next().is_none());
    house.close();
}

#[test]
fn followers_see_only_what_they_asked_for() {
    let house = House::open();
    let mut client = house.client();
    let filter = Filter { kinds: vec![EventKind::Remove], limit: Some(0), ..Filter::default() };
    let mut replies = client.stream(&Request::Follow { filter }).unwrap();
    until("it follows", || house.status().pid > 0);
    house.ask(&Request::Rename { name: "Bob".into(), to: "Rob".into() });
    house.ask(&Request::Remove { name: "Rob".into() });
    let Some(Ok(Reply::Record { record })) = replies.next() else { panic!() };
    assert_eq!(record.event.kind, EventKind::Remove);
    house.close();
}

#[test]
fn a_client_that_never_reads_holds_up_nobody() {
    let limits = Limits { client_slow: Duration::from_millis(100), ..limits() };
    let house = House::open_with(limits, |_| {});
    let mut deaf = connect(&house);
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    // Fills the buffers both ways until the daemon hangs up.
    until("the daemon gives it up", || match deaf.write_all(&b"{\"do\":\"status\"}\n".repeat(1_000)) {
        Ok(()) => false,
        Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    });
    house.status();
    house.let_ada_in();
    house.close();
}

#[test]
fn there_are_32_clients_and_no_more() {
    let house = House::open();
    let mut clients: Vec<UnixStream> = (0..32).map(|_| connect(&house)).collect();
    for client in &mut clients {
        assert!(matches!(say(client, b"{\"do\":\"status\"}\n"), Reply::Status(_)));
    }
    let mut one_too_many = connect(&house);
    assert!(error(say(&mut one_too_many, b"")).contains("32 clients are connected"));
    assert!(is_closed(&mut one_too_many));
    clients.pop();
    until("there is room again", || {
        let mut client = connect(&house);
        client.write_all(b"{\"do\":\"status\"}\n").is_ok() && {
            let mut line = String::new();
            let _ = BufReader::new(client).read_line(&mut line);
            line.contains("\"pid\"")
        }
    });
    drop(clients);
    house.close();
}

#[test]
fn a_client_that_says_nothing_is_hung_up_on() {
    let limits = Limits { client_idle: Duration::from_millis(50), ..limits() };
    let house = House::open_with(limits, |_| {});
    let mut silent = connect(&house);
    assert!(is_closed(&mut silent));
    // One that follows is not.
    let mut client = house.client();
    let mut replies = client.stream(&Request::Follow { filter: Filter::default() }).unwrap();
    let started = SystemClock.now();
    until("twice that time has passed", || SystemClock.now().since(started) > Duration::from_millis(100));
    house.ask(&Request::Remove { name: "Bob".into() });
    assert!(
        replies.any(|r| matches!(r, Ok(Reply::Record { record }) if record.event.kind == EventKind::Remove))
    );
    house.close();
}

#[test]
fn without_a_daemon_the_same_answers_come_from_the_store() {
    use crate::daemon::ops::{Terms, answer};
    let mut store = FakeStore::new(Log::default());
    let rule = Rule {
        threshold: Score(0.0),
        margin: 0.1,
        alike_margin: 0.16,
        frames_needed: 2,
        frames_window: 3,
        max_frame_age: Duration::from_millis(500),
        regrant_after: Duration::ZERO,
        several: crate::access::Several::Nearest,
        supported: true,
        demands: crate::access::Demands::default(),
    };
    let terms = Terms {
        model: crate::daemon::fakes::model(),
        rule,
        bar: Bar::Set(Score(0.5)),
        pin_digits: 4,
        models: "none".into(),
    };
    let mut ask = |request| answer(&mut store, &terms, &request, "uid 0", Stamp::now(&SystemClock));
    let enrol =
        |name: &str| Request::Enrol { name: name.into(), templates: vec![template(&ADA)], more: false };
    assert!(matches!(ask(enrol("Ada")), Reply::Enrolled { lookalikes, .. } if lookalikes.is_empty()));
    let Reply::Enrolled { lookalikes, .. } = ask(enrol("Eve")) else { panic!() };
    assert_eq!((lookalikes.len(), lookalikes[0].name.as_str()), (1, "Ada"));
    assert!(error(ask(enrol("Ada"))).contains("already enrolled"));
    assert!(error(ask(Request::Status)).contains("needs the running service"));
    assert!(matches!(ask(Request::People), Reply::People { people } if people.len() == 2));
}

#[test]
fn with_more_people_the_threshold_rises_and_status_tells_what_it_keeps() {
    let rate = Bar::Rate { cohort: Arc::new(crate::calibration::testing::cohort()), far_per_attempt: 1e-5 };
    let house = House::open_full(Shutdown::by_hand(), limits(), |_| {}, |parts, _| parts.bar = rate);
    // Two people, 2 of 3 looks: 10^(-10 t) = 1e-5 / (2 * 1.5).
    let before = house.status();
    assert!((before.threshold - 0.548).abs() < 0.0015, "{}", before.threshold);
    let far = before.far.unwrap();
    assert!(far.supported && far.at_most <= far.wanted && far.wanted == 1e-5, "{far:?}");
    let start = house.store.last(EventKind::Start).detail;
    assert_eq!(start["threshold"].as_f64().map(|t| t as f32), Some(before.threshold));
    let enrol = Request::Enrol { name: "Cleo".into(), templates: vec![template(&STRANGER)], more: false };
    assert!(matches!(house.ask(&enrol), Reply::Enrolled { .. }));
    let after = house.status();
    assert!((after.threshold - 0.565).abs() < 0.0015, "{}", after.threshold);
    house.let_ada_in();
    let grant = house.store.last(EventKind::Grant).detail;
    assert_eq!(
        grant["rule"]["threshold"].as_f64().map(|t| t as f32),
        Some(after.threshold),
        "the door keeps to it"
    );
    house.close();
}
