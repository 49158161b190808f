//! The gRPC health check, `grpc.health.v1.Health/Check`: upstream's `pkg/probe/grpc`.

use std::time::Duration;

use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;

/// The question.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HealthCheckRequest {
    /// Whose health.
    #[prost(string, tag = "1")]
    pub service: String,
}

/// The answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HealthCheckResponse {
    /// 1: serving.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

const SERVING: i32 = 1;

/// Asks once.
pub async fn check(host: &str, port: u16, service: &str, timeout: Duration) -> Result<(), String> {
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let late = || format!("timeout: health rpc did not complete within {}s", timeout.as_secs());
    match tokio::time::timeout(timeout, ask(&shown, service)).await {
        Err(_) => Err(late()),
        Ok(Err(Failure::Connect)) => Err(format!(
            "timeout: failed to connect service {shown:?} within {}s: context deadline exceeded",
            timeout.as_secs()
        )),
        Ok(Err(Failure::Status(status))) if status.code() == tonic::Code::Unimplemented => Err(format!(
            "this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            status.message()
        )),
        Ok(Err(Failure::Status(status))) => Err(format!("health rpc probe failed: {status}")),
        Ok(Ok(SERVING)) => Ok(()),
        Ok(Ok(status)) => Err(format!("service unhealthy (responded with {:?})", name(status))),
    }
}

fn name(status: i32) -> &'static str {
    match status {
        1 => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

enum Failure {
    Connect,
    Status(tonic::Status),
}

async fn ask(target: &str, service: &str) -> Result<i32, Failure> {
    let endpoint = Endpoint::from_shared(format!("http://{target}")).map_err(|_| Failure::Connect)?;
    let channel = endpoint.connect().await.map_err(|_| Failure::Connect)?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|_| Failure::Connect)?;
    let codec = tonic_prost_codec::Codec;
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let request = tonic::Request::new(HealthCheckRequest { service: service.to_owned() });
    let answer = client.unary(request, path, codec).await.map_err(Failure::Status)?;
    Ok(answer.into_inner().status)
}

/// tonic's codec for prost messages, which lives in a crate of its own; these two types need no more.
mod tonic_prost_codec {
    use super::{HealthCheckRequest, HealthCheckResponse};
    use prost::Message;
    use tonic::Status;
    use tonic::codec::{DecodeBuf, Decoder, EncodeBuf, Encoder};

    #[derive(Default)]
    pub struct Codec;

    impl tonic::codec::Codec for Codec {
        type Encode = HealthCheckRequest;
        type Decode = HealthCheckResponse;
        type Encoder = Self;
        type Decoder = Self;

        fn encoder(&mut self) -> Self {
            Self
        }

        fn decoder(&mut self) -> Self {
            Self
        }
    }

    impl Encoder for Codec {
        type Item = HealthCheckRequest;
        type Error = Status;

        fn encode(&mut self, item: Self::Item, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
            item.encode(buffer).map_err(|e| Status::internal(e.to_string()))
        }
    }

    impl Decoder for Codec {
        type Item = HealthCheckResponse;
        type Error = Status;

        fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
            HealthCheckResponse::decode(buffer).map(Some).map_err(|e| Status::internal(e.to_string()))
        }
    }
}
