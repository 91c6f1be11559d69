//! The policies of a workspace: of each agent the one that its files make.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::base::lock::lock;
use crate::base::order;
use crate::base::yaml::expand::OwnedEnvironment;
use crate::base::yaml::problem::Problem;
use crate::domain::ids::AgentName;
use crate::domain::spec::{AgentSpec, ToolEffect, ToolKind};
use crate::domain::trust::{Granted, Kind, Part};
use crate::policy::{Digests, FileUse, Pin, Policy, ProposedCall, Verdict};

use crate::policy::judge::{self, Context, JudgedCall, Judgement, LiteralRules, Ruling, ToolUse};
use crate::policy::notify::{ChatTeller, Notification, Notifier};
use crate::policy::rules::{Delivery, Mode, Occasion, PolicyRules, Subject};
use crate::policy::source::{RememberError, RuleEditError, RuleSource, RuleSources};
use crate::policy::{edit, file};

/// The policies of all agents of a workspace.
pub struct Policies {
    sources: Arc<dyn RuleSources>,
    environment: OwnedEnvironment,
    notifier: Arc<Notifier>,
    digests: Arc<Digests>,
    /// Each once, so that a reload reaches whoever has it.
    agents: Mutex<HashMap<AgentName, Arc<AgentPolicy>>>,
}

/// The policy of an agent.
pub struct AgentPolicy {
    name: AgentName,
    source: Box<dyn RuleSource>,
    environment: OwnedEnvironment,
    notifier: Arc<Notifier>,
    digests: Arc<Digests>,
    state: RwLock<Arc<LoadedRules>>,
    /// The programs behind tools, by the tools' names: another content of one asks again.
    pins: RwLock<BTreeMap<String, Pin>>,
    /// The folder in which its commands start.
    cwd: RwLock<PathBuf>,
    /// Held while the owner's file is read, written and read again: of two who add to it at once, the
    /// second must see what the first wrote.
    editing: Mutex<()>,
}

/// The rules as last read. A policy with a mistake refuses everything: a rule that was meant to deny
/// may be the one that cannot be read.
#[derive(Debug)]
enum LoadedRules {
    Rules(PolicyRules, Granted),
    Broken(Vec<Problem>),
}

impl Policies {
    /// Those whose rules stand in `sources`. Reads nothing yet.
    pub fn new(sources: Arc<dyn RuleSources>, environment: OwnedEnvironment) -> Policies {
        Policies {
            sources,
            environment,
            notifier: Arc::default(),
            digests: Arc::default(),
            agents: Mutex::default(),
        }
    }

    /// The policy of an agent, as it was last read.
    pub fn of(&self, agent: &AgentSpec) -> Arc<AgentPolicy> {
        if let Some(known) = lock(&self.agents).get(&agent.name) {
            return Arc::clone(known);
        }
        let policy = AgentPolicy {
            name: agent.name.clone(),
            source: self.sources.of(agent),
            environment: Arc::clone(&self.environment),
            notifier: Arc::clone(&self.notifier),
            digests: Arc::clone(&self.digests),
            state: RwLock::new(Arc::new(LoadedRules::Broken(Vec::new()))),
            pins: RwLock::default(),
            cwd: RwLock::new(agent.tools_folder()),
            editing: Mutex::default(),
        };
        policy.reload();
        let read = Arc::new(policy);
        // Another thread may have been quicker: all must have the same one.
        Arc::clone(lock(&self.agents).entry(agent.name.clone()).or_insert(read))
    }

    /// Reads the policies of `agents` again, and forgets all others. Whoever has one of them finds
    /// the new rules in it.
    pub fn reload(&self, agents: &[Arc<AgentSpec>]) {
        let is_one = |name: &AgentName| agents.iter().any(|agent| agent.name == *name);
        lock(&self.agents).retain(|name, _| is_one(name));
        for agent in agents {
            let known = lock(&self.agents).get(&agent.name).cloned();
            match known {
                Some(policy) => policy.reload(),
                // It is read as it is made.
                None => drop(self.of(agent)),
            }
        }
    }

    /// The mistakes for which agents are refused everything now, each once.
    pub fn problems(&self) -> Vec<Problem> {
        self.told(|state| match state {
            LoadedRules::Broken(problems) => problems.clone(),
            LoadedRules::Rules(..) => Vec::new(),
        })
    }

    /// The rules in use that do less or more than somebody may think, each once.
    pub fn remarks(&self) -> Vec<Problem> {
        self.told(|state| match state {
            LoadedRules::Broken(_) => Vec::new(),
            LoadedRules::Rules(rules, _) => rules.remarks.clone(),
        })
    }

    /// The remarks `of` each policy, in the order of the files; that of the workspace is each agent's.
    fn told(&self, of: impl Fn(&LoadedRules) -> Vec<Problem>) -> Vec<Problem> {
        let mut found: Vec<Problem> = Vec::new();
        for policy in lock(&self.agents).values() {
            found.extend(of(&policy.state()));
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

    /// From now on chats can be told of calls.
    pub fn set_chats(&self, chats: Arc<dyn ChatTeller>) {
        self.notifier.set_chats(chats);
    }

    /// True while a notification waits or is on its way, for whoever stops the process.
    pub fn is_telling(&self) -> bool {
        self.notifier.is_telling()
    }

    /// Ends what runs for policies: the thread that posts notifications.
    pub fn stop(&self) {
        self.notifier.stop();
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies").finish_non_exhaustive()
    }
}

impl AgentPolicy {
    /// Reads the files again.
    fn reload(&self) {
        let _editing = lock(&self.editing);
        self.reload_while_editing();
    }

    fn reload_while_editing(&self) {
        let state = match self.source.read(&*self.environment) {
            Ok((tiers, granted)) => LoadedRules::Rules(tiers.merged(), granted),
            Err(problems) => {
                for problem in &problems {
                    log::error!("agent {}: nothing runs: {problem}", self.name);
                }
                LoadedRules::Broken(problems)
            }
        };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }

    fn state(&self) -> Arc<LoadedRules> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_dangerous(&self) -> bool {
        let is_mode = |state: &LoadedRules| matches!(state, LoadedRules::Rules(rules, _) if rules.mode == Mode::Dangerous);
        is_mode(&self.state()) && !self.source.has_workspace_policy()
    }

    /// Says what the agent's tools run now, and in which folder they start.
    pub fn set_pins(&self, cwd: PathBuf, pins: impl IntoIterator<Item = Pin>) {
        let pins = pins.into_iter().map(|pin| (pin.tool.clone(), pin));
        let pins = order::map(pins);
        *self.pins.write().unwrap_or_else(PoisonError::into_inner) = pins;
        *self.cwd.write().unwrap_or_else(PoisonError::into_inner) = cwd;
    }

    /// The content behind the tool of that name now, and true if the agent's folder brought it.
    fn program(&self, tool: &str) -> Option<(Part, bool)> {
        let pins = self.pins.read().unwrap_or_else(PoisonError::into_inner);
        let pin = pins.get(tool)?;
        Some((pin.part(&self.digests), pin.is_agents))
    }

    /// True if the program behind a tool is another than the one that was granted: its rules were
    /// given to that one.
    fn is_changed(&self, tool: &str, granted: &Granted) -> bool {
        let Some((program, is_agents)) = self.program(tool) else {
            return false;
        };
        let is_pinned = || match granted {
            Granted::Nothing | Granted::Everything => false,
            Granted::Parts(parts) => {
                let is_of_tool =
                    |part: &Part| part.kind == Kind::Program && part.place == program.place;
                parts.iter().any(is_of_tool)
            }
        };
        // What the workspace brings is its owner's, until one content of it was allowed.
        (is_agents || is_pinned()) && !granted.counts(&program)
    }

    /// A proposed, as far as rules are concerned.
    fn call_of<'a>(
        &self,
        proposed: &'a ProposedCall<'_>,
        script: Option<&'a str>,
        granted: &Granted,
    ) -> JudgedCall<'a> {
        let subject = match proposed.kind {
            ToolKind::Bash => return JudgedCall::Shell(script),
            ToolKind::Builtin => Subject::Builtin,
            ToolKind::Cli | ToolKind::FoundCli => Subject::Cli,
        };
        let name = proposed.call.tool_name.as_str();
        JudgedCall::Tool(ToolUse {
            subject,
            name,
            arguments: &proposed.call.arguments,
            is_found: proposed.kind == ToolKind::FoundCli,
            is_changed: subject == Subject::Cli && self.is_changed(name, granted),
            only_reads: proposed.effect == ToolEffect::Read && !proposed.is_composed,
            value_key: proposed.value_key,
            file: proposed.file,
        })
    }

    /// Why nobody may do this to a file by that tool, if a rule forbids it.
    pub fn forbidding(&self, tool: &str, file: &FileUse) -> Option<String> {
        match &*self.state() {
            LoadedRules::Rules(rules, _) => {
                judge::forbidding(rules, tool, file).map(ToString::to_string)
            }
            LoadedRules::Broken(problems) => problems.first().map(ToString::to_string),
        }
    }

    /// Adds rules to what the owner allowed for good, and to the grants what `program` is now.
    fn remember(&self, literal: &LiteralRules, program: Option<Part>) -> Result<(), RememberError> {
        let _editing = lock(&self.editing);
        let program: Vec<Part> = program.into_iter().collect();
        self.source.allow(&program, &|path, text| {
            let edited = edit::with_allowed(text, literal)?;
            if let Some(edited) = &edited {
                // What would not load would refuse everything from now on.
                file::parse(edited.clone(), path, &*self.environment)
                    .map_err(RuleEditError::Refused)?;
            }
            Ok(edited)
        })?;
        self.reload_while_editing();
        Ok(())
    }
}

impl Policy for AgentPolicy {
    fn judge(&self, proposed: &ProposedCall<'_>) -> Verdict {
        let state = self.state();
        let (rules, granted) = match &*state {
            LoadedRules::Rules(rules, granted) => (rules, granted),
            LoadedRules::Broken(problems) => return refused_by_broken(problems),
        };
        let script = proposed.script();
        let call = self.call_of(proposed, script.as_deref(), granted);
        let usual = || {
            self.cwd
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        };
        let cwd = proposed.workdir.map_or_else(usual, Path::to_owned);
        let context = Context {
            work: Some(&cwd),
            is_variable: &|name| (self.environment)(name).is_some(),
        };
        let mut judgement = judge::judge_in(rules, &call, &context);
        let would_allow = |granted: &[String]| {
            let with_granted = rules.with_granted(granted);
            judge::judge_in(&with_granted, &call, &context).ruling == Ruling::Allow
        };
        let is_asked = judgement.ruling == Ruling::Ask;
        if is_asked && !proposed.granted.is_empty() && would_allow(proposed.granted) {
            judgement.ruling = Ruling::Allow;
        }
        match judgement.ruling {
            Ruling::Allow => Verdict::Allow,
            Ruling::Ask => {
                let session_rules = judge::session_rules(&call);
                let helps = !session_rules.is_empty() && would_allow(&session_rules);
                Verdict::Ask {
                    command: proposed.command(),
                    commands: proposed.commands(),
                    is_exact: judge::literal_patterns(&call).exact.is_some(),
                    session_rules: if helps { session_rules } else { Vec::new() },
                }
            }
            Ruling::Deny => Verdict::Deny {
                reason: refusal(&judgement),
            },
        }
    }

    fn allow_always(&self, proposed: &ProposedCall<'_>) -> Result<(), RememberError> {
        let script = proposed.script();
        let call = self.call_of(proposed, script.as_deref(), &Granted::Everything);
        let literal = judge::literal_patterns(&call);
        if !literal.patterns.is_empty() || literal.exact.is_some() {
            let program = match proposed.kind {
                ToolKind::Cli | ToolKind::FoundCli => self.program(&proposed.call.tool_name),
                ToolKind::Bash | ToolKind::Builtin => None,
            };
            self.remember(&literal, program.map(|(program, _)| program))?;
        }
        if literal.refused.is_empty() {
            Ok(())
        } else {
            Err(RememberError::NoRule(literal.refused))
        }
    }

    fn note_start(&self, proposed: &ProposedCall<'_>) {
        self.tell(Occasion::Call, proposed);
    }

    fn note_question(&self, proposed: &ProposedCall<'_>) {
        self.tell(Occasion::Approval, proposed);
    }
}

impl AgentPolicy {
    /// Tells whoever wants to know of such an occasion.
    fn tell(&self, on: Occasion, proposed: &ProposedCall<'_>) {
        let state = self.state();
        let LoadedRules::Rules(rules, granted) = &*state else {
            return;
        };
        if rules.notify.is_empty() {
            return;
        }
        let script = proposed.script();
        let call = self.call_of(proposed, script.as_deref(), granted);
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
            let note = Notification::of(&self.name, on, proposed);
            told.into_iter()
                .for_each(|one| self.notifier.tell(one, &note));
        }
    }
}

impl fmt::Debug for AgentPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentPolicy")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
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
