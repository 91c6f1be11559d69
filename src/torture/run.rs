//! Starts servers, ends them, and looks at what they left, until the time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam_channel::Receiver;
use fastrand::Rng;
use tempfile::TempDir;

use crate::base::fs::RealFs;
use crate::base::stop::{self, StopSource};
use crate::base::thread::{Joined, STACK_WORK, spawn};
use crate::domain::event::Event;
use crate::domain::event::Record;
use crate::domain::ids::{Seq, SessionId};
use crate::runtime::signals::StopRequests;
use crate::store::file::FileStore;
use crate::store::{ReadLimit, SessionStore, StoreError};
use crate::torture::TortureOptions;
use crate::torture::check::{Stage, check_session, stood_still};
use crate::torture::client;
use crate::torture::ledger::{ClientLedger, SessionFate, Violation};
use crate::torture::plan::{self, ACTORS, Disk, ServerEnd, ServerLife};
use crate::torture::power;
use crate::torture::report::{Times, TortureReport};
use crate::torture::server::{ServerFolder, ServerProcess};
use crate::torture::state::{ServerInstance, TortureState};

/// Plays of power cuts beside one run of the server: the processor is the server's.
const PLAYS_PER_LIFE: u64 = 3;
/// How long clients may take to finish, once nothing is killed any more.
const FINISH_LIMIT: Duration = Duration::from_secs(180);

/// Runs the torture; `progress` is told how it goes, a few times a second.
///
/// Errors: the folder can't be used, or the server can't be started. A broken promise is no error:
/// it is in the report, which then also says where everything is kept.
pub fn torture(
    options: &TortureOptions,
    progress: &mut dyn FnMut(&TortureReport),
) -> anyhow::Result<TortureReport> {
    let (asked, asked_rx) = StopRequests::new();
    asked.ask_on_signals()?;
    let folder = tempfile::Builder::new()
        .prefix("duragent-torture-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&options.folder)
        .with_context(|| format!("cannot use {}", options.folder.display()))?;
    let workspace = ServerFolder(folder.path().to_owned());
    workspace.prepare().context("cannot set up a workspace")?;
    let mut run = TortureRun::new(options, workspace);
    let outcome = run.live_and_finish(options, &asked_rx, progress);
    if let Err(error) = outcome {
        // A server that does not start is the gravest violation of all.
        run.state
            .violation(Violation::of_server(format!("{error:#}")));
    }
    run.give_report(folder)
}

struct TortureRun {
    state: Arc<TortureState>,
    workspace: ServerFolder,
    rng: Rng,
    began: Instant,
    life: u64,
    report: TortureReport,
    ready: Vec<Duration>,
    /// Events of each session at the last look.
    lengths: BTreeMap<SessionId, usize>,
    /// Sessions that were looked at after their last change: the last look is at them again.
    settled: BTreeSet<SessionId>,
    /// Bytes of the servers' log that were read.
    log_bytes: usize,
    // Above the actors, whose end they bring.
    closing: StopSource,
    abort: StopSource,
    actors: Vec<Joined>,
}

impl TortureRun {
    fn new(options: &TortureOptions, workspace: ServerFolder) -> TortureRun {
        let (closing, closing_stop) = stop::pair();
        let (abort, abort_stop) = stop::pair();
        TortureRun {
            state: Arc::new(TortureState::new(closing_stop, abort_stop)),
            workspace,
            rng: Rng::with_seed(options.seed),
            began: Instant::now(),
            life: 0,
            report: TortureReport {
                seed: options.seed,
                ..TortureReport::default()
            },
            ready: Vec::new(),
            lengths: BTreeMap::new(),
            settled: BTreeSet::new(),
            log_bytes: 0,
            closing,
            abort,
            actors: Vec::new(),
        }
    }

    fn live_and_finish(
        &mut self,
        options: &TortureOptions,
        asked_rx: &Receiver<()>,
        progress: &mut dyn FnMut(&TortureReport),
    ) -> anyhow::Result<()> {
        self.start_actors()?;
        let end = self.began + options.time;
        let mut is_asked = false;
        while !is_asked && Instant::now() < end {
            let life = plan::life(&mut self.rng);
            is_asked = self.live(options, life, asked_rx)?;
            self.bring_up_report();
            progress(&self.report);
        }
        self.finish(options)
    }

    fn start_actors(&mut self) -> anyhow::Result<()> {
        for number in 0..ACTORS {
            let (state, rng) = (Arc::clone(&self.state), self.rng.fork());
            let body = move || client::play(&state, rng);
            let actor = spawn(format!("actor-{number}"), STACK_WORK, body);
            self.actors.push(actor.context("cannot start a client")?);
        }
        Ok(())
    }

    /// One run of the server; whether somebody asked for the end meanwhile.
    fn live(
        &mut self,
        options: &TortureOptions,
        life: ServerLife,
        asked_rx: &Receiver<()>,
    ) -> anyhow::Result<bool> {
        let mut server = self.start_server(&options.program, life.disk)?;
        let end = Instant::now() + life.length;
        self.cut_power(end);
        let is_asked = asked_rx.recv_deadline(end).is_ok();
        self.look_at_process(&mut server)?;
        self.state.withdraw();
        match life.end {
            ServerEnd::Killed => {
                server.kill().context("cannot kill the server")?;
                self.report.kills += 1;
            }
            ServerEnd::Stopped => self.stop_server(server)?,
        }
        self.look_at_log()?;
        self.look_at_files(Stage::Interrupted)?;
        Ok(is_asked)
    }

    /// Lets clients finish on a server that lives, and looks at everything.
    fn finish(&mut self, options: &TortureOptions) -> anyhow::Result<()> {
        self.closing.stop();
        let mut server = self.start_server(&options.program, Disk::Sound)?;
        let deadline = Instant::now() + FINISH_LIMIT;
        while !self.actors.iter().all(Joined::is_finished) {
            if Instant::now() > deadline {
                let what = "clients did not get through after the last start";
                self.state.violation(Violation::of_server(what));
                self.abort.stop();
            }
            // Nothing tells when a thread has ended.
            std::thread::sleep(Duration::from_millis(10));
        }
        self.look_at_process(&mut server)?;
        self.stop_server(server)?;
        self.look_at_log()?;
        self.look_at_files(Stage::Finished)
    }

    fn start_server(&mut self, program: &Path, disk: Disk) -> anyhow::Result<ServerProcess> {
        let server = ServerProcess::start(program, &self.workspace, disk)?;
        self.ready.push(server.exec_at().elapsed());
        self.life += 1;
        self.state.set_place(ServerInstance {
            life: self.life,
            exec_at: server.exec_at(),
            address: Some(server.address()),
        });
        Ok(server)
    }

    fn stop_server(&mut self, server: ServerProcess) -> anyhow::Result<()> {
        self.report.stops += 1;
        let what = match server.stop().context("cannot stop the server")? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => format!("the server ended with {status} when it was asked to stop"),
            None => "the server did not end when it was asked to".to_owned(),
        };
        self.state.violation(Violation::of_server(what));
        Ok(())
    }

    /// Whether the server lives, and how much it takes.
    fn look_at_process(&mut self, server: &mut ServerProcess) -> anyhow::Result<()> {
        /// What a server needs for itself, and what for each client: the connection at both ends
        /// of the gate, files of its session, a worker.
        const OWN: usize = 48;
        const PER_CLIENT: usize = 12;
        if let Some(status) = server.ended().context("cannot look at the server")? {
            let what = format!("the server ended by itself, with {status}");
            self.state.violation(Violation::of_server(what));
        }
        let files = server.open_files().unwrap_or_default();
        let threads = server.threads().unwrap_or_default();
        let report = &mut self.report;
        report.open_files_max = report.open_files_max.max(files);
        report.threads_max = report.threads_max.max(threads);
        let limit = OWN + PER_CLIENT * 3 * ACTORS;
        if files > limit || threads > limit {
            let what = format!("the server has {files} open files and {threads} threads");
            self.state.violation(Violation::of_server(what));
        }
        Ok(())
    }

    /// Looks for panics in what the server has printed.
    fn look_at_log(&mut self) -> anyhow::Result<()> {
        let text = fs::read(self.workspace.log()).context("cannot read the server's log")?;
        let new = String::from_utf8_lossy(text.get(self.log_bytes..).unwrap_or_default());
        for line in new.lines().filter(|line| line.contains("panicked")) {
            let violation = Violation::of_server(format!("the server's log says: {line}"));
            self.state.violation(violation);
        }
        let faults = new.lines().filter(|line| line.contains("fault injected"));
        self.report.faults += faults.count() as u64;
        self.log_bytes = text.len();
        Ok(())
    }

    /// Holds what clients know against the files, while no server runs.
    fn look_at_files(&mut self, stage: Stage) -> anyhow::Result<()> {
        // No server runs, so nothing newer than this can be acknowledged.
        let ledger = self.state.ledger().clone();
        let store: &dyn SessionStore = &FileStore::new(Arc::new(RealFs), self.workspace.state());
        let listed = list(store).context("cannot list the sessions")?;
        let mut found = check_list(&ledger, &listed, store, stage);
        for (id, known) in &ledger.sessions {
            let is_settled = stage == Stage::Interrupted && self.settled.contains(id);
            if known.fate != SessionFate::Kept || is_settled || !listed.contains(id) {
                continue;
            }
            let records = match read_log(store, id) {
                Ok(records) => records,
                Err(error) => {
                    found.push(Violation::of(id, format!("the log is unreadable: {error}")));
                    continue;
                }
            };
            let broken = check_session(known, &records, stage);
            found.extend(broken.into_iter().map(|what| Violation::of(id, what)));
            let before = self.lengths.insert(id.clone(), records.len());
            let was_alone = known.absent_since.is_some_and(|since| since < self.life);
            if was_alone && !stood_still(before.unwrap_or(0), &records) {
                let what = "it went on without a client, although it pauses";
                found.push(Violation::of(id, what));
            }
            if known.is_over {
                self.settled.insert(id.clone());
            }
        }
        self.state.ledger().violations.extend(found);
        Ok(())
    }

    /// Plays some power cuts while the server serves, until `end` at most.
    fn cut_power(&mut self, end: Instant) {
        for _ in 0..PLAYS_PER_LIFE {
            if Instant::now() > end {
                return;
            }
            let seed = self.rng.u64(..);
            match power::play(seed) {
                Ok(cuts) => self.report.power_cuts += cuts,
                Err(what) => {
                    let what = format!("power cut, seed {seed}: {what}");
                    self.state.violation(Violation::of_server(what));
                }
            }
        }
    }

    fn bring_up_report(&mut self) {
        let counts = self.state.counts().clone();
        let ledger = self.state.ledger();
        self.report = TortureReport {
            seconds: self.began.elapsed().as_secs_f64(),
            sessions: ledger.sessions.len(),
            messages: counts.messages,
            tokens: counts.tokens,
            reconnects: counts.reconnects,
            ready: Times::of(&self.ready),
            resumed: Times::of(&counts.resumed),
            violations: ledger.violations.iter().cloned().collect(),
            ..std::mem::take(&mut self.report)
        };
    }

    /// Keeps the folder with all that is known when there is something to look for in it.
    fn give_report(mut self, folder: TempDir) -> anyhow::Result<TortureReport> {
        self.closing.stop();
        self.abort.stop();
        self.actors.clear();
        self.bring_up_report();
        if self.report.violations.is_empty() {
            folder.close().context("cannot remove the workspace")?;
            return Ok(self.report);
        }
        self.report.evidence = Some(folder.keep());
        let ledger = serde_json::to_vec_pretty(&*self.state.ledger())?;
        fs::write(self.workspace.0.join("ledger.json"), ledger)
            .context("cannot keep the ledger")?;
        let report = serde_json::to_vec_pretty(&self.report)?;
        fs::write(self.workspace.0.join("report.json"), report)
            .context("cannot keep the report")?;
        Ok(self.report)
    }
}

fn list(store: &dyn SessionStore) -> Result<Vec<SessionId>, StoreError> {
    store.list(None, usize::MAX)
}

fn read_log(store: &dyn SessionStore, id: &SessionId) -> Result<Vec<Record>, StoreError> {
    const ALL: ReadLimit = ReadLimit {
        records: usize::MAX,
        bytes: usize::MAX,
    };
    store.records(id, Seq(1), ALL)
}

/// The list is what was created, less what was deleted.
fn check_list(
    ledger: &ClientLedger,
    listed: &[SessionId],
    store: &dyn SessionStore,
    stage: Stage,
) -> Vec<Violation> {
    let mut found = Vec::new();
    for (id, known) in &ledger.sessions {
        match (known.fate, listed.contains(id)) {
            (SessionFate::Kept, false) => found.push(Violation::of(id, "the session is lost")),
            (SessionFate::Deleted, true) => {
                found.push(Violation::of(id, "its deletion was undone"))
            }
            (SessionFate::Kept | SessionFate::Deleting, _) | (SessionFate::Deleted, false) => {}
        }
    }
    let unknown = listed
        .iter()
        .filter(|id| !ledger.sessions.contains_key(*id));
    for id in unknown.filter(|_| stage == Stage::Finished) {
        // A creation that was lost before it was acknowledged may leave an empty session.
        let is_empty = read_log(store, id).is_ok_and(|records| {
            records
                .iter()
                .all(|record| matches!(record.event, Event::SessionStart(_)))
        });
        if !is_empty {
            found.push(Violation::of(id, "nobody created this session"));
        }
    }
    found
}
