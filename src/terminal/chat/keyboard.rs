//! Reads the keyboard, and decides by it.

use std::io::PipeReader;
use std::sync::Arc;

use crate::base::lock::lock;
use crate::client::{ClientError, new_key};
use crate::domain::event::{ApprovalKind, Decision};
use crate::domain::ids::Seq;
use crate::domain::plain;
use crate::terminal::board::Next;
use crate::terminal::chat::delivery::MessageDelivery;
use crate::terminal::chat::end::{ChatError, Left};
use crate::terminal::chat::events::show_own;
use crate::terminal::chat::shared::{ChatShared, TypedMessage};
use crate::terminal::chat::threads::ChatThreads;
use crate::terminal::clean::clean;
use crate::terminal::keys::{AtPrompt, Begun, KeyReader, Waited};
use crate::terminal::older::Older;
use crate::terminal::paint::Tone;
use crate::terminal::prompt::{Prompt, PromptInput};
use crate::terminal::transcript::Transcript;
use crate::wire::{ApprovalBody, ContextBody, GrantBody};

const HELP: &str = "/help    shows this
/grants  shows what is allowed for this session; /grants revoke [NUMBER] takes it back
/cancel  stops the reply, as Ctrl+C does while it comes
/quit    leaves, as Ctrl+D does; the session stays
/context shows how many tokens the conversation takes, and how many are free
/compact [what to keep] has its older part summarised now
A line that ends with \\ goes on in the next one.
@PATH in a message brings that file along, and so does a path that stands alone in a line.";

/// Whoever reads the keyboard, and decides by it.
pub(super) struct Keyboard {
    pub(super) shared: Arc<ChatShared>,
    pub(super) prompt: Prompt,
    pub(super) keys: KeyReader,
    pub(super) threads: ChatThreads,
    pub(super) wake: PipeReader,
    /// Ctrl+C in a row at the prompt.
    pub(super) interrupts: u32,
    /// A message that stands at the prompt again. Sent unchanged it keeps its key: the server may
    /// have it already.
    pub(super) again: Option<TypedMessage>,
}

/// The user stays in the conversation, or leaves.
enum Stay {
    Yes,
    No,
}

impl Keyboard {
    pub(super) fn run(mut self) -> Result<Left, ChatError> {
        let mut before = None;
        loop {
            let next = self.shared.board.next();
            // What is there before the question is no answer to it.
            if matches!(next, Next::Ask(_)) && before.as_ref() != Some(&next) {
                self.keys.keep_typed()?;
            }
            let stay = match &next {
                Next::Over => return self.over(),
                Next::Follow => self.follow()?,
                Next::Ask(asked) => self.ask(asked)?,
                Next::Prompt => self.ask_for_a_message()?,
            };
            before = Some(next);
            if matches!(stay, Stay::No) {
                return Ok(Left::Detached);
            }
        }
    }

    fn over(self) -> Result<Left, ChatError> {
        match lock(&self.shared.failure).take() {
            Some(error) => Err(error.into()),
            None => Ok(Left::Ended),
        }
    }

    /// Lets the reply be shown until it ends.
    fn follow(&mut self) -> Result<Stay, ChatError> {
        let mut cancels = 0;
        while self.shared.board.next() == Next::Follow {
            match self.keys.wait(&mut self.wake)? {
                Waited::Woken => {}
                Waited::Leave => return Ok(Stay::No),
                Waited::Cancel if cancels == 0 => {
                    cancels += 1;
                    self.cancel_turn()?;
                }
                Waited::Cancel => self.stop_waiting(),
            }
        }
        Ok(Stay::Yes)
    }

    /// Back to the prompt, though the server has not done what was asked.
    fn stop_waiting(&mut self) {
        self.threads.give_up("send");
        self.shared.board.set_followed(false);
        let note = "(no longer waiting; the turn may go on)";
        self.shared.say(Tone::Dim, note);
    }

    fn ask_for_a_message(&mut self) -> Result<Stay, ChatError> {
        let text = match self.read("> ", &Next::Prompt)? {
            Some(PromptInput::Text(text)) => text,
            Some(PromptInput::Interrupt) => return self.interrupted(),
            Some(PromptInput::End) => return Ok(Stay::No),
            None => return Ok(Stay::Yes),
        };
        match text.trim() {
            // Whoever presses Enter while others' replies come wants to see them as they come.
            "" => self.shared.board.set_followed(true),
            "/help" => self.shared.say(Tone::Dim, HELP),
            "/quit" => return Ok(Stay::No),
            "/cancel" => self.cancel_turn()?,
            other if is_grants(other) => self.grants(other)?,
            "/context" => self.show_context()?,
            other if wish(other).is_some() => self.compact(wish(other).unwrap_or_default())?,
            other if is_unknown_command(other) => {
                let note = format!("{} is not a command; see /help", clean(other));
                self.shared.say(Tone::Dim, &note);
            }
            _ => self.send(text)?,
        }
        Ok(Stay::Yes)
    }

    /// Lets the user answer an approval; anything but an answer is a message.
    fn ask(&mut self, asked: &ApprovalBody) -> Result<Stay, ChatError> {
        let text = match self.read_answer(&Next::Ask(asked.clone()))? {
            Some(PromptInput::Text(text)) => text,
            Some(PromptInput::Interrupt) => return self.interrupted(),
            Some(PromptInput::End) => return Ok(Stay::No),
            None => return Ok(Stay::Yes),
        };
        // Lines can only have been pasted.
        let decided = decision(asked, text.trim()).filter(|_| !text.contains('\n'));
        match (decided, text.trim()) {
            (Some(decision), _) => self.decide(asked.clone(), decision)?,
            (None, "/quit") => return Ok(Stay::No),
            (None, "/cancel") => self.cancel_turn()?,
            (None, other) if is_grants(other) => self.grants(other)?,
            (None, other) if other.is_empty() || other.starts_with('/') => {
                let letters = match asked.kind {
                    ApprovalKind::Policy if !asked.session_rules.is_empty() => "y, s, a or n",
                    ApprovalKind::Policy => "y, a or n",
                    ApprovalKind::Uncertain => "r, s or w",
                };
                let note = format!("answer with {letters}; Ctrl+D leaves the question open");
                self.shared.say(Tone::Dim, &note);
            }
            (None, _) => self.send(text)?,
        }
        Ok(Stay::Yes)
    }

    /// Reads the answer to a question; `None` when there is something else to do than `now`. What was
    /// typed before the question was there is no answer: it is kept for the next message. Nor is
    /// what is pasted.
    fn read_answer(&mut self, now: &Next) -> Result<Option<PromptInput>, ChatError> {
        const LABEL: &str = "? ";
        self.keys.mark_pastes()?;
        if !self.wait_for_a_key(LABEL, now)? {
            return Ok(None);
        }
        let begun = match self.keys.begin_answer()? {
            Begun::Entered(text) => {
                self.shared.say(Tone::Dim, &format!("{LABEL}{text}"));
                return Ok(Some(PromptInput::Text(text)));
            }
            Begun::Pasted => {
                let note = "what is pasted answers nothing: type the letter";
                self.shared.say(Tone::Dim, note);
                return Ok(None);
            }
            Begun::Cancel => return Ok(Some(PromptInput::Interrupt)),
            Begun::Leave => return Ok(Some(PromptInput::End)),
            Begun::Typed(text) => text,
        };
        self.shared.screen().edit()?;
        let input = self.prompt.read(LABEL, &begun);
        self.shared.screen().free()?;
        Ok(Some(input?))
    }

    /// Reads one entry; `None` when there is something else to do than `now` before the user has
    /// begun to type.
    fn read(&mut self, label: &str, now: &Next) -> Result<Option<PromptInput>, ChatError> {
        let typed = self.already_typed(now);
        // Else the first line of several would be all that is sent.
        self.keys.mark_pastes()?;
        if typed.is_empty() && !self.wait_for_a_key(label, now)? {
            return Ok(None);
        }
        self.shared.screen().edit()?;
        let input = self.prompt.read(label, &typed);
        // A question that came meanwhile is not shown before now: what is there already is no answer.
        if matches!(self.shared.board.next(), Next::Ask(_)) {
            self.keys.keep_typed()?;
        }
        self.shared.screen().free()?;
        let input = input?;
        if let PromptInput::Text(text) = &input {
            self.interrupts = 0;
            if !text.trim().is_empty() {
                self.prompt.remember(text);
            }
        }
        Ok(Some(input))
    }

    /// What stands at the next prompt: a message that comes back, and what was typed beside. It
    /// comes back as a message only, and never as the answer to a question.
    fn already_typed(&mut self, now: &Next) -> String {
        let mut typed = self.keys.take_typed();
        self.again = None;
        if *now == Next::Prompt
            && let Some(message) = lock(&self.shared.undelivered).take()
        {
            typed.insert_str(0, &message.text);
            self.again = Some(message);
        }
        typed
    }

    /// Shows a prompt until a key is pressed; `false` when there is something else to do first.
    fn wait_for_a_key(&mut self, label: &str, now: &Next) -> Result<bool, ChatError> {
        self.shared.screen().wait_at(label)?;
        let has_key = loop {
            if self.shared.board.next() != *now {
                break false;
            }
            if self.keys.wait_at_prompt(&mut self.wake)? == AtPrompt::Key {
                // Both may have come: the key is for what there is now.
                break self.shared.board.next() == *now;
            }
        };
        self.shared.screen().free()?;
        Ok(has_key)
    }

    fn interrupted(&mut self) -> Result<Stay, ChatError> {
        self.interrupts += 1;
        if self.shared.board.is_working() {
            self.cancel_turn()?;
        } else if self.interrupts > 1 {
            self.shared
                .say(Tone::Dim, "Ctrl+D leaves; the session stays");
        }
        Ok(Stay::Yes)
    }

    fn send(&mut self, text: String) -> Result<(), ChatError> {
        let again = self.again.take().filter(|message| message.text == text);
        let message = again.unwrap_or_else(|| TypedMessage {
            text,
            key: new_key(),
        });
        self.shared.board.begin_send();
        self.threads.start("send", &self.shared, |shared, cancel| {
            MessageDelivery::new(shared, cancel, message).run();
        })?;
        Ok(())
    }

    /// Has the conversation summarised; the events say what comes of it.
    fn compact(&mut self, wish: &str) -> Result<(), ChatError> {
        let wish = wish.to_owned();
        self.threads
            .start("compact", &self.shared, move |shared, cancel| {
                let keep = Some(wish.as_str()).filter(|wish| !wish.is_empty());
                match shared.client.compact(cancel, &shared.session, keep) {
                    Ok(()) | Err(ClientError::Cancelled) => {}
                    Err(error) => shared.complain(&error),
                }
            })?;
        Ok(())
    }

    fn show_context(&mut self) -> Result<(), ChatError> {
        self.threads
            .start("context", &self.shared, |shared, cancel| {
                match shared.client.context(cancel, &shared.session) {
                    Ok(used) => shared.say(Tone::Dim, &context_lines(&used)),
                    Err(ClientError::Cancelled) => {}
                    Err(error) => shared.complain(&error),
                }
            })?;
        Ok(())
    }

    fn decide(&mut self, asked: ApprovalBody, decision: Decision) -> Result<(), ChatError> {
        self.shared.board.answered(&asked);
        if let Some(older) = &self.shared.older {
            older.decide();
        }
        self.threads
            .start("send", &self.shared, move |shared, cancel| {
                let answer = shared
                    .client
                    .approve(cancel, &shared.session, &asked, decision);
                match answer {
                    Ok(approved) => {
                        let older = shared.older.as_ref();
                        let rest = older.map(|older| older.rest(approved, cancel));
                        let mut transcript = Transcript::default();
                        for event in rest.unwrap_or_default() {
                            show_own(shared, &mut transcript, event);
                        }
                    }
                    Err(ClientError::Cancelled) => {}
                    Err(error) => {
                        shared.complain(&error);
                        match error.status() {
                            // Somebody else was quicker, or it no longer waits.
                            Some(400 | 404 | 409 | 410) => shared.board.set_followed(false),
                            _ => shared.board.ask_again(asked),
                        }
                    }
                }
            })?;
        Ok(())
    }

    /// Shows what is allowed for the session, or takes it back.
    fn grants(&mut self, command: &str) -> Result<(), ChatError> {
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let revoked = match words.as_slice() {
            [] => None,
            ["revoke"] | ["revoke", "all"] => Some(None),
            ["revoke", number] if number.parse::<u64>().is_ok() => {
                Some(number.parse().ok().map(Seq))
            }
            _ => {
                let note = "write /grants, /grants revoke or /grants revoke NUMBER";
                self.shared.say(Tone::Dim, note);
                return Ok(());
            }
        };
        self.threads
            .start("grants", &self.shared, move |shared, _| {
                let (client, id) = (&shared.client, &shared.session);
                let done = match revoked {
                    Some(which) => client.revoke_grants(id, which),
                    None => Ok(()),
                };
                match done.and_then(|()| client.grants(id)) {
                    Ok(grants) => shared.say(Tone::Dim, &granted(&grants)),
                    Err(error) => shared.complain(&error),
                }
            })?;
        Ok(())
    }

    /// Asks the server to stop the turn; the events say when it has.
    fn cancel_turn(&mut self) -> Result<(), ChatError> {
        self.threads
            .start("cancel", &self.shared, |shared, cancel| {
                match shared.client.cancel_turn(cancel, &shared.session) {
                    Ok(_) | Err(ClientError::Cancelled) => {}
                    Err(error) => {
                        shared.complain(&error);
                        if shared.older.as_ref().is_some_and(Older::cut_stream) {
                            let note = "(no longer waiting; the reply goes on at the server)";
                            shared.say(Tone::Dim, note);
                            shared.board.set_followed(false);
                        }
                    }
                }
            })?;
        Ok(())
    }
}

fn is_grants(text: &str) -> bool {
    text.split_whitespace().next() == Some("/grants")
}

/// A line for each rule that is allowed for the session.
fn granted(grants: &[GrantBody]) -> String {
    if grants.is_empty() {
        return "nothing is allowed for this session".to_owned();
    }
    let lines = grants.iter().map(|one| {
        let by = one.by.as_deref().map(|by| format!(", of {}", clean(by)));
        let rule = plain::lines(&one.rule).join("⏎");
        format!(
            "{}: {rule} (until {}{})",
            one.id,
            one.until,
            by.unwrap_or_default()
        )
    });
    let lines: Vec<String> = lines.collect();
    format!("allowed for this session:\n{}", lines.join("\n"))
}

/// What the summary is to keep that `/compact` asks for; `None` for any other text.
fn wish(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("/compact")?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| rest.trim())
}

/// A line for each part of the next call.
fn context_lines(used: &ContextBody) -> String {
    let parts = [
        ("prompt", used.prompt),
        ("tools", used.tools),
        ("summary", used.summary),
        ("history", used.history),
        ("free", used.free),
    ];
    let lines = parts.map(|(name, tokens)| format!("{name:<8}{tokens:>9}"));
    format!("tokens of the next call, about\n{}", lines.join("\n"))
}

/// A word like `/exit`; a path or a longer text is a message.
fn is_unknown_command(text: &str) -> bool {
    text.strip_prefix('/')
        .is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
}

/// The decision that an answer stands for.
fn decision(asked: &ApprovalBody, answer: &str) -> Option<Decision> {
    let answer = answer.to_lowercase();
    match (asked.kind, answer.as_str()) {
        (ApprovalKind::Policy, "s" | "session") if !asked.session_rules.is_empty() => {
            Some(Decision::AllowSession)
        }
        (ApprovalKind::Policy, "y" | "yes" | "once") => Some(Decision::AllowOnce),
        (ApprovalKind::Policy, "a" | "always") => Some(Decision::AllowAlways),
        (ApprovalKind::Policy, "n" | "no" | "deny") => Some(Decision::Deny),
        (ApprovalKind::Uncertain, "r" | "retry") => Some(Decision::Retry),
        (ApprovalKind::Uncertain, "s" | "skip") => Some(Decision::Skip),
        (ApprovalKind::Uncertain, "w" | "worked") => Some(Decision::Worked),
        (ApprovalKind::Policy | ApprovalKind::Uncertain, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_only_for_its_kind_of_question() {
        use ApprovalKind::{Policy, Uncertain};
        let asked = |kind, rules: &[&str]| ApprovalBody {
            call_id: "c".to_owned(),
            command: "ls".to_owned(),
            kind,
            exact: false,
            session_rules: rules.iter().map(|one| (*one).to_owned()).collect(),
            lines: 1,
            commands: Vec::new(),
        };
        let for_session = asked(Policy, &["bash:ls"]);
        assert_eq!(decision(&for_session, "S"), Some(Decision::AllowSession));
        for (kind, answer, expected) in [
            (Policy, "s", None),
            (Policy, "y", Some(Decision::AllowOnce)),
            (Policy, "A", Some(Decision::AllowAlways)),
            (Policy, "no", Some(Decision::Deny)),
            (Policy, "r", None),
            (Policy, "yes, but why?", None),
            (Policy, "", None),
            (Uncertain, "r", Some(Decision::Retry)),
            (Uncertain, "s", Some(Decision::Skip)),
            (Uncertain, "worked", Some(Decision::Worked)),
            (Uncertain, "y", None),
        ] {
            let asked = asked(kind, &[]);
            assert_eq!(decision(&asked, answer), expected, "{kind:?} {answer:?}");
        }
    }

    #[test]
    fn a_path_is_a_message_and_a_mistyped_command_is_not() {
        assert!(is_unknown_command("/exit"));
        assert!(!is_unknown_command("/etc/passwd"));
        assert!(!is_unknown_command("/exit now?"));
        assert!(!is_unknown_command("/"));
    }

    #[test]
    fn what_a_summary_is_to_keep_stands_behind_its_command() {
        assert_eq!(wish("/compact"), Some(""));
        assert_eq!(
            wish("/compact  the names\nand ids "),
            Some("the names\nand ids")
        );
        assert_eq!(wish("/compactor"), None);
        assert_eq!(wish("please /compact"), None);
        let used = ContextBody {
            prompt: 1_200,
            tools: 0,
            summary: 0,
            history: 18_000,
            free: 2_000,
        };
        assert!(context_lines(&used).ends_with("history     18000\nfree         2000"));
    }
}
