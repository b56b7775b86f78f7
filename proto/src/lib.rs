//! Generated types of Semel's wire contract. The contract itself, with the meaning, unit, limit
//! and default of every field, is the commented `semel/v1/*.proto` beside this crate.

/// Version 1 of the contract: messages, `idempotency_service_client` and
/// `idempotency_service_server`.
#[allow(missing_docs, clippy::all)] // generated; the comments come from the .proto files
pub mod v1 {
    tonic::include_proto!("semel.v1");

    /// The encoded `FileDescriptorSet` of `semel.v1` and what it imports, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/semel_v1_descriptor.bin"));
}

/// The `domain` of every `google.rpc.ErrorInfo` that Semel sends.
pub const ERROR_DOMAIN: &str = "semel.dev";
