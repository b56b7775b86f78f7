//! The commands of one stream that are unanswered.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use semel_proto::v1::SessionResponse;
use semel_proto::v1::session_response::Answer;

use super::command::{Command, Frame, Reply, Unanswered};

/// The unanswered commands by their ids, at most a window of them.
pub(super) struct Pending {
    replies: HashMap<u64, Reply, BuildHasherDefault<IdHasher>>,
    last_id: u64,
}

/// What the peer sent is no answer to anything.
#[derive(Debug)]
pub(super) struct Malformed(pub(super) &'static str);

impl Pending {
    pub(super) fn new() -> Self {
        Self {
            replies: HashMap::default(),
            last_id: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.replies.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    /// Gives `command` the stream's next id and keeps where its answer goes; `None` when nobody
    /// waits for that any more. The id counts as unanswered until it is answered, also when the
    /// caller leaves: the server counts it so.
    pub(super) fn number(&mut self, command: Command) -> Option<Frame> {
        if command.reply.is_abandoned() {
            return None;
        }
        self.last_id += 1;
        self.replies.insert(self.last_id, command.reply);
        Some(Frame {
            id: self.last_id,
            traceparent: command.traceparent,
            command: Some(command.encoded),
        })
    }

    /// Hands an answer to the caller that waits for it.
    ///
    /// # Errors
    /// `Malformed` when it answers nothing that was asked: the two sides no longer agree on what
    /// is what, so nothing that this stream says may be believed.
    pub(super) fn settle(&mut self, response: SessionResponse) -> Result<(), Malformed> {
        let answer = match response.answer {
            None => return Err(Malformed("a message without an answer")),
            Some(Answer::Opened(_)) => return Err(Malformed("a second `opened`")),
            Some(answer) => answer,
        };
        let Some(reply) = self.replies.remove(&response.id) else {
            return Err(Malformed("an answer to nothing that was asked"));
        };
        reply
            .settle(answer)
            .map_err(|_| Malformed("an answer of another kind than its command"))
    }

    /// Takes back commands that could not be sent, so that nothing answers them.
    pub(super) fn withdraw(&mut self, frames: &[Frame]) -> Vec<Reply> {
        let replies = frames
            .iter()
            .filter_map(|frame| self.replies.remove(&frame.id));
        replies.collect()
    }

    /// Tells every caller why no answer will come.
    pub(super) fn refuse_all(&mut self, why: &Unanswered) {
        for (_, reply) in self.replies.drain() {
            reply.refuse(why.clone());
        }
    }
}

/// Ids are counted by this client, so nobody can choose them to collide: one multiplication
/// spreads them well enough.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not called for a u64; right for anything else all the same.
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 / golden ratio; the table takes its tags from the upper bits.
        let spread = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = spread ^ (spread >> 32);
    }
}
