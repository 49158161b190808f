//! The listener and its routes: one table of what is where, behind the guard.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::cookie::{Cookie, SameSite, time};
use actix_web::http::header::HeaderValue;
use actix_web::http::{Method, header};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use jiff::Timestamp;
use sampan_process::{Drain, Tasks};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::feed::PING;
use crate::guard::{self, By, Guard};
use crate::places::{self, Places};
use crate::session::{Guesses, SESSION_SECONDS, Session, Sessions};
use crate::{Api, PublicUrl, Tickets, User, exec, feed, files, forward, identity, reply, workload};

/// A sign-in is a few hundred bytes.
const MAX_SIGN_IN: usize = 64 * 1024;

/// What the dashboard is made of.
pub struct Config {
    /// Bound to loopback.
    pub listener: TcpListener,
    /// The dashboard's own name below `localhost`, which no page of others guesses: sessions are good there.
    pub name: String,
    /// Where proxies in front are reached.
    pub public: Vec<PublicUrl>,
    /// Answers as a user.
    pub api: Api,
    /// Shared with whoever gives them out.
    pub tickets: Tickets,
    /// Seals cookies; kept between starts.
    pub key: [u8; 32],
    /// Where sessions that were ended are kept.
    pub ended: PathBuf,
    /// Told with the session: profile and versions, an object.
    pub about: Value,
    /// Where commands of this machine ask the REST API.
    pub socket: Option<Socket>,
    /// Where tasks are spawned.
    pub tasks: Tasks,
}

/// A socket whose mode is the authorization.
pub struct Socket {
    /// Bound.
    pub listener: UnixListener,
    /// Who whoever may open it is.
    pub user: User,
}

/// Marks a connection that came over [`Socket`].
struct OverSocket;

/// It does not listen any more.
#[derive(Debug, thiserror::Error)]
#[error("the dashboard's server ended")]
pub struct Error(#[source] std::io::Error);

/// The dashboard's server.
pub struct Console {
    listener: TcpListener,
    socket: Option<UnixListener>,
    state: Arc<State>,
}

/// What every request sees.
pub struct State {
    pub(crate) api: Api,
    pub(crate) runtime: Handle,
    pub(crate) sessions: Sessions,
    pub(crate) rights: feed::Rights,
    pub(crate) tasks: Tasks,
    pub(crate) boot: String,
    pub(crate) guard: Guard,
    pub(crate) places: Places,
    tickets: Tickets,
    /// Wrong tokens, and wrong tickets: a page of another site can send a browser here with any ticket.
    guesses: Guesses,
    missed: Guesses,
    cookie: String,
    about: Value,
    owner: User,
}

/// Who asks, and how that is known.
#[derive(Clone)]
pub struct Asker {
    /// Who.
    pub user: User,
    /// The session, unless it was a bearer token.
    pub session: Option<Session>,
    /// The bearer token.
    pub token: Option<String>,
}

impl Asker {
    /// Whether it is the same one, by the same session or token.
    pub fn is(&self, other: &Self) -> bool {
        let session = |asker: &Self| asker.session.as_ref().map(|session| session.id.clone());
        self.user.name == other.user.name && session(self) == session(other) && self.token == other.token
    }
}

impl Console {
    /// Prepares to serve; call it in the daemon's runtime.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn new(config: Config) -> Result<Self, Error> {
        let Config { listener, name, public, api, tickets, key, ended, about, socket, tasks } = config;
        let port = listener.local_addr().map_err(Error)?.port();
        let (socket, owner) = socket.map(|socket| (socket.listener, socket.user)).unzip();
        let state = State {
            owner: owner.unwrap_or_default(),
            guard: Guard::new(&name, port, public),
            runtime: Handle::current(),
            sessions: Sessions::new(&key, ended),
            rights: feed::Rights::new(api.clone(), tasks.clone()),
            // cookies know no ports: two clusters of one machine would sign each other out
            cookie: format!("sampan-{port}"),
            boot: format!("{:016x}", rand::random::<u64>()),
            guesses: Guesses::default(),
            missed: Guesses::default(),
            places: Places::default(),
            tasks,
            tickets,
            api,
            about,
        };
        Ok(Self { listener, socket, state: Arc::new(state) })
    }

    /// Serves until the drain.
    ///
    /// # Errors
    /// The server cannot be made or ends by itself.
    pub async fn run(self, drain: Drain) -> Result<(), Error> {
        let Console { listener, socket, state } = self;
        let app = move || App::new().app_data(web::Data::from(state.clone())).default_service(web::to(entry));
        let server = HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .shutdown_timeout(1)
            .on_connect(|connection, data| {
                if connection.is::<tokio::net::UnixStream>() {
                    data.insert(OverSocket);
                }
            })
            .listen(listener)
            .map_err(Error)?;
        let server = match socket {
            Some(socket) => server.listen_uds(socket).map_err(Error)?,
            None => server,
        };
        let server = server.run();
        let handle = server.handle();
        let serving = tokio::spawn(server);
        drain.wait().await;
        handle.stop(true).await;
        serving.await.map_err(std::io::Error::other).and_then(|result| result).map_err(Error)
    }
}

async fn entry(request: HttpRequest, payload: web::Payload, state: web::Data<State>) -> HttpResponse {
    if request.conn_data::<OverSocket>().is_some() {
        return command(&request, payload, &state).await;
    }
    // what a workload answers is its own: nothing of ours is put into it
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some(name) = places::name(&host.to_ascii_lowercase(), state.guard.port()) {
        return workload::answer(&request, payload, &state.into_inner(), name).await;
    }
    let state = state.into_inner();
    let mut response = match state.guard.check(request.method(), request.headers()) {
        Ok(()) => route(&request, payload, &state).await,
        Err(refused) => refused,
    };
    let (_, path) = state.guard.split(request.path());
    let is_data = path.starts_with("/k8s/") || path.starts_with("/sampan/v1/") && path != "/sampan/v1/docs";
    guard::harden(response.headers_mut(), !is_data);
    response
}

/// What a command of this machine asks: the REST API, and nothing that is for browsers.
async fn command(request: &HttpRequest, payload: web::Payload, state: &Arc<State>) -> HttpResponse {
    match request.uri().path_and_query().filter(|target| target.path().starts_with("/sampan/v1/")) {
        Some(target) => {
            let owner = Asker { user: state.owner.clone(), session: None, token: None };
            forward::pass(state, owner, request, target.as_str(), payload).await
        }
        None => reply::failure(404, "NotFound", "only /sampan/v1 is answered here"),
    }
}

async fn route(request: &HttpRequest, payload: web::Payload, state: &Arc<State>) -> HttpResponse {
    let (prefix, path) = state.guard.split(request.path());
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    match (request.method(), path) {
        (&Method::GET, "/signin") if state.guard.by(request.headers()) != Some(By::Machine) => {
            state.redeem(request, prefix)
        }
        (&Method::POST, "/sampan/v1/session") => match state.guard.by(request.headers()) {
            Some(By::Machine) => {
                let message = format!("sign in at {}/", state.guard.origin());
                reply::failure(421, "MisdirectedRequest", &message)
            }
            _ => state.sign_in(request, payload, prefix).await,
        },
        (&Method::DELETE, "/sampan/v1/session") => state.sign_out(request, prefix),
        (&Method::GET, "/sampan/v1/session") => match state.asker(request).await {
            Some(asker) => state.who(&asker),
            None => reply::unauthorized(state.guard.profile()),
        },
        (_, "/sampan/v1/session") => reply::failure(405, "MethodNotAllowed", "GET, POST and DELETE"),
        (&Method::GET, "/sampan/v1/feed") => match state.asker(request).await {
            Some(asker) => feed::answer(request, payload, state, asker),
            None => reply::unauthorized(state.guard.profile()),
        },
        (&Method::GET, "/sampan/v1/open") => match state.asker(request).await {
            Some(asker) => workload::open(request, state, asker).await,
            None => reply::unauthorized(state.guard.profile()),
        },
        (_, "/sampan/v1/open") => {
            let mut refused = reply::failure(405, "MethodNotAllowed", "this path takes GET");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
            refused
        }
        (&Method::GET, "/sampan/v1/exec") => match state.asker(request).await {
            Some(asker) => exec::answer(request, payload, state, asker).await,
            None => reply::unauthorized(state.guard.profile()),
        },
        (_, path) if path.starts_with("/k8s/") || path.starts_with("/sampan/v1/") => {
            let target = path.strip_prefix("/k8s").unwrap_or(path);
            let query = request.query_string();
            let target = if query.is_empty() { target.to_owned() } else { format!("{target}?{query}") };
            match state.asker(request).await {
                Some(asker) => forward::pass(state, asker, request, &target, payload).await,
                None => reply::unauthorized(state.guard.profile()),
            }
        }
        // a session would be good for nothing here
        _ if get && state.guard.by(request.headers()) == Some(By::Machine) => {
            let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
            let own = format!("{}{target}", state.guard.origin());
            HttpResponse::TemporaryRedirect().insert_header((header::LOCATION, own)).finish()
        }
        (_, path) if get => files::answer(path.trim_start_matches('/'), prefix, request.headers()),
        _ => reply::failure(404, "NotFound", "there is nothing to write here"),
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    Timestamp::now().as_second()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    token: String,
}

impl State {
    /// Spawns in the daemon's runtime, from actix' thread.
    pub(crate) fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let _in_daemon = self.runtime.enter();
        self.tasks.spawn_until_drain(name, future);
    }

    /// Who asks: by a bearer token, or else by the cookie.
    async fn asker(&self, request: &HttpRequest) -> Option<Asker> {
        if let Some(value) = request.headers().get(header::AUTHORIZATION) {
            let token = value.to_str().ok()?.strip_prefix("Bearer ")?.trim().to_owned();
            let user = identity::of_token(&self.api, &token).await.ok()??;
            return Some(Asker { user, session: None, token: Some(token) });
        }
        let session = self.session(request)?;
        let user = self.user_of(&session).await?;
        Some(Asker { user, session: Some(session), token: None })
    }

    fn session(&self, request: &HttpRequest) -> Option<Session> {
        if self.guard.by(request.headers()) == Some(By::Machine) {
            return None;
        }
        self.sessions.open(request.cookie(&self.cookie)?.value(), now())
    }

    /// The user of a session; none if its token is not good any more.
    async fn user_of(&self, session: &Session) -> Option<User> {
        match &session.token {
            Some(token) => identity::of_token(&self.api, token).await.ok()?,
            None => Some(session.user.clone()),
        }
    }

    /// Whether an asker is still who they were. An API server that cannot say takes nothing from anybody.
    pub(crate) async fn still(&self, asker: &Asker) -> bool {
        let session = asker.session.as_ref();
        if session.is_some_and(|session| !self.sessions.is_good(session, now())) {
            return false;
        }
        match asker.token.as_ref().or(session.and_then(|session| session.token.as_ref())) {
            Some(token) => !matches!(identity::of_token(&self.api, token).await, Ok(None)),
            None => true,
        }
    }

    /// Ends when an asker is no longer who they were: at once when they sign out, soon when their token is revoked.
    pub(crate) async fn over(&self, asker: &Asker) {
        if asker.session.is_none() && asker.token.is_none() {
            // whoever may open the socket
            return std::future::pending().await;
        }
        let mut endings = self.sessions.endings();
        loop {
            tokio::select! {
                _ = endings.changed() => {}
                () = tokio::time::sleep(PING) => {}
            }
            if !self.still(asker).await {
                return;
            }
        }
    }

    /// A ticket becomes a cookie, and its address is left at once.
    fn redeem(&self, request: &HttpRequest, prefix: &str) -> HttpResponse {
        let ticket =
            web::Query::<std::collections::HashMap<String, String>>::from_query(request.query_string());
        let ticket = ticket.ok().and_then(|query| query.get("ticket").cloned()).unwrap_or_default();
        let mut response = HttpResponse::SeeOther();
        response.insert_header((header::LOCATION, prefix.to_owned()));
        match self.tickets.redeem(&ticket) {
            Some(user) => {
                let session = Session::new(user, None, now());
                response.cookie(self.cookie(request, prefix, self.sessions.seal(&session)));
            }
            None => {
                if let Err(seconds) = self.missed.allowed() {
                    return too_many(seconds);
                }
                // the page says that nobody is signed in, and what to do; a reload of a used address ends there too
                self.missed.wrong();
            }
        }
        response.finish()
    }

    async fn sign_in(&self, request: &HttpRequest, payload: web::Payload, prefix: &str) -> HttpResponse {
        if let Err(seconds) = self.guesses.allowed() {
            return too_many(seconds);
        }
        let body = match forward::read(payload, MAX_SIGN_IN).await {
            Ok(body) => body,
            Err(refused) => return refused,
        };
        let SignIn { token } = match serde_json::from_slice(&body) {
            Ok(asked) => asked,
            Err(error) => return reply::failure(400, "BadRequest", &format!("body: {error}")),
        };
        match identity::of_token(&self.api, token.trim()).await {
            Ok(Some(user)) => {
                let session = Session::new(user, Some(token.trim().to_owned()), now());
                let mut response = HttpResponse::NoContent();
                response.cookie(self.cookie(request, prefix, self.sessions.seal(&session)));
                response.finish()
            }
            Ok(None) => {
                self.guesses.wrong();
                reply::failure(401, "Unauthorized", "the token is not valid, or not any more")
            }
            Err(identity::Unasked) => {
                reply::failure(503, "ServiceUnavailable", "the API server does not say whose the token is")
            }
        }
    }

    fn sign_out(&self, request: &HttpRequest, prefix: &str) -> HttpResponse {
        if let Some(session) = self.session(request)
            && let Err(error) = self.sessions.end(&session, now())
        {
            tracing::error!(%error, "who signed out is not kept: until the cookie runs out, it is good after a restart");
        }
        let mut cookie = self.cookie(request, prefix, String::new());
        cookie.make_removal();
        HttpResponse::NoContent().cookie(cookie).finish()
    }

    fn who(&self, asker: &Asker) -> HttpResponse {
        let mut answer = json!({
            "user": asker.user.name, "groups": asker.user.groups,
            "until": asker.session.as_ref().map(|session| session.until),
        });
        if let (Some(answer), Value::Object(about)) = (answer.as_object_mut(), self.about.clone()) {
            answer.extend(about);
        }
        HttpResponse::Ok().json(answer)
    }

    fn cookie<'a>(&self, request: &HttpRequest, prefix: &str, value: String) -> Cookie<'a> {
        Cookie::build(self.cookie.clone(), value)
            .path(prefix.to_owned())
            .http_only(true)
            .same_site(SameSite::Strict)
            .secure(self.guard.is_secure(request.headers()))
            .max_age(time::Duration::seconds(SESSION_SECONDS))
            .finish()
    }
}

fn too_many(seconds: u64) -> HttpResponse {
    let message = format!("too many wrong tokens; try again in {seconds} seconds");
    let mut response = reply::failure(429, "TooManyRequests", &message);
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    response
}
