//! Just enough of PostgreSQL's protocol to see that a server is ready, to make databases,
//! and to look at a few rows: `psql` need not be installed, and no client library either.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::Error;

/// One row as text, `None` where the value is null.
pub type Row = Vec<Option<String>>;

/// Version 3.0, which every server since 7.4 speaks.
const PROTOCOL_VERSION: i32 = 3 << 16;

/// Far beyond what these few statements return; a longer one means we lost the thread.
const LARGEST_MESSAGE_BYTES: usize = 16 << 20;

/// A connection as the superuser, without password: the cluster trusts its own machine.
pub(crate) struct Connection {
    stream: UnixStream,
}

impl Connection {
    /// Connects and waits until the server takes statements.
    pub(crate) fn open(socket: &Path, database: &str, timeout: Duration) -> Result<Self, Error> {
        let stream = UnixStream::connect(socket).map_err(Error::at("connect to", socket))?;
        for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
            set(&stream, Some(timeout)).map_err(Error::at("set a timeout on", socket))?;
        }
        let mut connection = Self { stream };
        let mut startup = PROTOCOL_VERSION.to_be_bytes().to_vec();
        for text in ["user", "postgres", "database", database, ""] {
            startup.extend_from_slice(text.as_bytes());
            startup.push(0);
        }
        connection.send(None, &startup)?;
        connection.until_ready()?;
        Ok(connection)
    }

    /// Runs `sql`, which may be several statements, and returns all their rows.
    pub(crate) fn query(&mut self, sql: &str) -> Result<Vec<Row>, Error> {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(Some(b'Q'), &body)?;
        self.until_ready()
    }

    /// Reads up to the server's "ready for query", and keeps the rows and the first error.
    fn until_ready(&mut self) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            // A fatal error is the last thing that the server says.
            let (kind, body) = match self.receive() {
                Ok(message) => message,
                Err(error) => return Err(refused.unwrap_or(error)),
            };
            match kind {
                b'Z' => return refused.map_or(Ok(rows), Err),
                b'E' => refused = refused.or_else(|| Some(statement_error(&body))),
                b'D' => rows.push(row(&body).ok_or_else(garbled)?),
                b'R' if body != [0; 4] => return Err(garbled()),
                _ => {}
            }
        }
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) -> Result<(), Error> {
        let length = i32::try_from(body.len() + 4).map_err(|_| garbled())?;
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(body);
        self.stream
            .write_all(&message)
            .map_err(Error::io("cannot write to PostgreSQL"))
    }

    fn receive(&mut self) -> Result<(u8, Vec<u8>), Error> {
        let mut read = |buffer: &mut [u8]| {
            self.stream
                .read_exact(buffer)
                .map_err(Error::io("cannot read from PostgreSQL"))
        };
        let mut head = [0; 5];
        read(&mut head)?;
        let [kind, length @ ..] = head;
        // The length counts itself.
        let length = usize::try_from(i32::from_be_bytes(length))
            .ok()
            .and_then(|length| length.checked_sub(4))
            .filter(|length| *length <= LARGEST_MESSAGE_BYTES)
            .ok_or_else(garbled)?;
        let mut body = vec![0; length];
        read(&mut body)?;
        Ok((kind, body))
    }
}

/// `name` as SQL spells an identifier that may hold anything.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn garbled() -> Error {
    Error::io("unexpected message from PostgreSQL")(std::io::ErrorKind::InvalidData.into())
}

/// An error is a list of fields, each a letter and a text that ends with a zero byte.
fn statement_error(body: &[u8]) -> Error {
    let field = |letter: u8| {
        body.split(|byte| *byte == 0)
            .find_map(|field| field.strip_prefix(&[letter]))
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .unwrap_or_default()
    };
    Error::Statement {
        code: field(b'C'),
        message: field(b'M'),
    }
}

/// A row is a count of values, each with its length before it; -1 stands for null.
fn row(body: &[u8]) -> Option<Row> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    (0..i16::from_be_bytes(*count))
        .map(|_| {
            let (length, after) = rest.split_first_chunk::<4>()?;
            rest = after;
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                return Some(None);
            };
            let (value, after) = rest.split_at_checked(length)?;
            rest = after;
            Some(Some(String::from_utf8_lossy(value).into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{quoted, row, statement_error};

    #[test]
    fn a_row_tells_null_from_empty() {
        let body = b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0";
        let expected = vec![Some("ab".to_owned()), None, Some(String::new())];
        assert_eq!(row(body), Some(expected));
    }

    #[test]
    fn a_row_cut_short_is_no_row() {
        assert_eq!(row(b"\0\x01\0\0\0\x05ab"), None);
    }

    #[test]
    fn an_error_shows_code_and_message() {
        let error = statement_error(b"SERROR\0C42P04\0Mdatabase exists\0\0");
        assert_eq!(
            error.to_string(),
            "PostgreSQL answered 42P04: database exists"
        );
    }

    #[test]
    fn a_quote_in_a_name_does_not_end_it() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
