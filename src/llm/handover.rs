//! The sink of a call, with what trying again depends on.

use crate::domain::code::NoticeCode;
use crate::llm::{LlmError, Sink, SinkError};

/// The sink of a call, which remembers whether it was given anything.
pub(super) struct Handover<'a> {
    sink: &'a mut dyn Sink,
    begun: bool,
    unflushed: bool,
}

impl<'a> Handover<'a> {
    /// Nothing was handed over yet.
    pub(super) fn new(sink: &'a mut dyn Sink) -> Handover<'a> {
        Handover {
            sink,
            begun: false,
            unflushed: false,
        }
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
}

impl Sink for Handover<'_> {
    fn text(&mut self, text: &str) {
        self.begun = true;
        self.unflushed = true;
        self.sink.text(text);
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.unflushed = false;
        self.sink.flush()
    }

    fn notice(&mut self, code: NoticeCode, message: String) {
        self.sink.notice(code, message);
    }
}
