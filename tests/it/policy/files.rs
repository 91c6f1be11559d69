//! The files of a policy: what is wrong with them, how they merge, what is written to them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use duragent::base::fs::RealFs;
use duragent::domain::event::ToolCall;
use duragent::domain::ids::{AgentName, CallId, SessionId};
use duragent::domain::spec::{AgentSpec, ModelChoice, Provider};
use duragent::policy::{AgentPolicy, Policies};
use duragent::policy::{Policy, ProposedCall, Verdict};
use duragent::store::file::documents::FileDocuments;
use duragent::tools::{Effect, ToolKind};
use duragent::trust::{GrantStore, Grants, WorkspaceTrust};
use duragent::workspace::policy_files::policies;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

pub const HEAD: &str = "apiVersion: duragent/v1alpha1\nkind: Policy\n";

/// A workspace with one agent.
pub struct Place {
    pub folder: TempDir,
    pub policies: Policies,
}

/// The identifier of the workspace.
const ID: &str = "0123456789abcdef";

/// What an owner trusts the agents of a workspace with, kept in a folder of it.
fn trust(workspace: &std::path::Path, grants: Grants) -> Arc<WorkspaceTrust> {
    let ours = workspace.join("state/duragent");
    let trust = ours.join("trust");
    let documents = FileDocuments::of_account(Arc::new(RealFs), ours, trust);
    let store = GrantStore::new(Some(Arc::new(documents)), workspace, Some(ID.to_owned()));
    Arc::new(WorkspaceTrust::new(
        workspace,
        store,
        grants,
        Arc::new(|_| true),
    ))
}

impl Place {
    pub fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("agents/helper")).unwrap();
        let environment = Arc::new(|name: &str| (name == "HOOK").then(|| "http://h/".to_owned()));
        Place {
            policies: policies(
                folder.path(),
                environment,
                trust(folder.path(), Grants::All),
            ),
            folder,
        }
    }

    pub fn file(&self, which: &str) -> PathBuf {
        self.folder.path().join(match which {
            "workspace" => "policy.yaml",
            "agent" => "agents/helper/policy.yaml",
            "own" => "state/duragent/trust/0123456789abcdef/helper.policy.yaml",
            _ => "agents/helper/policy.local.yaml",
        })
    }

    pub fn write(&self, which: &str, text: &str) {
        fs::write(self.file(which), format!("{HEAD}{text}")).unwrap();
    }

    pub fn trust(&self) -> Arc<WorkspaceTrust> {
        trust(self.folder.path(), Grants::All)
    }

    pub fn spec(&self) -> Arc<AgentSpec> {
        let model = ModelChoice {
            provider: Provider::ECHO,
            name: "echo".to_owned(),
            base_url: None,
            settings: Default::default(),
        };
        let mut spec = AgentSpec::new(AgentName::parse("helper").unwrap(), model);
        spec.home = self.folder.path().join("agents/helper");
        Arc::new(spec)
    }

    pub fn policy(&self) -> Arc<AgentPolicy> {
        self.policies.of(&self.spec())
    }

    pub fn reload(&self) {
        self.policies.reload(&[self.spec()]);
    }
}

/// A call, by somebody.
pub fn with_proposed<T>(
    kind: ToolKind,
    name: &str,
    arguments: &str,
    effect: Effect,
    then: impl FnOnce(&ProposedCall<'_>) -> T,
) -> T {
    let session = SessionId::parse("session_01KAM6VJT0000000000000000A").unwrap();
    let call = ToolCall {
        call_id: CallId::parse("call_1").unwrap(),
        tool_name: name.to_owned(),
        arguments: arguments.to_owned(),
        source: None,
    };
    then(&ProposedCall {
        session: &session,
        call: &call,
        kind,
        effect,
        is_composed: false,
        workdir: None,
        value_key: None,
        file: None,
        granted: &[],
    })
}

pub fn with_script<T>(script: &str, then: impl FnOnce(&ProposedCall<'_>) -> T) -> T {
    let arguments = serde_json::json!({"command": script}).to_string();
    with_proposed(ToolKind::Bash, "bash", &arguments, Effect::Write, then)
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Ask { .. } => "ask",
        Verdict::Deny { .. } => "deny",
    }
}

fn bash(policy: &AgentPolicy, script: &str) -> &'static str {
    word(&with_script(script, |proposed| policy.judge(proposed)))
}

fn reason(policy: &AgentPolicy, script: &str) -> String {
    match with_script(script, |proposed| policy.judge(proposed)) {
        Verdict::Deny { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn errors_are_told_with_their_place_and_near_misses() {
    let place = Place::new();
    let file = place.file("agent");
    for (text, expected) in [
        (
            "alow: []\n",
            "3:1: unknown key `alow`; did you mean `allow`?",
        ),
        (
            "mode: aks\n",
            "3:7: `mode` must be one of `dangerous`, `ask`, `restrict`, not `aks`; did you mean `ask`?",
        ),
        (
            "deny:\n  - bsh:rm\n",
            "4:5: `deny[0]` must begin with `bash:`, `builtin:`, `cli:`, `mcp:` or `*:`",
        ),
        (
            "deny: ['bash:[a]']\n",
            "3:8: `deny[0]` knows only `*` and `?`; write `\\[` and `\\{` for these",
        ),
        (
            "notify: {enabeld: true}\n",
            "3:10: unknown key `notify.enabeld`; did you mean `enabled`?",
        ),
        (
            "notify: {chat: telegram}\n",
            "3:16: `notify.chat` must be a gateway's name, `:` and the platform's id of a chat",
        ),
        (
            "notify: {deliveries: [{type: webhook}]}\n",
            "3:23: `notify.deliveries[0].url` is missing",
        ),
        (
            "notify: {deliveries: [{type: log, url: 'http://h'}]}\n",
            "3:40: `notify.deliveries[0].url` means nothing for a delivery of type `log`",
        ),
        ("deny: ['bash:echo ${NOWHERE}']\n", "3:8: `deny[0]` "),
    ] {
        place.write("agent", text);
        let problems = duragent::workspace::validate(&file, None).problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        let start = format!("{}:{expected}", file.display());
        assert!(problems[0].starts_with(&start), "{}\n{start}", problems[0]);
        let of_folder = duragent::workspace::validate(file.parent().unwrap(), None).problems;
        // Of variables something else is said.
        let is_told = !text.contains("${");
        assert_eq!(of_folder.contains(&problems[0]), is_told, "{of_folder:?}");
    }
}

#[test]
fn a_policy_with_an_error_refuses_everything_until_it_is_mended() {
    for which in ["workspace", "agent", "local"] {
        let place = Place::new();
        place.write("workspace", "mode: dangerous\n");
        let policy = place.policy();
        assert_eq!(bash(&policy, "ls"), "allow");
        place.write(which, "mode: dangerous\nalow: []\n");
        place.reload();
        let file = place.file(which);
        let told = reason(&policy, "ls");
        assert!(
            told.contains(&format!("{}:4:1: unknown key `alow`", file.display())),
            "{told}"
        );
        let reads = with_proposed(ToolKind::Builtin, "web", "{}", Effect::Read, |proposed| {
            policy.judge(proposed)
        });
        assert_eq!(word(&reads), "deny");
        assert_eq!(place.policies.problems().len(), 1);
        place.write(which, "mode: dangerous\n");
        place.reload();
        assert_eq!(bash(&policy, "ls"), "allow");
        assert_eq!(place.policies.problems(), []);
    }
    let place = Place::new();
    std::os::unix::fs::symlink("/nowhere", place.file("agent")).unwrap();
    assert_eq!(bash(&place.policy(), "ls"), "deny");
}

#[test]
fn without_a_file_reading_builtins_run_and_all_else_asks() {
    let place = Place::new();
    let check = |policy: &AgentPolicy| {
        for (kind, effect, expected) in [
            (ToolKind::Builtin, Effect::Read, "allow"),
            (ToolKind::Builtin, Effect::Idempotent, "ask"),
            (ToolKind::Builtin, Effect::Write, "ask"),
            (ToolKind::Cli, Effect::Read, "ask"),
            (ToolKind::FoundCli, Effect::Read, "ask"),
        ] {
            let verdict = with_proposed(kind, "x", "{}", effect, |proposed| policy.judge(proposed));
            assert_eq!(word(&verdict), expected, "{kind:?} {effect:?}");
        }
        assert_eq!(bash(policy, "ls"), "ask");
    };
    check(&place.policy());
    // What "allow always" writes takes nothing away.
    with_proposed(ToolKind::Cli, "y", "{}", Effect::Write, |proposed| {
        place.policy().allow_always(proposed)
    })
    .unwrap();
    place.reload();
    check(&place.policy());
    place.write("agent", "");
    place.reload();
    let reads = |policy: &AgentPolicy| {
        word(&with_proposed(
            ToolKind::Builtin,
            "x",
            "{}",
            Effect::Read,
            |proposed| policy.judge(proposed),
        ))
    };
    assert_eq!(reads(&place.policy()), "ask");
}

#[test]
fn the_files_add_up_and_the_strictest_mode_stands() {
    let ls = "allow: ['bash:ls']";
    for (workspace, agent, local, expected) in [
        // The strictest mode that any sets.
        (None, Some("mode: dangerous"), None, "allow"),
        (None, Some("mode: dangerous"), Some("mode: ask"), "ask"),
        (None, Some("mode: ask"), Some("mode: dangerous"), "ask"),
        (
            Some("mode: restrict"),
            Some("mode: dangerous"),
            Some("mode: ask"),
            "deny",
        ),
        (Some("mode: dangerous"), None, None, "allow"),
        (
            Some("mode: dangerous"),
            Some("mode: restrict"),
            None,
            "deny",
        ),
        // A workspace's policy without a mode asks: no agent sets `dangerous` behind its back.
        (Some(""), Some("mode: dangerous"), None, "ask"),
        // Lists add up.
        (None, Some(ls), None, "allow"),
        (None, None, Some(ls), "allow"),
        (Some(ls), None, None, "allow"),
        (Some(ls), Some("deny: ['bash:ls']"), None, "deny"),
        (Some(ls), None, Some("deny: ['bash:l*']"), "deny"),
        (
            Some("deny: ['bash:ls']"),
            Some("mode: dangerous"),
            Some(ls),
            "deny",
        ),
        // A workspace's list caps an agent's own; one that only denies does not.
        (Some(""), Some(ls), None, "allow"),
        (Some("deny: ['bash:rm *']"), Some(ls), None, "allow"),
        (Some("allow: ['bash:pwd']"), Some(ls), None, "ask"),
        (
            Some("mode: restrict\nallow: ['bash:pwd']"),
            Some("allow: ['*:*']"),
            None,
            "deny",
        ),
        (Some("allow: ['bash:pwd']"), Some(ls), Some(ls), "allow"),
        (Some("allow: ['bash:l*']"), Some(ls), None, "allow"),
    ] {
        let place = Place::new();
        for (which, text) in [("workspace", workspace), ("agent", agent), ("local", local)] {
            if let Some(text) = text {
                place.write(which, &format!("{text}\n"));
            }
        }
        let found = bash(&place.policy(), "ls");
        assert_eq!(found, expected, "{workspace:?} {agent:?} {local:?}");
        let is_warned =
            workspace.is_none() && expected == "allow" && agent == Some("mode: dangerous");
        assert_eq!(place.policies.dangerous().len(), usize::from(is_warned));
    }
}

#[test]
fn what_is_allowed_for_good_is_written_down_and_runs_from_then_on() {
    let place = Place::new();
    let policy = place.policy();
    let script = "git commit -m 'it''s *' && ls *.rs | wc -l < a";
    assert_eq!(bash(&policy, script), "ask");
    with_script(script, |proposed| policy.allow_always(proposed)).unwrap();
    assert_eq!(bash(&policy, script), "allow");
    assert_eq!(bash(&policy, "ls *.rs"), "allow");
    assert_eq!(bash(&policy, "ls a.rs"), "ask");
    let file = place.file("own");
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let found = duragent::workspace::policy_files::validate(&file, &|_| None);
    assert_eq!(found, []);
    // Told twice, it is written once.
    with_script(script, |proposed| policy.allow_always(proposed)).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
    // Somebody who starts anew reads the same.
    let environment = Arc::new(|_: &str| None);
    let others = policies(place.folder.path(), environment, place.trust());
    assert_eq!(bash(&others.of(&place.spec()), script), "allow");
}

#[test]
fn what_stands_in_the_users_file_stays_there() {
    let place = Place::new();
    let before = format!(
        "# mine\n{HEAD}mode: ask # really\nallow:\n  # first\n  - 'bash:ls' # l\n\ndeny: [\"bash:rm *\"]\n"
    );
    let policy = place.policy();
    with_script("ls", |proposed| policy.allow_always(proposed)).unwrap();
    fs::write(place.file("own"), &before).unwrap();
    with_script("pwd", |proposed| policy.allow_always(proposed)).unwrap();
    let after = before.replace("# l\n", "# l\n  - 'bash:pwd'\n");
    assert_eq!(fs::read_to_string(place.file("own")).unwrap(), after);
    // What is denied stays so.
    with_script("rm x", |proposed| policy.allow_always(proposed)).unwrap();
    assert_eq!(bash(&policy, "rm x"), "deny");
}

#[test]
fn a_script_that_no_pattern_covers_is_remembered_as_it_stands() {
    let place = Place::new();
    let policy = place.policy();
    let script = "pwd && sudo ls > x\nfor f in *; do\n  rm \"$f\"\ndone";
    with_script(script, |proposed| policy.allow_always(proposed)).unwrap();
    let written = fs::read_to_string(place.file("own")).unwrap();
    let item = "  - exact: \"pwd && sudo ls > x\\nfor f in *; do\\n  rm \\\"$f\\\"\\ndone\"\n";
    assert!(written.ends_with(item), "{written}");
    assert_eq!(bash(&policy, script), "allow");
    assert_eq!(bash(&policy, "pwd"), "ask");
    assert_eq!(bash(&policy, &script.replace("ls", "ls -l")), "ask");
    with_script("ls > x", |proposed| policy.allow_always(proposed)).unwrap();
    let written = fs::read_to_string(place.file("own")).unwrap();
    assert!(
        written.ends_with("  - exact: |-\n      ls > x\n"),
        "{written}"
    );
    let asked = |script: &str| with_script(script, |proposed| policy.judge(proposed));
    assert!(matches!(
        asked("ls > y"),
        Verdict::Ask { is_exact: true, .. }
    ));
    assert!(matches!(
        asked("ls y"),
        Verdict::Ask {
            is_exact: false,
            ..
        }
    ));
}

#[test]
fn what_cannot_be_remembered_is_said() {
    let place = Place::new();
    let policy = place.policy();
    let script = "#".repeat(70_000);
    let told = with_script(&script, |proposed| policy.allow_always(proposed)).unwrap_err();
    let told = told.to_string();
    assert!(told.contains("is asked for each time"), "{told}");
    assert_eq!(bash(&policy, &script), "ask");

    let flow = "{apiVersion: duragent/v1alpha1, kind: Policy} # mine\n";
    with_script("ls", |proposed| policy.allow_always(proposed)).unwrap();
    fs::write(place.file("own"), flow).unwrap();
    let told = with_script("pwd", |proposed| policy.allow_always(proposed)).unwrap_err();
    let told = told.to_string();
    assert!(told.contains("helper.policy.yaml"), "{told}");
    assert_eq!(fs::read_to_string(place.file("own")).unwrap(), flow);
}

#[test]
fn of_many_who_allow_at_once_none_is_lost() {
    let place = Place::new();
    let policy = place.policy();
    std::thread::scope(|scope| {
        for number in 0..16 {
            let policy = &policy;
            scope.spawn(move || {
                with_script(&format!("ls {number}"), |proposed| {
                    policy.allow_always(proposed)
                })
                .unwrap();
            });
        }
    });
    for number in 0..16 {
        assert_eq!(bash(&policy, &format!("ls {number}")), "allow");
    }
}

#[test]
fn a_found_tool_is_allowed_by_its_name_alone() {
    let place = Place::new();
    place.write("agent", "mode: dangerous\nallow: ['*:*']\n");
    let policy = place.policy();
    let judge = |arguments: &str| {
        word(&with_proposed(
            ToolKind::FoundCli,
            "sync",
            arguments,
            Effect::Read,
            |proposed| policy.judge(proposed),
        ))
    };
    assert_eq!(judge("{}"), "ask");
    with_proposed(ToolKind::FoundCli, "sync", "{}", Effect::Read, |proposed| {
        policy.allow_always(proposed)
    })
    .unwrap();
    let written = fs::read_to_string(place.file("own")).unwrap();
    assert!(written.ends_with("allow:\n  - 'cli:sync'\n"), "{written}");
    assert_eq!(judge("{\"a\":1}"), "allow");
}

#[test]
fn arguments_that_hold_no_command_are_never_allowed() {
    let place = Place::new();
    place.write("agent", "allow: ['*:*']\n");
    let policy = place.policy();
    for arguments in [
        "{}",
        "nonsense",
        r#"{"command":"ls","command":"ls"}"#,
        r#"{"command":1}"#,
    ] {
        let verdict = with_proposed(
            ToolKind::Bash,
            "bash",
            arguments,
            Effect::Write,
            |proposed| policy.judge(proposed),
        );
        assert_eq!(word(&verdict), "ask", "{arguments}");
    }
}

/// How long this thread has computed, whatever else the machine does.
fn computed_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap().as_nanos() as u64
}

#[test]
fn the_work_of_judging_grows_no_faster_than_the_script() {
    let place = Place::new();
    let stars = "*a".repeat(400);
    place.write(
        "agent",
        &format!(
            "allow: ['bash:a*b*c*d*e*f*', 'bash:{stars}']\n\
             deny: ['bash:*x*y*z*', 'bash:rm *', 'bash:rm', 'bash:{stars}b']\n"
        ),
    );
    let policy = place.policy();
    let scripts: [fn(usize) -> String; 14] = [
        |size| "a ".repeat(size / 2),
        |size| "a".repeat(size),
        |size| "a;".repeat(size / 2),
        |size| "sudo ".repeat(size / 5),
        |size| format!("sudo {}", "-a b ".repeat(size / 5)),
        |size| format!("bash -c '{}'", "sudo bash -c \"ls\" ".repeat(size / 18)),
        |size| format!("echo {}", "$x ".repeat(size / 3)),
        |size| format!("echo {}", "{a},".repeat(size / 4)),
        |size| "$(".repeat(size / 2),
        |size| "`".repeat(size),
        |size| "${x:-".repeat(size / 5),
        |size| "a <<E\n".repeat(size / 6),
        |size| "(".repeat(size),
        |size| "'\" ".repeat(size / 3),
    ];
    for script in scripts {
        let work = |size: usize| {
            let script = script(size);
            let before = computed_ns();
            with_script(&script, |proposed| policy.judge(proposed));
            computed_ns() - before
        };
        let (small, large) = (work(4_000), work(32_000));
        // Eight times as much, with a wide margin; it is 64 times where the work is quadratic.
        let start: String = script(40).chars().take(20).collect();
        assert!(
            large < 24 * small.max(1_000_000),
            "{small} ns, then {large} ns: {start}"
        );
    }
}

#[test]
fn a_rule_that_can_never_fit_is_an_error_to_who_looks_and_none_to_who_runs() {
    let place = Place::new();
    for (text, expected) in [
        (
            "allow: ['bash:sudo *']",
            "`bash:sudo *` never fits: no rule allows `sudo`, which runs what it is given",
        ),
        (
            "allow: ['bash:ls && pwd']",
            "never fits: it is compared with one command",
        ),
        (
            "allow: ['bash:X=1 make']",
            "never fits: no rule allows a command that sets a variable",
        ),
        (
            "allow: ['builtin:bash']",
            "never fits: the shell is no tool that can be allowed as a whole",
        ),
        (
            "deny: ['builtin:wbe']",
            "never fits: there is no tool `wbe`; did you mean `web`?",
        ),
        (
            "deny: ['builtin:web:ftch']",
            "never fits: `web` has no action `ftch`; did you mean `fetch`?",
        ),
        ("deny: ['bash:']", "never fits: it is empty"),
        (
            "deny: ['builtin:web:ftch*']",
            "never fits: `web` has no action `ftch`; did you mean `fetch`?",
        ),
        (
            "deny: ['builtin:memory:forget:*']",
            "never fits: `memory` has no action `forget`",
        ),
        (
            "deny: ['web:ftch']",
            "`web:ftch` never fits: `web` has no action `ftch`; did you mean `fetch`?",
        ),
        (
            "deny: ['builtin:bash:rm *']",
            "never fits: `bash` has no action `rm`; a command is `bash:rm *`",
        ),
        (
            "deny: ['builtin:bash?']",
            "never fits: no tool is called so",
        ),
        (
            "deny: ['builtin:web?']",
            "never fits: no tool is called so; did you mean `web`?",
        ),
        (
            "deny: ['builtin:reload_tools:*']",
            "never fits: `reload_tools` has no actions",
        ),
        (
            "deny: ['builtin:web:fetch *']",
            "never fits: no call of `web` is written so; `web:fetch` is all of it, `web:fetch:…` what \
             it is about",
        ),
        (
            "deny: ['builtin:web fetch*']",
            "never fits: no call of `web` is written so; `web:fetch` is all of it",
        ),
        (
            "deny: ['builtin:web: fetch']",
            "never fits: no call of `web` is written so",
        ),
        (
            "deny: ['builtin:bash *rm*']",
            "never fits: `bash` has no action",
        ),
        (
            "deny: ['builtin:bash \\{\"command\":*']",
            "never fits: `bash` has no action",
        ),
        (
            "allow: ['builtin:bash *']",
            "never fits: the shell is no tool that can be allowed as a whole",
        ),
        (
            "allow: ['bash']",
            "never fits: the shell is no tool that can be allowed as a whole",
        ),
        (
            "allow: ['cli:deploy prod*']",
            "never fits: no call of a program is written so",
        ),
        (
            "notify: {patterns: ['builtin:wbe']}",
            "never fits: there is no tool `wbe`; did you mean `web`?",
        ),
    ] {
        place.write("agent", &format!("{text}\n"));
        let problems = duragent::workspace::validate(&place.file("agent"), None).problems;
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert!(problems[0].contains(":3:"), "{}", problems[0]);
        assert!(problems[0].contains(expected), "{}", problems[0]);
        place.reload();
        assert_eq!(place.policies.problems(), []);
        assert_eq!(bash(&place.policy(), "ls"), "ask");
    }
    for text in [
        "deny: ['bash:sudo *', 'bash:a && b', 'builtin:bash']",
        "allow: ['bash:sudoku', 'builtin:web:fetch', 'builtin:w*', 'rm']",
        "deny: ['bash', 'web:fetch', 'builtin:memory:*', 'builtin:web:f*', 'builtin:web:*:http://x/*']",
        "deny: ['builtin:*fetch*', 'builtin:web \\{*', 'cli:deploy prod', 'cli:*', 'mcp:a:b', 'memory:*']",
        "deny: ['builtin:bash *', 'bash -c *', 'kill', 'Make *', 'bash:a \"*\"', 'webpack *', 'session*']",
    ] {
        place.write("agent", &format!("{text}\n"));
        assert_eq!(
            duragent::workspace::validate(&place.file("agent"), None).problems,
            Vec::<String>::new()
        );
    }
}

#[test]
fn a_rule_for_a_tool_that_comes_later_is_a_warning() {
    let place = Place::new();
    for pattern in ["builtin:schedule", "builtin:sched*", "builtin:agent:run:x"] {
        place.write("agent", &format!("deny: ['{pattern}']\n"));
        let found = duragent::workspace::validate(&place.file("agent"), None);
        assert_eq!((found.errors, found.problems.len()), (0, 1), "{pattern}");
    }
    place.write("agent", "deny: ['builtin:schedule:*']\n");
    let found = duragent::workspace::validate(&place.file("agent"), None);
    let expected = "warning: `builtin:schedule:*` never fits: there is no tool `schedule` yet";
    assert!(
        found.problems[0].ends_with(expected),
        "{:?}",
        found.problems
    );
}

#[test]
fn a_word_that_is_no_type_is_told() {
    let place = Place::new();
    for (text, is_told) in [
        ("deny: ['shell:rm *']", true),
        ("allow: ['tool:web']", true),
        ("deny: ['WebFetch(domain:x)']", true),
        ("deny: ['web_fetch:*']", true),
        ("deny: ['*:shell:rm']", false),
        (
            "deny: ['web:fetch', 'memory:*', 'rm', 'a b:c', 'bash:x:y']",
            false,
        ),
    ] {
        place.write("agent", &format!("{text}\n"));
        let found = duragent::workspace::validate(&place.file("agent"), None);
        assert_eq!(found.errors, 0, "{:?}", found.problems);
        let told = found
            .problems
            .iter()
            .any(|one| one.contains("is no type; types are"));
        assert_eq!(told, is_told, "{text}: {:?}", found.problems);
    }
}

#[test]
fn a_deny_that_is_oddly_written_is_told() {
    let place = Place::new();
    for (rule, expected) in [
        ("'bash:\"rm *\"'", "a command is written without quotes"),
        ("bash:'rm' *", "a command is written without quotes"),
        ("'bash:^rm'", "begins with that very character"),
        ("\"bash:rm\\t*\"", "holds that tab or line's end"),
        ("\"bash:rm *\\n\"", "holds that tab or line's end"),
        ("web fetch", "an action of the builtin is `web:fetch`"),
        ("Memory", "the builtin is `memory`"),
        ("bash *", "all that the shell runs is `bash:*`"),
        (
            "builtin:web:fetch:https://Inner.org/*",
            "write the host in small letters",
        ),
        (
            "https://x*",
            "what `web` fetches is `builtin:web:fetch:https://x*`",
        ),
    ] {
        place.write("agent", &format!("deny: [{rule}]\n"));
        let found = duragent::workspace::validate(&place.file("agent"), None);
        let told = &found.problems;
        assert_eq!((found.errors, told.len()), (0, 1), "{rule}: {told:?}");
        assert!(told[0].contains(expected), "{told:?}");
    }
}

#[test]
fn what_skills_need_no_rule_for_is_not_said_to_be_capped() {
    let place = Place::new();
    place.write("workspace", "allow: ['bash:ls']\n");
    let allow = "allow: ['builtin:skill', 'builtin:skill:read', 'skill:*', 'builtin:memory']\n";
    place.write("agent", allow);
    let read = duragent::workspace::policy_files::PolicyFiles::of(
        &place.file("workspace"),
        place.file("agent").parent().unwrap(),
    );
    let rules = read.read(&|_| None, &place.trust()).unwrap().merged();
    let told = duragent::policy::check::capped(&rules);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].to_string().contains("`builtin:memory`"), "{told:?}");
}

#[test]
fn a_type_without_a_pattern_is_none_and_refuses_everything() {
    for text in [
        "deny: [builtin]",
        "deny: [cli]",
        "allow: ['mcp ']",
        "deny: [Bash]",
        "deny: [BUILTIN]",
        "deny: ['BASH:rm *']",
        "deny: ['bash(rm *)']",
        "deny: ['Bash(rm:*)']",
        "deny: ['bash=rm *']",
        "deny: ['cls:x']",
    ] {
        let place = Place::new();
        place.write("agent", &format!("{text}\n"));
        assert_eq!(bash(&place.policy(), "ls"), "deny", "{text}");
        let told = place.policies.problems()[0].to_string();
        assert!(told.contains("must begin with `bash:`"), "{told}");
    }
}

#[test]
fn rules_of_a_stranger_are_looked_at_in_no_time() {
    let place = Place::new();
    let starry = format!("*:{}b", "*a".repeat(120));
    for rule in [
        "builtin:none",
        &format!("builtin:{}", &starry[2..]),
        &starry,
    ] {
        let list = serde_json::to_string(&vec![rule; 1_000]).unwrap();
        place.write("agent", &format!("deny: {list}\n"));
        let before = computed_ns();
        let found = duragent::workspace::validate(&place.file("agent"), None);
        let computed = computed_ns() - before;
        assert!(found.errors <= 50, "{}", found.errors);
        // An unoptimised build, on a machine that does other things.
        assert!(computed < 3_000_000_000, "{rule}: {computed} ns");
    }
}

#[test]
fn rules_are_limited_in_number_and_length() {
    let place = Place::new();
    let many: Vec<String> = (0..1_001).map(|number| format!("bash:a{number}")).collect();
    for (rules, expected) in [
        (
            serde_json::to_string(&many).unwrap(),
            "is one of more than 1000 rules",
        ),
        (
            format!("['bash:{}']", "a".repeat(2_000)),
            "is longer than 2,000 characters",
        ),
        (
            format!("[{{exact: '{}'}}]", "a".repeat(70_000)),
            "is longer than 64 KiB",
        ),
        ("[{}]".to_owned(), "needs the key `exact`"),
        ("[{exakt: a}]".to_owned(), "unknown key"),
    ] {
        place.write("agent", &format!("allow: {rules}\n"));
        let problems = duragent::workspace::validate(&place.file("agent"), None).problems;
        assert!(
            problems.iter().any(|one| one.contains(expected)),
            "{expected}: {problems:?}"
        );
    }
}
