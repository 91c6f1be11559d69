//! The proxies on the way to others, by the usual variables of the environment.

use ureq::Proxy;
use ureq::http::Uri;

/// By how those are asked whom they lead to.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// To what is asked by https.
    pub https: Option<Proxy>,
    /// To what is asked in the clear.
    pub http: Option<Proxy>,
}

impl Proxies {
    /// One for all.
    pub fn all(proxy: Proxy) -> Proxies {
        Proxies {
            https: Some(proxy.clone()),
            http: Some(proxy),
        }
    }

    /// As `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say, in either case. One that cannot be read is
    /// left out: see [`unread`].
    pub fn from_env(lookup: &impl Fn(&str) -> Option<String>) -> Proxies {
        let proxy = |name| Some(read(lookup, named(lookup, name)?.1.trim())).flatten();
        Proxies {
            https: proxy("HTTPS_PROXY"),
            http: proxy("HTTP_PROXY"),
        }
    }

    /// The one to what `url` names, unless there is none or it is excepted.
    pub fn to(&self, url: &str) -> Option<&Proxy> {
        let uri: Uri = url.parse().ok()?;
        let proxy = match uri.scheme_str() {
            Some("https") => self.https.as_ref(),
            _ => self.http.as_ref(),
        };
        proxy.filter(|proxy| !proxy.is_no_proxy(&uri))
    }
}

/// The variables that name a proxy which cannot be read, so that nothing goes through it. Their values may hold a
/// password.
pub fn unread(lookup: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let named = ["HTTPS_PROXY", "HTTP_PROXY"].map(|name| named(lookup, name));
    let unread = named
        .into_iter()
        .flatten()
        .filter(|(_, text)| read(lookup, text.trim()).is_none());
    let mut names: Vec<String> = unread.map(|(name, _)| name).collect();
    names.dedup();
    names
}

/// The variable that names the proxy, or else the one for all, with what it says.
fn named(lookup: &impl Fn(&str) -> Option<String>, name: &str) -> Option<(String, String)> {
    let all = "ALL_PROXY".to_owned();
    let names = [
        name.to_owned(),
        name.to_lowercase(),
        all.clone(),
        all.to_lowercase(),
    ];
    names.into_iter().find_map(|name| {
        let value = lookup(&name).filter(|value| !value.trim().is_empty())?;
        Some((name, value))
    })
}

fn read(lookup: &impl Fn(&str) -> Option<String>, text: &str) -> Option<Proxy> {
    let plain = Proxy::new(text).ok()?;
    let mut proxy = Proxy::builder(plain.protocol())
        .host(plain.host())
        .port(plain.port())
        .resolve_target(plain.resolve_target());
    if let Some(username) = plain.username() {
        proxy = proxy.username(username);
    }
    if let Some(password) = plain.password() {
        proxy = proxy.password(password);
    }
    let exceptions = lookup("NO_PROXY").or_else(|| lookup("no_proxy"));
    for exception in exceptions.unwrap_or_default().split(',') {
        proxy = proxy.no_proxy(exception.trim());
    }
    proxy.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(variables: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn each_scheme_has_its_proxy_and_exceptions_have_none() {
        let variables = [
            ("https_proxy", "http://a:3128"),
            ("ALL_PROXY", "socks5://b:1080"),
            ("NO_PROXY", ".example.org"),
        ];
        let proxies = Proxies::from_env(&lookup(&variables));
        let host = |url: &str| proxies.to(url).map(Proxy::host);
        assert_eq!(host("https://c/d"), Some("a"));
        assert_eq!(host("http://c/d"), Some("b"));
        assert_eq!(host("https://x.example.org/d"), None);
        assert_eq!(unread(&lookup(&variables)), [""; 0]);
    }

    #[test]
    fn what_cannot_be_read_is_named_once_and_without_its_value() {
        for (variables, expected) in [
            (vec![("HTTPS_PROXY", "gopher://a:1")], vec!["HTTPS_PROXY"]),
            (vec![("all_proxy", "http://")], vec!["all_proxy"]),
            (vec![("HTTP_PROXY", " ")], vec![]),
        ] {
            let lookup = lookup(&variables);
            assert_eq!(unread(&lookup), expected);
            assert!(Proxies::from_env(&lookup).https.is_none());
        }
    }
}
