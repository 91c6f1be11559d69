//! Duragent keeps AI agents alive: an agent is a folder of YAML and Markdown, a session is an
//! append-only log in plain files, and one small binary serves both.
//!
//! The rooms in layers, from the bottom up; no room names one above it:
//!
//! - [`base`]: plain tools, without a word of Duragent; [`domain`]: sessions and agents as values;
//! - [`wire`]: the API's bodies, for both sides; [`store`], [`llm`], [`policy`], [`sandbox`]: traits of what a
//!   session needs, and those behind them; [`tools`]: what agents can do; [`config`], [`trust`], [`agents`]:
//!   what people write, checked;
//! - [`engine`]: decides; a worker for each session at work;
//! - [`http`]: lets requests in, and shows what came of them; [`client`], [`terminal`]: the other side of that;
//!   [`gateway`]: the same for messaging platforms;
//! - [`workspace`]: all that on the files of one folder; [`runtime`]: all that as a server;
//! - [`torture`], [`doctor`]: try whether it holds; [`cli`]: what people type.
//!
//! To begin with: what can happen to a session ([`domain::event`]), what that amounts to
//! ([`domain::state`]), what to do next ([`domain::step`]), and who does it ([`engine::turn`]).
//! `docs/architecture.md` tells the whole, `docs/where.md` where a change goes.

pub mod agents;
pub mod base;
pub mod cli;
pub mod client;
pub mod config;
pub mod doctor;
pub mod domain;
pub mod engine;
pub mod gateway;
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
