//! A door to try without a camera: a clip of people walking up, made from public-domain photographs, and a judge who
//! knows who walked up when.
//!
//! `script` says who is in view from which frame to which; `clip` draws it; the real daemon plays the clip; `judge`
//! reads the journal and says whether the door opened for the enrolled person each time and for nobody else. `month` makes
//! up what happened at a door before, so that there is something to look at.

pub mod clip;
pub mod judge;
pub mod month;
pub mod script;
