//! The one place that names the YAML crate.
