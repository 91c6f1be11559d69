//! `duragent session check`: looks for damage in the files of sessions, and mends it.

use serde::Serialize;

use crate::base::plural::{agreeing, counted};
use crate::cli::args::SessionCheckArgs;
use crate::cli::error::{CliError, CliResult};
use crate::cli::output;
use crate::cli::session_names::pick;
use crate::cli::settings::ClientSettings;
use crate::cli::source::{MEND_OLDER, own};
use crate::domain::ids::SessionId;
use crate::terminal::clean::one_line;
use crate::workspace::holder;
use crate::workspace::sessions::{LogReport, Mended, OwnedSessions, SessionFiles, SnapshotFit};

const WHY_WIDTH: usize = 200;

/// Checks one session or all, and mends them when asked to.
///
/// Errors: something is wrong, and was not mended; with `--repair`, a server has the workspace.
pub(super) fn run(args: &SessionCheckArgs, settings: &ClientSettings) -> CliResult {
    settings.check_found()?;
    let files = settings.files();
    let owner = args.repair.then(|| own(&files)).transpose()?;
    let ids = match &args.session {
        Some(text) => vec![named(&files, text)?],
        None => files.ids()?,
    };
    // A log that a server writes to may end in half a line, for an instant.
    let is_written = owner.is_none() && holder::current(&settings.workspace).is_some();
    let mut checked = Vec::new();
    let mut bad = 0;
    let mut is_mendable = false;
    for id in ids {
        let one = check(&files, owner.as_ref(), id, is_written);
        bad += usize::from(!one.ok);
        is_mendable |= !one.ok && !one.is_older();
        if args.output.is_json() {
            checked.push(one);
        } else {
            output::print(&one.lines())?;
        }
    }
    if args.output.is_json() {
        output::print_json(&checked)?;
    }
    match (bad, args.repair) {
        (0, _) => Ok(()),
        (bad, true) => Err(CliError::new(format!("{} not mended", sessions(bad)))),
        (bad, false) => Err(CliError::new(format!("{} damaged", sessions(bad))).hint(
            if is_mendable {
                "duragent session check --all --repair mends what can be mended"
            } else {
                MEND_OLDER
            },
        )),
    }
}

fn sessions(count: usize) -> String {
    let is = agreeing(count, "is", "are");
    format!("{} {is}", counted(count, "session"))
}

fn named(files: &SessionFiles, text: &str) -> Result<SessionId, CliError> {
    if let Ok(id) = SessionId::parse(text) {
        return Ok(id);
    }
    pick(files.ids()?.into_iter(), text)
        .map_err(|failure| failure.hint("duragent session list shows what there is"))
}

/// What `--json` prints of each session.
#[derive(Debug, Serialize)]
struct CheckedSession {
    session_id: SessionId,
    /// Whether it is in order, perhaps only by now.
    ok: bool,
    #[serde(flatten)]
    report: Option<ReportBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<MendedBody>,
    /// Why it cannot be looked at, or not be mended.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct ReportBody {
    log: String,
    /// Whether Duragent 0.5 wrote it, and nobody has used it since.
    #[serde(rename = "older", skip_serializing_if = "std::ops::Not::not")]
    is_older: bool,
    records: u64,
    unchecked: u64,
    torn_bytes: u64,
    damaged_places: u64,
    damage: Vec<DamageBody>,
    missing: u64,
    snapshot: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<InFlightBody>,
    kept_torn_bytes: u64,
    #[serde(skip_serializing_if = "is_none")]
    lost_files: u64,
}

#[derive(Debug, Serialize)]
struct DamageBody {
    line: u64,
    why: String,
}

#[derive(Debug, Serialize)]
struct InFlightBody {
    message_id: String,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct MendedBody {
    copy: String,
    lost: u64,
    torn_bytes: u64,
}

fn check(
    files: &SessionFiles,
    owner: Option<&OwnedSessions>,
    id: SessionId,
    is_written: bool,
) -> CheckedSession {
    let mut checked = CheckedSession {
        session_id: id,
        ok: false,
        report: None,
        repaired: None,
        error: None,
    };
    match files.check(&checked.session_id) {
        Ok(report) => {
            let is_torn = report.torn_bytes > 0 && !report.is_older;
            checked.ok = report.is_whole() && report.lost_files == 0 && (!is_torn || is_written);
            checked.report = Some(ReportBody::from(report));
        }
        Err(error) => checked.error = Some(format!("{:#}", anyhow::Error::from(error))),
    }
    // What is left of one of 0.5 is mended by taking it over, or by hand.
    if let (Some(owner), Some(_), false) = (owner, &checked.report, checked.is_older()) {
        checked.repair(owner);
    }
    checked
}

impl CheckedSession {
    fn is_older(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.is_older)
    }

    fn repair(&mut self, owner: &OwnedSessions) {
        match owner.repair(&self.session_id) {
            Ok(mended) => {
                // Files do not come back.
                self.ok = self
                    .report
                    .as_ref()
                    .is_none_or(|report| report.lost_files == 0);
                self.repaired = mended.map(MendedBody::from);
            }
            Err(error) => {
                self.ok = false;
                self.error = Some(format!("{:#}", anyhow::Error::from(error)));
            }
        }
    }

    fn lines(&self) -> String {
        let id = &self.session_id;
        let word = match (self.ok, &self.repaired, &self.report) {
            (_, Some(_), _) => "repaired",
            (true, None, _) => "ok",
            (false, None, Some(report)) if report.damaged_places > 0 => "damaged",
            (false, None, Some(report)) if report.lost_files > 0 => "incomplete",
            (false, None, Some(_)) => "torn",
            (false, None, None) => "unreadable",
        };
        let mut text = match &self.report {
            Some(report) => format!("{id}  {word}  records: {}\n", report.records),
            None => format!("{id}  {word}\n"),
        };
        if let Some(report) = &self.report {
            text.push_str(&report.lines());
        }
        if let Some(mended) = &self.repaired {
            text.push_str(&mended.lines());
        }
        if let Some(error) = &self.error {
            text.push_str(&detail(error));
        }
        text
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over by reference"
)]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// A line below that of a session.
fn detail(text: &str) -> String {
    format!("  {}\n", one_line(text, WHY_WIDTH))
}

impl From<LogReport> for ReportBody {
    fn from(report: LogReport) -> ReportBody {
        let (snapshot, snapshot_why) = match report.snapshot {
            SnapshotFit::Fits => ("fits", None),
            SnapshotFit::Missing => ("missing", None),
            SnapshotFit::Unfit(why) => ("unfit", Some(why)),
        };
        let damage = report.damage.into_iter().map(|damage| DamageBody {
            line: damage.line,
            why: damage.why,
        });
        ReportBody {
            log: report.log,
            is_older: report.is_older,
            records: report.records,
            unchecked: report.unchecked,
            torn_bytes: report.torn_bytes,
            damaged_places: report.damaged_places,
            damage: damage.collect(),
            missing: report.missing,
            snapshot,
            snapshot_why,
            in_flight: report.in_flight.map(|left| InFlightBody {
                message_id: left.message_id.to_string(),
                bytes: left.bytes,
            }),
            kept_torn_bytes: report.kept_torn_bytes,
            lost_files: report.lost_files,
        }
    }
}

impl ReportBody {
    /// What is worth a line.
    fn lines(&self) -> String {
        let mut text = String::new();
        if self.is_older {
            text.push_str(&detail(
                "written by Duragent 0.5; its first use takes it over",
            ));
        }
        for damage in &self.damage {
            text.push_str(&detail(&format!(
                "{}:{}: {}",
                self.log, damage.line, damage.why
            )));
        }
        let unnamed = self.damaged_places - self.damage.len() as u64;
        let numbers = [
            ("more damaged places", unnamed),
            ("lost events", self.missing),
            ("bytes of an interrupted append at the end", self.torn_bytes),
            ("records without a checksum", self.unchecked),
            (
                "bytes cut off earlier, in events.jsonl.torn",
                self.kept_torn_bytes,
            ),
            ("files that are missing or damaged", self.lost_files),
        ];
        for (what, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
            text.push_str(&detail(&format!("{what}: {number}")));
        }
        if let Some(why) = self.snapshot_why.as_ref().filter(|_| !self.is_older) {
            text.push_str(&detail(&format!("state.yaml is of no use: {why}")));
        }
        if let Some(left) = &self.in_flight {
            let InFlightBody { message_id, bytes } = left;
            text.push_str(&detail(&format!(
                "in flight: {bytes} bytes of the reply {message_id}"
            )));
        }
        text
    }
}

impl From<Mended> for MendedBody {
    fn from(mended: Mended) -> MendedBody {
        MendedBody {
            copy: mended.copy,
            lost: mended.lost,
            torn_bytes: mended.torn_bytes,
        }
    }
}

impl MendedBody {
    fn lines(&self) -> String {
        detail(&format!(
            "events lost and marked: {}; bytes cut: {}; the log as it was: {}",
            self.lost, self.torn_bytes, self.copy
        ))
    }
}
