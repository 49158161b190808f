//! A sample in Prometheus' text format, under upstream's names. Pure.
//!
//! `/metrics/resource` is `pkg/kubelet/metrics/collectors/resource_metrics.go`; `/metrics/cadvisor` has those of cAdvisor's
//! families that the machine's cgroups give without looking into containers; `/metrics/probes` is `prober_probe_total`.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;

use super::machine::Interface;
use super::{ContainerSample, PodSample, Sample};
use crate::probe::{Outcomes, Probed};

const NANOS: f64 = 1e9;
/// What cAdvisor calls the whole machine.
const ROOT: &str = "/";

type Labels<'a> = Vec<(&'a str, &'a str)>;

/// Writes families one after the other.
#[derive(Default)]
struct Text(String);

impl Text {
    /// Starts a family; `kind` is `counter` or `gauge`.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // writing to a String cannot fail
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64, at: Option<Timestamp>) {
        self.0.push_str(name);
        for (place, (label, value)) in labels.iter().enumerate() {
            self.0.push(if place == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"");
            escape(&mut self.0, value);
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = write!(self.0, " {value}");
        if let Some(at) = at {
            let _ = write!(self.0, " {}", at.as_millisecond());
        }
        self.0.push('\n');
    }
}

fn escape(out: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            letter => out.push(letter),
        }
    }
}

#[allow(clippy::cast_precision_loss)] // the format's numbers are floats
fn float(number: u64) -> f64 {
    number as f64
}

#[allow(clippy::cast_precision_loss)] // milliseconds since 1970 fit
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1e3
}

/// `/metrics/resource`.
pub fn resource(sample: &Sample) -> String {
    let mut text = Text::default();
    let machine = &sample.machine;
    let swapped = machine.swap[0].saturating_sub(machine.swap[1]);
    let at = Some(machine.at);
    let mut containers = |name: &str,
                          kind: &str,
                          help: &str,
                          timed: bool,
                          of: fn(&ContainerSample) -> f64| {
        text.family(name, kind, help);
        for (pod, container) in all(sample) {
            let labels =
                [("container", container.name.as_str()), ("namespace", &pod.namespace), ("pod", &pod.name)];
            text.sample(name, &labels, of(container), timed.then_some(container.stats.at));
        }
    };
    containers(
        "container_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        true,
        |one| float(one.stats.cpu_nanos) / NANOS,
    );
    containers(
        "container_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the container in bytes",
        true,
        |one| float(one.stats.working_set_bytes),
    );
    containers(
        "container_start_time_seconds",
        "gauge",
        "[STABLE] Start time of the container since unix epoch in seconds",
        false,
        |one| seconds(one.started_at),
    );
    containers(
        "container_swap_usage_bytes",
        "gauge",
        "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems",
        true,
        |one| float(one.stats.swap_bytes),
    );
    for (name, kind, help, value) in [
        (
            "node_cpu_usage_seconds_total",
            "counter",
            "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
            float(machine.load.cpu_nanos) / NANOS,
        ),
        (
            "node_memory_working_set_bytes",
            "gauge",
            "[STABLE] Current working set of the node in bytes",
            float(machine.load.working_set_bytes),
        ),
        (
            "node_swap_usage_bytes",
            "gauge",
            "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems",
            float(swapped),
        ),
    ] {
        text.family(name, kind, help);
        text.sample(name, &[], value, at);
    }
    let mut pods = |name: &str, kind: &str, help: &str, of: fn(&PodSample) -> f64| {
        text.family(name, kind, help);
        for pod in &sample.pods {
            let labels = [("namespace", pod.namespace.as_str()), ("pod", &pod.name)];
            text.sample(name, &labels, of(pod), Some(pod.read_at()));
        }
    };
    pods(
        "pod_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        |pod| float(pod.sum(|one| one.stats.cpu_nanos)) / NANOS,
    );
    pods(
        "pod_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the pod in bytes",
        |pod| float(pod.sum(|one| one.stats.working_set_bytes)),
    );
    pods(
        "pod_swap_usage_bytes",
        "gauge",
        "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
        |pod| float(pod.sum(|one| one.stats.swap_bytes)),
    );
    text.family(
        "resource_scrape_error",
        "gauge",
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
    );
    text.sample("resource_scrape_error", &[], 0.0, None);
    text.0
}

fn all(sample: &Sample) -> impl Iterator<Item = (&PodSample, &ContainerSample)> {
    sample.pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
}

/// A family of cAdvisor's with a value for each container, and for the machine if it has one.
type Family = (&'static str, &'static str, &'static str, fn(&ContainerSample) -> f64, Option<f64>);

/// `/metrics/cadvisor`. `id` is the container's id and not the path of its cgroup, which is the runtime's affair.
pub fn cadvisor(sample: &Sample) -> String {
    let mut text = Text::default();
    for (name, kind, help, of, whole) in families(sample) {
        text.family(name, kind, help);
        let cpu = (name == "container_cpu_usage_seconds_total").then_some(("cpu", "total"));
        if let Some(value) = whole {
            let labels: Labels =
                [("container", "")].into_iter().chain(cpu).chain(rest(ROOT, "", "", "", "")).collect();
            text.sample(name, &labels, value, Some(sample.machine.at));
        }
        for (pod, container) in all(sample) {
            let id = &container.stats.container_id;
            let own = rest(id, &container.image, id, &pod.namespace, &pod.name);
            let labels: Labels =
                [("container", container.name.as_str())].into_iter().chain(cpu).chain(own).collect();
            text.sample(name, &labels, of(container), Some(container.stats.at));
        }
    }
    faults(&mut text, sample);
    networks(&mut text, sample);
    for (name, help, value) in [
        ("machine_cpu_cores", "Number of logical CPU cores.", sample.machine.cpus),
        ("machine_memory_bytes", "Amount of memory installed on the machine.", sample.machine.memory_bytes),
        ("machine_swap_bytes", "Amount of swap memory available on the machine.", sample.machine.swap[0]),
    ] {
        text.family(name, "gauge", help);
        text.sample(name, &[], float(value), None);
    }
    text.0
}

fn rest<'a>(
    id: &'a str,
    image: &'a str,
    name: &'a str,
    namespace: &'a str,
    pod: &'a str,
) -> [(&'a str, &'a str); 5] {
    [("id", id), ("image", image), ("name", name), ("namespace", namespace), ("pod", pod)]
}

fn families(sample: &Sample) -> [Family; 13] {
    let load = &sample.machine.load;
    let whole = |number: u64| Some(float(number));
    [
        (
            "container_cpu_usage_seconds_total",
            "counter",
            "Cumulative cpu time consumed in seconds.",
            |one| float(one.stats.cpu_nanos) / NANOS,
            Some(float(load.cpu_nanos) / NANOS),
        ),
        (
            "container_cpu_cfs_periods_total",
            "counter",
            "Number of elapsed enforcement period intervals.",
            |one| float(one.stats.cpu_periods),
            None,
        ),
        (
            "container_cpu_cfs_throttled_periods_total",
            "counter",
            "Number of throttled period intervals.",
            |one| float(one.stats.cpu_throttled_periods),
            None,
        ),
        (
            "container_cpu_cfs_throttled_seconds_total",
            "counter",
            "Total time duration the container has been throttled.",
            |one| float(one.stats.cpu_throttled_nanos) / NANOS,
            None,
        ),
        (
            "container_memory_usage_bytes",
            "gauge",
            "Current memory usage in bytes, including all memory regardless of when it was accessed",
            |one| float(one.stats.memory_bytes),
            whole(load.memory_bytes),
        ),
        (
            "container_memory_working_set_bytes",
            "gauge",
            "Current working set in bytes.",
            |one| float(one.stats.working_set_bytes),
            whole(load.working_set_bytes),
        ),
        (
            "container_memory_rss",
            "gauge",
            "Size of RSS in bytes.",
            |one| float(one.stats.rss_bytes),
            whole(load.rss_bytes),
        ),
        (
            "container_memory_cache",
            "gauge",
            "Number of bytes of page cache memory.",
            |one| float(one.stats.cache_bytes),
            None,
        ),
        (
            "container_memory_swap",
            "gauge",
            "Container swap usage in bytes.",
            |one| float(one.stats.swap_bytes),
            None,
        ),
        (
            "container_spec_memory_limit_bytes",
            "gauge",
            "Memory limit for the container.",
            |one| float(one.stats.memory_limit_bytes.unwrap_or(0)),
            None,
        ),
        (
            "container_threads",
            "gauge",
            "Number of threads running inside the container",
            |one| float(one.stats.pids),
            None,
        ),
        (
            "container_start_time_seconds",
            "gauge",
            "Start time of the container since unix epoch in seconds.",
            |one| seconds(one.started_at),
            u64::try_from(sample.machine.boot_seconds).ok().map(float),
        ),
        (
            "container_last_seen",
            "gauge",
            "Last time a container was seen by the exporter",
            |one| seconds(one.stats.at),
            Some(seconds(sample.machine.at)),
        ),
    ]
}

fn faults(text: &mut Text, sample: &Sample) {
    let name = "container_memory_failures_total";
    text.family(name, "counter", "Cumulative count of memory allocation failures.");
    for (pod, container) in all(sample) {
        let stats = &container.stats;
        for (kind, count) in [("pgfault", stats.page_faults), ("pgmajfault", stats.major_page_faults)] {
            let [id, image, own, namespace, in_pod] =
                rest(&stats.container_id, &container.image, &stats.container_id, &pod.namespace, &pod.name);
            let labels = [
                ("container", container.name.as_str()),
                ("failure_type", kind),
                id,
                image,
                own,
                namespace,
                in_pod,
                ("scope", "hierarchy"),
            ];
            text.sample(name, &labels, float(count), Some(stats.at));
        }
    }
}

/// An interface's counter, received (0) or sent (1), by its place among the four.
type Counter = (&'static str, &'static str, usize, usize);

const COUNTERS: [Counter; 8] = [
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", 0, 0),
    ("container_network_receive_packets_total", "Cumulative count of packets received", 0, 1),
    (
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        0,
        2,
    ),
    (
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        0,
        3,
    ),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", 1, 0),
    ("container_network_transmit_packets_total", "Cumulative count of packets transmitted", 1, 1),
    (
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        1,
        2,
    ),
    (
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        1,
        3,
    ),
];

fn networks(text: &mut Text, sample: &Sample) {
    for (name, help, direction, place) in COUNTERS {
        text.family(name, "counter", help);
        let mut of = |interfaces: &[Interface], id: &str, namespace: &str, pod: &str, at: Timestamp| {
            for one in interfaces {
                let counters = if direction == 0 { one.received } else { one.sent };
                let [id, image, own, namespace, pod] = rest(id, "", "", namespace, pod);
                let labels =
                    [("container", ""), id, image, ("interface", one.name.as_str()), own, namespace, pod];
                text.sample(name, &labels, float(counters[place]), Some(at));
            }
        };
        of(&sample.machine.interfaces, ROOT, "", "", sample.machine.at);
        for pod in &sample.pods {
            of(&pod.network, &pod.uid, &pod.namespace, &pod.name, pod.read_at());
        }
    }
}

/// `/metrics/probes`.
pub fn probes(all: &BTreeMap<Probed, Outcomes>) -> String {
    let mut text = Text::default();
    let name = "prober_probe_total";
    text.family(
        name,
        "counter",
        "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.",
    );
    for (probed, outcomes) in all {
        for (result, count) in [("successful", outcomes.successful), ("failed", outcomes.failed)] {
            let labels = [
                ("container", probed.container.as_str()),
                ("namespace", &probed.namespace),
                ("pod", &probed.pod),
                ("pod_uid", &probed.uid),
                ("probe_type", probed.kind),
                ("result", result),
            ];
            if count > 0 {
                text.sample(name, &labels, float(count), None);
            }
        }
    }
    text.0
}

/// What the kubelet says of itself beside the process's own metrics.
pub fn kubelet(node_name: &str, pods: usize, containers: [usize; 2]) -> String {
    let mut text = Text::default();
    text.family("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.");
    text.sample("kubelet_node_name", &[("node", node_name)], 1.0, None);
    text.family("kubelet_running_pods", "gauge", "[BETA] Number of pods that have a running pod sandbox");
    text.sample("kubelet_running_pods", &[], float(pods as u64), None);
    text.family("kubelet_running_containers", "gauge", "[BETA] Number of containers currently running");
    for (state, count) in ["running", "exited"].into_iter().zip(containers) {
        text.sample("kubelet_running_containers", &[("container_state", state)], float(count as u64), None);
    }
    text.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::sample;
    use super::*;

    /// Every line is a comment or a sample of the family before it, and no family comes twice.
    fn well_formed(text: &str) {
        let mut family = "";
        let mut seen = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap();
                assert!(seen.insert(family), "{family} twice");
            } else if !line.starts_with("# HELP ") {
                assert!(line.starts_with(family) && line.split(' ').count() >= 2, "{line}");
            }
        }
    }

    #[test]
    fn resources_are_as_upstreams() {
        let text = resource(&sample());
        well_formed(&text);
        for line in [
            "container_cpu_usage_seconds_total{container=\"app\",namespace=\"default\",pod=\"web\"} 1.5 100000",
            "container_start_time_seconds{container=\"app\",namespace=\"default\",pod=\"web\"} 40",
            "node_cpu_usage_seconds_total 9 100000",
            "pod_memory_working_set_bytes{namespace=\"default\",pod=\"web\"} 2048 100000",
            "resource_scrape_error 0",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn cadvisors_families_are_there() {
        let text = cadvisor(&sample());
        well_formed(&text);
        for line in [
            "container_cpu_usage_seconds_total{container=\"app\",cpu=\"total\",id=\"c1\",image=\"sha256:1\",name=\"c1\",namespace=\"default\",pod=\"web\"} 1.5 100000",
            "container_memory_working_set_bytes{container=\"\",id=\"/\",image=\"\",name=\"\",namespace=\"\",pod=\"\"} 400 100000",
            "container_network_transmit_bytes_total{container=\"\",id=\"u1\",image=\"\",interface=\"eth0\",name=\"\",namespace=\"default\",pod=\"web\"} 5 100000",
            "container_memory_failures_total{container=\"app\",failure_type=\"pgfault\",id=\"c1\",image=\"sha256:1\",name=\"c1\",namespace=\"default\",pod=\"web\",scope=\"hierarchy\"} 7 100000",
            "machine_cpu_cores 2",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.sample("a", &[("b", "x\"\\\n")], 1.0, None);
        assert_eq!(text.0, "a{b=\"x\\\"\\\\\\n\"} 1\n");
    }

    #[test]
    fn probes_count_what_there_was() {
        let probed = Probed {
            namespace: "a".into(),
            pod: "b".into(),
            uid: "u".into(),
            container: "c".into(),
            kind: "Liveness",
        };
        let text = probes(&BTreeMap::from([(probed, Outcomes { successful: 3, failed: 0 })]));
        well_formed(&text);
        assert!(text.ends_with(
            "prober_probe_total{container=\"c\",namespace=\"a\",pod=\"b\",pod_uid=\"u\",probe_type=\"Liveness\",result=\"successful\"} 3\n"
        ));
    }
}
