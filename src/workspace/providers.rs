//! The models' providers, from the environment and the owner's file.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use crate::base::child::{self, End, NoMonitor, Prepared};
use crate::base::os::ChildRules;
use crate::base::proxy;
use crate::base::text;
use crate::base::tls::Roots;
use crate::config::Config;
use crate::domain::plain::in_one_line;
use crate::domain::providers::{Described, KeySource, Provider};
use crate::domain::secret::Secret;
use crate::llm::settings::ProviderSettings;
use crate::workspace::consent;

/// The longest key file: a key and a newline, not somebody's disk.
const KEY_BYTES_MAX: usize = 8 << 10;

/// How long a program may take to print a key.
const COMMAND_MAX: Duration = Duration::from_secs(10);
/// How much of its complaint is told.
const COMPLAINT_BYTES_MAX: u64 = 300;

/// Where the providers of this configuration are, with their keys; and what a user should know.
pub(crate) fn settings(
    config: &Config,
    environment: impl Fn(&str) -> Option<String>,
) -> (ProviderSettings, Vec<String>) {
    let mut settings = ProviderSettings {
        idle_timeout: config.server.idle_timeout,
        described: config.providers.clone().into_iter().collect(),
        ..ProviderSettings::from_env(&environment)
    };
    let mut warnings = Vec::new();
    for (provider, described) in &config.providers {
        let Some(source) = &described.key else {
            continue;
        };
        // The usual variable is not meant.
        settings.keys.remove(provider);
        match read_key(source, &environment) {
            Ok(key) => settings.keys.extend(key.map(|key| (provider.clone(), key))),
            Err(why) => warnings.push(format!("{provider} has no key: {why}")),
        }
    }
    for (provider, described) in &config.providers {
        let Some(file) = &described.ca_file else {
            continue;
        };
        match Roots::shared().and_of(file) {
            Ok(roots) => drop(settings.roots.insert(provider.clone(), roots)),
            Err(error) => warnings.push(format!(
                "the certificates of {provider} do not count: {} {error}",
                file.display()
            )),
        }
    }
    for name in proxy::unread(&environment) {
        warnings.push(format!(
            "nothing goes through the proxy of {name}: it cannot be read"
        ));
    }
    for (provider, origin) in settings.unencrypted() {
        let variable = provider.base_url_variable();
        warnings.push(format!(
            "the key of {provider} goes to {origin} unencrypted, as {variable} says"
        ));
    }
    (settings, warnings)
}

/// As [`settings`], for those who ask providers: the programs that print keys are run, all at once.
pub(crate) fn settings_with_commands(
    config: &Config,
    environment: impl Fn(&str) -> Option<String>,
) -> (ProviderSettings, Vec<String>) {
    let (mut settings, mut warnings) = settings(config, environment);
    let printed: Vec<(&Provider, Result<Secret, String>)> = thread::scope(|scope| {
        let started = config.providers.iter().filter_map(|(provider, described)| {
            let Some(KeySource::Command { program, args }) = &described.key else {
                return None;
            };
            let run = || printed_key(program, args, COMMAND_MAX);
            let thread = thread::Builder::new().name("key".to_owned());
            Some((provider, thread.spawn_scoped(scope, run)))
        });
        let started: Vec<_> = started.collect();
        let ended = started.into_iter().map(|(provider, thread)| {
            let key = match thread.map(ScopedJoinHandle::join) {
                Ok(Ok(key)) => key,
                Ok(Err(_)) => Err("it was not heard".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            (provider, key)
        });
        ended.collect()
    });
    for (provider, key) in printed {
        match key {
            Ok(key) => {
                settings.keys.insert(provider.clone(), key);
            }
            Err(why) => warnings.push(format!(
                "{provider} has no key: `providers.{provider}.api_key_command`: {why}"
            )),
        }
    }
    (settings, warnings)
}

/// As [`settings_with_commands`], for those who only look at a workspace: what a stranger's file names
/// is not run before the owner has served it.
pub(crate) fn settings_as_agreed(
    config: &Config,
    environment: impl Fn(&str) -> Option<String>,
) -> (ProviderSettings, Vec<String>) {
    if consent::is_agreed(config, &consent::claims(config)) {
        return settings_with_commands(config, environment);
    }
    let (settings, mut warnings) = settings(config, environment);
    let is_command = |one: &Described| matches!(one.key, Some(KeySource::Command { .. }));
    for (provider, _) in config.providers.iter().filter(|(_, one)| is_command(one)) {
        warnings.push(format!(
            "{provider} has no key here: its `api_key_command` is not run before this workspace \
             was served"
        ));
    }
    (settings, warnings)
}

/// The key that a program of the owner's prints within `limit`.
///
/// Errors: why it is none, without anything of its output.
fn printed_key(program: &Path, args: &[Secret], limit: Duration) -> Result<Secret, String> {
    let shown = program.display();
    let not_run = |error: io::Error| format!("{shown} cannot be run: {error}");
    let mut command = Command::new(program);
    command.args(args.iter().map(Secret::reveal));
    let prepared = Prepared {
        command,
        rules: ChildRules::default(),
        monitor: Box::new(NoMonitor),
    };
    let errors = tempfile::tempfile().map_err(not_run)?;
    let apart = errors.try_clone().map_err(not_run)?;
    let ended = child::run_apart(
        prepared,
        Stdio::null(),
        Some(apart.into()),
        limit,
        &crossbeam_channel::never(),
        "api_key_command",
    );
    let ended = ended.map_err(not_run)?;
    match ended.end {
        End::Exited(status) if status.success() => {}
        end @ (End::Exited(_) | End::TimedOut(_) | End::Cancelled | End::Stopped(_)) => {
            let words = complaint(errors);
            let colon = if words.is_empty() { "" } else { ": " };
            return Err(format!("{shown} ended: {end}{colon}{words}"));
        }
    }
    if ended.output.len() > KEY_BYTES_MAX {
        return Err(format!("{shown} printed more than a key"));
    }
    let key = key_in(&ended.output).map_err(|why| format!("{shown}: {why}"))?;
    key.ok_or_else(|| format!("{shown} printed nothing"))
}

/// The first line of what a program complained of.
fn complaint(mut errors: File) -> String {
    let mut bytes = Vec::new();
    let read = errors.rewind();
    let read = read.and_then(|()| errors.take(COMPLAINT_BYTES_MAX).read_to_end(&mut bytes));
    if let Err(error) = read {
        log::debug!("what a program complained of is not read: {error}");
    }
    let words = String::from_utf8_lossy(&bytes);
    in_one_line(words.trim().lines().next().unwrap_or_default())
}

/// Names that agents may give for a provider, beside those of the table.
pub(crate) fn names(config: &Config) -> Vec<Provider> {
    config.providers.keys().cloned().collect()
}

/// The key; `None` where the variable or the file is empty.
///
/// Errors: why it is none, for the one warning that is made of it.
fn read_key(
    source: &KeySource,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<Secret>, String> {
    let key = match source {
        KeySource::Variable(name) => environment(name).unwrap_or_default(),
        // Only who serves runs it.
        KeySource::Command { .. } => return Ok(None),
        KeySource::File(path) => text::read(path, KEY_BYTES_MAX)
            .map_err(|error| format!("the file {} {error}", path.display()))?,
    };
    key_in(&key)
}

/// The key in a text that is to hold nothing else; `None` where that is empty.
fn key_in(text: &str) -> Result<Option<Secret>, String> {
    let key = text.trim();
    // What can't stand in a header would fail at each call, and be shown there.
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it must be visible ASCII characters without spaces".to_owned());
    }
    Ok((!key.is_empty()).then(|| Secret::new(key)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Instant;

    use super::*;
    use crate::config::{ConfigSource, Overrides};

    fn read(
        file: &Path,
        text: &str,
        variables: &[(&str, &str)],
    ) -> (ProviderSettings, Vec<String>) {
        fs::write(file, text).unwrap();
        let lookup = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let loaded = Config::load(
            &ConfigSource::File(file.to_owned()),
            &Overrides::default(),
            &lookup,
        )
        .unwrap();
        settings(&loaded.config, lookup)
    }

    #[test]
    fn a_key_is_taken_from_where_the_file_says_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("duragent.yaml");
        fs::write(folder.path().join("lan.key"), "lan-key\n").unwrap();
        let text = "providers:\n  lan: {base_url: \"http://10.0.0.5/v1\", api_key_file: ./lan.key}\n  \
                    openai: {api_key_env: OFFICE_KEY}\n  groq: {api_key_file: ./none.key}\n";
        let variables = [
            ("OFFICE_KEY", " office-key\n"),
            ("OPENAI_API_KEY", "private-key"),
            ("GROQ_API_KEY", "groq-key"),
            ("XAI_API_KEY", "xai-key"),
        ];
        let (settings, warnings) = read(&file, text, &variables);
        let key = |name: &str| {
            let key = settings.keys.get(&Provider::parse(name).unwrap());
            key.map(Secret::reveal)
        };
        assert_eq!(key("lan"), Some("lan-key"));
        assert_eq!(key("openai"), Some("office-key"));
        assert_eq!(key("groq"), None);
        assert_eq!(key("xai"), Some("xai-key"));
        let [missing] = &warnings[..] else {
            panic!("{warnings:?}");
        };
        assert!(
            missing.starts_with("groq has no key: the file "),
            "{missing}"
        );
        assert!(missing.ends_with("none.key does not exist"), "{missing}");
    }

    #[test]
    fn a_proxy_that_cannot_be_read_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("duragent.yaml");
        let (_, warnings) = read(&file, "", &[("HTTPS_PROXY", "gopher://me:secret@a:1")]);
        assert_eq!(
            warnings,
            ["nothing goes through the proxy of HTTPS_PROXY: it cannot be read"]
        );
    }

    #[test]
    fn a_program_that_prints_no_key_in_time_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        // Half a key is none; a child of it would hold the pipe open.
        let script = "sleep 600 & echo $$ $! > \"$0.new\" && mv \"$0.new\" \"$0\"; printf half; \
                      echo 'the vault is locked' >&2; wait";
        let args = ["-c", script, file.to_str().unwrap()].map(Secret::new);
        let limit = Duration::from_secs(1);
        let why = printed_key(Path::new("/bin/sh"), &args, limit).unwrap_err();
        assert!(why.starts_with("/bin/sh ended: "), "{why}");
        assert!(why.contains("took more than 1 seconds"), "{why}");
        assert!(why.ends_with(": the vault is locked"), "{why}");
        assert!(!why.contains("half"), "{why}");
        assert_eq!(COMMAND_MAX, Duration::from_secs(10), "as the pages say");
        let pids = fs::read_to_string(&file).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        for pid in pids.split_whitespace() {
            // One that is gone, or that whoever adopted it has not looked after yet.
            let is_over = || match fs::read_to_string(format!("/proc/{pid}/stat")) {
                Ok(stat) => stat
                    .rsplit_once(')')
                    .is_none_or(|(_, rest)| rest.starts_with(" Z")),
                Err(_) => true,
            };
            while !is_over() {
                assert!(Instant::now() < deadline, "{pid} of {pids} is left");
                thread::yield_now();
            }
        }
    }

    #[test]
    fn a_key_that_goes_out_unencrypted_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("duragent.yaml");
        for (url, expected) in [
            ("http://10.0.0.5:8000", 1),
            ("http://127.0.0.1:8000", 0),
            ("https://llm.example", 0),
        ] {
            let variables = [("OPENAI_API_KEY", "a-key"), ("OPENAI_BASE_URL", url)];
            let (_, warnings) = read(&file, "", &variables);
            assert_eq!(warnings.len(), expected, "{url}: {warnings:?}");
            let without_key = read(&file, "", &variables[1..]).1;
            assert_eq!(without_key, [""; 0], "{url}");
        }
    }
}
