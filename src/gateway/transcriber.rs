//! Spoken messages as text, by a command that the owner names (`gateways.transcribe`).
//!
//! The command gets the voice as a file, whose path is its last argument, or stands wherever one of its
//! arguments is `{file}`, and prints the text. It runs on the thread of whoever asks, in a session of its own that is killed with
//! it, with nothing of this program's environment but what such programs need.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crossbeam_channel::Receiver;
use tempfile::TempDir;

use crate::base::child::{self, End, NoMonitor, Prepared};
use crate::base::os::ChildRules;
use crate::base::text;
use crate::domain::files::{FileKey, MediaType};

/// A long message on a small machine. A chat waits as long, so no longer.
const TIME_MAX: Duration = Duration::from_secs(120);
/// The most of a text that is taken: half an hour of speech has less.
const TEXT_BYTES_MAX: usize = 30_000;
/// Of this program's variables it gets those, and `LC_*`.
const TOLD: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"];
/// Stands for the path of the voice.
const PLACE: &str = "{file}";

/// Turns spoken messages into text.
#[derive(Debug, Clone)]
pub struct Transcriber {
    program: PathBuf,
    args: Vec<String>,
    limit: Duration,
}

/// Why there is no text. The cause is logged; what a chat is told is a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TranscribeError {
    /// The command could not be run, or did not do its work.
    #[error("the voice message could not be transcribed")]
    Failed,
    /// It did not end in time.
    #[error("the voice message took too long to transcribe")]
    TooLong,
    /// It printed nothing.
    #[error("there are no words in the voice message")]
    Silent,
}

impl Transcriber {
    /// By `program`, an absolute path or a bare name, with these arguments before the file's path.
    pub fn new(program: PathBuf, args: Vec<String>) -> Transcriber {
        Transcriber {
            program,
            args,
            limit: TIME_MAX,
        }
    }

    /// The text of a voice; `cancel` closes when it is to end before.
    pub fn transcribe(
        &self,
        voice: &[u8],
        media_type: MediaType,
        cancel: &Receiver<Infallible>,
    ) -> Result<String, TranscribeError> {
        let failed = |error: io::Error| {
            let program = self.program.display();
            log::warn!("gateways.transcribe: {program} cannot be run: {error}");
            TranscribeError::Failed
        };
        let file = VoiceFile::write(voice, media_type).map_err(failed)?;
        let prepared = Prepared {
            command: self.command(&file),
            rules: ChildRules::default(),
            monitor: Box::new(NoMonitor),
        };
        let ended = child::run(prepared, Stdio::null(), self.limit, cancel, "transcribe");
        let ended = ended.map_err(failed)?;
        match ended.end {
            End::Exited(status) if status.success() => text_of(&ended.output),
            End::TimedOut(_) => Err(TranscribeError::TooLong),
            end @ (End::Exited(_) | End::Cancelled | End::Stopped(_)) => {
                log::warn!(
                    "gateways.transcribe: {} ended: {end}",
                    self.program.display()
                );
                Err(TranscribeError::Failed)
            }
        }
    }

    fn command(&self, file: &VoiceFile) -> Command {
        // What it complains of is for whoever reads the log of this program, and no part of the text.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "exec \"$0\" \"$@\" 2>/dev/null"])
            .arg(&self.program);
        let has_place = self.args.iter().any(|argument| argument == PLACE);
        for argument in &self.args {
            if argument == PLACE {
                command.arg(&file.path);
            } else {
                command.arg(argument);
            }
        }
        if !has_place {
            command.arg(&file.path);
        }
        command.current_dir(file.folder.path()).env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| is_told(name)));
        command
    }
}

fn is_told(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    TOLD.contains(&&*name) || name.starts_with("LC_")
}

fn text_of(output: &str) -> Result<String, TranscribeError> {
    let text = text::start(output.trim(), TEXT_BYTES_MAX).trim_end();
    if text.is_empty() {
        return Err(TranscribeError::Silent);
    }
    Ok(text.to_owned())
}

/// A voice in a folder of its own that nobody else may enter, until this is dropped.
struct VoiceFile {
    folder: TempDir,
    path: PathBuf,
}

impl VoiceFile {
    fn write(voice: &[u8], media_type: MediaType) -> io::Result<VoiceFile> {
        let folder = tempfile::Builder::new()
            .prefix("voice-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()?;
        let ending = FileKey::new(&"0".repeat(64), media_type);
        let ending = ending.as_str().rsplit('.').next().unwrap_or("bin");
        let file = VoiceFile {
            path: folder.path().join(format!("voice.{ending}")),
            folder,
        };
        let mut options = fs::OpenOptions::new();
        let mut opened = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file.path)?;
        opened.write_all(voice)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Sender, bounded};

    use super::*;

    fn script(text: &str) -> Transcriber {
        Transcriber::new("sh".into(), ["-c", text, "x"].map(str::to_owned).to_vec())
    }

    /// Whoever holds the first lets it run.
    fn stop() -> (Sender<Infallible>, Receiver<Infallible>) {
        bounded(0)
    }

    fn run(transcriber: &Transcriber) -> Result<String, TranscribeError> {
        let (_go_on, cancel) = stop();
        let ogg = MediaType::parse("audio/ogg").unwrap();
        transcriber.transcribe(b"a voice", ogg, &cancel)
    }

    #[test]
    fn a_command_gets_the_voice_and_prints_its_words() {
        let said = run(&script("cat \"$1\"; echo noise >&2; echo")).unwrap();
        assert_eq!(said, "a voice");
        let path = run(&script("echo \"$1\"")).unwrap();
        assert!(path.ends_with("/voice.ogg"), "{path}");
        assert!(!PathBuf::from(&path).parent().unwrap().exists());
        let placed = Transcriber::new(
            "sh".into(),
            ["-c", "echo $2; cat $1", "x", "{file}", "-v"]
                .map(str::to_owned)
                .to_vec(),
        );
        assert_eq!(run(&placed).unwrap(), "-v\na voice");
    }

    #[test]
    fn it_is_told_nothing_of_this_program_s_environment_but_what_it_needs() {
        let names = run(&script("env | sed 's/=.*//' | sort")).unwrap();
        let known = ["OLDPWD", "PWD", "SHLVL", "_"];
        for name in names.lines() {
            let is_known = known.contains(&name) || is_told(&name.into());
            assert!(is_known, "{names}");
        }
        // What this test runs under has more.
        assert!(std::env::vars_os().any(|(name, _)| !is_told(&name)));
    }

    #[test]
    fn what_does_not_work_is_an_error_and_leaves_no_process() {
        assert_eq!(run(&script("exit 3")), Err(TranscribeError::Failed));
        assert_eq!(run(&script("echo")), Err(TranscribeError::Silent));
        let missing = Transcriber::new("/nothing/there".into(), Vec::new());
        assert_eq!(run(&missing), Err(TranscribeError::Failed));
        let (go_on, cancel) = stop();
        drop(go_on);
        let ogg = MediaType::parse("audio/ogg").unwrap();
        let stopped = script("sleep 1000").transcribe(b"", ogg, &cancel);
        assert_eq!(stopped, Err(TranscribeError::Failed));

        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark").display().to_string();
        // One that lets a grandchild go on.
        let slow = Transcriber {
            limit: Duration::from_millis(300),
            ..script(&format!(
                "sleep 1000 & echo $! > {mark}; sleep 1000; echo {mark}"
            ))
        };
        assert_eq!(run(&slow), Err(TranscribeError::TooLong));
        let pid = fs::read_to_string(&mark).unwrap();
        let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        assert!(state.is_err() || state.unwrap().contains(") Z "), "{pid}");
    }

    #[test]
    fn no_output_is_too_long() {
        let said = run(&script("head -c 5000000 /dev/zero | tr '\\0' x")).unwrap();
        assert_eq!(said.len(), TEXT_BYTES_MAX);
    }
}
