//! The YuNet face detector.
