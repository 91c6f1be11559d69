//! Plain tools for threads, files, time and YAML. No Duragent words in here.

pub mod accounts;
pub mod address;
pub mod beneath;
pub mod child;
pub mod clock;
pub mod digest;
pub mod file_lock;
pub mod fs;
pub mod host;
pub mod lock;
pub mod order;
pub mod os;
pub mod plural;
pub mod pool;
pub mod random;
pub(crate) mod shown;
pub mod signals;
pub mod socket_owner;
pub mod sse;
pub mod stop;
pub mod text;
pub mod thread;
pub mod timer;
pub mod tls;
pub mod words;
pub mod yaml;
