//! What the answers of streams may take, read or not.

use std::pin::pin;

use semel_proto::v1::session_request::Command as Wire;
use tokio::time::sleep;

use super::{super::account::ANSWER, *};
use crate::key::{
    AttemptId, PolicyId, Span, Token,
    transition::{ClaimGrant, Details},
};

/// The answer of a Fail TERMINAL with a result of so many bytes.
fn failed(bytes: usize, repeat: bool) -> Result<Reply, LaneError> {
    let outcome = Outcome::Failed {
        result: vec![7; bytes].into(),
        error: String::new(),
        failed_at: Timestamp::from_micros(1),
        fence: Fence::from_i64(1),
        attempt: 1,
        traceparent: String::new(),
    };
    Ok(Reply::Fail { repeat, outcome })
}

/// The answer of a Claim that is granted, with a checkpoint of so many bytes.
fn granted(bytes: usize) -> Result<Reply, LaneError> {
    Ok(Reply::Claim(ClaimReply::Claimed(ClaimGrant {
        token: Token {
            fence: Fence::from_i64(2),
            attempt_id: AttemptId::new(&[1; 16]).unwrap(),
            policy_id: PolicyId::from_i64(1),
        },
        attempt: 2,
        lease: Span::from_secs(30),
        checkpoint: Some(vec![1; bytes].into()),
        last_error: String::new(),
    })))
}

/// The answer of a Claim by which the key died.
fn dead(bytes: usize) -> Result<Reply, LaneError> {
    Ok(Reply::Claim(ClaimReply::Standing(Outcome::Dead {
        attempts: 3,
        last_error: "x".repeat(bytes),
        dead_at: Timestamp::from_micros(1),
        fence: Fence::from_i64(1),
        traceparent: String::new(),
    })))
}

/// A Fail with a result of so many bytes.
fn fail(bytes: usize) -> Option<Wire> {
    Some(Wire::Fail(v1::FailRequest {
        result: vec![7; bytes].into(),
        ..v1::FailRequest::default()
    }))
}

#[tokio::test]
async fn a_stream_that_keeps_up_gets_all_large_answers() {
    let budget = Budget::new(4 * MIB);
    let (outbox, mut answers) = open(&budget);
    opened(&mut answers).await;
    for number in 1..=20 {
        outbox.take(ticket(number), key(), completed(3 * MIB));
        assert_eq!(budget.left(), MIB - ANSWER);
        assert!(is_result(&mut answers).await, "{number}");
    }
    assert_eq!(budget.left(), 4 * MIB);
}

#[tokio::test]
async fn an_answer_takes_room_until_it_is_written() {
    let budget = Budget::new(4 * MIB);
    let (outbox, mut answers) = open(&budget);
    opened(&mut answers).await;
    outbox.take(ticket(1), key(), completed(MIB));
    let answer = timeout(SOON, answers.next()).await.unwrap();
    assert!(answer.is_some_and(|answer| answer.is_ok()));
    // Taken out, and on its way.
    assert_eq!(budget.left(), 3 * MIB - ANSWER);
    drop(answers.on_its_way().take());
    assert_eq!(budget.left(), 4 * MIB);
}

#[tokio::test]
async fn streams_that_nobody_reads_leave_room_for_the_large_answers_of_others() {
    let budget = Budget::new(64 * MIB);
    let mut unread = Vec::new();
    for stream in 0..16 {
        let (outbox, answers) = open(&budget);
        for number in 1..=200 {
            // A Fail that is sent again is as good as a Claim.
            let answer = match stream % 2 {
                0 => completed(MIB),
                _ => failed(MIB, true),
            };
            outbox.take(ticket(number), key(), answer);
        }
        unread.push((outbox, answers));
    }
    assert!(budget.left() > 4 * MIB);
    let (outbox, mut answers) = open(&budget);
    opened(&mut answers).await;
    outbox.take(ticket(1), key(), completed(MIB));
    assert!(is_result(&mut answers).await);

    // Each of the others has had its part, and every command its answer.
    for (outbox, mut answers) in unread {
        drop(outbox);
        opened(&mut answers).await;
        let mut results = 0;
        for _ in 1..=200 {
            results += usize::from(is_result(&mut answers).await);
        }
        assert!((1..=8).contains(&results), "{results}");
        assert!(next(&mut answers).await.is_none());
    }
    assert_eq!(budget.left(), 64 * MIB);
}

#[tokio::test]
async fn what_changed_something_is_told_however_little_room_there_is() {
    let budget = Budget::new(MIB);
    let (outbox, mut answers) = open(&budget);
    opened(&mut answers).await;
    outbox.take(ticket(1), key(), completed(MIB - 2 * ANSWER));
    let told = [granted(16 * 1024), dead(4 * 1024), failed(MIB, false)];
    for (number, answer) in (2..).zip(told) {
        outbox.take(ticket(number), key(), answer);
    }
    for number in 1..=4 {
        let told = next(&mut answers).await.unwrap().unwrap();
        assert_eq!(told.id, number);
        let is_refused = matches!(told.answer, Some(Answer::Error(_)));
        assert!(!is_refused, "{number}");
    }
    assert_eq!(budget.left(), MIB);
}

#[tokio::test]
async fn a_fail_finds_room_for_its_answer_before_it_is_carried_out() {
    let budget = Budget::new(4 * MIB);
    let (unread, unread_answers) = open(&budget);
    unread.take(ticket(1), key(), completed(3 * MIB));

    let (outbox, mut answers) = open(&budget);
    opened(&mut answers).await;
    // Small ones need none.
    for small in [fail(10), None] {
        assert!(outbox.reserve(small.as_ref()).await.is_none());
    }
    let large = fail(2 * MIB);
    let mut reserving = pin!(outbox.reserve(large.as_ref()));
    tokio::select! {
        biased;
        _ = &mut reserving => panic!("there is no room"),
        () = tokio::task::yield_now() => {}
    }
    drop(unread_answers);
    let room = timeout(SOON, reserving).await.unwrap().expect("room");
    assert_eq!(budget.left(), 2 * MIB - ANSWER);
    // The answer is in this room; it needs no more.
    let reserved = Reserved::new(outbox.clone(), room);
    reserved.take(ticket(1), key(), failed(2 * MIB, false));
    assert_eq!(budget.left(), 2 * MIB - ANSWER);
    let told = next(&mut answers).await.unwrap().unwrap();
    assert!(matches!(told.answer, Some(Answer::Fail(_))));
    assert_eq!(budget.left(), 4 * MIB);

    // It gives back what it does not need.
    let room = outbox.reserve(large.as_ref()).await.expect("room");
    let reserved = Reserved::new(outbox.clone(), room);
    reserved.take(ticket(2), key(), Err(LaneError::Contention));
    assert_eq!(budget.left(), 4 * MIB - ANSWER);
    // And holds up nobody who is gone.
    drop(answers);
    outbox.take(ticket(3), key(), completed(1));
    let (_other, _answers) = {
        let (other, answers) = open(&budget);
        other.take(ticket(1), key(), completed(3 * MIB));
        (other, answers)
    };
    let gone = timeout(SOON, outbox.reserve(large.as_ref())).await;
    assert!(gone.unwrap().is_none());
}

#[tokio::test]
async fn a_lookup_is_not_charged_for_the_delivery_that_it_does_not_send() {
    let looked_up = || {
        let Ok(Reply::Claim(ClaimReply::Standing(outcome))) = completed(10) else {
            panic!("not completed")
        };
        let details = Details {
            owner: String::new(),
            attempt_id: AttemptId::from_stored([1; 16]),
            traceparent: String::new(),
            created_at: Timestamp::from_micros(1),
            claimed_at: Timestamp::from_micros(1),
            retention: None,
            checkpoint: None,
            fingerprint: Bytes::new(),
            delivery: Some(vec![0; MIB].into()),
        };
        Ok(Reply::Lookup { outcome, details })
    };
    let budget = Budget::new(4 * MIB);
    let (outbox, _answers) = open(&budget);
    outbox.take(ticket(1), key(), looked_up());
    assert_eq!(budget.left(), 4 * MIB - ANSWER - 10);
    outbox.take_with_delivery(ticket(2), key(), looked_up());
    assert_eq!(budget.left(), 3 * MIB - 2 * (ANSWER + 10));
}

#[tokio::test]
async fn small_answers_and_error_texts_are_counted_too() {
    let budget = Budget::new(4 * MIB);
    let (outbox, answers) = open(&budget);
    outbox.take(ticket(1), key(), completed(0));
    outbox.take(ticket(2), key(), dead(4_000));
    outbox.lost(ticket(3));
    assert_eq!(budget.left(), 4 * MIB - 3 * ANSWER - 4_000);
    drop(answers);
    assert_eq!(budget.left(), 4 * MIB);
}

#[tokio::test]
async fn what_nobody_reads_any_more_takes_no_room() {
    let budget = Budget::new(MIB);
    let (outbox, answers) = open(&budget);
    outbox.take(ticket(1), key(), completed(MIB / 2));
    drop(answers);
    assert_eq!(budget.left(), MIB);
    outbox.take(ticket(2), key(), completed(MIB / 2));
    assert_eq!(budget.left(), MIB);
    assert!(outbox.is_closed());
    timeout(SOON, outbox.closed()).await.unwrap();
}

/// Whether the stream may be read on with so many commands under way.
async fn has_room(outbox: &Outbox, under_way: usize) -> bool {
    tokio::select! {
        biased;
        () = outbox.has_room(|| under_way) => true,
        () = tokio::task::yield_now() => false,
    }
}

#[tokio::test]
async fn there_is_room_again_when_enough_was_written() {
    let (outbox, mut answers) = open(&Budget::new(ALL_OUTBOX_BYTES));
    assert!(has_room(&outbox, 1_000).await);
    for number in 1..=3 {
        outbox.take(ticket(number), key(), completed(OUTBOX_BYTES / 2));
    }
    assert!(!has_room(&outbox, 0).await);
    let waits = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.has_room(|| 1_000).await }
    });
    opened(&mut answers).await;
    for _ in 0..2 {
        assert!(is_result(&mut answers).await);
    }
    timeout(SOON, waits).await.unwrap().unwrap();
}

#[tokio::test]
async fn without_room_for_all_a_stream_is_read_on_for_a_few_commands() {
    let budget = Budget::new(MIB);
    let (unread, unread_answers) = open(&budget);
    let (reads, mut answers) = open(&budget);
    opened(&mut answers).await;
    for number in 0..1024 {
        unread.take(ticket(number), key(), completed(10));
    }
    assert_eq!(budget.left(), 0);
    assert!(!has_room(&unread, 0).await, "it holds all of it");
    assert!(has_room(&reads, 3).await && !has_room(&reads, 4).await);
    // Its answers come, though they are beyond the budget.
    reads.take(ticket(1), key(), completed(1000));
    assert!(is_result(&mut answers).await);
    // Others make room, and nobody tells: it is looked.
    let waits = tokio::spawn(async move { reads.has_room(|| 4).await });
    sleep(Duration::from_millis(1)).await;
    drop(unread_answers);
    timeout(SOON, waits).await.unwrap().unwrap();
}
