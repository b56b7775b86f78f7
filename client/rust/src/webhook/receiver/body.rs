//! Bodies: of any kind, and whole within a limit.

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tower::BoxError;

use super::{Body, service::BodyError};

/// Why there is no body.
#[derive(Debug)]
pub(super) enum NoBody {
    TooLong,
    /// It ended before its end, and this is what the transport says of it.
    Broken(String),
}

/// Reads all of it: every chunk, however many there are. One that says beforehand that it is too long
/// is not read at all.
pub(super) async fn whole(body: Body, limit_bytes: usize) -> Result<Bytes, NoBody> {
    if body.size_hint().lower() > limit_bytes as u64 {
        return Err(NoBody::TooLong);
    }
    match Limited::new(body, limit_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(NoBody::TooLong),
        Err(error) => Err(NoBody::Broken(error.to_string())),
    }
}

pub(super) fn full(bytes: Bytes) -> Body {
    boxed(Full::new(bytes))
}

pub(super) fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(BodyError::new).boxed_unsync()
}
