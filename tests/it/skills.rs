//! Skills and what else an agent has of itself, through the real binary: the builtins `skill`,
//! `session` and `reload_tools`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use duragent::workspace;
use serde_json::{Value, json};

use crate::support::bench::echo;
use crate::support::server::{Server, Workspace};

mod quirks;

/// The skill in the documentation.
fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/skills/task-extraction")
}

fn copy(source: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let target = target.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// An agent that echoes, with these builtins and the skill of the documentation.
fn with_example(builtins: &[&str]) -> Workspace {
    let workspace = Workspace::new();
    agent(&workspace, "ada", builtins);
    let skills = workspace.file(".duragent/agents/ada/skills");
    copy(&example(), &skills.join("task-extraction"));
    workspace
}

fn agent(workspace: &Workspace, name: &str, builtins: &[&str]) {
    let builtins = builtins.iter();
    let agent = builtins.fold(echo(name), |agent, builtin| agent.builtin(builtin));
    agent.write(workspace);
}

fn read(name: &str, file: Option<&str>) -> Value {
    json!({"action": "read", "name": name, "file": file})
}

#[test]
fn the_skill_of_the_documentation_is_without_a_flaw() {
    let workspace = with_example(&[]);
    let home = workspace.file(".duragent/agents/ada");
    assert_eq!(
        workspace::validate(&home, None).problems,
        Vec::<String>::new()
    );
}

#[test]
fn an_agent_with_skills_reads_them_and_their_files() {
    let workspace = with_example(&[]);
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let said = server.call(&session, "skill", &read("task-extraction", None));
    assert!(said.starts_with("# Task extraction\n"), "{said}");
    // Every file that the skill speaks of is named, and can be read.
    for file in [
        "assets/tasks.md",
        "references/dates.md",
        "references/signals.md",
    ] {
        assert!(said.contains(&format!("- {file}")), "{file}: {said}");
        assert!(said.contains(&format!("`{file}`")), "{file}: {said}");
        let text = server.call(&session, "skill", &read("task-extraction", Some(file)));
        assert_eq!(text, fs::read_to_string(example().join(file)).unwrap());
    }
}

#[test]
fn every_file_of_a_skill_is_read_and_its_folder_is_named() {
    let workspace = with_example(&[]);
    let home = ".duragent/agents/ada/skills/task-extraction";
    let files = [
        "LICENSE.txt",
        "reference/forms.md",
        "themes/a/b/c.json",
        ".config",
        "node_modules/x.js",
        "ä b.md",
    ];
    for file in files {
        workspace.write(&format!("{home}/{file}"), &format!("This is {file}."));
    }
    workspace.write(
        ".duragent/skills/bare/SKILL.md",
        "---\nname: bare\ndescription: x\n---\nBare.\n",
    );
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let said = server.call(&session, "skill", &read("task-extraction", None));
    let folder = workspace.file(home).canonicalize().unwrap();
    let listed = format!(
        "\n\nFiles of this skill, in {}:\n- LICENSE.txt\n- ä b.md\n- assets/tasks.md\n\
         - reference/forms.md\n- references/dates.md\n- references/signals.md\n- themes/a/b/c.json",
        folder.display()
    );
    assert!(said.ends_with(&listed), "{said}");
    for file in files {
        for path in [
            file.to_owned(),
            format!("./{file}"),
            folder.join(file).display().to_string(),
        ] {
            let text = server.call(&session, "skill", &read("task-extraction", Some(&path)));
            assert_eq!(text, format!("This is {file}."), "{path}");
        }
    }
    // One for all agents, which is a file alone.
    let folder = workspace
        .file(".duragent/skills/bare")
        .canonicalize()
        .unwrap();
    let bare = format!("Bare.\n\nThe folder of this skill: {}", folder.display());
    for file in [None, Some(""), Some("SKILL.md")] {
        assert_eq!(
            server.call(&session, "skill", &read("bare", file)),
            bare,
            "{file:?}"
        );
    }
}

#[test]
fn no_link_or_path_leads_out_of_a_skill() {
    let workspace = with_example(&[]);
    let skill = workspace.file(".duragent/agents/ada/skills/task-extraction");
    symlink("../../../agent.yaml", skill.join("references/link.md")).unwrap();
    symlink("../../agent.yaml", skill.join("link.md")).unwrap();
    symlink("../..", skill.join("up")).unwrap();
    fs::create_dir(skill.join(".git")).unwrap();
    fs::write(skill.join(".git/config"), "url = https://me:secret@host/").unwrap();
    symlink(".git/config", skill.join("notes.md")).unwrap();
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let outside = workspace.file(".duragent/agents/ada/agent.yaml");
    for file in [
        "references/link.md",
        "link.md",
        "up/agent.yaml",
        "references/../../../agent.yaml",
        "references/../SKILL.md",
        "../../agent.yaml",
        "/etc/passwd",
        outside.to_str().unwrap(),
        ".git/config",
        "./references/../.git/config",
        "notes.md",
    ] {
        let said = server.call(&session, "skill", &read("task-extraction", Some(file)));
        let is_refused = said.contains("leads out of the skill's folder")
            || said.contains("only files in the skill's folder can be read")
            || said.contains("is git's own");
        assert!(is_refused, "{file}: {said}");
    }
    let said = server.call(&session, "skill", &read("task-extraction", None));
    for hidden in ["link.md", "up", ".git"] {
        assert!(!said.contains(&format!("\n- {hidden}")), "{hidden}: {said}");
    }
}

#[test]
fn pipes_and_very_much_hold_no_reader_up() {
    let workspace = with_example(&[]);
    let skill = workspace.file(".duragent/agents/ada/skills/task-extraction");
    rustix::fs::mkfifoat(rustix::fs::CWD, skill.join("pipe"), rustix::fs::Mode::RWXU).unwrap();
    fs::write(skill.join("huge.md"), "x".repeat((1 << 20) + 1)).unwrap();
    fs::write(skill.join("bytes"), b"\xff").unwrap();
    fs::create_dir(skill.join("data")).unwrap();
    for number in 0..10_000 {
        fs::write(skill.join(format!("data/{number}")), "").unwrap();
    }
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    for (file, expected) in [
        ("pipe", "pipe is not a file"),
        ("data", "data is not a file"),
        (".", "is not a file"),
        ("huge.md", "huge.md is longer than 1024 KiB"),
        ("bytes", "bytes is not UTF-8 from 1:1 on"),
        ("none.md", "the skill task-extraction has no file none.md"),
    ] {
        let said = server.call(&session, "skill", &read("task-extraction", Some(file)));
        assert!(said.contains(expected), "{file}: {said}");
    }
    let said = server.call(&session, "skill", &read("task-extraction", None));
    assert!(
        said.contains("\n- bytes\n- huge.md\n") && said.ends_with("\n- …"),
        "{said}"
    );
    assert!(said.len() < 30_000 && !said.contains("- pipe"), "{said}");
}

#[test]
fn a_file_of_a_stranger_with_other_names_is_not_read() {
    let workspace = Workspace::of_strangers();
    agent(&workspace, "ada", &[]);
    let home = ".duragent/agents/ada/skills/tidy";
    workspace.write(
        &format!("{home}/SKILL.md"),
        "---\nname: tidy\ndescription: x\n---\nTidy.\n",
    );
    workspace.write("secret", "hunter2");
    let link = workspace.file(&format!("{home}/notes.md"));
    fs::hard_link(workspace.file("secret"), &link).unwrap();
    let notes = read("tidy", Some("notes.md"));
    {
        let server = Server::start(&workspace, &[]);
        let session = server.create_session("ada");
        let said = server.call(&session, "skill", &notes);
        assert!(
            said.contains("has other names elsewhere (hard links)"),
            "{said}"
        );
    }
    // The owner may have made a backup that shares its files.
    workspace.write(
        ".duragent/agents/ada/policy.yaml",
        "apiVersion: duragent/v1alpha1\nkind: Policy\nallow: ['bash:ls']\n",
    );
    workspace.trust("ada");
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    assert_eq!(server.call(&session, "skill", &notes), "hunter2");
}

#[test]
fn a_skill_is_read_unasked_under_every_policy_that_does_not_deny_it() {
    const HEAD: &str = "apiVersion: duragent/v1alpha1\nkind: Policy\n";
    let file = r#"{"action":"read","file":"references/dates.md","name":"task-extraction"}"#;
    let whole = r#"{"action":"read","name":"task-extraction"}"#;
    for (shared, own, is_read) in [
        ("mode: ask\n", "", true),
        ("mode: restrict\n", "", true),
        (
            "mode: restrict\nallow: ['bash:ls']\n",
            "mode: restrict\nallow: ['cli:x']\n",
            true,
        ),
        (
            "allow: ['builtin:web']\n",
            "mode: ask\ndeny: ['bash:rm *']\n",
            true,
        ),
        ("mode: dangerous\n", "", true),
        ("", "mode: restrict\n", true),
        ("", "deny: ['builtin:skill:read:other']\n", true),
        (
            "deny: ['builtin:skill']\n",
            "allow: ['builtin:skill']\n",
            false,
        ),
        ("mode: dangerous\ndeny: ['builtin:skill:read']\n", "", false),
        ("", "deny: ['builtin:skill:read:task-*']\n", false),
        ("deny: ['builtin:*']\n", "", false),
        ("", "deny: ['*']\n", false),
    ] {
        let workspace = with_example(&[]);
        let home = ".duragent/agents/ada/policy.yaml";
        for (path, text) in [(".duragent/policy.yaml", shared), (home, own)] {
            if !text.is_empty() {
                workspace.write(path, &format!("{HEAD}{text}"));
            }
        }
        let server = Server::start(&workspace, &[]);
        let session = server.create_session("ada");
        for arguments in [whole, file] {
            let told = server.say(&session, &format!("/tool skill {arguments}"));
            assert_eq!(told.status, 200, "{shared}{own}: {}", told.text());
            let said = told.json()["content"].as_str().unwrap().to_owned();
            assert_eq!(!said.contains("deny `"), is_read, "{shared}{own}: {said}");
        }
        let call = format!("builtin:skill {whole}");
        let mut test = workspace.command(&["policy", "test", "--agent", "ada", "--json", &call]);
        let output = test.output().unwrap();
        let tested: Value = serde_json::from_slice(&output.stdout).unwrap();
        let verdict = if is_read { "allow" } else { "deny" };
        assert_eq!(tested["verdict"], json!(verdict), "{shared}{own}: {tested}");
    }
}

#[test]
fn a_skill_that_is_denied_is_read_in_no_other_spelling() {
    let workspace = with_example(&[]);
    workspace.write(
        ".duragent/agents/ada/policy.yaml",
        "apiVersion: duragent/v1alpha1\nkind: Policy\ndeny: ['builtin:skill:read:task-extraction']\n",
    );
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    for arguments in [
        r#"{"action":"read","name":"task-extraction"}"#,
        r#"{"action":"read","n\u0061me":"task-extraction"}"#,
        r#"{"action":"read","name":"other","name":"task-extraction"}"#,
        r#"{"action":"read","name":"task-extraction","name":"other"}"#,
        r#"["read","task-extraction"]"#,
        r#"["read","task-extraction",null,null]"#,
        r#"{"action":{"read":null},"name":"task-extraction"}"#,
        r#"{"action":"read","name":["task-extraction"]}"#,
    ] {
        let told = server.say(&session, &format!("/tool skill {arguments}"));
        assert_eq!(told.status, 200, "{arguments}: {}", told.text());
        let said = told.json()["content"].as_str().unwrap().to_owned();
        let is_refused = said.contains("deny `") || said.contains("are not understood");
        assert!(is_refused, "{arguments}: {said}");
    }
}

#[test]
fn a_skill_that_is_not_as_it_should_be_is_told_with_its_place_and_can_be_read() {
    let workspace = with_example(&[]);
    let home = ".duragent/agents/ada/skills";
    workspace.write(
        &format!("{home}/other/SKILL.md"),
        "---\r\nname: Wrong One\r\ndescription: Use when: late.\r\n---\r\nWrong\r\nas it is.\r\n",
    );
    workspace.write(
        &format!("{home}/broken/SKILL.md"),
        "---\nname: broken\n---\n",
    );
    workspace.write(".duragent/skills/unfinished/README.md", "Soon.");
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let log = server.log();
    for place in [
        format!("{home}/other/SKILL.md:2:7: `name` is `Wrong One`, but"),
        format!("{home}/other/SKILL.md:3:22: is no YAML"),
        format!("{home}/broken/SKILL.md:2:1: `description` is missing"),
        ".duragent/skills/unfinished: has no SKILL.md".to_owned(),
    ] {
        assert!(log.contains(&place), "{place}: {log}");
    }
    let said = server.call(&session, "skill", &read("Wrong One", None));
    assert!(
        said.starts_with("Wrong\nas it is.\n\nThe folder of this skill: "),
        "{said}"
    );
    let said = server.call(&session, "skill", &read("broken", None));
    assert!(
        said.contains("there are: Wrong One, task-extraction"),
        "{said}"
    );
    // `doctor` says the same of those for all agents.
    let told = workspace.command(&["doctor"]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.contains("skills/unfinished: has no SKILL.md"),
        "{told}"
    );

    // Put right, it is there after a reload, and its neighbour stays.
    workspace.write(
        &format!("{home}/broken/SKILL.md"),
        "---\nname: broken\ndescription: x\n---\nHello.\n",
    );
    let report = server.post("/api/admin/v1/reload-agents", &json!({}));
    assert_eq!(
        report.json()["changed"],
        json!(["ada"]),
        "{}",
        report.text()
    );
    let said = server.call(&session, "skill", &read("broken", None));
    assert!(said.starts_with("Hello.\n"), "{said}");
}

#[test]
fn an_agent_reads_its_own_sessions_and_no_other_agents() {
    let workspace = Workspace::new();
    agent(&workspace, "ada", &["session"]);
    agent(&workspace, "bob", &["session"]);
    let server = Server::start(&workspace, &[]);
    let (one, two) = (server.create_session("ada"), server.create_session("ada"));
    let foreign = server.create_session("bob");
    assert_eq!(server.say(&one, "The code is blue.").status, 200);
    assert_eq!(server.say(&foreign, "The code is red.").status, 200);

    let list = server.call(&two, "session", &json!({"action": "list"}));
    assert!(list.contains(&one) && list.contains(&two), "{list}");
    assert!(!list.contains(&foreign), "{list}");
    let this = list.lines().find(|line| line.contains(&two)).unwrap();
    assert!(this.ends_with("(this one)"), "{list}");

    let read = |id: &str| {
        let arguments = json!({"action": "read", "session_id": id});
        server.call(&two, "session", &arguments)
    };
    let said = read(&one);
    assert!(said.contains("user:\nThe code is blue."), "{said}");
    assert!(said.contains("you:\nThe code is blue."), "{said}");
    assert_eq!(read(&foreign), format!("you have no session {foreign}"));
}

#[test]
fn reload_tools_names_the_tools_that_there_are() {
    let workspace = with_example(&["reload_tools", "session"]);
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let said = server.call(&session, "reload_tools", &json!({}));
    assert_eq!(said, "Your tools are now: reload_tools, session, skill.");
}
