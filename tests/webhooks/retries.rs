//! A sender's retries against a receiver that fails.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use semel_client::webhook::{
    Preset, Receiver, Sender,
    sender::{Attempt, DeadLetter, Event, HttpClient, Reason, Schedule, http_client},
    signature::{Scheme, Verifier},
};

use crate::support::*;

/// Quick, so that no test waits for an hour; what the default is, its own test says.
fn quick(attempts: usize) -> Schedule {
    Schedule::new(vec![Duration::from_millis(1); attempts - 1])
}

fn sender(attempts: usize) -> Sender<HttpClient> {
    Sender::new(http_client())
        .secret(secret())
        .schedule(quick(attempts))
}

async fn hooks(semel: &Semel, handler: impl Fn(usize) -> Told + Send + Sync + 'static) -> Service {
    let receiver = Receiver::new(semel.client(), "hooks", Preset::standard_webhooks(secret()));
    Service::start(receiver, move |n, _, _| handler(n)).await
}

#[tokio::test]
async fn an_event_is_sent_again_under_the_same_key_until_it_is_taken() {
    let semel = Semel::start("[namespaces.hooks]\nbackoff_initial = \"1ms\"\n").await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let receiver = Receiver::new(semel.client(), "hooks", Preset::standard_webhooks(secret()));
    let service = Service::start(receiver, {
        let seen = seen.clone();
        move |n, headers, body| {
            let mut seen = seen.lock().unwrap();
            seen.push((
                headers["webhook-id"].clone(),
                headers["idempotency-key"].clone(),
                body,
            ));
            say(if n < 2 { 500 } else { 200 }, "taken")
        }
    })
    .await;
    let event = Event::new("{\"type\":\"order.paid\"}");
    let id = event.id().to_owned();
    let sender = sender(50);
    let sent = sender.send(service.url().parse().unwrap(), event.clone());
    let delivered = within(sent).await.unwrap();
    assert_eq!(&delivered.answer.body[..], b"taken");
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen.len(), 3);
    for (webhook_id, key, body) in &seen {
        assert_eq!(webhook_id, &id);
        assert_eq!(key, &format!("\"{id}\""));
        assert_eq!(body, event.body());
    }
    // And once more, as after a restart that forgot: nothing is done again.
    let again = sender.send(service.url().parse().unwrap(), event);
    let delivered = within(again).await.unwrap();
    assert_eq!(delivered.answer.headers["idempotent-replayed"], "true");
    assert_eq!(service.begun(), 3);
}

#[tokio::test]
async fn what_is_not_taken_is_a_dead_letter_with_body_headers_and_last_answer() {
    let semel =
        Semel::start("[namespaces.hooks]\nattempts = 100\nbackoff_initial = \"1ms\"\n").await;
    let service = hooks(&semel, |_| say(503, "not now")).await;
    let buried = Arc::new(Mutex::new(Vec::<DeadLetter>::new()));
    let sender = sender(3).on_dead_letter({
        let buried = buried.clone();
        move |letter| {
            let buried = buried.clone();
            async move { buried.lock().unwrap().push(letter) }
        }
    });
    let event = Event::new("{}").header("x-own".parse().unwrap(), "1".parse().unwrap());
    let sent = sender.send(service.url().parse().unwrap(), event.clone());
    let letter = within(sent).await.unwrap_err();
    assert_eq!(
        (letter.reason, letter.attempts),
        (Reason::AttemptsUsedUp, 3)
    );
    let buried = buried.lock().unwrap();
    assert_eq!(buried.len(), 1);
    assert_eq!(buried[0].event, event);
    let Some(Attempt::Answered(answer)) = &buried[0].last else {
        panic!("it was answered")
    };
    assert_eq!(answer.status, 503);
    let shown = buried[0].to_string();
    assert!(
        shown.contains(event.id()) && shown.contains("503"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_final_refusal_and_410_end_it_at_once() {
    for (status, reason) in [
        (400, Reason::Refused),
        (422, Reason::Refused),
        (410, Reason::Gone),
    ] {
        let semel = Semel::start("").await;
        let service = hooks(&semel, move |_| say(status, "no")).await;
        let sender = sender(9);
        let sent = sender.send(service.url().parse().unwrap(), Event::new("{}"));
        let letter = within(sent).await.unwrap_err();
        assert_eq!((letter.reason, letter.attempts), (reason, 1), "{status}");
    }
}

#[tokio::test]
async fn nobody_there_and_no_answer_are_tried_again_too() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}/", listener.local_addr().unwrap());
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    for url in [silent, closed] {
        let sender = sender(2).timeout(Duration::from_millis(50));
        let sent = sender.send(url.parse().unwrap(), Event::new("{}"));
        let letter = within(sent).await.unwrap_err();
        assert_eq!(
            (letter.reason, letter.attempts),
            (Reason::AttemptsUsedUp, 2)
        );
        assert!(matches!(letter.last, Some(Attempt::Unanswered(_))));
    }
}

#[tokio::test]
async fn two_secrets_make_two_signatures_and_either_is_enough() {
    let other = semel_client::webhook::signature::Secret::raw("another").unwrap();
    for preset in [
        Preset::standard_webhooks(secret()),
        Preset::standard_webhooks(other.clone()),
    ] {
        let semel = Semel::start("").await;
        let receiver = Receiver::new(semel.client(), "hooks", preset);
        let service = Service::start(receiver, |_, _, _| say(200, "")).await;
        let sender = sender(1).secret(other.clone());
        let sent = sender.send(service.url().parse().unwrap(), Event::new("{}"));
        assert_eq!(within(sent).await.unwrap().answer.status, 200);
    }
}

#[tokio::test]
async fn the_receiver_knows_which_secret_matched() {
    let now = std::time::SystemTime::now();
    let old = semel_client::webhook::signature::Secret::raw("old").unwrap();
    let verifier = Verifier::new(Scheme::Standard, secret()).or(old.clone());
    for (signed_with, index) in [(secret(), 0), (old, 1)] {
        let mut headers = http::HeaderMap::new();
        let signature =
            semel_client::webhook::signature::sign_standard(&signed_with, "msg_1", now, b"{}");
        let time = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        headers.insert("webhook-id", "msg_1".parse().unwrap());
        headers.insert("webhook-timestamp", time.into());
        headers.insert("webhook-signature", signature.parse().unwrap());
        let verified = verifier.verify(&headers, b"{}", now).unwrap();
        assert_eq!(verified.secret, index);
    }
}

#[tokio::test]
async fn many_events_are_sent_at_once_but_not_more_than_allowed() {
    let now = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let most = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let http = tower::service_fn({
        let (now, most) = (now.clone(), most.clone());
        move |_: http::Request<_>| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                use std::sync::atomic::Ordering::SeqCst;
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                now.fetch_sub(1, SeqCst);
                let body = http_body_util::Full::<bytes::Bytes>::default();
                Ok::<_, std::convert::Infallible>(http::Response::new(body))
            }
        }
    });
    let sender = Sender::new(http).concurrency(8);
    let mut sent = Vec::new();
    for _ in 0..200 {
        let to = "http://receiver.example/".parse().unwrap();
        sent.push(sender.spawn(to, Event::new("{}")).await);
    }
    for sent in sent {
        within(sent).await.unwrap().unwrap();
    }
    assert_eq!(most.load(std::sync::atomic::Ordering::SeqCst), 8);
}

#[tokio::test]
async fn a_sender_that_stops_loses_no_event_without_a_word() {
    let semel = Semel::start("").await;
    let service = hooks(&semel, |_| say(500, "")).await;
    let hour = Schedule::new([Duration::from_secs(3_600)]);
    let sender = sender(1).schedule(hour);
    let sent = sender
        .spawn(service.url().parse().unwrap(), Event::new("{}"))
        .await;
    until("the first attempt is made", || service.begun() == 1).await;
    within(sender.stop()).await;
    let letter = within(sent).await.unwrap().unwrap_err();
    assert_eq!((letter.reason, letter.attempts), (Reason::Stopped, 1));
}

#[tokio::test]
async fn a_sender_that_stops_makes_no_further_attempts_for_events_in_its_queue() {
    let semel = Semel::start("").await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let handlers_gate = gate.clone();
    let service = hooks(&semel, move |_| Told {
        gate: Some(handlers_gate.clone()),
        ..say(200, "")
    })
    .await;
    let sender = sender(1).concurrency(1);
    let mut sent = Vec::new();
    for _ in 0..10 {
        let to = service.url().parse().unwrap();
        sent.push(sender.spawn(to, Event::new("{}")).await);
    }
    until("the first attempt is made", || service.begun() == 1).await;
    let stopping = tokio::spawn(async move { sender.stop().await });
    let mut stopped = 0;
    for sent in sent.drain(1..) {
        let letter = within(sent).await.unwrap().unwrap_err();
        assert_eq!((letter.reason, letter.attempts), (Reason::Stopped, 0));
        stopped += 1;
    }
    gate.add_permits(1);
    within(stopping).await.unwrap();
    assert_eq!((stopped, service.begun()), (9, 1));
}

#[tokio::test]
async fn a_success_whose_body_never_ends_is_a_success() {
    let http = tower::service_fn(|_: http::Request<_>| async move {
        Ok::<_, std::convert::Infallible>(http::Response::new(Hanging))
    });
    let sender = Sender::new(http).timeout(Duration::from_millis(50));
    let to = "http://receiver.example/".parse().unwrap();
    let delivered = within(sender.send(to, Event::new("{}"))).await.unwrap();
    assert_eq!(
        (delivered.answer.status.as_u16(), delivered.attempts),
        (200, 1)
    );
}

struct Hanging;

impl http_body::Body for Hanging {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_dead_letter_is_given_back_also_when_its_callback_panics() {
    let semel = Semel::start("").await;
    let service = hooks(&semel, |_| say(400, "no")).await;
    let sender = sender(1).on_dead_letter(async |_| panic!("no room for it"));
    let sent = sender.send(service.url().parse().unwrap(), Event::new("{}"));
    assert_eq!(within(sent).await.unwrap_err().reason, Reason::Refused);
}
