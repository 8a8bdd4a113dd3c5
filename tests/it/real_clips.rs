//! The service on real clips of four people, where they stand beside the project: each is let in as themselves and as
//! nobody else.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use accessd::journal::{EventKind, Filter};
use accessd::store::{OpenMode, SqliteStore, Store, boot_id};

use crate::support::{self, Service, Site};

/// Clip and frames a second. One person each.
const CLIPS: [(&str, usize); 4] =
    [("grid_bbaf2n", 25), ("grid_lwbsza", 25), ("asl_walk", 30), ("asl_student", 30)];

#[test]
fn net_each_person_of_the_real_clips_is_let_in_as_themselves_and_as_nobody_else() {
    let Some(root) = support::beside("data/video/frames") else { return };
    let frames = |clip: &str| {
        let mut all: Vec<PathBuf> =
            fs::read_dir(root.join(clip)).unwrap().map(|e| e.unwrap().path()).collect();
        all.sort();
        all
    };
    let site = Site::with_networks();
    for (clip, fps) in CLIPS {
        // Six pictures of the first second.
        let first: Vec<PathBuf> = frames(clip).into_iter().take(fps).step_by(fps / 6).collect();
        let images = first.iter().map(|p| p.to_str().unwrap());
        let enrolled =
            site.run(["enroll", "--name", clip, "--skip-bad", "--images"].into_iter().chain(images));
        assert_eq!(enrolled.code, 0, "{clip}: {}", enrolled.stderr);
    }
    println!("{:<14}{:>8}  {:<32}{:>8}  refused", "clip", "frames", "let in as", "score");
    let mut last = None;
    for (clip, fps) in CLIPS {
        let rest = site.path(clip);
        fs::create_dir(&rest).unwrap();
        let played: Vec<PathBuf> = frames(clip).split_off(fps);
        for frame in &played {
            std::os::unix::fs::symlink(frame, rest.join(frame.file_name().unwrap())).unwrap();
        }
        // So slow that a loaded machine sees every picture: one of them is near enough for three looks only.
        site.write_config(&format!(
            "[camera]\nsource = \"clip:{clip}?fps=5\"\n[door]\nrelay = \"sim:relay.log\"\npulse_ms = 3000\n"
        ));
        assert_eq!(
            Service::spawn(&site).wait(),
            Some(0),
            "{}",
            fs::read_to_string(site.path("service.log")).unwrap()
        );
        let store = SqliteStore::open(&site.path("accessd.db"), OpenMode::ReadOnly, &boot_id(), &site.keys())
            .unwrap();
        let kinds = vec![EventKind::Grant, EventKind::Refusal];
        let records = store.records(&Filter { kinds, after: last, ..Filter::default() }).unwrap();
        last = records.last().map(|r| r.id).or(last);
        let of = |kind| records.iter().filter(move |r| r.event.kind == kind);
        let names: BTreeSet<_> =
            of(EventKind::Grant).filter_map(|r| r.event.person.as_ref()).map(|p| p.name.clone()).collect();
        let score =
            of(EventKind::Grant).find_map(|r| r.event.detail["best"]["score"].as_f64()).unwrap_or(f64::NAN);
        let refused = of(EventKind::Refusal).count();
        println!("{clip:<14}{:>8}  {:<32}{score:>8.3}  {refused}", played.len(), format!("{names:?}"));
        assert_eq!(names, BTreeSet::from([clip.to_owned()]));
    }
}
