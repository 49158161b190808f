//! Keeps the truth about the upstreams: asks each a question that nobody else asks, at the beginning, when the host's
//! resolvers change, when a question got no answer, and, as long as something is wrong, again after a growing pause.
//!
//! The question is CoreDNS's (`plugin/loop`): HINFO of a name of two random labels. If it comes back to us, whoever we
//! asked asks us: forwarding there is refused, for every such question would go round for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use sampan_addon::{Report, Reporter};
use tokio::time::{Instant, sleep_until, timeout};

use crate::forward::exchange::exchange;
use crate::forward::judge::{Seen, State, judge};
use crate::forward::resolv::{Changes, Files};
use crate::forward::upstream::Server;
use crate::forward::{Forwarder, Key};
use crate::name::Name;
use crate::section::kind;

/// For so long an answer is waited for.
const PROBE: Duration = Duration::from_secs(2);
/// The first pause while something is wrong, and the least between two looks.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const PAUSE_MOST: Duration = Duration::from_secs(60);

/// Watches the upstreams.
pub struct Watchdog {
    /// What is watched.
    pub forwarder: Forwarder,
    /// The files that name the upstreams; `None`: the configuration does.
    pub files: Option<Files>,
    /// Our own address, for words.
    pub server: String,
    /// Where the truth is told.
    pub health: Reporter,
}

impl Watchdog {
    /// Watches for ever.
    pub async fn run(self) {
        let changes = self.watch();
        let mut pause = PAUSE;
        let mut listed = self.load();
        loop {
            let report = self.look(listed.as_deref()).await;
            pause = if report == Report::Healthy { PAUSE } else { (pause * 2).min(PAUSE_MOST) };
            let wrong = report != Report::Healthy;
            if let Report::Degraded { reason, .. } = &report
                && self.health.get() != report
            {
                tracing::warn!(%reason, "forwarding is not well");
            }
            self.health.set(report);
            let (again, calm) = (Instant::now() + pause, Instant::now() + PAUSE);
            tokio::select! {
                () = changed(changes.as_ref(), self.files.as_ref()) => listed = self.load(),
                () = async { self.forwarder.0.trouble.notified().await; sleep_until(calm).await } => {}
                () = sleep_until(again), if wrong => {}
            }
        }
    }

    fn watch(&self) -> Option<Changes> {
        let watched = self.files.as_ref()?.watch();
        watched.inspect_err(|error| tracing::warn!(%error, "the host's resolvers are not followed")).ok()
    }

    /// Takes the servers from the files. Gives why there are none.
    fn load(&self) -> Option<String> {
        let files = self.files.as_ref()?;
        let (servers, why) = match files.servers() {
            Ok(servers) => (servers, format!("{} names no resolver", files.usual.display())),
            Err(error) => (Vec::new(), error.to_string()),
        };
        tracing::info!(?servers, "the host's resolvers");
        self.forwarder.set_upstreams(&servers);
        Some(why)
    }

    async fn look(&self, listed: Option<&str>) -> Report {
        let mut all = Vec::new();
        for route in &self.forwarder.0.routes {
            let servers = route.servers.load_full();
            let states = join_all(servers.iter().map(|server| self.probe(server))).await;
            let servers = servers.iter().map(|server| server.address.to_string()).zip(states).collect();
            all.push(Seen { zone: (route.labels > 0).then(|| route.zone.to_string()), servers });
        }
        judge(&all, listed, &self.server)
    }

    async fn probe(&self, server: &Server) -> State {
        let label = || rand::random::<u64>().to_string();
        // digits and a dot are a name
        let Ok(name) = Name::parse(&format!("{}.{}", label(), label())) else { return State::Answers };
        let seen = Arc::new(AtomicBool::new(false));
        let probes = &self.forwarder.0.probes;
        probes.lock().insert(name.clone(), seen.clone());
        let key = Key { name, kind: kind::HINFO, dnssec: false, unchecked: false };
        let answer = timeout(PROBE, exchange(server.address, &key, self.forwarder.0.bounds)).await;
        probes.lock().remove(&key.name);
        server.set_looping(seen.load(Ordering::Relaxed));
        match answer {
            _ if server.is_looping() => return State::Loops,
            Ok(Ok(_)) => server.succeeded(),
            Ok(Err(failure)) => server.fail(failure),
            Err(_) => server.fail(format!("did not answer within {} s", PROBE.as_secs())),
        }
        server.failure().map_or(State::Answers, State::Silent)
    }
}

/// Resolves when the files have changed; never if there are none to follow.
async fn changed(changes: Option<&Changes>, files: Option<&Files>) {
    match (changes, files) {
        (Some(changes), Some(files)) => {
            if changes.next(files).await.is_ok() {
                return;
            }
            std::future::pending().await
        }
        _ => std::future::pending().await,
    }
}
