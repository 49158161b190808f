//! What nodes, pods or all pods of a workload used over the last minutes: a line for CPU and one for memory, with the last
//! figure and the highest in words. Nothing is drawn where nothing is measured.

use std::{collections::BTreeMap, time::Duration};

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::{
    chart::{self, Past},
    quantity,
};
use sampan_view::place::encode;
use serde_json::Value;

use crate::{app::app, net::api};

/// As often as readings are taken, unless that was configured otherwise.
const EVERY: Duration = Duration::from_secs(15);
/// Where the metrics addon keeps what it read.
const GROUP: &str = "k8s/apis/metrics.sampan.dev/v1alpha1";
/// The box of a line, as its `viewBox` has it: it is as wide as its place is.
const WIDE: f64 = 240.0;
const HIGH: f64 = 36.0;

/// Whose history.
#[derive(Clone, Debug, PartialEq)]
pub enum Of {
    Node(String),
    /// Namespace and name.
    Pod(String, String),
    /// Namespace and label selector.
    Pods(String, String),
}

impl Of {
    /// A list always: what was not measured yet is an empty one, and no failure.
    fn path(&self) -> String {
        let named = |name: &str| format!("fieldSelector={}", encode(&format!("metadata.name={name}")));
        match self {
            Self::Node(name) => format!("{GROUP}/nodes?{}", named(name)),
            Self::Pod(namespace, name) => format!("{GROUP}/namespaces/{namespace}/pods?{}", named(name)),
            Self::Pods(namespace, labels) => {
                format!("{GROUP}/namespaces/{namespace}/pods?labelSelector={}", encode(labels))
            }
        }
    }
}

/// What was used, as it goes on.
pub fn past(of: Of) -> RwSignal<Past> {
    following(of.path(), chart::sum)
}

/// What each node used.
pub fn of_nodes() -> RwSignal<BTreeMap<String, Past>> {
    following(format!("{GROUP}/nodes"), chart::each)
}

fn following<T: Default + Send + Sync + 'static>(path: String, take: fn(&Value) -> T) -> RwSignal<T> {
    let kept = RwSignal::new(T::default());
    let read = move || {
        // the addon may be off
        if app().kinds.read_untracked().of_path("pods.metrics.sampan.dev").is_none() || document().hidden() {
            return;
        }
        let path = path.clone();
        spawn_local(async move {
            if let Ok(found) = api::get(&path).await {
                kept.try_set(take(&found));
            }
        });
    };
    let first = read.clone();
    Effect::new(move |_| {
        app().kinds.track();
        first();
    });
    if let Ok(timer) = set_interval_with_handle(read, EVERY) {
        on_cleanup(move || timer.clear());
    }
    kept
}

/// Both lines with their words.
#[component]
pub fn Charts(past: RwSignal<Past>) -> impl IntoView {
    move || {
        let past = past.get();
        let one = |title: &str, values: &[Option<f64>], words: fn(f64) -> String| {
            let (now, most) = chart::marks(values)?;
            let told = tr!(chart.told, now = words(now), most = words(most));
            Some(view! {
                <figure class="chart">
                    <figcaption><b>{title.to_owned()}</b>" "<span class="soft">{told}</span></figcaption>
                    <Line times=past.times.clone() values=values.to_vec() />
                </figure>
            })
        };
        let lines = [
            one("CPU", &past.cpu, quantity::cores),
            one(tr!(overview.memory), &past.memory, quantity::bytes),
        ];
        lines.iter().any(Option::is_some).then(|| {
            view! {
                <section>
                    <h2 class="part">{tr!(chart.title)}</h2>
                    <div class="charts">{lines.into_iter().collect_view()}</div>
                </section>
            }
        })
    }
}

/// The line alone: what it says is said in words beside it.
#[component]
pub fn Line(times: Vec<i64>, values: Vec<Option<f64>>) -> impl IntoView {
    let line = chart::line(&times, &values, WIDE, HIGH - 2.0);
    view! {
        <svg class="spark" viewBox="0 -1 240 36" preserveAspectRatio="none" aria-hidden="true"><path d=line /></svg>
    }
}
