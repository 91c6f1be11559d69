use super::*;

#[test]
fn a_base_url_may_leave_out_the_usual_path() {
    for (provider, base_url, expected) in [
        (
            Provider::OPENAI,
            "http://h:1",
            "http://h:1/v1/chat/completions",
        ),
        (
            Provider::OPENAI,
            "http://h:1/",
            "http://h:1/v1/chat/completions",
        ),
        (
            Provider::OPENAI,
            "http://h/v1/",
            "http://h/v1/chat/completions",
        ),
        (
            Provider::OPENAI,
            "http://h/api/x",
            "http://h/api/x/chat/completions",
        ),
        (Provider::OLLAMA, "http://h", "http://h/api/chat"),
        (Provider::OLLAMA, "http://h/v1/", "http://h/api/chat"),
        (Provider::OLLAMA, "http://h/x/api", "http://h/x/api/chat"),
        (
            Provider::OPENROUTER,
            "http://h",
            "http://h/api/v1/chat/completions",
        ),
        (Provider::ANTHROPIC, "http://h", "http://h/v1/messages"),
        (Provider::ANTHROPIC, "http://h/v1", "http://h/v1/messages"),
        (
            Provider::ANTHROPIC,
            "http://h/proxy",
            "http://h/proxy/v1/messages",
        ),
    ] {
        let settings = ProviderSettings::default();
        let choice = choice(provider, Some(base_url));
        assert_eq!(settings.destination(&choice).unwrap().url, expected);
    }
}

#[test]
fn the_usual_addresses_are_the_providers_own() {
    let settings = ProviderSettings::default();
    for (provider, expected) in [
        (
            Provider::OPENROUTER,
            "https://openrouter.ai/api/v1/chat/completions",
        ),
        (
            Provider::OPENAI,
            "https://api.openai.com/v1/chat/completions",
        ),
        (Provider::ANTHROPIC, "https://api.anthropic.com/v1/messages"),
        (Provider::OLLAMA, "http://127.0.0.1:11434/api/chat"),
    ] {
        let destination = settings.destination(&choice(provider, None)).unwrap();
        assert_eq!(
            (destination.url.as_str(), destination.is_own),
            (expected, true)
        );
    }
}

#[test]
fn the_agents_base_url_goes_before_the_environments() {
    let settings = ProviderSettings::from_env(|name| {
        (name == "OPENAI_BASE_URL").then(|| "http://env".to_owned())
    });
    let url = |base_url| {
        let choice = choice(Provider::OPENAI, base_url);
        settings.destination(&choice).unwrap().url
    };
    assert_eq!(
        url(Some("http://agent")),
        "http://agent/v1/chat/completions"
    );
    assert_eq!(url(None), "http://env/v1/chat/completions");
}

#[test]
fn the_environment_names_keys_and_an_empty_variable_is_none() {
    let settings = ProviderSettings::from_env(|name| match name {
        "OPENAI_API_KEY" => Some("sk-1\n".into()),
        "ANTHROPIC_API_KEY" => Some(" ".into()),
        "https_proxy" => Some("http://user:p%40ss@proxy:3128".into()),
        "NO_PROXY" => Some("internal.example, .example.org".into()),
        _ => None,
    });
    assert_eq!(settings.keys.len(), 1);
    assert_eq!(settings.keys[&Provider::OPENAI].reveal(), "sk-1");
    assert!(settings.proxies.http.is_none());
    let proxy = settings.proxies.https.unwrap();
    assert_eq!((proxy.host(), proxy.port()), ("proxy", 3128));
    assert_eq!(
        (proxy.username(), proxy.password()),
        (Some("user"), Some("p@ss"))
    );
    assert!(proxy.is_no_proxy(&"http://internal.example/v1".parse().unwrap()));
    assert!(proxy.is_no_proxy(&"http://a.example.org/v1".parse().unwrap()));
    assert!(!proxy.is_no_proxy(&"http://api.openai.com/v1".parse().unwrap()));
}

/// What becomes of a key of `provider` at an agent's `base_url`.
fn key_at(settings: &ProviderSettings, provider: &str, base_url: Option<&str>) -> &'static str {
    let choice = choice(Provider::parse(provider).unwrap(), base_url);
    let destination = settings.destination(&choice).unwrap();
    match settings.key(&choice, &destination) {
        Ok(KeyUse::Sent(_)) => "sent",
        Ok(KeyUse::None) => "none",
        Ok(KeyUse::Withheld(Withheld::NotNamed)) => "not named",
        Ok(KeyUse::Withheld(Withheld::Unencrypted)) => "unencrypted",
        Ok(KeyUse::Withheld(Withheld::SeenByProxy)) => "proxy",
        Err(_) => "missing",
    }
}

fn with_keys(variables: &[(&str, &str)]) -> ProviderSettings {
    ProviderSettings::from_env(|name| {
        let named = variables.iter().find(|(known, _)| *known == name);
        let value = named.map(|(_, value)| (*value).to_owned());
        value.or_else(|| name.ends_with("_API_KEY").then(|| "sk-1".to_owned()))
    })
}

#[test]
fn a_key_goes_to_its_providers_own_host_and_not_where_an_agent_likes() {
    let settings = with_keys(&[]);
    for (base_url, expected) in [
        (None, "sent"),
        (Some("https://api.openai.com"), "sent"),
        (Some("https://API.openai.com:443/v2"), "sent"),
        (Some("https://us.api.openai.com/v1"), "sent"),
        // The name before the `@` is no host, nor the other way round.
        (Some("https://evil.example@api.openai.com/v1"), "sent"),
        (Some("https://api.openai.com@evil.example/v1"), "not named"),
        (Some("http://api.openai.com/v1"), "not named"),
        (Some("https://api.openai.com:8443/v1"), "not named"),
        (Some("https://api.openai.com./v1"), "not named"),
        (Some("https://api.openai.com.evil.example/v1"), "not named"),
        (Some("https://api.anthropic.com/v1"), "not named"),
        (Some("https://openrouter.ai/api/v1"), "not named"),
        (Some("https://evil.example//api.openai.com/"), "not named"),
        (Some("http://127.0.0.1:8000/v1"), "not named"),
        (Some("http://localhost:8000/v1"), "not named"),
        (Some("http://[::1]:8000/v1"), "not named"),
    ] {
        assert_eq!(
            key_at(&settings, "openai", base_url),
            expected,
            "{base_url:?}"
        );
    }
}

#[test]
fn what_the_environment_names_gets_the_key_of_that_provider_alone() {
    let settings = with_keys(&[
        ("OPENAI_BASE_URL", "http://10.0.0.5:8000/v1"),
        ("ANTHROPIC_BASE_URL", "https://llm.example"),
        ("AZURE_BASE_URL", "https://mine.openai.azure.com/openai/v1"),
    ]);
    for (provider, base_url, expected) in [
        ("openai", None, "sent"),
        ("openai", Some("http://10.0.0.5:8000/other"), "sent"),
        ("openai", Some("https://api.openai.com/v1"), "sent"),
        ("openai", Some("https://10.0.0.5:8000/v1"), "not named"),
        ("openai", Some("http://10.0.0.5:8001/v1"), "not named"),
        ("openai", Some("http://10.0.0.5/v1"), "not named"),
        ("openai", Some("https://llm.example/"), "not named"),
        ("anthropic", None, "sent"),
        ("anthropic", Some("https://llm.example:443"), "sent"),
        ("anthropic", Some("http://llm.example"), "not named"),
        ("azure", None, "sent"),
        (
            "azure",
            Some("https://other.openai.azure.com/openai/v1"),
            "not named",
        ),
        ("groq", None, "sent"),
        ("ollama", None, "sent"),
        ("ollama", Some("http://127.0.0.1:1"), "not named"),
    ] {
        assert_eq!(
            key_at(&settings, provider, base_url),
            expected,
            "{provider} {base_url:?}"
        );
    }
}

#[test]
fn what_the_file_says_of_a_provider_holds_for_its_key() {
    let mut settings = with_keys(&[]);
    let mut describe = |name: &str, base_url: &str, allow_http| {
        let provider = Provider::parse(name).unwrap();
        settings.keys.insert(provider.clone(), Secret::new("sk-1"));
        let described = Described {
            base_url: Some(Secret::new(base_url)),
            allow_http,
            ..Described::default()
        };
        settings.described.insert(provider, described);
    };
    describe("office", "https://llm.example/v1", false);
    describe("lan", "http://10.0.0.5:8000/v1", true);
    describe("closed", "http://10.0.0.6:8000/v1", false);
    describe("here", "http://127.0.0.1:9/v1", false);
    describe("openai", "https://llm.example/v1", false);
    for (url, expected) in [
        ("https://llm.example:443/other", true),
        ("http://10.0.0.6:8000", true),
        ("http://llm.example", false),
        ("https://evil.example", false),
    ] {
        assert_eq!(settings.names_host(url), expected, "{url}");
    }
    for (provider, base_url, expected) in [
        ("office", None, "sent"),
        ("office", Some("https://llm.example"), "sent"),
        ("office", Some("https://other.example"), "not named"),
        ("office", Some("http://127.0.0.1:9/v1"), "not named"),
        ("lan", None, "sent"),
        ("lan", Some("http://10.0.0.5:8001/v1"), "not named"),
        ("closed", None, "unencrypted"),
        ("here", None, "sent"),
        ("openai", None, "sent"),
        // The key is now that of another place.
        ("openai", Some("https://api.openai.com/v1"), "not named"),
    ] {
        assert_eq!(
            key_at(&settings, provider, base_url),
            expected,
            "{provider} {base_url:?}"
        );
    }
}

#[test]
fn a_proxy_sees_no_key() {
    let settings = with_keys(&[
        ("ALL_PROXY", "http://proxy:3128"),
        ("NO_PROXY", "10.0.0.6"),
        ("OPENAI_BASE_URL", "http://10.0.0.5:8000/v1"),
        ("XAI_BASE_URL", "http://10.0.0.6:8000/v1"),
        ("MISTRAL_BASE_URL", "http://127.0.0.1:9/v1"),
    ]);
    for (provider, expected, is_proxied) in [
        ("groq", "sent", true),
        ("openai", "proxy", true),
        ("xai", "sent", false),
        ("mistral", "sent", false),
    ] {
        assert_eq!(key_at(&settings, provider, None), expected, "{provider}");
        let choice = choice(Provider::parse(provider).unwrap(), None);
        let destination = settings.destination(&choice).unwrap();
        assert_eq!(destination.proxy.is_some(), is_proxied, "{provider}");
    }
}

#[test]
fn every_known_provider_is_asked_at_its_address_with_its_variables() {
    for known in KNOWN.iter().filter(|known| known.base_url.is_some()) {
        let choice = choice(known.provider(), None);
        for variable in known.key_variables {
            let settings =
                ProviderSettings::from_env(|name| (name == *variable).then(|| "sk-1".to_owned()));
            assert_eq!(key_at(&settings, known.name, None), "sent", "{variable}");
            assert_eq!(settings.obstacle(&choice), None);
        }
        let without = ProviderSettings::default();
        let expected = if known.needs_key { "missing" } else { "none" };
        assert_eq!(key_at(&without, known.name, None), expected);
        let said = without.obstacle(&choice);
        let names_it = said.is_some_and(|said| said.contains(known.key_variables[0]));
        assert_eq!(names_it, known.needs_key, "{}", known.name);
    }
    let azure = choice(Provider::parse("azure").unwrap(), None);
    let said = ProviderSettings::default().obstacle(&azure).unwrap();
    assert!(said.contains("AZURE_BASE_URL"), "{said}");
}

#[test]
fn an_address_that_cannot_be_read_is_told_by_where_it_stands() {
    let settings = with_keys(&[
        ("XAI_BASE_URL", "api.example:hunter2"),
        ("GROQ_BASE_URL", "me:hunter2@api.example"),
    ]);
    for (provider, base_url, expected) in [
        ("xai", None, "XAI_BASE_URL"),
        ("groq", None, "GROQ_BASE_URL"),
        ("groq", Some("http://:hunter2"), "`base_url`"),
    ] {
        let choice = choice(Provider::parse(provider).unwrap(), base_url);
        let said = settings.obstacle(&choice).unwrap();
        let start = format!("{provider} has no address: {expected} ");
        assert!(
            said.starts_with(&start) && !said.contains("hunter2"),
            "{said}"
        );
    }
}

#[test]
fn a_base_url_keeps_its_query() {
    let settings = ProviderSettings::default();
    let url = "https://mine.example/openai?api-version=1#x";
    let destination = settings.destination(&choice(Provider::OPENAI, Some(url)));
    assert_eq!(
        destination.unwrap().url,
        "https://mine.example/openai/chat/completions?api-version=1"
    );
}

fn choice(provider: Provider, base_url: Option<&str>) -> ModelChoice {
    ModelChoice {
        provider,
        name: "m1".into(),
        base_url: base_url.map(str::to_owned),
        settings: Default::default(),
    }
}
