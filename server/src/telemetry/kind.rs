//! What is asked of the server, as spans and metrics call it.

/// What the calls are of, in OpenTelemetry's words.
pub(super) const RPC_SYSTEM: &str = "grpc";

/// What is asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Claim.
    Claim,
    /// Complete.
    Complete,
    /// Fail.
    Fail,
    /// Lookup.
    Lookup,
    /// Extend.
    Extend,
    /// Checkpoint.
    Checkpoint,
    /// A stream of commands.
    Session,
    /// Anything else: health checks, reflection.
    Other,
}

impl Kind {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// What a path is for.
    pub fn of_path(path: &str) -> Self {
        match path.strip_prefix("/semel.v1.IdempotencyService/") {
            Some("Claim") => Self::Claim,
            Some("Complete") => Self::Complete,
            Some("Fail") => Self::Fail,
            Some("Lookup") => Self::Lookup,
            Some("Extend") => Self::Extend,
            Some("Checkpoint") => Self::Checkpoint,
            Some(_) => Self::Other,
            None if path == "/semel.v1.SessionService/Session" => Self::Session,
            None => Self::Other,
        }
    }

    /// Its full name; `_OTHER` for what is not worth a name, as the conventions have it.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Claim => "semel.v1.IdempotencyService/Claim",
            Self::Complete => "semel.v1.IdempotencyService/Complete",
            Self::Fail => "semel.v1.IdempotencyService/Fail",
            Self::Lookup => "semel.v1.IdempotencyService/Lookup",
            Self::Extend => "semel.v1.IdempotencyService/Extend",
            Self::Checkpoint => "semel.v1.IdempotencyService/Checkpoint",
            Self::Session => "semel.v1.SessionService/Session",
            Self::Other => "_OTHER",
        }
    }
}
