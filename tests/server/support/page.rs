//! A page of the operator's port, read over a connection of its own.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::within;

/// What came back.
#[derive(Debug, Clone)]
pub struct Page {
    pub status: u16,
    /// In lower case, with the values as they came.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Page {
    /// Gets a page.
    pub async fn get(address: SocketAddr, path: &str, accept: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
        );
        within(Self::ask(address, &request)).await
    }

    /// Sends this, and reads to the end.
    pub async fn ask(address: SocketAddr, request: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|it| it.split(' ').nth(1));
        let headers = lines.filter_map(|it| it.split_once(": "));
        Self {
            status: status.and_then(|it| it.parse().ok()).expect("a status"),
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str())
    }
}
