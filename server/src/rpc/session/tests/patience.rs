//! Streams whose answers nobody takes, by a clock of our own.

use tokio::{
    task::JoinHandle,
    time::{advance, sleep},
};

use super::{super::patience, *};

/// A stream with so many unread answers of so many bytes.
async fn unread(budget: &Arc<Budget>, answers: u64, bytes: usize) -> (Arc<Outbox>, AnswerStream) {
    let (outbox, mut stream) = open(budget);
    opened(&mut stream).await;
    for number in 1..=answers {
        outbox.take(ticket(number), key(), completed(bytes));
    }
    (outbox, stream)
}

/// After how many seconds the patience with a stream is used up; `None` when it has ended before.
fn watch(stream: &AnswerStream) -> JoinHandle<Option<u64>> {
    let stream = Arc::downgrade(stream.on_its_way().account());
    tokio::spawn(async move {
        let began = Instant::now();
        let is_used_up = patience::is_used_up(stream).await;
        is_used_up.then(|| began.elapsed().as_secs())
    })
}

#[tokio::test(start_paused = true)]
async fn answers_may_wait_for_half_a_minute() {
    let budget = Budget::new(MIB);
    for bytes in [0, 600 * 1024] {
        let (_outbox, stream) = unread(&budget, 1, bytes).await;
        let crowded = bytes > 0;
        let expected = if crowded { 6 } else { 31 };
        assert_eq!(watch(&stream).await.unwrap(), Some(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_now_and_then_may_not_keep_an_answer_waiting_for_longer_either() {
    let (_outbox, mut stream) = unread(&Budget::new(MIB), 100, 10).await;
    let watched = watch(&stream);
    while !watched.is_finished() {
        sleep(Duration::from_secs(1)).await;
        next(&mut stream).await;
    }
    assert_eq!(watched.await.unwrap(), Some(31));
}

#[tokio::test(start_paused = true)]
async fn who_reads_may_go_on_for_ever_and_who_holds_little_need_not_make_room() {
    let budget = Budget::new(MIB);
    let (outbox, mut reads) = unread(&budget, 0, 0).await;
    let (_little, little) = unread(&budget, 1, 10).await;
    let (_much, much) = unread(&budget, 1, 600 * 1024).await;
    let watched = [watch(&reads), watch(&little), watch(&much)];
    for number in 0..40 {
        for _ in 0..10 {
            outbox.take(ticket(number), key(), completed(40 * 1024));
        }
        sleep(Duration::from_secs(3)).await;
        for _ in 0..10 {
            next(&mut reads).await.unwrap().unwrap();
        }
    }
    // Whoever reads is found idle, in the end.
    drop((outbox, reads));
    let [reads, little, much] = watched;
    assert_eq!(reads.await.unwrap(), None);
    assert_eq!(little.await.unwrap(), Some(31));
    assert_eq!(much.await.unwrap(), Some(6));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stood_still_gives_its_clients_time() {
    let (_outbox, mut stream) = unread(&Budget::new(MIB), 1, 10).await;
    let watched = watch(&stream);
    sleep(Duration::from_millis(1_500)).await;
    advance(Duration::from_secs(600)).await;
    sleep(Duration::from_secs(5)).await;
    assert!(!watched.is_finished());
    next(&mut stream).await.unwrap().unwrap();
    drop((_outbox, stream));
    assert_eq!(watched.await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn streams_that_nobody_reads_do_not_keep_large_answers_from_others() {
    let budget = Budget::new(ALL_OUTBOX_BYTES);
    let is_full = async || {
        let (outbox, mut answers) = unread(&budget, 1, 256 * 1024).await;
        drop(outbox);
        !is_result(&mut answers).await
    };
    let mut streams = Vec::new();
    while !is_full().await {
        assert!(streams.len() < 500);
        let (outbox, stream) = unread(&budget, 20, 256 * 1024).await;
        let watched = watch(&stream);
        streams.push(tokio::spawn(async move {
            watched.await.unwrap().expect("nobody reads it");
            drop((outbox, stream));
        }));
    }
    let began = Instant::now();
    while is_full().await {
        sleep(Duration::from_millis(50)).await;
        assert!(began.elapsed() < Duration::from_secs(11), "it stays full");
    }
}
