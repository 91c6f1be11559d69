//! The policies of a workspace: of each agent the one that its three files make.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::base::fs::{self, RealFs};
use crate::base::lock::lock;
use crate::base::order;
use crate::base::text::{self, TextError};
use crate::base::yaml::TEXT_BYTES_MAX;
use crate::base::yaml::expand::Environment;
use crate::base::yaml::problem::{Level, Problem};
use crate::domain::ids::AgentName;
use crate::domain::spec::{AgentSpec, ToolEffect, ToolKind};
use crate::policy::{Policy, Verdict, Wish};

use crate::policy::judge::{self, Call, Context, Judgement, Literal, Ruling, ToolUse};
use crate::policy::notify::{Note, Notifier};
use crate::policy::rules::{Delivery, Mode, Occasion, Rules, Subject, Tiers};
use crate::policy::{edit, file};

/// The policy of a workspace, and of an agent in its folder.
pub const POLICY_FILE: &str = "policy.yaml";
/// What the user of an agent adds to its policy, and what "allow always" writes.
pub const LOCAL_FILE: &str = "policy.local.yaml";

/// The folder in an agent's in which its commands start.
const WORK_FOLDER: &str = "work";

/// The environment that policies are read in.
pub type OwnedEnvironment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The policies of all agents of a workspace.
pub struct Policies {
    workspace_file: PathBuf,
    environment: OwnedEnvironment,
    notifier: Arc<Notifier>,
    /// Each once, so that a reload reaches whoever has it.
    agents: Mutex<HashMap<AgentName, Arc<AgentPolicy>>>,
}

/// Where the policy of an agent stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The workspace's.
    pub workspace: PathBuf,
    /// The agent's.
    pub agent: PathBuf,
    /// The user's additions.
    pub local: PathBuf,
}

/// The policy of an agent.
pub struct AgentPolicy {
    name: AgentName,
    files: Files,
    environment: OwnedEnvironment,
    notifier: Arc<Notifier>,
    state: RwLock<Arc<State>>,
    /// Held while `policy.local.yaml` is read, written and read again: of two who add to it at
    /// once, the second must see what the first wrote.
    editing: Mutex<()>,
}

/// What the files say, or that they can't be read.
#[derive(Debug)]
enum State {
    Rules(Rules),
    Broken(Vec<Problem>),
}

impl Policies {
    /// Those of the workspace in `folder`. Reads nothing yet.
    pub fn new(folder: &Path, environment: OwnedEnvironment) -> Policies {
        Policies {
            workspace_file: folder.join(POLICY_FILE),
            environment,
            notifier: Arc::default(),
            agents: Mutex::default(),
        }
    }

    /// The policy of an agent, as it was last read.
    pub fn of(&self, agent: &AgentSpec) -> Arc<AgentPolicy> {
        if let Some(known) = lock(&self.agents).get(&agent.name) {
            return Arc::clone(known);
        }
        let files = Files::of(&self.workspace_file, &agent.home);
        let read = Arc::new(AgentPolicy::read(
            agent.name.clone(),
            files,
            Arc::clone(&self.environment),
            Arc::clone(&self.notifier),
        ));
        // Another thread may have been quicker: all must have the same one.
        Arc::clone(lock(&self.agents).entry(agent.name.clone()).or_insert(read))
    }

    /// Reads the policies of `agents` again, and forgets all others. Whoever has one of them finds
    /// the new rules in it.
    pub fn reload(&self, agents: &[Arc<AgentSpec>]) {
        let is_one = |name: &AgentName| agents.iter().any(|agent| agent.name == *name);
        lock(&self.agents).retain(|name, _| is_one(name));
        for agent in agents {
            self.of(agent).reload();
        }
    }

    /// What is wrong with the policies in use, each once.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found: Vec<Problem> = Vec::new();
        for policy in lock(&self.agents).values() {
            if let State::Broken(problems) = &*policy.state() {
                found.extend(problems.iter().cloned());
            }
        }
        order::sort_by(&mut found, |one, other| {
            (&one.file, one.position).cmp(&(&other.file, other.position))
        });
        found.dedup();
        found
    }

    /// Agents that may do whatever is not forbidden, without a policy of the workspace.
    pub fn dangerous(&self) -> Vec<AgentName> {
        let agents = lock(&self.agents);
        let mut found: Vec<AgentName> = agents
            .values()
            .filter(|policy| policy.is_dangerous())
            .map(|policy| policy.name.clone())
            .collect();
        order::sort(&mut found);
        found
    }

    /// Ends what runs for policies: the thread that posts notifications.
    pub fn stop(&self) {
        self.notifier.stop();
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies")
            .field("workspace_file", &self.workspace_file)
            .finish_non_exhaustive()
    }
}

impl Files {
    /// Those of the agent in `home`.
    pub fn of(workspace_file: &Path, home: &Path) -> Files {
        Files {
            workspace: workspace_file.to_owned(),
            agent: home.join(POLICY_FILE),
            local: home.join(LOCAL_FILE),
        }
    }

    /// Reads them.
    ///
    /// Errors: everything that is wrong with any of them.
    pub fn read(&self, environment: Environment<'_>) -> Result<Tiers, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut tier = |path: &Path| match file::read(path, environment) {
            Ok(tier) => tier,
            Err(found) => {
                problems.extend(found);
                None
            }
        };
        let tiers = Tiers {
            workspace: tier(&self.workspace),
            agent: tier(&self.agent),
            local: tier(&self.local),
        };
        match problems.is_empty() {
            true => Ok(tiers),
            false => Err(problems),
        }
    }
}

impl AgentPolicy {
    fn read(
        name: AgentName,
        files: Files,
        environment: OwnedEnvironment,
        notifier: Arc<Notifier>,
    ) -> AgentPolicy {
        let policy = AgentPolicy {
            name,
            files,
            environment,
            notifier,
            state: RwLock::new(Arc::new(State::Broken(Vec::new()))),
            editing: Mutex::default(),
        };
        policy.reload();
        policy
    }

    /// Reads the files again.
    fn reload(&self) {
        let _editing = lock(&self.editing);
        self.reload_while_editing();
    }

    fn reload_while_editing(&self) {
        let state = match self.files.read(&*self.environment) {
            Ok(tiers) => {
                for warning in tiers.warnings() {
                    log::warn!("agent {}: {warning}", self.name);
                }
                State::Rules(tiers.merged())
            }
            Err(problems) => {
                for problem in &problems {
                    log::error!("agent {}: nothing runs: {problem}", self.name);
                }
                State::Broken(problems)
            }
        };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_dangerous(&self) -> bool {
        let is_mode =
            |state: &State| matches!(state, State::Rules(rules) if rules.mode == Mode::Dangerous);
        is_mode(&self.state()) && !self.files.workspace.exists()
    }

    /// Adds rules to `policy.local.yaml`.
    fn remember(&self, literal: &Literal) -> Result<(), String> {
        let _editing = lock(&self.editing);
        let path = &self.files.local;
        let said = |error: String| format!("{}: {error}", path.display());
        let text = match text::read(path, TEXT_BYTES_MAX) {
            Ok(text) => Some(text),
            Err(TextError::Missing) => None,
            Err(error) => return Err(said(error.to_string())),
        };
        let edited = edit::with_allowed(text.as_deref(), literal).map_err(said)?;
        if let Some(edited) = edited {
            // What would not load would refuse everything from now on.
            file::parse(edited.clone(), path, &*self.environment)
                .map_err(|problems| problems.iter().map(Problem::to_string).collect::<String>())?;
            fs::replace_file(&RealFs, path, edited.as_bytes())
                .map_err(|error| said(error.to_string()))?;
        }
        self.reload_while_editing();
        Ok(())
    }
}

impl Policy for AgentPolicy {
    fn judge(&self, wish: &Wish<'_>) -> Verdict {
        let state = self.state();
        let rules = match &*state {
            State::Rules(rules) => rules,
            State::Broken(problems) => return refused_by_broken(problems),
        };
        let script = wish.script();
        let call = call_of(wish, script.as_deref());
        let work = self.files.agent.with_file_name(WORK_FOLDER);
        let context = Context {
            work: Some(&work),
            is_variable: &|name| (self.environment)(name).is_some(),
        };
        let judgement = judge::judge_in(rules, &call, &context);
        match judgement.ruling {
            Ruling::Allow => Verdict::Allow,
            Ruling::Ask => Verdict::Ask {
                command: wish.command(),
                commands: wish.commands(),
                is_exact: judge::literal_patterns(&call).exact.is_some(),
            },
            Ruling::Deny => Verdict::Deny {
                reason: refusal(&judgement),
            },
        }
    }

    fn allow_always(&self, wish: &Wish<'_>) -> Result<(), String> {
        let script = wish.script();
        let literal = judge::literal_patterns(&call_of(wish, script.as_deref()));
        if !literal.patterns.is_empty() || literal.exact.is_some() {
            self.remember(&literal)?;
        }
        match literal.refused.is_empty() {
            true => Ok(()),
            false => Err(literal.refused.join("; ")),
        }
    }

    fn note_start(&self, wish: &Wish<'_>) {
        self.tell(Occasion::Call, wish);
    }

    fn note_question(&self, wish: &Wish<'_>) {
        self.tell(Occasion::Approval, wish);
    }
}

impl AgentPolicy {
    /// Tells whoever wants to know of such an occasion.
    fn tell(&self, on: Occasion, wish: &Wish<'_>) {
        let state = self.state();
        let State::Rules(rules) = &*state else {
            return;
        };
        if rules.notify.is_empty() {
            return;
        }
        let script = wish.script();
        let call = call_of(wish, script.as_deref());
        let mut told: Vec<&Delivery> = Vec::new();
        for notify in &rules.notify {
            let is_wanted = notify.on.contains(&on)
                && match &notify.patterns {
                    None => true,
                    Some(patterns) => judge::concerns(patterns, &call),
                };
            // Several files may name the same address.
            for delivery in notify.deliveries.iter().filter(|_| is_wanted) {
                if !told.contains(&delivery) {
                    told.push(delivery);
                }
            }
        }
        if !told.is_empty() {
            let note = Note::of(&self.name, on, wish);
            told.into_iter()
                .for_each(|one| self.notifier.tell(one, &note));
        }
    }
}

impl fmt::Debug for AgentPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentPolicy")
            .field("name", &self.name)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Everything that is wrong with a policy file.
pub fn validate(path: &Path, environment: Environment<'_>) -> Vec<Problem> {
    match file::read(path, environment) {
        // Somebody who looks should not have to look for it in a log.
        Ok(tier) => {
            let warnings = tier.map(|tier| tier.warnings).unwrap_or_default();
            let as_error = |problem| Problem {
                level: Level::Error,
                ..problem
            };
            warnings.into_iter().map(as_error).collect()
        }
        Err(problems) => problems,
    }
}

/// A wish, as far as rules are concerned.
fn call_of<'a>(wish: &'a Wish<'_>, script: Option<&'a str>) -> Call<'a> {
    let subject = match wish.kind {
        ToolKind::Bash => return Call::Shell(script),
        ToolKind::Builtin => Subject::Builtin,
        ToolKind::Cli | ToolKind::FoundCli => Subject::Cli,
    };
    Call::Tool(ToolUse {
        subject,
        name: &wish.call.tool_name,
        arguments: &wish.call.arguments,
        is_found: wish.kind == ToolKind::FoundCli,
        only_reads: wish.effect == ToolEffect::Read && !wish.is_composed,
        is_changed: false,
        value_key: wish.value_key,
    })
}

fn refused_by_broken(problems: &[Problem]) -> Verdict {
    let first = problems.first().map(Problem::to_string);
    Verdict::Deny {
        reason: format!(
            "the agent's policy has an error, and nothing runs until it is mended: {}",
            first.unwrap_or_default()
        ),
    }
}

/// Why a call is refused, for the model.
fn refusal(judgement: &Judgement) -> String {
    let refused = judgement
        .parts
        .iter()
        .find(|part| part.ruling == Ruling::Deny);
    match refused {
        Some(part) => {
            let place = part
                .why
                .pattern()
                .map(|pattern| format!(" ({})", pattern.place));
            let place = place.unwrap_or_default();
            format!("the policy refuses `{}`: {}{place}", part.text, part.why)
        }
        None => "the policy refuses it".to_owned(),
    }
}
