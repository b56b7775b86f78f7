//! Output of the command: passed through while it comes, and its beginning kept.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What one stream brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Captured {
    /// Its beginning, up to the limit.
    pub bytes: Vec<u8>,
    /// How much more there was.
    pub cut_bytes: u64,
}

/// How much of a stream is kept, and how large a stored run is at most: the default of a
/// namespace's largest result.
pub(super) const LARGEST_STORED: usize = 256 * 1024;
/// How long to wait for the end of the output of a command that has ended. Something that it left
/// running in the background may hold it open for ever.
const GRACE: Duration = Duration::from_secs(2);

/// One stream of the command on its way to ours.
pub(super) struct Tap {
    kept: Arc<Mutex<Captured>>,
    passing: JoinHandle<()>,
}

/// What a stream brought.
pub(super) struct Closed {
    pub kept: Captured,
    /// It had not ended when the command had.
    pub is_cut_off: bool,
}

impl Tap {
    pub fn open(from: Option<impl AsyncRead + Unpin + Send + 'static>, to: impl AsFd) -> Self {
        // Past the buffer of `io::stdout`, which belongs to one thread at a time. Where it cannot
        // be had, such as when it was closed from the start, nobody watches.
        let to = to.as_fd().try_clone_to_owned().ok();
        let to = to.map(|fd| File::from_std(fd.into()));
        let kept = Arc::new(Mutex::new(Captured::default()));
        let keep = kept.clone();
        let passing = tokio::spawn(async move {
            let Some(from) = from else { return };
            let keep = |change: &mut dyn FnMut(&mut Captured)| {
                change(&mut keep.lock().unwrap_or_else(PoisonError::into_inner));
            };
            pass_through(from, to, LARGEST_STORED, keep).await;
        });
        Self { kept, passing }
    }

    /// Waits for the end of the stream, but not for long.
    pub async fn close(mut self) -> Closed {
        let is_cut_off = timeout(GRACE, &mut self.passing).await.is_err();
        self.passing.abort();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Closed {
            kept: kept.clone(),
            is_cut_off,
        }
    }
}

/// Passes `from` on to `to` until its end, and keeps the first `limit` bytes in `kept`.
///
/// A reader of ours that went away stops nothing: the operation is to be carried out whether or
/// not somebody watches, so the stream is read to its end, or the command would hang on a full
/// pipe.
async fn pass_through(
    mut from: impl AsyncRead + Unpin,
    mut to: Option<impl AsyncWrite + Unpin>,
    limit: usize,
    kept: impl Fn(&mut dyn FnMut(&mut Captured)),
) {
    let mut chunk = vec![0; 16 * 1024];
    // An error of a pipe is its end, as far as anybody can still read from it.
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let bytes = &chunk[..read];
        kept(&mut |kept| {
            let room = limit.saturating_sub(kept.bytes.len()).min(read);
            kept.bytes.extend_from_slice(&bytes[..room]);
            kept.cut_bytes += (read - room) as u64;
        });
        if let Some(watched) = &mut to {
            let passed = async {
                watched.write_all(bytes).await?;
                watched.flush().await
            };
            if passed.await.is_err() {
                to = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    async fn captured(input: &[u8], to: impl AsyncWrite + Unpin, limit: usize) -> Captured {
        let kept = RefCell::new(Captured::default());
        pass_through(input, Some(to), limit, |change| {
            change(&mut kept.borrow_mut())
        })
        .await;
        kept.into_inner()
    }

    #[tokio::test]
    async fn everything_passes_and_the_beginning_is_kept() {
        let mut seen = Vec::new();
        let kept = captured(b"hello world", &mut seen, 5).await;
        assert_eq!(seen, b"hello world");
        assert_eq!(
            kept,
            Captured {
                bytes: b"hello".to_vec(),
                cut_bytes: 6
            }
        );
    }

    #[tokio::test]
    async fn a_reader_that_went_away_stops_nothing() {
        let (gone, to) = tokio::io::duplex(1);
        drop(gone);
        let input = vec![b'x'; 100_000];
        assert_eq!(captured(&input, to, 200_000).await.bytes, input);
    }
}
