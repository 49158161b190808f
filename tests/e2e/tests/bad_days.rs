//! What goes wrong is said in upstream's words, and nothing is lost.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use anyhow::{Result, ensure};
use sampan_test_e2e::{cluster, eventually, field, registry};
use sampan_testkit::{Cluster, Options};

const MINUTE: Duration = Duration::from_secs(60);

fn waiting(cluster: &Cluster, pod: &str, reason: &str) -> Result<String> {
    eventually(reason, MINUTE, || {
        let status = field(cluster, &format!("pod/{pod}"), "{.status.containerStatuses[0].state.waiting}")?;
        Ok(status.contains(&format!("\"reason\":\"{reason}\"")).then_some(status))
    })
}

#[test]
fn pods_that_cannot_run_say_why() -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, "embedded")?;
    cluster.kubectl(&["run", "wrong", "--image=no-such-image:1"])?;
    cluster.kubectl(&["run", "crash", "--image=busybox", "--", "sh", "-c", "echo going down; exit 3"])?;
    let memory = r#"{"spec":{"containers":[{"name":"oom","image":"busybox","command":["sh","-c","x=a; while true; do x=$x$x; done"],"resources":{"limits":{"memory":"16Mi"}}}],"restartPolicy":"Never"}}"#;
    cluster.kubectl(&["run", "oom", "--image=busybox", "--restart=Never", "--overrides", memory])?;
    cluster.kubectl(&["run", "absent", "--image=busybox", "--restart=Never", "--", "no-such-command"])?;

    let text = waiting(&cluster, "wrong", "ImagePullBackOff")?;
    ensure!(text.contains("Back-off pulling image"), "{text}");
    let events = cluster.kubectl(&["describe", "pod", "wrong"])?;
    ensure!(events.contains("ErrImagePull") && events.contains("Failed to pull image"), "{events}");

    let text = waiting(&cluster, "crash", "CrashLoopBackOff")?;
    ensure!(text.contains("back-off 10s restarting failed container=crash pod=crash_default("), "{text}");
    ensure!(
        field(&cluster, "pod/crash", "{.status.containerStatuses[0].lastState.terminated.exitCode}")? == "3"
    );
    ensure!(cluster.kubectl(&["logs", "crash"])?.contains("going down"));

    let killed = eventually("OOMKilled", MINUTE, || {
        let state = field(&cluster, "pod/oom", "{.status.containerStatuses[0].state.terminated}")?;
        Ok((!state.is_empty()).then_some(state))
    })?;
    ensure!(killed.contains("OOMKilled") && killed.contains("137"), "{killed}");

    let failed = eventually("StartError", MINUTE, || {
        let state = field(&cluster, "pod/absent", "{.status.containerStatuses[0].state.terminated}")?;
        Ok((!state.is_empty()).then_some(state))
    })?;
    ensure!(
        failed.contains("StartError") && failed.contains("executable file not found in $PATH"),
        "{failed}"
    );
    Ok(())
}

#[test]
fn what_the_command_line_refuses_it_explains() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let cluster = Cluster::unstarted(Options::default())?;
    // a port that was asked for is had or refused, and a refused one is not kept
    let port = port.to_string();
    let refused = cluster.command().args(["start", "--apiserver-port", &port]).output()?;
    ensure!(refused.status.code() == Some(70), "{refused:?}");
    // what cannot be is refused before it is kept
    let refused = cluster.command().args(["start", "--pod-cidr", "10.0.0.0"]).output()?;
    ensure!(refused.status.code() == Some(14) && refused.stdout.is_empty(), "{refused:?}");
    cluster.up()?;
    let server = std::fs::read_to_string(cluster.kubeconfig())?;
    ensure!(!server.contains(&format!(":{port}\n")) && server.contains("https://127.0.0.1:"), "{server}");
    let renamed = cluster.command().args(["start", "--node-name", "another"]).output()?;
    ensure!(renamed.status.code() == Some(14), "{renamed:?}");
    // a second start finds it running
    ensure!(cluster.up()?.contains("running already"));
    // a second daemon cannot take its lock
    let second = cluster.command().arg("daemon").output()?;
    ensure!(String::from_utf8_lossy(&second.stdout).contains("SP_PROFILE_LOCKED"), "{second:?}");
    // wrong words
    let wrong = cluster.command().args(["-p", "No/Such", "status"]).output()?;
    ensure!(wrong.status.code() == Some(14), "{wrong:?}");
    let absent = cluster.command().args(["image", "load", "/no/such.tar"]).output()?;
    ensure!(absent.status.code() == Some(15), "{absent:?}");
    cluster.sampan(&["stop"])?;
    // a stale lock file without a holder
    std::fs::write(cluster.run_directory().join("daemon.pid"), "1")?;
    // a damaged database is named and left alone
    let database = cluster.data_directory().join("db/state.db");
    let good = std::fs::read(&database)?;
    let mut bad = good.clone();
    bad[..64].fill(0x55);
    std::fs::write(&database, &bad)?;
    let refused = cluster.command().arg("start").output()?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        refused.status.code() == Some(80) && words.contains("GUEST_STORE") && words.contains("state.db"),
        "{words}"
    );
    ensure!(std::fs::read(&database)? == bad, "the damaged file was touched");
    std::fs::write(&database, &good)?;
    cluster.up()?;
    ensure!(cluster.kubectl(&["get", "node"])?.contains("Ready"));
    Ok(())
}
