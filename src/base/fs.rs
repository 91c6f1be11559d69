//! The file system behind a small trait.
