//! Skills as people write them: which load, under which name, and what is said.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duragent::agents::AgentDirectory;
use duragent::base::yaml;
use duragent::domain::ids::AgentName;
use duragent::domain::spec::Skill;
use duragent::trust::{GrantStore, Grants, WorkspaceTrust};
use serde::Deserialize;
use tempfile::TempDir;

const QUIRKS: &str = include_str!("../../data/skills/quirks.yaml");
/// A generous limit on a busy machine.
const SOON: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Quirk {
    is: String,
    #[serde(default = "usual_folder")]
    folder: String,
    #[serde(default = "usual_file")]
    file: String,
    text: String,
    #[serde(default)]
    valid: bool,
    loads: Option<String>,
    describes: Option<String>,
    #[serde(default)]
    says: Vec<String>,
}

impl Quirk {
    fn came_out(&self, skills: &[Skill], said: &[String]) -> bool {
        let names = skills.iter().map(|skill| &skill.name);
        let is_described = match (&self.describes, skills) {
            (Some(expected), [skill]) => skill.description == *expected,
            (described, _) => described.is_none(),
        };
        // What the validator takes loads, whatever we say of it.
        let is_taken = !self.valid || skills.len() == 1;
        let mut pairs = said.iter().zip(&self.says);
        names.eq(self.loads.iter())
            && is_described
            && is_taken
            && said.len() == self.says.len()
            && pairs.all(|(said, expected)| said.contains(expected.as_str()))
    }
}

fn usual_folder() -> String {
    "tidy-up".to_owned()
}

fn usual_file() -> String {
    "SKILL.md".to_owned()
}

/// A workspace whose agents echo.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("ws/.duragent").join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn agent(&self, name: &str) {
        let text = format!(
            "apiVersion: duragent/v1alpha1\nkind: Agent\nmetadata: {{name: {name}}}\n\
             spec:\n  model: {{provider: echo, name: echo}}\n"
        );
        self.write(&format!("agents/{name}/agent.yaml"), text);
    }

    /// A skill that is as it should be, in a folder of this name.
    fn skill(&self, folder: &str) {
        let name = folder.rsplit('/').next().unwrap();
        self.write(&format!("{folder}/SKILL.md"), sound(name));
    }

    fn load(&self, grants: Grants) -> Loaded {
        let workspace = self.file("");
        let store = GrantStore::new(None, &workspace, None);
        let trust = WorkspaceTrust::new(&workspace, store, grants, Arc::new(|_| true));
        let agents = self.file("agents");
        let environment = Arc::new(|_: &str| None);
        let trust = Arc::new(trust);
        Loaded(AgentDirectory::load_in(
            &workspace,
            &agents,
            Vec::new(),
            environment,
            trust,
        ))
    }

    /// The names of ada's skills, and what is said of them: an `!` stands before errors.
    fn ada(&self, grants: Grants) -> (Vec<String>, Vec<String>) {
        self.agent("ada");
        let loaded = self.load(grants);
        let names = loaded.skills("ada").into_iter().map(|skill| skill.name);
        let prefix = format!("{}/", self.file("").join("x").parent().unwrap().display());
        let said = loaded.0.problems().into_iter().map(|problem| {
            let mark = if problem.is_error() { "!" } else { "" };
            format!("{mark}{problem}").replace(&prefix, "")
        });
        (names.collect(), said.collect())
    }
}

fn sound(name: &str) -> String {
    format!("---\nname: {name}\ndescription: Does {name}.\n---\n# {name}\n")
}

struct Loaded(AgentDirectory);

impl Loaded {
    fn skills(&self, agent: &str) -> Vec<Skill> {
        let agent = self.0.get(&AgentName::parse(agent).unwrap()).unwrap();
        agent.skills.clone()
    }

    /// What is said of the files in a folder, without it.
    fn said_of(&self, folder: &Path) -> Vec<String> {
        let problems = self.0.problems().into_iter();
        let of_folder = problems.filter(|problem| problem.file.starts_with(folder));
        let line = |problem: &dyn std::fmt::Display| problem.to_string();
        let prefix = format!("{}/", folder.display());
        let lines = of_folder.map(|problem| line(&problem).replace(&prefix, ""));
        lines.collect()
    }
}

#[test]
fn each_quirk_of_a_skill_comes_out_as_it_is_written_down() {
    let quirks: Vec<Quirk> = yaml::from_str(QUIRKS).unwrap();
    assert!(quirks.len() >= 99, "{}", quirks.len());
    let place = Place::new();
    let agent = |number: usize| format!("a{number}");
    for (number, quirk) in quirks.iter().enumerate() {
        let name = agent(number);
        place.agent(&name);
        let file = format!("agents/{name}/skills/{}/{}", quirk.folder, quirk.file);
        place.write(&file, &quirk.text);
    }
    let loaded = place.load(Grants::Recorded);
    let mut wrong = Vec::new();
    for (number, quirk) in quirks.iter().enumerate() {
        let name = agent(number);
        let skills = loaded.skills(&name);
        let folder = place.file(&format!("agents/{name}/skills/{}", quirk.folder));
        let said = loaded.said_of(&folder);
        if !quirk.came_out(&skills, &said) {
            wrong.push(format!("{}: {skills:?}\n{said:#?}", quirk.is));
        }
    }
    assert_eq!(wrong.join("\n"), "");
}

#[test]
fn what_is_too_long_is_told_and_loads() {
    let place = Place::new();
    for (name, long) in [
        ("fits", format!("description: {}", "ä".repeat(1024))),
        ("long", format!("description: {}", "ä".repeat(1025))),
        ("huge", format!("description: {}", "ä".repeat(100_000))),
        (
            "compatible",
            format!("description: x\ncompatibility: {}", "ä".repeat(501)),
        ),
    ] {
        let text = format!("---\nname: {name}\n{long}\n---\n");
        place.write(&format!("skills/{name}/SKILL.md"), text);
    }
    let (names, said) = place.ada(Grants::Recorded);
    assert_eq!(names, ["compatible", "fits", "huge", "long"]);
    assert_eq!(
        said,
        [
            "skills/compatible/SKILL.md:4:16: `compatibility` has more than 500 characters",
            "skills/huge/SKILL.md:3:14: `description` has 100000 characters, at most 1024 should be; the \
             first 8192 are used",
            "skills/long/SKILL.md:3:14: `description` has 1025 characters, at most 1024 should be",
        ]
    );
}

#[test]
fn skills_are_found_in_folders_and_one_level_down_in_collections() {
    let place = Place::new();
    for folder in [
        "agents/ada/skills/plain",
        "agents/ada/skills/.hidden",
        "agents/ada/skills/node_modules/package",
        "agents/ada/skills/collection/one",
        "agents/ada/skills/collection/.two",
        "agents/ada/skills/collection/deeper/three",
        "agents/ada/skills/clone/skills/four",
        "agents/ada/skills/clone/skills/deeper/five",
        "skills/shared",
        "skills/collection/shared-too",
    ] {
        place.skill(folder);
    }
    for file in [
        "agents/ada/skills/README.md",
        "agents/ada/skills/collection/README.md",
        "agents/ada/skills/collection/.git/config",
        "agents/ada/skills/collection/docs/a.md",
        "agents/ada/skills/clone/.git/HEAD",
        "agents/ada/skills/plain/inner/SKILL.md",
    ] {
        place.write(file, "not for us");
    }
    let (names, said) = place.ada(Grants::Recorded);
    assert_eq!(names, ["four", "one", "plain", "shared", "shared-too"]);
    assert_eq!(said, [""; 0]);
    place.agent("bob");
    let bobs = place.load(Grants::Recorded).skills("bob");
    let bobs: Vec<&str> = bobs.iter().map(|skill| skill.name.as_str()).collect();
    assert_eq!(bobs, ["shared", "shared-too"], "those for all agents");
}

#[test]
fn of_two_skills_of_one_name_the_first_stays_and_the_other_is_told() {
    let place = Place::new();
    let named = |folder: &str, name: &str| {
        let text = format!("---\nname: {name}\ndescription: From {folder}.\n---\n");
        place.write(&format!("{folder}/SKILL.md"), text);
    };
    // The agent's before the workspace's, those of a folder before those of its collections, and
    // then by the names of folders.
    named("skills/tidy", "tidy");
    named("agents/ada/skills/b/tidy", "tidy");
    named("agents/ada/skills/a/tidy", "tidy");
    named("agents/ada/skills/z", "sort");
    named("agents/ada/skills/a/sort", "sort");
    named("agents/ada/skills/y", "sort");
    place.agent("bob");
    let (names, mut said) = place.ada(Grants::Recorded);
    assert_eq!(names, ["sort", "tidy"]);
    let loaded = place.load(Grants::Recorded);
    let from = |agent: &str| -> Vec<String> {
        let skills = loaded.skills(agent).into_iter();
        skills.map(|skill| skill.description).collect()
    };
    assert_eq!(
        from("ada"),
        [
            "From agents/ada/skills/y.",
            "From agents/ada/skills/a/tidy."
        ]
    );
    assert_eq!(from("bob"), ["From skills/tidy."]);
    said.retain(|line| line.contains("is left out"));
    let left_out: Vec<&str> = said
        .iter()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(
        left_out,
        [
            "agents/ada/skills/z",
            "agents/ada/skills/a/sort",
            "agents/ada/skills/b/tidy",
            "skills/tidy"
        ]
    );
    assert!(said[3].ends_with("agents/ada/skills/a/tidy is called `tidy` too, and comes first"));
}

#[test]
fn what_leads_out_or_is_no_skill_is_a_warning_and_what_is_broken_an_error() {
    let place = Place::new();
    place.skill("agents/ada/skills/good");
    let skills = place.file("agents/ada/skills");
    let outside = place.0.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("SKILL.md"), sound("stolen")).unwrap();
    for name in [
        "file-out",
        "file-gone",
        "file-beside",
        "pipe",
        "folder-file",
        "bytes",
        "huge",
    ] {
        fs::create_dir(skills.join(name)).unwrap();
    }
    let file = |name: &str| skills.join(name).join("SKILL.md");
    symlink(outside.join("SKILL.md"), file("file-out")).unwrap();
    symlink(outside.join("none"), file("file-gone")).unwrap();
    symlink("../good/SKILL.md", file("file-beside")).unwrap();
    symlink(&outside, skills.join("folder-out")).unwrap();
    symlink(outside.join("none"), skills.join("folder-gone")).unwrap();
    symlink("good", skills.join("alias")).unwrap();
    fs::create_dir(skills.join("empty")).unwrap();
    fs::create_dir(file("folder-file")).unwrap();
    fs::write(file("bytes"), b"---\nname: \xff\n").unwrap();
    fs::write(file("huge"), "x".repeat((1 << 20) + 1)).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, file("pipe"), rustix::fs::Mode::RWXU).unwrap();
    for grants in [Grants::Recorded, Grants::All] {
        let (names, said) = place.ada(grants);
        assert_eq!(names, ["good"], "{said:?}");
        let told: BTreeMap<&str, &str> = said
            .iter()
            .filter_map(|line| line.split_once("agents/ada/skills/"))
            .filter_map(|(mark, rest)| Some((rest.split([':', '/']).next()?, mark)))
            .collect();
        let expected = [
            // It is `good` once more, under another name than its folder's.
            ("alias", ""),
            ("bytes", "!"),
            ("empty", ""),
            ("file-beside", ""),
            ("file-gone", ""),
            ("file-out", ""),
            ("folder-file", "!"),
            ("folder-gone", ""),
            ("folder-out", ""),
            ("huge", "!"),
            ("pipe", "!"),
        ];
        assert_eq!(told, BTreeMap::from(expected), "{grants:?}: {said:?}");
        let of = |name: &str| {
            let mut lines = said.iter();
            lines.find(|line| line.contains(name)).unwrap().clone()
        };
        assert!(of("file-out").contains(outside.to_str().unwrap()));
        assert!(of("skills/empty").ends_with("has no SKILL.md, nor has a folder in it"));
    }
}

#[test]
fn the_workspaces_skills_reach_as_far_as_the_folder_that_holds_it() {
    let place = Place::new();
    place.skill("../project/near");
    place.skill("../../far/away");
    fs::create_dir_all(place.file("skills")).unwrap();
    symlink("../../project/near", place.file("skills/near")).unwrap();
    symlink("../../../far/away", place.file("skills/away")).unwrap();
    let (names, said) = place.ada(Grants::Recorded);
    assert_eq!(names, ["near"]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("skills/away: leads to "), "{said:?}");
}

#[test]
fn no_link_makes_a_skill_of_what_holds_more() {
    let place = Place::new();
    place.skill("agents/ada/skills/good");
    place.skill("skills/fine");
    place.agent("bob");
    // All that is in a skill's folder can be read, and so these would give away memories, sessions
    // and what else lies in the project.
    for folder in [
        "",
        "..",
        "agents",
        "agents/ada",
        "agents/ada/memory",
        "agents/ada/memory/chats",
    ] {
        place.skill(folder);
    }
    for folder in [
        "agents/bob",
        "sessions",
        "memory/world",
        "skills",
        "agents/ada/skills",
    ] {
        place.skill(folder);
    }
    // These are skills, wherever they lie.
    place.skill("agents/ada/more/own");
    place.skill("../project/near");
    place.write("skills/fine/agent.yaml", "a form");
    let agents = [
        ("up", ".."),
        ("self", "."),
        ("all", "../.."),
        ("memory", "../memory"),
        ("chats", "../memory/chats"),
        ("bob", "../../bob"),
        ("workspace", "../../.."),
        ("project", "../../../.."),
        ("own", "../more/own"),
    ];
    let shared = [
        ("up", ".."),
        ("self", "."),
        ("project", "../.."),
        ("agents", "../agents"),
        ("ada", "../agents/ada"),
        ("chats", "../agents/ada/memory/chats"),
        ("sessions", "../sessions"),
        ("world", "../memory/world"),
        ("near", "../../project/near"),
        ("ada-good", "../agents/ada/skills/good"),
    ];
    for (name, target) in agents {
        symlink(target, place.file("agents/ada/skills").join(name)).unwrap();
    }
    for (name, target) in shared {
        symlink(target, place.file("skills").join(name)).unwrap();
    }
    for grants in [Grants::Recorded, Grants::All] {
        let (names, said) = place.ada(grants);
        assert_eq!(names, ["fine", "good", "near", "own"], "{said:?}");
        let left_out = said
            .iter()
            .filter(|line| line.contains("left out") || line.contains("trust"));
        assert_eq!(left_out.count(), 16, "{grants:?}: {said:#?}");
    }
}

#[test]
fn a_skill_in_a_folder_whose_name_nobody_sees_has_one() {
    let place = Place::new();
    let text = "---\ndescription: x\n---\n";
    place.write("agents/ada/skills/\u{200b}/SKILL.md", text);
    assert_eq!(place.ada(Grants::Recorded).0, ["\\u{200b}"]);
}

#[test]
fn a_file_with_other_names_is_no_skill_without_trust() {
    let place = Place::new();
    place.skill("agents/ada/skills/tidy");
    let file = place.file("agents/ada/skills/tidy/SKILL.md");
    fs::hard_link(&file, place.0.path().join("other")).unwrap();
    let (names, said) = place.ada(Grants::Recorded);
    assert_eq!((names.len(), said.len()), (0, 1), "{said:?}");
    assert!(
        said[0].contains("has other names elsewhere (hard links)"),
        "{said:?}"
    );
    assert_eq!(place.ada(Grants::All).0, ["tidy"]);
}

#[test]
fn a_folder_of_very_much_holds_nobody_up() {
    let place = Place::new();
    place.skill("agents/ada/skills/first/tidy");
    let skills = place.file("agents/ada/skills");
    for number in 0..10_000 {
        fs::write(skills.join(format!("{number}.md")), "").unwrap();
        fs::write(skills.join(format!("first/tidy/{number}.md")), "").unwrap();
    }
    for number in 0..2_000 {
        place.skill(&format!("agents/ada/skills/many/s{number:04}"));
    }
    place.agent("ada");
    let begun = Instant::now();
    let loaded = place.load(Grants::Recorded);
    assert_eq!(loaded.skills("ada").len(), 2_001);
    assert_eq!(loaded.0.problems(), []);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}
