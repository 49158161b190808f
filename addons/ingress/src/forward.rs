//! One request: find its route, tidy its head, find an endpoint that takes it, pass the answer on.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use arc_swap::ArcSwap;
use http::header::{HOST, HeaderMap, HeaderValue, SET_COOKIE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use sampan_addon::Drain;
use tokio_util::task::TaskTracker;

use crate::annotations::{Affinity, Options, Protocol, Redirect};
use crate::answer::Refusal;
use crate::backend::{Endpoint, State};
use crate::body::{Answer, Exchange, Upload};
use crate::config::{Block, Limits};
use crate::connection::Connection;
use crate::headers;
use crate::path;
use crate::spare::Spares;
use crate::table::{Found, Route, Table};
use crate::tunnel::tunnel;
use crate::upstream::{Failure, Link, Pool, Unreachable};

/// How many endpoints a request is offered to.
const ENDPOINTS_MAX: usize = 3;

/// What one worker forwards with.
pub struct Forwarder {
    /// The routes now.
    pub table: Arc<ArcSwap<Table>>,
    /// Its connections to endpoints.
    pub pool: Rc<Pool>,
    /// Buffers for requests that may be sent twice.
    pub spares: Spares,
    /// Proxies whose headers are believed.
    pub trusted: Vec<Block>,
    /// Where https is served, if it is.
    pub https_port: Option<u16>,
    /// What clients are held to.
    pub limits: Limits,
    /// What lives on after its request: tunnels.
    pub tunnels: TaskTracker,
    /// Ends tunnels.
    pub drain: Drain,
}

/// An endpoint's answer, and how it came.
struct Answered {
    response: Response<Incoming>,
    link: Link,
    endpoint: Endpoint,
}

impl Forwarder {
    /// Answers a request, whatever happens.
    pub async fn handle(&self, client: Arc<Connection>, request: Request<Incoming>) -> Response<Answer> {
        let busy = client.busy();
        let answer = self.forward(&client, request).await.unwrap_or_else(|refusal| refusal.answer());
        answer.map(|body| body.keep(busy))
    }

    async fn forward(
        &self,
        client: &Arc<Connection>,
        request: Request<Incoming>,
    ) -> Result<Response<Answer>, Refusal> {
        let (mut parts, body) = request.into_parts();
        if matches!(parts.method, Method::CONNECT | Method::TRACE) {
            return Err(Refusal::Method);
        }
        let host = headers::host_of(&parts).ok_or(Refusal::Host)?;
        let found = self.find(&parts, &host)?;
        let trusted = self.trusted.iter().any(|block| block.contains(client.peer.ip()));
        self.redirect(&parts, client, &host, &found.route, trusted)?;
        let options = &found.route.options;
        if options.body_size.is_some_and(|most| body.size_hint().lower() > most) {
            return Err(Refusal::TooLarge);
        }
        let state = found.route.backend.state();
        let protocol = options.protocol.or(state.protocol).unwrap_or(Protocol::Http);
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        parts.extensions.clear();
        if parts.version == Version::HTTP_2 {
            headers::join_cookies(&mut parts.headers);
        }
        let switch =
            headers::strip_request(&mut parts.headers).filter(|_| upgrade.is_some() && !protocol.is_h2());
        headers::forwarded(&mut parts.headers, client, &host, trusted);
        if let Some(switch) = switch {
            headers::put_switch(&mut parts.headers, switch);
        }
        address(&mut parts, &host, found.path, protocol)?;
        let wanted = options.affinity.as_ref().and_then(|a| headers::cookie(&parts.headers, &a.name));
        let wanted = wanted.and_then(|token| state.endpoints.iter().position(|one| one.token == token));
        let exchange = Exchange::new();
        let body = match body.is_end_stream() {
            true => Upload::empty(exchange.clone()),
            false => Upload::new(body, options.body_size, exchange.clone()),
        };
        let first = wanted.unwrap_or_else(|| found.route.backend.turn());
        let request = Request::from_parts(parts, body);
        let answered = self.offer(request, &state, first, protocol, options, &exchange).await?;
        let kept = wanted.is_some_and(|place| state.endpoints[place].address == answered.endpoint.address);
        let affinity = options.affinity.as_ref().filter(|_| !kept);
        self.pass(answered, affinity, client, upgrade, options, exchange)
    }

    fn find(&self, parts: &Parts, host: &HeaderValue) -> Result<Found, Refusal> {
        let path = path::normalise(parts.uri.path()).ok_or(Refusal::Path)?;
        let name = host.to_str().ok().and_then(headers::name_of).ok_or(Refusal::Host)?;
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        let mut found = self.table.load().find(&name, &path).ok_or(Refusal::NoRoute)?;
        if let (None, Cow::Owned(normal)) = (&found.path, path) {
            found.path = Some(normal);
        }
        Ok(found)
    }

    fn redirect(
        &self,
        parts: &Parts,
        client: &Connection,
        host: &HeaderValue,
        route: &Route,
        trusted: bool,
    ) -> Result<(), Refusal> {
        let wanted = match route.options.redirect {
            Redirect::Never => false,
            Redirect::WithTls => route.tls,
            Redirect::Always => true,
        };
        let Some(port) = self.https_port.filter(|_| wanted && !client.tls) else { return Ok(()) };
        if trusted && headers::came_by_https(&parts.headers) {
            return Ok(());
        }
        let name = host.to_str().ok().and_then(headers::name_of).ok_or(Refusal::Host)?;
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        let place = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        Err(Refusal::Redirect(format!("https://{name}{port}{place}")))
    }

    /// Offers the request to one endpoint after another, as long as that cannot do harm: while nothing of it has been
    /// sent, or if it may be sent twice.
    async fn offer(
        &self,
        mut request: Request<Upload>,
        state: &State,
        first: usize,
        protocol: Protocol,
        options: &Options,
        exchange: &Rc<Exchange>,
    ) -> Result<Answered, Refusal> {
        let count = state.endpoints.len();
        let mut refusal = Refusal::NoEndpoint;
        for turn in 0..count.min(ENDPOINTS_MAX) {
            let endpoint = &state.endpoints[(first % count + turn) % count];
            let target = (endpoint.address, protocol);
            let mut open = true;
            loop {
                let taken = if open { self.pool.take(target).await } else { None };
                let connected = match taken {
                    Some(link) => Ok(link),
                    None => self.pool.connect(target, options.connect).await,
                };
                // what connecting took does not count as the endpoint's silence
                if turn > 0 || !open || connected.as_ref().is_ok_and(|link| !link.reused) {
                    exchange.moved.set(Instant::now());
                }
                let mut link = match connected {
                    Ok(link) => link,
                    Err(Unreachable::Slow) => break refusal = Refusal::Timeout,
                    Err(Unreachable::Refused) => break refusal = Refusal::Upstream,
                };
                let spare = may_be_sent_twice(&request).then(|| self.spares.keep(&request));
                let failure = match link.send(request, options.read, exchange).await {
                    Ok(response) => return Ok(Answered { response, link, endpoint: endpoint.clone() }),
                    Err(failure) => failure,
                };
                request = match (failure, spare) {
                    (Failure::Silent, _) => return Err(Refusal::Timeout),
                    _ if exchange.too_large.get() => return Err(Refusal::TooLarge),
                    _ if exchange.broken.get() => return Err(Refusal::Body),
                    (Failure::Unsent(request), _) => *request,
                    (Failure::Lost, Some(spare)) => spare.request(Upload::empty(exchange.clone())),
                    (Failure::Lost, None) => return Err(Refusal::Upstream),
                };
                // one that had waited may have been closed meanwhile; a new one tells how the endpoint is
                if !link.reused {
                    break refusal = Refusal::Upstream;
                }
                open = false;
            }
        }
        Err(refusal)
    }

    fn pass(
        &self,
        answered: Answered,
        affinity: Option<&Affinity>,
        client: &Arc<Connection>,
        upgrade: Option<OnUpgrade>,
        options: &Options,
        exchange: Rc<Exchange>,
    ) -> Result<Response<Answer>, Refusal> {
        let Answered { response, mut link, endpoint } = answered;
        let (mut parts, body) = response.into_parts();
        parts.extensions.clear();
        link.kept = headers::keeps_alive(&parts);
        let switch = headers::strip(&mut parts.headers);
        if let Some(affinity) = affinity {
            set_cookie(&mut parts.headers, affinity, &endpoint, client.tls);
        }
        if parts.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Response::from_parts(parts, Answer::download(body, link, options.read, exchange)));
        }
        let (Some(switch), Some(upgrade)) = (switch, upgrade) else { return Err(Refusal::Upstream) };
        headers::put_switch(&mut parts.headers, switch);
        // from here on the bytes of the client are not HTTP
        client.opaque.store(true, Relaxed);
        let silence = if options.own_read { options.read } else { self.limits.tunnel };
        let tunnel = tunnel(client.clone(), upgrade, link, silence, self.drain.clone());
        tokio::task::spawn_local(self.tunnels.track_future(tunnel));
        Ok(Response::from_parts(parts, Answer::empty()))
    }
}

/// It has no body, and doing it again changes nothing.
fn may_be_sent_twice(request: &Request<Upload>) -> bool {
    request.method().is_idempotent() && request.body().is_end_stream()
}

/// Puts the request in the form that the endpoint's protocol has.
fn address(
    parts: &mut Parts,
    host: &HeaderValue,
    path: Option<String>,
    protocol: Protocol,
) -> Result<(), Refusal> {
    let query = parts.uri.query();
    let target = match path {
        Some(path) => {
            let whole = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
            Some(PathAndQuery::try_from(whole).map_err(|_| Refusal::Path)?)
        }
        None => None,
    };
    if protocol.is_h2() {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(if protocol.is_tls() { Scheme::HTTPS } else { Scheme::HTTP });
        uri.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| Refusal::Host)?);
        uri.path_and_query = target.or_else(|| parts.uri.path_and_query().cloned());
        parts.uri = Uri::from_parts(uri).map_err(|_| Refusal::Path)?;
        parts.headers.remove(HOST);
        parts.version = Version::HTTP_2;
        return Ok(());
    }
    if parts.uri.authority().is_some() || target.is_some() {
        let target = target.or_else(|| parts.uri.path_and_query().cloned()).ok_or(Refusal::Path)?;
        parts.uri = Uri::from(target);
        parts.headers.insert(HOST, host.clone());
    }
    parts.version = Version::HTTP_11;
    Ok(())
}

fn set_cookie(headers: &mut HeaderMap, affinity: &Affinity, endpoint: &Endpoint, tls: bool) {
    let secure = if tls { "; Secure" } else { "" };
    let text = format!("{}={}{}{secure}", affinity.name, endpoint.token, affinity.attributes);
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.append(SET_COOKIE, value);
    }
}
