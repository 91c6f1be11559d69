//! `duragent.yaml`, checked.
//!
//! Invariants:
//! - every path is absolute, every number within its range, every secret a [`Secret`](crate::domain::secret::Secret);
//! - one function, `checked::first_of`, holds the precedence: flag, environment, file, default;
//! - unknown keys in what guards something (`server`, `sandbox`, `routes`, `web`,
//!   `providers`) are errors;
//!   elsewhere they are warnings at load and errors in [`validate`].
//!
//! Elsewhere: what an agent may do (`agents`), where the keys of providers may go (`llm`), where the
//! file is looked for ([`lookup`]).

mod checked;
mod load;
pub mod lookup;
pub mod owner;
mod raw;
mod settings;
mod source;

pub use checked::{HOST_RULE, parse_host};
pub use load::{ConfigError, Loaded, keys, validate, workspace};
pub use settings::{
    Config, ExternalGateway, GatewaysConfig, LimitsConfig, LocalUsers, LogFormat, LoggingConfig,
    Restart, RouteConfig, SandboxConfig, SandboxMode, ServerConfig, SessionsConfig, Telegram,
    WebConfig,
};
pub use source::{ConfigSource, DEFAULT_FILE, DEFAULT_WORKSPACE, Overrides};
