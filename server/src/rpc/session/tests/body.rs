//! The body of a stream, piece by piece.

use super::*;

/// Answers, as tonic makes a body of them.
async fn body(budget: &Arc<Budget>) -> (Arc<Outbox>, Body) {
    let (outbox, answers) = open(budget);
    let on_its_way = answers.on_its_way().clone();
    let pieces = answers.map(|answer| {
        let message = answer.map(|answer| answer.encode_to_vec().into());
        message.map(hyper::body::Frame::data)
    });
    let mut body = on_its_way.count(Body::new(http_body_util::StreamBody::new(pieces)));
    body.frame().await.expect("opened").unwrap();
    (outbox, body)
}

#[tokio::test]
async fn a_piece_gives_back_what_it_takes_when_it_is_written() {
    let budget = Budget::new(4 * MIB);
    let (outbox, mut body) = body(&budget).await;
    outbox.take(ticket(1), key(), completed(MIB));
    let piece = timeout(SOON, body.frame()).await.unwrap();
    let mut piece = piece.unwrap().unwrap().into_data().unwrap();
    assert!(piece.len() > MIB);
    // In two parts, as HTTP/2 does.
    let part = piece.split_to(1000);
    drop(piece);
    assert!(budget.left() < 3 * MIB);
    drop(part);
    assert_eq!(budget.left(), 4 * MIB);
}

#[tokio::test]
async fn the_end_comes_when_all_before_it_is_written() {
    let budget = Budget::new(4 * MIB);
    let (outbox, mut body) = body(&budget).await;
    outbox.take(ticket(1), key(), completed(MIB));
    drop(outbox);
    let piece = timeout(SOON, body.frame()).await.unwrap();
    tokio::select! {
        biased;
        _ = body.frame() => panic!("it ends too early"),
        () = tokio::task::yield_now() => {}
    }
    drop(piece);
    assert!(timeout(SOON, body.frame()).await.unwrap().is_none());
    assert!(timeout(SOON, body.frame()).await.unwrap().is_none());
}
