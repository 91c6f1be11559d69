//! Decides: one worker thread per active session.
