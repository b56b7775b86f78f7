//! gRPC reflection, in both versions that tools ask for.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::FileDescriptorProto;
use tonic::codegen::tokio_stream;
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::*;

const SERVICE: &str = "semel.v1.IdempotencyService";

/// One question and its answer, in one version of the protocol.
macro_rules! ask {
    ($version:ident, $wire:expr, $question:expr) => {{
        use $version::server_reflection_client::ServerReflectionClient;
        let wire: &Wire = $wire;
        let mut client = ServerReflectionClient::with_origin(wire.clone(), wire.origin.clone());
        let request = $version::ServerReflectionRequest {
            host: String::new(),
            message_request: Some($question),
        };
        let answers = within(client.server_reflection_info(tokio_stream::once(request))).await;
        let mut answers = answers.expect("an answer").into_inner();
        let answer = within(answers.message())
            .await
            .expect("no error")
            .expect("one answer");
        answer.message_response.expect("always set")
    }};
}

macro_rules! tests_of {
    ($version:ident, $tests:ident) => {
        mod $tests {
            use super::{
                $version::{
                    server_reflection_request::MessageRequest as Ask,
                    server_reflection_response::MessageResponse as Answer,
                },
                *,
            };

            async fn files(wire: &Wire, question: Ask) -> Vec<FileDescriptorProto> {
                match ask!($version, wire, question) {
                    Answer::FileDescriptorResponse(files) => files
                        .file_descriptor_proto
                        .iter()
                        .map(|file| FileDescriptorProto::decode(&file[..]).expect("a file"))
                        .collect(),
                    other => panic!("no files: {other:?}"),
                }
            }

            #[tokio::test]
            async fn it_lists_the_services() {
                let host = Host::start("").await;
                let wire = host.wire().await;
                let answer = ask!($version, &wire, Ask::ListServices(String::new()));
                let Answer::ListServicesResponse(list) = answer else {
                    panic!("no list: {answer:?}")
                };
                let names: BTreeSet<_> = list.service.iter().map(|it| it.name.as_str()).collect();
                for name in [SERVICE, "grpc.health.v1.Health"] {
                    assert!(names.contains(name), "{names:?}");
                }
            }

            #[tokio::test]
            async fn it_serves_the_files_of_the_contract() {
                let host = Host::start("").await;
                let wire = host.wire().await;
                let found = files(&wire, Ask::FileContainingSymbol(SERVICE.into())).await;
                let service = found.iter().flat_map(|file| &file.service).next();
                let service = service.expect("the file with the service");
                let calls: Vec<_> = service.method.iter().map(|it| it.name()).collect();
                let all = [
                    "Claim",
                    "Complete",
                    "Fail",
                    "Lookup",
                    "Extend",
                    "Checkpoint",
                ];
                assert_eq!(calls, all);
                for name in [
                    "semel/v1/idempotency.proto",
                    "semel/v1/outcome.proto",
                    "google/protobuf/duration.proto",
                    "google/protobuf/timestamp.proto",
                ] {
                    let found = files(&wire, Ask::FileByFilename(name.into())).await;
                    assert!(found.iter().any(|file| file.name() == name), "{name}");
                }
                let found = files(&wire, Ask::FileContainingSymbol("semel.v1.Claimed".into()));
                assert!(
                    found
                        .await
                        .iter()
                        .any(|f| f.message_type.iter().any(|m| m.name() == "Claimed"))
                );
            }
        }
    };
}

tests_of!(v1, version_1);
tests_of!(v1alpha, version_1_alpha);
