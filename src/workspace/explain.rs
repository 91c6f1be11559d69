//! What would become of a call, by the files as they are now. Works without a server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::agents::AgentDirectory;
use crate::base::yaml::problem::Problem;
use crate::domain::ids::AgentName;
use crate::domain::providers::Described;
use crate::domain::spec::{AgentSpec, Provider, ToolRef};
use crate::domain::trust::Kind;
use crate::policy::check;
use crate::policy::judge::{
    self, Context, JudgedCall, JudgedPart, Judgement, Ruling, ToolUse, Why,
};
use crate::policy::{PolicyRules, Subject};
use crate::tools::{self, file};
use crate::trust::{Grants, WorkspaceTrust};
use crate::workspace::policy_files::{POLICY_FILE, PolicyFiles};
use crate::workspace::trust::{self, Surveyor, Workspace};

/// A call that an agent might make.
#[derive(Debug, Clone, Copy)]
pub struct PolicyQuestion<'a> {
    /// The workspace.
    pub workspace: &'a Path,
    /// Where its agents are.
    pub agents_dir: &'a Path,
    /// Providers that they may name beside those of the table.
    pub providers: &'a BTreeMap<Provider, Described>,
    /// Who would call.
    pub agent: &'a AgentName,
    /// `type:what`, as `bash:git push`.
    pub call: &'a str,
    /// The caller says that the call changes nothing, as `--effect read` does.
    pub only_reads: bool,
}

/// The ruling on a call, part by part. Its JSON is for programs, and stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// `allow`, `ask` or `deny`: the strictest of the parts.
    pub verdict: &'static str,
    /// The mode that holds for what no rule names.
    pub mode: &'static str,
    /// Where the mode is set, if it is: `file:line`.
    pub mode_set_at: Option<String>,
    /// A script's simple commands, or the call.
    pub parts: Vec<ExplainedPart>,
    /// A warning: rules allow more together than each of them says, as writing and running a file.
    pub remark: Option<String>,
}

/// One thing that is judged by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedPart {
    /// The simple command, or the call as it was given.
    pub text: String,
    /// `allow`, `ask` or `deny`.
    pub verdict: &'static str,
    /// Why.
    pub reason: String,
    /// The pattern that decides, if one does.
    pub pattern: Option<String>,
    /// The file in which what decides stands: the pattern, or else the mode.
    pub file: Option<PathBuf>,
    /// The line.
    pub line: Option<usize>,
    /// The rule that would allow it.
    pub missed: Option<Missed>,
}

/// A rule that would allow something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// The rule.
    pub pattern: String,
    /// Its file.
    pub file: PathBuf,
    /// Its line.
    pub line: usize,
    /// Why it does not count.
    pub reason: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PolicyQuestionError {
    /// It is not `type:what`.
    #[error("a call begins with `bash:`, `builtin:`, `cli:` or `mcp:`, as `bash:git push`")]
    NoCall,
    /// There is no such agent, or its file has errors.
    #[error("there is no agent {0} that can be loaded")]
    NoAgent(AgentName),
    /// A policy can't be read: all calls of the agent are refused.
    #[error("every call is refused, because a policy has an error: {}", listed(.0))]
    Policy(Vec<Problem>),
}

fn listed(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("; ")
}

/// Says what would become of a call, by the rules that are read for it.
///
/// Errors: it is no call, the agent cannot be loaded, or a policy cannot be read.
pub fn explain(question: &PolicyQuestion<'_>) -> Result<Explained, PolicyQuestionError> {
    let (subject, what) = parsed(question.call)?;
    let workspace = Workspace {
        folder: question.workspace,
        agents_dir: question.agents_dir,
        providers: question.providers,
    };
    let (trust, problems) = trust::of_workspace(&workspace);
    if !problems.is_empty() {
        return Err(PolicyQuestionError::Policy(problems));
    }
    let agent = agent(question, &workspace, &trust)?;
    let files = PolicyFiles::of(&question.workspace.join(POLICY_FILE), &agent.home);
    let rules = files
        .read(&environment, &trust)
        .map_err(PolicyQuestionError::Policy)?
        .merged();
    let mut about = None;
    let call = match subject {
        Subject::Bash => JudgedCall::Shell(Some(what)),
        Subject::Builtin | Subject::Cli | Subject::Mcp | Subject::Any => {
            let is_changed = |name: &str| is_changed(&workspace, &trust, &agent.home, name);
            let tool = tool_use(question, &agent, subject, what, is_changed);
            if subject == Subject::Builtin && tool.name == file::NAME {
                about = file::meant(tool.arguments, &agent.home);
            }
            JudgedCall::Tool(ToolUse {
                file: about.as_ref(),
                ..tool
            })
        }
    };
    let work = agent.tools_folder();
    let context = Context {
        work: Some(&work),
        is_variable: &|name| std::env::var_os(name).is_some(),
    };
    let mut judgement = judge::judge_in(&rules, &call, &context);
    let trusted = files.read(&environment, &trust.with_grants(Grants::All));
    if let Ok(trusted) = trusted {
        let trusted = judge::judge_in(&trusted.merged(), &call, &context);
        note_waiting(&mut judgement, &trusted, question.agent);
    }
    Ok(explained(&rules, &judgement, agent.has_builtin(file::NAME)))
}

/// The two sides of `type:what`.
fn parsed(call: &str) -> Result<(Subject, &str), PolicyQuestionError> {
    let (word, what) = call.split_once(':').ok_or(PolicyQuestionError::NoCall)?;
    Subject::parse(word)
        .filter(|subject| *subject != Subject::Any)
        .map(|subject| (subject, what))
        .ok_or(PolicyQuestionError::NoCall)
}

fn agent(
    question: &PolicyQuestion<'_>,
    workspace: &Workspace<'_>,
    trust: &Arc<WorkspaceTrust>,
) -> Result<Arc<AgentSpec>, PolicyQuestionError> {
    let agents = AgentDirectory::load_in(
        question.workspace,
        question.agents_dir,
        workspace.names(),
        Arc::new(environment),
        Arc::clone(trust),
    );
    agents
        .get(question.agent)
        .ok_or_else(|| PolicyQuestionError::NoAgent(question.agent.clone()))
}

/// The call of a tool other than the shell: `what` is its name and its arguments.
fn tool_use<'a>(
    question: &PolicyQuestion<'_>,
    agent: &AgentSpec,
    subject: Subject,
    what: &'a str,
    is_changed: impl FnOnce(&str) -> bool,
) -> ToolUse<'a> {
    let (name, arguments) = what.split_once(' ').unwrap_or((what, ""));
    let is_program = subject == Subject::Cli;
    ToolUse {
        subject,
        name,
        arguments,
        is_found: is_program && !is_declared(&agent.tools, name),
        is_changed: is_program && is_changed(name),
        only_reads: question.only_reads,
        value_key: match subject {
            Subject::Builtin => tools::value_key(name),
            Subject::Bash | Subject::Cli | Subject::Mcp | Subject::Any => None,
        },
        file: None,
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Notes of each part the rule that would allow it if its owner trusted the agent with it.
fn note_waiting(judgement: &mut Judgement, trusted: &Judgement, agent: &AgentName) {
    for (part, trusted) in judgement.parts.iter_mut().zip(&trusted.parts) {
        let is_the_same = part.text == trusted.text && part.ruling != Ruling::Allow;
        if let Why::Allowed(pattern) = &trusted.why
            && is_the_same
        {
            let why = format!("it waits for trust: `duragent agent trust {agent}`");
            part.missed = Some((pattern.clone(), why));
        }
    }
}

/// A tool of the agent runs something else than what its owner trusts it with.
fn is_changed(
    workspace: &Workspace<'_>,
    trust: &Arc<WorkspaceTrust>,
    home: &Path,
    tool: &str,
) -> bool {
    let surveyor = Surveyor::new(workspace, Arc::clone(trust));
    let waiting = surveyor.agent(home).waiting;
    waiting
        .iter()
        .any(|part| part.kind == Kind::Program && part.place == tool)
}

fn is_declared(tools: &[ToolRef], wanted: &str) -> bool {
    tools.iter().any(|tool| match tool {
        ToolRef::Cli { name, .. } => name == wanted,
        ToolRef::Builtin { .. } | ToolRef::Mcp { .. } => false,
    })
}

fn explained(rules: &PolicyRules, judgement: &Judgement, has_file: bool) -> Explained {
    let parts = judgement.parts.iter();
    let mut deciding = judgement.parts.iter().filter_map(|part| part.why.pattern());
    let obeys = deciding.any(check::obeys_folder);
    Explained {
        verdict: judgement.ruling.as_str(),
        mode: rules.mode.as_str(),
        mode_set_at: rules.mode_place.as_ref().map(ToString::to_string),
        parts: parts.map(|part| explained_part(rules, part)).collect(),
        remark: check::free_hand(rules, has_file).filter(|_| obeys),
    }
}

fn explained_part(rules: &PolicyRules, part: &JudgedPart) -> ExplainedPart {
    let pattern = part.why.pattern();
    let place = match &part.why {
        Why::Never(..) | Why::Unnamed(_) => rules.mode_place.as_ref(),
        Why::Changed => None,
        Why::Denied(..)
        | Why::PerhapsDenied(_)
        | Why::Allowed(_)
        | Why::OnlyReads
        | Why::ReadsSkill
        | Why::UsualFile
        | Why::Unnoticed
        | Why::Found => pattern.map(|pattern| &pattern.place),
    };
    let missed = part.missed.as_ref().map(|(pattern, reason)| Missed {
        pattern: pattern.text.clone(),
        file: pattern.place.source.path.clone(),
        line: pattern.place.line(),
        reason: reason.clone(),
    });
    ExplainedPart {
        text: part.text.clone(),
        verdict: part.ruling.as_str(),
        reason: part.why.to_string(),
        pattern: pattern.map(|pattern| pattern.text.clone()),
        file: place.map(|place| place.source.path.clone()),
        line: place.map(|place| place.line()),
        missed,
    }
}
