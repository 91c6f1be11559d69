//! Policies: from their files to what runs.

mod files;
mod live;
mod shell;
mod whole;
