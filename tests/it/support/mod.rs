//! What several topics need: fakes of what lives on the internet, the real binary, and parts of it
//! in this process.

pub mod bench;
pub mod bot_api;
pub mod desk;
pub mod fake_model;
pub mod local_api;
pub mod own_model;
pub mod process;
pub mod server;
pub mod sessions;
pub mod telegram;
pub mod tools;
pub mod v05;
