//! `sampan stop`: pods first, then the daemon; all objects stay.

use super::{Context, Outcome};
use crate::control::{self, Request};
use crate::failure::{Failure, Kind};
use crate::messages::Message;
use crate::profile::Profile;

/// Runs the verb.
pub async fn run(mut context: Context, keep_pods: bool) -> Outcome {
    let Context { profile, ui } = &mut context;
    if !profile.exists()? {
        let message = format!("there is no cluster {:?}", profile.name);
        return Err(Failure::new(Kind::NotFound, message));
    }
    profile.create()?;
    let _held = profile.lock_command()?;
    let Some(pid) = profile.daemon_pid() else {
        ui.step(&Message::NotRunning { profile: profile.name.clone() });
        return Ok(0);
    };
    ui.step(&Message::Stopping { profile: profile.name.clone() });
    let done = control::ask(&profile.socket(), &Request::Stop { keep_pods }, |value| {
        if let Ok(message) = serde_json::from_value(value) {
            ui.step(&message);
        }
    })
    .await
    .map_err(|failure| super::busy(failure, pid))?;
    ended(profile).await?;
    let count = done.get("running").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if count > 0 {
        ui.step(&Message::KeptPods { count: usize::try_from(count).unwrap_or(usize::MAX) });
    }
    ui.step(&Message::Stopped { profile: profile.name.clone() });
    Ok(0)
}

/// Waits until the daemon has let go of its lock.
pub async fn ended(profile: &Profile) -> Result<(), Failure> {
    let mut lock = profile.lock_daemon()?;
    // the lock has no asynchronous form; a thread may block on it
    let waited =
        tokio::task::spawn_blocking(move || lock.write().map(drop).map_err(|error| error.to_string())).await;
    match waited {
        Ok(Ok(())) => Ok(()),
        Ok(Err(message)) => Err(Failure::new(Kind::Internal, message)),
        Err(error) => Err(Failure::new(Kind::Internal, error.to_string())),
    }
}
