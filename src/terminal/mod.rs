//! What chat and attach show.
