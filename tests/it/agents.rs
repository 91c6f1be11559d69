//! Agent files: what loads, what is said about what does not, and reloads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use duragent::agents::{self, AgentDirectory};
use duragent::domain::access::*;
use duragent::domain::event::OnDisconnect;
use duragent::domain::hooks::Hooks;
use duragent::domain::ids::AgentName;
use duragent::domain::prices::Cost;
use duragent::domain::secret::Secret;
use duragent::domain::spec::*;
use duragent::domain::zone::Zone;
use duragent::trust::{GrantStore, Grants, WorkspaceTrust};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The example of the README, word for word.
const QUICK_START: &str = "\
apiVersion: duragent/v1alpha1
kind: Agent
metadata:
  name: my-assistant
spec:
  model:
    provider: openrouter
    name: anthropic/claude-sonnet-4
  system_prompt: ./SYSTEM_PROMPT.md
  session:
    on_disconnect: pause
";

/// A folder of agents.
struct Agents(TempDir);

impl Agents {
    fn new() -> Agents {
        Agents(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn home(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file of an agent.
    fn write(&self, name: &str, file: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.home(name)).unwrap();
        fs::write(self.home(name).join(file), text).unwrap();
    }

    /// Writes an agent that echoes, with `more` in its `spec`.
    fn write_echo(&self, name: &str, more: &str) {
        self.write(name, "agent.yaml", echo(name, more));
    }

    fn load(&self) -> AgentDirectory {
        AgentDirectory::load(self.path(), Arc::new(environment), trust(self.path()))
    }

    /// What is said about the agent called `a`, without its path.
    fn problems(&self) -> Vec<String> {
        let home = self.home("a");
        agents::validate(&home, &environment, &[], &trust(self.path()))
            .iter()
            .map(|problem| {
                problem
                    .to_string()
                    .replace(&format!("{}/", home.display()), "")
            })
            .collect()
    }
}

/// An agent whose `spec` continues at line 9.
fn echo(name: &str, more: &str) -> String {
    format!(
        "apiVersion: duragent/v1alpha1\nkind: Agent\nmetadata:\n  name: {name}\n\
         spec:\n  model:\n    provider: echo\n    name: echo\n{more}"
    )
}

fn environment(name: &str) -> Option<String> {
    match name {
        "MODEL" => Some("small".to_owned()),
        "TOKEN" => Some("hunter2".to_owned()),
        _ => None,
    }
}

/// An owner who trusts all agents.
fn trust(workspace: &Path) -> Arc<WorkspaceTrust> {
    let store = GrantStore::new(None, workspace, None);
    Arc::new(WorkspaceTrust::new(
        workspace,
        store,
        Grants::All,
        Arc::new(|_| true),
    ))
}

fn provider(name: &str) -> Provider {
    Provider::parse(name).unwrap()
}

fn name(text: &str) -> AgentName {
    AgentName::parse(text).unwrap()
}

fn names(found: &[Arc<AgentSpec>]) -> Vec<&str> {
    found.iter().map(|spec| spec.name.as_str()).collect()
}

#[test]
fn the_example_of_the_readme_loads() {
    let agents = Agents::new();
    agents.write("my-assistant", "agent.yaml", QUICK_START);
    let prompt = "You are a helpful assistant. Be concise and actionable.\n";
    agents.write("my-assistant", "SYSTEM_PROMPT.md", prompt);

    let directory = agents.load();

    let home = agents.home("my-assistant");
    let expected = AgentSpec {
        name: name("my-assistant"),
        description: None,
        version: None,
        labels: BTreeMap::new(),
        model: ModelSpec {
            main: ModelChoice {
                provider: Provider::OPENROUTER,
                name: "anthropic/claude-sonnet-4".to_owned(),
                base_url: None,
                settings: Default::default(),
            },
            fallbacks: Vec::new(),
        },
        prompts: Prompts {
            soul: None,
            system_prompt: Some(prompt.to_owned()),
            instructions: None,
        },
        directives: Vec::new(),
        session: SessionSpec {
            on_disconnect: OnDisconnect::Pause,
            max_tool_iterations: 10,
            loop_guard: true,
            llm_timeout: Duration::from_secs(300),
            ttl_hours: None,
            approval_timeout: None,
            // A quarter of what the model takes.
            max_history_tokens: 50_000,
            tool_results: ToolResultSpec {
                max_tokens: 8_000,
                truncation: Truncation::Head,
                keep_first: 2,
                keep_last: 5,
            },
            summary: true,
            summary_model: None,
        },
        skills_dir: home.join("skills"),
        skills: Vec::new(),
        home,
        memory: MemorySpec {
            enabled: false,
            scope: MemoryScope::Agent,
        },
        limits: LimitsSpec::default(),
        tools: Vec::new(),
        access: AccessSpec::default(),
        hooks: Hooks::default(),
        tools_cwd: ToolsCwd::Work,
        zone: Zone::default(),
    };
    assert_eq!(*directory.get(&name("my-assistant")).unwrap(), expected);
    assert_eq!(directory.problems(), []);
}

const EVERYTHING: &str = r#"
  soul: I am ${MODEL}.
  instructions: |
    Be brief.
    ./SOUL.md
  session:
    on_disconnect: continue
    max_tool_iterations: 3
    loop_guard: off
    llm_timeout_seconds: 60
    ttl_hours: 24
    approval_timeout: 90m
    compaction: summarize
    summary: off
    summary_model: {provider: groq, name: "${MODEL}"}
    context:
      max_history_tokens: 0
      max_tool_result_tokens: 100
      tool_result_truncation: both
      tool_result_keep_first: 0
      tool_result_keep_last: 1
  memory: {backend: filesystem}
  limits: {tokens_per_day: 1000, turns_per_hour: 10, cost_per_day: 2.5, reply_bytes: 4096}
  tools:
    - {type: builtin, name: bash}
    - {type: cli, name: date, command: date -u, description: The time, effect: read, env: [TOKEN]}
    - {type: mcp, name: files, command: mcp-files, args: [--root, /], env: {TOKEN: "${TOKEN}"}}
    - {type: mcp, name: far, url: "https://example.org/${TOKEN}"}
  skills_dir: ../shared/skills
  access:
    dm: {policy: allowlist, allowlist: [12345, "tg:*"]}
    approvers: [12345]
    groups:
      policy: open
      allowlist: ["telegram:-100"]
      activation: always
      sender_default: passive
      sender_overrides: {"4*": silent, "42*": allow, 42: block}
      context_buffer: {mode: passive, max_messages: 5, max_age_hours: 1}
      queue:
        mode: sequential
        max_pending: 2
        overflow: reject
        reject_message: Later.
        debounce: {enabled: false, window_ms: 10}
"#;

#[test]
fn every_key_ends_up_in_the_spec() {
    let agents = Agents::new();
    agents.write_echo("a", EVERYTHING);
    agents.write(
        "a",
        "SYSTEM_PROMPT.md",
        "Found beside it. ${MODEL} {{date}}",
    );

    let directory = agents.load();
    let spec = directory.get(&name("a")).unwrap();

    let text = |text: &str| Some(text.to_owned());
    let exact = |id: &str| IdPattern::Exact(id.to_owned());
    let prefix = |id: &str| IdPattern::Prefix(id.to_owned());
    assert_eq!(
        spec.prompts,
        Prompts {
            soul: text("I am small."),
            // Variables of the environment are none in Markdown.
            system_prompt: text("Found beside it. ${MODEL} {{date}}"),
            instructions: text("Be brief.\n./SOUL.md\n"),
        }
    );
    assert_eq!(
        spec.session,
        SessionSpec {
            on_disconnect: OnDisconnect::Continue,
            max_tool_iterations: 3,
            loop_guard: false,
            llm_timeout: Duration::from_secs(60),
            ttl_hours: Some(24),
            approval_timeout: Some(Duration::from_secs(90 * 60)),
            max_history_tokens: 0,
            tool_results: ToolResultSpec {
                max_tokens: 100,
                truncation: Truncation::Both,
                keep_first: 0,
                keep_last: 1,
            },
            summary: false,
            summary_model: Some(Box::new(ModelChoice::new(provider("groq"), "small"))),
        }
    );
    // Groups are let in, so each chat has a memory of its own.
    let scope = MemoryScope::Chat;
    assert_eq!(
        spec.memory,
        MemorySpec {
            enabled: true,
            scope
        }
    );
    let limits = LimitsSpec {
        tokens_per_day: Some(1000),
        turns_per_hour: Some(10),
        cost_per_day: Some(Cost::new(2.5)),
        reply_bytes: Some(4096),
    };
    assert_eq!(spec.limits, limits);
    assert_eq!(
        spec.tools,
        [
            ToolRef::Builtin {
                name: "bash".to_owned()
            },
            ToolRef::Cli {
                name: "date".to_owned(),
                command: "date -u".to_owned(),
                args: Vec::new(),
                description: text("The time"),
                readme: None,
                effect: ToolEffect::Read,
                env: vec!["TOKEN".to_owned()],
            },
            ToolRef::Mcp {
                name: "files".to_owned(),
                server: Some(McpServer::Command {
                    command: "mcp-files".to_owned(),
                    args: vec![Secret::new("--root"), Secret::new("/")],
                    env: BTreeMap::from([("TOKEN".to_owned(), Secret::new("hunter2"))]),
                }),
            },
            ToolRef::Mcp {
                name: "far".to_owned(),
                server: Some(McpServer::Url(Secret::new("https://example.org/hunter2"))),
            },
        ]
    );
    assert_eq!(spec.skills_dir, agents.home("a").join("../shared/skills"));
    assert_eq!(
        spec.access,
        AccessSpec {
            dm: DmAccess {
                policy: DmPolicy::Allowlist,
                allowlist: vec![exact("12345"), prefix("tg:")],
            },
            approvers: vec![exact("12345")],
            requester_approves: false,
            groups: GroupAccess {
                policy: GroupPolicy::Open,
                allowlist: vec![exact("telegram:-100")],
                activation: Activation::Always,
                bots: BotRule::Ignore,
                sender_default: SenderRule::Passive,
                sender_overrides: vec![
                    (exact("42"), SenderRule::Block),
                    (prefix("42"), SenderRule::Allow),
                    (prefix("4"), SenderRule::Silent),
                ],
                context_buffer: ContextBuffer {
                    mode: BufferMode::Passive,
                    max_messages: 5,
                    max_age_hours: 1,
                },
                queue: QueueSpec {
                    mode: QueueMode::Sequential,
                    max_pending: 2,
                    overflow: Overflow::Reject,
                    reject_message: text("Later."),
                    debounce: None,
                },
            },
        }
    );
    assert!(!format!("{spec:?} {}", spec.public_json()).contains("hunter2"));
}

#[test]
fn agents_load_on_the_smallest_stack() {
    let agents = Agents::new();
    agents.write_echo("a", EVERYTHING);
    let thread = std::thread::Builder::new().stack_size(duragent::base::thread::STACK_SMALL);
    let load = move || agents.load().list().len();
    assert_eq!(thread.spawn(load).unwrap().join().unwrap(), 1);
}

#[test]
fn what_has_no_effect_yet_is_said() {
    let agents = Agents::new();
    agents.write_echo("a", EVERYTHING);
    let said = agents.problems();
    let wanted = "`spec.session.compaction` has no effect yet";
    assert!(said.iter().any(|one| one.ends_with(wanted)), "{said:#?}");
    let wanted = "agent.yaml:35:7: `spec.tools[2]` (`files`) is not offered by this version";
    assert!(said.iter().any(|one| one == wanted), "{said:#?}");
}

#[test]
fn max_tokens_is_another_name_of_max_output_tokens() {
    let agents = Agents::new();
    for (keys, expected) in [
        ("max_tokens: 9", Ok(Some(9))),
        ("max_tokens: 9\n    max_output_tokens: 9", Ok(Some(9))),
        ("max_output_tokens: 8", Ok(Some(8))),
        (
            "max_tokens: 9\n    max_output_tokens: 8",
            Err(
                "agent.yaml:9:17: `spec.model.max_tokens` is another name of `max_output_tokens`, which is 8",
            ),
        ),
        (
            "max_tokens: 0",
            Err("agent.yaml:9:17: `spec.model.max_tokens` must be at least 1, not 0"),
        ),
    ] {
        agents.write_echo("a", &format!("    {keys}\n"));
        let problems = agents.problems();
        match expected {
            Ok(tokens) => {
                assert_eq!(problems, Vec::<String>::new());
                let spec = agents.load().get(&name("a")).unwrap();
                assert_eq!(spec.model.main.settings.max_output_tokens, tokens, "{keys}");
            }
            Err(expected) => assert_eq!(problems, [expected]),
        }
    }
}

#[test]
fn a_model_is_asked_as_its_own_settings_say() {
    let agents = Agents::new();
    agents.write_echo(
        "a",
        "    temperature: 0.5\n    top_p: 0.9\n    seed: 7\n    stop: END\n    max_input_tokens: 9000\n    \
         reasoning: {effort: low, max_tokens: 100}\n    stream: false\n    input: [text, image]\n    \
         tool_text: true\n    prompt: lean\n    headers: {X-Title: \"mine ${TOKEN}\"}\n    \
         extra_body:\n      tier: flex\n      size: ${MODEL}\n      none: null\n      deep: {a: [1, -2.5, true, \"1\", {b: ~}]}\n    \
         fallbacks:\n      - {provider: echo, name: other}\n      \
         - {provider: echo, name: third, temperature: 0, stop: [A, B], input: [pdf], extra_body: {x: 1}}\n",
    );
    assert_eq!(agents.problems(), Vec::<String>::new());
    let spec = agents.load().get(&name("a")).unwrap();
    let reasoning = ReasoningSettings {
        effort: Some("low".to_owned()),
        max_tokens: Some(100),
    };
    let image = ModelInput {
        image: true,
        pdf: false,
    };
    let body = |body: Value| body.as_object().unwrap().clone();
    let main = ModelSettings {
        temperature: Some(0.5),
        top_p: Some(0.9),
        seed: Some(7),
        stop: vec!["END".to_owned()],
        max_output_tokens: None,
        max_input_tokens: Some(9000),
        reasoning: Some(reasoning),
        stream: Some(false),
        extra_body: body(json!({
            "tier": "flex", "size": "small", "none": null, "deep": {"a": [1, -2.5, true, "1", {"b": null}]},
        })),
        headers: [("x-title".to_owned(), Secret::new("mine hunter2"))].into(),
        input: Some(image),
        tool_text: Some(true),
        prompt: Some(PromptSize::Lean),
    };
    assert_eq!(spec.model.main.settings, main);
    assert!(!format!("{spec:?}").contains("hunter2"));
    assert!(!spec.public_json().to_string().contains("hunter2"));
    let shown = &spec.public_json()["spec"]["model"];
    assert_eq!(shown["top_p"], 0.9);
    assert_eq!(
        shown["reasoning"],
        json!({"effort": "low", "max_tokens": 100})
    );
    assert_eq!(shown["input"], json!(["text", "image"]));
    assert_eq!(
        (&shown["stream"], &shown["prompt"]),
        (&json!(false), &json!("lean"))
    );
    assert_eq!(shown["fallbacks"][1]["stop"], json!(["A", "B"]));
    // A fallback is asked alike, as far as that is no matter of one model or provider.
    let alike = ModelSettings {
        max_input_tokens: None,
        extra_body: serde_json::Map::new(),
        headers: BTreeMap::new(),
        input: None,
        tool_text: None,
        prompt: None,
        ..main
    };
    assert_eq!(spec.model.fallbacks[0].settings, alike);
    let own = ModelSettings {
        temperature: Some(0.0),
        stop: vec!["A".to_owned(), "B".to_owned()],
        extra_body: body(json!({"x": 1})),
        input: Some(ModelInput {
            image: false,
            pdf: true,
        }),
        ..alike
    };
    assert_eq!(spec.model.fallbacks[1].settings, own);
}

#[test]
fn who_asked_may_approve_and_bots_are_heard_where_access_says_so() {
    let agents = Agents::new();
    agents.write_echo(
        "a",
        "  access: {requester_approves: true, groups: {bots: allow}}\n",
    );
    let access = agents.load().list()[0].access.clone();
    assert!(access.requester_approves);
    assert_eq!(access.groups.bots, BotRule::Allow);
    assert!(!AccessSpec::default().requester_approves);
    agents.write_echo("a", "  access: {groups: {bots: alow}}\n");
    assert_eq!(names(&agents.load().list()), Vec::<&str>::new());
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let agents = Agents::new();
    agents.write("a", "binary.md", b"ok\n\xff");
    let five = "{match: [a, b, c, d, e], type: skip_duplicate}, ".repeat(52);
    let too_many = format!("  hooks: {{before_tool: [{five}]}}");
    for (more, expected) in [
        (
            "    temperature: 3",
            vec!["agent.yaml:9:18: `spec.model.temperature` must be from 0 to 2, not 3"],
        ),
        (
            "    max_output_tokens: 0",
            vec!["agent.yaml:9:24: `spec.model.max_output_tokens` must be at least 1, not 0"],
        ),
        (
            "    top_p: 2\n    seed: -1\n    stop: [\"\"]\n    reasoning: {effort: \" \", max_tokens: 0, efort: x}\n    stream: 1\n    \
             input: [text, video]\n    tool_text: maybe\n    prompt: short",
            vec![
                "agent.yaml:9:12: `spec.model.top_p` must be from 0 to 1, not 2",
                "agent.yaml:10:11: `spec.model.seed` must be a whole number, 0 or more, not a number",
                "agent.yaml:11:12: `spec.model.stop[0]` must not be empty",
                "agent.yaml:12:25: `spec.model.reasoning.effort` must not be empty",
                "agent.yaml:12:42: `spec.model.reasoning.max_tokens` must be at least 1, not 0",
                "agent.yaml:12:45: unknown key `spec.model.reasoning.efort`; did you mean `effort`?",
                "agent.yaml:13:13: `spec.model.stream` must be `true` or `false`, not a number",
                "agent.yaml:14:19: `spec.model.input[1]` must be one of `text`, `image`, `pdf`, not `video`",
                "agent.yaml:15:16: `spec.model.tool_text` must be `true` or `false`, not a text",
                "agent.yaml:16:13: `spec.model.prompt` must be one of `full`, `lean`, not `short`",
            ],
        ),
        (
            "    headers: {Authorization: x, X-A: \"a\\nb\", Host: h}\n    \
             extra_body: {messages: [], tools: 1, ok: [.inf]}\n    \
             fallbacks: [{provider: echo, name: x, headers: {x-api-key: k}, extra_body: {model: y}}, {provider: echo, name: y, fallbacks: []}]",
            vec![
                "agent.yaml:9:30: `spec.model.headers.Authorization` is the value of a header that cannot be set here",
                "agent.yaml:9:38: `spec.model.headers.X-A` must be visible ASCII characters",
                "agent.yaml:9:52: `spec.model.headers.Host` is the value of a header that cannot be set here",
                "agent.yaml:10:28: `spec.model.extra_body.messages` is what the program itself says, and cannot be set here",
                "agent.yaml:10:39: `spec.model.extra_body.tools` is what the program itself says, and cannot be set here",
                "agent.yaml:10:47: `spec.model.extra_body.ok[0]` must be a value that JSON has, not a number",
                "agent.yaml:11:64: `spec.model.fallbacks[0].headers.x-api-key` is the value of a header that cannot be set here",
                "agent.yaml:11:88: `spec.model.fallbacks[0].extra_body.model` is what the program itself says, and cannot be set here",
                "agent.yaml:11:119: unknown key `spec.model.fallbacks[1].fallbacks`",
            ],
        ),
        (
            "  limits: {cost_per_day: 0}",
            vec![
                "agent.yaml:9:26: `spec.limits.cost_per_day` must be from 0.000001 to 1000000000, not 0",
            ],
        ),
        (
            "    base_url: localhost",
            vec!["agent.yaml:9:15: `spec.model.base_url` must begin with `http://` or `https://`"],
        ),
        (
            "    fallbacks:\n    - provider: opnrouter\n    - name: x",
            vec![
                "agent.yaml:10:7: `spec.model.fallbacks[0].name` is missing",
                "agent.yaml:10:17: `spec.model.fallbacks[0].provider` must be one of `openrouter`, `openai`, `anthropic`, `ollama`, `echo`, `deepseek`, `gemini`, `groq`, `xai`, `mistral`, `moonshot`, `together`, `fireworks`, `cerebras`, `azure`, `lmstudio`, `llamacpp`, `vllm`, not `opnrouter`; did you mean `openrouter`?",
                "agent.yaml:11:7: `spec.model.fallbacks[1].provider` is missing",
            ],
        ),
        (
            "  sytem_prompt: hello",
            vec!["agent.yaml:9:3: unknown key `spec.sytem_prompt`; did you mean `system_prompt`?"],
        ),
        (
            "  soul: ./SOUL.md",
            vec!["agent.yaml:9:9: `spec.soul` names the file ./SOUL.md, which does not exist"],
        ),
        (
            "  soul: ../a",
            vec!["agent.yaml:9:9: `spec.soul` names the file ../a, which is not a file"],
        ),
        (
            "  soul: binary.md",
            vec![
                "agent.yaml:9:9: `spec.soul` names the file binary.md, which is not UTF-8 from 2:1 on",
            ],
        ),
        (
            "  session: {on_disconnect: stop}",
            vec![
                "agent.yaml:9:28: `spec.session.on_disconnect` must be one of `pause`, `continue`, not `stop`",
            ],
        ),
        (
            "  session: {llm_timeout_seconds: 0, ttl_hours: 90000}",
            vec![
                "agent.yaml:9:34: `spec.session.llm_timeout_seconds` must be from 1 to 86400, not 0",
                "agent.yaml:9:48: `spec.session.ttl_hours` must be from 0 to 87840, not 90000",
            ],
        ),
        (
            "  session: {approval_timeout: 30}",
            vec![
                "agent.yaml:9:31: `spec.session.approval_timeout` must be a number with its unit, from 1s to 3660d: `90s`, `30m`, `24h`, `7d`",
            ],
        ),
        (
            "  tools:\n    - {type: builtin, name: bsah}\n    - {type: cli, name: x}\n    - {name: y}",
            vec![
                "agent.yaml:10:29: `spec.tools[0].name` must be one of `bash`, `file`, `web`, `session`, `memory`, `skill`, `reload_tools`, `send_file`, `schedule`, `background_process`, `agent`, not `bsah`; did you mean `bash`?",
                "agent.yaml:11:7: `spec.tools[1].command` is missing",
                "agent.yaml:12:7: `spec.tools[2].type` is missing",
            ],
        ),
        (
            "  tools:\n    - {type: cli, name: a b, command: x}\n    - {type: mcp, name: y, command: x, url: z}",
            vec![
                "agent.yaml:10:25: `spec.tools[0].name` must be 1 to 64 letters, digits, `-` or `_`",
                "agent.yaml:11:7: `spec.tools[1]` (`y`) is not offered by this version",
                "agent.yaml:11:37: `spec.tools[1].command` means nothing for this tool of type `mcp`",
            ],
        ),
        (
            "  hooks:\n    before_tool:\n      - {match: x, type: depnds_on}\n      - {match: x, type: depends_on}\n      \
             - {match: '[x]', type: skip_duplicate}\n      - {type: skip_duplicate, match_rgs: y}\n      \
             - {match: x}\n      - {match: x, type: depends_on, skip_duplicate: {}}\n    after_tool: {match: y}",
            vec![
                "agent.yaml:11:26: `spec.hooks.before_tool[0].type` must be one of `depends_on`, `skip_duplicate`, not `depnds_on`; did you mean `depends_on`?",
                "agent.yaml:12:9: `spec.hooks.before_tool[1].prior` is missing",
                "agent.yaml:13:17: `spec.hooks.before_tool[2].match` is a pattern that knows only `*` and `?`, and takes a list of several",
                "agent.yaml:14:9: `spec.hooks.before_tool[3].match` is missing",
                "agent.yaml:14:32: unknown key `spec.hooks.before_tool[3].match_rgs`; did you mean `match_args`?",
                "agent.yaml:15:9: `spec.hooks.before_tool[4].type` is missing",
                "agent.yaml:16:9: `spec.hooks.before_tool[5]` must have one rule: `depends_on` or `skip_duplicate`",
                "agent.yaml:17:17: `spec.hooks.after_tool.message` is missing",
            ],
        ),
        (
            "  hooks: {after_tool: {match: 'builtin:web:fetch', message: x}}",
            vec![
                "agent.yaml:9:31: `spec.hooks.after_tool.match` begins with a tool's name, unlike the rules of a policy: `web:fetch`?",
            ],
        ),
        (
            "  timezone: Europe/Berlim",
            vec![
                "agent.yaml:9:13: `spec.timezone` must be a zone of this system's database (package `tzdata`), such as `Europe/Berlin`",
            ],
        ),
        (
            "  timezone: ../../../etc/localtime",
            vec![
                "agent.yaml:9:13: `spec.timezone` must be a zone of this system's database (package `tzdata`), such as `Europe/Berlin`",
            ],
        ),
        (
            &too_many,
            vec!["agent.yaml:9:10: `spec.hooks` must have no more than 256 patterns in all"],
        ),
        (
            "  tools_cwd: home\n  tools: [{type: cli, name: x, command: y, args: \"a 'b\"}]",
            vec![
                "agent.yaml:9:14: `spec.tools_cwd` must be one of `work`, `agent`, not `home`",
                "agent.yaml:10:50: `spec.tools[0].args` has a quote that does not end",
            ],
        ),
        (
            "  access: {dm: {polcy: open}}",
            vec!["agent.yaml:9:17: unknown key `spec.access.dm.polcy`; did you mean `policy`?"],
        ),
        (
            "  access: {dm: {policy: opne, allowlist: ['a*b']}}",
            vec![
                "agent.yaml:9:25: `spec.access.dm.policy` must be one of `open`, `disabled`, `allowlist`, `pairing`, not `opne`; did you mean `open`?",
                "agent.yaml:9:43: `spec.access.dm.allowlist[0]` must be an identifier, or the beginning of some and a `*`",
            ],
        ),
        (
            "  soul: ${NONE}",
            vec![
                "agent.yaml:9:9: `spec.soul` needs the environment variable `NONE`, which is not set",
            ],
        ),
    ] {
        agents.write_echo("a", more);
        assert_eq!(agents.problems(), expected, "{more}");
    }
}

#[test]
fn what_must_be_there_is_asked_for_all_at_once() {
    let agents = Agents::new();
    for (text, expected) in [
        (
            "",
            vec![
                "agent.yaml:1:1: `apiVersion` is missing",
                "agent.yaml:1:1: `kind` is missing",
                "agent.yaml:1:1: `metadata` is missing",
                "agent.yaml:1:1: `spec` is missing",
            ],
        ),
        (
            "apiVersion: duragent/v1\nkind: agent\nmetadata: {}\nspec:\n  model: {provider: 3}",
            vec![
                "agent.yaml:1:13: `apiVersion` must be `duragent/v1alpha1`, not `duragent/v1`",
                "agent.yaml:2:7: `kind` must be `Agent`, not `agent`; did you mean `Agent`?",
                "agent.yaml:3:11: `metadata.name` is missing",
                "agent.yaml:5:10: `spec.model.name` is missing",
                "agent.yaml:5:21: `spec.model.provider` must be one of `openrouter`, `openai`, `anthropic`, `ollama`, `echo`, `deepseek`, `gemini`, `groq`, `xai`, `mistral`, `moonshot`, `together`, `fireworks`, `cerebras`, `azure`, `lmstudio`, `llamacpp`, `vllm`, not `3`",
            ],
        ),
        (
            "spec: [1",
            vec!["agent.yaml:2:1: while parsing a flow sequence, expected ',' or ']'"],
        ),
    ] {
        agents.write("a", "agent.yaml", text);
        assert_eq!(agents.problems(), expected, "{text}");
    }
    agents.write("a", "agent.yaml", echo("b", ""));
    assert_eq!(
        agents.problems(),
        ["agent.yaml:4:9: `metadata.name` is `b`, but the agent's folder is called `a`"]
    );
    fs::remove_file(agents.home("a").join("agent.yaml")).unwrap();
    assert_eq!(agents.problems(), ["agent.yaml: does not exist"]);
}

#[test]
fn an_unknown_key_is_a_warning_at_load_unless_it_guards_something() {
    let agents = Agents::new();
    agents.write_echo("plain", "  sytem_prompt: hello");
    agents.write_echo("guarded", "  access: {dn: {policy: open}}");
    let directory = agents.load();
    assert_eq!(names(&directory.list()), ["plain"]);
    let is_error: Vec<bool> = directory
        .problems()
        .iter()
        .map(|one| one.is_error())
        .collect();
    // `dn` is unknown; `sytem_prompt` is unknown.
    assert_eq!(is_error, [true, false]);
}

#[test]
fn a_bad_agent_does_not_hide_a_good_one() {
    let agents = Agents::new();
    agents.write_echo("good", "");
    agents.write("bad", "agent.yaml", "kind: [");
    fs::create_dir(agents.home("empty")).unwrap();
    fs::create_dir(agents.home(".git")).unwrap();
    fs::write(agents.path().join("README.md"), "not an agent").unwrap();
    let directory = agents.load();
    assert_eq!(names(&directory.list()), ["good"]);
    assert_eq!(directory.get(&name("bad")), None);
    let files: Vec<PathBuf> = directory
        .problems()
        .into_iter()
        .map(|one| one.file)
        .collect();
    let expected = [agents.home("bad"), agents.home("empty")].map(|home| home.join("agent.yaml"));
    assert_eq!(files, expected);
}

#[test]
fn a_folder_that_is_not_there_is_no_agents_and_a_warning() {
    let agents = Agents::new();
    let directory = AgentDirectory::load(
        &agents.home("none"),
        Arc::new(environment),
        trust(agents.path()),
    );
    assert_eq!(names(&directory.list()), [""; 0]);
    assert_eq!(directory.problems().len(), 1);
    assert!(!directory.problems()[0].is_error());
}

#[test]
fn a_reload_says_what_it_did_and_keeps_the_last_good_version() {
    let agents = Agents::new();
    for one in ["broken", "changed", "gone", "same"] {
        agents.write_echo(one, "");
    }
    let directory = agents.load();
    let before = directory.get(&name("broken")).unwrap();

    agents.write(
        "broken",
        "agent.yaml",
        echo("broken", "    temperature: hot"),
    );
    agents.write_echo("changed", "  soul: Now with a soul.");
    fs::remove_dir_all(agents.home("gone")).unwrap();
    agents.write_echo("new", "");
    let report = directory.reload();

    assert_eq!(report.added, [name("new")]);
    assert_eq!(report.changed, [name("changed")]);
    assert_eq!(report.removed, [name("gone")]);
    let failed: Vec<String> = report.failed.iter().map(|one| one.to_string()).collect();
    let file = agents.home("broken").join("agent.yaml");
    assert_eq!(
        failed,
        [format!(
            "{}:9:18: `spec.model.temperature` must be a number, not a text",
            file.display()
        )]
    );
    assert_eq!(
        names(&directory.list()),
        ["broken", "changed", "new", "same"]
    );
    assert_eq!(directory.get(&name("broken")).unwrap(), before);

    agents.write_echo("broken", "");
    let report = directory.reload();
    assert_eq!(report, agents::ReloadReport::default());
    assert_eq!(directory.problems(), []);
}

#[test]
fn a_changed_prompt_file_is_a_changed_agent() {
    let agents = Agents::new();
    agents.write_echo("a", "");
    agents.write("a", "SOUL.md", "one");
    let directory = agents.load();
    agents.write("a", "SOUL.md", "two");
    assert_eq!(directory.reload().changed, [name("a")]);
    let spec = directory.get(&name("a")).unwrap();
    assert_eq!(spec.prompts.soul.as_deref(), Some("two"));
}

#[test]
fn a_hook_is_the_same_however_it_is_written() {
    let agents = Agents::new();
    let read = |hooks: &str| {
        agents.write_echo("a", &format!("  hooks:\n    {hooks}\n"));
        let directory = agents.load();
        let problems = directory.problems();
        assert!(problems.is_empty(), "{hooks}: {problems:?}");
        directory.get(&name("a")).unwrap().public_json()["spec"]["hooks"].clone()
    };
    let depends_on = [
        "before_tool: [{match: edit, type: depends_on, prior: read, match_arg: path}]",
        "before_tool: [{match: [edit], type: depends_on, prior: [read], match_args: [path]}]",
        "before_tool: {match: edit, depends_on: {prior: read, match_arg: path}}",
        "before_tool: [{match: edit, type: depends_on, depends_on: {prior: read, match_arg: [path]}}]",
        "before_tool: [{match: edit, type: {depends_on: {prior: read, match_args: path}}}]",
    ];
    let expected = serde_json::json!([
        {"match": ["edit"], "type": "depends_on", "prior": ["read"], "match_args": ["path"]}
    ]);
    for hooks in depends_on {
        assert_eq!(read(hooks)["before_tool"], expected, "{hooks}");
    }
    let skip_duplicate = [
        "before_tool: [{match: 'memory:*', type: skip_duplicate, match_args: [a, b]}]",
        "before_tool: [{match: 'memory:*', skip_duplicate: {match_args: [a, b]}}]",
        "before_tool: [{match: 'memory:*', type: {skip_duplicate: {match_args: [a, b]}}}]",
    ];
    let expected = serde_json::json!([
        {"match": ["memory:*"], "type": "skip_duplicate", "match_args": ["a", "b"]}
    ]);
    for hooks in skip_duplicate {
        assert_eq!(read(hooks)["before_tool"], expected, "{hooks}");
    }
    assert_eq!(
        read("after_tool: {match: x, message: ' hi ', unless: {a: 1, b: [True, no], c: null}}")["after_tool"],
        serde_json::json!([{"match": ["x"], "message": "hi", "unless": {"a": ["1"], "b": ["true", "no"], "c": ["null"]}}])
    );
    let unless = read("after_tool: {match: x, message: hi, unless: {arg: days, value: 7}}");
    assert_eq!(
        unless["after_tool"][0]["unless"],
        serde_json::json!({"days": ["7"]})
    );
}

#[test]
fn the_fixed_arguments_of_a_tool_are_a_list_or_a_text() {
    let agents = Agents::new();
    for args in ["[a, 'b c', $D]", "a 'b c' $D"] {
        let tool = format!("  tools: [{{type: cli, name: x, command: y, args: {args:?}}}]\n");
        agents.write_echo("a", &tool.replace("\"[", "[").replace("]\"", "]"));
        let spec = agents.load().get(&name("a")).unwrap();
        let [ToolRef::Cli { args, .. }] = &spec.tools[..] else {
            panic!("{:?}", spec.tools);
        };
        assert_eq!(args[..], ["a", "b c", "$D"]);
    }
}

#[test]
fn agents_that_cannot_be_looked_for_are_not_lost() {
    let agents = Agents::new();
    let folder = agents.home("agents");
    fs::create_dir(&folder).unwrap();
    fs::create_dir(folder.join("a")).unwrap();
    fs::write(folder.join("a/agent.yaml"), echo("a", "")).unwrap();
    let directory = AgentDirectory::load(&folder, Arc::new(environment), trust(&folder));
    fs::rename(&folder, agents.home("aside")).unwrap();
    fs::write(&folder, "a file now").unwrap();
    let report = directory.reload();
    assert_eq!(report.removed, []);
    assert_eq!(report.failed.len(), 1);
    assert_eq!(names(&directory.list()), ["a"]);
}

#[test]
fn an_agent_can_be_validated_by_its_file_too() {
    let agents = Agents::new();
    agents.write_echo("a", "  sytem_prompt: hello");
    let trusted = trust(agents.path());
    let by_file = agents::validate(
        &agents.home("a").join("agent.yaml"),
        &environment,
        &[],
        &trusted,
    );
    assert_eq!(
        by_file,
        agents::validate(&agents.home("a"), &environment, &[], &trusted)
    );
    assert!(by_file.iter().all(|one| one.is_error()));
}

#[test]
fn a_prompt_is_a_file_only_if_it_looks_like_one() {
    let agents = Agents::new();
    agents.write("a", "X.md", "from the file");
    for (written, expected) in [
        ("./X.md", "from the file"),
        ("X.md", "from the file"),
        ("Read X.md", "Read X.md"),
        ("hello", "hello"),
        (".hidden", ".hidden"),
        ("\"./X.md\\nis a file\"", "./X.md\nis a file"),
    ] {
        agents.write_echo("a", &format!("  soul: {written}"));
        let spec = agents.load().get(&name("a")).unwrap();
        assert_eq!(spec.prompts.soul.as_deref(), Some(expected), "{written}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_makes_the_loader_panic(
        more in "(  (soul|session|tools|access|limits|memory): |    - |(type|name|dm|groups|queue)|[:{}\\[\\], \n'*&$0-9]){0,30}",
    ) {
        let agents = Agents::new();
        agents.write_echo("a", &more);
        let directory = agents.load();
        prop_assert_eq!(directory.list().len() + usize::from(directory.problems().iter().any(|one| one.is_error())), 1);
    }
}

#[test]
fn every_key_is_in_the_documentation() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/agent-format.md");
    let page = fs::read_to_string(page).unwrap();
    let missing: Vec<String> = agents::keys()
        .into_iter()
        .filter(|key| !page.contains(&format!("`{key}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/agent-format.md lacks {missing:#?}"
    );
}

#[test]
fn the_complete_example_of_the_documentation_loads() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/agent-format.md");
    let page = fs::read_to_string(page).unwrap();
    let mut examples = 0;
    for part in page.split("```yaml\n").skip(1) {
        let text = part.split("```").next().unwrap();
        if !text.starts_with("apiVersion: ") {
            continue;
        }
        let agents = Agents::new();
        agents.write("my-assistant", "agent.yaml", text);
        for prompt in ["SOUL.md", "SYSTEM_PROMPT.md", "INSTRUCTIONS.md"] {
            agents.write("my-assistant", prompt, "A prompt.");
        }
        let problems = agents::validate(
            &agents.home("my-assistant"),
            &environment,
            &[],
            &trust(agents.path()),
        );
        let errors: Vec<String> = problems
            .iter()
            .filter(|one| one.is_error())
            .map(|one| one.to_string())
            .collect();
        assert_eq!(errors, [""; 0], "{text}");
        examples += 1;
    }
    assert!(examples >= 2);
}

/// A generous limit on a busy machine: what was quadratic took many times as long.
const SOON: std::time::Duration = std::time::Duration::from_secs(10);

#[test]
fn files_of_a_stranger_hold_nothing_up() {
    use crate::support::server::{Server, Workspace};
    let keys: String = (0..60_000).map(|n| format!("k{n}: {n}\n")).collect();
    let deep = ["[", "{", "{a: ", "- ", "? "].map(|unit| unit.repeat(200_000 / unit.len()));
    let texts = deep.iter().chain([&keys]);
    for text in texts {
        let workspace = Workspace::new();
        workspace.agent("ada", "  model: {provider: echo, name: echo}\n");
        let home = workspace.file(".duragent/agents");
        for path in ["bad/agent.yaml", "ada/policy.yaml", "ada/skills/s/SKILL.md"] {
            let path = home.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let is_skill = path.ends_with("SKILL.md");
            let text = if is_skill {
                format!("---\n{text}\n---\n")
            } else {
                text.clone()
            };
            fs::write(path, text).unwrap();
        }
        let begun = std::time::Instant::now();
        let server = Server::start(&workspace, &[]);
        assert_eq!(server.get("/readyz").status, 200);
        let sessions = server.create_session("ada");
        assert!(sessions.starts_with("session_"));
        assert!(
            begun.elapsed() < SOON,
            "{:?}: {}",
            begun.elapsed(),
            &text[..40]
        );
    }
}

#[test]
fn how_long_conversations_are_summarised_is_checked_where_it_is_written() {
    let agents = Agents::new();
    for (more, expected) in [
        (
            "  session: {summary: maybe}\n",
            "`spec.session.summary` must be one of `on`, `off`, not `maybe`",
        ),
        (
            "  session: {summary_model: {provider: nobody, name: a}}\n",
            "`spec.session.summary_model.provider` must be one of",
        ),
        (
            "  session: {summary_model: {provider: groq}}\n",
            "`spec.session.summary_model.name` is missing",
        ),
        (
            "  session: {summary_model: {provider: groq, name: \"\"}}\n",
            "`spec.session.summary_model.name` must not be empty",
        ),
        (
            "  session: {summary_model: {provider: groq, name: a, base_url: \"http://x\"}}\n",
            "unknown key `spec.session.summary_model.base_url`",
        ),
    ] {
        agents.write_echo("a", more);
        let problems = agents.problems();
        assert!(
            problems.len() == 1
                && problems[0].starts_with("agent.yaml:9:")
                && problems[0].contains(expected),
            "{problems:?}, not {expected}"
        );
    }
}

#[test]
fn a_summary_is_written_where_the_agents_model_is_if_its_provider_is_the_same() {
    let agents = Agents::new();
    for (summary, base_url) in [("openai", Some("http://127.0.0.1:1")), ("groq", None)] {
        let text = format!(
            "apiVersion: duragent/v1alpha1\nkind: Agent\nmetadata:\n  name: a\nspec:\n  \
             model: {{provider: openai, name: m, base_url: \"http://127.0.0.1:1\"}}\n  \
             session: {{summary_model: {{provider: {summary}, name: small}}}}\n"
        );
        agents.write("a", "agent.yaml", text);
        let spec = agents.load().get(&name("a")).unwrap();
        let choice = spec.session.summary_model.as_ref().unwrap();
        assert_eq!(choice.base_url.as_deref(), base_url, "{summary}");
    }
}

#[test]
fn the_usual_window_is_a_quarter_of_what_the_model_takes() {
    let agents = Agents::new();
    for (model, tokens) in [
        ("name: my-own", 20_000),
        ("name: gpt-4", 20_000),
        ("name: gpt-4o", 32_000),
        ("name: claude-sonnet-4-5", 50_000),
        ("name: gemini-2.5-pro", 64_000),
        ("name: my-own, max_input_tokens: 100000", 25_000),
    ] {
        let text = format!(
            "apiVersion: duragent/v1alpha1\nkind: Agent\nmetadata:\n  name: a\nspec:\n  \
             model: {{provider: openai, {model}}}\n"
        );
        agents.write("a", "agent.yaml", text);
        let spec = agents.load().get(&name("a")).unwrap();
        assert_eq!(spec.session.max_history_tokens, tokens, "{model}");
    }
}
