//! What several topics need: fakes of what lives on the internet, and the real binary.

pub mod fake_model;
pub mod server;
