//! How much of a conversation goes to a model, and how a result of a tool is made to fit. Pure.
//!
//! Tokens are estimated, four bytes each; what a provider then counts corrects the estimate
//! ([`Marks::percent`]). The sums here are uncorrected, and what they may be is corrected.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::access::ContextBuffer;
use crate::domain::event::{Attachment, Usage};
use crate::domain::ids::Seq;
use crate::domain::models;
use crate::domain::sight::{Showing, Sight};
use crate::domain::spec::{SessionSpec, ToolResultSpec, Truncation};

/// Estimates tokens: four bytes each.
pub fn tokens_of_bytes(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

/// Set aside for an answer whose length no file limits, in tokens.
const OUTPUT_TOKENS: u64 = 8_192;
/// However little a model takes, so much of the conversation goes to it: less is none.
const LEAST_TOKENS: u64 = 256;
/// A smaller call says little about how many bytes a token has.
const TELLING_TOKENS: u64 = 2_000;
/// No text is further from four bytes a token than this, in percent.
const PERCENT_MIN: u64 = 80;
const PERCENT_MAX: u64 = 300;
/// Results of one round, of which each may have its share of the window.
const RESULTS_SHARE: u64 = 8;
/// The text of a file may have such a share.
const FILE_SHARE: u64 = 4;
/// A document of so many bytes takes about one token …
const PDF_TOKEN_BYTES: u64 = 16;
/// … and no more than this, as providers take no longer ones.
const PDF_TOKENS_MAX: u64 = 100_000;

/// The bounds of a conversation: an agent's files, and what its model is known to take.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// How much history goes to the model; 0 for no limit but the model's.
    pub history_tokens: u64,
    /// What does not fit is summarised, and left out only where that fails.
    pub summarises: bool,
    /// How much the model takes without its answer, where somebody says so.
    pub input_tokens: Option<u64>,
    /// A model whose provider has said what it takes with its answer, by its name.
    pub told: Option<(String, u64)>,
    /// How long its answers may be.
    pub output_tokens: Option<u64>,
    /// The model, unless the session has another.
    pub model: String,
    /// The system prompt and the tools, in tokens: every call contains them beside the conversation.
    pub fixed_tokens: u64,
    /// How much of a tool's result goes to the model, and which end.
    pub tool_results: ToolResultSpec,
    /// How much talk that it was not asked to answer goes to the model.
    pub talk: ContextBuffer,
    /// What the model sees of files.
    pub sight: Sight,
}

/// The prompt alone is more than a model takes: every call would be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLong {
    /// The model.
    pub model: String,
    /// The system prompt and the tools, in estimated tokens.
    pub prompt_tokens: u64,
    /// The most that the model takes without its answer.
    pub taken_tokens: u64,
    /// How that is known.
    pub known_by: KnownBy,
    /// It would not fit either if the estimate were as wrong as it may be: an error, not a warning. Only
    /// what a file says is certain, and only where the model's name does not promise more.
    pub is_certain: bool,
}

/// How it is known what a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownBy {
    /// The agent's file says it.
    File,
    /// The model's name tells.
    Name,
    /// It is not: this much is assumed of a model that nobody knows.
    Nobody,
}

/// A sentence about "its prompt".
impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooLong {
            model,
            prompt_tokens,
            taken_tokens,
            known_by,
            ..
        } = self;
        write!(
            f,
            "its prompt and its tools are about {prompt_tokens} tokens, and {model} "
        )?;
        match known_by {
            KnownBy::File => write!(f, "takes {taken_tokens}, as `max_input_tokens` says"),
            KnownBy::Name => write!(f, "takes {taken_tokens} beside its answer"),
            KnownBy::Nobody => write!(
                f,
                "is not known: {taken_tokens} are assumed, as long as `spec.model.max_input_tokens` \
                 does not say what it takes"
            ),
        }
    }
}

/// The room for a conversation, in tokens as they are estimated, before any correction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// More than this is made less.
    pub(super) aim: u64,
    /// More than this the model does not take.
    pub(super) most: u64,
}

impl Limits {
    /// None at all: for those who look at a session and ask no model.
    pub fn none() -> Limits {
        let usual = SessionSpec::default();
        Limits {
            history_tokens: 0,
            summarises: false,
            // A sum that leaves room for the multiplications.
            input_tokens: Some(u64::MAX >> 16),
            told: None,
            output_tokens: None,
            model: String::new(),
            fixed_tokens: 0,
            tool_results: ToolResultSpec {
                max_tokens: u64::MAX >> 16,
                ..usual.tool_results
            },
            talk: ContextBuffer::default(),
            sight: Sight::NONE,
        }
    }

    /// About so many tokens of history and no other limit; 0 for none.
    pub fn of_history(history_tokens: u64) -> Limits {
        Limits {
            history_tokens,
            ..Limits::none()
        }
    }

    /// The room for a session's conversation, which uses `model` if that is its own.
    pub(super) fn budget(&self, model: Option<&str>, marks: &Marks) -> Budget {
        let percent = marks.percent.max(1);
        let taken = self.taken(model) * 100 / percent;
        let most = taken
            .saturating_sub(self.fixed_tokens)
            .min(marks.ceiling_tokens.unwrap_or(u64::MAX))
            .max(LEAST_TOKENS);
        let aim = match self.history_tokens {
            0 => most,
            tokens => most.min(tokens.saturating_mul(100) / percent),
        };
        Budget { aim, most }
    }

    /// What the model takes without its answer, in tokens.
    pub fn taken(&self, model: Option<&str>) -> u64 {
        let model = model.unwrap_or(&self.model);
        let said = self.input_tokens.map(|tokens| tokens.min(u64::MAX >> 16));
        let told = self.told.as_ref().filter(|(name, _)| name == model);
        if let (Some(tokens), None) = (said, told) {
            return tokens;
        }
        let whole = told.map_or_else(|| models::context_tokens(model), |(_, tokens)| *tokens);
        // What every message is wrapped in is not known to the byte.
        let spare = whole / 20;
        let answer = self.output_tokens.unwrap_or(OUTPUT_TOKENS).min(whole / 4);
        (whole - spare - answer).min(said.unwrap_or(u64::MAX))
    }

    /// The room for a conversation of which nothing was counted yet.
    pub fn room_tokens(&self) -> u64 {
        self.budget(None, &Marks::default()).most
    }

    /// `Some` when the prompt and the tools alone fill the window of `model`: it could be told
    /// nothing.
    pub fn too_long(&self, model: &str) -> Option<TooLong> {
        let taken_tokens = self.taken(Some(model));
        let known = models::known_context_tokens(model);
        // Of a name the least is known that such a model takes: nothing is held against it for that.
        let (known_by, at_most) = match (self.input_tokens, known) {
            (Some(tokens), known) => (KnownBy::File, tokens.max(known.unwrap_or_default())),
            (None, Some(_)) => (KnownBy::Name, u64::MAX),
            (None, None) => (KnownBy::Nobody, u64::MAX),
        };
        let at_least = self.fixed_tokens.saturating_mul(PERCENT_MIN) / 100;
        (self.fixed_tokens >= taken_tokens).then(|| TooLong {
            model: model.to_owned(),
            prompt_tokens: self.fixed_tokens,
            taken_tokens,
            known_by,
            is_certain: at_least >= at_most,
        })
    }

    /// The most bytes of the text of a file.
    pub(super) fn file_bytes_max(&self) -> usize {
        let tokens = self.taken(None) / FILE_SHARE;
        usize::try_from(tokens.saturating_mul(4)).unwrap_or(usize::MAX)
    }

    /// About how many tokens a file of a message takes.
    pub fn tokens_of_file(&self, file: &Attachment) -> u64 {
        let shown = match self.sight.showing(file) {
            Showing::Image => self.sight.image_tokens(file),
            Showing::Pdf => (file.bytes / PDF_TOKEN_BYTES).min(PDF_TOKENS_MAX),
            Showing::Text => {
                let bytes = usize::try_from(file.bytes).unwrap_or(usize::MAX);
                tokens_of_bytes(bytes.min(self.file_bytes_max()))
            }
            Showing::Told | Showing::TooLarge => 0,
        };
        shown + tokens_of_bytes(file.told().len())
    }

    /// The most bytes of a result. A round of them must fit, whatever the agent's file says.
    pub(super) fn result_bytes_max(&self) -> usize {
        let share = self.taken(None) / RESULTS_SHARE;
        let tokens = self.tool_results.max_tokens.min(share);
        usize::try_from(tokens.saturating_mul(4)).unwrap_or(usize::MAX)
    }
}

/// What of a conversation goes to a model, in tokens as they are estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToldTokens {
    /// The summary.
    pub summary: u64,
    /// The rest.
    pub history: u64,
    /// How much more there may be.
    pub free: u64,
    /// The provider's count in percent of the estimate.
    pub percent: u64,
}

/// How the window of a session stands: kept in snapshots, because it depends on what lies before
/// the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// Results from this event on …
    pub masked_from: Seq,
    /// … up to the one before this are masked.
    pub masked_before: Seq,
    /// The provider's count of tokens in percent of our estimate.
    pub percent: u64,
    /// Up to here nothing is made less: the last time left so much, and some more may come.
    pub quiet_tokens: u64,
    /// Below what the provider refused as too long, in estimated tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling_tokens: Option<u64>,
    /// The provider refused once, and has counted nothing since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_refused: bool,
    /// The history begins with this event, as messages of it are older than its turns: what stands before only
    /// says which wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_from: Option<Seq>,
    /// The summary that stands for what came before the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary_seq: Option<Seq>,
    /// A summary has failed: with so many tokens the next is tried.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub summary_from_tokens: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over by reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Default for Marks {
    fn default() -> Marks {
        Marks {
            masked_from: Seq::ZERO,
            masked_before: Seq::ZERO,
            percent: 100,
            quiet_tokens: 0,
            ceiling_tokens: None,
            is_refused: false,
            history_from: None,
            summary_seq: None,
            summary_from_tokens: 0,
        }
    }
}

impl Marks {
    /// The result of event `seq` is only named to the model.
    pub(super) fn hides(&self, seq: Seq) -> bool {
        self.masked_from <= seq && seq < self.masked_before
    }

    /// The same, with the results from event `from` up to the one before `before` masked too.
    pub(super) fn masking(mut self, from: Seq, before: Seq) -> Marks {
        if self.masked_before == Seq::ZERO || from < self.masked_from {
            self.masked_from = from;
        }
        self.masked_before = self.masked_before.max(before);
        self
    }

    /// Learns from what a provider counted in a call that was estimated at `tokens`.
    pub(super) fn learn(&mut self, tokens: u64, usage: Usage) {
        self.is_refused = false;
        if tokens >= TELLING_TOKENS && usage.prompt_tokens > 0 {
            let percent = usage.prompt_tokens.saturating_mul(100) / tokens;
            self.percent = percent.clamp(PERCENT_MIN, PERCENT_MAX);
        }
    }

    /// Takes note that `tokens` were too many: from now on a fifth less is, and half of it where the last step
    /// down was not enough.
    pub(super) fn lower_ceiling(&mut self, tokens: u64) {
        let ceiling = if self.is_refused {
            tokens / 2
        } else {
            tokens / 5 * 4
        };
        self.is_refused = true;
        self.ceiling_tokens = Some(self.ceiling_tokens.unwrap_or(u64::MAX).min(ceiling));
    }
}

/// Cuts a text to `bytes_max`, at the borders of characters, with a line that says how much is
/// missing.
pub fn truncated(text: &str, bytes_max: usize, how: Truncation) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let (head_max, tail_max) = match how {
        Truncation::Head => (bytes_max, 0),
        Truncation::Tail => (0, bytes_max),
        Truncation::Both => (bytes_max - bytes_max / 2, bytes_max / 2),
    };
    let cuts_well = |at: &usize| text.is_char_boundary(*at);
    let head_end = (0..=head_max).rfind(cuts_well).unwrap_or(0);
    let tail_start = (text.len() - tail_max..=text.len()).find(cuts_well);
    let head = &text[..head_end];
    let tail = &text[tail_start.unwrap_or(text.len())..];
    let missing = text.len() - head.len() - tail.len();
    let whole = text.len();
    let note = format!("[{missing} of {whole} bytes left out]");
    let parts = [head, &note, tail];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    Cow::Owned(parts.collect::<Vec<_>>().join("\n"))
}

/// Names a result to the model without showing it; where that would be longer, the result as it is.
pub fn masked<'t>(tool_name: &str, content: &'t str, bytes: usize) -> Cow<'t, str> {
    let mask = format!("[result of {tool_name}, {bytes} bytes, left out]");
    if mask.len() < content.len() {
        Cow::Owned(mask)
    } else {
        Cow::Borrowed(content)
    }
}

#[cfg(test)]
mod tests;
