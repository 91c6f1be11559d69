//! The HTTP client of chat and attach: every route they use, as a typed method.
//!
//! Invariants:
//! - a request that stores something carries an `Idempotency-Key`, so it may be sent again;
//! - no connection is reused: a pooled one may have been closed by then, and on loopback a new one
//!   costs next to nothing;
//! - a call that may take long is given a [`CancelHandle`], which ends it from another thread.
//!
//! Elsewhere: what the answers and the events look like (`wire`).

mod api;
pub mod backoff;
mod cancel;
mod error;
mod follower;
mod locate;
mod stream;
mod tries;

pub use self::api::{ApiClient, Attaching, ServerGeneration, new_key};
pub use self::cancel::CancelHandle;
pub use self::error::{ClientError, hint_of};
pub use self::follower::{Followed, SessionFollower};
pub use self::locate::{Locate, NoServer};
pub use self::stream::{EventStream, StreamedEvent};
pub use self::tries::Tries;
