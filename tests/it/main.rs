//! All integration tests, in one binary: it links once.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    missing_docs,
    unreachable_pub,
    reason = "in a test an unwrap is the check"
)]

mod agents;
mod architecture;
mod arrivals;
mod bot;
mod callers;
mod circles;
mod cli;
mod cli_page;
mod clients;
mod config;
mod crash;
mod crate_facts;
mod doctor;
mod engine;
mod faults;
mod files;
mod flood;
mod foreign;
mod gate;
mod gateway_page;
mod gateways;
mod grants;
mod guarantees;
mod hooks;
mod http;
mod irc;
mod keys;
mod limits;
mod llm;
mod manage;
#[cfg(feature = "telegram")]
mod markup;
mod memory;
mod models;
mod models_page;
mod pages;
mod policy;
mod prompt;
mod rest;
mod sandbox;
mod search;
mod secrets;
mod shell_proof;
mod skills;
mod store;
mod summaries;
mod support;
mod telegram;
mod tickets;
mod tidy;
mod tool_kill;
mod tools;
mod torture;
mod trust;
mod v05;
mod validate;
mod ways;
mod web;
mod workdir;
