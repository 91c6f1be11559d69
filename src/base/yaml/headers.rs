//! Headers of HTTP that a file sets.

use std::collections::BTreeMap;

use super::read::{At, Report};
use crate::base::order;

/// Headers that say how a message is framed, or for whom it is: no file sets them.
const OF_TRANSPORT: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// The most bytes of them together: they stand in one buffer of a connection.
const BYTES_MAX: usize = 8 << 10;

/// The headers that were found, by their names in lower case; `reserved` are names that this file may
/// not set either.
pub fn headers(
    found: BTreeMap<String, At<String>>,
    reserved: &[&str],
    report: &mut Report,
) -> BTreeMap<String, String> {
    let mut headers = Vec::with_capacity(found.len());
    let mut bytes = 0;
    for (name, at) in found {
        let name = name.to_ascii_lowercase();
        bytes += name.len() + at.value.len();
        let is_framing = name.starts_with("content-") || name.starts_with("proxy-");
        if !is_name(&name) {
            report.error(&at, "is the value of a header whose name is none");
        } else if is_framing || OF_TRANSPORT.contains(&&*name) || reserved.contains(&&*name) {
            report.error(&at, "is the value of a header that cannot be set here");
        } else if headers.iter().any(|(known, _)| *known == name) {
            report.error(&at, "is another value of the same header");
        } else if bytes > BYTES_MAX {
            report.error(&at, "makes the headers longer than 8 KiB together");
        } else if !at.value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            report.error(&at, "must be visible ASCII characters");
        } else {
            headers.push((name, at.value));
        }
    }
    order::map(headers)
}

/// Source: RFC 9110, section 5.6.2.
fn is_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}
