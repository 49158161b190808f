//! The dashboard's server: its port, its key, and the API server as it sees it.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::Request;
use http::header::{HeaderValue, USER_AGENT};
use sampan_apiserver::{ApiServer, TakeoverSlot, UserInfo};
use sampan_console::{Answer, Api, Config, Console, PublicUrl, Socket, Tickets, User};
use sampan_process::Tasks;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::kubeconfig::Owner;
use crate::profile::{Profile, Settings};

/// The first choice of a port.
const PORT: u16 = 6480;
/// How many ports after it are tried.
const PORTS_TRIED: u16 = 20;
/// Where key and port are kept, below the profile's data.
const KEPT: &str = "dashboard.json";
/// Where it is kept who signed out.
const ENDED: &str = "signed-out.json";

/// The dashboard's way in.
pub struct Dashboard {
    name: String,
    port: u16,
    missed: Option<u16>,
    tickets: Tickets,
    public: Vec<PublicUrl>,
}

/// What lasts between starts, so that open pages go on.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Seals sessions: 32 bytes in base64.
    key: String,
    /// The port of the last start.
    port: u16,
}

impl Dashboard {
    /// The port in use.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The first choice of a port, if another one is in use.
    pub fn missed(&self) -> Option<u16> {
        self.missed
    }

    /// Where it is, for whoever is signed in.
    pub fn address(&self) -> String {
        format!("http://{}:{}/", self.name, self.port)
    }

    /// Addresses that sign a browser in as the administrator, each once within two minutes.
    pub fn addresses(&self) -> Value {
        let signin = |base: String| format!("{base}signin?ticket={}", self.tickets.issue(administrator()));
        let public: Vec<String> = self.public.iter().map(|url| signin(url.to_string())).collect();
        json!({"url": signin(self.address()), "publicUrls": public})
    }
}

/// Bound, but not served yet.
pub struct Bound(Config);

/// Binds the dashboard's port; whoever connects waits until it is served.
pub fn bind(
    profile: &Profile,
    settings: &Settings,
    server: &ApiServer,
    tasks: &Tasks,
) -> Result<(Dashboard, Bound), Failure> {
    let file = profile.data.join(KEPT);
    let mut kept = read(&file);
    let key = match STANDARD.decode(&kept.key).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
        Some(key) => key,
        // none yet, or a broken file: whoever was signed in signs in anew
        None => rand::random(),
    };
    let first = if kept.port == 0 { PORT } else { kept.port };
    let listener = listen(settings.dashboard_port, first)?;
    let port = listener.local_addr()?.port();
    let missed = Some(first).filter(|first| *first != port && settings.dashboard_port.is_none());
    let now = Kept { key: STANDARD.encode(key), port };
    if kept != now {
        kept = now;
        write(&file, &kept)?;
    }
    let public = public(settings)?;
    let tickets = Tickets::default();
    let name = sampan_console::name(&profile.name, &key);
    let config = Config {
        listener,
        name: name.clone(),
        public: public.clone(),
        api: api(server),
        tickets: tickets.clone(),
        key,
        ended: profile.data.join(ENDED),
        about: json!({
            "profile": profile.name, "version": env!("CARGO_PKG_VERSION"),
            "kubernetesVersion": sampan_apiserver::VERSION,
        }),
        socket: None,
        tasks: tasks.clone(),
    };
    Ok((Dashboard { name, port, missed, tickets, public }, Bound(config)))
}

impl Bound {
    /// Serves until the drain, on the profile's socket as well: that is where commands ask.
    pub fn serve(mut self, profile: &Profile, tasks: &Tasks) -> Result<(), Failure> {
        self.0.socket = Some(Socket { listener: listen_to_commands(profile)?, user: administrator() });
        let failed = |error: sampan_console::Error| Failure::new(Kind::DaemonStart, error.to_string());
        let console = Console::new(self.0).map_err(failed)?;
        let drain = tasks.drain();
        tasks.spawn("console", async move {
            if let Err(error) = console.run(drain).await {
                tracing::error!(%error, "commands and the dashboard are not answered any more");
            }
        });
        Ok(())
    }
}

fn listen_to_commands(profile: &Profile) -> Result<UnixListener, Failure> {
    let path = profile.socket();
    // a socket of a daemon that is gone: the lock file says that none runs
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    // whoever called sudo may use the socket without it
    if let Some((uid, gid)) = Owner::detect().ids {
        // the socket alone: in a directory of theirs they could plant what root then follows
        std::os::unix::fs::lchown(&path, Some(uid.as_raw()), Some(gid.as_raw()))?;
    }
    Ok(listener)
}

fn administrator() -> User {
    let groups = ["system:masters", "system:authenticated"].map(str::to_owned).to_vec();
    User { name: "kubernetes-admin".into(), groups, ..User::default() }
}

fn public(settings: &Settings) -> Result<Vec<PublicUrl>, Failure> {
    let parse = |url: &String| {
        url.parse().map_err(|error| Failure::new(Kind::Usage, format!("--dashboard-url={error}")))
    };
    settings.dashboard_urls.iter().map(parse).collect()
}

/// Binds the port that was asked for, or the first free one from `first` on.
fn listen(chosen: Option<u16>, first: u16) -> Result<TcpListener, Failure> {
    let taken = |port: u16, error: &std::io::Error| {
        let message = format!("--dashboard-port={port}: {error}; choose another");
        Failure::new(Kind::PortTaken, message)
    };
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    if let Some(port) = chosen {
        return bind(port).map_err(|error| taken(port, &error));
    }
    for port in first..=first.saturating_add(PORTS_TRIED) {
        match bind(port) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            result => return result.map_err(|error| taken(port, &error)),
        }
    }
    // the system knows one
    bind(0).map_err(|error| taken(0, &error))
}

fn read(file: &Path) -> Kept {
    let text = std::fs::read(file).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn write(file: &Path, kept: &Kept) -> Result<(), Failure> {
    let text = serde_json::to_vec(kept).map_err(anyhow::Error::from)?;
    let new = file.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(&new)?.write_all(&text)?;
    Ok(std::fs::rename(&new, file)?)
}

/// Who manages the fields that someone changes in a browser.
const DASHBOARD: HeaderValue = HeaderValue::from_static("sampan-dashboard");

/// The API server as a function of a user and a request.
fn api(server: &ApiServer) -> Api {
    let server = server.clone();
    Arc::new(move |user, mut request: Request<Bytes>| -> BoxFuture<'static, Answer> {
        let User { name, uid, groups, extra } = user;
        let agent = request.headers_mut().entry(USER_AGENT).or_insert(DASHBOARD);
        if agent.as_bytes().starts_with(b"Mozilla") {
            *agent = DASHBOARD;
        }
        let answer = server.loopback(UserInfo { name, uid, groups, extra })(request);
        Box::pin(async move {
            let mut response = answer.await;
            let slot = response.extensions_mut().remove::<TakeoverSlot>();
            let takeover = slot.and_then(|slot| slot.take()).map(|takeover| takeover.0);
            Answer { response, takeover }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_free_port_is_taken_unless_one_was_chosen() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let taken = holder.local_addr().expect("bound").port();
        let other = listen(None, taken).expect("another").local_addr().expect("bound").port();
        assert_ne!(other, taken);
        let failure = listen(Some(taken), PORT).expect_err("taken");
        assert!(
            failure.kind == Kind::PortTaken && failure.message.contains(&format!("--dashboard-port={taken}"))
        );
    }
}
