//! Bodies, whole and within a limit.

use bytes::{Buf, Bytes};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

/// Why there is no body.
#[derive(Debug)]
pub(super) enum NoBody {
    TooLong,
    /// It ended before its end, and this is what the transport says of it.
    Broken(String),
}

/// Reads all of it: every chunk, however many there are. One that says beforehand that it is too long
/// is not read at all.
pub(super) async fn whole<B>(body: B, limit_bytes: usize) -> Result<Bytes, NoBody>
where
    B: Body,
    B::Data: Buf,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.size_hint().lower() > limit_bytes as u64 {
        return Err(NoBody::TooLong);
    }
    match Limited::new(body, limit_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(NoBody::TooLong),
        Err(error) => Err(NoBody::Broken(error.to_string())),
    }
}
