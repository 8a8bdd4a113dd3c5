//! Which networks there are: the manifest, import, and what is installed.
