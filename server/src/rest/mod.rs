//! The REST API for tools, `/sampan/v1`: everything that the command line does, which itself asks here.
//!
//! ```text
//!  tool ── TLS, a user's certificate or token ──► API server ─┐
//!  tool ── loopback, a token ──► console (actix-web) ─────────┼─► authorize (nonResourceURLs) ─► Rest
//!  sampan ── daemon.sock, mode 0600 ──► console, as admin ────┘
//! ```
//!
//! [`routes`] says which request is which verb, [`openapi`] describes the same table. What takes time is an operation
//! ([`operations`]): it goes on when whoever asked goes away, and its steps can be asked for again.

mod cluster;
mod log;
mod openapi;
mod operations;
mod page;
pub mod reach;
mod reply;
mod routes;
mod shapes;
mod simulate;
mod stream;
mod tokens;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use http::header::{HeaderName, HeaderValue, LOCATION};
use http::{Request, Response};
use kube::Client;
use sampan_apiserver::{GroupHandler, ResponseBody};
use sampan_process::Tasks;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::daemon::{Running, StopRequest};
use operations::{Operation, Operations, Told};
use reply::Refusal;
use routes::{Action, Asked, Call};
use stream::Form;

pub use operations::Telling;
pub use tokens::{NewToken, Scope, Token};

/// Where it is.
pub const PREFIX: &str = "/sampan/v1";
/// Below it: the way to a workload's web page, which the dashboard's own server answers.
const OPEN: &str = "/open";
/// Names the operation that an answer comes from.
const OPERATION: HeaderName = HeaderName::from_static("sampan-operation");

/// What the API is made of.
pub struct Rest {
    running: Arc<Running>,
    /// Asks the Kubernetes API as the administrator: who may ask for that was decided before.
    admin: Client,
    operations: Operations,
    /// Verbs go on in them when the client is gone.
    tasks: Tasks,
    stops: mpsc::Sender<StopRequest>,
}

impl Rest {
    /// Of a running cluster; whoever is to stop it is told over `stops`.
    pub fn new(running: Arc<Running>, admin: Client, tasks: Tasks, stops: mpsc::Sender<StopRequest>) -> Self {
        Self { running, admin, operations: Operations::default(), tasks, stops }
    }

    /// As the API server calls it.
    pub fn handler(self) -> GroupHandler {
        let rest = Arc::new(self);
        Arc::new(move |request, user| -> BoxFuture<'static, Response<ResponseBody>> {
            let rest = rest.clone();
            async move {
                let answer = rest.answer(&request, &user.name).await;
                answer.unwrap_or_else(|refusal| reply::refusal(&refusal))
            }
            .boxed()
        })
    }

    async fn answer(
        self: &Arc<Self>,
        request: &Request<Bytes>,
        user: &str,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let (uri, headers) = (request.uri(), request.headers());
        let query = uri.query().unwrap_or_default();
        let call = routes::read(request.method(), uri.path(), query, headers, request.body())?;
        let form = Form::of(headers);
        let running = self.running.clone();
        match call {
            Call::Plain(action) => self.plain(action, form).await,
            Call::Log { addon: true, name, tail, follow } => {
                cluster::is_native(&running, &name)?;
                log::answer(&running.profile.logs(), &name, tail, follow).await
            }
            Call::Log { addon: false, name, tail, follow } => {
                cluster::is_component(&running, &name)?;
                log::answer(&running.profile.logs(), &name, tail, follow).await
            }
            Call::History(what) => {
                cluster::history(&self.admin, &what).await.map(|value| reply::json(200, &value))
            }
            Call::CreateToken(wanted) => {
                let token = tokens::create(&self.admin, wanted).await?;
                Ok(reply::json(201, &json!(token)))
            }
            Call::RevokeToken(name) => {
                tokens::remove(&self.admin, &name).await?;
                Ok(reply::json(200, &json!({"name": name})))
            }
            Call::Operation(id) => {
                let operation = self.operations.find(&id).ok_or_else(|| Refusal::no_operation(&id))?;
                Ok(match form {
                    Form::Value => reply::json(200, &json!(operation.status())),
                    form => stream::answer(form, operation.follow()),
                })
            }
            Call::Stop { keep_pods } => self.stop(keep_pods, user, form).await,
            Call::RemoveImage(image) => {
                cluster::remove_image(&running, &image).await?;
                Ok(reply::json(200, &json!({"image": image})))
            }
            Call::Backup(file) => {
                let target = file.display().to_string();
                let work = async move { cluster::backup(&running, &file).await };
                self.operation("backup", &target, user, headers, |_| work.boxed()).await
            }
            Call::Load(archive) => {
                let target = archive.display().to_string();
                let work = async move { cluster::load_images(&running, &archive).await };
                self.operation("loadImages", &target, user, headers, |_| work.boxed()).await
            }
            Call::Pull(image) => {
                let target = image.clone();
                let work = async move { cluster::pull_image(&running, &image).await };
                self.operation("pullImage", &target, user, headers, |_| work.boxed()).await
            }
            Call::Addon(asked) => self.addon(asked, user, headers).await,
            call @ (Call::Simulate(_) | Call::DeleteSimulation | Call::TellZone { .. }) => {
                let (verb, target) = simulate::named(&call);
                let simulator = running.simulator.clone();
                let work = |operation| simulate::run(simulator, call, operation).boxed();
                self.operation(verb, &target, user, headers, work).await
            }
        }
    }

    /// What is asked without anything being sent.
    async fn plain(self: &Arc<Self>, action: Action, form: Form) -> Result<Response<ResponseBody>, Refusal> {
        let running = &self.running;
        let value = match action {
            Action::Read => return Ok(page::answer()),
            Action::WatchEvents => {
                let events = stream::events(running.health.watch(), self.clone());
                return Ok(stream::answer(if form == Form::Value { Form::Lines } else { form }, events));
            }
            Action::GetKubeconfig => {
                return Ok(reply::text("application/yaml", cluster::kubeconfig(running)?));
            }
            Action::Describe => openapi::document(),
            Action::GetStatus => json!(cluster::status(running)),
            Action::ListComponents => json!({"items": cluster::components(running)}),
            Action::ListNodes => json!({"items": cluster::nodes(&self.admin).await?}),
            Action::ListProfiles => json!({"items": cluster::profiles()?}),
            Action::GetVersion => json!(cluster::version()),
            Action::ListImages => json!({"items": cluster::images(running).await?}),
            Action::ListLogs => json!({"items": cluster::log_names(running)}),
            Action::OpenDashboard => running.dashboard.addresses(),
            Action::ListTokens => json!({"items": tokens::list(&self.admin).await?}),
            Action::ListOperations => json!({"items": self.operations.list()}),
            Action::GetSimulation => json!(running.simulator.status()),
            _ => {
                return Err(Refusal::internal(
                    "a route that takes something was read as one that takes nothing",
                ));
            }
        };
        Ok(reply::json(200, &value))
    }

    async fn addon(
        self: &Arc<Self>,
        asked: Asked,
        user: &str,
        headers: &http::HeaderMap,
    ) -> Result<Response<ResponseBody>, Refusal> {
        use sampan_addons::Request as R;
        let Asked { request, shape } = asked;
        let addons = self.running.addons.clone();
        let (verb, target) = match &request {
            R::List | R::Show { .. } | R::Images { .. } | R::Page { .. } => {
                let value = addons.answer(request, &|_| ()).await.map_err(|error| Refusal::of(&error))?;
                return Ok(reply::json(200, &shape(value)));
            }
            R::Enable { name, .. } => ("enableAddon", name.clone()),
            R::Disable { name } => ("disableAddon", name.clone()),
            R::Configure { name, .. } => ("configureAddon", name.clone()),
            R::Remove { name } => ("removeAddon", name.clone()),
            R::Add { name, .. } => ("addAddon", name.clone().unwrap_or_default()),
        };
        let work = move |operation: Arc<Operation>| {
            async move {
                let progress = move |step: sampan_addons::Step| {
                    operation.step(serde_json::to_value(step).unwrap_or_default());
                };
                addons.answer(request, &progress).await.map(shape).map_err(|error| Refusal::of(&error))
            }
            .boxed()
        };
        self.operation(verb, &target, user, headers, work).await
    }

    /// Does something that takes time: it runs to its end also when whoever asked goes away.
    async fn operation(
        self: &Arc<Self>,
        verb: &'static str,
        target: &str,
        user: &str,
        headers: &http::HeaderMap,
        work: impl FnOnce(Arc<Operation>) -> BoxFuture<'static, Result<Value, Refusal>>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let operation = self.operations.begin(verb, target, user);
        let (own, work, drain) = (operation.clone(), work(operation.clone()), self.tasks.drain());
        self.tasks.spawn("operation", async move { own.carry_out(work, drain).await });
        let id = operation.id().to_owned();
        let mut response = if stream::wants_no_answer(headers) {
            let mut response = reply::json(202, &json!(operation.status()));
            if let Ok(value) = HeaderValue::from_str(&format!("{PREFIX}/operations/{id}")) {
                response.headers_mut().insert(LOCATION, value);
            }
            response
        } else {
            match Form::of(headers) {
                Form::Value => ended(operation).await.map(|value| reply::json(200, &value))?,
                form => stream::answer(form, operation.follow()),
            }
        };
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(OPERATION, value);
        }
        Ok(response)
    }

    /// Asks the daemon to end, which tells what it does meanwhile.
    async fn stop(&self, keep_pods: bool, user: &str, form: Form) -> Result<Response<ResponseBody>, Refusal> {
        let operation = self.operations.begin("stop", "", user);
        let request = StopRequest::new(keep_pods, Telling::new(operation.clone()));
        self.stops.send(request).await.map_err(|_| Refusal::ending())?;
        match form {
            Form::Value => ended(operation).await.map(|value| reply::json(200, &value)),
            form => Ok(stream::answer(form, operation.follow())),
        }
    }
}

/// What comes of an operation.
async fn ended(operation: Arc<Operation>) -> Result<Value, Refusal> {
    use futures::StreamExt;
    let mut told = std::pin::pin!(operation.follow());
    while let Some(one) = told.next().await {
        if let Told::End(result) = one {
            return result;
        }
    }
    Err(Refusal::ending())
}
