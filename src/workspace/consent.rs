//! Whether a client may start a server for a workspace: what its files make a server do beyond
//! answering, and whether this account has agreed to that.
//!
//! A workspace may come from a stranger. Whoever types `serve` agrees to it; who types `chat` in it
//! may only have wanted to look. What was served is remembered outside of the workspace, so that a
//! copied folder brings no consent along.
//!
//! Invariants:
//! - what is listed is taken from the files as they are written, before variables are filled in: no
//!   secret is shown or remembered;
//! - consent counts for this folder at this path, and for what was listed then: for another folder
//!   in its place, or for one thing more, it is asked for anew.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use url::Url;

use crate::base::fs::{RealFs, create_dirs, replace_file};
use crate::base::plural::counted;
use crate::base::yaml::expand;
use crate::base::yaml::tree::{Document, Node, Value};
use crate::config::{Config, DEFAULT_WORKSPACE, LocalUsers, SandboxMode, lookup};
use crate::domain::providers::Provider;
use crate::policy::{Mode, Subject};
use crate::workspace::arrivals::FolderIdentity;
use crate::workspace::policy_files::{self, POLICY_FILE};
use crate::workspace::state_home;

/// One thing that a server of a workspace does because its files say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It starts this program.
    Starts(String),
    /// It sends this key, variable or report to that host or program.
    Sends {
        /// What, by name.
        what: String,
        /// To whom.
        to: String,
    },
    /// It can be reached by others than the programs of this machine, in this way.
    Opens(String),
    /// It writes here, outside of the folder.
    Writes(PathBuf),
    /// Agents run this without a question.
    Allows(String),
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::Starts(program) => write!(f, "starts the program {program}"),
            Claim::Sends { what, to } => write!(f, "sends {what} to {to}"),
            Claim::Opens(way) => f.write_str(way),
            Claim::Writes(path) => write!(f, "writes to {}", path.display()),
            Claim::Allows(what) => write!(f, "lets agents run {what} unasked"),
        }
    }
}

/// Everything of that kind that the files of a workspace ask for; empty for most.
pub fn claims(config: &Config) -> Vec<Claim> {
    let text = config
        .file
        .as_deref()
        .map(|file| fs::read_to_string(file).unwrap_or_default());
    let written = Written::of(text.unwrap_or_default());
    let mut claims = programs(config, &written);
    claims.extend(sent(&written));
    claims.extend(opened(config, &written));
    claims.extend(outside(config, &written));
    claims.extend(of_policy(&config.workspace.join(POLICY_FILE)));
    claims
}

/// The claims as one sentence without its end: `This folder starts …, sends … and …`.
pub fn sentence(claims: &[Claim]) -> String {
    let programs: Vec<&str> = claims.iter().filter_map(Claim::program).collect();
    let started = match programs.as_slice() {
        [] => None,
        [one] => Some(format!("starts the program {one}")),
        several => Some(format!(
            "starts {} ({})",
            counted(several.len(), "program"),
            several.join(", ")
        )),
    };
    let others = claims.iter().filter(|claim| claim.program().is_none());
    let parts: Vec<String> = started
        .into_iter()
        .chain(others.map(Claim::to_string))
        .collect();
    let listed = match parts.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => parts.concat(),
    };
    format!("This folder {listed}")
}

impl Claim {
    fn program(&self) -> Option<&str> {
        match self {
            Claim::Starts(program) => Some(program),
            Claim::Sends { .. } | Claim::Opens(_) | Claim::Writes(_) | Claim::Allows(_) => None,
        }
    }
}

/// This account has served the workspace with all of `claims` before: a client need not ask.
pub fn is_agreed(config: &Config, claims: &[Claim]) -> bool {
    if claims.is_empty() {
        return true;
    }
    let Some(place) = ConsentRecord::place(&config.workspace) else {
        return false;
    };
    let known = fs::read_to_string(&place.file).unwrap_or_default();
    let mut known = known.lines();
    let is_this = lookup::is_ours(&place.file) && known.next() == Some(place.head.as_str());
    let known: Vec<&str> = known.collect();
    is_this && claims.iter().all(|one| known.contains(&line(one).as_str()))
}

/// Remembers that the workspace is served as its files are now. Without a place for that, the next
/// client asks again.
pub(crate) fn record(config: &Config) {
    let claims = claims(config);
    if claims.is_empty() || is_agreed(config, &claims) {
        return;
    }
    let written = ConsentRecord::place(&config.workspace)
        .ok_or_else(|| io::Error::other("there is no home folder"))
        .and_then(|place| place.write(&claims));
    if let Err(error) = written {
        log::warn!("it is not remembered that this workspace was served: {error}");
    }
}

/// Where it is remembered what a workspace was served with.
struct ConsentRecord {
    file: PathBuf,
    /// Its first line: whose it is.
    head: String,
}

impl ConsentRecord {
    fn place(workspace: &Path) -> Option<ConsentRecord> {
        let real = workspace.canonicalize().ok()?;
        let identity = FolderIdentity::of(&real).ok()?;
        // Two paths of one sum only make each other ask again: the head says whose it is.
        let sum = crc32fast::hash(real.as_os_str().as_encoded_bytes());
        Some(ConsentRecord {
            file: state_home::folder().ok()?.join(format!("served/{sum:08x}")),
            head: format!("{real:?} {identity:?}"),
        })
    }

    fn write(&self, claims: &[Claim]) -> io::Result<()> {
        create_dirs(&RealFs, self.file.parent().unwrap_or(Path::new("/")))?;
        let lines: Vec<String> = claims.iter().map(|claim| line(claim) + "\n").collect();
        let text = format!("{}\n{}", self.head, lines.concat());
        replace_file(&RealFs, &self.file, text.as_bytes())
    }
}

/// A claim on one line, whatever stands in it.
fn line(claim: &Claim) -> String {
    format!("- {}", claim.to_string().escape_debug())
}

// --- what the files ask for ---

/// The words of a YAML file as they are written, each with the keys that lead to it.
#[derive(Debug, Default)]
struct Written(Vec<(String, String)>);

impl Written {
    /// Of a text that is no YAML nothing is known, and no server starts with it.
    fn of(text: String) -> Written {
        let mut written = Written::default();
        if let Ok(document) = Document::parse(text) {
            written.add("", &document.root);
        }
        written
    }

    fn add(&mut self, key: &str, node: &Node) {
        match &node.value {
            Value::Scalar(scalar) => self.0.push((key.to_owned(), scalar.text.clone())),
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.add(&format!("{key}[{index}]"), item);
                }
            }
            Value::Map(entries) => {
                for (name, value) in entries {
                    if let Value::Scalar(name) = &name.value {
                        let dot = if key.is_empty() { "" } else { "." };
                        self.add(&format!("{key}{dot}{}", name.text), value);
                    }
                }
            }
        }
    }

    /// The word at a key.
    fn at(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, text)| text.as_str())
    }

    /// The words at and below a key.
    fn below<'a>(&'a self, key: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let rest = move |(known, text): &'a (String, String)| {
            let rest = known.strip_prefix(key)?;
            let is_below = rest.is_empty() || rest.starts_with(['.', '[']);
            is_below.then_some((rest, text.as_str()))
        };
        self.0.iter().filter_map(rest)
    }

    /// The environment's variables that stand at and below a key.
    fn variables(&self, key: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (_, text) in self.below(key) {
            names.extend(expand::names(text));
        }
        names.dedup();
        names
    }

    /// The keys of the elements of a list, or that of the one thing which stands in its place.
    fn ones(&self, key: &str) -> Vec<String> {
        let mut keys: Vec<String> = self
            .below(key)
            .map(|(rest, _)| match rest.strip_prefix('[') {
                Some(rest) => format!("{key}[{}]", rest.split(']').next().unwrap_or_default()),
                None => key.to_owned(),
            })
            .collect();
        keys.dedup();
        keys
    }

    /// The names right below a key.
    fn names(&self, key: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .below(key)
            .filter_map(|(rest, _)| Some(rest.strip_prefix('.')?.split(['.', '[']).next()?.into()))
            .collect();
        names.dedup();
        names
    }
}

fn programs(config: &Config, written: &Written) -> Vec<Claim> {
    let mut claims = Vec::new();
    for key in written.ones("gateways.external") {
        if written.at(&format!("{key}.enabled")) == Some("false") {
            continue;
        }
        let command = written.at(&format!("{key}.command")).unwrap_or_default();
        let args = format!("{key}.args");
        let words: Vec<&str> = written.below(&args).map(|(_, text)| text).collect();
        let line = [&[command], words.as_slice()].concat().join(" ");
        claims.push(Claim::Starts(line));
        claims.extend(sends(written.variables(&key), command));
    }
    let transcribe = "gateways.transcribe";
    let words: Vec<&str> = written.below(transcribe).map(|(_, text)| text).collect();
    if let Some(command) = words.first() {
        claims.push(Claim::Starts(words.join(" ")));
        claims.extend(sends(written.variables(transcribe), command));
    }
    for name in written.names("providers") {
        let command = format!("providers.{name}.api_key_command");
        let words: Vec<&str> = written.below(&command).map(|(_, text)| text).collect();
        if !words.is_empty() {
            claims.push(Claim::Starts(words.join(" ")));
        }
    }
    if config.sandbox.mode == SandboxMode::Docker {
        let image = config.sandbox.image.as_deref().unwrap_or_default();
        claims.push(Claim::Starts(format!("docker, with the image {image}")));
    }
    // Without a sandbox programs are told of it all, but for what is secret by its name.
    if config.sandbox.mode != SandboxMode::Trust {
        let told = config.sandbox.env.to_vec();
        claims.extend(sends(told, "the programs that agents run"));
    }
    claims
}

fn sent(written: &Written) -> Vec<Claim> {
    let mut claims = Vec::new();
    for key in written.ones("gateways.telegram") {
        let token = format!("{key}.bot_token");
        if written.at(&token).is_none() || written.at(&format!("{key}.enabled")) == Some("false") {
            continue;
        }
        let host = written.at(&format!("{key}.api_url")).map(host_of);
        let mut what = written.variables(&key);
        if what.is_empty() {
            what.push(token);
        }
        claims.extend(sends(what, &host.unwrap_or("api.telegram.org".to_owned())));
    }
    if let Some(proxy) = written.at("web.proxy") {
        let what = "what agents ask of the web".to_owned();
        let what = [vec![what], written.variables("web.proxy")].concat();
        claims.extend(sends(what, &host_of(proxy)));
    }
    for name in written.names("providers") {
        let key = format!("providers.{name}");
        let known = Provider::parse(&name);
        let own = known.as_ref().and_then(|one| one.known()?.base_url);
        let address = written.at(&format!("{key}.base_url"));
        let url = address.or(own);
        if let Some(file) = written.at(&format!("{key}.ca_file")) {
            let of = url.map_or_else(|| name.clone(), host_of);
            claims.push(Claim::Opens(format!(
                "trusts the certificates of {file} for {of}"
            )));
        }
        let Some(url) = url else {
            continue;
        };
        let command = format!("{key}.api_key_command");
        let runs = written.below(&command).next().is_some();
        let keys = ["api_key_env", "api_key_file"];
        let named = keys
            .iter()
            .filter_map(|one| written.at(&format!("{key}.{one}")));
        let mut what: Vec<String> = named.map(str::to_owned).collect();
        what.extend(written.variables(&key));
        if what.is_empty() && (address.is_some() || runs) {
            // A provider that is known has a key without a word of it here.
            what.push(format!("the key of {name}"));
        }
        claims.extend(sends(what, &host_of(url)));
    }
    claims
}

fn sends(what: Vec<String>, to: &str) -> impl Iterator<Item = Claim> {
    what.into_iter().map(move |what| Claim::Sends {
        what,
        to: to.to_owned(),
    })
}

/// The host of a URL, or all that is written where it is none.
fn host_of(url: &str) -> String {
    let parsed = Url::parse(url).ok();
    let host = parsed.as_ref().and_then(Url::host_str);
    host.map_or_else(|| url.to_owned(), str::to_owned)
}

fn opened(config: &Config, written: &Written) -> Vec<Claim> {
    let server = &config.server;
    let mut claims = Vec::new();
    if !server.host.is_loopback() {
        let address = SocketAddr::new(server.host, server.port);
        claims.push(Claim::Opens(format!("listens on {address}")));
    }
    let origins = server.allowed_origins.iter();
    claims.extend(origins.map(|one| Claim::Opens(format!("lets web pages of {one} in"))));
    let hosts = server.allowed_hosts.iter();
    claims.extend(hosts.map(|one| Claim::Opens(format!("answers under the name {one}"))));
    match &server.local_users {
        LocalUsers::Any => {
            let way = "lets every account of this machine in".to_owned();
            claims.push(Claim::Opens(way));
        }
        LocalUsers::OwnerAnd(others) => {
            let way = |uid: &u32| Claim::Opens(format!("lets the account {uid} in"));
            claims.extend(others.iter().map(way));
        }
    }
    let inner = written.below("web.allow_addresses");
    let way = |one: &str| Claim::Opens(format!("lets agents ask {one}, as the web"));
    claims.extend(inner.map(|(_, one)| way(one)));
    claims
}

/// Paths that the file names, and that lead out of its folder; and what of the workspace is a link
/// that does.
fn outside(config: &Config, written: &Written) -> Vec<Claim> {
    const KEYS: [&str; 7] = [
        "workspace",
        "agents_dir",
        "services.session.path",
        "world_memory.path",
        "logging.file",
        "sandbox.writable",
        "server.workdirs",
    ];
    let mut found: Vec<PathBuf> = Vec::new();
    // A workspace that was named, on the command line say, is where it is.
    let workspace = config.workspace.canonicalize().ok();
    let mut insides: Vec<PathBuf> = workspace.iter().cloned().collect();
    if let Some(folder) = config.file.as_deref().and_then(Path::parent)
        && let Ok(inside) = folder.canonicalize()
    {
        let named = KEYS.iter().flat_map(|key| written.below(key));
        // What is filled in may lead anywhere, and is not shown.
        let (filled, plain): (Vec<&str>, Vec<&str>) = named
            .map(|(_, text)| text)
            .partition(|text| text.contains("${"));
        found.extend(filled.into_iter().map(PathBuf::from));
        let usual = folder.join(DEFAULT_WORKSPACE);
        let plain = plain.into_iter().map(|text| folder.join(text));
        let plain = plain.chain((config.workspace == usual).then_some(usual));
        found.extend(plain.filter(|path| !is_within(path, &inside)));
        insides.push(inside);
    }
    let parts = [
        &config.agents_dir,
        &config.sessions_dir,
        &config.world_memory_dir,
    ];
    let parts = parts
        .into_iter()
        .filter(|path| workspace.is_some() && path.starts_with(&config.workspace));
    let leads_out = |path: &&PathBuf| !insides.iter().any(|inside| is_within(path, inside));
    found.extend(parts.filter(leads_out).cloned());
    found.dedup();
    found.into_iter().map(Claim::Writes).collect()
}

/// Whether a path lies in `folder`, which is a real path, with the links of its existing part
/// followed. A `..` in the part that does not exist may lead anywhere later.
fn is_within(path: &Path, folder: &Path) -> bool {
    let mut above = path.ancestors();
    let existing = above.find_map(|above| Some((above.canonicalize().ok()?, above)));
    existing.is_some_and(|(real, above)| {
        let rest = path.strip_prefix(above).unwrap_or(path);
        let is_plain = !rest.components().any(|part| part.as_os_str() == "..");
        is_plain && real.starts_with(folder)
    })
}

/// What the workspace's own policy lets agents do: whoever wrote the folder wrote it, too.
fn of_policy(path: &Path) -> Vec<Claim> {
    let environment = |name: &str| std::env::var(name).ok();
    // With one that cannot be read every call is refused.
    let Ok(Some(policy)) = policy_files::read(path, &environment) else {
        return Vec::new();
    };
    let written = Written::of(fs::read_to_string(path).unwrap_or_default());
    let mut claims = Vec::new();
    if policy.mode.is_some_and(|(mode, _)| mode == Mode::Dangerous) {
        let what = "whatever its policy does not deny".to_owned();
        claims.push(Claim::Allows(what));
    }
    let runs_programs = |subject: Subject| subject != Subject::Builtin;
    let allowed = policy.allow.iter();
    let allowed = allowed.filter(|pattern| runs_programs(pattern.subject));
    claims.extend(allowed.map(|pattern| Claim::Allows(format!("`{}`", pattern.text))));
    for (rest, url) in written.below("notify.deliveries") {
        if rest.ends_with(".url") {
            let what = "what agents call".to_owned();
            let what = [vec![what], expand::names(url)].concat();
            claims.extend(sends(what, &host_of(url)));
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigSource, Overrides};

    fn config(folder: &Path, text: &str) -> Config {
        let file = folder.join("duragent.yaml");
        fs::write(&file, text).unwrap();
        let is_own = |name: &str| name.starts_with("DURAGENT_");
        let set = |name: &str| (!is_own(name)).then(|| "1:secret".to_owned());
        let loaded = Config::load(&ConfigSource::File(file), &Overrides::default(), &set);
        loaded.unwrap().config
    }

    fn listed(text: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let claims = claims(&config(folder.path(), text));
        claims.iter().map(Claim::to_string).collect()
    }

    #[test]
    fn what_only_answers_on_this_machine_claims_nothing() {
        for text in [
            "",
            "server: {port: 1, api_token: \"${TOKEN}\"}\nlogging: {file: log/duragent.log}\n",
            "workspace: data\nservices: {session: {path: ./s}}\nsandbox: {mode: bubblewrap, writable: [out]}\n",
            "providers: {groq: {allow_http: false}}\n",
        ] {
            assert_eq!(listed(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn programs_keys_doors_and_places_are_listed_without_a_secret() {
        for (text, expected) in [
            (
                "gateways: {external: [{name: irc, command: ./run, args: [-k, \"${KEY}\"], env: {A: \"${B}\"}}]}\n",
                &[
                    "starts the program ./run -k ${KEY}",
                    "sends KEY to ./run",
                    "sends B to ./run",
                ][..],
            ),
            (
                "gateways: {transcribe: [./hear, \"${KEY}\"]}\n",
                &["starts the program ./hear ${KEY}", "sends KEY to ./hear"],
            ),
            (
                "gateways: {transcribe: whisper -f}\n",
                &["starts the program whisper -f"],
            ),
            (
                "gateways: {telegram: {bot_token: \"${TG}\"}}\n",
                &["sends TG to api.telegram.org"],
            ),
            (
                "gateways: {telegram: [{name: a, enabled: false, bot_token: \"1:x\"}, {name: b, bot_token: \"${B}\"}]}\n",
                &["sends B to api.telegram.org"],
            ),
            (
                "gateways: {external: [{name: a, enabled: false, command: ./a}, {name: b, command: ./b}]}\n",
                &["starts the program ./b"],
            ),
            (
                "gateways: {telegram: {bot_token: \"1:x\", api_url: \"http://evil.example:1/x\"}}\n",
                &["sends gateways.telegram.bot_token to evil.example"],
            ),
            (
                "providers: {mine: {base_url: \"https://x.example/v1\", api_key_env: GROQ_API_KEY}}\n",
                &["sends GROQ_API_KEY to x.example"],
            ),
            (
                "providers: {groq: {api_key_env: GROQ_API_KEY}}\n",
                &["sends GROQ_API_KEY to api.groq.com"],
            ),
            (
                "providers: {openai: {base_url: \"https://x.example/v1\"}}\n",
                &["sends the key of openai to x.example"],
            ),
            (
                "providers: {groq: {api_key_command: [op, read, \"op://${VAULT}/key\"]}}\n",
                &[
                    "starts the program op read op://${VAULT}/key",
                    "sends VAULT to api.groq.com",
                ],
            ),
            (
                "providers: {groq: {api_key_command: [./key]}}\n",
                &[
                    "starts the program ./key",
                    "sends the key of groq to api.groq.com",
                ],
            ),
            (
                "providers: {groq: {headers: {X-Team: \"${HOME}\"}}}\n",
                &["sends HOME to api.groq.com"],
            ),
            (
                "web: {proxy: \"http://u:${GITHUB_TOKEN}@p.example:1\"}\n",
                &["sends GITHUB_TOKEN to p.example"],
            ),
            (
                "sandbox: {mode: docker, image: evil/image}\n",
                &["starts the program docker, with the image evil/image"],
            ),
            (
                "server: {host: 0.0.0.0, port: 9, api_token: abc, allowed_origins: [\"https://e.example\"], allowed_hosts: [h.example]}\n",
                &[
                    "listens on 0.0.0.0:9",
                    "lets web pages of https://e.example in",
                    "answers under the name h.example",
                ],
            ),
            (
                "web: {proxy: \"http://p.example:1\", allow_addresses: [10.0.0.0/8]}\n",
                &[
                    "sends what agents ask of the web to p.example",
                    "lets agents ask 10.0.0.0/8, as the web",
                ],
            ),
            (
                "server: {local_users: any}\n",
                &["lets every account of this machine in"],
            ),
            (
                "server: {local_users: [root, 0]}\n",
                &["lets the account 0 in"],
            ),
            (
                "sandbox: {mode: bubblewrap, env: [GITHUB_TOKEN]}\n",
                &["sends GITHUB_TOKEN to the programs that agents run"],
            ),
            (
                "logging: {file: \"${HOME}/.bashrc\"}\nagents_dir: /nowhere/agents\n",
                &["writes to ${HOME}/.bashrc", "writes to /nowhere/agents"],
            ),
            (
                "sandbox: {writable: [\"${HOME}/.ssh\"]}\n",
                &["writes to ${HOME}/.ssh"],
            ),
            (
                "logging: {file: /nowhere/.bashrc}\nworkspace: a/../../b\n",
                &["writes to /nowhere/.bashrc"],
            ),
        ] {
            let found = listed(text);
            for one in expected {
                assert!(found.iter().any(|claim| claim == one), "{one}: {found:?}");
            }
            assert!(!found.concat().contains("secret"), "{found:?}");
        }
        assert_eq!(listed("workspace: a/../../b\n").len(), 1);
    }

    #[test]
    fn a_link_in_the_workspace_that_leads_out_is_listed() {
        let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let config = config(folder.path(), "");
        fs::create_dir(&config.workspace).unwrap();
        assert_eq!(claims(&config), []);
        std::os::unix::fs::symlink(other.path(), &config.sessions_dir).unwrap();
        let without_file = Config {
            file: None,
            ..config.clone()
        };
        let expected = [Claim::Writes(config.sessions_dir.clone())];
        assert_eq!(claims(&config), expected);
        assert_eq!(claims(&without_file), expected);
        // One that leads to another place of the folder changes nothing outside.
        fs::remove_file(&config.sessions_dir).unwrap();
        fs::create_dir(folder.path().join("kept")).unwrap();
        std::os::unix::fs::symlink("../kept", &config.sessions_dir).unwrap();
        assert_eq!(claims(&config), []);
    }

    #[test]
    fn a_policy_that_lets_agents_run_programs_is_listed() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "");
        fs::create_dir(&config.workspace).unwrap();
        let head = "apiVersion: duragent/v1alpha1\nkind: Policy\n";
        for (rest, expected) in [
            ("deny: ['bash:rm *']\nallow: ['builtin:web*']\n", 0),
            ("mode: restrict\nallow: ['bash:ls', 'cli:x']\n", 2),
            ("mode: dangerous\n", 1),
            ("allow: ['*:*']\n", 1),
            (
                "notify: {deliveries: [{type: webhook, url: 'https://h.example/x'}]}\n",
                1,
            ),
        ] {
            fs::write(config.workspace.join(POLICY_FILE), format!("{head}{rest}")).unwrap();
            assert_eq!(claims(&config).len(), expected, "{rest}");
        }
    }

    #[test]
    fn the_sentence_names_all_of_it() {
        let sends = Claim::Sends {
            what: "K".to_owned(),
            to: "h".to_owned(),
        };
        let starts = |name: &str| Claim::Starts(name.to_owned());
        for (claims, expected) in [
            (vec![starts("a")], "This folder starts the program a"),
            (
                vec![starts("a"), starts("b"), sends.clone()],
                "This folder starts 2 programs (a, b) and sends K to h",
            ),
            (vec![sends], "This folder sends K to h"),
        ] {
            assert_eq!(sentence(&claims), expected);
        }
    }
}
