//! What the store refuses, and messages that are none.

use std::sync::Arc;

use semel_proto::v1;
use semel_tests::Postgres;
use sqlx::{Connection as _, Executor as _};
use tonic::{Code, Status};

use crate::support::*;

#[tokio::test]
async fn a_command_that_the_store_refuses_fails_alone_and_without_its_cause() {
    on_postgres(|database: Arc<Postgres>| async move {
        let host = Host::on_url(&database.url(), "lanes = 1").await;
        let client = host.client().await;
        let mut connection = database.connect().await;
        let poison = "ALTER TABLE records ADD CONSTRAINT secret_name CHECK (key <> 'poison')";
        connection.execute(poison).await.unwrap();
        let claims: tokio::task::JoinSet<_> = ["a", "poison", "b", "c"]
            .into_iter()
            .map(|key| {
                let mut client = client.clone();
                async move { (key, client.claim(claim(key, 1)).await) }
            })
            .collect();
        for (key, answer) in within(claims.join_all()).await {
            if key == "poison" {
                let error = told(answer);
                error.expect(Code::Internal, "INTERNAL");
                assert_eq!(error.get("key"), Some("poison"));
                assert!(!error.message.contains("secret_name"), "{error:?}");
            } else {
                answer.unwrap_or_else(|error| panic!("{key}: {error}"));
            }
        }
        connection.close().await.unwrap();
        drop(client);
        host.stop().await;
    })
    .await;
}

/// A request of Lookup whose fields may be any bytes, as a careless client may send them.
#[derive(Clone, PartialEq, prost::Message)]
struct AnyBytes {
    #[prost(bytes = "vec", tag = "1")]
    namespace: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
}

async fn look_up(wire: &Wire, namespace: &[u8], key: &[u8]) -> Status {
    let mut client = tonic::client::Grpc::with_origin(wire.clone(), wire.origin.clone());
    client.ready().await.expect("the connection is there");
    let request = AnyBytes {
        namespace: namespace.to_vec(),
        key: key.to_vec(),
    };
    let path = http::uri::PathAndQuery::from_static("/semel.v1.IdempotencyService/Lookup");
    let codec = tonic_prost::ProstCodec::<AnyBytes, v1::LookupResponse>::default();
    let answer = client.unary(tonic::Request::new(request), path, codec);
    within(answer).await.expect_err("there is no such key")
}

#[tokio::test]
async fn a_name_that_is_no_text_is_refused_without_harm_to_the_connection() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    assert_eq!(look_up(&wire, b"orders", b"k").await.code(), Code::NotFound);
    for (namespace, key) in [(&b"orders"[..], &b"\xff\xfe"[..]), (b"\xc3\x28", b"k")] {
        let status = look_up(&wire, namespace, key).await;
        // Told like any other bad field, though nothing of the message could be read.
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    assert!(!wire.is_closed());
}
