//! A connection that lets answers gather before it writes.
//!
//! When a lane answers a batch, every one of its callers' tasks has something to send, one after
//! another. A connection that wrote each as it came would make a system call, and wake the other
//! end, for every single answer. So the first write after a rest is put off once, to behind the
//! tasks that are ready by now, and takes along what they send. Nothing waits for time: where no
//! task is ready, the write follows at once.
//!
//! To put off what nobody adds to is not free: it wakes another thread, which on an idle machine
//! takes as long as the rest of the call. So a connection that has seen no gain lately does so only
//! now and then, to see whether there is one again.
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
    /// How many writes in a row have gained nothing by being put off, or were not put off.
    in_vain: u32,
    /// Set once the last word has been said.
    linger: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, PartialEq)]
enum State {
    /// Nothing was written since the last flush.
    Resting,
    /// A write of so many bytes was put off and is the next thing to do.
    PutOff(usize),
    /// The writes of now are on their way.
    Gathered,
}

/// So many writes in a row that gained nothing make the next one go at once.
const ENOUGH: u32 = 32;

/// Of the writes that go at once, every so many-th is put off all the same.
const TRY_EVERY: u32 = 8;

impl<S> Cork<S> {
    /// Writes of `stream`, gathered.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            state: State::Resting,
            in_vain: 0,
            linger: None,
        }
    }

    /// Whether the write, of so many bytes, may go on; else it has been put to the end of the queue.
    fn gather(&mut self, context: &Context<'_>, bytes: usize) -> Poll<()> {
        match self.state {
            State::Gathered => return Poll::Ready(()),
            State::PutOff(before) if bytes > before => self.in_vain = 0,
            State::PutOff(_) => self.in_vain += 1,
            State::Resting => {
                let is_tried = self.in_vain < ENOUGH || self.in_vain.is_multiple_of(TRY_EVERY);
                if is_tried {
                    self.state = State::PutOff(bytes);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                self.in_vain += 1;
            }
        }
        self.state = State::Gathered;
        Poll::Ready(())
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
        std::task::ready!(self.gather(context, buffer.len()));
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = buffers.iter().map(|buffer| buffer.len()).sum();
        std::task::ready!(self.gather(context, bytes));
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

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::{Arc, Mutex},
        task::{Waker, ready},
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        sync::mpsc,
        time::{Instant, timeout},
    };

    use super::*;

    /// A stream of which every write is a system call that is remembered.
    #[derive(Default)]
    struct Calls(Arc<Mutex<Vec<Vec<u8>>>>);

    impl AsyncRead for Calls {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Calls {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.lock().unwrap().push(buffer.to_vec());
            Poll::Ready(Ok(buffer.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// As hyper does: takes all answers that there are, writes them, flushes, and waits for more.
    async fn connection(stream: Calls, mut answers: mpsc::UnboundedReceiver<&'static str>) {
        let mut cork = Cork::new(stream);
        let mut unwritten = Vec::new();
        poll_fn(|context| {
            loop {
                let is_over = loop {
                    match answers.poll_recv(context) {
                        Poll::Ready(Some(answer)) => unwritten.extend(answer.bytes()),
                        Poll::Ready(None) => break true,
                        Poll::Pending => break false,
                    }
                };
                if unwritten.is_empty() {
                    return if is_over {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    };
                }
                let written = ready!(Pin::new(&mut cork).poll_write(context, &unwritten)).unwrap();
                unwritten.drain(..written);
                ready!(Pin::new(&mut cork).poll_flush(context)).unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn what_tasks_that_are_ready_have_to_send_is_one_write() {
        let stream = Calls::default();
        let calls = stream.0.clone();
        let (queue, answers) = mpsc::unbounded_channel();
        let connection = tokio::spawn(connection(stream, answers));
        for batch in [["a", "b"], ["c", "d"]] {
            let queue = queue.clone();
            // The second comes up behind the connection, which the first has woken by then.
            tokio::spawn(async move {
                let [first, second] = batch;
                queue.send(first).unwrap();
                tokio::spawn(async move { queue.send(second).unwrap() });
            });
            // Whoever waits for the next batch finds this one written, however idle all else is.
            while calls.lock().unwrap().concat().last() != batch[1].as_bytes().last() {
                tokio::task::yield_now().await;
            }
        }
        drop(queue);
        connection.await.unwrap();
        assert_eq!(*calls.lock().unwrap(), [b"ab", b"cd"]);
    }

    /// A corked stream and its other end, with little room between them.
    fn pair() -> (Cork<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(16);
        (Cork::new(near), far)
    }

    /// How many of so many writes are put off, where each has grown by `gain` when it goes.
    fn put_off(cork: &mut Cork<Calls>, writes: u32, gain: usize) -> u32 {
        let context = &mut Context::from_waker(Waker::noop());
        let mut put_off = 0;
        for _ in 0..writes {
            let mut buffer = vec![0; 10];
            if Pin::new(&mut *cork)
                .poll_write(context, &buffer)
                .is_pending()
            {
                put_off += 1;
                buffer.resize(10 + gain, 0);
                let again = Pin::new(&mut *cork).poll_write(context, &buffer);
                assert!(again.is_ready(), "once only");
            }
            assert!(Pin::new(&mut *cork).poll_flush(context).is_ready());
        }
        put_off
    }

    #[test]
    fn a_write_is_put_off_while_that_gains_something_and_now_and_then_else() {
        let cork = &mut Cork::new(Calls::default());
        assert_eq!(put_off(cork, 50, 1), 50);
        assert_eq!(put_off(cork, ENOUGH, 0), ENOUGH);
        assert_eq!(put_off(cork, 80, 0), 10);
        // The first that gains something brings the others back.
        assert!(put_off(cork, 100, 1) > 90);
    }

    /// What comes of it in a time that is long enough; paused time gets there at once.
    async fn ends<T>(work: impl Future<Output = T>) -> T {
        timeout(2 * LINGER, work).await.expect("it ends")
    }

    #[tokio::test]
    async fn a_flush_leaves_nothing_unwritten() {
        let (mut cork, mut far) = pair();
        for round in 0..3 {
            let written = [round; 100];
            let mut read = [0; 100];
            let write = async {
                cork.write_all(&written).await.unwrap();
                cork.flush().await.unwrap();
            };
            let (_, done) = tokio::join!(write, far.read_exact(&mut read));
            done.unwrap();
            assert_eq!(read, written);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_follows_all_that_was_written() {
        let (mut cork, mut far) = pair();
        let mut read = Vec::new();
        let write = async {
            cork.write_all(&[7; 100]).await.unwrap();
            cork.shutdown().await.unwrap();
        };
        let both = async { tokio::join!(write, far.read_to_end(&mut read)).1 };
        ends(both).await.unwrap();
        assert_eq!(read, [7; 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_reads_on_for_a_bounded_time() {
        let (mut cork, mut far) = pair();
        let started = Instant::now();
        let sender = tokio::spawn(async move {
            // Far more than there is room for: each goes through only because somebody reads.
            let mut sent = 0;
            while far.write_all(&[1; 16]).await.is_ok() {
                sent += 1;
                tokio::time::sleep(LINGER / 10).await;
            }
            sent
        });
        ends(cork.shutdown()).await.unwrap();
        assert_eq!(started.elapsed(), LINGER);
        drop(cork);
        assert!(sender.await.unwrap() >= 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_ends_once_the_other_end_has_closed() {
        let (mut cork, mut far) = pair();
        let started = Instant::now();
        let closing = async {
            far.write_all(&[1; 100]).await.unwrap();
            drop(far);
        };
        let both = async { tokio::join!(cork.shutdown(), closing).0 };
        ends(both).await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
