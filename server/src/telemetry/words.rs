//! The values that labels and attributes may have.

/// A closed list of words.
macro_rules! words {
    ($(#[$docs:meta])* $name:ident { $($(#[$word_docs:meta])* $word:ident = $text:literal,)* }) => {
        $(#[$docs])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$word_docs])* $word,)* }

        impl $name {
            /// How many there are.
            pub const COUNT: usize = [$($text),*].len();

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text,)* }
            }
        }
    };
}

words! {
    /// What a Claim came to.
    ClaimResult {
        /// The caller may act.
        Claimed = "claimed",
        /// Somebody else is at it.
        InProgress = "in_progress",
        /// The last attempt failed and the next may not start yet.
        BackingOff = "backing_off",
        /// It has been done; replayed.
        Completed = "completed",
        /// It failed for good; replayed.
        Failed = "failed",
        /// Its attempts are used up.
        Dead = "dead",
        /// Nobody knows whether it was done.
        Uncertain = "uncertain",
        /// Another request under the same key.
        FingerprintMismatch = "fingerprint_mismatch",
        /// The event may have been forgotten.
        EventTooOld = "event_too_old",
        /// A later attempt has the key.
        Superseded = "superseded",
        /// A field over its limit.
        Invalid = "invalid",
        /// The store was away, or the server stopping.
        Unavailable = "unavailable",
        /// Too much was queued.
        Overloaded = "overloaded",
        /// Its caller had not waited for the answer. It may have been carried out.
        Abandoned = "abandoned",
    }
}

words! {
    /// What a holder said.
    SettlementKind {
        /// Complete.
        Complete = "complete",
        /// Fail, to be tried again.
        FailRetryable = "fail_retryable",
        /// Fail, for good.
        FailTerminal = "fail_terminal",
        /// Fail, nobody knows.
        FailUnknown = "fail_unknown",
    }
}

words! {
    /// What a settlement came to.
    SettlementResult {
        /// It stands.
        Recorded = "recorded",
        /// It stood already.
        Repeat = "repeat",
        /// Somebody else has taken over.
        LeaseLost = "lease_lost",
        /// Another result stands.
        ResultConflict = "result_conflict",
        /// Something else was settled.
        AlreadySettled = "already_settled",
        /// No such key.
        KeyNotFound = "key_not_found",
        /// A field over its limit.
        Invalid = "invalid",
        /// The store was away, or the server stopping.
        Unavailable = "unavailable",
        /// Too much was queued.
        Overloaded = "overloaded",
        /// Its caller had not waited for the answer. It may have been carried out.
        Abandoned = "abandoned",
    }
}

/// What a command asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum What {
    /// It could not be read.
    #[default]
    Unreadable,
    /// Claim.
    Claim,
    /// Complete or Fail.
    Settlement(SettlementKind),
    /// Extend.
    Extend,
    /// Checkpoint.
    Checkpoint,
    /// Lookup.
    Lookup,
}

impl What {
    /// In a word, for log lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Claim => "claim",
            Self::Settlement(kind) => kind.as_str(),
            Self::Extend => "extend",
            Self::Checkpoint => "checkpoint",
            Self::Lookup => "lookup",
        }
    }
}
