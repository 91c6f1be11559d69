//! What the documentation tells a reader to type works as it stands there.
//!
//! Every block of a page that is for a shell has a mark before it, a comment that Markdown does not show:
//!
//! | mark | |
//! |---|---|
//! | `<!-- run -->` | it is run, and must end with 0 |
//! | `<!-- not run: WHY -->` | it is not, because it wants what a test has not |
//! | `<!-- file: NAME -->` | a block of any language: it is what stands in this file |
//! | `<!-- run`, lines, `-->` | lines of a shell that readers do not see: what a page takes for granted |
//!
//! After `run` may stand, each behind a `;`: `prints: TEXT`, which must come; `reads: TEXT`, its standard
//! input; `exits: N`; `stays`, for what goes on beside the rest of the page, which waits until its
//! `prints` have come.
//!
//! The blocks of a page are run in their order by one shell, so that what one sets the next one knows,
//! in a folder of their own with nothing of this machine. Two things are not as they stand: `8080` is
//! another port, and OpenRouter a server of ours. Where a comment in a block shows an answer
//! (`# {"name":…}`), the keys that it names must be in what the block prints; of answers that follow one
//! another, those of one.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::fake_model::FakeModel;
use crate::support::process::{Limited as _, duragent};

/// How long a page may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long what was interrupted may take to stop.
const GRACE: Duration = Duration::from_secs(20);
/// How often a program is looked at, which tells nobody when it ends.
const GLANCE: Duration = Duration::from_millis(5);
/// What readers see where a page is run at another port.
const PORT_SHOWN: &str = "8080";

/// A page, as the steps of somebody who follows it.
#[derive(Debug, PartialEq)]
enum Step {
    Write { name: String, text: String },
    Run(Run),
}

#[derive(Debug, Default, PartialEq)]
struct Run {
    /// Where it stands, from 1.
    line: usize,
    script: String,
    reads: String,
    prints: Vec<String>,
    exits: u8,
    stays: bool,
}

impl Run {
    /// Its options: what stands in the mark behind `run`.
    fn new(line: usize, options: &str) -> Result<Run, String> {
        let mut run = Run {
            line,
            ..Run::default()
        };
        for option in options.split(';').map(str::trim).filter(|o| !o.is_empty()) {
            let (name, value) = option.split_once(": ").unwrap_or((option, ""));
            match name {
                "prints" => run.prints.push(value.to_owned()),
                "reads" => run.reads = format!("{value}\n"),
                "exits" => run.exits = value.parse().map_err(|_| format!("exits {value:?}"))?,
                "stays" => run.stays = true,
                _ => return Err(format!("there is no option {name:?}")),
            }
        }
        Ok(run)
    }

    /// The answers that comments in it show, each as the keys that it names; those of comments that
    /// follow one another are alternatives.
    fn answers_shown(&self) -> Vec<Vec<Vec<String>>> {
        let lines: Vec<&str> = self.script.lines().collect();
        let is_answer = |line: &str| line.starts_with("# ") && line.contains("{\"");
        lines
            .chunk_by(|one, next| is_answer(one) == is_answer(next))
            .filter(|lines| is_answer(lines[0]))
            .map(|lines| lines.iter().map(|line| keys_in(line)).collect())
            .collect()
    }

    /// As a part of the page's script: its output goes to the file `number`.
    fn as_shell(&self, number: usize) -> String {
        let Run { script, exits, .. } = self;
        let streams = format!("> \"$SEEN/{number}\" 2>&1 < \"$SEEN/{number}.in\"");
        if self.stays {
            let waits = self.prints.iter().map(|text| {
                let text = quoted(text);
                format!(
                    "until grep -qF -- {text} \"$SEEN/{number}\"; do kill -0 $!; sleep 0.02; done\n"
                )
            });
            return format!(
                ": > \"$SEEN/{number}\"\n{{\n{script}}} {streams} &\n{}",
                waits.collect::<String>()
            );
        }
        match exits {
            0 => format!("{{\n{script}}} {streams}\n"),
            _ => format!(
                "set +e; (set -e\n{script}) {streams}\n[ $? = {exits} ] || exit 99; set -e\n"
            ),
        }
    }
}

/// `"key":` of a text that shows JSON.
fn keys_in(text: &str) -> Vec<String> {
    let ends = text.match_indices("\":").map(|(at, _)| &text[..at]);
    ends.filter_map(|before| before.rsplit('"').next())
        .map(|key| format!("\"{key}\":"))
        .collect()
}

/// What a page's Markdown asks for; errors name the line.
fn steps(markdown: &str) -> Result<Vec<Step>, Vec<String>> {
    let mut steps = Vec::new();
    let mut errors = Vec::new();
    let mut lines = (1..).zip(markdown.lines());
    let mut mark: Option<(usize, &str)> = None;
    while let Some((number, line)) = lines.next() {
        let mut body = |end: &str| {
            let inside = lines.by_ref().map(|(_, line)| line);
            let inside = inside.take_while(|line| line.trim() != end);
            inside.map(|line| format!("{line}\n")).collect::<String>()
        };
        let trimmed = line.trim();
        let step = if let Some(language) = trimmed.strip_prefix("```") {
            step_of(number, mark.take(), language, body("```"))
        } else if trimmed == "<!-- run" {
            let script = body("-->");
            Run::new(number, "").map(|run| Some(Step::Run(Run { script, ..run })))
        } else {
            let comment = trimmed.strip_prefix("<!-- ");
            mark = comment.and_then(|rest| Some((number, rest.strip_suffix(" -->")?)));
            Ok(None)
        };
        match step {
            Ok(step) => steps.extend(step),
            Err(error) => errors.push(format!("{number}: {error}")),
        }
    }
    if errors.is_empty() {
        Ok(steps)
    } else {
        Err(errors)
    }
}

/// What a block with this mark asks for.
fn step_of(
    line: usize,
    mark: Option<(usize, &str)>,
    language: &str,
    text: String,
) -> Result<Option<Step>, String> {
    let mark = mark.filter(|(at, _)| at + 1 == line).map(|(_, mark)| mark);
    let is_shell = matches!(language, "sh" | "bash");
    match mark.map(|mark| mark.split_once(": ").unwrap_or((mark, ""))) {
        Some(("file", name)) => Ok(Some(Step::Write {
            name: name.to_owned(),
            text,
        })),
        Some(("not run", why)) if !why.is_empty() => Ok(None),
        Some(_) if mark.is_some_and(|mark| mark == "run" || mark.starts_with("run;")) => {
            let run = Run::new(line, &mark.unwrap_or_default()["run".len()..])?;
            Ok(Some(Step::Run(Run {
                script: text,
                ..run
            })))
        }
        Some(_) => Err(format!("there is no mark {mark:?}")),
        None if is_shell => Err("a block for a shell has no mark: `run` or `not run: WHY`".into()),
        None => Ok(None),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A place where pages are followed: a home, and a folder in it.
struct Desk {
    folder: tempfile::TempDir,
    port: u16,
    model: FakeModel,
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            model: FakeModel::start(),
        };
        for folder in ["home/desk", "bin", "seen"] {
            fs::create_dir_all(desk.at(folder)).unwrap();
        }
        let link = |target: &Path, name| std::os::unix::fs::symlink(target, desk.at(name)).unwrap();
        link(Path::new(env!("CARGO_BIN_EXE_duragent")), "bin/duragent");
        // What pages name of the project itself.
        link(&root().join("docs"), "home/desk/docs");
        // An answer that is an error is one to whoever reads only the exit code, too.
        let habits = "fail-with-body\nsilent\nshow-error\nmax-time = 60\n";
        fs::write(desk.at("home/.curlrc"), habits).unwrap();
        desk
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Text of a page, with the port of this desk.
    fn told(&self, text: &str) -> String {
        text.replace(PORT_SHOWN, &self.port.to_string())
    }

    /// What goes wrong where somebody follows these steps.
    fn follow(&self, steps: &[Step]) -> Result<(), String> {
        let mut script = "set -eo pipefail\ntrap 'duragent serve stop || true' EXIT\n".to_owned();
        for (number, step) in steps.iter().enumerate() {
            script.push_str(&format!("echo {number} > \"$SEEN/at\"\n"));
            script.push_str(&self.told(&self.step(number, step)));
        }
        let end = self.run(&script);
        let seen = |number: usize| {
            fs::read_to_string(self.at(&format!("seen/{number}"))).unwrap_or_default()
        };
        if let Err(error) = end {
            let at = fs::read_to_string(self.at("seen/at")).unwrap_or_default();
            let at: usize = at.trim().parse().map_err(|_| error.clone())?;
            return Err(format!("{error} in {:#?}\n{}", steps[at], seen(at)));
        }
        for (number, step) in steps.iter().enumerate() {
            let Step::Run(run) = step else { continue };
            let output = seen(number);
            let has = |text: &String| output.contains(&self.told(text));
            if let Some(text) = run.prints.iter().find(|text| !has(text)) {
                return Err(format!("no {text:?} from {run:#?}\n{output}"));
            }
            let answers = run.answers_shown();
            let is_there =
                |answers: &Vec<Vec<String>>| answers.iter().any(|keys| keys.iter().all(has));
            if let Some(answers) = answers.iter().find(|answers| !is_there(answers)) {
                return Err(format!(
                    "no answer with {answers:?} from {run:#?}\n{output}"
                ));
            }
        }
        Ok(())
    }

    fn step(&self, number: usize, step: &Step) -> String {
        match step {
            Step::Write { name, text } => {
                let source = self.at(&format!("seen/{number}"));
                fs::write(&source, text).unwrap();
                let name = quoted(name);
                format!("mkdir -p \"$(dirname {name})\"; cp \"$SEEN/{number}\" {name}\n")
            }
            Step::Run(run) => {
                fs::write(self.at(&format!("seen/{number}.in")), &run.reads).unwrap();
                run.as_shell(number)
            }
        }
    }

    /// Runs a script to its end; what it leaves behind ends as well.
    fn run(&self, script: &str) -> Result<(), String> {
        let file = self.at("seen/page.sh");
        fs::write(&file, script).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash")
            .arg(&file)
            .current_dir(self.at("home/desk"))
            .env_clear()
            .env("PATH", format!("{}:{path}", self.at("bin").display()))
            .env("HOME", self.at("home"))
            .env("SEEN", self.at("seen"))
            .env("DURAGENT_PORT", self.port.to_string())
            .env(
                "OPENROUTER_BASE_URL",
                format!("{}/api/v1", self.model.url()),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.at("seen/stderr")).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        let group = Pid::from_child(&shell);
        let status = end_within(PATIENCE, &mut shell);
        if status.is_none() {
            // The shell then stops the server that a `chat` has started in a session of its own.
            let _ = kill_process_group(group, Signal::TERM);
            end_within(GRACE, &mut shell);
        }
        // Streams that nobody ends.
        let _ = kill_process_group(group, Signal::KILL);
        drop(shell.wait());
        let told = || fs::read_to_string(self.at("seen/stderr")).unwrap_or_default();
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("{status} {}", told())),
            None => Err("no end".to_owned()),
        }
    }
}

/// The end of a program, if it comes in time.
fn end_within(limit: Duration, program: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = program.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(GLANCE);
    }
    None
}

/// A port that nobody has, and that nobody gets who asks for any: those lie above.
fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(20_000..32_000)).take(1_000);
    ports
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages of the project, by their names.
fn pages() -> Vec<(String, String)> {
    let mut paths = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|ending| ending == "md") => paths.push(path),
                false => {}
            }
        }
    }
    paths.sort();
    let named = |path: &PathBuf| path.strip_prefix(root()).unwrap().display().to_string();
    paths
        .iter()
        .map(|path| (named(path), fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn every_block_for_a_shell_says_whether_it_is_run() {
    let errors: Vec<String> = pages()
        .iter()
        .filter_map(|(name, text)| Some((name, steps(text).err()?)))
        .flat_map(|(name, errors)| {
            errors
                .into_iter()
                .map(move |error| format!("{name}:{error}"))
        })
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn who_follows_a_page_gets_what_it_says() {
    let wanted = std::env::var("PAGE_FOLLOWED").unwrap_or_default();
    let pages = pages();
    let mut failed = Vec::new();
    let mut run = 0;
    std::thread::scope(|scope| {
        let followed = pages.iter().filter(|(name, _)| name.contains(&wanted));
        let followed: Vec<_> = followed
            .filter_map(|(name, text)| Some((name, steps(text).ok()?)))
            .filter(|(_, steps)| !steps.is_empty())
            .map(|(name, steps)| {
                (
                    name,
                    scope.spawn(move || (steps.len(), Desk::new().follow(&steps))),
                )
            })
            .collect();
        for (name, thread) in followed {
            let (steps, end) = thread.join().unwrap();
            run += steps;
            failed.extend(end.err().map(|error| format!("{name}: {error}")));
        }
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert!(run > 20 || !wanted.is_empty(), "only {run} blocks were run");
}

/// A workspace in use: what makes each of the files that one can get.
const USE: &str = r#"
duragent init --provider echo --no-interactive
cat >> .duragent/agents/my-assistant/agent.yaml << 'EOF'
  tools: [{type: builtin, name: bash}]
  memory: {backend: filesystem}
EOF
cat > .duragent/agents/my-assistant/policy.yaml << 'EOF'
apiVersion: duragent/v1alpha1
kind: Policy
allow: ['builtin:memory*']
EOF
duragent agent trust --all --yes
# What is agreed to.
echo 'server: {allowed_hosts: [agents.example]}' >> duragent.yaml
duragent serve &
until duragent serve status | grep ready; do sleep 0.02; done
duragent serve stop
# A terminal, and a server of its own.
logs=.duragent/sessions/*/events.jsonl
{ echo hello; until grep -qs turn_ended $logs; do sleep 0.02; done; } | script -qec 'duragent chat' /dev/null
echo '/tool memory {"action":"remember","content":"a note"}' | duragent chat
echo '/tool memory {"action":"update_world","topic":"it","content":"a fact"}' | duragent chat
echo '/tool bash {"command":"touch made"}' | duragent chat || true
api=http://127.0.0.1:$DURAGENT_PORT/api/v1
id=$(curl "$api/sessions?limit=1" | jq -r '.sessions[0].session_id')
curl $api/sessions/$id | jq '.pending_approval | {call_id, command, decision: "allow_always"}' > asked
curl $api/sessions/$id/approve -H 'Content-Type: application/json' -d @asked
duragent serve stop
# A log with damage, and one with a torn end.
sed -i '2s/"crc":"......../"crc":"00000000/' .duragent/sessions/$id/events.jsonl
duragent session check --repair $id
for log in $logs; do printf '{"crc"' >> $log; done
echo hello | duragent chat --session $id
pid=$(sed -n 's/^pid: //p' .duragent/lock)
kill -9 $pid
while kill -0 $pid; do sleep 0.02; done
# One that is deleted, and an agent that is trusted with nothing.
duragent session delete $(duragent session list --json | jq -r '.[-1].session_id')
duragent agent create other --provider echo --no-interactive
duragent agent untrust other
"#;

/// The files that the page about the layout names, one for each `path` in the first cell of a row.
fn named_files(under: &str) -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let table = page.split(&format!("| in the {under} |")).nth(1).unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// Whether `path` is the one that `named` stands for: `<…>` is one name or a part of it, `…` anything.
fn stands_for(named: &str, path: &str) -> bool {
    let mut named = named.split('/');
    let mut path = path.split('/');
    loop {
        match (named.next(), path.next()) {
            (None, None) | (Some("…"), Some(_)) => return true,
            (Some(named), Some(name)) => {
                let (start, rest) = named.split_once('<').unwrap_or((named, ""));
                let end = rest.split_once('>').map(|(_, end)| end);
                let fits = match end {
                    None => named == name,
                    Some(end) => {
                        name.len() > start.len() + end.len()
                            && name.starts_with(start)
                            && name.ends_with(end)
                    }
                };
                if !fits {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// Every file below a folder, by its path from there.
fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path.strip_prefix(folder).unwrap().display().to_string()),
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_workspace_in_use_has_no_file_that_the_page_does_not_name_and_each_that_it_names() {
    let desk = Desk::new();
    let end = desk.run(&format!(
        "exec > $SEEN/0 2>&1\nset -eo pipefail\ntrap 'duragent serve stop || true' EXIT\n{USE}"
    ));
    let seen = fs::read_to_string(desk.at("seen/0")).unwrap();
    assert_eq!(end, Ok(()), "{seen}");
    // What a person writes, and what is there for a moment.
    let by_hand = [
        "directives/…",
        "skills/…",
        "tools/…",
        "policy.yaml",
        "sessions/.trial",
    ];
    for (under, folder) in [
        ("workspace", "home/desk/.duragent"),
        ("state folder", "home/.local/state/duragent"),
    ] {
        let (named, files) = (named_files(under), files_below(&desk.at(folder)));
        let strays: Vec<_> = files
            .iter()
            .filter(|file| !named.iter().any(|named| stands_for(named, file)))
            .collect();
        assert!(strays.is_empty(), "{under}: nothing names {strays:#?}");
        let invented: Vec<_> = named
            .iter()
            .filter(|named| !by_hand.contains(&named.as_str()))
            .filter(|named| !files.iter().any(|file| stands_for(named, file)))
            .collect();
        assert!(
            invented.is_empty(),
            "{under}: there is no {invented:#?} among {files:#?}\n{seen}"
        );
    }
}

/// What an example is a file of, and the whole of that file: of a part of an agent, with what it needs.
fn file_of(example: &str) -> (&'static str, String) {
    let agent = ".duragent/agents/my-assistant/agent.yaml";
    let head = "apiVersion: duragent/v1alpha1\nkind: Agent\nmetadata: {name: my-assistant}\n";
    let model = "  model: {provider: echo, name: echo}\n";
    match example {
        whole if whole.contains("kind: Agent") => (agent, whole.to_owned()),
        whole if whole.contains("kind: Policy") => (".duragent/policy.yaml", whole.to_owned()),
        part if part.contains("spec:\n") => (agent, format!("{head}{part}{model}")),
        tool if tool.starts_with("    - ") => {
            (agent, format!("{head}spec:\n  tools:\n{tool}{model}"))
        }
        whole => ("duragent.yaml", whole.to_owned()),
    }
}

#[test]
fn every_example_of_a_file_is_one() {
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (page, text) in pages() {
        let examples = text.split("```yaml\n").skip(1);
        for example in examples.filter_map(|rest| rest.split("```").next()) {
            // The owner's own file is no workspace's, and nothing looks at it alone.
            if example.starts_with("agents:\n  trust:") {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            let (name, whole) = file_of(example);
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            for prompt in ["SOUL.md", "SYSTEM_PROMPT.md", "INSTRUCTIONS.md"] {
                fs::write(file.with_file_name(prompt), "A prompt.").unwrap();
            }
            fs::write(&file, whole).unwrap();
            let said = duragent(folder.path())
                .arg("validate")
                .arg(&file)
                .envs(variables_of(example).map(|name| (name, "http://127.0.0.1:1234")))
                .output_in_time()
                .unwrap();
            let said = String::from_utf8(said.stdout).unwrap();
            // The last two warn of what is right, and may be meant otherwise.
            let fine = ["is valid", "is not encrypted", "has no effect yet"];
            let is_fine = |line: &str| fine.iter().any(|words| line.contains(words));
            let lines = said.lines().filter(|line| !is_fine(line));
            wrong.extend(lines.map(|line| format!("{page}: {line}")));
            looked_at += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked_at > 10, "only {looked_at} examples were looked at");
}

/// The variables that a file names.
fn variables_of(text: &str) -> impl Iterator<Item = &str> {
    let named = text.split("${").skip(1);
    named.filter_map(|rest| rest.split(['}', ':']).next())
}

/// What becomes of a page with these lines.
fn followed(markdown: &str) -> Result<(), String> {
    Desk::new().follow(&steps(markdown).map_err(|errors| errors.join("\n"))?)
}

#[test]
fn a_page_that_does_not_do_what_it_says_is_found() {
    let block = |mark: &str, text: &str| format!("{mark}\n```sh\n{text}\n```\n");
    for (page, complaint) in [
        (block("", "true"), Some("has no mark")),
        (block("<!-- not run: -->", "true"), Some("no mark")),
        (block("<!-- runs -->", "true"), Some("no mark")),
        (block("<!-- run; print: a -->", "true"), Some("no option")),
        (block("<!-- not run: needs a bus -->", "false"), None),
        (block("<!-- run -->", "false\ntrue"), Some("exit status: 1")),
        (
            block("<!-- run -->", "false | true"),
            Some("exit status: 1"),
        ),
        (block("<!-- run; exits: 3 -->", "exit 3"), None),
        (block("<!-- run; exits: 3 -->", "true"), Some("99")),
        (block("<!-- run; prints: b -->", "echo a"), Some("no \"b\"")),
        (block("<!-- run; reads: a; prints: a -->", "cat"), None),
        (
            block("<!-- run; stays; prints: a -->", "echo a; sleep 999"),
            None,
        ),
        (
            block("<!-- run; stays; prints: b -->", "echo a"),
            Some("exit status: 1"),
        ),
        (block("<!-- run -->", "echo '{\"a\":1}'\n# {\"a\":…}"), None),
        (
            block("<!-- run -->", "echo '{\"a\":1}'\n# 200 {\"b\":…}"),
            Some("no answer"),
        ),
        (
            block("<!-- run -->", "x=a") + &block("<!-- run; prints: a -->", "echo $x"),
            None,
        ),
        (
            "<!-- run\nx=a\n-->\n".to_owned() + &block("<!-- run; prints: a -->", "echo $x"),
            None,
        ),
        (
            "<!-- file: a/b -->\n```text\nc\n```\n".to_owned()
                + &block("<!-- run; prints: c -->", "cat a/b"),
            None,
        ),
        (
            block("<!-- run; prints: 2 -->", "! echo 8080 | grep 8080"),
            Some("exit status: 1"),
        ),
    ] {
        let end = followed(&page);
        let fits = match (&end, complaint) {
            (Ok(()), None) => true,
            (Err(error), Some(complaint)) => error.contains(complaint),
            _ => false,
        };
        assert!(fits, "{page}: {end:?}");
    }
}
