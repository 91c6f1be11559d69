//! Skills and what else an agent has of itself, through the real binary: the builtins `skill`,
//! `session` and `reload_tools`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use duragent::runtime;
use serde_json::{Value, json};

use crate::support::server::{Server, Workspace};

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
    let tools: String = builtins
        .iter()
        .map(|builtin| format!("    - {{type: builtin, name: {builtin}}}\n"))
        .collect();
    let tools = match builtins.is_empty() {
        true => String::new(),
        false => format!("  tools:\n{tools}"),
    };
    workspace.agent(
        name,
        &format!("  model:\n    provider: echo\n    name: echo\n{tools}"),
    );
}

fn read(name: &str, file: Option<&str>) -> Value {
    json!({"action": "read", "name": name, "file": file})
}

#[test]
fn the_skill_of_the_documentation_is_without_a_flaw() {
    let workspace = with_example(&[]);
    let home = workspace.file(".duragent/agents/ada");
    assert_eq!(
        runtime::validate(&home, None).problems,
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
fn no_link_or_path_leads_out_of_a_skill() {
    let workspace = with_example(&[]);
    let skill = workspace.file(".duragent/agents/ada/skills/task-extraction");
    symlink("../../../agent.yaml", skill.join("references/link.md")).unwrap();
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    for file in [
        "references/link.md",
        "references/../../../agent.yaml",
        "../../agent.yaml",
        "/etc/passwd",
    ] {
        let said = server.call(&session, "skill", &read("task-extraction", Some(file)));
        let is_refused = said.contains("leads out of the skill's folder")
            || said.contains("only files in references/, scripts/, assets/");
        assert!(is_refused, "{file}: {said}");
    }
}

#[test]
fn a_bad_skill_is_told_with_its_place_and_stops_nothing() {
    let workspace = with_example(&[]);
    let home = ".duragent/agents/ada/skills";
    workspace.write(
        &format!("{home}/other/SKILL.md"),
        "---\nname: wrong\ndescription: x\n---\n",
    );
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let place = format!("{home}/other/SKILL.md:2:7: `name` is `wrong`, but");
    assert!(server.log().contains(&place), "{}", server.log());
    let said = server.call(&session, "skill", &read("wrong", None));
    assert!(said.contains("there are: task-extraction"), "{said}");

    // Put right, it is there after a reload, and its neighbour stays.
    workspace.write(
        &format!("{home}/other/SKILL.md"),
        "---\nname: other\ndescription: x\n---\nHello.\n",
    );
    let report = server.post("/api/admin/v1/reload-agents", &json!({}));
    assert_eq!(
        report.json()["changed"],
        json!(["ada"]),
        "{}",
        report.text()
    );
    assert_eq!(
        server.call(&session, "skill", &read("other", None)),
        "Hello."
    );
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
