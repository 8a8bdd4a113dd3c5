//! One door among those that control owns: its strike, its camera, what its camera has shown, and what failed at it.
//! Nothing of one door depends on another: each has its own looks, its own pauses, its own open hours.

use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Advice, Adviser, Attempts, Look};
use crate::clock::MonoTime;
use crate::door::Driver;
use crate::frame::Frame;
use crate::policy::{Place, Throttle, WhichDoor, which_door};
use crate::vision::tracks::TrackId;

use super::control::{Asking, CameraWatch, Going, Holding, LampBoard, Looks, Memory};
use super::second::SecondEye;
use super::slot::Slot;
use super::status::DoorBoard;

/// A door by its place in the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DoorId(pub(crate) usize);

/// A door with all that control needs of it.
pub(crate) struct Doorway {
    pub(crate) place: Place,
    pub(crate) driver: Driver,
    pub(crate) attempts: Attempts,
    pub(crate) looks: Looks,
    /// What is kept of those who come by.
    pub(crate) memory: Memory,
    pub(crate) adviser: Adviser,
    pub(crate) frames: Arc<Slot<Frame>>,
    pub(crate) board: Arc<DoorBoard>,
    pub(crate) camera: CameraWatch,
    /// Its second camera, and whether that gives pictures.
    pub(crate) second: Option<(Arc<SecondEye>, CameraWatch)>,
    pub(crate) lamps: LampBoard,
    pub(crate) throttle: Throttle,
    /// Who is asked for a PIN, and what was typed.
    pub(crate) asking: Asking,
    pub(crate) holding: Option<Holding>,
    /// For whom it is unlocked, until it is opened.
    pub(crate) going: Vec<Going>,
    /// Its camera was a recording, which is over and has been looked at.
    pub(crate) recording_over: bool,
    /// A frame of it has been decided on, or its camera is known to be lost.
    pub(crate) proven: bool,
}

impl Doorway {
    /// What the person who stands at it has been told for a while, when that is news.
    pub(crate) fn advise(&mut self, looks: &[Look], now: MonoTime) -> Option<(TrackId, Advice)> {
        self.adviser.see(looks, self.attempts.rule().several, now)
    }
}

/// All doors; at least one.
pub(crate) struct Doors(pub(crate) Vec<Doorway>);

impl Doors {
    /// Every door's id.
    pub(crate) fn ids(&self) -> impl Iterator<Item = DoorId> + use<> {
        (0..self.0.len()).map(DoorId)
    }

    /// Whether there is more than one.
    pub(crate) fn are_several(&self) -> bool {
        self.0.len() > 1
    }

    /// Their names, in their order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|door| door.place.door.as_str()).collect()
    }

    /// The one that is called so, or the only one where none is named.
    ///
    /// # Errors
    /// When it is not there, or none is named and there are several.
    pub(crate) fn called(&self, name: Option<&str>) -> Result<DoorId, WhichDoor> {
        which_door(&self.names(), name).map(DoorId)
    }

    /// How long until the first of them has something to do.
    pub(crate) fn next_deadline_in(&self, now: MonoTime) -> Option<Duration> {
        self.0.iter().filter_map(|door| door.driver.next_deadline()).map(|due| due.since(now)).min()
    }
}

impl Index<DoorId> for Doors {
    type Output = Doorway;
    fn index(&self, door: DoorId) -> &Doorway {
        &self.0[door.0]
    }
}

impl IndexMut<DoorId> for Doors {
    fn index_mut(&mut self, door: DoorId) -> &mut Doorway {
        &mut self.0[door.0]
    }
}
