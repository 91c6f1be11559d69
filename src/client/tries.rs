//! Trying again to have the events of one turn: each try begins at the first of them.

use std::time::Duration;

use crate::client::backoff;
use crate::client::error::ClientError;
use crate::wire::SessionEvent;

/// The tries at one turn. Only those in a row that bring nothing new count as failures: a long
/// turn over a bad line may lose its connection often.
#[derive(Debug)]
pub struct Tries {
    failures_max: u32,
    failures: u32,
    /// Progress of this try: the bytes of text, and one for each other event. Where the text
    /// is cut into events may differ from try to try.
    reached: usize,
    /// The most that any try has reached.
    farthest: usize,
}

impl Tries {
    /// Tries that end after `failures_max` failures.
    pub fn new(failures_max: u32) -> Tries {
        Tries {
            failures_max,
            failures: 0,
            reached: 0,
            farthest: 0,
        }
    }

    /// Counts an event of the try under way.
    pub fn note(&mut self, event: &SessionEvent) {
        self.reached += match event {
            SessionEvent::Token(token) => token.content.len(),
            _ => 1,
        };
        if self.reached > self.farthest {
            self.farthest = self.reached;
            self.failures = 0;
        }
    }

    /// Ends a try that failed; returns how long to wait before the next one, if there is one.
    pub fn failed(&mut self, error: &ClientError) -> Option<Duration> {
        if !error.is_passing() || self.failures >= self.failures_max {
            return None;
        }
        self.failures += 1;
        self.reached = 0;
        Some(backoff::delay(self.failures, fastrand::f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bring(tries: &mut Tries, texts: &[&str]) {
        for text in texts {
            let data = format!(r#"{{"content":"{text}"}}"#);
            tries.note(&SessionEvent::parse("token", &data).unwrap());
        }
    }

    #[test]
    fn only_failures_without_anything_new_between_them_count() {
        let mut tries = Tries::new(2);
        let mut text = String::new();
        for _ in 0..20 {
            text.push('x');
            bring(&mut tries, &[&text]);
            assert!(tries.failed(&ClientError::Closed).is_some());
        }
        // What has come before is nothing new, however it is cut.
        bring(&mut tries, &[&text[..3], &text[3..]]);
        assert!(tries.failed(&ClientError::Closed).is_some());
        assert!(tries.failed(&ClientError::Closed).is_none());
    }

    #[test]
    fn what_does_not_pass_is_not_tried_again() {
        assert!(Tries::new(2).failed(&ClientError::Cancelled).is_none());
    }
}
