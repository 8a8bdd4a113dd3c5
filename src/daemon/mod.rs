//! The running service: camera thread → newest-frame slot → vision thread → control thread, and the control socket.

pub mod analyser;
pub mod analysis;
pub mod protocol;
