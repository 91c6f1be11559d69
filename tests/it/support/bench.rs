//! A workspace, its agents and its server in one expression, which reads as what a test is about:
//!
//! ```ignore
//! let bench = Bench::new()
//!     .agent(echo("ada").builtin("bash").policy("mode: ask"))
//!     .config("server: {api_token: t0ken}")
//!     .serve();
//! let session = bench.create_session("ada");
//! assert_eq!(bench.workspace.log_of(&session).len(), 1);
//! ```
//!
//! What is written is ordinary: whatever has no word here is said as YAML, by [`AgentFiles::spec`] and
//! [`AgentFiles::tool`].

#![allow(dead_code, reason = "a kit for every topic: each uses a part of it")]

use std::ops::{Deref, DerefMut};

use super::fake_model::FakeModel;
use super::server::{Launch, Server, Workspace};

/// How every policy begins.
pub const POLICY_HEAD: &str = "apiVersion: duragent/v1alpha1\nkind: Policy\n";

/// A workspace that is being set up.
pub struct Bench {
    workspace: Workspace,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

/// The server of a [`Bench`], with its workspace; it is asked as the [`Server`] that it is.
pub struct Served {
    // Ends before its folder goes.
    server: Server,
    pub workspace: Workspace,
}

impl Bench {
    /// Of an owner who trusts all agents.
    pub fn new() -> Bench {
        Bench::on(Workspace::new())
    }

    /// Whose agents nobody trusts yet.
    pub fn of_strangers() -> Bench {
        Bench::on(Workspace::of_strangers())
    }

    /// In a workspace that has something already.
    pub fn on(workspace: Workspace) -> Bench {
        Bench {
            workspace,
            arguments: Vec::new(),
            variables: Vec::new(),
        }
    }

    pub fn agent(self, agent: AgentFiles) -> Bench {
        agent.write(&self.workspace);
        self
    }

    /// `duragent.yaml`.
    pub fn config(self, yaml: &str) -> Bench {
        self.workspace.config(&format!("{yaml}\n"));
        self
    }

    /// The rules of the workspace's own policy.
    pub fn policy(self, rules: &str) -> Bench {
        self.file(".duragent/policy.yaml", &format!("{POLICY_HEAD}{rules}\n"))
    }

    pub fn file(self, path: &str, text: &str) -> Bench {
        self.workspace.write(path, text);
        self
    }

    /// Of the server.
    pub fn arguments(mut self, arguments: &[&str]) -> Bench {
        let arguments = arguments.iter().map(|one| (*one).to_owned());
        self.arguments.extend(arguments);
        self
    }

    /// Of the server.
    pub fn variable(mut self, name: &str, value: &str) -> Bench {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What was set up, without a server.
    pub fn workspace(self) -> Workspace {
        self.workspace
    }

    /// Starts the server, and waits until it is ready.
    pub fn serve(self) -> Served {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let launch = Launch::new(&self.workspace).args(&arguments);
        let variables = self.variables.iter();
        let launch = variables.fold(launch, |launch, (name, value)| launch.env(name, value));
        Served {
            server: launch.start(),
            workspace: self.workspace,
        }
    }
}

impl Served {
    /// For a test that ends the one and starts another.
    pub fn apart(self) -> (Workspace, Server) {
        (self.workspace, self.server)
    }
}

impl Deref for Served {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Served {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// An agent's folder.
#[derive(Debug, Clone)]
pub struct AgentFiles {
    name: String,
    model: String,
    session: Vec<String>,
    tools: Vec<String>,
    /// More lines of the `spec`.
    spec: String,
    files: Vec<(String, String)>,
}

/// An agent that streams the user's words back, and calls tools when told to.
pub fn echo(name: &str) -> AgentFiles {
    AgentFiles::of(name, "{provider: echo, name: echo}")
}

/// An agent that asks a model of the test's.
pub fn asking(name: &str, model: &FakeModel) -> AgentFiles {
    let url = model.url();
    AgentFiles::of(
        name,
        &format!("{{provider: openai, name: fake, base_url: \"{url}\"}}"),
    )
}

impl AgentFiles {
    /// An agent with this `model`, as YAML.
    pub fn of(name: &str, model: &str) -> AgentFiles {
        AgentFiles {
            name: name.to_owned(),
            model: model.to_owned(),
            session: Vec::new(),
            tools: Vec::new(),
            spec: String::new(),
            files: Vec::new(),
        }
    }

    /// Its turns go on when nobody looks on any more.
    pub fn continues(self) -> AgentFiles {
        self.session("on_disconnect: continue")
    }

    /// Its turns wait when nobody looks on any more.
    pub fn pauses(self) -> AgentFiles {
        self.session("on_disconnect: pause")
    }

    /// One more entry of `session`.
    pub fn session(mut self, entry: &str) -> AgentFiles {
        self.session.push(entry.to_owned());
        self
    }

    pub fn builtin(self, name: &str) -> AgentFiles {
        self.tool(&format!("{{type: builtin, name: {name}}}"))
    }

    /// One more entry of `tools`, as YAML.
    pub fn tool(mut self, yaml: &str) -> AgentFiles {
        self.tools.push(yaml.to_owned());
        self
    }

    /// One more entry of the `spec`, as YAML that begins in the first column.
    pub fn spec(mut self, yaml: &str) -> AgentFiles {
        for line in yaml.lines() {
            self.spec.push_str(&format!("  {line}\n"));
        }
        self
    }

    /// The rules of its policy.
    pub fn policy(self, rules: &str) -> AgentFiles {
        self.file("policy.yaml", &format!("{POLICY_HEAD}{rules}\n"))
    }

    /// A file beside its `agent.yaml`.
    pub fn file(mut self, path: &str, text: &str) -> AgentFiles {
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    /// Writes it among the agents of a workspace, for which a server may run.
    pub fn write(&self, workspace: &Workspace) {
        for (path, text) in &self.files {
            let path = format!(".duragent/agents/{}/{path}", self.name);
            workspace.write(&path, text);
        }
        workspace.agent(&self.name, &self.yaml());
    }

    /// The `spec`, indented by two.
    fn yaml(&self) -> String {
        let mut yaml = format!("  model: {}\n", self.model);
        if !self.session.is_empty() {
            yaml.push_str(&format!("  session: {{{}}}\n", self.session.join(", ")));
        }
        if !self.tools.is_empty() {
            let tools = self.tools.iter().map(|tool| format!("    - {tool}\n"));
            yaml.push_str(&format!("  tools:\n{}", tools.collect::<String>()));
        }
        yaml + &self.spec
    }
}

#[test]
fn the_kit_writes_an_agent_without_a_flaw() {
    let workspace = Bench::new()
        .agent(
            echo("ada")
                .pauses()
                .session("ttl_hours: 0")
                .builtin("bash")
                .tool("{type: cli, name: tally, command: /bin/true, description: counts}")
                .spec("memory:\n  backend: filesystem")
                .policy("mode: ask")
                .file("SOUL.md", "Kind.\n"),
        )
        .policy("deny: ['bash:rm *']")
        .config("sessions: {ttl_hours: 1}")
        .workspace();
    for path in ["", "/policy.yaml"] {
        let path = format!(".duragent/agents/ada{path}");
        assert!(workspace.run(&["validate", &path]).ends_with("is valid\n"));
    }
    for path in ["duragent.yaml", ".duragent/policy.yaml"] {
        assert!(workspace.run(&["validate", path]).ends_with("is valid\n"));
    }
    let shown = workspace.run(&["agent", "show", "ada", "--prompt"]);
    for part in ["Kind.", "tally", "bash"] {
        assert!(shown.contains(part), "{shown}");
    }
}
