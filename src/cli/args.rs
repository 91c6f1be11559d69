//! What may be typed after `duragent`.

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use log::LevelFilter;

use crate::cli::error::CliError;
use crate::config;
use crate::domain::event::Status;
use crate::domain::ids::{AgentName, GatewayName};
use crate::domain::providers::KNOWN;
use crate::domain::search::FOUND_MAX;
use crate::domain::spec::Provider;
use crate::runtime::options::Resume;
use crate::runtime::version;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "duragent",
    about = "Keeps AI agents alive: sessions that survive crashes, in plain files",
    version = version::LONG,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Invocation {
    /// What is the same for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Say more; twice: everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// The configuration file [default: duragent.yaml, where there is one]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where everything is kept [default: .duragent]
    #[arg(long, global = true, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Where the agents are [default: .duragent/agents]
    #[arg(long, global = true, value_name = "DIR")]
    pub agents_dir: Option<PathBuf>,
    /// Certificates in PEM to trust beside the built-in ones, for servers reached by https
    #[arg(long, global = true, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
}

impl Global {
    /// How much to log, when the user says so.
    pub fn log_level(&self) -> Option<LevelFilter> {
        match (self.quiet, self.verbose) {
            (true, _) => Some(LevelFilter::Error),
            (false, 0) => None,
            (false, 1) => Some(LevelFilter::Info),
            (false, _) => Some(LevelFilter::Debug),
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server, stop it, or ask how it does
    Serve(ServeArgs),
    /// Talk to an agent; a server is started when none runs
    Chat(ChatArgs),
    /// Go on with a session
    Attach(AttachArgs),
    /// Look at sessions
    #[command(subcommand)]
    Session(SessionCommand),
    /// Look at agents
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Look at gateways, and let people in who write by them
    #[command(subcommand)]
    Gateway(GatewaysCommand),
    /// Ask what a policy makes of a call
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Set up a workspace with a first agent; nothing that exists is touched
    Init(InitArgs),
    /// Check an agent, a policy or a configuration file
    Validate(ValidateArgs),
    /// List the models that providers offer
    Models(ModelsArgs),
    /// Check whether everything is there that a server and its agents need
    Doctor(DoctorArgs),
    /// Print what a shell needs to complete this command
    Completions(CompletionsArgs),
    /// Kill servers on this machine's disk for a while, and check that nothing is lost
    Torture(TortureArgs),
    /// Run a server whose disk fails at random: what `torture` starts.
    #[command(hide = true)]
    ServeFaulty(ServeFaultyArgs),
    /// There is none: the error says how it is done by hand
    #[command(hide = true)]
    Upgrade(AnyArgs),
    /// There is none: the error says how it is done by hand
    #[command(hide = true)]
    Login(AnyArgs),
}

/// Whatever stands behind a command that is not there.
#[derive(Debug, Args)]
pub struct AnyArgs {
    /// It does not matter
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<OsString>,
}

/// In which form a command answers.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// As JSON
    #[arg(long, overrides_with = "format")]
    json: bool,
    /// As text, or as JSON
    #[arg(long, value_name = "FORMAT", overrides_with = "json")]
    format: Option<OutputFormat>,
}

impl OutputArgs {
    /// A program wants to read the output: `--json`, or `--format json` as in version 0.5.
    pub fn is_json(&self) -> bool {
        self.json || self.format == Some(OutputFormat::Json)
    }
}

/// A form of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// `duragent serve`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ServeArgs {
    /// Something else than running it.
    #[command(subcommand)]
    pub action: Option<ServeAction>,
    /// The address to listen on [default: 127.0.0.1]
    #[arg(long, value_parser = |text: &str| config::parse_host(text).ok_or(config::HOST_RULE))]
    pub host: Option<IpAddr>,
    /// The port to listen on; 0 takes any free one [default: 8080]
    #[arg(short, long)]
    pub port: Option<u16>,
    /// What to do with turns that the last server left unfinished
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub resume: ResumeArg,
    /// End by itself after so long without a client, a turn at work or anything that is due
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub ephemeral: Option<u32>,
    /// Leave the terminal that started it: for servers that clients start.
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// What becomes of unfinished turns.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ResumeArg {
    /// Take them up, unless the server crashed 3 times in 5 minutes
    Auto,
    /// Take them up
    Always,
    /// Leave them waiting until a client attaches or a message comes
    Never,
}

impl From<ResumeArg> for Resume {
    fn from(resume: ResumeArg) -> Resume {
        match resume {
            ResumeArg::Auto => Resume::Auto,
            ResumeArg::Always => Resume::Always,
            ResumeArg::Never => Resume::Never,
        }
    }
}

/// What to do with a server that runs.
#[derive(Debug, Subcommand)]
pub enum ServeAction {
    /// Stop the server of this workspace; work in progress is kept
    Stop(RunningArgs),
    /// Say whether a server runs for this workspace, and where
    Status {
        /// Which server.
        #[command(flatten)]
        server: RunningArgs,
        /// In which form.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Have the server read the agents and their policies again
    ReloadAgents {
        /// Which server.
        #[command(flatten)]
        server: RunningArgs,
        /// In which form.
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Which server to do something with.
#[derive(Debug, Clone, Args)]
pub struct RunningArgs {
    /// The server at this port [default: the one of this workspace]
    #[arg(short, long, conflicts_with = "server")]
    pub port: Option<u16>,
    /// The address or name that goes with the port [default: 127.0.0.1]
    #[arg(long, requires = "port")]
    pub host: Option<String>,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Which server to talk to.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The server to talk to [default: the one of this workspace]
    #[arg(short, long, value_name = "URL")]
    pub server: Option<String>,
    /// The token it asks for
    #[arg(long, env = "DURAGENT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// Which server to talk to, for commands that are about a session, too.
#[derive(Debug, Clone, Args)]
#[command(mut_arg("server", |arg| arg.short(None)))]
pub struct PlaceArgs {
    /// A session or a server, whichever it is: what has a `:`, `/` or `.` in it is a server
    #[arg(short = 's', value_name = "ID|URL", value_parser = |text: &str| Named::of(text))]
    named: Vec<Named>,
    /// Which server.
    #[command(flatten)]
    server: ServerArgs,
}

/// What `-s` names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Session(String),
    Server(String),
}

impl Named {
    /// No id of a session has any of these in it, and few servers have none of them.
    fn of(text: &str) -> Result<Named, Infallible> {
        let is_server = text.contains([':', '/', '.']) || text.eq_ignore_ascii_case("localhost");
        Ok(if is_server {
            Named::Server(text.to_owned())
        } else {
            Named::Session(text.to_owned())
        })
    }
}

impl PlaceArgs {
    /// The session and the server, where `session` is what was named without `-s`.
    ///
    /// Errors: one of them is named twice.
    pub(super) fn told_apart(
        &self,
        session: Option<&str>,
    ) -> Result<(Option<String>, ServerArgs), CliError> {
        let mut session = session.map(str::to_owned);
        let mut server = self.server.clone();
        for named in &self.named {
            let (slot, text, what) = match named {
                Named::Session(text) => (&mut session, text, "session"),
                Named::Server(text) => (&mut server.server, text, "server"),
            };
            if let Some(other) = slot.replace(text.clone()) {
                let why = format!("`-s {text}` is a {what}, and so is {other}");
                return Err(CliError::usage(why));
            }
        }
        Ok((session, server))
    }
}

/// `duragent chat`.
#[derive(Debug, Args)]
pub struct ChatArgs {
    /// The agent [default: the only one there is]
    #[arg(short, long)]
    pub agent: Option<String>,
    /// Go on with this session, or the only one whose id begins or ends so
    #[arg(long, value_name = "ID", conflicts_with = "agent")]
    pub session: Option<String>,
    /// A file that goes with the message that is piped in; it may stand several times
    #[arg(long = "file", value_name = "PATH")]
    pub files: Vec<PathBuf>,
    /// Which server.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `duragent attach`.
#[derive(Debug, Args)]
#[command(mut_arg("json", |arg| arg.requires("list")))]
#[command(mut_arg("format", |arg| arg.requires("list")))]
pub struct AttachArgs {
    /// The session, or how the id of only one begins or ends [default: the only one there is]
    #[arg(value_name = "ID", conflicts_with = "list")]
    pub session: Option<String>,
    /// List the sessions that can be attached to
    #[arg(short, long)]
    pub list: bool,
    /// In which form.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Only look on: nothing can be said, and leaving pauses nothing
    #[arg(long, conflicts_with_all = ["list", "detach_others"])]
    pub readonly: bool,
    /// Send the other clients of the session away
    #[arg(short, long, conflicts_with = "list")]
    pub detach_others: bool,
    /// Messages to show of what was said before, at most 1000
    #[arg(long, value_name = "N", default_value_t = 20,
        value_parser = clap::value_parser!(u16).range(..=1000))]
    pub history: u16,
    /// Which server.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `duragent session`.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List sessions, newest first
    List(SessionListArgs),
    /// Find messages by their words, the best first
    Search(SessionSearchArgs),
    /// Print what was said and done in a session
    Show(SessionShowArgs),
    /// Write a session down as Markdown, or its events as JSON Lines
    Export(SessionExportArgs),
    /// End a session; its files stay
    End(SessionNameArgs),
    /// Delete a session and its files
    Delete(SessionNameArgs),
    /// Look for damage in the files of sessions, and mend it
    Check(SessionCheckArgs),
    /// Copy sessions from elsewhere, as of a workspace of Duragent 0.5
    Import(SessionImportArgs),
}

/// `duragent session import`.
#[derive(Debug, Args)]
pub struct SessionImportArgs {
    /// The folder of a session, its events.jsonl, or a folder or a workspace that holds sessions
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// In which form.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `duragent session end` and `delete`.
#[derive(Debug, Args)]
pub struct SessionNameArgs {
    /// The session, or how the id of only one begins or ends
    #[arg(value_name = "ID")]
    pub session: String,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `duragent session show`.
#[derive(Debug, Args)]
#[command(mut_arg("json", |arg| arg.help("The events, as one JSON object a line")))]
pub struct SessionShowArgs {
    /// Which session.
    #[command(flatten)]
    pub name: SessionNameArgs,
    /// Go on with what happens from now on, until the session ends
    #[arg(short, long)]
    pub follow: bool,
    /// In which form.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `duragent session export`.
#[derive(Debug, Args)]
pub struct SessionExportArgs {
    /// Which session.
    #[command(flatten)]
    pub name: SessionNameArgs,
    /// How it is written
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "md",
        overrides_with = "json"
    )]
    format: ExportFormat,
    /// As --format jsonl
    #[arg(long, overrides_with = "format")]
    json: bool,
    /// Where to [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl SessionExportArgs {
    /// How it is written.
    pub fn format(&self) -> ExportFormat {
        if self.json {
            ExportFormat::Jsonl
        } else {
            self.format
        }
    }
}

/// How a session is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Markdown, for people
    Md,
    /// The events, as one JSON object a line
    #[value(alias = "json")]
    Jsonl,
}

/// `duragent session check`.
#[derive(Debug, Args)]
pub struct SessionCheckArgs {
    /// The session, or how the id of only one begins or ends
    #[arg(
        value_name = "ID",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub session: Option<String>,
    /// All sessions
    #[arg(long)]
    pub all: bool,
    /// Mend what can be mended; the log as it was is kept beside it
    #[arg(long)]
    pub repair: bool,
    /// In which form.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `duragent session list`.
#[derive(Debug, Args)]
pub struct SessionListArgs {
    /// Only those of this agent
    #[arg(short, long)]
    pub agent: Option<String>,
    /// Only those that stand so
    #[arg(long)]
    pub status: Option<StatusArg>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: usize,
    /// In which form.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `duragent session search`.
#[derive(Debug, Args)]
pub struct SessionSearchArgs {
    /// The words to look for
    #[arg(value_name = "WORD", required = true)]
    pub words: Vec<String>,
    /// Only in sessions of this agent
    #[arg(short, long)]
    pub agent: Option<String>,
    /// Only what was said since then: 2026-03-01, 2026-03-01T09:30:00Z, or 7d
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// At most so many, up to 50
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = limit_of_search)]
    pub limit: usize,
    /// In which form.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

fn limit_of_search(text: &str) -> Result<usize, String> {
    let limit = text
        .parse()
        .ok()
        .filter(|limit| (1..=FOUND_MAX).contains(limit));
    limit.ok_or_else(|| format!("must be a number from 1 to {FOUND_MAX}"))
}

/// How a session stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum StatusArg {
    /// Ready, or working
    Active,
    /// Working with no client attached
    Running,
    /// Unfinished; waits for a client
    Paused,
    /// Over
    Completed,
}

impl From<StatusArg> for Status {
    fn from(status: StatusArg) -> Status {
        match status {
            StatusArg::Active => Status::Active,
            StatusArg::Running => Status::Running,
            StatusArg::Paused => Status::Paused,
            StatusArg::Completed => Status::Completed,
        }
    }
}

/// `duragent agent`.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// List the agents
    List(AgentListArgs),
    /// Show an agent as its files describe it now; no server is needed
    Show(AgentShowArgs),
    /// Make an agent
    Create(AgentCreateArgs),
    /// Let agents do what their folders want and may not by themselves; shows it first
    Trust(AgentTrustArgs),
    /// Take back what an agent was trusted with, and what was allowed to it for good
    Untrust(AgentUntrustArgs),
}

/// `duragent agent create`.
#[derive(Debug, Args)]
pub struct AgentCreateArgs {
    /// Its name
    #[arg(value_name = "NAME", value_parser = agent_name)]
    pub name: AgentName,
    /// Its model.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// `duragent agent trust`.
#[derive(Debug, Args)]
pub struct AgentTrustArgs {
    /// The agents
    #[arg(
        value_name = "NAME",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub names: Vec<String>,
    /// All agents of the workspace
    #[arg(long)]
    pub all: bool,
    /// Agree to what is listed, without being asked
    #[arg(short, long)]
    pub yes: bool,
}

/// `duragent agent untrust`.
#[derive(Debug, Args)]
pub struct AgentUntrustArgs {
    /// The agent
    #[arg(value_name = "NAME", value_parser = agent_name)]
    pub name: AgentName,
}

/// `duragent agent show`.
#[derive(Debug, Args)]
pub struct AgentShowArgs {
    /// The agent
    #[arg(value_name = "NAME")]
    pub agent: String,
    /// Show what its model is sent: the system prompt and the tools, with tokens
    #[arg(long)]
    pub prompt: bool,
    /// In which form.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `duragent agent list`.
#[derive(Debug, Args)]
pub struct AgentListArgs {
    /// In which form.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `duragent gateway`.
#[derive(Debug, Subcommand)]
pub enum GatewaysCommand {
    /// List the gateways of the server, and how they are
    List(GatewayArgs),
    /// End a gateway's program, and start it anew
    Restart(NamedGatewayArgs),
    /// Show what a gateway's program said lately
    Logs(NamedGatewayArgs),
    /// List the people who want to talk to an agent, and were told a code
    Pairings(GatewayArgs),
    /// Let somebody talk to an agent, by the code that they were told
    Approve(GatewayApproveArgs),
    /// List what chats have not got yet, and what they never will
    Outbox(GatewayOutboxArgs),
}

/// Which server's gateways, and in which form.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// In which form.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// One gateway.
#[derive(Debug, Args)]
pub struct NamedGatewayArgs {
    /// The gateway
    #[arg(value_name = "NAME", value_parser = gateway_name)]
    pub name: GatewayName,
    /// Which server, and in which form.
    #[command(flatten)]
    pub args: GatewayArgs,
}

/// `duragent gateway approve`.
#[derive(Debug, Args)]
pub struct GatewayApproveArgs {
    /// The code
    #[arg(value_name = "CODE")]
    pub code: String,
    /// They decide what the agent may do as well: for yourself
    #[arg(long)]
    pub approver: bool,
    /// Which server, and in which form.
    #[command(flatten)]
    pub args: GatewayArgs,
}

/// `duragent gateway outbox`.
#[derive(Debug, Args)]
pub struct GatewayOutboxArgs {
    /// Forget what chats never get
    #[arg(long)]
    pub clear: bool,
    /// Which server, and in which form.
    #[command(flatten)]
    pub args: GatewayArgs,
}

/// `duragent policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say what would become of a call, and which line decides; nothing runs
    Test(PolicyTestArgs),
}

/// `duragent policy test`.
#[derive(Debug, Args)]
pub struct PolicyTestArgs {
    /// The agent that would call
    #[arg(short, long, value_name = "NAME", value_parser = agent_name)]
    pub agent: AgentName,
    /// What running the call twice would mean, where the tool says it: a builtin that only reads
    /// runs unasked without a policy
    #[arg(long, default_value = "write", value_parser = PossibleValuesParser::new(["read", "idempotent", "write"]))]
    pub effect: String,
    /// In which form.
    #[command(flatten)]
    pub output: OutputArgs,
    /// The call: `bash:` and a command, or `builtin:`, `cli:` or `mcp:`, a tool's name and perhaps its arguments
    #[arg(value_name = "TYPE:CALL")]
    pub call: String,
}

/// `duragent init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The folder to set up; it is made if it is missing [default: the current one]
    pub path: Option<PathBuf>,
    /// The name of the agent [default: my-assistant, unless there are agents already]
    #[arg(long, value_name = "NAME", value_parser = agent_name)]
    pub agent_name: Option<AgentName>,
    /// Its model.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// Which model an agent that is made has.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// Who runs the model [default: whose key is set, else a local Ollama, else the built-in echo]
    #[arg(long, value_parser = provider())]
    pub provider: Option<Provider>,
    /// The model [default: one that the provider has]
    #[arg(long)]
    pub model: Option<String>,
    /// Ask nothing
    #[arg(long)]
    pub no_interactive: bool,
}

/// The words for providers.
fn provider() -> impl TypedValueParser<Value = Provider> {
    PossibleValuesParser::new(KNOWN.iter().map(|known| known.name))
        .try_map(|word| Provider::parse(&word).ok_or("unknown"))
}

fn agent_name(text: &str) -> Result<AgentName, &'static str> {
    AgentName::parse(text).map_err(|_| "an agent's name has up to 64 letters, digits, - and _")
}

fn gateway_name(text: &str) -> Result<GatewayName, &'static str> {
    GatewayName::parse(text).map_err(|_| "a gateway's name has up to 64 letters, digits, - and _")
}

/// `duragent validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// A file, or an agent's folder
    pub path: PathBuf,
    /// Fail for warnings too
    #[arg(long)]
    pub strict: bool,
}

/// `duragent models`.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// The provider [default: each that an agent or the configuration names, or whose key is set]
    pub provider: Option<String>,
    /// In which form.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `duragent doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// In which form.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `duragent completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// `duragent torture`.
#[derive(Debug, Args)]
pub struct TortureArgs {
    /// How long
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub seconds: u64,
    /// The folder on whose disk it happens [default: the system's folder for temporary files]
    #[arg(long, value_name = "PATH")]
    pub dir: Option<PathBuf>,
    /// In which form.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Decides what happens when [default: a random number, which the summary names]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// `duragent serve-faulty`.
#[derive(Debug, Args)]
pub struct ServeFaultyArgs {
    /// Decides which operations fail, and how
    #[arg(long)]
    pub seed: u64,
    /// One in so many operations fails
    #[arg(long)]
    pub one_in: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Invocation::command().debug_assert();
    }

    #[test]
    fn flags_of_serve_stand_beside_its_actions() {
        for (line, fits) in [
            (
                "duragent serve --host 0.0.0.0 -p 1 -c x --agents-dir y",
                true,
            ),
            ("duragent serve stop", true),
            ("duragent serve status --json", true),
            ("duragent -v serve stop -c x", true),
            ("duragent serve stop --workspace w", true),
            ("duragent --workspace w chat", true),
            ("duragent serve --port 1 stop", false),
            ("duragent serve --port 70000", false),
            ("duragent serve --host LocalHost", true),
            ("duragent serve --host [::1]", true),
            ("duragent serve --host example.org", false),
            ("duragent -v -q serve", false),
            ("duragent chat -a x --session y", false),
            ("duragent serve status -p 8080", true),
            ("duragent serve stop -p 8080 --host ::1", true),
            ("duragent serve stop --host ::1", false),
            ("duragent serve stop -p 1 -s http://x", false),
            ("duragent serve reload-agents -p 1 --format json", true),
            ("duragent serve --ephemeral 30", true),
            ("duragent serve --ephemeral 0", false),
            ("duragent session list -s http://x", true),
            ("duragent doctor --format json", true),
            ("duragent doctor --format text --json", true),
            ("duragent doctor --format yaml", false),
            ("duragent init there --agents-dir a", true),
            ("duragent chat --agents-dir a", true),
            ("duragent --agents-dir a serve", true),
            ("duragent attach --format json", false),
            ("duragent attach -l --format json", true),
            ("duragent login --with claude", true),
            ("duragent agent show x --prompt --json", true),
            ("duragent agent show", false),
            ("duragent init --agent-name ../x", false),
            ("duragent agent create ../x", false),
            ("duragent agent create x --provider echo", true),
            ("duragent gateway list --json -s :1", true),
            ("duragent gateway restart irc", true),
            ("duragent gateway restart", false),
            ("duragent gateway restart a.b", false),
            ("duragent gateway logs irc", true),
            ("duragent gateway pairings", true),
            ("duragent gateway approve ABCD2345 --approver", true),
            ("duragent gateway approve", false),
            ("duragent gateway outbox --clear", true),
            ("duragent agent trust", false),
            ("duragent agent trust x y -y", true),
            ("duragent agent trust --all", true),
            ("duragent agent trust x --all", false),
            ("duragent attach --json", false),
            ("duragent attach x --history 1000", true),
            ("duragent attach x --history 1001", false),
        ] {
            let parsed = Invocation::try_parse_from(line.split(' '));
            assert_eq!(parsed.is_ok(), fits, "{line}: {parsed:?}");
        }
    }

    #[test]
    fn what_stands_behind_s_is_a_session_or_a_server_by_its_look() {
        let told = |line: &str| {
            let Invocation { command, .. } = Invocation::try_parse_from(line.split(' ')).unwrap();
            let (place, session) = match command {
                Command::Chat(args) => (args.place, args.session),
                Command::Attach(args) => (args.place, args.session),
                other => panic!("{other:?}"),
            };
            let told = place.told_apart(session.as_deref());
            told.map(|(session, server)| (session, server.server)).ok()
        };
        let both = |session: Option<&str>, server: Option<&str>| {
            Some((session.map(str::to_owned), server.map(str::to_owned)))
        };
        for (line, expected) in [
            ("chat -s 7QW3FZ", both(Some("7QW3FZ"), None)),
            ("chat -s http://x:1", both(None, Some("http://x:1"))),
            (
                "chat -s localhost:80 -a x",
                both(None, Some("localhost:80")),
            ),
            ("chat -s LocalHost", both(None, Some("LocalHost"))),
            (
                "chat -s 7QW3FZ -s example.org",
                both(Some("7QW3FZ"), Some("example.org")),
            ),
            ("chat -s 7QW3FZ --server x", both(Some("7QW3FZ"), Some("x"))),
            (
                "chat --session 7QW3FZ -s http://x",
                both(Some("7QW3FZ"), Some("http://x")),
            ),
            (
                "attach 7QW3FZ -s http://x",
                both(Some("7QW3FZ"), Some("http://x")),
            ),
            ("attach -s 7QW3FZ", both(Some("7QW3FZ"), None)),
            ("attach 7QW3FZ -s 8QW3FZ", None),
            ("chat --server x -s http://y", None),
            ("chat -s http://x -s http://y", None),
        ] {
            assert_eq!(told(&format!("duragent {line}")), expected, "{line}");
        }
    }
}
