//! Telegram's Bot API, as far as tests ask it.

pub mod html;
