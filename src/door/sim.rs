//! A relay that exists in a file: each transition is a line with its time.
