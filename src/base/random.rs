//! Secrets that nobody can guess.

use std::fs::File;
use std::io::{self, Read as _};

/// 256 random bits of the system, in lower-case hexadecimal digits.
pub fn secret() -> io::Result<String> {
    let mut bits = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bits)?;
    Ok(bits.iter().map(|byte| format!("{byte:02x}")).collect())
}
