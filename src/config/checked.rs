//! From what the file says to what the program may rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;
use url::Url;

use crate::base::accounts;
use crate::base::order;
use crate::base::text;
use crate::base::tls;
use crate::base::words;
use crate::base::yaml::expand::{Environment, is_variable_name};
use crate::base::yaml::headers::headers;
use crate::base::yaml::problem::{Level, Problem};
use crate::base::yaml::read::{At, Report, WordOrList, or_default, plain};
use crate::base::yaml::tree::Document;
use crate::config::raw;
use crate::config::settings::{
    Config, ExternalGateway, GatewaysConfig, LimitsConfig, LocalUsers, LogFormat, LoggingConfig,
    Restart, RouteConfig, SandboxConfig, SandboxMode, ServerConfig, SessionsConfig, Telegram,
    WebConfig,
};
use crate::config::source::{ConfigSource, DEFAULT_WORKSPACE, Overrides};
use crate::domain::ids::{AgentName, GatewayName};
use crate::domain::prices::{Price, Prices};
use crate::domain::providers::{Described, Dialect, KeySource, Origin, Provider};
use crate::domain::secret::{Secret, names_a_secret};
use crate::domain::spec::REPLY_BYTES_RANGE;

/// No wait is longer than a day.
const SECONDS_MAX: u64 = 24 * 60 * 60;
/// Clients and proxies take a stream that is silent for longer for a dead one.
const KEEP_ALIVE_SECONDS_MAX: u64 = 60;
/// No session is kept idle longer than ten years, which no clock overflows.
const HOURS_MAX: u64 = 10 * 366 * 24;

/// Where values come from, beside the file's own.
pub(super) struct Sources<'a> {
    /// The file, or the folder without one.
    pub(super) origin: &'a ConfigSource,
    /// The command line.
    pub(super) flags: &'a Overrides,
    /// The environment.
    pub(super) variables: &'a Overrides,
    /// The file as it was read, which knows where its values stand.
    pub(super) document: &'a Document,
}

/// The precedence.
fn first_of<T>(flag: Option<T>, variable: Option<T>, file: Option<T>, default: T) -> T {
    flag.or(variable).or(file).unwrap_or(default)
}

/// What the environment says instead of the file. An empty variable says nothing.
pub(super) fn variables(environment: Environment<'_>) -> Result<Overrides, Problem> {
    let value_of = |name: &str| environment(name).filter(|value| !value.is_empty());
    Ok(Overrides {
        workspace: value_of("DURAGENT_WORKSPACE").map(PathBuf::from),
        agents_dir: value_of("DURAGENT_AGENTS_DIR").map(PathBuf::from),
        host: parsed("DURAGENT_HOST", &value_of, parse_host, HOST_RULE)?,
        port: parsed(
            "DURAGENT_PORT",
            &value_of,
            |text| text.parse().ok(),
            PORT_RULE,
        )?,
        log_level: parsed(
            "DURAGENT_LOG_LEVEL",
            &value_of,
            |text| text.parse().ok(),
            LEVEL_RULE,
        )?,
    })
}

/// The rule for the text of a host, as a mistake is told.
pub const HOST_RULE: &str = "must be an IP address or `localhost`";
const PORT_RULE: &str = "must be a port from 0 to 65535";
const LEVEL_RULE: &str = "must be one of `off`, `error`, `warn`, `info`, `debug`, `trace`";

fn parsed<T>(
    name: &str,
    value_of: &dyn Fn(&str) -> Option<String>,
    parse: impl Fn(&str) -> Option<T>,
    rule: &str,
) -> Result<Option<T>, Problem> {
    let Some(text) = value_of(name) else {
        return Ok(None);
    };
    // It has no file, but a user looks for its name in the same place of the message.
    let refused = || Problem::of_file(format!("environment variable {name}"), rule);
    parse(text.trim()).map(Some).ok_or_else(refused)
}

/// An address to listen on: an IP address, or `localhost`. Other names could stand for several
/// addresses, or for another one tomorrow.
pub fn parse_host(text: &str) -> Option<IpAddr> {
    match text {
        name if name.eq_ignore_ascii_case("localhost") => Some(Ipv4Addr::LOCALHOST.into()),
        // IPv6 is written with brackets in URLs, and so by many users.
        text => text
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .ok(),
    }
}

/// Checks what the file says. The values of what was refused are defaults: the caller looks into
/// `report` before it uses any.
pub(super) fn config(
    raw: At<raw::ConfigFile>,
    sources: &Sources<'_>,
    report: &mut Report,
) -> Config {
    let raw = raw.value;
    note_what_has_no_effect(&raw, report);
    let folder = sources.origin.folder();
    let workspace = first_of(
        sources.flags.workspace.clone(),
        sources.variables.workspace.clone(),
        raw.workspace.map(|at| folder.join(at.value)),
        folder.join(DEFAULT_WORKSPACE),
    );
    let workspace = absolute(&workspace);
    let agents_dir = first_of(
        sources.flags.agents_dir.clone(),
        sources.variables.agents_dir.clone(),
        raw.agents_dir.map(|at| folder.join(at.value)),
        workspace.join("agents"),
    );
    let inside = |file: Option<At<String>>, usual: &str| match file {
        Some(at) => absolute(&folder.join(at.value)),
        None => workspace.join(usual),
    };
    let sessions_path = plain(raw.services).and_then(|services| plain(services.session));
    Config {
        file: sources.origin.file().map(absolute),
        agents_dir: absolute(&agents_dir),
        sessions_dir: inside(sessions_path.and_then(|session| session.path), "sessions"),
        world_memory_dir: inside(or_default(raw.world_memory).path, "memory/world"),
        server: server(or_default(raw.server), sources, folder, report),
        sessions: sessions(or_default(raw.sessions), report),
        limits: limits(or_default(raw.limits), report),
        gateways: gateways(or_default(raw.gateways), sources.document, folder, report),
        routes: routes(or_default(raw.routes), sources.document, report),
        providers: providers(or_default(raw.providers), folder, report),
        prices: prices(or_default(raw.prices), report),
        sandbox: sandbox(or_default(raw.sandbox), folder, &agents_dir, report),
        web: web(or_default(raw.web), report),
        logging: logging(or_default(raw.logging), sources, folder, report),
        workspace,
    }
}

/// What this version reads and does not use. Whoever makes one of them work takes it out of here
/// and out of the "not yet" of `docs/configuration.md`.
fn note_what_has_no_effect(raw: &raw::ConfigFile, report: &mut Report) {
    report.no_effect(raw.compaction.as_ref());
    if let Some(At { value, .. }) = &raw.sessions {
        report.no_effect(value.compaction.as_ref());
    }
    if let Some(At { value, .. }) = &raw.gateways
        && let Some(at) = &value.discord
    {
        report.warning(at, DISCORD_REMARK);
    }
}

const DISCORD_REMARK: &str =
    "is not read: Discord is an external gateway here, whose program `gateways.external` names";

/// Relative to the current folder, if it is relative. Only an empty path or a lost current
/// folder fails, and then opening it will say so.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn server(
    raw: raw::Server,
    sources: &Sources<'_>,
    folder: &Path,
    report: &mut Report,
) -> ServerConfig {
    let (flags, variables) = (sources.flags, sources.variables);
    let file_host = raw
        .host
        .and_then(|at| checked(&at, parse_host, HOST_RULE, report));
    let file_port = report
        .within(raw.port, 0..=u16::MAX.into())
        .and_then(|port| u16::try_from(port).ok());
    let host = first_of(
        flags.host,
        variables.host,
        file_host,
        Ipv4Addr::LOCALHOST.into(),
    );
    let api_token = raw.api_token.and_then(|at| token(at, report));
    guard_reachable(host, api_token.is_some(), report);
    ServerConfig {
        host,
        port: first_of(flags.port, variables.port, file_port, 8080),
        api_token,
        admin_token: raw.admin_token.and_then(|at| token(at, report)),
        local_users: local_users(raw.local_users, report),
        allowed_hosts: words(
            raw.allowed_hosts,
            is_host,
            "must be a host's name alone",
            report,
        ),
        allowed_origins: words(raw.allowed_origins, is_origin, ORIGIN_RULE, report),
        workdirs: or_default(raw.workdirs)
            .iter()
            .map(|at| absolute(&folder.join(&at.value)))
            .collect(),
        min_free_bytes: report.within(raw.min_free_mb, 0..=1 << 20).unwrap_or(64) << 20,
        request_timeout: seconds(raw.request_timeout_seconds, 300, report),
        idle_timeout: seconds(raw.idle_timeout_seconds, 60, report),
        keep_alive_interval: Duration::from_secs(
            report
                .within(raw.keep_alive_interval_seconds, 1..=KEEP_ALIVE_SECONDS_MAX)
                .unwrap_or(15),
        ),
        max_connections: count(raw.max_connections, 1..=1 << 20, 1024, report),
        max_body_bytes: count(raw.max_body_bytes, 1024..=1 << 30, 1 << 20, report),
        shutdown_grace: seconds(raw.shutdown_grace_seconds, 10, report),
    }
}

/// Whoever reaches the port can make agents run tools: so a port that others reach needs a token.
fn guard_reachable(host: IpAddr, has_token: bool, report: &mut Report) {
    if host.is_loopback() {
        return;
    }
    if has_token {
        let message =
            format!("what is sent to and from {host} is not encrypted: TLS is a proxy's work");
        report.add_to_file(Level::Warning, message, None);
        return;
    }
    let message = format!("{host} can be reached by others, so `server.api_token` must be set");
    let hint = "add `server.api_token`, or listen on 127.0.0.1".to_owned();
    report.add_to_file(Level::Error, message, Some(hint));
}

fn local_users(raw: Option<At<WordOrList>>, report: &mut Report) -> LocalUsers {
    match raw.map(|at| at.value) {
        None => LocalUsers::OwnerAnd(Vec::new()),
        Some(WordOrList::Word(word)) => {
            let choices = [
                ("owner", LocalUsers::OwnerAnd(Vec::new())),
                ("any", LocalUsers::Any),
            ];
            let chosen = choices.into_iter().find(|(name, _)| *name == word.value);
            chosen.map(|(_, users)| users).unwrap_or_else(|| {
                report.error(&word, "must be `owner`, `any`, or a list of accounts");
                LocalUsers::OwnerAnd(Vec::new())
            })
        }
        Some(WordOrList::List(words)) => {
            let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
            let accounts = words.iter().filter_map(|at| account(at, &passwd, report));
            LocalUsers::OwnerAnd(accounts.collect())
        }
    }
}

fn account(at: &At<String>, passwd: &str, report: &mut Report) -> Option<u32> {
    let Some(uid) = accounts::parse(&at.value, passwd) else {
        let must = "names no account of /etc/passwd; one of elsewhere can be given by its number";
        report.error(at, must);
        return None;
    };
    if uid == accounts::overflow() {
        let must =
            "stands for every account that this system has no number for, and is never let in";
        report.error(at, must);
        return None;
    }
    Some(uid)
}

/// A token has to fit into a header.
fn token(at: At<String>, report: &mut Report) -> Option<Secret> {
    let is_visible = !at.value.is_empty() && at.value.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_visible {
        report.error(&at, "must be visible ASCII characters without spaces");
        return None;
    }
    Some(Secret::new(at.value))
}

const ORIGIN_RULE: &str = "must be like `https://example.org`, without a path";

fn is_origin(text: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| text.strip_prefix(scheme).is_some_and(is_host))
}

fn is_host(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(is_plain)
}

fn words(
    found: Option<At<Vec<At<String>>>>,
    is_right: impl Fn(&str) -> bool,
    rule: &str,
    report: &mut Report,
) -> Vec<String> {
    let mut kept = Vec::new();
    for at in or_default(found) {
        if is_right(&at.value) {
            kept.push(at.value);
        } else {
            report.error(&at, rule);
        }
    }
    kept
}

fn checked<T>(
    at: &At<String>,
    parse: impl Fn(&str) -> Option<T>,
    rule: &str,
    report: &mut Report,
) -> Option<T> {
    let parsed = parse(&at.value);
    if parsed.is_none() {
        report.error(at, rule);
    }
    parsed
}

fn seconds(found: Option<At<u64>>, default: u64, report: &mut Report) -> Duration {
    Duration::from_secs(report.within(found, 1..=SECONDS_MAX).unwrap_or(default))
}

fn count(
    found: Option<At<u64>>,
    range: std::ops::RangeInclusive<u64>,
    default: usize,
    report: &mut Report,
) -> usize {
    report
        .within(found, range)
        .and_then(|number| usize::try_from(number).ok())
        .unwrap_or(default)
}

fn sessions(raw: raw::Sessions, report: &mut Report) -> SessionsConfig {
    const TTL_HOURS: u64 = 168;
    let ttl = report.within(raw.ttl_hours, 0..=HOURS_MAX);
    let delete_after = report.within(raw.delete_after_hours, 0..=HOURS_MAX);
    SessionsConfig {
        ttl_hours: Some(ttl.unwrap_or(TTL_HOURS)).filter(|hours| *hours > 0),
        max_active: count(raw.max_active, 1..=1 << 20, 1024, report),
        delete_after_hours: delete_after.filter(|hours| *hours > 0),
    }
}

fn limits(raw: raw::Limits, report: &mut Report) -> LimitsConfig {
    LimitsConfig {
        reply_bytes: count(raw.reply_bytes, REPLY_BYTES_RANGE, 8 << 20, report),
    }
}

fn gateways(
    raw: raw::Gateways,
    document: &Document,
    folder: &Path,
    report: &mut Report,
) -> GatewaysConfig {
    let mut names = BTreeSet::new();
    let bots = raw.telegram.map_or_else(Vec::new, |at| at.value.0);
    let is_alone = bots.len() == 1;
    let telegram = bots
        .into_iter()
        .filter_map(|at| telegram(at, is_alone, document, &mut names, report))
        .collect();
    // Another program may take the place of the one that is built in.
    let external = or_default(raw.external)
        .into_iter()
        .filter_map(|at| external(at, document, folder, &mut names, report))
        .collect();
    GatewaysConfig {
        telegram,
        external,
        transcribe: raw.transcribe.and_then(|at| transcribe(at, folder, report)),
    }
}

/// A command in one text, which is split as a shell would, or a list of its words.
fn transcribe(
    at: At<WordOrList>,
    folder: &Path,
    report: &mut Report,
) -> Option<(PathBuf, Vec<String>)> {
    let (at, found) = at.split();
    let words = match found {
        WordOrList::Word(word) => words::split(&word.value).unwrap_or_default(),
        WordOrList::List(list) => list.into_iter().map(|word| word.value).collect(),
    };
    let Some((command, args)) = words.split_first().filter(|(first, _)| !first.is_empty()) else {
        report.error(&at, "must be a command, as one text or as a list of words");
        return None;
    };
    Some((program(command, folder), args.to_vec()))
}

/// A bot; one that is alone needs no name.
fn telegram(
    at: At<raw::Telegram>,
    is_alone: bool,
    document: &Document,
    names: &mut BTreeSet<GatewayName>,
    report: &mut Report,
) -> Option<Telegram> {
    let (at, raw) = at.split();
    if plain(raw.enabled) == Some(false) {
        return None;
    }
    let name = match raw.name {
        Some(name) => gateway_name(&name, names, report),
        None if is_alone => {
            let name = GatewayName::parse(TELEGRAM).ok();
            names.extend(name.clone());
            name
        }
        None => {
            report.error(&at, "needs a `name`, as there are several");
            None
        }
    };
    let place = raw.agent.as_ref().map_or(at.node, |agent| agent.node);
    let agent = raw
        .agent
        .and_then(|at| checked(&at, agent_name, AGENT_RULE, report));
    let bot_token = report.require(&at, "bot_token", raw.bot_token)?;
    let parse = |text: &str| text::is_http_url(text).then(|| text.to_owned());
    let api_url = raw
        .api_url
        .and_then(|at| checked(&at, parse, URL_RULE, report));
    Some(Telegram {
        name: name?,
        agent,
        bot_token: token(bot_token, report)?,
        api_url,
        place: document.locate(place),
    })
}

/// The name of a bot that is alone.
const TELEGRAM: &str = "telegram";
const GATEWAY_NAME_RULE: &str = "must be 1 to 64 letters, digits, `-` and `_`";
const AGENT_RULE: &str = "must be the name of an agent";

fn agent_name(text: &str) -> Option<AgentName> {
    AgentName::parse(text).ok()
}

/// A name that no other gateway has.
fn gateway_name(
    at: &At<String>,
    names: &mut BTreeSet<GatewayName>,
    report: &mut Report,
) -> Option<GatewayName> {
    let parse = |text: &str| GatewayName::parse(text).ok();
    let name = checked(at, parse, GATEWAY_NAME_RULE, report)?;
    if !names.insert(name.clone()) {
        report.error(at, format!("is `{name}`, like another gateway that is on"));
        return None;
    }
    Some(name)
}

const URL_RULE: &str = "must begin with `http://` or `https://`";

fn external(
    at: At<raw::External>,
    document: &Document,
    folder: &Path,
    names: &mut BTreeSet<GatewayName>,
    report: &mut Report,
) -> Option<ExternalGateway> {
    const RESTART: &[(&str, Restart)] = &[
        ("always", Restart::Always),
        ("on_failure", Restart::OnFailure),
        ("never", Restart::Never),
    ];
    let (at, raw) = at.split();
    let name = report.require(&at, "name", raw.name);
    let command = report.require(&at, "command", raw.command);
    let restart = report.choice_or(raw.restart, RESTART, Restart::default());
    let (name, command) = (name?, command?);
    if plain(raw.enabled) == Some(false) {
        return None;
    }
    let name = gateway_name(&name, names, report)?;
    let secret_map = |map: BTreeMap<String, At<String>>| {
        order::map(
            map.into_iter()
                .map(|(name, at)| (name, Secret::new(at.value))),
        )
    };
    Some(ExternalGateway {
        name,
        command: program(&command.value, folder),
        args: or_default(raw.args)
            .into_iter()
            .map(|at| Secret::new(at.value))
            .collect(),
        env: secret_map(or_default(raw.env)),
        restart,
        place: document.locate(at.node),
    })
}

/// A bare name is looked for in `PATH` when it is run; a path is relative to the file.
fn program(command: &str, folder: &Path) -> PathBuf {
    if command.contains('/') {
        absolute(&folder.join(command))
    } else {
        PathBuf::from(command)
    }
}

fn routes(
    found: Vec<At<raw::Route>>,
    document: &Document,
    report: &mut Report,
) -> Vec<RouteConfig> {
    found
        .into_iter()
        .filter_map(|at| route(at, document, report))
        .collect()
}

fn route(at: At<raw::Route>, document: &Document, report: &mut Report) -> Option<RouteConfig> {
    let (at, raw) = at.split();
    // A route without conditions is for every message.
    let conditions = or_default(raw.conditions);
    let agent = report.require(&at, "agent", raw.agent);
    if let Some(kind) = conditions.get("chat_type") {
        report.choice(kind, &[("dm", ()), ("group", ()), ("channel", ())]);
    }
    let agent = agent?;
    Some(RouteConfig {
        place: document.locate(agent.node),
        agent: checked(&agent, agent_name, AGENT_RULE, report)?,
        conditions: order::map(conditions.into_iter().map(|(key, at)| (key, at.value))),
    })
}

fn providers(
    found: BTreeMap<String, At<raw::Provider>>,
    folder: &Path,
    report: &mut Report,
) -> BTreeMap<Provider, Described> {
    let one = |(name, at): (String, At<raw::Provider>)| {
        let Some(provider) = Provider::parse(&name).filter(|one| *one != Provider::ECHO) else {
            report.error(&at, PROVIDER_NAME_RULE);
            return None;
        };
        let described = described(&provider, at, folder, report)?;
        Some((provider, described))
    };
    order::map(found.into_iter().filter_map(one))
}

const PROVIDER_NAME_RULE: &str =
    "is no name for a provider: 1 to 32 lower-case letters, digits, `-` and `_`, and not `echo`";
const BASE_URL_RULE: &str = "must be an address that begins with `http://` or `https://`";

fn described(
    provider: &Provider,
    at: At<raw::Provider>,
    folder: &Path,
    report: &mut Report,
) -> Option<Described> {
    let (at, raw) = at.split();
    let dialect = raw
        .dialect
        .and_then(|at| report.choice(&at, Dialect::WORDS));
    let base_url = match provider.known() {
        Some(_) => raw.base_url,
        None => Some(report.require(&at, "base_url", raw.base_url)?),
    };
    let keys = [
        raw.api_key_env.map(KeyPlace::Variable),
        raw.api_key_file.map(KeyPlace::File),
        raw.api_key_command.map(KeyPlace::Command),
    ];
    let key = key_source(keys, folder, report);
    let secrets = |map: BTreeMap<String, String>| {
        order::map(
            map.into_iter()
                .map(|(name, text)| (name, Secret::new(text))),
        )
    };
    let headers = secrets(headers(or_default(raw.headers), &[], report));
    let query = or_default(raw.query).into_iter();
    let query = secrets(order::map(query.map(|(name, at)| (name, at.value))));
    let allow_http = plain(raw.allow_http).unwrap_or(false);
    if let Some(at) = &base_url {
        match Origin::of(&at.value) {
            None => report.error(at, BASE_URL_RULE),
            Some(origin) if origin.is_https() || origin.is_loopback() || allow_http => {}
            Some(_) if key.is_some() => report.warning(
                at,
                "is not encrypted: the key is not sent there without `allow_http: true`",
            ),
            Some(_) if !headers.is_empty() || !query.is_empty() => report.warning(
                at,
                "is not encrypted: no `headers` and no `query` are sent there without \
                 `allow_http: true`",
            ),
            Some(_) => {}
        }
    }
    Some(Described {
        dialect,
        base_url: plain(base_url).map(Secret::new),
        key,
        allow_http,
        headers,
        query,
        ca_file: raw.ca_file.and_then(|at| ca_file(&at, folder, report)),
        tool_text: plain(raw.tool_text),
    })
}

fn ca_file(at: &At<String>, folder: &Path, report: &mut Report) -> Option<PathBuf> {
    let file = absolute(&folder.join(&at.value));
    match tls::certificates(&file) {
        Ok(_) => Some(file),
        Err(error) => {
            report.error(at, format!("names the file {}, which {error}", at.value));
            None
        }
    }
}

/// One of the keys that say where a provider's key is.
enum KeyPlace {
    Variable(At<String>),
    File(At<String>),
    Command(At<Vec<At<String>>>),
}

impl KeyPlace {
    fn name(&self) -> &'static str {
        match self {
            KeyPlace::Variable(_) => "api_key_env",
            KeyPlace::File(_) => "api_key_file",
            KeyPlace::Command(_) => "api_key_command",
        }
    }

    fn place(&self) -> At<()> {
        match self {
            KeyPlace::Variable(at) | KeyPlace::File(at) => at.place(),
            KeyPlace::Command(at) => at.place(),
        }
    }
}

fn key_source(
    places: [Option<KeyPlace>; 3],
    folder: &Path,
    report: &mut Report,
) -> Option<KeySource> {
    let mut places = places.into_iter().flatten();
    let first = places.next()?;
    let more: Vec<KeyPlace> = places.collect();
    for more in &more {
        let must = format!("stands beside `{}`: one of them is enough", first.name());
        report.error(&more.place(), must);
    }
    if !more.is_empty() {
        return None;
    }
    match first {
        KeyPlace::Variable(at) => {
            // Never shown: it may be the key itself.
            let name = checked(&at, secret_name, KEY_VARIABLE_RULE, report)?;
            Some(KeySource::Variable(name))
        }
        KeyPlace::File(at) => Some(KeySource::File(absolute(&folder.join(at.value)))),
        KeyPlace::Command(at) => {
            let (at, words) = at.split();
            let mut words = words.into_iter().map(|word| word.value);
            let Some(first) = words.next().filter(|first| !first.is_empty()) else {
                report.error(&at, "must be a program and its arguments");
                return None;
            };
            Some(KeySource::Command {
                program: program(&first, folder),
                args: words.map(Secret::new).collect(),
            })
        }
    }
}

const KEY_VARIABLE_RULE: &str = "must be the name of a variable, not the key itself, and end in `_KEY`, `_TOKEN` or `_SECRET`: \
     so the programs of tools do not get it";

fn secret_name(text: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_name = text.bytes().all(is_plain) && !text.starts_with(|c: char| c.is_ascii_digit());
    (is_name && names_a_secret(text)).then(|| text.to_owned())
}

/// More than anybody takes for a million tokens.
const PRICE_MAX: f64 = 1e9;

fn prices(found: BTreeMap<String, At<raw::Price>>, report: &mut Report) -> Prices {
    let one = |(label, at): (String, At<raw::Price>)| {
        let (at, raw) = at.split();
        if !Prices::is_label(&label) {
            report.error(
                &at,
                "is no model: `provider/name`, or the beginning of some with a `*` at its end",
            );
        }
        let input = report.require(&at, "input", raw.input);
        let output = report.require(&at, "output", raw.output);
        let mut price = |found| report.within(found, 0.0..=PRICE_MAX);
        let (input, cached, output) = (price(input), price(raw.cached), price(output));
        let input = input?;
        let price = Price {
            input,
            cached: cached.unwrap_or(input),
            output: output?,
        };
        Some((label, price))
    };
    Prices::new(order::map(found.into_iter().filter_map(one)))
}

fn sandbox(
    raw: raw::Sandbox,
    folder: &Path,
    agents_dir: &Path,
    report: &mut Report,
) -> SandboxConfig {
    const MODES: &[(&str, SandboxMode)] = &[
        ("trust", SandboxMode::Trust),
        ("bubblewrap", SandboxMode::Bubblewrap),
        ("docker", SandboxMode::Docker),
    ];
    let mode = raw.mode.clone();
    let mode = mode
        .and_then(|at| report.choice(&at, MODES))
        .unwrap_or_default();
    if let Some(at) = &raw.mode
        && mode == SandboxMode::Docker
        && raw.image.is_none()
    {
        report.error(at, "is `docker`, which needs a `sandbox.image`");
    }
    let usual = SandboxConfig::default();
    SandboxConfig {
        mode,
        network: plain(raw.network).unwrap_or(usual.network),
        writable: writable(or_default(raw.writable), folder, agents_dir, report),
        env: env_names(or_default(raw.env), report),
        memory_bytes: report
            .within(raw.memory_mb, 16..=1 << 20)
            .map_or(usual.memory_bytes, |megabytes| megabytes << 20),
        cpu_seconds: report.at_least(raw.cpu_seconds, 1),
        image: plain(raw.image),
    }
}

/// The folders to write in. One below another is left out: whoever may write in the outer one could
/// lead the name of the inner one elsewhere.
fn writable(
    found: Vec<At<String>>,
    folder: &Path,
    agents_dir: &Path,
    report: &mut Report,
) -> Vec<PathBuf> {
    let paths = found.iter().map(|at| absolute(&folder.join(&at.value)));
    let paths: Vec<PathBuf> = paths.collect();
    let mut kept = Vec::new();
    for (at, path) in found.iter().zip(&paths) {
        if let Some(outer) = paths.iter().find(|it| *it != path && path.starts_with(it)) {
            let remark = format!("is left out: it lies in {}", outer.display());
            report.warning(at, remark);
        } else if path.parent() == Some(&absolute(agents_dir)) {
            report.error(
                at,
                "is an agent's own folder, which holds its policy: name one in it",
            );
        } else {
            kept.push(path.clone());
        }
    }
    kept
}

fn env_names(found: Vec<At<String>>, report: &mut Report) -> Vec<String> {
    let mut names = Vec::new();
    for at in found {
        if is_variable_name(&at.value) {
            names.push(at.value)
        } else {
            report.error(&at, "must be the name of a variable")
        }
    }
    names
}

fn web(raw: raw::Web, report: &mut Report) -> WebConfig {
    const PROXY_RULE: &str = "must be like `http://proxy.example.org:3128`, without a path";
    let proxy = raw
        .proxy
        .and_then(|at| checked(&at, parse_proxy, PROXY_RULE, report));
    let mut allow_addresses = Vec::new();
    for at in or_default(raw.allow_addresses) {
        match at.value.parse() {
            Ok(range) => allow_addresses.push(range),
            Err(rule) => report.error(&at, rule),
        }
    }
    WebConfig {
        proxy,
        allow_addresses,
    }
}

/// The address of a proxy, in which a name and a password may stand.
fn parse_proxy(text: &str) -> Option<Secret> {
    let url = Url::parse(text).ok()?;
    let is_http = matches!(url.scheme(), "http" | "https");
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    (is_http && is_bare).then(|| Secret::new(text))
}

fn logging(
    raw: raw::Logging,
    sources: &Sources<'_>,
    folder: &Path,
    report: &mut Report,
) -> LoggingConfig {
    const LEVELS: &[(&str, LevelFilter)] = &[
        ("off", LevelFilter::Off),
        ("error", LevelFilter::Error),
        ("warn", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
        ("trace", LevelFilter::Trace),
    ];
    const FORMATS: &[(&str, LogFormat)] =
        &[("pretty", LogFormat::Pretty), ("json", LogFormat::Json)];
    let file_level = raw.level.and_then(|at| report.choice(&at, LEVELS));
    LoggingConfig {
        level: first_of(
            sources.flags.log_level,
            sources.variables.log_level,
            file_level,
            LevelFilter::Info,
        ),
        format: report.choice_or(raw.format, FORMATS, LogFormat::default()),
        file: raw.file.map(|at| absolute(&folder.join(at.value))),
    }
}
