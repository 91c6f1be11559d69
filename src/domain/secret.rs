//! A text that must not be shown.

use std::fmt;

/// A key, a token, or a text that may hold one. Only [`Secret::reveal`] gives it away, so that
/// every place that does can be found.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Keeps a text.
    pub fn new(text: impl Into<Box<str>>) -> Secret {
        Secret(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `text` with every occurrence of the secret covered.
    pub fn hide_in(&self, text: &str) -> String {
        /// Local servers are given words like `none` for a key: those are no secrets, and
        /// covering them would make messages unreadable.
        const BYTES_MIN: usize = 8;
        if self.0.len() < BYTES_MIN {
            return text.to_owned();
        }
        text.replace(&*self.0, "[redacted]")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Goes by the name alone: `*_KEY`, `*_TOKEN`, `*_SECRET` and `*PASSWORD*`, in letters of either
/// case, are taken for secrets.
pub fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let ends = ["_KEY", "_TOKEN", "_SECRET"];
    ends.iter().any(|end| name.ends_with(end)) || name.contains("PASSWORD")
}

/// As [`names_a_secret`], of a header or of a part of an address: `X-Api-Key`, `Authorization`, `key`.
pub fn is_secret_field(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = [
        "auth",
        "cookie",
        "credential",
        "key",
        "password",
        "secret",
        "sig",
        "token",
    ];
    words.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_holds_a_secret_is_known_by_its_name() {
        for (name, expected) in [
            ("OPENAI_API_KEY", true),
            ("github_token", true),
            ("Client_Secret", true),
            ("PASSWORD", true),
            ("DB_PASSWORD_FILE", true),
            ("PGPASSWORD", true),
            ("KEY", false),
            ("MONKEY", false),
            ("TOKENS", false),
            ("SECRET_NAME", false),
            ("PATH", false),
            ("", false),
        ] {
            assert_eq!(names_a_secret(name), expected, "{name}");
        }
    }

    #[test]
    fn debug_shows_nothing_of_it() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{:?}", Some(&secret)), "Some([redacted])");
        assert_eq!(secret.reveal(), "hunter2");
    }
}
