//! The words for programs that go with the sentences for people: one list of each, which the
//! documentation repeats and a test compares.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$of])* $variant,)* }

        impl $name {
            /// All there are.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The word used in files and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// Reads a word that a log or another program wrote; `None` for one that a later
            /// version has.
            pub fn parse(word: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }
    };
}

words! {
    /// Trouble that a turn got over, told to whoever watches: it goes on all the same.
    NoticeCode {
        /// The model did not answer, and is asked once more.
        Retry = "retry",
        /// Another model is asked instead.
        Fallback = "fallback",
        /// The provider found the conversation too long: from here on less of it goes to the model.
        ContextTruncated = "context_truncated",
        /// The older part of the conversation is being summarised: the answer comes after that.
        Summarising = "summarising",
        /// From here on a summary of the older part of the conversation goes to the model in its place.
        Summarised = "context_summarised",
        /// A summary that somebody asked for was not made, and nothing has changed.
        NotSummarised = "not_summarised",
        /// The reply reached the limit of its bytes, and was ended there.
        ReplyTooLong = "reply_too_long",
        /// A reply broke off, and is gone on with.
        Continued = "reply_continued",
        /// The model was done, and said nothing.
        EmptyReply = "empty_reply",
        /// The model refused to answer.
        Refused = "refused",
        /// The provider's filter ended the reply.
        Filtered = "content_filter",
        /// The provider could not make a call of what the model wrote.
        MalformedCall = "malformed_call",
        /// A call that was not whole when the reply ended does not run.
        CallCut = "call_cut",
        /// The model called tools though it was told not to.
        CallsIgnored = "calls_ignored",
        /// A call that the model printed as text is taken as one.
        ToolCallFromText = "tool_call_from_text",
        /// Files of the conversation do not go to the model.
        FilesWithheld = "files_withheld",
        /// The request was made again without what the provider does not take.
        RequestAdjusted = "request_adjusted",
        /// The server has read far less of the prompt than it was sent.
        PromptCut = "prompt_cut",
        /// An "allow always" could not be kept for the next time.
        NotRemembered = "not_remembered",
        /// A line of the log was damaged, and was taken out of it.
        EventLost = "event_lost",
        /// An event of a session of Duragent 0.5 could not be read.
        Unread05 = "v05_unread",
    }
}

words! {
    /// Why a turn could not go on.
    FailureCode {
        /// The provider refused, or broke off.
        ProviderError = "provider_error",
        /// It could not be reached.
        ProviderUnreachable = "provider_unreachable",
        /// It took too long.
        ProviderTimeout = "provider_timeout",
        /// There is no key for it.
        MissingKey = "missing_key",
        /// The conversation does not fit, even shortened.
        ContextOverflow = "context_overflow",
        /// What the agent may spend is spent.
        LimitReached = "limit_reached",
        /// The agent is no longer there.
        AgentGone = "agent_gone",
        /// The session was ended meanwhile.
        SessionEnded = "session_ended",
        /// A turn of Duragent 0.5 had no end when its session was taken over.
        Interrupted = "interrupted",
        /// The server died over it again and again.
        TooManyTries = "too_many_tries",
        /// The reply could not be written down.
        StorageError = "storage_error",
        /// The model made the same calls again and again.
        Loop = "loop",
        /// A fault of the server.
        InternalError = "internal_error",
        /// Nobody wrote down why.
        Failed = "failed",
        /// It has not failed: it waits for room, and goes on by itself.
        TurnWaits = "turn_waits",
    }
}
