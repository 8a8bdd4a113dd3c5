//! Is it a face or a picture of one? The networks for presentation attack detection (ISO/IEC 30107): a face with its
//! surroundings in, how far it looks alive out, and the rule by which several say it together ([`check`]); and what a track
//! shows of itself when it moves ([`surroundings`]), counted in [`signs`]; and what it is asked to do ([`challenge`]). What follows from that is decided in `access`.
//! What a door has been shown to keep out is counted in [`spoof`].

pub mod challenge;
pub mod check;
pub mod minifasnet;
pub mod network;
pub mod signs;
pub mod spoof;
pub mod surroundings;
