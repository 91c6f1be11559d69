//! `duragent.yaml`: defaults, precedence, and what is said about mistakes.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use duragent::base::yaml::{Level, Position};
use duragent::config::*;
use duragent::domain::ids::{AgentName, GatewayName};
use duragent::domain::prices::{Price, Prices};
use duragent::domain::providers::{Described, Dialect, KeySource, Provider};
use duragent::domain::secret::Secret;
use log::LevelFilter;
use proptest::prelude::*;
use tempfile::TempDir;

/// A folder with a configuration file.
struct Folder(TempDir);

impl Folder {
    fn with(text: &str) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("duragent.yaml"), text).unwrap();
        Folder(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self) -> PathBuf {
        self.path().join("duragent.yaml")
    }

    fn origin(&self) -> ConfigSource {
        ConfigSource::File(self.file())
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        Config::load(&self.origin(), &Overrides::default(), &environment)
    }

    /// What is said at load, without the path of the folder.
    fn said(&self) -> Vec<String> {
        let problems = match self.load() {
            Ok(loaded) => loaded.warnings,
            Err(error) => error.problems,
        };
        let folder = format!("{}/", self.path().display());
        let said = |one: &duragent::base::yaml::Problem| one.to_string().replace(&folder, "");
        problems.iter().map(said).collect()
    }
}

fn environment(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("hunter2".to_owned()),
        "PORT" => Some("9000".to_owned()),
        _ => None,
    }
}

fn defaults(folder: &Path, file: Option<PathBuf>) -> Config {
    Config {
        file,
        workspace: folder.join(".duragent"),
        agents_dir: folder.join(".duragent/agents"),
        sessions_dir: folder.join(".duragent/sessions"),
        world_memory_dir: folder.join(".duragent/memory/world"),
        server: ServerConfig {
            host: Ipv4Addr::LOCALHOST.into(),
            port: 8080,
            api_token: None,
            admin_token: None,
            local_users: LocalUsers::OwnerAnd(Vec::new()),
            allowed_hosts: Vec::new(),
            workdirs: Vec::new(),
            allowed_origins: Vec::new(),
            min_free_bytes: 64 << 20,
            request_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(60),
            keep_alive_interval: Duration::from_secs(15),
            max_connections: 1024,
            max_body_bytes: 1_048_576,
            shutdown_grace: Duration::from_secs(10),
        },
        sessions: SessionsConfig {
            ttl_hours: Some(168),
            max_active: 1024,
            delete_after_hours: None,
        },
        limits: LimitsConfig {
            reply_bytes: 8 << 20,
        },
        gateways: GatewaysConfig::default(),
        routes: Vec::new(),
        providers: BTreeMap::new(),
        prices: Prices::default(),
        sandbox: SandboxConfig::default(),
        web: WebConfig::default(),
        logging: LoggingConfig {
            level: LevelFilter::Info,
            format: LogFormat::Pretty,
            file: None,
        },
    }
}

fn gateway(name: &str) -> GatewayName {
    GatewayName::parse(name).unwrap()
}

#[test]
fn an_empty_file_is_the_defaults() {
    for text in ["", "# nothing\n", "server:\nsessions: {}\nlogging: ~\n"] {
        let folder = Folder::with(text);
        let loaded = folder.load().unwrap();
        assert_eq!(
            loaded.config,
            defaults(folder.path(), Some(folder.file())),
            "{text}"
        );
        assert_eq!(loaded.warnings, [], "{text}");
    }
}

#[test]
fn without_a_file_the_defaults_lie_in_the_folder() {
    let here = std::env::current_dir().unwrap();
    for (folder, expected) in [
        (Path::new("/some/where"), Path::new("/some/where")),
        (Path::new(""), &here),
    ] {
        // Whatever lies in the current folder: a file counts only where it is named.
        let origin = ConfigSource::Defaults(folder.to_owned());
        let loaded = Config::load(&origin, &Overrides::default(), &|_| None).unwrap();
        assert_eq!(loaded.config, defaults(expected, None));
    }
}

#[test]
fn a_file_that_was_named_must_exist() {
    let folder = Folder::with("");
    let path = folder.path().join("other.yaml");
    let error = Config::load(
        &ConfigSource::File(path.clone()),
        &Overrides::default(),
        &|_| None,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{}: does not exist", path.display())
    );
}

const EVERYTHING: &str = r#"
workspace: data
agents_dir: ../agents
services: {session: {path: /var/sessions}}
world_memory: {path: world}
server:
  host: "::1"
  port: ${PORT}
  api_token: ${TOKEN}
  admin_token: admin-${TOKEN}
  local_users: [root, 1234]
  allowed_hosts: [duragent.local]
  workdirs: [code, /srv/code]
  allowed_origins: ["https://example.org:8443"]
  min_free_mb: 1
  request_timeout_seconds: 2
  idle_timeout_seconds: 3
  keep_alive_interval_seconds: 4
  max_connections: 5
  max_body_bytes: 4096
  shutdown_grace_seconds: 6
sessions: {ttl_hours: 1, max_active: 2, delete_after_hours: 3}
limits: {reply_bytes: 4096}
gateways:
  telegram: {enabled: true, bot_token: "1:${TOKEN}", api_url: "http://localhost:8081"}
  external:
    - {name: discord, command: ./bin/discord, args: [--token, "${TOKEN}"], env: {KEY: "${TOKEN}"}, restart: on_failure}
    - {name: irc, command: irc-gateway}
routes:
  - {match: {gateway: telegram, chat_type: dm, topic: "7"}, agent: ada}
  - {match: {}, agent: bob}
sandbox: {mode: bubblewrap, network: true, writable: [out], env: [CI], memory_mb: 64, cpu_seconds: 5, image: debian}
logging: {level: debug, format: json, file: duragent.log}
web: {proxy: "http://me:${TOKEN}@proxy:3128", allow_addresses: [127.0.0.1, 10.0.0.0/8, "fd00::/8"]}
providers:
  groq: {api_key_env: OTHER_GROQ_KEY}
  lan: {dialect: openai, base_url: "http://me:${TOKEN}@10.0.0.5:8000/v1", api_key_file: ./lan.key, allow_http: true}
  claude-proxy: {dialect: anthropic, base_url: "https://llm.example", api_key_command: [./key, "${TOKEN}"], headers: {X-Team: "blue ${TOKEN}"}, query: {api-version: "2024-10-21"}, ca_file: ./ca.pem, tool_text: true}
prices:
  "groq/*": {input: 1, output: 2.5}
  groq/llama: {input: 1, cached: 0.1, output: 2}
compaction: later
"#;

#[test]
fn every_key_ends_up_in_the_configuration() {
    let folder = Folder::with(EVERYTHING);
    let authority = include_str!("../data/tls/ca.pem");
    fs::write(folder.path().join("ca.pem"), authority).unwrap();
    let home = folder.path();
    let secret = |text: &str| Secret::new(text);
    let at = |line, column| Position { line, column };
    let words = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
        pairs.iter().map(owned).collect()
    };
    let config = folder.load().unwrap().config;
    assert_eq!(
        config,
        Config {
            file: Some(folder.file()),
            workspace: home.join("data"),
            agents_dir: home.join("../agents"),
            sessions_dir: "/var/sessions".into(),
            world_memory_dir: home.join("world"),
            server: ServerConfig {
                host: Ipv6Addr::LOCALHOST.into(),
                port: 9000,
                api_token: Some(secret("hunter2")),
                admin_token: Some(secret("admin-hunter2")),
                local_users: LocalUsers::OwnerAnd(vec![0, 1234]),
                allowed_hosts: vec!["duragent.local".to_owned()],
                workdirs: vec![home.join("code"), "/srv/code".into()],
                allowed_origins: vec!["https://example.org:8443".to_owned()],
                min_free_bytes: 1 << 20,
                request_timeout: Duration::from_secs(2),
                idle_timeout: Duration::from_secs(3),
                keep_alive_interval: Duration::from_secs(4),
                max_connections: 5,
                max_body_bytes: 4096,
                shutdown_grace: Duration::from_secs(6),
            },
            sessions: SessionsConfig {
                ttl_hours: Some(1),
                max_active: 2,
                delete_after_hours: Some(3),
            },
            limits: LimitsConfig { reply_bytes: 4096 },
            gateways: GatewaysConfig {
                transcribe: None,
                telegram: vec![Telegram {
                    name: gateway("telegram"),
                    agent: None,
                    bot_token: secret("1:hunter2"),
                    api_url: Some("http://localhost:8081".to_owned()),
                    place: at(25, 13),
                }],
                external: vec![
                    ExternalGateway {
                        name: gateway("discord"),
                        command: home.join("bin/discord"),
                        args: vec![secret("--token"), secret("hunter2")],
                        env: BTreeMap::from([("KEY".to_owned(), secret("hunter2"))]),
                        restart: Restart::OnFailure,
                        place: at(27, 7),
                    },
                    ExternalGateway {
                        name: gateway("irc"),
                        command: "irc-gateway".into(),
                        args: Vec::new(),
                        env: BTreeMap::new(),
                        restart: Restart::OnFailure,
                        place: at(28, 7),
                    },
                ],
            },
            routes: vec![
                RouteConfig {
                    conditions: words(&[
                        ("gateway", "telegram"),
                        ("chat_type", "dm"),
                        ("topic", "7")
                    ]),
                    agent: AgentName::parse("ada").unwrap(),
                    place: at(30, 68),
                },
                RouteConfig {
                    conditions: BTreeMap::new(),
                    agent: AgentName::parse("bob").unwrap(),
                    place: at(31, 24),
                },
            ],
            providers: [
                (
                    "groq",
                    Described {
                        key: Some(KeySource::Variable("OTHER_GROQ_KEY".to_owned())),
                        ..Described::default()
                    },
                ),
                (
                    "lan",
                    Described {
                        dialect: Some(Dialect::OpenAi),
                        base_url: Some(secret("http://me:hunter2@10.0.0.5:8000/v1")),
                        key: Some(KeySource::File(home.join("lan.key"))),
                        allow_http: true,
                        ..Described::default()
                    },
                ),
                (
                    "claude-proxy",
                    Described {
                        dialect: Some(Dialect::Anthropic),
                        base_url: Some(secret("https://llm.example")),
                        key: Some(KeySource::Command {
                            program: home.join("key"),
                            args: vec![secret("hunter2")],
                        }),
                        allow_http: false,
                        headers: [("x-team".to_owned(), secret("blue hunter2"))].into(),
                        query: [("api-version".to_owned(), secret("2024-10-21"))].into(),
                        ca_file: Some(home.join("ca.pem")),
                        tool_text: Some(true),
                    },
                ),
            ]
            .map(|(name, described)| (Provider::parse(name).unwrap(), described))
            .into(),
            prices: Prices::new(
                [("groq/*", 1.0, 2.5), ("groq/llama", 0.1, 2.0)]
                    .map(|(label, cached, output)| {
                        let input = 1.0;
                        let price = Price {
                            input,
                            cached,
                            output,
                        };
                        (label.to_owned(), price)
                    })
                    .into()
            ),
            sandbox: SandboxConfig {
                mode: SandboxMode::Bubblewrap,
                network: true,
                writable: vec![home.join("out")],
                env: vec!["CI".to_owned()],
                memory_bytes: 64 << 20,
                cpu_seconds: Some(5),
                image: Some("debian".to_owned()),
            },
            web: WebConfig {
                proxy: Some(secret("http://me:hunter2@proxy:3128")),
                allow_addresses: ["127.0.0.1", "10.0.0.0/8", "fd00::/8"]
                    .map(|range| range.parse().unwrap())
                    .into(),
            },
            logging: LoggingConfig {
                level: LevelFilter::Debug,
                format: LogFormat::Json,
                file: Some(home.join("duragent.log")),
            },
        }
    );
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(
        folder.said(),
        ["duragent.yaml:42:13: `compaction` has no effect yet",]
    );
}

#[test]
fn where_the_web_tool_may_go_is_checked() {
    let folder = Folder::with(
        "web:\n  proxi: x\n  proxy: socks5://p\n  allow_addresses:\n    - localhost\n    - 10.0.0.1/8\n    - ::1\n",
    );
    let rule =
        "must be an IP address, or the first of a network and its length, such as `10.0.0.0/8`";
    assert_eq!(
        folder.said(),
        [
            "duragent.yaml:2:3: unknown key `web.proxi`; did you mean `proxy`?".to_owned(),
            "duragent.yaml:3:10: `web.proxy` must be like `http://proxy.example.org:3128`, without a path"
                .to_owned(),
            format!("duragent.yaml:5:7: `web.allow_addresses[0]` {rule}"),
            format!("duragent.yaml:6:7: `web.allow_addresses[1]` {rule}"),
        ]
    );
    assert!(folder.load().is_err());
    for wrong in ["proxy:3128", "http://p/path", "ftp://p", "p"] {
        let folder = Folder::with(&format!("web: {{proxy: \"{wrong}\"}}\n"));
        assert!(folder.load().is_err(), "{wrong}");
    }
}

#[test]
fn what_is_said_of_a_provider_is_checked() {
    let folder = Folder::with(
        "providers:\n  Lan: {base_url: \"http://h\"}\n  echo: {}\n  a: {}\n  \
         b: {base_url: \"ftp://h\", dialect: openapi, api_key: x}\n  \
         c: {base_url: \"http://h/v1\", api_key_env: sk-proj-hunter2}\n  \
         d: {base_url: \"http://h/v1\", api_key_env: PLACE}\n  \
         e: {base_url: \"http://h/v1\", api_key_env: A_KEY, api_key_file: x}\n  \
         f: {base_url: \"http://h/v1\", api_key_env: A_KEY}\n",
    );
    let name = "is no name for a provider: 1 to 32 lower-case letters, digits, `-` and `_`, and not `echo`";
    let variable = "must be the name of a variable, not the key itself, and end in `_KEY`, `_TOKEN` or `_SECRET`: so the programs of tools do not get it";
    assert_eq!(
        folder.said(),
        [
            format!("duragent.yaml:2:8: `providers.Lan` {name}"),
            format!("duragent.yaml:3:9: `providers.echo` {name}"),
            "duragent.yaml:4:6: `providers.a.base_url` is missing".to_owned(),
            "duragent.yaml:5:17: `providers.b.base_url` must be an address that begins with `http://` or `https://`".to_owned(),
            "duragent.yaml:5:37: `providers.b.dialect` must be one of `openai`, `responses`, `anthropic`, `ollama`, not `openapi`; did you mean `openai`?".to_owned(),
            "duragent.yaml:5:46: unknown key `providers.b.api_key`".to_owned(),
            format!("duragent.yaml:6:45: `providers.c.api_key_env` {variable}"),
            format!("duragent.yaml:7:45: `providers.d.api_key_env` {variable}"),
            "duragent.yaml:8:66: `providers.e.api_key_file` stands beside `api_key_env`: one of them is enough".to_owned(),
            "duragent.yaml:9:17: `providers.f.base_url` is not encrypted: the key is not sent there without `allow_http: true`".to_owned(),
        ]
    );
    assert!(folder.load().is_err());
}

#[test]
fn what_a_provider_is_sent_is_checked() {
    let folder = Folder::with(
        "providers:\n  \
         a: {base_url: \"https://h\", api_key_command: op read}\n  \
         b: {base_url: \"https://h\", api_key_command: []}\n  \
         c: {base_url: \"https://h\", api_key_command: [\"\"]}\n  \
         d: {base_url: \"https://h\", api_key_env: A_KEY, api_key_file: x, api_key_command: [x]}\n  \
         e: {base_url: \"https://h\", headers: {\"X Y\": a, Host: b, Content-Type: c, X-A: d, x-a: e, X-B: ü}}\n  \
         f: {base_url: \"http://h\", headers: {X-A: b}}\n  \
         g: {base_url: \"https://h\", headers: [x], query: y, ca_file: [], tool_text: maybe}\n  \
         h: {base_url: \"https://h\", ca_file: ./none.pem}\n  \
         i: {base_url: \"https://h\", ca_file: duragent.yaml}\n",
    );
    assert_eq!(
        folder.said(),
        [
            "duragent.yaml:2:47: `providers.a.api_key_command` must be a list, not a text",
            "duragent.yaml:3:47: `providers.b.api_key_command` must be a program and its arguments",
            "duragent.yaml:4:47: `providers.c.api_key_command` must be a program and its arguments",
            "duragent.yaml:5:64: `providers.d.api_key_file` stands beside `api_key_env`: one of them is enough",
            "duragent.yaml:5:84: `providers.d.api_key_command` stands beside `api_key_env`: one of them is enough",
            "duragent.yaml:6:47: `providers.e.headers.X Y` is the value of a header whose name is none",
            "duragent.yaml:6:56: `providers.e.headers.Host` is the value of a header that cannot be set here",
            "duragent.yaml:6:73: `providers.e.headers.Content-Type` is the value of a header that cannot be set here",
            "duragent.yaml:6:89: `providers.e.headers.x-a` is another value of the same header",
            "duragent.yaml:6:97: `providers.e.headers.X-B` must be visible ASCII characters",
            "duragent.yaml:7:17: `providers.f.base_url` is not encrypted: no `headers` and no `query` are sent there without `allow_http: true`",
            "duragent.yaml:8:39: `providers.g.headers` must be a mapping, not a list",
            "duragent.yaml:8:51: `providers.g.query` must be a mapping, not a text",
            "duragent.yaml:8:63: `providers.g.ca_file` must be a text, not a list",
            "duragent.yaml:8:78: `providers.g.tool_text` must be `true` or `false`, not a text",
            "duragent.yaml:9:39: `providers.h.ca_file` names the file ./none.pem, which cannot be read",
            "duragent.yaml:10:39: `providers.i.ca_file` names the file duragent.yaml, which holds no certificate",
        ]
    );
}

#[test]
fn what_models_cost_is_checked() {
    let folder = Folder::with(
        "prices:\n  openai: {input: 1, output: 1}\n  openai/*-mini: {input: 1, output: 1}\n  \
         a/b: {input: -1, output: 1}\n  a/c: {input: 1}\n  a/d: {input: .nan, output: 1, cahced: 1}\n  a/e: 5\n",
    );
    let label = "is no model: `provider/name`, or the beginning of some with a `*` at its end";
    assert_eq!(
        folder.said(),
        [
            format!("duragent.yaml:2:11: `prices.openai` {label}"),
            format!("duragent.yaml:3:18: `prices.openai/*-mini` {label}"),
            "duragent.yaml:4:16: `prices.a/b.input` must be from 0 to 1000000000, not -1"
                .to_owned(),
            "duragent.yaml:5:8: `prices.a/c.output` is missing".to_owned(),
            "duragent.yaml:6:16: `prices.a/d.input` must be from 0 to 1000000000, not NaN"
                .to_owned(),
            "duragent.yaml:6:33: unknown key `prices.a/d.cahced`; did you mean `cached`?"
                .to_owned(),
            "duragent.yaml:7:8: `prices.a/e` must be a mapping, not a number".to_owned(),
        ]
    );
}

#[test]
fn a_flag_comes_before_the_environment_the_file_and_the_default() {
    let folder = Folder::with(
        "workspace: w\nagents_dir: a\nserver: {host: 127.0.0.3, port: 3}\nlogging: {level: error}",
    );
    let empty = Folder::with("");
    let flags = Overrides {
        workspace: Some("/flag/w".into()),
        agents_dir: Some("/flag/a".into()),
        host: Some(Ipv4Addr::LOCALHOST.into()),
        port: Some(1),
        log_level: Some(LevelFilter::Trace),
    };
    let variables = |name: &str| match name {
        "DURAGENT_WORKSPACE" => Some("/env/w".to_owned()),
        "DURAGENT_AGENTS_DIR" => Some("/env/a".to_owned()),
        "DURAGENT_HOST" => Some("127.0.0.2".to_owned()),
        "DURAGENT_PORT" => Some("2".to_owned()),
        "DURAGENT_LOG_LEVEL" => Some("debug".to_owned()),
        _ => None,
    };
    let none = Overrides::default();
    let no_variables = |_: &str| None;
    // A variable that is set to nothing says nothing.
    let empty_variables = |_: &str| Some(String::new());
    let seen = |file: &Folder, flags: &Overrides, environment: &dyn Fn(&str) -> Option<String>| {
        let config = Config::load(&file.origin(), flags, environment)
            .unwrap()
            .config;
        (
            config.workspace,
            config.agents_dir,
            config.server.host,
            config.server.port,
            config.logging.level,
        )
    };
    let of = |workspace: PathBuf, agents: PathBuf, host: [u8; 4], port, level| {
        (workspace, agents, IpAddr::from(host), port, level)
    };
    assert_eq!(
        seen(&folder, &flags, &variables),
        of(
            "/flag/w".into(),
            "/flag/a".into(),
            [127, 0, 0, 1],
            1,
            LevelFilter::Trace
        )
    );
    assert_eq!(
        seen(&folder, &none, &variables),
        of(
            "/env/w".into(),
            "/env/a".into(),
            [127, 0, 0, 2],
            2,
            LevelFilter::Debug
        )
    );
    let (w, a) = (folder.path().join("w"), folder.path().join("a"));
    for nothing in [
        &no_variables as &dyn Fn(&str) -> Option<String>,
        &empty_variables,
    ] {
        assert_eq!(
            seen(&folder, &none, nothing),
            of(w.clone(), a.clone(), [127, 0, 0, 3], 3, LevelFilter::Error)
        );
    }
    let usual = empty.path().join(".duragent");
    assert_eq!(
        seen(&empty, &none, &no_variables),
        of(
            usual.clone(),
            usual.join("agents"),
            [127, 0, 0, 1],
            8080,
            LevelFilter::Info
        )
    );
}

#[test]
fn a_variable_that_makes_no_sense_is_an_error() {
    let folder = Folder::with("");
    for (variable, value, expected) in [
        (
            "DURAGENT_PORT",
            "65536",
            "environment variable DURAGENT_PORT: must be a port from 0 to 65535",
        ),
        (
            "DURAGENT_HOST",
            "example.org",
            "environment variable DURAGENT_HOST: must be an IP address or `localhost`",
        ),
        (
            "DURAGENT_LOG_LEVEL",
            "loud",
            "environment variable DURAGENT_LOG_LEVEL: must be one of `off`, `error`, `warn`, `info`, `debug`, `trace`",
        ),
    ] {
        let environment = |name: &str| (name == variable).then(|| value.to_owned());
        let error =
            Config::load(&folder.origin(), &Overrides::default(), &environment).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_port_that_others_reach_needs_a_token() {
    for (text, expected) in [
        (
            "server: {host: 0.0.0.0}",
            vec![
                "duragent.yaml: 0.0.0.0 can be reached by others, so `server.api_token` must be set; add `server.api_token`, or listen on 127.0.0.1",
            ],
        ),
        (
            "server: {host: '[::]', api_token: '${NONE:-}'}",
            vec![
                "duragent.yaml: :: can be reached by others, so `server.api_token` must be set; add `server.api_token`, or listen on 127.0.0.1",
            ],
        ),
        (
            "server: {host: 0.0.0.0, api_token: x}",
            vec![
                "duragent.yaml: what is sent to and from 0.0.0.0 is not encrypted: TLS is a proxy's work",
            ],
        ),
        ("server: {host: localhost}", vec![]),
        ("server: {host: 127.1.2.3}", vec![]),
    ] {
        assert_eq!(Folder::with(text).said(), expected, "{text}");
    }
    let flags = Overrides {
        host: Some(Ipv4Addr::UNSPECIFIED.into()),
        ..Overrides::default()
    };
    assert!(Config::load(&ConfigSource::default(), &flags, &|_| None).is_err());
}

#[test]
fn every_mistake_is_told_with_its_place() {
    for (text, expected) in [
        (
            "agent_dir: x",
            vec!["duragent.yaml:1:1: unknown key `agent_dir`; did you mean `agents_dir`?"],
        ),
        (
            "server:\n  prot: 80\n  port: 65536",
            vec![
                "duragent.yaml:2:3: unknown key `server.prot`; did you mean `port`?",
                "duragent.yaml:3:9: `server.port` must be from 0 to 65535, not 65536",
            ],
        ),
        (
            "sandbox:\n  writable: [a/b, a, ab, .duragent/agents/ada, a/./b/c]\n  env: [A=1, _B2]",
            vec![
                "duragent.yaml:2:14: `sandbox.writable[0]` is left out: it lies in a",
                "duragent.yaml:2:26: `sandbox.writable[3]` is an agent's own folder, which holds its policy: name one in it",
                "duragent.yaml:2:48: `sandbox.writable[4]` is left out: it lies in a/b",
                "duragent.yaml:3:9: `sandbox.env[0]` must be the name of a variable",
            ],
        ),
        (
            "server: {host: example.org}",
            vec!["duragent.yaml:1:16: `server.host` must be an IP address or `localhost`"],
        ),
        (
            "server: {api_token: a b}",
            vec![
                "duragent.yaml:1:21: `server.api_token` must be visible ASCII characters without spaces",
            ],
        ),
        (
            "server: {allowed_origins: ['*', https://a.b/], allowed_hosts: ['http://x']}",
            vec![
                "duragent.yaml:1:28: `server.allowed_origins[0]` must be like `https://example.org`, without a path",
                "duragent.yaml:1:33: `server.allowed_origins[1]` must be like `https://example.org`, without a path",
                "duragent.yaml:1:64: `server.allowed_hosts[0]` must be a host's name alone",
            ],
        ),
        (
            "server: {local_users: [root, no such one, 65534]}",
            vec![
                "duragent.yaml:1:30: `server.local_users[1]` names no account of /etc/passwd; one of elsewhere can be given by its number",
                "duragent.yaml:1:43: `server.local_users[2]` stands for every account that this system has no number for, and is never let in",
            ],
        ),
        (
            "server: {local_users: all}",
            vec![
                "duragent.yaml:1:23: `server.local_users` must be `owner`, `any`, or a list of accounts",
            ],
        ),
        (
            "server: {local_users: {a: b}}",
            vec![
                "duragent.yaml:1:23: `server.local_users` must be a text or a list, not a mapping",
            ],
        ),
        (
            "server: {request_timeout_seconds: 0, max_connections: 0}",
            vec![
                "duragent.yaml:1:35: `server.request_timeout_seconds` must be from 1 to 86400, not 0",
                "duragent.yaml:1:55: `server.max_connections` must be from 1 to 1048576, not 0",
            ],
        ),
        (
            "sessions: {ttl_hours: 90000}",
            vec!["duragent.yaml:1:23: `sessions.ttl_hours` must be from 0 to 87840, not 90000"],
        ),
        (
            "limits: {reply_bytes: 1000}",
            vec![
                "duragent.yaml:1:23: `limits.reply_bytes` must be from 1024 to 1073741824, not 1000",
            ],
        ),
        (
            "gateways:\n  telegram: {enabled: true}",
            vec!["duragent.yaml:2:13: `gateways.telegram.bot_token` is missing"],
        ),
        (
            "gateways:\n  telegram: {bot_token: x}\n  external:\n  - {name: telegram, command: x}\n  - {name: y, command: z, restart: onfailure}",
            vec![
                "duragent.yaml:4:12: `gateways.external[0].name` is `telegram`, like another gateway that is on",
                "duragent.yaml:5:36: `gateways.external[1].restart` must be one of `always`, `on_failure`, `never`, not `onfailure`; did you mean `on_failure`?",
            ],
        ),
        (
            "gateways:\n  telegram:\n  - {bot_token: x, agent: a b}\n  - {name: t, bot_token: x}\n  - {name: t, bot_token: x}\n  - {name: a.b, bot_token: x}\n  - {enabled: false}",
            vec![
                "duragent.yaml:3:5: `gateways.telegram[0]` needs a `name`, as there are several",
                "duragent.yaml:3:27: `gateways.telegram[0].agent` must be the name of an agent",
                "duragent.yaml:5:12: `gateways.telegram[2].name` is `t`, like another gateway that is on",
                "duragent.yaml:6:12: `gateways.telegram[3].name` must be 1 to 64 letters, digits, `-` and `_`",
            ],
        ),
        (
            "routes:\n- {match: {chat_type: dn}, agent: x y}\n- {agent: ada}",
            vec![
                "duragent.yaml:2:23: `routes[0].match.chat_type` must be one of `dm`, `group`, `channel`, not `dn`; did you mean `dm`?",
                "duragent.yaml:2:35: `routes[0].agent` must be the name of an agent",
            ],
        ),
        (
            "sandbox: {mode: docker, memory_mb: 1, cpu_seconds: 0}",
            vec![
                "duragent.yaml:1:17: `sandbox.mode` is `docker`, which needs a `sandbox.image`",
                "duragent.yaml:1:36: `sandbox.memory_mb` must be from 16 to 1048576, not 1",
                "duragent.yaml:1:52: `sandbox.cpu_seconds` must be at least 1, not 0",
            ],
        ),
        (
            "sandbox: {mod: docker}",
            vec!["duragent.yaml:1:11: unknown key `sandbox.mod`; did you mean `mode`?"],
        ),
        (
            "logging: {level: warning}",
            vec![
                "duragent.yaml:1:18: `logging.level` must be one of `off`, `error`, `warn`, `info`, `debug`, `trace`, not `warning`",
            ],
        ),
        (
            "server: {api_token: ${NONE}}",
            vec![
                "duragent.yaml:1:22: while parsing a flow mapping, did not find expected ',' or '}'; put quotes around `${…}` inside `{}` and `[]`",
            ],
        ),
        (
            "server:\n  api_token: ${NONE}",
            vec![
                "duragent.yaml:2:14: `server.api_token` needs the environment variable `NONE`, which is not set",
            ],
        ),
    ] {
        assert_eq!(Folder::with(text).said(), expected, "{text}");
    }
}

#[test]
fn an_unknown_key_is_an_error_only_where_it_guards_something_or_when_asked() {
    for (text, loads) in [
        ("zebra: 1", true),
        ("logging: {zebra: 1}", true),
        ("server: {zebra: 1}", false),
        ("sandbox: {zebra: 1}", false),
        ("routes: [{match: {}, agent: a, zebra: 1}]", false),
        ("providers: {openai: {zebra: 1}}", false),
    ] {
        let folder = Folder::with(text);
        assert_eq!(folder.load().is_ok(), loads, "{text}");
        let problems = validate(&folder.file(), &environment);
        assert!(
            problems.iter().any(|one| one.level == Level::Error),
            "{text}"
        );
    }
}

#[test]
fn a_disabled_gateway_needs_no_token() {
    let folder = Folder::with("gateways: {telegram: {enabled: false}}");
    assert_eq!(
        folder.load().unwrap().config.gateways,
        GatewaysConfig::default()
    );
    let folder = Folder::with(
        "gateways:\n  telegram: {enabled: false, bot_token: \"${NOT_SET}\"}\n  external:\n  \
         - {name: a, command: x, enabled: false, env: {KEY: \"${NOT_SET}\"}}\n",
    );
    assert_eq!(
        folder.load().unwrap().config.gateways,
        GatewaysConfig::default()
    );
    let folder = Folder::with(
        "gateways:\n  telegram:\n  - {name: a, enabled: false, bot_token: \"${NOT_SET}\"}\n  \
         - {name: b, bot_token: x, agent: ada}\n",
    );
    let bots = folder.load().unwrap().config.gateways.telegram;
    let named: Vec<_> = bots.iter().map(|bot| (&bot.name, &bot.agent)).collect();
    let ada = AgentName::parse("ada").unwrap();
    assert_eq!(named, [(&gateway("b"), &Some(ada))]);
    let folder = Folder::with(
        "gateways:\n  external:\n  - {name: a, command: x, enabled: false}\n  \
         - {name: b, command: x, env: {KEY: \"${NOT_SET}\"}}\n",
    );
    assert!(folder.load().is_err());
}

#[test]
fn what_is_known_and_not_read_keeps_no_server_from_starting() {
    let folder = Folder::with(
        "sessions: {compaction: {mode: \"${NOT_SET}\"}}\n\
         gateways:\n  telegram: {enabled: false, bot_token: x}\n  discord: {bot_token: \"${NOT_SET}\"}\n  \
         transcribe: whisper\n  external:\n  - {name: telegram, command: x}\n  \
         - {name: telegram, command: y, enabled: false}\n\
         routes: [{agent: ada}, {match: , agent: bob}]\n\
         compaction: off\n",
    );
    let config = folder.load().unwrap().config;
    let external: Vec<_> = config
        .gateways
        .external
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(
        (config.gateways.telegram, external),
        (vec![], vec!["telegram"])
    );
    assert_eq!(config.gateways.external[0].restart, Restart::OnFailure);
    let routes: Vec<_> = config
        .routes
        .iter()
        .map(|one| one.conditions.len())
        .collect();
    assert_eq!(routes, [0, 0]);
    let said = [
        "duragent.yaml:1:24: `sessions.compaction` has no effect yet",
        "duragent.yaml:4:12: `gateways.discord` is not read: Discord is an external gateway here, whose program `gateways.external` names",
        "duragent.yaml:10:13: `compaction` has no effect yet",
    ];
    assert_eq!(folder.said(), said);
    let problems = validate(&folder.file(), &environment);
    assert!(!problems.iter().any(|one| one.is_error()), "{problems:?}");
}

#[test]
fn what_transcribes_is_a_command_in_one_text_or_in_words() {
    for (written, command, args) in [
        (
            "whisper -l 'en us' -f",
            "whisper",
            &["-l", "en us", "-f"][..],
        ),
        ("[whisper, \"a b\"]", "whisper", &["a b"]),
        ("./hear", "/hear", &[]),
    ] {
        let folder = Folder::with(&format!("gateways: {{transcribe: {written}}}\n"));
        let found = folder.load().unwrap().config.gateways.transcribe;
        let (program, words) = found.unwrap();
        assert!(
            program.display().to_string().ends_with(command),
            "{written}"
        );
        assert_eq!(
            program.is_absolute(),
            written.starts_with("./"),
            "{written}"
        );
        assert_eq!(words, args, "{written}");
    }
    for written in ["''", "[]", "'a \"b'", "['']"] {
        let folder = Folder::with(&format!("gateways: {{transcribe: {written}}}\n"));
        assert!(folder.load().is_err(), "{written}");
        let said = folder.said().join("\n");
        let place = "duragent.yaml:1:24: `gateways.transcribe` must be a command";
        assert!(said.contains(place), "{written}: {said}");
    }
}

#[test]
fn two_gateways_that_are_on_have_two_names() {
    let list = "external: [{name: telegram, command: a}, {name: telegram, command: b}]";
    for (text, loads) in [
        (
            "telegram: {bot_token: x}, external: [{name: telegram, command: a}]",
            false,
        ),
        (
            "telegram: {bot_token: x}, external: [{name: irc, command: a}]",
            true,
        ),
        ("telegram: , external: [{name: telegram, command: a}]", true),
        (list, false),
        (
            &list.replace("command: b", "command: b, enabled: false"),
            true,
        ),
    ] {
        let folder = Folder::with(&format!("gateways: {{{text}}}\n"));
        assert_eq!(folder.load().is_ok(), loads, "{text}: {:?}", folder.said());
    }
}

#[test]
fn every_key_is_in_the_documentation() {
    let page = documentation();
    let missing: Vec<String> = keys()
        .into_iter()
        .filter(|key| !page.contains(&format!("`{key}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/configuration.md lacks {missing:#?}"
    );
}

#[test]
fn the_examples_of_the_documentation_load() {
    let page = documentation();
    let examples: Vec<&str> = page
        .split("```yaml\n")
        .skip(1)
        .map(|part| part.split("```").next().unwrap())
        .collect();
    assert!(examples.len() >= 2);
    let environment = |_: &str| Some("1234".to_owned());
    for text in examples {
        let folder = Folder::with(text);
        let loaded = validate(&folder.file(), &|name| {
            if name.starts_with("DURAGENT_") {
                None
            } else {
                environment(name)
            }
        });
        let errors: Vec<String> = loaded
            .iter()
            .filter(|one| one.is_error())
            .map(|one| one.to_string())
            .collect();
        assert_eq!(errors, [""; 0], "{text}");
    }
}

fn documentation() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    fs::read_to_string(page).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_makes_the_loader_panic(
        text in "(server|sessions|routes|gateways|sandbox|host|port|match|[:{}\\[\\], \n'\"&*$0-9-]){0,40}",
    ) {
        let folder = Folder::with(&text);
        let _said = folder.said();
    }
}
