//! A connection that lets answers gather before it writes.
//!
//! When a lane answers a batch, every one of its callers' tasks has something to send, one after
//! another. A connection that wrote each as it came would make a system call, and wake the other
//! end, for every single answer. So the first write after a rest is put off once, to behind the
//! tasks that are ready by now, and takes along what they send. Nothing waits for time: where no
//! task is ready, the write follows at once.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module's documentation.
#[derive(Debug)]
pub struct Cork<S> {
    stream: S,
    state: State,
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Cork<S> {
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
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
