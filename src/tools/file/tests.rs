use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded, never};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;
use crate::base::yaml::expand::Environment;
use crate::base::yaml::problem::Problem;
use crate::domain::ids::{AgentName, CallId, SessionId};
use crate::domain::spec::{AgentSpec, ModelChoice, Provider};
use crate::domain::trust::{Granted, Part};
use crate::policy::{
    EditRules, Policies, RememberError, RuleSource, RuleSources, Tiers, file as policy_file,
};
use crate::tools::Caller;

/// The text of the workspace's policy.
#[derive(Clone)]
struct Written(String);

impl RuleSources for Written {
    fn of(&self, _: &AgentSpec) -> Box<dyn RuleSource> {
        Box::new(self.clone())
    }
}

impl RuleSource for Written {
    fn read(&self, environment: Environment<'_>) -> Result<(Tiers, Granted), Vec<Problem>> {
        let text = format!("apiVersion: duragent/v1alpha1\nkind: Policy\n{}", self.0);
        let tier = policy_file::parse(text, "policy.yaml".as_ref(), environment)?;
        let tiers = Tiers {
            workspace: Some(tier),
            ..Tiers::default()
        };
        Ok((tiers, Granted::Everything))
    }

    fn has_workspace_policy(&self) -> bool {
        true
    }

    fn allow(&self, _: &[Part], _: &EditRules<'_>) -> Result<(), RememberError> {
        Ok(())
    }
}

/// An agent in a workspace, beside a folder that is open to it.
struct Desk {
    folder: TempDir,
    tool: FileTool,
    session: SessionId,
}

impl Desk {
    fn new() -> Desk {
        Desk::with_rules("")
    }

    fn with_rules(rules: &str) -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let home = root.join("app/.duragent/agents/ada");
        for inner in [&home.join("work/src"), &root.join("open/src")] {
            fs::create_dir_all(inner).unwrap();
        }
        fs::write(home.join("agent.yaml"), "definition").unwrap();
        let model = ModelChoice::new(Provider::ECHO, "echo");
        let spec = AgentSpec {
            home: home.clone(),
            ..AgentSpec::new(AgentName::parse("ada").unwrap(), model)
        };
        let policies = Policies::new(Arc::new(Written(rules.to_owned())), Arc::new(|_| None));
        let places = FilePlaces {
            writable: vec![root.join("open"), root.join("app"), root.join("none")],
            guarded: vec![root.join("app/.duragent"), root.join("app/duragent.yaml")],
        };
        Desk {
            tool: FileTool::new(&home, Arc::new(places), policies.of(&spec)),
            session: SessionId::mint(1, 1),
            folder,
        }
    }

    /// As on a system without the one call.
    fn stepwise(mut self) -> Desk {
        self.tool.is_stepwise = true;
        self
    }

    fn path(&self, inner: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(inner)
    }

    fn work(&self, inner: &str) -> PathBuf {
        self.tool.home.join("work").join(inner)
    }

    fn call(&self, arguments: &Value) -> (bool, String) {
        self.call_until(arguments, &never())
    }

    fn call_until(&self, arguments: &Value, cancel: &Receiver<Infallible>) -> (bool, String) {
        let run = Run {
            call_id: &CallId::parse("call_1").unwrap(),
            arguments: &arguments.to_string(),
            cancel,
            caller: Caller::of(&self.session),
        };
        let output = self.tool.run(&run).done().unwrap();
        (output.success, output.content)
    }

    #[track_caller]
    fn does(&self, arguments: &Value) -> String {
        let (success, content) = self.call(arguments);
        assert!(success, "{arguments}: {content}");
        content
    }

    #[track_caller]
    fn refuses(&self, arguments: &Value) -> String {
        let (success, content) = self.call(arguments);
        assert!(!success, "{arguments}: {content}");
        content
    }

    #[track_caller]
    fn used(&self, arguments: &Value) -> FileUse {
        self.tool
            .file(&arguments.to_string(), None)
            .unwrap()
            .unwrap()
    }
}

fn read(path: &str) -> Value {
    json!({"action": "read", "path": path})
}

fn write(path: &str, content: &str) -> Value {
    json!({"action": "write", "path": path, "content": content})
}

fn edit(path: &str, old: &str, new: &str) -> Value {
    json!({"action": "edit", "path": path, "old": old, "new": new})
}

#[test]
fn a_file_is_made_read_edited_and_its_change_is_shown() {
    for desk in [Desk::new(), Desk::new().stepwise()] {
        assert_eq!(
            desk.does(&write("a/b/c.txt", "one\ntwo\n")),
            "made a/b/c.txt, 2 lines, 8 bytes\n--- /dev/null\n+++ a/b/c.txt\n@@ -0,0 +1,2 @@\n+one\n+two"
        );
        assert_eq!(desk.does(&read("a/b/c.txt")), "one\ntwo\n");
        assert_eq!(
            desk.does(&edit("a//b/./c.txt", "two", "2")),
            "edited a/b/c.txt at 1 place\n--- a/b/c.txt\n+++ a/b/c.txt\n@@ -1,2 +1,2 @@\n one\n-two\n+2"
        );
        let whole = desk.work("a/b/c.txt").display().to_string();
        assert_eq!(desk.does(&read(&whole)), "one\n2\n");
        assert_eq!(
            desk.does(&write("a/b/c.txt", "one\n2\n")),
            "a/b/c.txt is like that already"
        );
        assert_eq!(
            desk.does(&json!({"action": "edit", "path": "a/b/c.txt", "old": "\n", "new": "!\n", "all": true})),
            "edited a/b/c.txt at 2 places\n--- a/b/c.txt\n+++ a/b/c.txt\n@@ -1,2 +1,2 @@\n-one\n-2\n+one!\n+2!"
        );
        let open = desk.path("open/src/x").display().to_string();
        assert!(
            desk.does(&write(&open, "x"))
                .starts_with(&format!("made {open}, "))
        );
        assert_eq!(fs::read(&open).unwrap(), b"x");
        // Nothing else is left in the folder.
        assert_eq!(fs::read_dir(desk.work("a/b")).unwrap().count(), 1);
    }
}

#[test]
fn a_file_may_be_called_as_the_system_calls_one_that_is_gone() {
    for desk in [Desk::new(), Desk::new().stepwise()] {
        for name in ["x (deleted)", "y (deleted)/z (deleted)"] {
            desk.does(&write(name, "one"));
            desk.does(&edit(name, "one", "two"));
            assert_eq!(desk.does(&read(name)), "two", "{name}");
        }
    }
}

#[test]
fn line_ends_the_mark_and_the_mode_stay() {
    let desk = Desk::new();
    let path = desk.work("run.bat");
    for mode in [0o755, 0o640, 0o600] {
        fs::write(&path, "\u{feff}one\r\ntwo\r\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        desk.does(&edit("run.bat", "one\ntwo", "1\n2\n3"));
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "\u{feff}1\r\n2\r\n3\r\n"
        );
        desk.does(&write("run.bat", "a\nb\n"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "\u{feff}a\r\nb\r\n");
        let about = fs::metadata(&path).unwrap();
        assert_eq!(about.permissions().mode() & 0o7777, mode);
    }
    // The model is shown plain line ends, and no mark.
    assert_eq!(desk.does(&read("run.bat")), "a\nb\n");
}

#[test]
fn links_lead_nowhere_but_beneath_and_are_not_replaced_themselves() {
    let desk = Desk::new();
    fs::write(desk.path("secret"), "secret").unwrap();
    fs::write(desk.work("src/real"), "text").unwrap();
    symlink("src/real", desk.work("link")).unwrap();
    symlink("src", desk.work("folder")).unwrap();
    symlink("../../../../../secret", desk.work("out")).unwrap();
    symlink(desk.path("secret"), desk.work("absolute")).unwrap();
    symlink("/proc/self/root/etc", desk.work("magic")).unwrap();
    symlink("../agent.yaml", desk.work("definition")).unwrap();
    symlink("nothing", desk.work("dangling")).unwrap();
    symlink("circle", desk.work("circle")).unwrap();
    for name in ["link", "folder/real", "folder/../src/real"] {
        assert_eq!(desk.does(&read(name)), "text", "{name}");
    }
    let used = desk.used(&write("folder/../link", "new"));
    assert_eq!(used.inner, "src/real");
    assert!(used.written.contains(&"link".to_owned()), "{used:?}");
    assert_eq!(desk.used(&write("folder/new", "x")).inner, "src/new");
    desk.does(&edit("link", "text", "new"));
    assert!(
        fs::symlink_metadata(desk.work("link"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(fs::read(desk.work("src/real")).unwrap(), b"new");
    for name in [
        "out",
        "absolute",
        "magic/passwd",
        "definition",
        "circle",
        "../agent.yaml",
        "src/../../agent.yaml",
        "/etc/passwd",
        "/proc/self/environ",
        "..",
        "~/x",
    ] {
        desk.refuses(&read(name));
    }
    for name in [
        "out",
        "absolute",
        "magic/x",
        "definition",
        "circle",
        "dangling",
        "dangling/x",
        "../x",
        "../tools/x/run",
        "/tmp/x",
    ] {
        desk.refuses(&write(name, "evil"));
    }
    assert_eq!(fs::read(desk.path("secret")).unwrap(), b"secret");
    assert_eq!(
        fs::read(desk.tool.home.join("agent.yaml")).unwrap(),
        b"definition"
    );
    let desk = desk.stepwise();
    for name in [
        "link",
        "folder/real",
        "out",
        "absolute",
        "magic/passwd",
        "definition",
    ] {
        desk.refuses(&read(name));
        desk.refuses(&write(name, "evil"));
    }
    assert_eq!(desk.does(&read("src/../src/real")), "new");
}

#[test]
fn what_is_the_servers_own_is_neither_read_nor_written_by_any_way() {
    let desk = Desk::new();
    fs::write(desk.path("app/duragent.yaml"), "key").unwrap();
    fs::write(desk.path("app/main.rs"), "ours: key").unwrap();
    fs::create_dir_all(desk.path("app/.duragent/outbox")).unwrap();
    let app = desk.path("app").display().to_string();
    for name in [
        "duragent.yaml",
        "src/../duragent.yaml",
        ".duragent/agents/ada/agent.yaml",
        ".duragent/policy.yaml",
        ".duragent/sessions/x",
        ".duragent/outbox/x",
        ".duragent/agents/bob/work/x",
    ] {
        let path = format!("{app}/{name}");
        for call in [read(&path), write(&path, "evil")] {
            let said = desk.refuses(&call);
            assert!(
                said.contains("the server's own") || said.contains("there is no"),
                "{said}"
            );
        }
    }
    assert!(!desk.path("app/.duragent/policy.yaml").exists());
    // Below what is open to all, the agent's own folder is its own.
    let own = desk.work("x").display().to_string();
    desk.does(&write(&own, "key"));
    let used = desk.used(&read(&own));
    assert_eq!((used.inner.as_str(), used.is_own), ("x", true));
    let search = json!({"action": "search", "path": app, "content": "key"});
    assert_eq!(desk.does(&search), format!("{app}/main.rs:1: ours: key"));
    for action in ["list", "search"] {
        desk.refuses(
            &json!({"action": action, "path": format!("{app}/.duragent"), "content": "key"}),
        );
    }
}

#[test]
fn what_is_no_regular_file_is_told_and_not_waited_for() {
    no_pipe_is_waited_for(&Desk::new());
    no_pipe_is_waited_for(&Desk::new().stepwise());
}

fn no_pipe_is_waited_for(desk: &Desk) {
    mknodat(CWD, desk.work("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(desk.work("socket")).unwrap();
    let (told_tx, told_rx) = bounded(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for name in ["pipe", "socket"] {
                for call in [read(name), write(name, "x"), edit(name, "a", "b")] {
                    let said = desk.refuses(&call);
                    assert_eq!(said, format!("{name} is no regular file"));
                }
            }
            let found = desk.does(&json!({"action": "search", "content": "x"}));
            assert_eq!(found, "[nothing found]");
            assert!(
                desk.does(&json!({"action": "list"}))
                    .contains("pipe (no regular file)")
            );
            told_tx.send(()).unwrap();
        });
        told_rx
            .recv_timeout(std::time::Duration::from_secs(60))
            .unwrap();
    });
}

#[test]
fn of_a_huge_file_no_more_is_read_than_what_is_shown() {
    let desk = Desk::new();
    let sparse = fs::File::create(desk.work("zeros")).unwrap();
    sparse.set_len(2 << 30).unwrap();
    let said = desk.refuses(&read("zeros"));
    assert_eq!(said, "zeros is no text but a binary file of 2.0 GB");
    // A line of text before 2 GB of one more.
    let text = [&b"first\n"[..], &vec![b'x'; 20_000]].concat();
    fs::write(desk.work("text"), &text).unwrap();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(desk.work("text"))
        .unwrap();
    file.set_len(2 << 30).unwrap();
    let before = peak_kb();
    let page = desk.does(&json!({"action": "read", "path": "text", "lines": 1}));
    assert_eq!(
        page,
        "first\n[the file has 2.0 GB; it goes on with `from: 2`]"
    );
    let said = desk.does(&json!({"action": "read", "path": "text", "from": 9}));
    assert_eq!(said, "[text ends before line 9]");
    for call in [edit("text", "first", "1"), edit("zeros", "a", "b")] {
        assert!(desk.refuses(&call).ends_with("is larger than 10.0 MB"));
    }
    let found = desk.does(&json!({"action": "search", "content": "first"}));
    assert_eq!(
        found,
        "text:1: first\n[of 1 file only the first 8.0 MB were looked at]"
    );
    assert!(peak_kb() - before < 200 << 10);
    // It is replaced without being read.
    assert!(
        desk.does(&write("text", "new\n"))
            .contains("too long to be compared")
    );
    // The wait for what is long ends when somebody says so.
    let (cancel_tx, cancel_rx) = bounded(0);
    drop(cancel_tx);
    let begun = Instant::now();
    let long = json!({"action": "read", "path": "zeros", "from": 2});
    assert!(!desk.call_until(&long, &cancel_rx).0);
    assert!(begun.elapsed().as_secs() < 20);
}

/// The most memory that this process has had.
fn peak_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn pages_say_how_they_go_on_and_long_lines_are_cut() {
    let desk = Desk::new();
    let lines: String = (1..=3_000).map(|n| format!("line {n}\n")).collect();
    fs::write(desk.work("long"), lines).unwrap();
    let first = desk.does(&read("long"));
    assert!(first.starts_with("line 1\nline 2\n"));
    assert!(
        first.ends_with("line 1000\n[the file has 28.2 KB; it goes on with `from: 1001`]"),
        "{first}"
    );
    let page = json!({"action": "read", "path": "long", "from": 2_999, "lines": 1});
    assert_eq!(
        desk.does(&page),
        "line 2999\n[the file has 28.2 KB; it goes on with `from: 3000`]"
    );
    let end = json!({"action": "read", "path": "long", "from": 2_999});
    assert_eq!(desk.does(&end), "line 2999\nline 3000\n");
    fs::write(desk.work("wide"), format!("{}\nend", "ä".repeat(5_000))).unwrap();
    let wide = desk.does(&read("wide"));
    assert_eq!(
        wide,
        format!("{}[… 8000 more bytes in this line]\nend", "ä".repeat(1_000))
    );
    fs::write(desk.work("empty"), "").unwrap();
    assert_eq!(desk.does(&read("empty")), "[empty is empty]");
    fs::write(desk.work("latin"), b"caf\xe9\n").unwrap();
    assert_eq!(desk.does(&read("latin")), "caf\u{fffd}\n");
    assert!(
        desk.refuses(&edit("latin", "caf", "x"))
            .contains("no text in UTF-8")
    );
    assert!(desk.does(&read("wide")).len() < 30_000);
    let huge = "x".repeat(1_900) + "\n";
    fs::write(desk.work("huge"), huge.repeat(100)).unwrap();
    let page = desk.does(&read("huge"));
    assert!(
        page.len() < 30_000 && page.contains("it goes on with `from: "),
        "{}",
        page.len()
    );
}

#[test]
fn folders_are_listed_with_kinds_and_sizes_and_searched_within_bounds() {
    let desk = Desk::new();
    fs::create_dir_all(desk.work(".git/objects")).unwrap();
    fs::write(desk.work(".git/config"), "needle").unwrap();
    fs::write(desk.work("src/a.rs"), "no\nthe needle\n").unwrap();
    fs::write(desk.work("src/b.txt"), "needle needle\r\n").unwrap();
    fs::write(desk.work("binary"), b"\0needle").unwrap();
    symlink("src", desk.work("again")).unwrap();
    assert_eq!(
        desk.does(&json!({"action": "list"})),
        ".git/\nagain -> src (link)\nbinary (7 bytes)\nsrc/\n"
    );
    let search = |path: &str, text: Option<&str>| {
        desk.does(&json!({"action": "search", "path": path, "content": text}))
    };
    assert_eq!(
        search(".", Some("needle")),
        "src/a.rs:2: the needle\nsrc/b.txt:1: needle needle"
    );
    assert_eq!(search("*.rs", Some("needle")), "src/a.rs:2: the needle");
    assert_eq!(search("src/a*", None), "src/a.rs");
    assert_eq!(search("**/*.txt", None), "src/b.txt");
    assert_eq!(search("src/*/x", None), "[nothing found]");
    assert_eq!(search("src/a.rs", Some("needle")), "src/a.rs:2: the needle");
    assert_eq!(search(".git", Some("needle")), ".git/config:1: needle");
    assert_eq!(search(".", Some("Needle")), "[nothing found]");
    assert!(
        desk.refuses(&json!({"action": "search"}))
            .contains("`content`")
    );
    for n in 0..600 {
        fs::write(desk.work(&format!("src/{n:04}")), "one two three\n").unwrap();
    }
    let listed = desk.does(&json!({"action": "list", "path": "src"}));
    assert!(
        listed.ends_with("[102 more; `search` with a `path` as src/*.txt finds names]"),
        "{listed}"
    );
    let found = search("src", Some("two"));
    assert_eq!(found.lines().count(), HITS_SHOWN + 1, "{found}");
    assert!(found.contains("not all was looked at"), "{found}");
}

/// As many as an answer has.
const HITS_SHOWN: usize = 200;

#[test]
fn a_deny_holds_for_each_file_that_a_call_comes_upon() {
    let rules = "mode: dangerous\ndeny: ['builtin:file:read:secret/*', 'builtin:file:write:*.lock', \
                 'builtin:file:read:*/open/src/*']";
    let desk = Desk::with_rules(rules);
    fs::create_dir_all(desk.work("secret/inner")).unwrap();
    fs::write(desk.work("secret/key"), "needle").unwrap();
    fs::write(desk.work("secret/inner/key"), "needle").unwrap();
    fs::write(desk.work("plain"), "needle").unwrap();
    symlink("secret", desk.work("link")).unwrap();
    symlink("secret/key", desk.work("plain2")).unwrap();
    let open = desk.path("open/src");
    fs::write(open.join("x"), "needle").unwrap();
    for path in [
        "secret/key",
        "./secret/../secret//key",
        "link/key",
        "plain2",
        "secret/inner/key",
        &open.join("x").display().to_string(),
    ] {
        let said = desk.refuses(&read(path));
        assert!(
            said.starts_with("a rule forbids it: policy.yaml:"),
            "{path}: {said}"
        );
    }
    assert_eq!(
        desk.does(&json!({"action": "search", "content": "needle"})),
        "plain:1: needle"
    );
    for action in ["list", "search"] {
        desk.refuses(&json!({"action": action, "path": "link", "content": "x"}));
    }
    // A rule for searches alone holds from above too.
    let other = Desk::with_rules("deny: ['builtin:file:search:secret/*']");
    fs::create_dir(other.work("secret")).unwrap();
    fs::write(other.work("secret/key"), "needle").unwrap();
    for path in [".", "secret"] {
        let (_, found) =
            other.call(&json!({"action": "search", "path": path, "content": "needle"}));
        assert!(!found.contains("key"), "{found}");
    }
    assert_eq!(other.does(&read("secret/key")), "needle");
    for call in [
        write("Cargo.lock", ""),
        write("src/x.lock", ""),
        edit("plain", "a", "b"),
    ] {
        let said = desk.refuses(&call);
        let forbidden = call["path"] != "plain";
        assert_eq!(said.contains("a rule forbids it"), forbidden, "{said}");
    }
}

#[test]
fn a_file_that_was_changed_meanwhile_is_not_replaced() {
    let desk = Desk::new();
    let path = desk.work("x");
    let located = desk.tool.reach(None).locate("x").unwrap();
    let target = WriteTarget::open(&located).unwrap();
    let changes: [&dyn Fn(); 3] = [
        &|| fs::write(&path, "other").unwrap(),
        &|| fs::remove_file(&path).unwrap(),
        &|| {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        },
    ];
    for change in changes {
        fs::write(&path, "text").unwrap();
        let before = target.read().unwrap().unwrap();
        change();
        let refused = target.replace(b"new", Some(&before)).unwrap_err();
        assert!(matches!(refused, ReplaceError::Changed), "{refused}");
        assert_ne!(fs::read(&path).unwrap_or_default(), b"new");
        assert_eq!(
            fs::read_dir(desk.work(""))
                .unwrap()
                .filter(|entry| entry.as_ref().unwrap().file_name() != "src")
                .count(),
            usize::from(path.exists())
        );
        if path.is_dir() {
            fs::remove_dir(&path).unwrap();
        }
    }
}

#[test]
fn whoever_swaps_folders_meanwhile_gets_nothing_out_and_nothing_in() {
    let desk = Desk::new();
    let work = desk.work("");
    let outside = desk.path("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(work.join("real")).unwrap();
    fs::write(outside.join("file"), "secret").unwrap();
    fs::write(work.join("real/file"), "inside").unwrap();
    symlink(&outside, work.join("link")).unwrap();
    let swapper = std::thread::spawn(move || {
        let [real, link, now] = ["real", "link", "now"].map(|name| work.join(name));
        for _ in 0..500 {
            for one in [&real, &link] {
                fs::rename(one, &now).unwrap();
                std::thread::yield_now();
                fs::rename(&now, one).unwrap();
            }
        }
    });
    while !swapper.is_finished() {
        let (success, content) = desk.call(&read("now/file"));
        assert!(!success || content.starts_with("in"), "{content}");
        desk.call(&edit("now/file", "inside", "in"));
        desk.call(&edit("now/file", "in", "inside"));
    }
    swapper.join().unwrap();
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn a_person_is_shown_the_change_and_is_not_asked_about_what_cannot_be() {
    let desk = Desk::new();
    fs::write(desk.work("x"), "one\n").unwrap();
    let asked = |call: &Value| desk.tool.asked(&call.to_string(), None);
    assert_eq!(
        asked(&edit("x", "one", "two")).unwrap().unwrap(),
        "file edit x\n1 line, 4 bytes\n--- x\n+++ x\n@@ -1 +1 @@\n-one\n+two"
    );
    let made = asked(&write(".git/hooks/x", "evil\n")).unwrap().unwrap();
    assert_eq!(
        made,
        "file write .git/hooks/x\n1 line, 5 bytes\n--- /dev/null\n+++ .git/hooks/x\n@@ -0,0 +1 @@\n+evil"
    );
    assert!(!desk.work(".git").exists());
    assert_eq!(asked(&read("x")).unwrap(), None);
    assert!(asked(&edit("x", "three", "four")).is_err());
    assert!(
        desk.tool
            .file(&write("/etc/x", "y").to_string(), None)
            .is_err()
    );
    assert!(
        desk.tool
            .file(&json!({"action": "write", "path": "x"}).to_string(), None)
            .is_err()
    );
}

#[test]
fn a_call_is_known_to_rules_by_where_it_leads() {
    let desk = Desk::new();
    let usual = |call: &Value| desk.used(call).is_usual();
    let open = desk.path("open/x").display().to_string();
    for (call, expected) in [
        (write("x", ""), true),
        (write("src/x", ""), true),
        (write(".envrc", ""), false),
        (write("src/.cargo/config.toml", ""), false),
        (write("src/../.git/config", ""), false),
        (write(&open, ""), false),
        (read("src"), true),
        (
            json!({"action": "list", "path": open.trim_end_matches("/x")}),
            true,
        ),
    ] {
        if call["action"] != "read" {
            assert_eq!(usual(&call), expected, "{call}");
        }
    }
    let used = desk.used(&write(&open, ""));
    assert_eq!((used.name(), used.is_own), (open, false));
    let used = desk.used(&json!({"action": "list"}));
    assert_eq!((used.inner.as_str(), used.is_folder), (".", true));
    assert_eq!(
        meant(&write("src/../x", "").to_string(), &desk.tool.home)
            .unwrap()
            .inner,
        "x"
    );
}
