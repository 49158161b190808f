//! One life of the daemon: controllers, scheduler and kubelets, with informers of their own. It ends after a number of
//! writes, in the middle of whatever it does: from then on nothing that it asks is answered, or done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use sampan_client::{BoxError, Handler, ResponseBody, ResponseFuture};
use sampan_controllers::ControllerManager;
use sampan_process::{Component, Health, Tasks};
use sampan_reconcile::Informers;
use sampan_scheduler::Scheduler;
use sampan_scheduler::config::Configuration;
use sampan_simulate::Simulator;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};

use crate::api::{Api, Asked, Who, controller};
use crate::faults::{Fault, Faults};

/// Whether a life goes on.
pub struct Pulse {
    alive: AtomicBool,
    /// Writes that are left to it; the last one is made and not answered.
    left: AtomicU64,
    ended: Notify,
}

impl Pulse {
    fn alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    pub fn end(&self) {
        self.alive.store(false, Ordering::Relaxed);
        self.ended.notify_one();
    }

    /// One write is made; whether it was the last.
    fn wrote(&self) -> bool {
        let last = self.left.fetch_sub(1, Ordering::Relaxed) <= 1;
        if last {
            self.end();
        }
        last
    }
}

/// The API as one of the living reaches it.
struct Port {
    api: Arc<Api>,
    faults: Arc<Faults>,
    pulse: Arc<Pulse>,
    who: Who,
}

fn whole(code: u16, body: &Value) -> Response<ResponseBody> {
    let never = |error: std::convert::Infallible| -> BoxError { match error {} };
    let mut response = Response::new(Full::from(body.to_string()).map_err(never).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn refusal(code: u16) -> Response<ResponseBody> {
    let reason = match code {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    whole(code, &crate::api::failure(code, reason, "as the seed says").1)
}

impl Port {
    async fn alive(&self) {
        if !self.pulse.alive() {
            std::future::pending::<()>().await;
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Bytes>) -> Response<ResponseBody> {
        tokio::time::sleep(self.faults.way()).await;
        self.alive().await;
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        if query.contains("watch=true") {
            return self.watch(path, query);
        }
        // what becomes of events and of the beats of nodes is nobody's concern
        let counts = !path.contains("/events") && !path.contains("/leases");
        let write = request.method() != http::Method::GET && counts;
        let fault = self.faults.of(write);
        if let Fault::Refused(code) = fault {
            return refusal(code);
        }
        let content = request.headers().get("content-type").and_then(|value| value.to_str().ok());
        let asked = Asked {
            who: self.who,
            method: request.method(),
            path,
            query,
            content: content.unwrap_or_default(),
            body: request.body(),
        };
        let (code, body) = self.api.ask(&asked);
        let last = write && self.pulse.wrote();
        if (fault == Fault::Lost || last)
            && let Some((owner, ..)) = controller(&body)
            && code == 201
        {
            self.api.0.lock().judge.lost(owner);
        }
        self.alive().await;
        tokio::time::sleep(self.faults.way()).await;
        self.alive().await;
        if fault == Fault::Lost { refusal(504) } else { whole(code, &body) }
    }

    fn watch(self: Arc<Self>, path: &str, query: &str) -> Response<ResponseBody> {
        let events = if self.faults.expired() { None } else { self.api.watch(path, query) };
        let Some(events) = events else { return refusal(410) };
        let lines = futures::stream::unfold((self, events), next);
        Response::new(StreamBody::new(lines.boxed()).boxed_unsync())
    }
}

type Events = (Arc<Port>, mpsc::UnboundedReceiver<Arc<str>>);

async fn next((port, mut events): Events) -> Option<(Result<Frame<Bytes>, BoxError>, Events)> {
    let line = events.recv().await?;
    port.alive().await;
    if port.faults.ends() {
        return None;
    }
    tokio::time::sleep(port.faults.lag()).await;
    port.alive().await;
    Some((Ok(Frame::data(Bytes::copy_from_slice(line.as_bytes()))), (port, events)))
}

impl Handler for Port {
    fn handle(self: Arc<Self>, request: Request<Bytes>) -> ResponseFuture {
        Box::pin(self.answer(request))
    }
}

/// One life.
pub struct Life {
    pub pulse: Arc<Pulse>,
    tasks: Vec<Tasks>,
}

impl Life {
    /// Begins one.
    pub fn begin(api: &Arc<Api>, faults: &Arc<Faults>) -> Self {
        let pulse = Arc::new(Pulse {
            alive: AtomicBool::new(true),
            left: AtomicU64::new(u64::MAX),
            ended: Notify::new(),
        });
        let client = |who: Who| {
            let port = Port { api: api.clone(), faults: faults.clone(), pulse: pulse.clone(), who };
            sampan_client::loopback(Arc::new(port), "default")
        };
        let tasks = |component: Component| Tasks::new(component);
        let (shared, health) = (tasks(Component::ControllerManager), Health::new());
        let informers = Informers::new(client(Who::Controllers), shared.clone());
        let config = sampan_controllers::Config {
            client: client(Who::Controllers),
            informers: informers.clone(),
            root_ca_pem: "PEM".to_owned(),
            certificates: None,
            health: health.clone(),
            collect_after: None,
        };
        let manager = ControllerManager::new(config, shared.clone());
        let drain = shared.drain();
        shared.spawn("manager", async move { manager.run(drain).await });

        let scheduling = tasks(Component::Scheduler);
        let config = sampan_scheduler::Config {
            client: client(Who::Scheduler),
            informers: informers.clone(),
            health,
            configuration: Configuration::default(),
        };
        let (scheduler, drain) = (Scheduler::new(config, &scheduling), scheduling.drain());
        scheduling.spawn("scheduler", async move { scheduler.run(drain).await });

        let kubelets = tasks(Component::Simulator);
        let config =
            sampan_simulate::Config { client: client(Who::Kubelets), informers, own_node: "none".to_owned() };
        kubelets.spawn_until_drain("kubelets", Simulator::new(config).run());
        Self { pulse, tasks: vec![shared, scheduling, kubelets] }
    }

    /// Has it end after so many more writes.
    pub fn ends_after(&self, writes: u64) {
        self.pulse.left.store(writes, Ordering::Relaxed);
    }

    /// Resolves when it has made its last write.
    pub async fn ended(&self) {
        self.pulse.ended.notified().await;
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.pulse.alive.store(false, Ordering::Relaxed);
        self.tasks.iter().for_each(|tasks| tasks.drain().start());
    }
}
