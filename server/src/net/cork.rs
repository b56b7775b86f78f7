//! A connection that lets answers gather before it writes.
//!
//! When a lane answers a batch, every one of its callers' tasks has something to send, one after
//! another. A connection that wrote each as it came would make a system call, and wake the other
//! end, for every single answer. So the first write after a rest is put off once, to behind the
//! tasks that are ready by now, and takes along what they send. Nothing waits for time: where no
//! task is ready, the write follows at once.
//!
//! At its end it reads on for a moment after its last word: a socket that is closed while something
//! lies unread in it is reset, and the reset can overtake that word. So a client that was still
//! sending when the server stopped could miss the end of its stream.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long the other end may take to close after our last word.
const LINGER: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug)]
pub struct Cork<S> {
    stream: S,
    state: State,
    /// Set once the last word has been said.
    linger: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, PartialEq)]
enum State {
    /// Nothing was written since the last flush.
    Resting,
    /// A write was put off and is the next thing to do.
    Gathered,
}

impl<S> Cork<S> {
    /// Writes of `stream`, gathered.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            state: State::Resting,
            linger: None,
        }
    }

    /// Whether the write may go on; else it has been put to the end of the queue.
    fn gather(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.state == State::Gathered {
            return Poll::Ready(());
        }
        self.state = State::Gathered;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cork<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Cork<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.gather(context));
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.gather(context));
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = std::task::ready!(Pin::new(&mut self.stream).poll_flush(context));
        self.state = State::Resting;
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            std::task::ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        let linger = this.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        if linger.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut unread = [0; 8 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut unread);
            let read = Pin::new(&mut this.stream).poll_read(context, &mut buffer);
            // Closed at the other end, or broken: there is nobody left to overtake.
            if std::task::ready!(read).is_err() || buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
