//! What the tests of both dialects do with a body.

use proptest::sample::Index;

use super::{Answer, Decoder, Fault};
use crate::base::sse;
use crate::llm::Sink;

/// A sink that keeps the pieces.
#[derive(Debug, Default)]
struct Pieces(Vec<String>);

impl Sink for Pieces {
    fn text(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }

    fn flush(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn notice(&mut self, _code: &'static str, _message: String) {}
}

/// The deltas and the answer of a body that comes in `pieces`.
pub(in crate::llm) fn decode(
    mut decoder: impl Decoder,
    pieces: &[&[u8]],
) -> (Vec<String>, Result<Answer, Fault>) {
    let mut sink = Pieces::default();
    let mut events = sse::Parser::default();
    for piece in pieces {
        let fed = events.feed(piece, |event| decoder.event(event.data, &mut sink));
        if let Err(fault) = fed {
            return (sink.0, Err(fault));
        }
    }
    (sink.0, decoder.finish())
}

/// `body` cut at these places.
pub(in crate::llm) fn cut_at<'a>(body: &'a [u8], places: &[Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = places
        .iter()
        .map(|place| place.index(body.len() + 1))
        .collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]).collect()
}
