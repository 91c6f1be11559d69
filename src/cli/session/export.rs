//! `duragent session export`: a session as Markdown, or its events as JSON Lines.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::cli::args::{ExportFormat, SessionExportArgs};
use crate::cli::error::CliResult;
use crate::cli::session::story::word;
use crate::cli::settings::ClientSettings;
use crate::cli::source::SessionSource;
use crate::domain::event::{AssistantResponse, Attachment, Event, Record};
use crate::domain::ids::{Seq, SessionId};
use crate::terminal::clean::{clean, one_line};
use crate::wire::SessionBody;

const NAME_WIDTH: usize = 200;

/// Writes a session to standard output, or to the file that is named.
pub(super) fn run(args: &SessionExportArgs, settings: &ClientSettings) -> CliResult {
    let place = SessionSource::find(&args.name.server, settings)?;
    let id = place.named(&args.name.session)?;
    match &args.output {
        None => write(&place, &id, args.format(), &mut io::stdout().lock()),
        Some(path) => write_file(&place, &id, args.format(), path),
    }
}

/// The file is there only once all of it is: an export that fails leaves what was there before.
fn write_file(
    place: &SessionSource,
    id: &SessionId,
    format: ExportFormat,
    path: &Path,
) -> CliResult {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let cannot = || format!("cannot write {}", path.display());
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&part).with_context(cannot)?;
    let written = write(place, id, format, &mut BufWriter::new(file));
    let renamed = written.and_then(|()| Ok(fs::rename(&part, path).with_context(cannot)?));
    if renamed.is_err() {
        // What it holds is of no use; that it stays would be a second failure of the same kind.
        fs::remove_file(&part).ok();
    }
    renamed
}

fn write(
    place: &SessionSource,
    id: &SessionId,
    format: ExportFormat,
    out: &mut dyn Write,
) -> CliResult {
    if format == ExportFormat::Md {
        out.write_all(heading(&place.session(id)?).as_bytes())?;
    }
    place.each_record(id, Seq::ZERO, |record| {
        let text = match format {
            ExportFormat::Md => markdown(record),
            ExportFormat::Jsonl => serde_json::to_string(record)? + "\n",
        };
        Ok(out.write_all(text.as_bytes())?)
    })?;
    Ok(out.flush()?)
}

fn heading(session: &SessionBody) -> String {
    let id = session.session_id.as_str();
    let title = session.title.as_deref().unwrap_or(id);
    format!(
        "# {}\n\n- session: `{id}`\n- agent: {}\n- started: {}\n- status: {}\n",
        name(title),
        name(&session.agent),
        session.created_at,
        session.status
    )
}

/// An event as a part of a document; what only the program needs is left out.
fn markdown(record: &Record) -> String {
    match &record.event {
        Event::UserMessage(message) => {
            let sender = message.sender_name.as_deref().unwrap_or("You");
            let text = match &*message.content {
                "" => String::new(),
                content => format!("\n{}\n", clean(content)),
            };
            format!(
                "\n## {}\n{text}{}",
                name(sender),
                files(&message.attachments)
            )
        }
        Event::AssistantResponse(reply) => markdown_reply(reply),
        Event::ToolResult { result, .. } => {
            let outcome = if result.success { "Result" } else { "Failed" };
            format!("\n{outcome}:\n\n{}", fenced(&result.content))
        }
        Event::ToolsSkipped { reason, .. } => note(&format!("tools skipped: {reason}")),
        Event::ApprovalRequired { command, .. } => {
            format!("\nAsked for approval:\n\n{}", fenced(command))
        }
        Event::ApprovalDecision { decision, .. } => note(&format!("decided: {}", word(decision))),
        Event::Grant(grant) => note(&format!("allowed for the session: {}", grant.rule)),
        Event::GrantRevoked { .. } => note("what was allowed for the session was taken back"),
        Event::TurnEnded {
            error: Some(error), ..
        } => note(&format!("error: {}", error.message)),
        Event::Error { message, .. } => note(&format!("error: {message}")),
        // The document has all that was said.
        Event::ContextSummary(_) | Event::CompactRequested { .. } => String::new(),
        Event::SessionAdopted {} => note("what stands above was written elsewhere"),
        Event::SessionEnd { reason, .. } => note(&format!("the session ended: {}", word(reason))),
        Event::SessionStart(_)
        | Event::MessageDropped { .. }
        | Event::TurnStarted { .. }
        | Event::ToolStarted { .. }
        | Event::ToolParked { .. }
        | Event::SilentMessage { .. }
        | Event::StatusChange { .. }
        | Event::SessionChanged { .. }
        | Event::TurnEnded { error: None, .. }
        | Event::Unknown => String::new(),
    }
}

fn markdown_reply(reply: &AssistantResponse) -> String {
    let mut text = String::new();
    if !reply.content.is_empty() {
        // The second part of a reply that was cut off belongs to the first.
        if reply.continues.is_none() {
            text = format!("\n## {}\n", name(&reply.agent));
        }
        text.push_str(&format!("\n{}\n", clean(&reply.content)));
    }
    text.push_str(&files(&reply.attachments));
    for call in &reply.tool_calls {
        let arguments = fenced(&call.arguments);
        text.push_str(&format!(
            "\nCalls {}:\n\n{arguments}",
            name(&call.tool_name)
        ));
    }
    text
}

fn files(attachments: &[Attachment]) -> String {
    let lines = attachments.iter();
    let lines: String = lines
        .map(|file| format!("\n- file {}", name(&file.described())))
        .collect();
    if lines.is_empty() {
        lines
    } else {
        lines + "\n"
    }
}

/// A block that shows a text as it is, whatever fences are in it.
fn fenced(text: &str) -> String {
    let runs = text.split(|c| c != '`').map(str::len);
    let fence = "`".repeat(runs.max().unwrap_or(0).max(2) + 1);
    format!("{fence}\n{}\n{fence}\n", clean(text).trim_end())
}

fn note(text: &str) -> String {
    format!("\n*{}*\n", name(text))
}

fn name(text: &str) -> String {
    one_line(text, NAME_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_longer_than_those_within() {
        assert_eq!(fenced("x"), "```\nx\n```\n");
        assert_eq!(fenced("a ```` b"), "`````\na ```` b\n`````\n");
    }
}
