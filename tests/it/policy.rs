//! Policies: from their files to what runs.

mod corpora;
mod files;
mod live;
mod shell;
mod whole;
