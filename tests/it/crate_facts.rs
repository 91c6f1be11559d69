//! crate_facts
