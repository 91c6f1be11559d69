//! The HTTP client of chat and attach.
