//! A collector of OTLP that takes everything and keeps nothing: what sending spans costs the sender,
//! and the machine, without what storing them would.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tonic::{Request, Response, Status, async_trait, transport::Server};

use crate::{Outcome, server::SERVING};

/// Serves until the process is killed.
pub fn run(listen: SocketAddr) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let incoming = tonic::transport::server::TcpIncoming::bind(listen)?;
        eprintln!("{SERVING}");
        Server::builder()
            .add_service(TraceServiceServer::new(Sink))
            .serve_with_incoming(incoming)
            .await?;
        Ok(())
    })
}

struct Sink;

#[async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
