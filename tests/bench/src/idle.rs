//! What a cluster costs that has nothing to do: one running pod, nobody asking.
//!
//! After two minutes, memory is PSS of `/proc/PID/smaps_rollup` summed over our processes (the daemon and the
//! container host; the pod's own program is the user's). Processor time is user and system time of the same
//! processes over the next minute. The database file's length is taken at the two minutes and ten minutes
//! later; the write-ahead log beside it is told apart.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use sampan_testkit::{Cluster, Image};

use crate::figure::{Figure, Goal, Unit};
use crate::pods;

/// How long to wait for what.
struct Waits {
    settle: Duration,
    processor: Duration,
    /// From the settled moment on, the minute of the processor within it.
    growth: Duration,
}

const LONG: Waits = Waits {
    settle: Duration::from_secs(120),
    processor: Duration::from_secs(60),
    growth: Duration::from_secs(600),
};
const SHORT: Waits = Waits {
    settle: Duration::from_secs(30),
    processor: Duration::from_secs(30),
    growth: Duration::from_secs(60),
};

/// Measures an idle cluster.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let waits = if short { SHORT } else { LONG };
    let cluster = pods::cluster(&Image::busybox()?)?;
    let api: Api<Pod> = Api::default_namespaced(cluster.client().await?);
    pods::until_running(&api, "idle").await?;
    drop(api);
    tokio::time::sleep(waits.settle).await;
    let processes = processes(&cluster)?;
    let memory = memory(&processes)?;
    let (before, length) = (processor_time(&processes)?, file_length(&cluster)?);
    tokio::time::sleep(waits.processor).await;
    let spent = processor_time(&processes)? - before;
    tokio::time::sleep(waits.growth.saturating_sub(waits.processor)).await;
    let growth = file_length(&cluster)? - length;
    let wal =
        std::fs::metadata(cluster.data_directory().join("db/state.db-wal")).map_or(0, |file| file.len());
    eprintln!(
        "after {} s more: database {growth:+} bytes; write-ahead log {wal} bytes",
        waits.growth.as_secs()
    );
    let seconds = |wait: Duration| wait.as_secs();
    let (settle, window, long) = (seconds(waits.settle), seconds(waits.processor), seconds(waits.growth));
    let percent = 100.0 * spent / waits.processor.as_secs_f64();
    Ok(vec![
        Figure::alone(
            format!("idle after {settle} s, one pod: PSS"),
            Unit::Megabytes,
            vec![memory],
            Goal::Below(60.0),
        ),
        Figure::alone(
            format!("idle, processor over {window} s"),
            Unit::PercentOfCore,
            vec![percent],
            Goal::Below(0.5),
        ),
        Figure::alone(
            format!("idle, database growth in {long} s"),
            Unit::Bytes,
            vec![growth as f64],
            Goal::Below(1.0),
        ),
    ])
}

/// The cluster's own processes: the binary itself, for this cluster's directories.
pub fn processes(cluster: &Cluster) -> Result<Vec<i32>> {
    let (daemon, directory) = (cluster.pid()?, cluster.directory().to_string_lossy().into_owned());
    let binary = sampan_testkit::binary().canonicalize()?;
    let ours = |pid: &i32| {
        let executable = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        // a binary that was built anew meanwhile shows as deleted
        let same = executable.to_string_lossy().trim_end_matches(" (deleted)") == binary.to_string_lossy();
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid == daemon || same && String::from_utf8_lossy(&command).contains(&directory)
    };
    let all =
        std::fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let found: Vec<i32> = all.filter(ours).collect();
    ensure!(found.len() >= 2, "the daemon alone is found, not its container host");
    Ok(found)
}

/// PSS in millions of bytes.
pub fn memory(processes: &[i32]) -> Result<f64> {
    let mut total = 0.0;
    for pid in processes {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let value = |name: &str| kilobytes(&rollup, name).with_context(|| format!("{name} of {pid}"));
        let command = std::fs::read_to_string(format!("/proc/{pid}/comm"))?;
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"))?.count();
        let (all, heap, file) = (value("Pss:")?, value("Pss_Anon:")?, value("Pss_File:")?);
        eprintln!(
            "{} ({pid}): PSS {all:.1} MB (anonymous {heap:.1}, files {file:.1}), {threads} threads",
            command.trim()
        );
        total += all;
    }
    Ok(total)
}

/// A line of kilobytes, as the kernel's files for a process have them, in millions of bytes.
pub fn kilobytes(file: &str, name: &str) -> Option<f64> {
    let line = file.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// User and system time in seconds.
pub fn processor_time(processes: &[i32]) -> Result<f64> {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("no clock tick")?;
    let mut total = 0;
    for pid in processes {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        total += spent_ticks(&stat).with_context(|| format!("/proc/{pid}/stat"))?;
    }
    Ok(total as f64 / ticks as f64)
}

/// `utime` plus `stime`, the 14th and 15th field; the second is a name that may hold spaces.
fn spent_ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

fn file_length(cluster: &Cluster) -> Result<i64> {
    let file: &Path = &cluster.data_directory().join("db/state.db");
    let length = std::fs::metadata(file).with_context(|| file.display().to_string())?.len();
    Ok(i64::try_from(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_as_the_kernel_writes_them() {
        let stat = "4242 (a (b) c) S 1 4242 4242 0 -1 4194560 1 0 0 0 31 11 0 0 20 0 8 0 100 0 0";
        assert_eq!(spent_ticks(stat), Some(42));
        assert_eq!(
            kilobytes("Rss:  9 kB\nPss:                1000 kB\nPss_Anon:  1 kB\n", "Pss:"),
            Some(1.024)
        );
        assert_eq!(kilobytes("Rss:  9 kB\n", "Pss:"), None);
    }
}
