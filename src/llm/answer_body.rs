//! The body of an answer on its way to its decoder. Pure.

use crate::llm::dialect::{AnswerFault, DecodedReply, Decoder};
use crate::llm::framing::AnswerEvents;
use crate::llm::halves::Halves;
use crate::llm::handover::Handover;

/// The state between two pieces of a body.
#[derive(Debug, Default)]
pub(super) struct AnswerBody {
    events: AnswerEvents,
    halves: Halves,
}

impl AnswerBody {
    /// Takes the next piece, and hands the text of its events to `sink`.
    ///
    /// Errors: a fault of the answer; what came before it was handed over.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        decoder: &mut dyn Decoder,
        sink: &mut Handover<'_>,
    ) -> Result<(), AnswerFault> {
        let AnswerBody { events, halves } = self;
        events.feed(bytes, &mut |name, data| {
            decode(name, data, decoder, halves, sink)
        })
    }

    /// Takes the end of the body, and says what the answer is.
    pub(super) fn end(
        &mut self,
        decoder: &mut dyn Decoder,
        sink: &mut Handover<'_>,
    ) -> Result<DecodedReply, AnswerFault> {
        let AnswerBody { events, halves } = self;
        events.end(&mut |name, data| decode(name, data, decoder, halves, sink))?;
        halves.end(sink);
        let mut reply = match decoder.finish() {
            Err(AnswerFault::Truncated) => Err(match events.words() {
                Some(message) => AnswerFault::Reported {
                    status: None,
                    message,
                },
                None => AnswerFault::Truncated,
            })?,
            reply => reply?,
        };
        halves.join_reply(&mut reply);
        Ok(reply)
    }
}

fn decode(
    name: &[u8],
    data: &[u8],
    decoder: &mut dyn Decoder,
    halves: &mut Halves,
    sink: &mut Handover<'_>,
) -> Result<(), AnswerFault> {
    if decoder.is_done() || sink.is_over() {
        return Ok(());
    }
    let data = halves.marked(data);
    decoder.event(name, &data, &mut halves.joining(sink))?;
    sink.keep(decoder.kept_bytes());
    Ok(())
}
