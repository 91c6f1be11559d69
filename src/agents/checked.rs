//! From what an agent's file says to what the program may rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::agents::{hooks, model, raw};
use crate::base::order;
use crate::base::text::TextError;
use crate::base::words;
use crate::base::yaml::expand::is_variable_name;
use crate::base::yaml::read::{At, ListOr, Report, or_default, plain};
use crate::domain::access::{
    AccessSpec, Activation, BotRule, BufferMode, ContextBuffer, DmAccess, DmPolicy, GroupAccess,
    GroupPolicy, IdPattern, Overflow, QueueMode, QueueSpec, SenderRule,
};
use crate::domain::event::OnDisconnect;
use crate::domain::ids::AgentName;
use crate::domain::models;
use crate::domain::prices::Cost;
use crate::domain::secret::Secret;
use crate::domain::spec::{
    API_VERSION, AgentSpec, BUILTIN_TOOLS, KIND, LimitsSpec, McpServer, MemoryScope, MemorySpec,
    ModelChoice, Prompts, Provider, REPLY_BYTES_RANGE, SessionSpec, ToolEffect, ToolRef,
    ToolResultSpec, ToolsCwd, Truncation, is_tool_name,
};
use crate::domain::time;
use crate::domain::trust::Kind;
use crate::domain::zone::Zone;
use crate::trust::{AgentFolder, ReadError};

/// The longest prompt file.
const PROMPT_BYTES_MAX: usize = 1 << 20;
/// Those that this version has; the others load with a warning.
const OFFERED_BUILTINS: &[&str] = &[
    "bash",
    "file",
    "memory",
    "reload_tools",
    "send_file",
    "session",
    "skill",
    "web",
];
const PATTERN_RULE: &str = "must be an identifier, or the beginning of some and a `*`";
/// No wait is longer than a day.
const SECONDS_MAX: u64 = 24 * 60 * 60;
/// Ten years, which no clock overflows.
const HOURS_MAX: u64 = 10 * 366 * 24;

/// Checks what the file in `folder` says; its directives and skills are still to be read.
/// `providers` are those that the server knows beside the table. `None` when something is missing that has no default;
/// the reasons, and all the other problems, are in `report`.
pub(super) fn agent(
    file: At<raw::AgentFile>,
    folder: &Path,
    providers: &[Provider],
    files: &AgentFolder<'_>,
    report: &mut Report,
) -> Option<AgentSpec> {
    note_what_has_no_effect(&file.value, report);
    let (file, raw) = file.split();
    header(&file, raw.api_version, raw.kind, report);
    let metadata = report.require(&file, "metadata", raw.metadata);
    let (metadata, about) = metadata.map(At::split).unzip();
    let about = about.unwrap_or_default();
    let spec = report.require(&file, "spec", raw.spec);
    let (spec, raw) = spec.map(At::split).unzip();
    let raw = raw.unwrap_or_default();

    let name = metadata.and_then(|at| agent_name(&at, about.name, folder, report));
    let model = spec.and_then(|at| model::model(&at, raw.model, providers, report));
    let prompts = Prompts {
        soul: prompt(raw.soul, "SOUL.md", folder, files, report),
        system_prompt: prompt(raw.system_prompt, "SYSTEM_PROMPT.md", folder, files, report),
        instructions: prompt(raw.instructions, "INSTRUCTIONS.md", folder, files, report),
    };
    let access = access(or_default(raw.access), report);
    let skills_dir = skills_dir(raw.skills_dir, folder, report);
    let main = model.as_ref().map(|model| &model.main);
    let session = session(*or_default(raw.session), main, providers, report);
    let memory = memory(raw.memory, &access, report);
    let limits = limits(raw.limits, report);
    let tools = tools(or_default(raw.tools), files, report);
    let hooks = hooks::hooks(raw.hooks, report);
    let tools_cwd = report.choice_or(raw.tools_cwd, ToolsCwd::WORDS, ToolsCwd::default());
    let zone = zone(raw.timezone, report);
    Some(AgentSpec {
        name: name?,
        description: plain(about.description),
        version: plain(about.version),
        labels: plain_map(or_default(about.labels)),
        model: model?,
        prompts,
        directives: Vec::new(),
        session,
        home: folder.to_owned(),
        memory,
        limits,
        tools,
        skills_dir,
        skills: Vec::new(),
        access,
        hooks,
        tools_cwd,
        zone,
    })
}

fn zone(found: Option<At<String>>, report: &mut Report) -> Zone {
    let Some(at) = found else {
        return Zone::default();
    };
    // There without any database.
    if at.value == "UTC" {
        return Zone::default();
    }
    TimeZone::get(&at.value).map_or_else(
        |_| {
            let must = "must be a zone of this system's database (package `tzdata`), \
                        such as `Europe/Berlin`";
            report.error(&at, must.to_owned());
            Zone::default()
        },
        Zone::from,
    )
}

/// What this version reads and does not use. Whoever makes one of them work takes it out of here
/// and out of the "not yet" of `docs/agent-format.md`.
fn note_what_has_no_effect(file: &raw::AgentFile, report: &mut Report) {
    let Some(At { value: spec, .. }) = &file.spec else {
        return;
    };
    if let Some(At { value: session, .. }) = &spec.session {
        report.no_effect(session.compaction.as_ref());
    }
}

fn header(
    file: &At<()>,
    api_version: Option<At<String>>,
    kind: Option<At<String>>,
    report: &mut Report,
) {
    if let Some(at) = report.require(file, "apiVersion", api_version) {
        report.choice(&at, &[(API_VERSION, ())]);
    }
    if let Some(at) = report.require(file, "kind", kind) {
        report.choice(&at, &[(KIND, ())]);
    }
}

fn agent_name(
    metadata: &At<()>,
    name: Option<At<String>>,
    folder: &Path,
    report: &mut Report,
) -> Option<AgentName> {
    let at = report.require(metadata, "name", name)?;
    let Ok(name) = AgentName::parse(&at.value) else {
        report.error(&at, "must be 1 to 64 letters, digits, `-` or `_`");
        return None;
    };
    let folder_name = folder.file_name().unwrap_or_default().to_string_lossy();
    if folder_name != name.as_str() {
        let must = format!("is `{name}`, but the agent's folder is called `{folder_name}`");
        report.error(&at, must);
        return None;
    }
    Some(name)
}

/// The text of a prompt: inline, from the file that is named, or from the usual file if there is
/// one and none is named.
fn prompt(
    found: Option<At<String>>,
    usual_name: &str,
    folder: &Path,
    files: &AgentFolder<'_>,
    report: &mut Report,
) -> Option<String> {
    let Some(at) = found else {
        return usual_prompt(usual_name, folder, files, report);
    };
    if !is_path(&at.value) {
        return Some(at.value);
    }
    match files.read(&folder.join(&at.value), PROMPT_BYTES_MAX) {
        Ok(text) => Some(text),
        Err(error) => {
            report.error(&at, format!("names the file {}, which {error}", at.value));
            None
        }
    }
}

fn usual_prompt(
    name: &str,
    folder: &Path,
    files: &AgentFolder<'_>,
    report: &mut Report,
) -> Option<String> {
    match files.read(&folder.join(name), PROMPT_BYTES_MAX) {
        Ok(text) => Some(text),
        Err(ReadError::Text(TextError::Missing)) => None,
        Err(error) => {
            report.error_of_file(format!("the file {name} beside it {error}"));
            None
        }
    }
}

/// Whether a prompt is the name of a file: one line that begins with `./` or `../`, or a single
/// word that ends in `.md`.
fn is_path(text: &str) -> bool {
    let is_one_line = !text.contains('\n');
    let is_relative = text.starts_with("./") || text.starts_with("../");
    let is_word = !text.contains(char::is_whitespace);
    is_one_line && (is_relative || (is_word && text.ends_with(".md")))
}

/// The folder of skills; one that is named should exist.
fn skills_dir(found: Option<At<String>>, folder: &Path, report: &mut Report) -> PathBuf {
    let Some(at) = found else {
        return folder.join("skills");
    };
    let skills_dir = folder.join(&at.value);
    if !skills_dir.is_dir() {
        report.warning(&at, "names a folder that does not exist");
    }
    skills_dir
}

fn session(
    raw: raw::Session,
    main: Option<&ModelChoice>,
    providers: &[Provider],
    report: &mut Report,
) -> SessionSpec {
    const SWITCH: &[(&str, bool)] = &[("on", true), ("off", false)];
    const DISCONNECT: &[(&str, OnDisconnect)] = &[
        ("pause", OnDisconnect::Pause),
        ("continue", OnDisconnect::Continue),
    ];
    const LOOP_GUARD: &[(&str, bool)] = &[("on", true), ("off", false)];
    let usual = SessionSpec::default();
    let context = or_default(raw.context);
    let max_history_tokens = plain(context.max_history_tokens.clone());
    let iterations = report.within(raw.max_tool_iterations, 1..=1_000);
    let timeout = report.within(raw.llm_timeout_seconds, 1..=SECONDS_MAX);
    SessionSpec {
        on_disconnect: report.choice_or(raw.on_disconnect, DISCONNECT, usual.on_disconnect),
        max_tool_iterations: iterations
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(usual.max_tool_iterations),
        loop_guard: report.choice_or(raw.loop_guard, LOOP_GUARD, usual.loop_guard),
        llm_timeout: timeout.map_or(usual.llm_timeout, Duration::from_secs),
        ttl_hours: report.within(raw.ttl_hours, 0..=HOURS_MAX),
        approval_timeout: duration(raw.approval_timeout, report),
        max_history_tokens: max_history_tokens
            .unwrap_or_else(|| models::usual_history_tokens(main.and_then(known_window))),
        tool_results: tool_results(context, report),
        summary: report.choice_or(raw.summary, SWITCH, usual.summary),
        summary_model: model::summary_model(raw.summary_model, main, providers, report),
    }
}

/// What a model takes, as far as its file or its name tells.
fn known_window(model: &ModelChoice) -> Option<u64> {
    let told = model.settings.max_input_tokens;
    told.or_else(|| models::known_context_tokens(&model.name))
}

/// A time as a number with its unit.
fn duration(found: Option<At<String>>, report: &mut Report) -> Option<Duration> {
    const RULE: &str =
        "must be a number with its unit, from 1s to 3660d: `90s`, `30m`, `24h`, `7d`";
    let at = found?;
    let duration = time::parse_duration(&at.value)
        .filter(|time| (1..=HOURS_MAX * 3600).contains(&time.as_secs()));
    if duration.is_none() {
        report.error(&at, RULE);
    }
    duration
}

fn tool_results(raw: raw::Context, report: &mut Report) -> ToolResultSpec {
    let usual = ToolResultSpec::default();
    ToolResultSpec {
        max_tokens: report
            .at_least(raw.max_tool_result_tokens, 1)
            .unwrap_or(usual.max_tokens),
        truncation: report.choice_or(
            raw.tool_result_truncation,
            Truncation::WORDS,
            usual.truncation,
        ),
        keep_first: plain(raw.tool_result_keep_first).unwrap_or(usual.keep_first),
        keep_last: plain(raw.tool_result_keep_last).unwrap_or(usual.keep_last),
    }
}

fn memory(found: Option<At<raw::Memory>>, access: &AccessSpec, report: &mut Report) -> MemorySpec {
    let raw = or_default(found);
    // What one stranger told the agent must not reach the next one unasked.
    let usual_scope = if access.lets_strangers_in() {
        MemoryScope::Chat
    } else {
        MemoryScope::Agent
    };
    let backend = raw
        .backend
        .and_then(|at| report.choice(&at, &[("filesystem", ())]));
    MemorySpec {
        enabled: backend.is_some(),
        scope: report.choice_or(raw.scope, MemoryScope::WORDS, usual_scope),
    }
}

fn limits(found: Option<At<raw::Limits>>, report: &mut Report) -> LimitsSpec {
    let raw = or_default(found);
    LimitsSpec {
        tokens_per_day: report.at_least(raw.tokens_per_day, 1),
        turns_per_hour: report.at_least(raw.turns_per_hour, 1),
        cost_per_day: report
            .within(raw.cost_per_day, 0.000_001..=1e9)
            .map(Cost::new),
        reply_bytes: report.within(raw.reply_bytes, REPLY_BYTES_RANGE),
    }
}

fn tools(found: Vec<At<raw::Tool>>, files: &AgentFolder<'_>, report: &mut Report) -> Vec<ToolRef> {
    let mut names = BTreeSet::new();
    let mut tools = Vec::new();
    for found in found {
        let (at, raw) = found.split();
        let Some(tool) = tool(&at, raw, &mut names, files, report) else {
            continue;
        };
        if !is_offered(&tool) {
            let remark = format!("(`{}`) is not offered by this version", tool.name());
            report.warning(&at, remark);
        }
        tools.push(tool);
    }
    tools
}

fn tool(
    at: &At<()>,
    mut raw: raw::Tool,
    names: &mut BTreeSet<String>,
    files: &AgentFolder<'_>,
    report: &mut Report,
) -> Option<ToolRef> {
    let kind = report.require(at, "type", raw.kind.take());
    let name = tool_name(at, raw.name.take(), names, report);
    match report.choice(&kind?, TOOL_KINDS)? {
        ToolType::Builtin => builtin(name?, raw, report),
        ToolType::Cli => cli(at, name?, raw, report),
        ToolType::Mcp => mcp(at, name?, raw, files, report),
    }
}

fn is_offered(tool: &ToolRef) -> bool {
    match tool {
        ToolRef::Builtin { name } => OFFERED_BUILTINS.contains(&name.as_str()),
        ToolRef::Cli { .. } => true,
        ToolRef::Mcp { .. } => false,
    }
}

#[derive(Clone, Copy)]
enum ToolType {
    Builtin,
    Cli,
    Mcp,
}

const TOOL_KINDS: &[(&str, ToolType)] = &[
    ("builtin", ToolType::Builtin),
    ("cli", ToolType::Cli),
    ("mcp", ToolType::Mcp),
];

fn tool_name(
    tool: &At<()>,
    found: Option<At<String>>,
    names: &mut BTreeSet<String>,
    report: &mut Report,
) -> Option<At<String>> {
    let at = report.require(tool, "name", found)?;
    if !is_tool_name(&at.value) {
        report.error(&at, "must be 1 to 64 letters, digits, `-` or `_`");
        return None;
    }
    if !names.insert(at.value.clone()) {
        report.error(&at, format!("is `{}`, like a tool before it", at.value));
        return None;
    }
    Some(at)
}

fn builtin(name: At<String>, raw: raw::Tool, report: &mut Report) -> Option<ToolRef> {
    let known = BUILTIN_TOOLS.map(|word| (word, ()));
    report.choice(&name, &known)?;
    let name = name.value;
    Unused::of(raw).report("builtin", report);
    Some(ToolRef::Builtin { name })
}

fn cli(at: &At<()>, name: At<String>, mut raw: raw::Tool, report: &mut Report) -> Option<ToolRef> {
    let effect = report.choice_or(raw.effect.take(), ToolEffect::WORDS, ToolEffect::default());
    let command = report.require(at, "command", raw.command.take());
    let description = plain(raw.description.take());
    let readme = plain(raw.readme.take());
    let args = fixed_args(raw.args.take(), report);
    let env = match raw.env.take() {
        Some(env) => env_names(env, report),
        None => Vec::new(),
    };
    Unused::of(raw).report("cli", report);
    Some(ToolRef::Cli {
        name: name.value,
        command: command?.value,
        args,
        description,
        readme,
        effect,
        env,
    })
}

/// The variables of the server's environment that a program is to be told.
fn env_names(found: At<EnvValues>, report: &mut Report) -> Vec<String> {
    let (at, env) = found.split();
    let ListOr::List(names) = env else {
        report.error(&at, "must be a list of variables' names");
        return Vec::new();
    };
    let mut checked = Vec::new();
    for name in names {
        if is_variable_name(&name.value) {
            checked.push(name.value)
        } else {
            report.error(&name, "must be the name of a variable")
        }
    }
    checked
}

fn mcp(
    at: &At<()>,
    name: At<String>,
    mut raw: raw::Tool,
    files: &AgentFolder<'_>,
    report: &mut Report,
) -> Option<ToolRef> {
    let server = if files.waits_for_trust(Kind::Mcp, &format!("spec.tools[{}]", name.value)) {
        None
    } else if let Some(url) = raw.url.take() {
        Some(McpServer::Url(Secret::new(url.value)))
    } else {
        Some(mcp_command(at, &mut raw, report)?)
    };
    Unused::of(raw).report("mcp", report);
    Some(ToolRef::Mcp {
        name: name.value,
        server,
    })
}

fn mcp_command(at: &At<()>, raw: &mut raw::Tool, report: &mut Report) -> Option<McpServer> {
    let command = report.require(at, "command", raw.command.take());
    let args = fixed_args(raw.args.take(), report);
    let env = match raw.env.take() {
        Some(found) => env_values(found, report),
        None => BTreeMap::new(),
    };
    Some(McpServer::Command {
        command: command?.value,
        args: args.into_iter().map(Secret::new).collect(),
        env,
    })
}

/// The arguments that a program always gets: a list, or a text with all of them.
fn fixed_args(found: Option<At<ListOr<String, String>>>, report: &mut Report) -> Vec<String> {
    let Some((at, found)) = found.map(At::split) else {
        return Vec::new();
    };
    match found {
        ListOr::List(args) => args.into_iter().map(|at| at.value).collect(),
        ListOr::Other(text) => words::split(&text).unwrap_or_else(|why| {
            report.error(&at, why.to_string());
            Vec::new()
        }),
    }
}

fn env_values(found: At<EnvValues>, report: &mut Report) -> BTreeMap<String, Secret> {
    let (at, env) = found.split();
    let ListOr::Other(values) = env else {
        report.error(&at, "must be a mapping of names to values");
        return BTreeMap::new();
    };
    let values = values.into_iter();
    order::map(values.map(|(name, at)| (name, Secret::new(at.value))))
}

type EnvValues = ListOr<String, BTreeMap<String, At<String>>>;

/// The keys of a tool that its kind did not take.
struct Unused(Vec<At<()>>);

impl Unused {
    fn of(raw: raw::Tool) -> Unused {
        let texts = [
            raw.command,
            raw.description,
            raw.readme,
            raw.effect,
            raw.url,
        ];
        let mut left: Vec<At<()>> = texts.iter().flatten().map(At::place).collect();
        left.extend(raw.args.iter().map(At::place));
        left.extend(raw.env.iter().map(At::place));
        Unused(left)
    }

    fn report(self, kind: &str, report: &mut Report) {
        for at in self.0 {
            report.misplaced(&at, format!("means nothing for this tool of type `{kind}`"));
        }
    }
}

fn plain_map(map: BTreeMap<String, At<String>>) -> BTreeMap<String, String> {
    order::map(map.into_iter().map(|(key, at)| (key, at.value)))
}

fn access(raw: raw::Access, report: &mut Report) -> AccessSpec {
    let dm = or_default(raw.dm);
    AccessSpec {
        dm: DmAccess {
            policy: report.choice_or(dm.policy, DmPolicy::WORDS, DmPolicy::default()),
            allowlist: patterns(or_default(dm.allowlist), report),
        },
        groups: groups(or_default(raw.groups), report),
        approvers: patterns(or_default(raw.approvers), report),
        requester_approves: plain(raw.requester_approves) == Some(true),
    }
}

fn patterns(texts: Vec<At<String>>, report: &mut Report) -> Vec<IdPattern> {
    texts
        .into_iter()
        .filter_map(|at| {
            let pattern = IdPattern::parse(&at.value);
            if pattern.is_none() {
                report.error(&at, PATTERN_RULE);
            }
            pattern
        })
        .collect()
}

fn groups(raw: raw::Groups, report: &mut Report) -> GroupAccess {
    GroupAccess {
        policy: report.choice_or(raw.policy, GroupPolicy::WORDS, GroupPolicy::default()),
        allowlist: patterns(or_default(raw.allowlist), report),
        activation: report.choice_or(raw.activation, Activation::WORDS, Activation::default()),
        bots: report.choice_or(raw.bots, BotRule::WORDS, BotRule::default()),
        sender_default: report.choice_or(
            raw.sender_default,
            SenderRule::WORDS,
            SenderRule::default(),
        ),
        sender_overrides: overrides(or_default(raw.sender_overrides), report),
        context_buffer: buffer(or_default(raw.context_buffer), report),
        queue: queue(or_default(raw.queue), report),
    }
}

/// The overrides in the order in which they are tried: exact ones, then longer prefixes before
/// shorter ones.
fn overrides(
    map: BTreeMap<String, At<String>>,
    report: &mut Report,
) -> Vec<(IdPattern, SenderRule)> {
    let mut found: Vec<(IdPattern, SenderRule)> = Vec::new();
    for (id, at) in map {
        let rule = report.choice(&at, SenderRule::WORDS);
        match IdPattern::parse(&id) {
            Some(pattern) => found.extend(rule.map(|rule| (pattern, rule))),
            None => report.error(&at, PATTERN_RULE),
        }
    }
    order::sort_by_key(&mut found, |(pattern, _)| match pattern {
        IdPattern::Exact(_) => (0, 0),
        IdPattern::Prefix(start) => (1, usize::MAX - start.len()),
    });
    found
}

fn buffer(raw: raw::Buffer, report: &mut Report) -> ContextBuffer {
    let usual = ContextBuffer::default();
    ContextBuffer {
        mode: report.choice_or(raw.mode, BufferMode::WORDS, usual.mode),
        max_messages: plain(raw.max_messages).unwrap_or(usual.max_messages),
        max_age_hours: report
            .within(raw.max_age_hours, 1..=HOURS_MAX)
            .unwrap_or(usual.max_age_hours),
    }
}

fn queue(raw: raw::Queue, report: &mut Report) -> QueueSpec {
    let usual = QueueSpec::default();
    QueueSpec {
        mode: report.choice_or(raw.mode, QueueMode::WORDS, usual.mode),
        max_pending: report
            .at_least(raw.max_pending, 1)
            .unwrap_or(usual.max_pending),
        overflow: report.choice_or(raw.overflow, Overflow::WORDS, usual.overflow),
        reject_message: plain(raw.reject_message),
        debounce: debounce(or_default(raw.debounce), usual.debounce, report),
    }
}

fn debounce(raw: raw::Debounce, usual: Option<Duration>, report: &mut Report) -> Option<Duration> {
    let window = report
        .within(raw.window_ms, 1..=60_000)
        .map(Duration::from_millis);
    match plain(raw.enabled) {
        Some(false) => None,
        Some(true) | None => window.or(usual),
    }
}
