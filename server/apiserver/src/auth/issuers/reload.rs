//! The file again when it changes, as upstream's `--authentication-config` is read again: what is wrong with it is told, and
//! what was there before stays. Who is let in without credentials cannot be changed this way.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use sampan_process::Drain;
use tokio::io::unix::AsyncFd;

use super::Issuers;
use crate::auth::Auth;

/// The pause before a folder that is not there is looked for again.
const AGAIN: Duration = Duration::from_secs(10);

/// How reloads ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Reloads {
    /// With the file's issuers.
    pub taken: u64,
    /// With those before.
    pub refused: u64,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

struct Metrics {
    reloads: Family<Status, Counter>,
    last: Family<Status, Gauge>,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let metrics = Metrics { reloads: Family::default(), last: Family::default() };
    let registry = sampan_process::metrics::registry();
    let mut registry = registry.lock();
    // the encoder appends _total to counters
    registry.register(
        "apiserver_authentication_config_controller_automatic_reloads",
        "Total number of automatic reloads of authentication configuration split by status",
        metrics.reloads.clone(),
    );
    registry.register(
        "apiserver_authentication_config_controller_automatic_reload_last_timestamp_seconds",
        "Timestamp of the last automatic reload of authentication configuration split by status",
        metrics.last.clone(),
    );
    metrics
});

/// What the file's new content makes of what holds now; `own` as of [`Issuers::open`].
fn next(now: &Issuers, content: &str, own: &[String]) -> Result<Issuers, String> {
    let new = Issuers::read(content, own)?;
    match new.anonymous == now.anonymous {
        true => Ok(new),
        false => Err("anonymous: Forbidden: changed from initial configuration file".into()),
    }
}

/// Follows the file until the drain.
pub(crate) async fn follow(file: PathBuf, own: Vec<String>, auth: Arc<Auth>, drain: Drain) {
    let mut changes = watch(&file).await;
    // it may have changed since it was read
    let mut seen = auth.issuers().content.clone();
    loop {
        match tokio::fs::read_to_string(&file).await {
            Ok(content) if content == seen => {}
            Ok(content) => {
                let issuers = next(&auth.issuers(), &content, &own);
                seen = content;
                take(&auth, issuers.map(|issuers| issuers.until(drain.clone())), &file);
            }
            // whoever replaces it may have taken it away first
            Err(error) => {
                tracing::warn!(%error, file = %file.display(), "failed to load authentication config")
            }
        }
        if let Err(error) = changes.next().await {
            tracing::warn!(%error, file = %file.display(), "watching authentication config file");
            changes = watch(&file).await;
        }
    }
}

/// Watches the file's folder, as soon as there is one: only its absence is asked for again and again.
async fn watch(file: &Path) -> Changes {
    loop {
        match Changes::of(file) {
            Ok(changes) => return changes,
            Err(error) => {
                tracing::error!(%error, file = %file.display(), "watching authentication config file: tried again");
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn take(auth: &Auth, issuers: Result<Issuers, String>, file: &Path) {
    let status = match &issuers {
        Ok(_) => "success",
        Err(_) => "failure",
    };
    match issuers {
        Ok(issuers) => {
            tracing::info!(file = %file.display(), "reloaded authentication config");
            auth.set_issuers(issuers);
            auth.reloads.send_modify(|reloads| reloads.taken += 1);
        }
        Err(why) => {
            tracing::error!(why, file = %file.display(), "failed to validate authentication config: what it said before holds");
            auth.reloads.send_modify(|reloads| reloads.refused += 1);
        }
    }
    METRICS.reloads.get_or_create(&Status { status }).inc();
    METRICS.last.get_or_create(&Status { status }).set(Timestamp::now().as_second());
}

struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Tells that a file may have changed. Programs replace a file by renaming another, so it is folders that are watched: where
/// the file is, and where it is in truth.
struct Changes {
    inotify: AsyncFd<Descriptor>,
    file: PathBuf,
}

impl Changes {
    // the replacement is unsafe to call, which this crate may not; `Descriptor` owns what it wraps and never changes it
    #[expect(deprecated)]
    fn of(file: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let changes = Self { inotify: AsyncFd::new(Descriptor(inotify))?, file: file.to_owned() };
        changes.watch()?;
        Ok(changes)
    }

    fn truth(&self) -> PathBuf {
        std::fs::canonicalize(&self.file).unwrap_or_else(|_| self.file.clone())
    }

    /// Watching a folder twice is one watch.
    fn watch(&self) -> io::Result<()> {
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE;
        for path in [self.file.clone(), self.truth()] {
            let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
            self.inotify.get_ref().0.add_watch(folder, flags)?;
        }
        Ok(())
    }

    /// Resolves when something happened to the file, or to a link on the way to it.
    async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let read = ready.try_io(|inner| inner.get_ref().0.read_events().map_err(io::Error::from));
            let Ok(read) = read else { continue };
            let truth = self.truth();
            let concerns = |name: &OsStr| {
                // what Kubernetes mounts changes by this link
                name == "..data" || [self.file.file_name(), truth.file_name()].contains(&Some(name))
            };
            if read?.iter().any(|event| event.name.as_deref().is_none_or(concerns)) {
                // it may lead elsewhere now
                return self.watch();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HEAD: &str =
        r#"{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration""#;

    #[test]
    fn what_is_wrong_or_opens_another_door_is_refused() {
        let now = Issuers::read(&format!("{HEAD}}}"), &[]).unwrap();
        assert!(next(&now, &format!("{HEAD}, \"jwt\": []}}"), &[]).is_ok());
        let wrong = next(&now, "nonsense", &[]).err().unwrap();
        assert!(!wrong.is_empty());
        let open = next(&now, &format!("{HEAD}, \"anonymous\": {{\"enabled\": true}}}}"), &[]).err().unwrap();
        assert_eq!(open, "anonymous: Forbidden: changed from initial configuration file");
    }
}
