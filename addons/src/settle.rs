//! Waiting until the cluster agrees with a decision: applied, healthy, checked. Events wake it; only a check of what
//! answers inside a pod is asked again.

use std::collections::BTreeMap;
use std::time::Duration;

use sampan_addon::Report;
use sampan_reconcile::Deltas;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::definition::Definition;
use crate::error::Error;
use crate::health::{Condition, State, of_object};
use crate::manager::{Manager, Outcome};
use crate::object::Reference;
use crate::package::Check;
use crate::request::Step;
use crate::verbs::Progress;

/// How long objects may take to go.
const DOWN_SECONDS: u64 = 60;
/// How long a package has to have failed to be called failed: pods of what it was before say so until they are gone.
const FAILED: Duration = Duration::from_secs(3);
/// How long a post-install check may fail.
const CHECK: Duration = Duration::from_secs(20);
/// Seconds that anyone waits at most: a day.
const LONGEST: u64 = 24 * 3600;

/// Why an addon did not settle.
pub(crate) struct Unsettled {
    pub reason: String,
    next: String,
    kind: Option<Error>,
}

impl Unsettled {
    /// It serves less than before.
    pub fn worse(now: Condition) -> Self {
        Self { reason: now.reason, next: now.next, kind: None }
    }

    fn of(error: Error, name: &str) -> Self {
        Self { reason: error.to_string(), next: error.next_step(name), kind: Some(error) }
    }

    /// The error to tell, with what there is now. What nobody could have restored keeps its own kind.
    pub fn into_error(self, name: &str, restored: String) -> Error {
        match self.kind {
            Some(error @ (Error::Owned { .. } | Error::Config { .. } | Error::Package(_))) => error,
            _ => Error::Failed { name: name.to_owned(), reason: self.reason, next: self.next, restored },
        }
    }
}

impl Manager {
    /// Waits for the pass that restores; what there is then.
    pub async fn restored(&self, name: &str, version: u64, enabled: bool) -> String {
        let passed =
            tokio::time::timeout(Duration::from_secs(DOWN_SECONDS), self.passed(name, version)).await;
        match (passed, enabled) {
            (Ok(None), true) => "what was before is restored".to_owned(),
            (Ok(None), false) => "it is disabled again and nothing of it is left".to_owned(),
            (Ok(Some(error)), _) => {
                format!("restoring what was before failed, too: {error}; it is tried again")
            }
            (Err(_), _) => {
                let last = self.outcomes.borrow().get(name).and_then(|outcome| outcome.error.clone());
                let why = last.map(|error| format!(": {error}")).unwrap_or_default();
                format!("what was before is being restored{why}")
            }
        }
    }

    /// Waits until a pass has succeeded, or failed for good, that saw everything up to `version`.
    async fn passed(&self, name: &str, version: u64) -> Option<Error> {
        let mut outcomes = self.again(name);
        loop {
            let outcome = outcomes.borrow_and_update().get(name).cloned();
            match outcome {
                Some(Outcome { seen, error }) if seen >= version => match error {
                    Some(error) if error.is_transient() => {}
                    error => return error,
                },
                _ => {}
            }
            // the sender is in self
            let _ = outcomes.changed().await;
        }
    }

    /// Forgets how the last pass ended and asks for another.
    fn again(&self, name: &str) -> watch::Receiver<BTreeMap<String, Outcome>> {
        let outcomes = self.outcomes.subscribe();
        self.outcomes.send_modify(|outcomes| drop(outcomes.remove(name)));
        self.kick(name);
        outcomes
    }

    /// Waits until nothing of a disabled addon is left.
    ///
    /// # Errors
    /// What keeps it, after [`DOWN_SECONDS`].
    pub async fn went_down(&self, name: &str, version: u64) -> Result<(), Error> {
        let limit = Duration::from_secs(DOWN_SECONDS);
        match tokio::time::timeout(limit, self.passed(name, version)).await {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(_) => {
                let last = self.outcomes.borrow().get(name).and_then(|outcome| outcome.error.clone());
                Err(last.unwrap_or_else(|| Error::Leaving(format!("what belongs to {name}"))))
            }
        }
    }

    /// Waits until an enabled addon is applied, healthy and, for packages, passes its checks.
    pub async fn settle(
        &self,
        name: &str,
        version: u64,
        seconds: u64,
        progress: Progress<'_>,
    ) -> Result<(), Unsettled> {
        let deadline = Instant::now() + Duration::from_secs(seconds.min(LONGEST));
        self.healthy(name, version, deadline, progress).await?;
        let Ok(Definition::Package(package)) = self.known(name) else { return Ok(()) };
        let failed = |error: Error| Unsettled::of(error, name);
        let given = self.record(name).map_err(failed)?.unwrap_or_default().configuration;
        let config = package.configuration(&given).map_err(failed)?;
        for check in package.checks(&config).map_err(failed)? {
            progress(Step::Checking { check: check.name.clone() });
            self.holds(&check, deadline.min(Instant::now() + CHECK)).await.map_err(|reason| Unsettled {
                reason: format!("the check {:?} fails: {reason}", check.name),
                next: format!("`sampan addons logs {name}` says more"),
                kind: None,
            })?;
        }
        Ok(())
    }

    async fn healthy(
        &self,
        name: &str,
        version: u64,
        deadline: Instant,
        progress: Progress<'_>,
    ) -> Result<(), Unsettled> {
        let mut outcomes = self.again(name);
        let mut changes = self.watched.changes();
        let mut pods = self.pods.subscribe();
        let (mut told, mut failing) = (String::new(), None);
        loop {
            let outcome =
                outcomes.borrow_and_update().get(name).cloned().filter(|outcome| outcome.seen >= version);
            changes.mark_unchanged();
            while pods.try_next().is_some() {}
            let mut report = self.runners.lock().get(name).map(|runner| runner.reporter.watch());
            let condition = match outcome {
                None => Condition::new(State::Starting, "", ""),
                Some(Outcome { error: Some(error), .. }) if !error.is_transient() => {
                    return Err(Unsettled::of(error, name));
                }
                Some(Outcome { error: Some(error), .. }) => {
                    Condition::new(State::Starting, error.to_string(), error.next_step(name))
                }
                Some(_) => {
                    report.as_mut().map(watch::Receiver::mark_unchanged);
                    self.condition(name)
                }
            };
            let native = report.is_some();
            let failed = match condition.state {
                State::Healthy | State::Degraded => return Ok(()),
                State::Failed => Some(*failing.get_or_insert_with(|| Instant::now() + FAILED)),
                State::Off | State::Starting => None,
            };
            failing = failed;
            if failed.is_some_and(|at| native || Instant::now() >= at) {
                return Err(Unsettled { reason: condition.reason, next: condition.next, kind: None });
            }
            if condition.reason != told {
                told.clone_from(&condition.reason);
                progress(Step::Waiting { reason: told.clone() });
            }
            tokio::select! {
                _ = outcomes.changed() => {}
                _ = changes.changed() => {}
                () = changed(&mut report) => {}
                () = next(&mut pods) => {}
                () = tokio::time::sleep_until(failed.unwrap_or(deadline)), if failed.is_some() => {}
                () = tokio::time::sleep_until(deadline) => {
                    let reason = if told.is_empty() { "it says nothing".to_owned() } else { told };
                    let next = condition.next;
                    return Err(Unsettled { reason: format!("not within the time given: {reason}"), next, kind: None });
                }
            }
        }
    }

    /// Asks until a check holds, with growing pauses: nothing tells of the answer of a server inside a pod.
    async fn holds(&self, check: &Check, deadline: Instant) -> Result<(), String> {
        let mut pause = Duration::from_millis(100);
        loop {
            let Err(reason) = self.check(check).await else { return Ok(()) };
            if Instant::now() + pause > deadline {
                return Err(reason);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn check(&self, check: &Check) -> Result<(), String> {
        if let Some(http) = &check.http {
            let port = http.port.as_str().map_or_else(|| http.port.to_string(), str::to_owned);
            let path = format!(
                "/api/v1/namespaces/{}/services/{}:{port}/proxy/{}",
                http.namespace,
                http.service,
                http.path.trim_start_matches('/')
            );
            return match self.fetch(&path).await {
                Ok(status) if status == http.status => Ok(()),
                Ok(status) => Err(format!(
                    "service {}/{} answers {status} at {}",
                    http.namespace, http.service, http.path
                )),
                Err(error) => Err(error.to_string()),
            };
        }
        let Some(field) = &check.field else { return Ok(()) };
        let place = Reference {
            api_version: field.api_version.clone(),
            kind: field.kind.clone(),
            namespace: Some(field.namespace.clone()),
            name: field.name.clone(),
            uid: String::new(),
        };
        let object = self.look(&place).await.map_err(|error| error.to_string())?;
        let object = object.ok_or_else(|| format!("{place} is not there"))?;
        let found = field.path.split('.').fold(&object, |value, step| &value[step]);
        (*found == field.value)
            .then_some(())
            .ok_or_else(|| format!("{place}: {} is {found}, not {}", field.path, field.value))
    }

    /// How an addon is, now.
    pub(crate) fn condition(&self, name: &str) -> Condition {
        if !self.is_enabled(name) {
            return Condition::default();
        }
        let outcome = self.outcomes.borrow().get(name).cloned();
        let applied = match outcome {
            None => Condition::new(State::Starting, "", ""),
            Some(Outcome { error: Some(error), .. }) => {
                let state = if error.is_transient() { State::Starting } else { State::Failed };
                Condition::new(state, error.to_string(), error.next_step(name))
            }
            Some(_) => Condition::healthy(),
        };
        if applied.state != State::Healthy {
            // what is not there yet is not missing
            return applied;
        }
        let inventory = match self.record(name) {
            Ok(record) => record.unwrap_or_default().inventory,
            Err(error) => return Condition::new(State::Failed, error.to_string(), error.next_step(name)),
        };
        let native = self.config.natives.iter().any(|native| native.about().name == name);
        let own = match native {
            true => self.runners.lock().get(name).map(|runner| Condition::from(runner.reporter.get())),
            false => Some(Condition::healthy()),
        };
        let own = own.unwrap_or_else(|| Condition::new(State::Starting, "", ""));
        let pods = if native { Vec::new() } else { self.pods.list() };
        let objects = inventory.iter().filter_map(|place| {
            let object = self.watched.get(place)?;
            // what a native addon's objects say of themselves is that addon's work
            (object.is_none() || !native).then(|| of_object(place, object.as_ref(), &pods))
        });
        objects.fold(own, Condition::worse)
    }
}

/// Resolves when a report changes; never if there is none.
async fn changed(report: &mut Option<watch::Receiver<Report>>) {
    let changed = match report {
        Some(report) => report.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        // it is gone with its runner, or not there yet: a pass tells of the next one
        std::future::pending().await
    }
}

async fn next<K>(deltas: &mut Deltas<K>) {
    if deltas.next().await.is_none() {
        std::future::pending().await
    }
}
