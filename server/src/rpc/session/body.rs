//! A stream's answers as they are handed to HTTP/2: what they take is given back when they are
//! written.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::Frame;
use tonic::{Status, body::Body};

use super::account::{Account, Charge};

/// What the messages take that were taken out of the outbox and are not in a piece of the body yet.
/// Between the two tonic encodes them; an extension of the answer.
#[derive(Debug, Clone)]
pub(in crate::rpc) struct OnItsWay {
    account: Arc<Account>,
    charge: Arc<Mutex<Option<Charge>>>,
}

impl OnItsWay {
    pub(super) fn new(account: Arc<Account>) -> Self {
        Self {
            account,
            charge: Arc::default(),
        }
    }

    pub(super) fn add(&self, charge: Charge) {
        let mut all = self.charge.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *all {
            Some(all) => all.merge(charge),
            None => *all = Some(charge),
        }
    }

    #[cfg(test)]
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    pub(super) fn take(&self) -> Option<Charge> {
        let mut all = self.charge.lock().unwrap_or_else(PoisonError::into_inner);
        all.take()
    }

    /// The body of the answer that this came with.
    pub(in crate::rpc) fn count(self, body: Body) -> Body {
        Body::new(AnswerBody {
            body,
            on_its_way: self,
            end: None,
        })
    }
}

type Polled = Option<Result<Frame<Bytes>, Status>>;

struct AnswerBody {
    body: Body,
    on_its_way: OnItsWay,
    end: Option<End>,
}

/// The end of a stream waits until all before it is written: with its end in its hands HTTP/2 would
/// keep the rest for as long as the client leaves it, and nobody could take it back.
struct End {
    written: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    last: Polled,
}

/// A piece of the body, and what it takes.
struct Counted {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Polled> {
        loop {
            if let Some(End { written, last }) = &mut self.end {
                if let Some(all) = written {
                    ready!(all.as_mut().poll(context));
                    *written = None;
                }
                return Poll::Ready(last.take());
            }
            let last = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(self.count(bytes))))),
                    Err(trailers) => Some(Ok(trailers)),
                },
                last => last,
            };
            drop(self.on_its_way.take());
            let account = self.on_its_way.account.clone();
            self.end = Some(End {
                written: Some(Box::pin(async move { account.all_given_back().await })),
                last,
            });
        }
    }
}

impl AnswerBody {
    fn count(&self, bytes: Bytes) -> Bytes {
        match self.on_its_way.take() {
            Some(charge) => Bytes::from_owner(Counted {
                bytes,
                _charge: charge,
            }),
            None => bytes,
        }
    }
}
