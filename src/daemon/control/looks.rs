//! The last looks at each face in view, so that a decision can say what it was made of.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::MonoTime;
use crate::daemon::analysis::{Analysis, StageTimes};
use crate::daemon::protocol::Far;
use crate::gallery::Gallery;
use crate::journal::explain::{CANDIDATES, Circumstances, Rate};
use crate::vision::tracks::TrackId;

/// A track that was not seen for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(5);

/// What was seen lately, by track.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    tracks: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    track: TrackId,
    /// When the frames of the last compared looks were taken, oldest first.
    captured: VecDeque<MonoTime>,
}

impl Looks {
    /// Takes what a frame showed in. `window` is how many looks a decision weighs.
    pub(super) fn take(&mut self, analysis: &Analysis, window: usize) {
        let captured = analysis.captured;
        self.tracks
            .retain(|seen| seen.captured.back().is_some_and(|last| captured.since(*last) <= FORGET_AFTER));
        for face in analysis.faces.iter().filter(|face| face.embedding.is_some() && !face.repeated) {
            let at = self.tracks.iter().position(|seen| seen.track == face.track).unwrap_or_else(|| {
                self.tracks.push(Seen { track: face.track, captured: VecDeque::new() });
                self.tracks.len() - 1
            });
            let seen = &mut self.tracks[at].captured;
            seen.push_back(captured);
            while seen.len() > window.max(1) {
                seen.pop_front();
            }
        }
    }

    /// What there is to say about a decision on a track that fell at `now` by the newest frame.
    pub(super) fn circumstances(
        &self,
        analysis: &Analysis,
        track: TrackId,
        gallery: &Gallery,
        far: Option<Far>,
        now: MonoTime,
    ) -> Circumstances {
        let face = analysis.faces.iter().find(|face| face.track == track);
        let embedding = face.and_then(|face| face.embedding.as_ref());
        let nearest = embedding.map(|embedding| gallery.nearest(embedding, CANDIDATES)).unwrap_or_default();
        let seen = self.tracks.iter().find(|seen| seen.track == track);
        let ages = seen.into_iter().flat_map(|seen| &seen.captured);
        Circumstances {
            model: Some(gallery.model().clone()),
            top: nearest.into_iter().map(|c| (c.person, c.name, c.score.0)).collect(),
            ages_ms: ages.map(|captured| now.since(*captured).as_millis() as u64).collect(),
            stages_us: stages(&analysis.times),
            bar: far.map(|far| Rate { far: far.wanted, at_most: far.at_most, supported: far.supported }),
            quality: face.map(|face| face.quality),
        }
    }
}

fn stages(times: &StageTimes) -> std::collections::BTreeMap<String, u64> {
    let StageTimes { detect_us, align_us, embed_us, match_us, live_us } = *times;
    let named = [
        ("detect", detect_us),
        ("align", align_us),
        ("embed", embed_us),
        ("match", match_us),
        ("live", live_us),
    ];
    named.into_iter().map(|(name, us)| (name.to_owned(), us)).collect()
}
