//! The sink of a call, with what trying again depends on, and with the limit of a reply.

use crate::base::text;
use crate::domain::code::NoticeCode;
use crate::llm::held::HeldText;
use crate::llm::{LlmError, Sink, SinkError};

/// The sink of a call, which remembers whether it was given anything.
pub(super) struct Handover<'a> {
    sink: &'a mut dyn Sink,
    begun: bool,
    unflushed: bool,
    /// The most that the reply may hold.
    bytes_max: usize,
    /// Text that came, also what was too much of it.
    text_bytes: usize,
    /// What it holds beside.
    kept_bytes: usize,
    /// Text that may become a call.
    held: HeldText,
}

impl<'a> Handover<'a> {
    /// Nothing was handed over yet. At most `bytes_max` will be, with what is kept beside.
    pub(super) fn new(sink: &'a mut dyn Sink, bytes_max: Option<usize>) -> Handover<'a> {
        Handover {
            sink,
            begun: false,
            unflushed: false,
            bytes_max: bytes_max.unwrap_or(usize::MAX),
            text_bytes: 0,
            kept_bytes: 0,
            held: HeldText::default(),
        }
    }

    /// Another try begins; in it text that may become a printed call is held back, if `watches`. What a failed
    /// try left is gone.
    pub(super) fn begin_try(&mut self, watches: bool) {
        self.kept_bytes = 0;
        self.held.begin(watches);
    }

    /// What was held back, which nobody has seen.
    pub(super) fn take_held(&mut self) -> String {
        self.held.take()
    }

    /// Hands over a text that was held back.
    pub(super) fn release(&mut self, text: &str) -> Result<(), LlmError> {
        self.pass_on(text);
        self.flush_new()
    }

    /// Says how much the reply holds beside its text: thinking, calls.
    pub(super) fn keep(&mut self, bytes: usize) {
        self.kept_bytes = bytes;
    }

    /// The reply holds all that it may, and was to hold more.
    pub(super) fn is_over(&self) -> bool {
        let bytes = self.text_bytes.saturating_add(self.kept_bytes);
        bytes.saturating_add(self.held.bytes()) > self.bytes_max
    }

    /// A part of the answer was handed over: then nothing can be tried again.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Ends a batch, unless nothing came in it.
    pub(super) fn flush_new(&mut self) -> Result<(), LlmError> {
        if std::mem::take(&mut self.unflushed) {
            Ok(self.sink.flush()?)
        } else {
            Ok(())
        }
    }

    fn pass_on(&mut self, text: &str) {
        let held = self.text_bytes.saturating_add(self.kept_bytes);
        self.text_bytes += text.len();
        let text = text::start(text, self.bytes_max.saturating_sub(held));
        if !text.is_empty() {
            self.begun = true;
            self.unflushed = true;
            self.sink.text(text);
        }
    }
}

impl Sink for Handover<'_> {
    fn text(&mut self, text: &str) {
        if self.held.is_open() {
            return self.pass_on(text);
        }
        let passes = self.held.take_in(text);
        self.pass_on(&passes);
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.unflushed = false;
        self.sink.flush()
    }

    fn notice(&mut self, code: NoticeCode, message: String) {
        self.sink.notice(code, message);
    }
}
