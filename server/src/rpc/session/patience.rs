//! How long answers may wait for a client that does not read.

use std::{sync::Weak, time::Duration};

use tokio::time::sleep;

use super::account::{Account, MODEST};

/// How often it is looked. Time is counted in looks, so that a process that was stopped for a while
/// does not blame its clients.
const LOOK: Duration = Duration::from_secs(1);
/// How many looks an answer may wait: half a minute for a message of 4 MiB, on a line of 140 KiB a
/// second.
const PATIENCE: u32 = 30;
/// How much faster they are used up while others need the room. Five seconds for all of the budget
/// ask for 51 MiB a second, of which a line of a gigabit has twice as much.
const HASTE: u32 = 6;

/// Watches over a stream. True when answers have waited for too long: what had been answered at one
/// look was not written by [`PATIENCE`] looks later. False when the stream has ended.
pub(super) async fn is_used_up(stream: Weak<Account>) -> bool {
    // The answers that were there when it was last seen that all before them are written.
    let mut answers = 0;
    let mut looks = 0;
    loop {
        sleep(LOOK).await;
        let Some(stream) = stream.upgrade() else {
            return false;
        };
        if stream.written() >= answers {
            (answers, looks) = (stream.put(), 0);
            continue;
        }
        let makes_room = stream.held() > MODEST && stream.budget().is_crowded();
        looks += if makes_room { HASTE } else { 1 };
        if looks >= PATIENCE {
            return true;
        }
    }
}
