//! The kubelet's HTTP API, with upstream's paths (`pkg/kubelet/server/server.go`).
//!
//! Requests come already authenticated and authorized from the API server, in process; so do those to the node's own
//! port ([`crate::PORT`]), which the API server listens at. [`Kubelet::handle`] answers plain requests; [`Kubelet::upgrade`] takes the
//! connection over for exec, attach and port forwarding and writes the response's head itself.

mod exec;
mod files;
mod forward;
pub mod logs;
mod remote;
mod routes;
mod spdy;
mod stats;
#[cfg(test)]
mod tests;
mod upgrade;
mod websocket;

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use k8s_openapi::api::core::v1::Pod;
use sampan_api::status::{ApiError, Reason};
use sampan_cri::{ContainerEvent, ContainerEventKind, ContainerState};
use sampan_process::BoxedIo;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::{Receiver, channel};

use crate::Kubelet;
use crate::pod::state::{Phase, PodState, Sandbox, Slot};
use routes::{Route, query, route};
pub(crate) use stats::Rates;

/// Errors of a response body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A response body: whole, or streamed.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

impl Kubelet {
    /// Answers a request.
    pub fn handle(self: &Arc<Self>, request: Request<Bytes>) -> BoxFuture<'static, Response<ResponseBody>> {
        let kubelet = self.clone();
        Box::pin(async move {
            match kubelet.answer(&request).await {
                Ok(response) => response,
                Err(error) => error_response(&error),
            }
        })
    }

    /// Takes over a connection for exec, attach or port forwarding.
    pub fn upgrade(self: &Arc<Self>, request: Request<Bytes>, io: BoxedIo) -> BoxFuture<'static, ()> {
        let kubelet = self.clone();
        Box::pin(async move { upgrade::serve(kubelet, request, io).await })
    }

    async fn answer(&self, request: &Request<Bytes>) -> Result<Response<ResponseBody>, ApiError> {
        match route(request.uri().path()) {
            Some(Route::Healthz) => Ok(text("ok")),
            Some(Route::Pods) => Ok(json_response(&self.pod_list())),
            Some(Route::RunningPods) => Ok(json_response(&self.running_pods())),
            Some(Route::Configz) => Ok(json_response(&self.configuration())),
            Some(Route::Files(path)) => Ok(files::show(&path, &self.context.tasks)),
            Some(Route::Metrics) => {
                let metrics = Bytes::from(self.metrics().await?);
                Ok(response(StatusCode::OK, sampan_process::metrics::TEXT, whole(metrics)))
            }
            Some(Route::ResourceMetrics) => self.sample().await.map(|sample| text(stats::resource(&sample))),
            Some(Route::CadvisorMetrics) => self.sample().await.map(|sample| text(stats::cadvisor(&sample))),
            Some(Route::ProbeMetrics) => Ok(text(stats::probes(&self.context.probed.all()))),
            Some(Route::Stats) => self.sample().await.map(|sample| json_response(&stats::summary(&sample))),
            Some(Route::Logs { namespace, pod, container }) => {
                self.logs(&namespace, &pod, &container, request.uri().query().unwrap_or_default()).await
            }
            Some(Route::Exec { .. } | Route::Attach { .. } | Route::PortForward { .. }) => {
                Err(ApiError::bad_request(
                    "you must specify at least 1 of stdin, stdout, stderr, and upgrade the connection",
                ))
            }
            None => Ok(page_not_found()),
        }
    }

    fn pod_list(&self) -> Value {
        let pods: Vec<Pod> = self.informer.list().into_iter().map(Arc::unwrap_or_clone).collect();
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods})
    }

    /// The pods of which containers run, with no more of them than the runtime knows.
    fn running_pods(&self) -> Value {
        let runs = |slot: &&Slot| slot.run().is_some();
        let container =
            |slot: &Slot| json!({"name": slot.spec.name, "image": slot.spec.image, "resources": {}});
        let pods = self.pods.states().into_iter().filter_map(|state| {
            let containers: Vec<Value> = state.slots.iter().filter(runs).map(container).collect();
            let meta = &state.pod.metadata;
            let meta = json!({"name": meta.name, "namespace": meta.namespace, "uid": meta.uid});
            (!containers.is_empty())
                .then(|| json!({"metadata": meta, "spec": {"containers": containers}, "status": {}}))
        });
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods.collect::<Vec<_>>()})
    }

    /// `/configz`: what a `KubeletConfiguration` would say, as far as there is something to say.
    fn configuration(&self) -> Value {
        let context = &self.context;
        json!({"kubeletconfig": {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "enableServer": true,
            "port": crate::PORT,
            "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}},
            "authorization": {"mode": "Webhook"},
            "clusterDomain": context.cluster_domain,
            "clusterDNS": context.cluster_dns,
            "maxPods": crate::node::MAX_PODS,
            "cgroupsPerQOS": true,
            "failSwapOn": false,
            "enableSystemLogHandler": true,
            "enableSystemLogQuery": false,
        }})
    }

    /// The process's metrics, after what is the kubelet's alone.
    async fn metrics(&self) -> Result<String, ApiError> {
        let containers = self.context.runtime.list_containers().await.map_err(ApiError::internal)?;
        let count = |state: ContainerState| containers.iter().filter(|one| one.state == state).count();
        let ended = containers.iter().filter(|one| matches!(one.state, ContainerState::Exited(_))).count();
        let states = self.pods.states();
        let pods = states.iter().filter(|state| matches!(state.sandbox, Sandbox::Ready { .. })).count();
        let own = stats::kubelet(&self.context.node_name, pods, [count(ContainerState::Running), ended]);
        Ok(own + &sampan_process::metrics::encode())
    }

    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        query_text: &str,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let options = logs::Options::parse(&query(query_text), jiff::Timestamp::now())
            .map_err(ApiError::bad_request)?;
        if let Some(component) = self.mirrored(namespace, pod) {
            return Ok(self.component_logs(&component, &options));
        }
        let handle = self
            .pods
            .named(namespace, pod)
            .ok_or_else(|| ApiError::new(Reason::NotFound, format!("pod {pod:?} does not exist")))?;
        let (path, id) = {
            let state = handle.state.read();
            let slot = state.slot(container).ok_or_else(|| {
                ApiError::new(Reason::NotFound, format!("container {container:?} not found in pod {pod:?}"))
            })?;
            log_of(&state, slot, &options)
                .map(|(attempt, id)| (self.context.dirs.pod(&state.pod).log(container, attempt), id))?
        };
        let mut events = self.context.runtime.events();
        let runs = id.as_ref().is_some_and(|id| {
            handle.state.read().slot(container).and_then(Slot::run).is_some_and(|run| run.id == *id)
        });
        let runtime = self.context.runtime.clone();
        let ended = async move {
            let Some(id) = id.filter(|_| runs) else { return };
            // events were missed: the runtime itself says whether the end was among them
            while !stopped(&mut events, &id).await {
                let status = runtime.container_status(&id).await;
                if !status.is_ok_and(|status| status.state == ContainerState::Running) {
                    return;
                }
            }
        };
        let (out, from) = channel(64);
        self.context.tasks.spawn_until_drain("log", async move {
            if let Err(error) = logs::send(path.clone(), options, out, ended).await {
                tracing::debug!(path = %path.display(), %error, "log not sent");
            }
        });
        Ok(stream(from))
    }

    /// The component that a pod of this name mirrors.
    fn mirrored(&self, namespace: &str, pod: &str) -> Option<String> {
        let pod = self.informer.get(&sampan_reconcile::Key::namespaced(namespace, pod))?;
        crate::mirror::component_of(&pod)
    }

    fn component_logs(&self, component: &str, options: &logs::Options) -> Response<ResponseBody> {
        let Some(all) = sampan_process::logs::global() else { return text("") };
        let (said, mut more) = all.read(component);
        let lines = component_lines(&said, options, jiff::Timestamp::now());
        let from = options.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
        let mut said = lines[from..].concat();
        said.truncate(options.limit.unwrap_or(usize::MAX));
        if !options.follow {
            return text(said);
        }
        let (out, receiver) = channel(64);
        let options = options.clone();
        self.context.tasks.spawn_until_drain("component log", async move {
            if out.send(Bytes::from(said)).await.is_err() {
                return;
            }
            loop {
                tokio::select! {
                    () = out.closed() => return,
                    line = more.recv() => match line {
                        Ok(line) => {
                            let text = component_lines(&line.text, &options, jiff::Timestamp::now()).concat();
                            if out.send(text.into()).await.is_err() {
                                return;
                            }
                        }
                        Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return,
                    },
                }
            }
        });
        stream(receiver)
    }
}

/// Resolves with true when the container has stopped, with false when events were missed.
async fn stopped(events: &mut broadcast::Receiver<ContainerEvent>, id: &str) -> bool {
    loop {
        match events.recv().await {
            Ok(event) if event.container_id == id && event.kind == ContainerEventKind::Stopped => {
                return true;
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return false,
            Err(RecvError::Closed) => return true,
        }
    }
}

/// The lines of a component's log that `options` want, with their times if asked for. A line without a time of
/// its own goes on from the one before.
fn component_lines(text: &[u8], options: &logs::Options, now: jiff::Timestamp) -> Vec<Vec<u8>> {
    let mut time = None;
    let mut lines = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        time = klog_time(line, now).or(time);
        if options.since.is_some_and(|since| time.is_some_and(|time| time < since)) {
            continue;
        }
        let stamp = time.filter(|_| options.timestamps).map(|time| format!("{time:.9} ")).unwrap_or_default();
        lines.push([stamp.as_bytes(), line].concat());
    }
    lines
}

/// The time of a line like `I1122 21:20:40.123456 …`, which leaves the year to the reader.
fn klog_time(line: &[u8], now: jiff::Timestamp) -> Option<jiff::Timestamp> {
    let head = std::str::from_utf8(line.get(1..21)?).ok()?;
    let in_year = |year: i16| -> Option<jiff::Timestamp> {
        let text = format!("{year:04}{head}Z");
        jiff::Timestamp::strptime("%Y%m%d %H:%M:%S%.f%#z", text.replace('Z', "+0000")).ok()
    };
    let year = now.to_zoned(jiff::tz::TimeZone::UTC).year();
    // a line of last December, read in January
    in_year(year)
        .filter(|time| *time <= now + jiff::SignedDuration::from_hours(24))
        .or_else(|| in_year(year - 1))
}

/// Upstream's `validateContainerLogStatus`: which run's log it is, and the run's id.
fn log_of(state: &PodState, slot: &Slot, options: &logs::Options) -> Result<(u32, Option<String>), ApiError> {
    let name = &slot.spec.name;
    let pod = state.pod.metadata.name.as_deref().unwrap_or_default();
    if options.previous {
        let missing = || {
            ApiError::bad_request(format!("previous terminated container {name:?} in pod {pod:?} not found"))
        };
        // while it waits to be restarted, the run that ended is the previous one
        let (attempt, end) = match (&slot.phase, &slot.previous) {
            (Phase::Exited(end), _) if slot.wait.is_some() => (Some(slot.attempt), Some(end)),
            (_, previous) => (slot.attempt.checked_sub(1), previous.as_ref()),
        };
        let end = end.ok_or_else(missing)?;
        return Ok((attempt.ok_or_else(missing)?, Some(end.id.clone())));
    }
    match (&slot.phase, &slot.previous) {
        (Phase::Running(run) | Phase::Stopping(run), _) => Ok((slot.attempt, Some(run.id.clone()))),
        (Phase::Exited(end), _) => Ok((slot.attempt, Some(end.id.clone()))),
        (Phase::Starting, Some(end)) => Ok((slot.attempt.saturating_sub(1), Some(end.id.clone()))),
        _ => {
            let reason = slot.wait.as_ref().map_or("ContainerCreating", |wait| wait.reason);
            let reason =
                if state.initialized || slot.wait.is_some() { reason } else { waiting_reason(state) };
            let text = match slot.wait.as_ref().filter(|w| w.reason.contains("Image")) {
                Some(_) => format!(
                    "container {name:?} in pod {pod:?} is waiting to start: trying and failing to pull image"
                ),
                None => format!("container {name:?} in pod {pod:?} is waiting to start: {reason}"),
            };
            Err(ApiError::bad_request(text))
        }
    }
}

fn waiting_reason(state: &PodState) -> &'static str {
    use crate::pod::state::Kind;
    let has_init = state.slots.iter().any(|s| matches!(s.kind, Kind::Init | Kind::Sidecar));
    if has_init { "PodInitializing" } else { "ContainerCreating" }
}

fn whole(bytes: impl Into<Bytes>) -> ResponseBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn response(status: StatusCode, kind: &'static str, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

fn text(bytes: impl Into<Bytes>) -> Response<ResponseBody> {
    response(StatusCode::OK, "text/plain", whole(bytes))
}

fn page_not_found() -> Response<ResponseBody> {
    response(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", whole("404 page not found\n"))
}

fn json_response(value: &Value) -> Response<ResponseBody> {
    response(StatusCode::OK, "application/json", whole(value.to_string()))
}

fn stream(from: Receiver<Bytes>) -> Response<ResponseBody> {
    let frames =
        futures::stream::unfold(from, |mut from| async { from.recv().await.map(|bytes| (bytes, from)) })
            .map(|bytes| Ok::<_, BoxError>(Frame::data(bytes)));
    response(StatusCode::OK, "text/plain", StreamBody::new(frames).boxed_unsync())
}

/// A `Status` with its code.
fn error_response(error: &ApiError) -> Response<ResponseBody> {
    let value = error.to_value();
    let code = value.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let status =
        code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response(status, "application/json", whole(value.to_string()))
}
