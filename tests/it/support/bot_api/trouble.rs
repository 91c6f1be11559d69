//! Calls that fail, as a test plans it.

use std::time::Duration;

/// How a call fails.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// The connection is closed before anything is done.
    CutBefore,
    /// It is done, and the connection closed without an answer.
    LostAnswer,
    /// It is done, and half of the answer comes.
    HalfAnswer,
    /// Nothing is done, nothing comes, and the connection stays open.
    Hang,
    /// It is done, nothing comes, and the connection stays open.
    HangAfter,
    /// It is done, and answered after so long.
    Slow(Duration),
    /// 502 with a page of HTML.
    BadGateway,
    /// 200 with bytes that are no JSON.
    Garbage,
    /// 200 with JSON of a shape that nobody expects.
    Odd,
    /// 429, whose `retry_after` in seconds is kept to: earlier calls for that chat are faults.
    Flood(u64),
    /// This code with this description.
    Refused(u16, &'static str),
}

/// What a test planned.
#[derive(Debug, Clone)]
pub struct Planned {
    method: String,
    chat: Option<i64>,
    times: usize,
    trouble: Trouble,
}

impl Planned {
    pub fn new(method: &str, chat: Option<i64>, times: usize, trouble: Trouble) -> Planned {
        Planned {
            method: method.to_owned(),
            chat,
            times,
            trouble,
        }
    }

    pub fn left(&self) -> usize {
        self.times
    }

    /// What becomes of this call, if it is one that was meant.
    pub fn take(&mut self, method: &str, chat: Option<i64>) -> Option<Trouble> {
        let is_meant = self.times > 0
            && (self.method == "*" || self.method.eq_ignore_ascii_case(method))
            && (self.chat.is_none() || self.chat == chat);
        if !is_meant {
            return None;
        }
        self.times -= 1;
        Some(self.trouble.clone())
    }
}
