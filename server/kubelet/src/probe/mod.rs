//! Startup, liveness and readiness probes: one task per probe of a run.
//!
//! Ported from upstream's `pkg/kubelet/prober/{worker,prober}.go`. A [`Counter`] decides, pure; the task asks
//! and sleeps. Results reach the machine only when they change something.

mod grpc;
pub mod http;
mod tally;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sampan_cri::RuntimeError;
use sampan_process::Drain;
use tokio::sync::watch;

use crate::context::Context;
use crate::pod::machine::{Event, ProbeKind, Verdict};
use crate::probe::http::Answer;
pub use tally::{Outcomes, Probed, Tally};

/// A run to probe.
#[derive(Clone)]
pub struct Subject {
    /// The kubelet.
    pub context: Arc<Context>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container.
    pub container: Container,
    /// Id of the run.
    pub id: String,
    /// Address of the pod.
    pub ip: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// Whether its startup probe has passed already.
    pub started: bool,
}

impl Subject {
    fn probed(&self, kind: ProbeKind) -> Probed {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let meta = &self.pod.metadata;
        Probed {
            namespace: text(&meta.namespace),
            pod: text(&meta.name),
            uid: text(&meta.uid),
            container: self.container.name.clone(),
            kind: name(kind),
        }
    }
}

/// Counts results up to the probe's thresholds.
#[derive(Clone, Debug)]
struct Counter {
    success: i32,
    failure: i32,
    last: Option<bool>,
    run: i32,
    settled: Option<bool>,
}

impl Counter {
    fn new(probe: &Probe) -> Self {
        let success = probe.success_threshold.unwrap_or(1).max(1);
        Self {
            success,
            failure: probe.failure_threshold.unwrap_or(3).max(1),
            last: None,
            run: 0,
            settled: None,
        }
    }

    /// Takes a result; `Some` when the settled result changes or failure is reached (again).
    fn add(&mut self, passed: bool) -> Option<bool> {
        self.run = if self.last == Some(passed) { self.run + 1 } else { 1 };
        self.last = Some(passed);
        let threshold = if passed { self.success } else { self.failure };
        if self.run < threshold || self.settled == Some(passed) {
            return None;
        }
        self.settled = Some(passed);
        Some(passed)
    }
}

/// Starts the probes of a run; `tell` takes what they find.
pub fn spawn(subject: Subject, drain: Drain, tell: impl Fn(Event) + Clone + Send + Sync + 'static) {
    let (started, wait) = watch::channel(subject.started || subject.container.startup_probe.is_none());
    let started = Arc::new(started);
    let container = &subject.container;
    let probes = [
        (ProbeKind::Startup, container.startup_probe.clone().filter(|_| !subject.started)),
        (ProbeKind::Liveness, container.liveness_probe.clone()),
        (ProbeKind::Readiness, container.readiness_probe.clone()),
    ];
    for (kind, probe) in probes {
        let Some(probe) = probe else { continue };
        let (subject, drain, tell) = (subject.clone(), drain.clone(), tell.clone());
        let (started, mut wait) = (started.clone(), wait.clone());
        subject.context.tasks.clone().spawn("probe", async move {
            let work = async {
                if kind != ProbeKind::Startup && wait.wait_for(|started| *started).await.is_err() {
                    return;
                }
                follow(&subject, kind, &probe, &tell, &started).await;
            };
            tokio::select! {
                () = drain.wait() => {}
                () = work => {}
            }
            subject.context.probed.forget(&subject.probed(kind));
        });
    }
}

async fn follow(
    subject: &Subject,
    kind: ProbeKind,
    probe: &Probe,
    tell: &(impl Fn(Event) + Send + Sync),
    started: &watch::Sender<bool>,
) {
    let delay = Duration::from_secs(u64::try_from(probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0));
    let age = Timestamp::now().duration_since(subject.started_at);
    let age = Duration::try_from(age).unwrap_or_default();
    tokio::time::sleep(delay.saturating_sub(age)).await;
    let period = Duration::from_secs(u64::try_from(probe.period_seconds.unwrap_or(10).max(1)).unwrap_or(10));
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut counter = Counter::new(probe);
    let probed = subject.probed(kind);
    let event =
        |verdict| Event::Probe { container: subject.container.name.clone(), id: subject.id.clone(), verdict };
    loop {
        ticks.tick().await;
        let result = check(subject, probe).await;
        subject.context.probed.add(&probed, result.is_ok());
        let told = match &result {
            Ok(None) => None,
            Ok(Some(warning)) => Some(("ProbeWarning", format!("{} probe warning: {warning}", name(kind)))),
            Err(why) => Some(("Unhealthy", format!("{} probe failed: {why}", name(kind)))),
        };
        if let Some((reason, text)) = told {
            subject.context.tell(&subject.pod, true, reason, &text, Some(&subject.container.name));
        }
        match (kind, counter.add(result.is_ok())) {
            (ProbeKind::Readiness, Some(passed)) => tell(event(Verdict::Ready(passed))),
            (ProbeKind::Startup, Some(true)) => {
                tell(event(Verdict::Started));
                let _ = started.send(true);
                return;
            }
            (ProbeKind::Startup | ProbeKind::Liveness, Some(false)) => {
                tell(event(Verdict::Failed(kind, probe.termination_grace_period_seconds)));
                return;
            }
            (ProbeKind::Liveness, Some(true)) | (_, None) => {}
        }
    }
}

fn name(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Startup => "Startup",
        ProbeKind::Liveness => "Liveness",
        ProbeKind::Readiness => "Readiness",
    }
}

/// Asks once: a warning, if it passed with one. `Err` carries upstream's words.
async fn check(subject: &Subject, probe: &Probe) -> Result<Option<String>, String> {
    if let Some(get) = &probe.http_get {
        let target = http::target(get, &subject.container, &subject.ip)?;
        return match http::get(&target, timeout(probe)).await? {
            Answer::Good => Ok(None),
            Answer::Redirected(body) => {
                Ok(Some(format!("Probe terminated redirects, Response body: {body}")))
            }
            Answer::Bad(status) => Err(format!("HTTP probe failed with statuscode: {status}")),
        };
    }
    check_other(subject, probe).await.map(|()| None)
}

fn timeout(probe: &Probe) -> Duration {
    Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1).max(1)).unwrap_or(1))
}

async fn check_other(subject: &Subject, probe: &Probe) -> Result<(), String> {
    let timeout = timeout(probe);
    if let Some(exec) = &probe.exec {
        let command = exec.command.clone().unwrap_or_default();
        return check_exec(subject, &command, timeout).await;
    }
    if let Some(tcp) = &probe.tcp_socket {
        let port = port(&tcp.port, &subject.container)?;
        let host = tcp.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| subject.ip.clone());
        return connect(&host, port, timeout).await.map(drop);
    }
    if let Some(grpc) = &probe.grpc {
        let port = u16::try_from(grpc.port).map_err(|e| e.to_string())?;
        return grpc::check(&subject.ip, port, grpc.service.as_deref().unwrap_or_default(), timeout).await;
    }
    Err("missing probe handler".to_owned())
}

async fn check_exec(subject: &Subject, command: &[String], timeout: Duration) -> Result<(), String> {
    match subject.context.runtime.exec_sync(&subject.id, command, Some(timeout)).await {
        Ok(output) if output.exit_code == 0 => Ok(()),
        Ok(output) => {
            let both = [output.stdout, output.stderr].concat();
            Err(String::from_utf8_lossy(&both[..both.len().min(10 * 1024)]).into_owned())
        }
        Err(RuntimeError::DeadlineExceeded { .. }) => {
            Err(format!("command timed out: {:?} timed out after {}s", command.join(" "), timeout.as_secs()))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The number of a port given by number or by name.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut named = container.ports.iter().flatten();
            named
                .find(|p| p.name.as_ref() == Some(name))
                .map(|p| p.container_port)
                .or_else(|| name.parse().ok())
        }
    };
    number
        .and_then(|n| u16::try_from(n).ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("couldn't find port: {port:?}"))
}

/// A TCP connection, with the words of Go's dialer.
pub async fn connect(host: &str, port: u16, timeout: Duration) -> Result<tokio::net::TcpStream, String> {
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    match tokio::time::timeout(timeout, tokio::net::TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Err(format!("dial tcp {shown}: connect: connection refused"))
        }
        Ok(Err(error)) => Err(format!("dial tcp {shown}: {error}")),
        Err(_) => Err(format!("dial tcp {shown}: i/o timeout")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_settle_results() {
        let probe = Probe { failure_threshold: Some(2), success_threshold: Some(2), ..Probe::default() };
        let mut counter = Counter::new(&probe);
        let seen: Vec<_> =
            [true, true, true, false, true, false, false, true, true].map(|r| counter.add(r)).to_vec();
        assert_eq!(seen, [None, Some(true), None, None, None, None, Some(false), None, Some(true)]);
    }

    #[test]
    fn ports_by_name_or_number() {
        let container: Container = serde_json::from_value(
            serde_json::json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}),
        )
        .unwrap_or_default();
        assert_eq!(port(&IntOrString::Int(80), &container), Ok(80));
        assert_eq!(port(&IntOrString::String("web".to_owned()), &container), Ok(8080));
        assert!(port(&IntOrString::String("none".to_owned()), &container).is_err());
    }
}
