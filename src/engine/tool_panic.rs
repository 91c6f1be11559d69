//! A panic in a tool ends what the tool was asked, and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::base::thread::panic_text;
use crate::tools::Tool;

/// Asks a tool; `None` if it panics, which the program's log tells.
pub(in crate::engine) fn caught<T>(tool: &dyn Tool, ask: impl FnOnce() -> T) -> Option<T> {
    let asked = catch_unwind(AssertUnwindSafe(ask));
    let logged = asked.inspect_err(|panic| {
        let name = &tool.spec().name;
        log::error!("tool {name} panicked: {}", panic_text(&**panic));
    });
    logged.ok()
}
