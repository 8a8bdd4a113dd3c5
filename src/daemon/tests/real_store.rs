//! The daemon on a database file: what it did is in the file when it is gone.

use super::*;
use crate::gallery::NewTemplate;
use crate::journal::Filter;
use crate::seal::Keys;
use crate::store::{OpenMode, SqliteStore};

fn refusal(reply: Reply) -> String {
    match reply {
        Reply::Error { message } => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_grant_by_an_enrolment_over_the_socket_is_in_the_database_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("accessd.db");
    let (clock, log) = (Arc::new(SkipClock::default()), Log::default());
    let stage = Stage::new(clock.clone());
    let parts = Parts {
        store: Box::new(SqliteStore::open(&database, OpenMode::Create, "boot", &Keys::of_a_test()).unwrap()),
        ..parts(&stage, &FakeStore::new(log.clone()), &log, clock, &folder, &Trace::default())
    };
    let (shutdown, socket) = (Shutdown::by_hand(), parts.socket.clone());
    let running = std::thread::spawn({
        let shutdown = shutdown.clone();
        move || run_with(parts, shutdown, limits(), Readiness::new(Duration::from_secs(1), |_| {}))
    });
    until("the daemon answers", || socket.exists());
    let ask = |request| Client::connect(&socket).unwrap().expect("a daemon").request(&request).unwrap();

    let enrol = |templates| Request::Enrol { name: "Ada".into(), templates, more: false };
    let mut json = serde_json::to_value(template(&ADA)).unwrap();
    json["embedding"] = serde_json::json!([100.0, 100.0, 100.0]);
    let master_key: NewTemplate = serde_json::from_value(json).unwrap();
    assert!(refusal(ask(enrol(vec![master_key]))).contains("instead of 1"));
    assert!(refusal(ask(enrol(vec![]))).contains("there are none"));
    assert!(matches!(ask(enrol(vec![template(&ADA)])), Reply::Enrolled { .. }));
    let other_size = NewTemplate { embedding: crate::daemon::fakes::embedding(&[1.0]), ..template(&ADA) };
    let more = Request::Enrol { name: "Ada".into(), templates: vec![other_size], more: true };
    assert!(refusal(ask(more)).contains("have 3"));

    for _ in 0..2 {
        let looked = stage.looked.load(std::sync::atomic::Ordering::SeqCst);
        stage.shots.send(Shot::People(vec![seen(1, &ADA)])).unwrap();
        until("vision took it", || stage.looked.load(std::sync::atomic::Ordering::SeqCst) > looked);
    }
    until("the relay moved", || log.has("relay on"));
    shutdown.ask("test");
    stage.shots.send(Shot::End).unwrap();
    assert_eq!(running.join().unwrap().unwrap(), Exit::Asked { why: "test".into() });

    let store = SqliteStore::open(&database, OpenMode::Existing, "boot", &Keys::of_a_test()).unwrap();
    let kinds: Vec<_> =
        store.records(&Filter::default()).unwrap().into_iter().map(|record| record.event.kind).collect();
    let (start, enrol, grant) = (EventKind::Start, EventKind::Enrol, EventKind::Grant);
    assert_eq!(kinds, [start, enrol, grant, EventKind::Unlocked, EventKind::Locked, EventKind::Stop]);
    assert!(store.person("Ada").unwrap().last_grant.is_some());
}
