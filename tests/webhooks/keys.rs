//! Where each provider's key is found, by deliveries as the provider sends them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use semel_client::webhook::{Preset, Receiver, signature::Secret};
use sha2::Sha256;

use crate::support::*;

const SECRET: &str = "a secret of the provider's";

fn hmac(secret: &[u8], content: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length");
    mac.update(content);
    mac.finalize().into_bytes().to_vec()
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

fn secret_text() -> Secret {
    Secret::text(SECRET).expect("a secret")
}

/// Delivers twice, and sees the handler run once, under `key`.
async fn delivers_once(preset: Preset, headers: &[(&str, String)], body: &str, key: &str) {
    let semel = Semel::start("").await;
    let receiver = Receiver::new(semel.client(), "hooks", preset);
    let service = Service::start(receiver, |_, _, _| say(200, "done")).await;
    let caller = Caller::new();
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let body = body.to_owned();
    for is_replayed in [false, true] {
        let answer = caller.post(&service.url(), &headers, body.clone()).await;
        let shown = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{key}: {shown}");
        assert_eq!(answer.is_replayed(), is_replayed, "{key}");
    }
    assert_eq!(service.begun(), 1, "{key}");
    let record = semel.client().lookup("hooks", key).await.unwrap();
    assert!(record.is_some(), "no record under {key}");
}

#[tokio::test]
async fn stripes_key_is_the_events_id_and_its_body_may_change() {
    let time = now();
    let deliver = |pending: u32| {
        let body = format!(
            r#"{{"id":"evt_1","object":"event","created":{time},"pending_webhooks":{pending}}}"#
        );
        let signature = hex::encode(hmac(SECRET.as_bytes(), format!("{time}.{body}").as_bytes()));
        (format!("t={time},v1={signature},v0=ffff"), body)
    };
    let semel = Semel::start("").await;
    let receiver = Receiver::new(semel.client(), "stripe", Preset::stripe(secret_text()));
    let service = Service::start(receiver, |_, _, _| say(200, "")).await;
    for (pending, is_replayed) in [(2, false), (1, true)] {
        let (signature, body) = deliver(pending);
        let headers = [("stripe-signature", signature.as_str())];
        let answer = Caller::new().post(&service.url(), &headers, body).await;
        assert_eq!((answer.status, answer.is_replayed()), (200, is_replayed));
    }
    assert!(
        semel
            .client()
            .lookup("stripe", "evt_1")
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn githubs_key_is_its_delivery() {
    let body = r#"{"action":"opened"}"#;
    let signature = format!(
        "sha256={}",
        hex::encode(hmac(SECRET.as_bytes(), body.as_bytes()))
    );
    let id = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
    let headers = [
        ("x-github-delivery", id.to_owned()),
        ("x-github-event", "issues".to_owned()),
        ("x-hub-signature-256", signature),
    ];
    delivers_once(Preset::github(secret_text()), &headers, body, id).await;
}

#[tokio::test]
async fn shopifys_key_is_topic_and_event() {
    let body = r#"{"id":1}"#;
    let headers = [
        ("x-shopify-topic", "orders/create".to_owned()),
        ("x-shopify-event-id", "98880550".to_owned()),
        (
            "x-shopify-hmac-sha256",
            BASE64_STANDARD.encode(hmac(SECRET.as_bytes(), body.as_bytes())),
        ),
    ];
    let preset = Preset::shopify(secret_text());
    delivers_once(preset, &headers, body, "orders/create:98880550").await;
}

fn by_slack(body: &str) -> [(&'static str, String); 2] {
    let time = now();
    let signature = hmac(SECRET.as_bytes(), format!("v0:{time}:{body}").as_bytes());
    [
        ("x-slack-request-timestamp", time.to_string()),
        (
            "x-slack-signature",
            format!("v0={}", hex::encode(signature)),
        ),
    ]
}

#[tokio::test]
async fn slacks_key_is_the_event() {
    let body = format!(
        r#"{{"type":"event_callback","event_id":"Ev1","event_time":{}}}"#,
        now()
    );
    delivers_once(Preset::slack(secret_text()), &by_slack(&body), &body, "Ev1").await;
}

#[tokio::test]
async fn slacks_question_whose_address_this_is_is_verified_and_handed_on() {
    let semel = Semel::start("").await;
    let preset = Preset::slack(secret_text());
    // Also where events are answered at once, since this has to be answered with the challenge.
    let receiver = Receiver::new(semel.client(), "slack", preset).accept_at_once(8);
    let service = Service::start(receiver, |_, _, _| say(200, "3eZbrw1aB")).await;
    let body = r#"{"type":"url_verification","challenge":"3eZbrw1aB"}"#;
    let headers = by_slack(body);
    let headers = [0, 1].map(|n| (headers[n].0, headers[n].1.as_str()));
    let answer = Caller::new().post(&service.url(), &headers, body).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"3eZbrw1aB"[..]));
    let forged = Caller::new()
        .post(&service.url(), &headers, "{\"challenge\":1}")
        .await;
    assert_eq!(forged.status, 401);
}

#[tokio::test]
async fn an_event_of_slacks_that_has_a_challenge_too_is_an_event() {
    let body = r#"{"event_id":"Ev2","challenge":"3eZbrw1aB"}"#;
    delivers_once(Preset::slack(secret_text()), &by_slack(body), body, "Ev2").await;
}

#[tokio::test]
async fn adyens_key_is_a_pair() {
    const KEY: &str = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";
    let signed =
        "7914073381342284::TestMerchant:TestPayment-1407325143704:1130:EUR:AUTHORISATION:true";
    let signature = BASE64_STANDARD.encode(hmac(&hex::decode(KEY).unwrap(), signed.as_bytes()));
    // The example of Adyen's own documentation.
    assert_eq!(signature, "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0=");
    let body = |event_date: &str, success: &str| {
        let item = serde_json::json!({
            "additionalData": {"hmacSignature": signature},
            "amount": {"value": 1130, "currency": "EUR"},
            "pspReference": "7914073381342284",
            "eventCode": "AUTHORISATION",
            "eventDate": event_date,
            "merchantAccountCode": "TestMerchant",
            "merchantReference": "TestPayment-1407325143704",
            "success": success,
        });
        let items = [serde_json::json!({ "NotificationRequestItem": item })];
        serde_json::json!({"live": "false", "notificationItems": items}).to_string()
    };
    let semel = Semel::start("").await;
    let preset = Preset::adyen(Secret::hex(KEY).unwrap());
    let receiver = Receiver::new(semel.client(), "adyen", preset);
    let service = Service::start(receiver, |_, _, _| say(200, "[accepted]")).await;
    let caller = Caller::new();
    // What is not signed may differ between two deliveries of one event.
    let date = |second: u32| {
        let now = jiff::Timestamp::now() + std::time::Duration::from_secs(second.into());
        now.to_string()
    };
    for (second, is_replayed) in [(0, false), (55, true)] {
        let answer = caller
            .post(&service.url(), &[], body(&date(second), "true"))
            .await;
        assert_eq!((answer.status, answer.is_replayed()), (200, is_replayed));
    }
    let forged = caller
        .post(&service.url(), &[], body(&date(0), "false"))
        .await;
    assert_eq!(forged.status, 401);
    let key = "7914073381342284:AUTHORISATION:true:TestMerchant";
    assert!(semel.client().lookup("adyen", key).await.unwrap().is_some());
}

#[tokio::test]
async fn sns_has_its_id_in_a_header_or_in_the_body() {
    let id = "165545c9-2a5c-472c-8df2-7ff2be2b3b1b";
    let header = [("x-amz-sns-message-id", id.to_owned())];
    delivers_once(Preset::sns_unverified(), &header, "{}", id).await;
    let body = format!(r#"{{"Type":"Notification","MessageId":"{id}"}}"#);
    delivers_once(Preset::sns_unverified(), &[], &body, id).await;
}

#[tokio::test]
async fn svix_has_names_of_its_own() {
    let time = now();
    let body = "{}";
    let secret = b"svix's secret";
    let signature = hmac(secret, format!("msg_1.{time}.{body}").as_bytes());
    let headers = [
        ("svix-id", "msg_1".to_owned()),
        ("svix-timestamp", time.to_string()),
        (
            "svix-signature",
            format!("v1,{}", BASE64_STANDARD.encode(signature)),
        ),
    ];
    delivers_once(
        Preset::svix(Secret::raw(secret).unwrap()),
        &headers,
        body,
        "msg_1",
    )
    .await;
}

#[tokio::test]
async fn a_name_that_is_not_signed_is_no_key() {
    let semel = Semel::start("").await;
    let receiver = Receiver::new(semel.client(), "hooks", Preset::standard_webhooks(secret()));
    let service = Service::start(receiver, |_, _, _| say(200, "")).await;
    let caller = Caller::new();
    let genuine = || signed(&service.url(), "msg_1", "{}");
    assert_eq!(caller.send(genuine()).await.status, 200);
    // Seen by somebody, and sent again with another set of names beside the signed one.
    let mut again = genuine();
    again
        .headers_mut()
        .insert("svix-id", "msg_2".parse().unwrap());
    assert!(caller.send(again).await.is_replayed());
    // Or with the signed set under other names.
    let mut again = genuine();
    for name in ["id", "timestamp", "signature"] {
        let value = again
            .headers_mut()
            .remove(format!("webhook-{name}"))
            .unwrap();
        let name: http::HeaderName = format!("svix-{name}").parse().unwrap();
        again.headers_mut().insert(name, value);
    }
    again
        .headers_mut()
        .insert("webhook-id", "msg_3".parse().unwrap());
    assert_eq!(caller.send(again).await.status, 401);
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn a_key_of_ones_own_comes_from_anywhere() {
    let preset = Preset::custom(|parts, body| {
        Ok(format!(
            "{}{}",
            parts.uri.path(),
            String::from_utf8_lossy(body)
        ))
    });
    delivers_once(preset, &[], "order-1", "/order-1").await;
}
