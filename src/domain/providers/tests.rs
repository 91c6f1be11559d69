use super::*;

#[test]
fn the_table_has_each_name_once_and_only_addresses_that_can_be_called() {
    for (at, known) in KNOWN.iter().enumerate() {
        let name = Provider::parse(known.name).unwrap();
        assert_eq!(name.known(), Some(known));
        assert_eq!(
            KNOWN.iter().position(|one| one.name == known.name),
            Some(at)
        );
        if let Some(url) = known.base_url {
            let origin = Origin::of(url).unwrap();
            assert!(known.owns(&origin), "{url}");
            assert!(origin.is_https() || origin.is_loopback(), "{url}");
            assert_eq!(known.needs_key, origin.is_https(), "{url}");
        }
    }
}

#[test]
fn only_the_providers_own_addresses_are_known() {
    for (url, expected) in [
        ("https://api.openai.com/v1", true),
        ("https://API.OpenAI.com:443/elsewhere?x=1", true),
        ("https://user:pass@api.openai.com/", true),
        ("https://eu.api.openai.com/v1", true),
        ("https://api.groq.com", true),
        ("http://127.0.0.1:11434", true),
        // Read as a browser does, and called so, too.
        ("https://api.openai.com\\@evil.example/", true),
        ("http://api.openai.com/v1", false),
        ("https://api.openai.com:8443/v1", false),
        ("https://api.openai.com./v1", false),
        ("https://api.openai.com.evil.example/v1", false),
        ("https://evil-api.openai.com/v1", false),
        ("https://openai.com/v1", false),
        ("https://api.openai.com@evil.example/v1", false),
        ("https://api.openai.com%2eevil.example/v1", false),
        ("https://evil.example/https://api.openai.com", false),
        ("https://evil.example#@api.openai.com", false),
        ("https://evil.example?@api.openai.com", false),
        ("https://xn--pi-7kc.openai.com/", false),
        ("https://anything.openai.azure.com/openai/v1", false),
        ("//api.openai.com/v1", false),
        ("ftp://api.openai.com/", false),
        ("api.openai.com", false),
        ("", false),
        ("http://127.0.0.1:9", false),
    ] {
        assert_eq!(is_known_host(url), expected, "{url}");
    }
}

#[test]
fn this_machine_is_known_in_every_spelling_and_by_no_other() {
    for (url, expected) in [
        ("http://127.0.0.1:1", true),
        ("http://127.1", true),
        ("http://0x7f000001/", true),
        ("http://LOCALHOST:1", true),
        ("https://[::1]:1/v1", true),
        ("http://[::ffff:127.0.0.1]/", false),
        ("http://0.0.0.0/", false),
        ("http://127.0.0.1.evil.example/", false),
        ("http://127.0.0.1@evil.example/", false),
        ("http://localhost.evil.example/", false),
    ] {
        assert_eq!(is_loopback_url(url), expected, "{url}");
    }
}

#[test]
fn a_name_is_lower_case_and_short() {
    for (text, expected) in [
        ("groq", true),
        ("my-lan_2", true),
        ("", false),
        ("Groq", false),
        ("a/b", false),
        ("ä", false),
        (&"a".repeat(33), false),
    ] {
        assert_eq!(Provider::parse(text).is_some(), expected, "{text}");
    }
    let lan = Provider::parse("my-lan").unwrap();
    assert_eq!(lan.base_url_variable(), "MY_LAN_BASE_URL");
}

#[test]
fn an_ollama_host_is_read_as_ollama_reads_it() {
    for (host, expected) in [
        ("", "http://127.0.0.1:11434"),
        (" gpu ", "http://gpu:11434"),
        ("gpu:1", "http://gpu:1"),
        (":1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:1", "http://127.0.0.1:1"),
        ("[::]:1", "http://[::1]:1"),
        ("[::1]", "http://[::1]:11434"),
        ("http://gpu", "http://gpu:80"),
        ("https://gpu/", "https://gpu:443"),
        ("https://gpu/ollama", "https://gpu:443/ollama"),
        ("http://gpu:1/", "http://gpu:1"),
    ] {
        assert_eq!(ollama_base_url(host), expected, "{host}");
    }
}
