//! Duragent keeps AI agents alive: an agent is a folder of YAML and Markdown, a session is an
//! append-only log in plain files, and one small binary serves both.

pub mod agents;
pub mod base;
pub mod cli;
pub mod client;
pub mod config;
pub mod doctor;
pub mod domain;
pub mod engine;
pub mod http;
pub mod llm;
pub mod policy;
pub mod runtime;
pub mod sandbox;
pub mod store;
pub mod terminal;
pub mod tools;
pub mod torture;
pub mod trust;
pub mod wire;
pub mod workspace;
