//! One identity-free thread of faces over frames: who is the same person from one frame to the next.

use serde::{Deserialize, Serialize};

/// Names one track while the daemon runs; never used again after the track ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TrackId(pub u64);
