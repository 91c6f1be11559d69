//! What this build is: known when it was compiled, and true.

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, followed by ` (modified)` when the sources differed from it;
/// `unknown (…)` when they were no git checkout.
pub const COMMIT: &str = env!("DURAGENT_COMMIT");

/// The day it was built, `YYYY-MM-DD`, UTC.
pub const BUILD_DATE: &str = env!("DURAGENT_DATE");

/// The platform it was built for, e.g. `x86_64-unknown-linux-gnu`.
pub const TARGET: &str = env!("DURAGENT_TARGET");

/// The optional parts that were compiled in.
pub const FEATURES: &[&str] = &[
    #[cfg(feature = "telegram")]
    "telegram",
];

/// The lines of `--version`, after the program's name.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("DURAGENT_COMMIT"),
    "\nbuilt: ",
    env!("DURAGENT_DATE"),
    "\ntarget: ",
    env!("DURAGENT_TARGET"),
);
