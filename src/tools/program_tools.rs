//! The tools of an agent that run programs: the shell, those its file names, those found beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::spec::{AgentSpec, ToolRef};
use crate::tools::bash::{self, Bash};
use crate::tools::cli::{Cli, CommandError, CommandLine, DeclaredTool};
use crate::tools::found::{self, FoundTool};
use crate::tools::programs::{ProgramContext, Programs};
use crate::tools::readme;
use crate::tools::{Effect, Tool, ToolKind, Toolbox};

/// The folder in a workspace with the skills for all agents.
const SKILLS: &str = "skills";

/// Makes them, for the agents of a workspace.
#[derive(Debug, Clone, Default)]
pub struct ProgramTools {
    programs: Arc<Programs>,
    workspace: Option<PathBuf>,
}

impl ProgramTools {
    /// For the agents of `workspace`, whose programs run as `programs` runs them.
    pub fn new(programs: Arc<Programs>, workspace: PathBuf) -> ProgramTools {
        ProgramTools {
            programs,
            workspace: Some(workspace),
        }
    }

    /// Those that `spec` asks for, and those found beside it: declared ones before found ones,
    /// the agent's before the workspace's.
    pub fn toolbox(&self, spec: &AgentSpec) -> Toolbox {
        let place = self.place(spec);
        let workspace = self.workspace.as_deref().map(|it| it.join(found::TOOLS));
        let agent = is_on_disk(spec).then(|| spec.home.join(found::TOOLS));
        let found = [workspace, agent].into_iter().flatten();
        let found = found.flat_map(|folder| self.found(&folder, &place, spec));
        let declared = spec.tools.iter();
        let declared = declared.filter_map(|tool| self.declared(tool, &place, spec));
        // Of the same name, the last one stays.
        found
            .chain(declared)
            .fold(Toolbox::default(), Toolbox::with)
    }

    /// The names of an agent's programs, declared or found, by which rules know them.
    pub fn names(&self, spec: &AgentSpec) -> Vec<String> {
        let declared = spec.tools.iter().filter_map(|tool| match tool {
            ToolRef::Cli { name, .. } => Some(name.clone()),
            ToolRef::Builtin { .. } | ToolRef::Mcp { .. } => None,
        });
        let own = found::look(&spec.home.join(found::TOOLS), Some(&spec.home)).0;
        let shared = self.workspace.as_deref().map(|it| it.join(found::TOOLS));
        let shared = shared.map_or_else(Vec::new, |folder| found::look(&folder, None).0);
        let found = own.into_iter().chain(shared).map(|tool| tool.name);
        declared.chain(found).collect()
    }

    /// One line for each program of an agent's tools that cannot run.
    pub fn problems(&self, spec: &AgentSpec) -> Vec<String> {
        let declared = commands(spec).filter_map(|(name, command)| {
            let wrong = match command {
                Ok(command) => command.missing()?,
                Err(problem) => format!("its command {problem}"),
            };
            Some(format!("the tool `{name}` cannot run: {wrong}"))
        });
        let own = found::look(&spec.home.join(found::TOOLS), Some(&spec.home)).1;
        declared.chain(own).collect()
    }

    /// One line for each script of an agent's tools that may not do what is meant.
    pub fn doubts(&self, spec: &AgentSpec) -> Vec<String> {
        let declared = commands(spec).filter_map(|(name, command)| {
            let doubt = command.ok()?.elsewhere(&spec.home, &spec.tools_folder())?;
            Some(format!("the tool `{name}`: {doubt}"))
        });
        declared.collect()
    }

    /// One line for each tool for all agents that cannot run.
    pub fn shared_problems(&self) -> Vec<String> {
        let folder = self.workspace.as_deref().map(|it| it.join(found::TOOLS));
        folder.map_or_else(Vec::new, |folder| found::look(&folder, None).1)
    }

    /// Where the programs of an agent run, and what they see there.
    fn place(&self, spec: &AgentSpec) -> ProgramContext {
        let own = [spec.home.join(found::TOOLS), spec.skills_dir.clone()];
        // An agent's file, or a link, could name any folder of the machine.
        let own = own
            .into_iter()
            .filter(|path| readme::is_inside(path, &spec.home));
        let shared = self.workspace.iter().flat_map(|workspace| {
            let skills = workspace.join(SKILLS);
            let skills = readme::is_inside(&skills, workspace).then_some(skills);
            [workspace.join(found::TOOLS)].into_iter().chain(skills)
        });
        // Below it stands the folder to write in: no more than that of it can be written.
        let cwd = spec.tools_folder();
        let whole = (cwd == spec.home).then(|| spec.home.clone());
        ProgramContext {
            agent: spec.name.clone(),
            home: spec.home.clone(),
            cwd,
            readable: shared.chain(whole).chain(own).collect(),
            env: Vec::new(),
        }
    }

    fn found(&self, folder: &Path, place: &ProgramContext, spec: &AgentSpec) -> Vec<Arc<dyn Tool>> {
        let home = folder.starts_with(&spec.home).then_some(&*spec.home);
        let (found, problems) = found::look(folder, home);
        for problem in problems {
            log::warn!("agent {}: {problem}", spec.name);
        }
        let tool = |found: FoundTool| {
            let command = CommandLine::of(found.program);
            let about = DeclaredTool {
                name: found.name,
                kind: ToolKind::FoundCli,
                description: found.description,
                effect: Effect::Write,
                env: Vec::new(),
            };
            Arc::new(Cli::new(
                self.programs.clone(),
                place.clone(),
                command,
                about,
            )) as _
        };
        found.into_iter().map(tool).collect()
    }

    /// `None` for one that cannot be offered; the log says why.
    fn declared(
        &self,
        tool: &ToolRef,
        place: &ProgramContext,
        spec: &AgentSpec,
    ) -> Option<Arc<dyn Tool>> {
        match tool {
            ToolRef::Builtin { name } => self.builtin(name, place),
            ToolRef::Cli {
                name,
                command,
                args,
                ..
            } => match CommandLine::parse(command, name, args, &spec.home) {
                Ok(command) => self.cli(tool, command, place, spec),
                Err(problem) => {
                    log::warn!("agent {}: the command of `{name}` {problem}", spec.name);
                    None
                }
            },
            // Said when the file was read.
            ToolRef::Mcp { .. } => None,
        }
    }

    fn builtin(&self, name: &str, place: &ProgramContext) -> Option<Arc<dyn Tool>> {
        match name {
            bash::NAME => Some(Arc::new(Bash::new(self.programs.clone(), place.clone()))),
            // Said when the file was read.
            _ => None,
        }
    }

    fn cli(
        &self,
        tool: &ToolRef,
        command: CommandLine,
        place: &ProgramContext,
        spec: &AgentSpec,
    ) -> Option<Arc<dyn Tool>> {
        let ToolRef::Cli {
            name,
            description,
            readme,
            effect,
            env,
            ..
        } = tool
        else {
            return None;
        };
        let readme = readme
            .as_deref()
            .and_then(|file| declared_readme(file, name, spec));
        let texts: Vec<String> = description.iter().cloned().chain(readme).collect();
        let about = DeclaredTool {
            name: name.clone(),
            kind: ToolKind::Cli,
            description: if texts.is_empty() {
                format!("The program `{name}`.")
            } else {
                texts.join("\n\n")
            },
            effect: *effect,
            env: env.clone(),
        };
        let cli = Cli::new(self.programs.clone(), place.clone(), command, about);
        Some(Arc::new(cli))
    }
}

/// The commands of the tools that an agent declares, by their names.
fn commands(spec: &AgentSpec) -> impl Iterator<Item = (&str, Result<CommandLine, CommandError>)> {
    spec.tools.iter().filter_map(|tool| match tool {
        ToolRef::Cli {
            name,
            command,
            args,
            ..
        } => Some((
            name.as_str(),
            CommandLine::parse(command, name, args, &spec.home),
        )),
        ToolRef::Builtin { .. } | ToolRef::Mcp { .. } => None,
    })
}

/// Whether it was read from a folder.
fn is_on_disk(spec: &AgentSpec) -> bool {
    spec.home.is_absolute()
}

/// What `readme:` names, which is shown to a model: only files of the agent's own.
fn declared_readme(file: &str, tool: &str, spec: &AgentSpec) -> Option<String> {
    let path = spec.home.join(file);
    let read = readme::read(&path, &[&spec.home]);
    let path = path.display();
    read.inspect_err(|error| {
        log::warn!(
            "agent {}: the readme {path} of `{tool}` is left out: {error}",
            spec.name
        );
    })
    .ok()
}
