//! `/metrics`: what is counted, and what is measured when somebody asks: this process, the objects that there are, the
//! version.

use std::collections::BTreeSet;

use http::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use sampan_api::kinds::{self, Kind};
use serde_json::Value;

use super::{slis, version};
use crate::pipeline::respond;
use crate::{ApiServer, ResponseBody};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Resource {
    group: &'static str,
    resource: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Qualified {
    resource: String,
}

impl ApiServer {
    /// The page.
    pub(super) fn metrics(&self) -> Response<ResponseBody> {
        let mut measured = Registry::default();
        build(&mut measured);
        process(&mut measured);
        self.objects(&mut measured);
        self.measure_api_services(&mut measured);
        let text = sampan_process::metrics::encode_with(&measured);
        respond::raw(200, sampan_process::metrics::TEXT, text)
    }

    fn objects(&self, registry: &mut Registry) {
        let (all, old) = (Family::<Resource, Gauge>::default(), Family::<Qualified, Gauge>::default());
        let custom = self.customs().groups().into_iter().flat_map(|(_, versions)| versions);
        let custom = custom.flat_map(|(_, kinds)| kinds);
        let stored = kinds::all().iter().filter(|kind| !kind.virtual_).chain(custom);
        let mut seen = BTreeSet::new();
        for kind in stored.filter(|kind: &&Kind| seen.insert(kind.storage_group)) {
            let count = i64::try_from(self.store().list(kind.storage_group).len()).unwrap_or(i64::MAX);
            let (group, resource) = (kind.group, kind.plural);
            all.get_or_create(&Resource { group, resource }).set(count);
            old.get_or_create(&Qualified { resource: kind.qualified() }).set(count);
        }
        registry.register("apiserver_resource_objects", "Number of stored objects split by kind", all);
        registry.register(
            "apiserver_storage_objects",
            "[DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects split by kind",
            old,
        );
    }
}

fn build(registry: &mut Registry) {
    let version = version();
    let said = |key: &str| version.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let names = [
        ("major", "major"),
        ("minor", "minor"),
        ("git_version", "gitVersion"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("build_date", "buildDate"),
        ("go_version", "goVersion"),
        ("compiler", "compiler"),
        ("platform", "platform"),
    ];
    let labels: Vec<(&str, String)> = names.into_iter().map(|(name, key)| (name, said(key))).collect();
    registry.register("kubernetes_build", "The version that this server reports", Info::new(labels));
}

/// What Prometheus' clients tell of every process.
fn process(registry: &mut Registry) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let help = "Start time of the process since unix epoch in seconds";
    registry.register("process_start_time_seconds", help, ConstGauge::new(slis::began().unwrap_or_default()));
    let help = "Total user and system CPU time spent in seconds";
    registry.register("process_cpu_seconds", help, ConstCounter::new(processor_seconds(&read("stat"))));
    let status = read("status");
    let memory = |key: &str| kilobytes(&status, key) * 1024;
    let help = "Resident memory size in bytes";
    registry.register("process_resident_memory_bytes", help, ConstGauge::new(memory("VmRSS")));
    let help = "Virtual memory size in bytes";
    registry.register("process_virtual_memory_bytes", help, ConstGauge::new(memory("VmSize")));
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count());
    let open = i64::try_from(open).unwrap_or(i64::MAX);
    registry.register("process_open_fds", "Number of open file descriptors", ConstGauge::new(open));
    let help = "Maximum number of open file descriptors";
    registry.register("process_max_fds", help, ConstGauge::new(most_files(&read("limits"))));
}

/// `utime` and `stime` of `/proc/PID/stat`, which are hundredths.
fn processor_seconds(stat: &str) -> f64 {
    // the name may have spaces and brackets in it; what follows begins with the third field
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn kilobytes(status: &str, key: &str) -> i64 {
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn most_files(limits: &str) -> i64 {
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    soft.and_then(|soft| soft.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 150 50 0 0 20 0";
        assert!((processor_seconds(stat) - 2.0).abs() < 1e-9);
        let status = "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t  100 kB\n";
        assert_eq!(
            (kilobytes(status, "VmRSS"), kilobytes(status, "VmSize"), kilobytes(status, "Vm")),
            (100, 2048, 0)
        );
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";
        assert_eq!(most_files(limits), 1024);
    }
}
