//! Is it a face or a picture of one? The networks for presentation attack detection (ISO/IEC 30107): a face with its
//! surroundings in, how far it looks alive out. What follows from that over a track is decided elsewhere.

pub mod minifasnet;
pub mod network;
