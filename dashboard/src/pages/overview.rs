//! The cluster at a glance: its components, its nodes with capacity and use, workloads by health, what is wrong, recent
//! warnings.

use std::{collections::BTreeMap, sync::Arc};

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::{chart::Past, quantity, wrong};
use sampan_view::{
    Cell, Health, Row,
    feed::{Count, Kind},
};
use serde_json::Value;

use super::barred;
use crate::{
    app::app,
    kinds::{Kinds, Resource, list, word},
    net::{
        api,
        feed::{self, Rows, State, View},
    },
    text,
    ui::{
        age::Age,
        chart, go,
        icon::{Icon, Shape},
        status::{Status, shape},
    },
};

/// Rows of a card at most.
const SHOWN: usize = 12;

const WORKLOADS: [&str; 6] = [
    "pods",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "jobs.batch",
    "persistentvolumeclaims",
];

#[component]
pub fn Overview() -> impl IntoView {
    let namespaces = go::namespaces();
    view! {
        <div class="overview">
            <h1>{tr!(nav.overview)}</h1>
            {move || {
                let kinds = app().kinds.get();
                let namespaces = namespaces.get();
                let counted = WORKLOADS.iter().filter_map(|path| kinds.of_path(path).cloned());
                view! { <div class="tiles">{counted.map(|resource| view! { <Tile resource namespaces=namespaces.clone() /> }).collect_view()}</div> }
            }}
            <div class="columns">
                <div class="column">
                    {move || view! { <Wrong kinds=app().kinds.get() namespaces=namespaces.get() /> }}
                    {move || view! { <Warnings namespaces=namespaces.get() /> }}
                </div>
                <div class="column"><Nodes /><Components /></div>
            </div>
        </div>
    }
}

/// How many of a kind are how; each number leads to the list of them.
#[component]
fn Tile(resource: Resource, namespaces: Vec<String>) -> impl IntoView {
    let view = feed::list(feed::List {
        kind: resource.feed(),
        namespaces: namespaces.clone(),
        summary: true,
        ..Default::default()
    });
    let path = resource.path();
    let href = go::within(&path, &namespaces);
    let wide = resource.namespaced && namespaces.is_empty();
    let live = view.live().clone();
    let counts = Memo::new(move |_| view.live().read().counts.clone());
    let kind = resource.kind.clone();
    let why = Memo::new(move |_| barred::why(&live.read().state, &kind, wide));
    let total = move || match why.read().is_empty() {
        true => counts.read().iter().map(|count| count.count).sum::<u32>().to_string(),
        false => String::new(),
    };
    let of_health = {
        let href = href.clone();
        move |health: Health, count: u32| {
            let mark = if href.contains('?') { '&' } else { '?' };
            view! {
                <a class=format!("chip {}", health.word()) href=format!("{href}{mark}q=status:{}", health.word())>
                    <Icon shape=shape(health) />{count}<span class="soft">{text::health(health)}</span>
                </a>
            }
        }
    };
    view! {
        <section class="tile">
            <a class="kind" href=href><b>{resource.kind.clone()}</b><span>{total}</span></a>
            <Bar counts />
            <div class="chips">
                {move || barred::told(why.get())}
                {move || counts.get().into_iter().filter(|count| count.count > 0 && count.health != Health::None)
                    .map(|count| of_health(count.health, count.count)).collect_view()}
            </div>
        </section>
    }
}

/// The shares of each health as one bar.
#[component]
fn Bar(counts: Memo<Vec<Count>>) -> impl IntoView {
    view! {
        <div class="bar" aria-hidden="true">
            {move || counts.get().into_iter().map(|count| {
                let grow = count.count.to_string();
                view! { <i class=count.health.word() style:flex-grow=grow></i> }
            }).collect_view()}
        </div>
    }
}

fn rows_of(view: &View) -> Vec<Arc<Row>> {
    view.live().read().rows.values().cloned().collect()
}

/// Kinds that are looked at for what is wrong, and what of them is.
const SICK: [(&str, &str); 6] = [
    ("pods", "failed,warning"),
    ("deployments.apps", "failed,warning"),
    ("statefulsets.apps", "failed,warning"),
    ("daemonsets.apps", "failed,warning"),
    ("nodes", "failed,warning"),
    // a claim that waits for its volume
    ("persistentvolumeclaims", "failed,warning,progressing"),
];

/// What is not well, the worst first.
#[component]
fn Wrong(kinds: Arc<Kinds>, namespaces: Vec<String>) -> impl IntoView {
    let wide = namespaces.is_empty();
    let looked = |(path, sick): &(&str, &'static str)| {
        let resource = kinds.of_path(path)?.clone();
        let view = feed::list(feed::List {
            kind: resource.feed(),
            namespaces: if resource.namespaced { namespaces.clone() } else { Vec::new() },
            filter: format!("status:{sick}"),
            ..Default::default()
        });
        Some((resource, *sick, view))
    };
    let looked: Vec<(Resource, &'static str, View)> = SICK.iter().filter_map(looked).collect();
    let classes = kinds
        .of_path("storageclasses.storage.k8s.io")
        .map(|resource| feed::list(feed::List { kind: resource.feed(), ..Default::default() }));
    let all = go::within("pods", &namespaces);
    let mark = if all.contains('?') { '&' } else { '?' };
    let all = format!("{all}{mark}q=status:failed,warning");
    view! {
        <section class="panel-card">
            <h2>{tr!(overview.wrong)}</h2>
            {move || {
                let mut rows: Vec<(Arc<Row>, Resource)> = Vec::new();
                let mut unseen = Vec::new();
                for (resource, sick, view) in &looked {
                    let why = barred::why(&view.live().read().state, &resource.kind, wide && resource.namespaced);
                    // once is enough to say that something loads
                    if !why.is_empty() && !unseen.contains(&why) {
                        unseen.push(why);
                    }
                    let own = rows_of(view).into_iter().filter(|row| sick.contains(row.health.word()));
                    let classes = classes.as_ref().filter(|_| resource.plural == "persistentvolumeclaims");
                    let own = own.map(|row| match classes.and_then(|classes| lacking_class(view, &row, classes)) {
                        Some(row) => Arc::new(row),
                        None => row,
                    });
                    rows.extend(own.map(|row| (row, resource.clone())));
                }
                let causes = wrong::causes(&rows.iter().map(sick).collect::<Vec<_>>());
                if !kinds.known {
                    unseen.push(tr!(list.loading).to_owned());
                }
                if rows.is_empty() && unseen.is_empty() {
                    return view! { <p class="fine"><Icon shape=Shape::Check />{tr!(overview.fine)}</p> }.into_any();
                }
                let more = causes.len().saturating_sub(SHOWN);
                view! {
                    {barred::told(unseen.join("\n"))}
                    <table class="plain"><tbody>
                        {causes.into_iter().take(SHOWN).map(|cause| {
                            let (row, resource) = &rows[cause.first];
                            let href = page_of(&format!("{}/{}", cause.kind, cause.name), &row.namespace)
                                .unwrap_or_else(|| resource.page(&row.namespace, &row.name));
                            let several = (cause.count > 1).then(|| view! { <span class="soft">{format!(" ×{}", cause.count)}</span> });
                            view! {
                                <tr>
                                    <th scope="row"><Status health=row.health reason=row.reason.clone() />{several}</th>
                                    <td class="soft">{cause.kind}</td>
                                    <td><a href=href>{cause.name}</a></td>
                                    <td class="soft">{row.namespace.clone()}</td>
                                    <td class="number soft"><Age at=row.created /></td>
                                </tr>
                            }
                        }).collect_view()}
                    </tbody></table>
                    {(more > 0).then(|| view! { <a href=all.clone()>{tr!(action.and_more, count = more)}</a> })}
                }.into_any()
            }}
        </section>
    }
}

fn sick((row, resource): &(Arc<Row>, Resource)) -> wrong::Sick {
    wrong::Sick {
        kind: resource.kind.clone(),
        namespace: row.namespace.clone(),
        name: row.name.clone(),
        owner: row.owner.as_ref().map(|owner| (owner.kind.clone(), owner.name.clone())),
        reason: row.reason.clone(),
        badness: row.health as u8,
    }
}

/// A claim's row as it is if its StorageClass does not exist: it fails, however long it waits.
fn lacking_class(view: &View, row: &Arc<Row>, classes: &View) -> Option<Row> {
    let class = cell(&view.live().read(), row, "StorageClass");
    let classes = classes.live().read();
    let known = classes.state == State::Live && !class.is_empty();
    if !known || row.health != Health::Progressing || classes.rows.values().any(|one| one.name == class) {
        return None;
    }
    let reason = tr!(overview.no_class, name = class);
    Some(Row { health: Health::Failed, reason, ..Row::clone(row) })
}

fn cell(rows: &Rows, row: &Row, name: &str) -> String {
    let at = rows.columns.iter().position(|column| column.name == name);
    at.and_then(|at| row.cells.get(at)).map(Cell::text).unwrap_or_default()
}

/// When an event was seen last, as its row has it.
fn last_seen(rows: &Rows, row: &Row) -> i64 {
    let at = rows.columns.iter().position(|column| column.name == "Last Seen");
    match at.and_then(|at| row.cells.get(at)) {
        Some(Cell::Time(time)) => *time,
        _ => row.created,
    }
}

/// The page of `pod/web`, if the cluster serves the kind.
fn page_of(object: &str, namespace: &str) -> Option<String> {
    let (kind, name) = object.split_once('/')?;
    let kinds = app().kinds.read();
    let resource = kinds.all.iter().find(|own| own.kind.eq_ignore_ascii_case(kind))?;
    Some(resource.page(if resource.namespaced { namespace } else { "" }, name))
}

/// Events of the sort Warning, the newest first.
#[component]
fn Warnings(namespaces: Vec<String>) -> impl IntoView {
    let kind = Kind { group: String::new(), version: "v1".into(), resource: "events".into() };
    let wide = namespaces.is_empty();
    let view =
        feed::list(feed::List { kind, namespaces, fields: "type=Warning".into(), ..Default::default() });
    let live = view.live().clone();
    let why = Memo::new(move |_| barred::why(&live.read().state, "Event", wide));
    let all = move || {
        let rows = view.live().read();
        let mut all: Vec<_> = rows
            .rows
            .values()
            .map(|row| {
                (
                    last_seen(&rows, row),
                    cell(&rows, row, "Reason"),
                    cell(&rows, row, "Object"),
                    cell(&rows, row, "Message"),
                    row.namespace.clone(),
                )
            })
            .collect();
        sampan_dashboard_logic::sort::by(&mut all, |a, b| b.cmp(a));
        all.truncate(SHOWN);
        all
    };
    let all = Memo::new(move |_| all());
    view! {
        <section class="panel-card">
            <h2>{tr!(overview.warnings)}</h2>
            {move || match all.get() {
                _ if !why.read().is_empty() => barred::told(why.get()),
                none if none.is_empty() => view! { <p class="fine"><Icon shape=Shape::Check />{tr!(overview.no_warnings)}</p> }.into_any(),
                all => view! {
                    <table class="plain warnings"><tbody>
                        {all.into_iter().map(|(seen, reason, object, message, namespace)| view! {
                            <tr>
                                <th scope="row"><Status health=Health::Warning reason /></th>
                                <td class="soft word"><a href=page_of(&object, &namespace)>{object.clone()}</a></td><td class="message">{message}</td>
                                <td class="number soft"><Age at=seen /></td>
                            </tr>
                        }).collect_view()}
                    </tbody></table>
                }.into_any(),
            }}
        </section>
    }
}

/// Nodes with what they have and what is used of it; read again when the feed tells of a change.
#[component]
fn Nodes() -> impl IntoView {
    let view = feed::list(feed::List {
        kind: Kind { group: String::new(), version: "v1".into(), resource: "nodes".into() },
        ..Default::default()
    });
    let live = view.live().clone();
    let why = Memo::new(move |_| barred::why(&live.read().state, "Node", false));
    let nodes = RwSignal::new(Vec::<Value>::new());
    let used = RwSignal::new(Vec::<Value>::new());
    let past = chart::of_nodes();
    // what is not ready first
    let shown = move || {
        let mut shown = nodes.get();
        sampan_dashboard_logic::sort::by_key(&mut shown, is_ready);
        shown.truncate(SHOWN);
        shown
    };
    Effect::new(move |_| {
        view.live().track();
        spawn_local(async move {
            if let Ok(found) = api::get("k8s/api/v1/nodes").await {
                nodes.try_set(list(&found["items"]).to_vec());
            }
            if let Ok(found) = api::get("k8s/apis/metrics.k8s.io/v1beta1/nodes").await {
                used.try_set(list(&found["items"]).to_vec());
            }
        });
    });
    view! {
        <section class="panel-card">
            <h2>{tr!(overview.nodes)}</h2>
            {move || barred::told(why.get())}
            {move || shown().iter().map(|node| one_node(node, &used.read(), past)).collect_view()}
            {move || (nodes.read().len() > SHOWN).then(|| view! { <a href="nodes">{tr!(action.and_more, count = nodes.read().len() - SHOWN)}</a> })}
        </section>
    }
}

fn is_ready(node: &Value) -> bool {
    list(&node["status"]["conditions"]).iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

type Pasts = RwSignal<BTreeMap<String, Past>>;

fn one_node(node: &Value, used: &[Value], past: Pasts) -> impl IntoView + use<> {
    let name = word(&node["metadata"]["name"]);
    let ready = is_ready(node);
    let cordoned = node["spec"]["unschedulable"] == true;
    let (health, reason) = match (ready, cordoned) {
        (false, _) => (Health::Failed, "NotReady"),
        (true, true) => (Health::Warning, "SchedulingDisabled"),
        (true, false) => (Health::Healthy, "Ready"),
    };
    let usage = used
        .iter()
        .find(|one| one["metadata"]["name"] == name.as_str())
        .map(|one| one["usage"].clone())
        .unwrap_or_default();
    let number = |value: &Value| value.as_str().and_then(quantity::parse);
    let has = &node["status"]["allocatable"];
    let own = name.clone();
    let line = move |values: fn(&Past) -> &Vec<Option<f64>>| {
        let past = past.read();
        let past = past.get(&own)?;
        Some(view! { <chart::Line times=past.times.clone() values=values(past).clone() /> })
    };
    let (cpu, memory) = (line.clone(), line);
    view! {
        <div class="node">
            <div class="line"><a href=format!("nodes/-/{name}")><b>{name.clone()}</b></a><span class="grow"></span><Status health reason=reason /></div>
            <Meter title="CPU" used=number(&usage["cpu"]) of=number(&has["cpu"]) words=quantity::cores>{move || cpu(|past| &past.cpu)}</Meter>
            <Meter title=tr!(overview.memory) used=number(&usage["memory"]) of=number(&has["memory"]) words=quantity::bytes>{move || memory(|past| &past.memory)}</Meter>
        </div>
    }
}

/// How much of something is used, and how that went, as the children draw it; only what there is, if that is not measured.
#[component]
fn Meter(
    title: &'static str,
    used: Option<f64>,
    of: Option<f64>,
    words: fn(f64) -> String,
    children: Children,
) -> impl IntoView {
    let share = used.zip(of).map(|(used, of)| (used / of * 100.0).clamp(0.0, 100.0));
    let level = match share {
        Some(share) if share > 90.0 => "failed",
        Some(share) if share > 75.0 => "warning",
        _ => "healthy",
    };
    let text = match (used, of) {
        (Some(used), Some(of)) => format!("{} / {}", words(used), words(of)),
        (None, Some(of)) => words(of),
        _ => "–".to_owned(),
    };
    view! {
        <div class="meter">
            <span class="soft">{title}</span>
            <div class="track"><i class=level style:width=format!("{}%", share.unwrap_or_default() as u32)></i></div>
            <span class="trend">{children()}</span>
            <span class="number">{text}</span>
        </div>
    }
}

/// The parts of the cluster's one process.
#[component]
fn Components() -> impl IntoView {
    let status = RwSignal::new(Value::Null);
    let failed = RwSignal::new(String::new());
    let read = move || {
        spawn_local(async move {
            match api::get("sampan/v1/status").await {
                Ok(found) => {
                    failed.try_set(String::new());
                    status.try_set(found);
                }
                Err(failure) => {
                    let why =
                        barred::refused(failure.code, &failure.message, tr!(overview.components), false);
                    failed.try_set(why);
                }
            }
        });
    };
    // told anew when the connection is: then the daemon may be another
    Effect::new(move |_| {
        app().link.track();
        read();
    });
    let all = move || match &status.read()["components"] {
        Value::Array(all) => all.iter().map(|one| (word(&one["name"]), one.clone())).collect::<Vec<_>>(),
        Value::Object(all) => all.iter().map(|(name, one)| (name.clone(), one.clone())).collect(),
        _ => Vec::new(),
    };
    view! {
        <section class="panel-card">
            <h2>{tr!(overview.components)}</h2>
            {move || barred::told(failed.get())}
            <ul class="components">
                {move || all().into_iter().map(|(name, one)| {
                    let (state, reason) = (word(&one["state"]), word(&one["reason"]));
                    let health = match state.as_str() {
                        "Ready" => Health::Healthy,
                        "Failed" => Health::Failed,
                        "Starting" => Health::Progressing,
                        "Stopped" => Health::Done,
                        _ => Health::Warning,
                    };
                    view! { <li title=reason><span>{name}</span><Status health reason=state /></li> }
                }).collect_view()}
            </ul>
        </section>
    }
}
