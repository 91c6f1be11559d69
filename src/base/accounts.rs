//! Accounts of this machine, by number.

use std::fs;

/// The account that this process acts as.
pub fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The number that stands for every account that the user namespace of this process has none for.
///
/// Source: proc_sys_kernel(5), `overflowuid`.
pub fn overflow() -> u32 {
    /// The system's own, where it does not tell.
    const USUAL: u32 = 65534;
    let told = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
    told.and_then(|text| text.trim().parse().ok())
        .unwrap_or(USUAL)
}

/// The account that `word` stands for: its number, or its name in `passwd`, the text of
/// `/etc/passwd`.
pub fn parse(word: &str, passwd: &str) -> Option<u32> {
    if let Ok(number) = word.parse() {
        return Some(number);
    }
    let mut fields = passwd.lines().map(|line| line.split(':'));
    let mut entry = fields.find_map(|mut fields| (fields.next()? == word).then_some(fields))?;
    entry.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_named_or_numbered() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n#x\nana:x:1001:1001::/home/ana:\nodd:x:no\n";
        for (word, expected) in [
            ("ana", Some(1001)),
            ("root", Some(0)),
            ("1001", Some(1001)),
            ("7", Some(7)),
            ("an", None),
            ("odd", None),
            ("#x", None),
            ("", None),
            ("-1", None),
            ("4294967296", None),
        ] {
            assert_eq!(parse(word, passwd), expected, "{word}");
        }
    }
}
