//! Makes the tools of an agent from what its files say.

use std::sync::Arc;

use crate::domain::spec::AgentSpec;
use crate::policy::Policies;
use crate::tools::Toolbox;
use crate::tools::file::{self, FilePlaces, FileTool};
use crate::tools::memory::{MemoryParts, MemoryTool};
use crate::tools::program_tools::ProgramTools;
use crate::tools::reload::{ReloadTool, ToolMaker};
use crate::tools::send_file::{self, FileShelf, SendFileTool};
use crate::tools::session::{SessionShelf, SessionTool};
use crate::tools::skill::SkillTool;
use crate::tools::web::{self, Web, WebSettings};

/// Makes the tools of agents: what tools need of the server, and no agent's alone.
#[derive(Debug, Clone)]
pub struct Workshop {
    /// Keeps memories.
    pub memory: MemoryParts,
    /// Where sessions are kept.
    pub sessions: Arc<dyn SessionShelf>,
    /// Where files that are sent are kept.
    pub files: Arc<dyn FileShelf>,
    /// Who keeps what is made here, and has it made anew.
    pub maker: Arc<dyn ToolMaker>,
    /// Makes the tools that run programs.
    pub programs: ProgramTools,
    /// Where the tool `file` may go, beside the folders of sessions.
    pub places: Arc<FilePlaces>,
    /// What it may do there.
    pub rules: Arc<Policies>,
    /// Where the tool `web` may go.
    pub web: Arc<WebSettings>,
}

impl Workshop {
    /// The tools that `spec` asks for, and those found beside it, which replace none of the others.
    pub fn toolbox(&self, spec: &AgentSpec) -> Toolbox {
        let mut tools = self.programs.toolbox(spec);
        let scope = spec.memory.scope;
        if spec.has_builtin("memory") {
            let own = self.memory.memories.of(spec);
            let tool = MemoryTool::new(&self.memory, own, scope, spec.zone.clone());
            tools = tools.with(Arc::new(tool));
        }
        if spec.has_builtin("skill") {
            tools = tools.with(Arc::new(SkillTool::new(spec.skills.clone())));
        }
        if spec.has_builtin("session") {
            let tool = SessionTool::new(Arc::clone(&self.sessions), spec.name.clone(), scope);
            tools = tools.with(Arc::new(tool));
        }
        if spec.has_builtin("reload_tools") {
            let tool = ReloadTool::new(Arc::clone(&self.maker), spec.name.clone());
            tools = tools.with(Arc::new(tool));
        }
        if spec.has_builtin(send_file::NAME) {
            let tool = SendFileTool::new(Arc::clone(&self.files), &spec.home);
            tools = tools.with(Arc::new(tool));
        }
        if spec.has_builtin(file::NAME) {
            let rules = self.rules.of(spec);
            let tool = FileTool::new(&spec.home, Arc::clone(&self.places), rules);
            tools = tools.with(Arc::new(tool));
        }
        if spec.has_builtin(web::NAME) {
            tools = tools.with(Arc::new(Web::new(Arc::clone(&self.web))));
        }
        log::debug!("agent {}: {} tools", spec.name, tools.specs().count());
        tools
    }
}
