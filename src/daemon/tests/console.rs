//! What the web console asks of the daemon: in the name of its accounts, pictures of now, and pictures to enrol from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::PngEncoder;
use image::{Rgb, RgbImage};

use super::*;

fn open(terms: ConsoleTerms) -> House {
    House::open_full(Shutdown::by_hand(), limits(), |_| {}, move |parts, _| parts.console = terms)
}

fn mine() -> ConsoleTerms {
    ConsoleTerms { users: vec![rustix::process::getuid().as_raw()], live_picture: true }
}

fn by(account: &str, request: Request) -> Request {
    Request::As { account: account.into(), request: Box::new(request) }
}

fn error(reply: Reply) -> String {
    match reply {
        Reply::Error { message } => message,
        other => panic!("{other:?}"),
    }
}

fn png(colour: [u8; 3]) -> String {
    let mut bytes = Vec::new();
    RgbImage::from_pixel(8, 8, Rgb(colour)).write_with_encoder(PngEncoder::new(&mut bytes)).unwrap();
    STANDARD.encode(bytes)
}

#[test]
fn what_an_account_changes_is_in_the_journal_under_its_name() {
    let house = open(mine());
    let rename = Request::Rename { name: "Bob".into(), to: "Robert".into() };
    assert_eq!(house.ask(&by("ada", rename)), Reply::Done);
    assert_eq!(house.store.last(EventKind::Rename).actor.unwrap(), "console: ada");
    assert_eq!(house.ask(&by("ada.l", Request::Unlock { door: None })), Reply::Done);
    assert_eq!(house.store.last(EventKind::Operator).actor.unwrap(), "console: ada.l");
    house.close();
}

#[test]
fn nobody_but_the_console_speaks_for_an_account_and_for_accounts_alone() {
    let stranger = open(ConsoleTerms { users: vec![], live_picture: true });
    assert!(error(stranger.ask(&by("ada", Request::Unlock { door: None }))).contains("only the console"));
    stranger.close();
    let house = open(mine());
    for name in ["", "uid 0 (root)", "Ada", "a\nb"] {
        assert!(
            error(house.ask(&by(name, Request::Unlock { door: None }))).contains("no account"),
            "{name:?}"
        );
    }
    let nested = by("ada", by("bob", Request::Unlock { door: None }));
    assert!(error(house.ask(&nested)).contains("no account"));
    assert_eq!(house.store.count(EventKind::Operator), 0);
    house.close();
}

#[test]
fn figures_name_those_who_are_hard_to_tell_apart() {
    let house = House::open_full(
        Shutdown::by_hand(),
        limits(),
        |store| {
            let twin = [ADA[0], ADA[1] + 0.05, ADA[2]];
            store.enrol("Ada's twin", &[template(&twin)], "test", Stamp::now(&SystemClock)).unwrap();
        },
        |_, _| {},
    );
    let Reply::Figures(figures) = house.ask(&Request::Figures) else { panic!() };
    assert_eq!((figures.people, figures.rates.len()), (3, 0), "the threshold of the tests is set by hand");
    let pairs: Vec<_> = figures.alike.iter().map(|pair| [pair.a.as_str(), pair.b.as_str()]).collect();
    assert!(pairs.len() == 1 && pairs[0].contains(&"Ada") && pairs[0].contains(&"Ada's twin"), "{pairs:?}");
    let again = house.ask(&Request::Figures);
    assert_eq!(again, Reply::Figures(figures));
    house.close();
}

#[test]
fn the_picture_of_now_is_shown_only_where_the_config_allows_it() {
    let house = open(ConsoleTerms { live_picture: false, ..mine() });
    assert!(error(house.ask(&Request::Picture { door: None })).contains("console.live_picture"));
    house.close();
    let house = open(mine());
    let socket = house.folder.path().join("control.sock");
    let asking = std::thread::spawn(move || {
        Client::connect(&socket).unwrap().unwrap().request(&Request::Picture { door: None }).unwrap()
    });
    // A frame that was looked at before anybody asked is not kept, so the camera goes on.
    while !asking.is_finished() {
        house.film(&[(1, ADA)]);
    }
    let asked = asking.join().unwrap();
    let Reply::Picture(picture) = asked else { panic!("{asked:?}") };
    assert_eq!(picture.faces.len(), 1);
    assert_eq!(picture.faces[0].name.as_deref(), Some("Ada"));
    assert_eq!(picture.size, (8, 8));
    house.close();
}

#[test]
fn somebody_is_enrolled_from_a_picture_and_can_enter() {
    let house = open(mine());
    let request =
        |name: &str, colour, more| Request::EnrolPicture { name: name.into(), picture: png(colour), more };
    let reply = house.ask(&by("ada", request("Cora", [0, 255, 0], false)));
    let Reply::Enrolled { person, .. } = reply else { panic!("{reply:?}") };
    assert_eq!((person.name.as_str(), person.templates.len()), ("Cora", 1));
    assert_eq!(house.store.last(EventKind::Enrol).actor.unwrap(), "console: ada");
    assert!(error(house.ask(&request("Dora", [0, 0, 0], false))).contains("no face is found"));
    assert!(error(house.ask(&request("Cora", [0, 255, 0], false))).contains("already enrolled"));
    let no_picture = Request::EnrolPicture { name: "Eve".into(), picture: "aGVsbG8=".into(), more: false };
    assert!(error(house.ask(&no_picture)).contains("not a picture"));
    house.close();
}
