//! What one feed has open: reads asks, starts and ends the tasks of views.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use jiff::Timestamp;
use sampan_view::feed::{Ask, Tell};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::{list, object};
use crate::server::{Asker, State};
use crate::{Api, User};

/// Views of one feed at once.
const VIEWS: usize = 64;

/// What a view's task has.
#[derive(Clone)]
pub struct Desk {
    /// Asked as the user.
    pub api: Api,
    /// Who looks.
    pub user: User,
    /// Where it is told; waits when the tab does not read.
    pub tell: mpsc::Sender<Tell>,
    /// Whether nobody looks.
    pub hidden: watch::Receiver<bool>,
    /// Changes when someone's rights do.
    pub rights: watch::Receiver<u64>,
}

/// Ends its task when it is dropped.
struct View(AbortHandle);

impl Drop for View {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Serves one feed until its websocket ends or the session does.
pub async fn run(
    state: Arc<State>,
    asker: Asker,
    mut asks: mpsc::Receiver<String>,
    tell: mpsc::Sender<Tell>,
) {
    let (hide, hidden) = watch::channel(false);
    let (rights, _watching) = state.rights.follow().await;
    let desk = Desk { api: state.api.clone(), user: asker.user.clone(), tell, hidden, rights };
    if desk.tell.send(hello(&state, &asker)).await.is_err() {
        return;
    }
    let mut views: HashMap<u32, View> = HashMap::new();
    let mut over = pin!(state.over(&asker));
    loop {
        tokio::select! {
            text = asks.recv() => {
                let Some(text) = text else { return };
                match serde_json::from_str(&text) {
                    Ok(Ask::Pace { hidden }) => {
                        hide.send_if_modified(|now| std::mem::replace(now, hidden) != hidden);
                    }
                    Ok(Ask::Close { view }) => {
                        views.remove(&view);
                    }
                    Ok(ask) => open(&state, &desk, &mut views, ask).await,
                    Err(error) => {
                        let _ = desk.tell.send(Tell::Confused { message: error.to_string() }).await;
                    }
                }
            }
            () = &mut over => {
                let _ = desk.tell.send(Tell::SignedOut).await;
                return;
            }
        }
    }
}

async fn open(state: &State, desk: &Desk, views: &mut HashMap<u32, View>, ask: Ask) {
    let (Ask::Open { view, .. } | Ask::Watch { view, .. }) = ask else { return };
    // the number is used anew: what it was before ends
    views.remove(&view);
    if views.len() >= VIEWS {
        let message = format!("{VIEWS} views are open; close some");
        let refused = Tell::Refused { view, code: 429, reason: "TooManyRequests".into(), message };
        let _ = desk.tell.send(refused).await;
        return;
    }
    let desk = desk.clone();
    let task = match ask {
        Ask::Watch { kind, namespace, name, .. } => {
            state.tasks.spawn_until_drain("feed's object", async move {
                object::run(desk, view, kind, namespace, name).await
            })
        }
        ask => state.tasks.spawn_until_drain("feed's list", async move { list::run(desk, ask).await }),
    };
    views.insert(view, View(task.abort_handle()));
}

fn hello(state: &State, asker: &Asker) -> Tell {
    Tell::Hello {
        user: asker.user.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot: state.boot.clone(),
        now: Timestamp::now().as_millisecond(),
    }
}
