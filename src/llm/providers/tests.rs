use super::*;

#[test]
fn a_base_url_may_leave_out_the_usual_path() {
    for (provider, base_url, expected) in [
        (
            Provider::OpenAi,
            "http://h:1",
            "http://h:1/v1/chat/completions",
        ),
        (
            Provider::OpenAi,
            "http://h:1/",
            "http://h:1/v1/chat/completions",
        ),
        (
            Provider::OpenAi,
            "http://h/v1/",
            "http://h/v1/chat/completions",
        ),
        (
            Provider::OpenAi,
            "http://h/api/x",
            "http://h/api/x/chat/completions",
        ),
        (Provider::Ollama, "http://h", "http://h/v1/chat/completions"),
        (
            Provider::OpenRouter,
            "http://h",
            "http://h/api/v1/chat/completions",
        ),
        (Provider::Anthropic, "http://h", "http://h/v1/messages"),
        (Provider::Anthropic, "http://h/v1", "http://h/v1/messages"),
        (
            Provider::Anthropic,
            "http://h/proxy",
            "http://h/proxy/v1/messages",
        ),
    ] {
        assert_eq!(
            endpoint_url(provider, base_url),
            expected,
            "{provider} {base_url}"
        );
    }
}

#[test]
fn the_usual_addresses_are_the_providers_own() {
    let settings = ProviderSettings::default();
    for (provider, expected) in [
        (
            Provider::OpenRouter,
            "https://openrouter.ai/api/v1/chat/completions",
        ),
        (
            Provider::OpenAi,
            "https://api.openai.com/v1/chat/completions",
        ),
        (Provider::Anthropic, "https://api.anthropic.com/v1/messages"),
        (
            Provider::Ollama,
            "http://127.0.0.1:11434/v1/chat/completions",
        ),
    ] {
        let endpoint = settings.endpoint(&choice(provider, None));
        assert_eq!((endpoint.url.as_str(), endpoint.is_usual), (expected, true));
    }
}

#[test]
fn the_agents_base_url_goes_before_the_environments() {
    let settings = ProviderSettings::from_env(|name| {
        (name == "OPENAI_BASE_URL").then(|| "http://env".to_owned())
    });
    let url = |base_url| settings.endpoint(&choice(Provider::OpenAi, base_url)).url;
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
    assert_eq!(settings.keys[&Provider::OpenAi].reveal(), "sk-1");
    let proxy = settings.proxy.unwrap();
    assert_eq!((proxy.host(), proxy.port()), ("proxy", 3128));
    assert_eq!(
        (proxy.username(), proxy.password()),
        (Some("user"), Some("p@ss"))
    );
    assert!(proxy.is_no_proxy(&"http://internal.example/v1".parse().unwrap()));
    assert!(proxy.is_no_proxy(&"http://a.example.org/v1".parse().unwrap()));
    assert!(!proxy.is_no_proxy(&"http://api.openai.com/v1".parse().unwrap()));
}

#[test]
fn only_loopback_is_local() {
    for (url, expected) in [
        ("http://127.0.0.1:11434/v1", true),
        ("http://127.9.9.9", true),
        ("http://[::1]:1/v1", true),
        ("http://localhost:1", true),
        ("http://192.168.1.2", false),
        ("http://localhost.example.com", false),
        ("https://api.openai.com/v1", false),
    ] {
        assert_eq!(is_local(url), expected, "{url}");
    }
}

fn choice(provider: Provider, base_url: Option<&str>) -> ModelChoice {
    ModelChoice {
        provider,
        name: "m1".into(),
        base_url: base_url.map(str::to_owned),
    }
}
