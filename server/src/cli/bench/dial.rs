//! A connection to the server, as lean as the server's own end of it.

use std::io;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::net::Cork;

/// Connects, with requests that are ready together written together.
pub(super) async fn dial(uri: Uri) -> io::Result<TokioIo<Cork<TcpStream>>> {
    let host = uri.host().unwrap_or_default();
    // As a URI writes an IPv6 address.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(Cork::new(stream)))
}
