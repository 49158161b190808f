//! Logs of a pod's container, or of all pods of a workload in colours: followed into a buffer of a hundred thousand lines, of
//! which only those seen are in the DOM.

use std::{rc::Rc, time::Duration};

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::{
    ansi,
    lines::{self, Place},
};
use serde_json::Value;

use super::{
    buffer::{Buffer, Line, Sieve, level},
    detail::Object,
};
use crate::{
    kinds::{list, word},
    net::{
        api::{self, Call, Failure},
        stream::{Bytes, Readings},
    },
    ui::{
        dock, go,
        icon::{Icon, Shape},
        toast,
        window::Window,
    },
};

/// Whose logs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    pub pod: String,
    pub container: String,
}

/// How they are read.
#[derive(Clone, Debug, PartialEq)]
struct How {
    previous: bool,
    follow: bool,
    /// Seconds, or the time of a line that was linked to; empty for the last lines.
    since: String,
}

impl How {
    /// New lines are waited for.
    fn goes_on(&self) -> bool {
        self.follow && !self.previous
    }
}

const LINE: f64 = 19.0;
/// How long after a connection broke it is tried again, in milliseconds.
const AGAIN: i32 = 1_000;
/// What is shown before a line that was linked to, in milliseconds, and how many bytes from there on.
const BEFORE: f64 = 5_000.0;
const BYTES: usize = 8 << 20;

/// The containers of a pod, the usual ones first.
pub fn containers(object: Object) -> Memo<Vec<String>> {
    Memo::new(move |_| {
        let Some(object) = object.get() else { return Vec::new() };
        let names =
            |kind: &str| list(&object["spec"][kind]).iter().map(|one| word(&one["name"])).collect::<Vec<_>>();
        [names("containers"), names("initContainers"), names("ephemeralContainers")].concat()
    })
}

#[component]
pub fn Logs(
    namespace: String,
    object: Object,
    #[prop(optional)] sources: Option<Memo<Vec<Source>>>,
) -> impl IntoView {
    let all = containers(object);
    // what stands in the dock is in no address
    let docked = dock::in_dock();
    let asked_for = move |name| if docked { String::new() } else { go::word(name).get_untracked() };
    let own_line = RwSignal::new(String::new());
    let linked = if docked { Memo::new(move |_| own_line.get()) } else { go::word("line") };
    let chosen = RwSignal::new(asked_for("container"));
    let own = Memo::new(move |_| {
        let pod = object.get().map(|object| word(&object["metadata"]["name"])).unwrap_or_default();
        let chosen = chosen.get();
        let container =
            if chosen.is_empty() { all.read().first().cloned().unwrap_or_default() } else { chosen };
        if pod.is_empty() { Vec::new() } else { vec![Source { pod, container }] }
    });
    let several = sources.is_some();
    let sources = sources.unwrap_or(own);
    let asked = linked.get_untracked();
    let how = RwSignal::new(How {
        previous: asked_for("previous") == "true",
        follow: asked.is_empty(),
        since: asked.clone(),
    });
    let buffer = RwSignal::new(Buffer::default());
    let wrap = RwSignal::new(false);
    let times = RwSignal::new(false);
    let sieve = RwSignal::new(Sieve::default());
    let window = Window::new(LINE);
    read_all(namespace, sources, how, buffer, window);
    let line = RwSignal::new(None::<Line>);
    // the page's address is the link
    let choose = Callback::new(move |new: Option<Line>| {
        let key = new.as_ref().map(Line::key).unwrap_or_default();
        if docked {
            own_line.set(key);
            return line.set(new);
        }
        let from = if several || key.is_empty() { String::new() } else { chosen.get_untracked() };
        let previous = if how.read_untracked().previous && !key.is_empty() { "true" } else { "" };
        go::set(&[("line", &key), ("container", &from), ("previous", previous)], false);
        line.set(new);
    });
    let sought = StoredValue::new(asked.clone());
    Effect::new(move |_| {
        let find =
            |buffer: &Buffer| sought.with_value(|key| if key.is_empty() { None } else { buffer.place(key) });
        let Some(at) = buffer.with(find) else { return };
        sought.set_value(String::new());
        line.set(buffer.read_untracked().range(at, at + 1).pop().map(|(_, line)| line));
        request_animation_frame(move || window.centre(at));
    });
    Effect::new(move |_| {
        let sieve = sieve.get();
        buffer.update(|buffer| buffer.sift(sieve));
    });
    let check = move |title: &'static str, on: Signal<bool>, toggle: fn(RwSignal<How>)| {
        view! { <label class="check"><input type="checkbox" prop:checked=on on:change=move |_| toggle(how) />{title}</label> }
    };
    let flip = move |title: &'static str, on: RwSignal<bool>| {
        view! { <label class="check"><input type="checkbox" prop:checked=on on:change=move |_| on.update(|on| *on = !*on) />{title}</label> }
    };
    let count = move || {
        buffer.with(|buffer| match (buffer.len(), buffer.total()) {
            (shown, total) if shown == total => total.to_string(),
            (shown, total) => tr!(list.shown, shown = shown, total = total),
        })
    };
    view! {
        <section class="logs">
            <div class="line">
                {(!several).then(|| view! {
                    <label class="inline">{tr!(logs.container)}
                        <select on:change=move |event| chosen.set(event_target_value(&event))>
                            {move || all.get().into_iter().map(|name| view! { <option value=name.clone()>{name.clone()}</option> }).collect_view()}
                        </select>
                    </label>
                })}
                <input type="search" placeholder=tr!(logs.filter) aria-label=tr!(logs.filter)
                    on:input=move |event| sieve.update(|sieve| sieve.text = event_target_value(&event)) />
                <select aria-label=tr!(logs.level) on:change=move |event| sieve.update(|sieve| sieve.level = event_target_value(&event))>
                    <option value="">{tr!(logs.all_levels)}</option>
                    {["error", "warn", "info", "debug"].map(|level| view! { <option value=level>{level}</option> }).into_iter().collect_view()}
                </select>
                <select aria-label=tr!(logs.since) on:change=move |event| how.update(|how| how.since = event_target_value(&event))>
                    {(!asked.is_empty()).then(|| view! { <option value=asked.clone()>{tr!(logs.from_line)}</option> })}
                    <option value="">{tr!(logs.last_lines)}</option>
                    {[("300", "5m"), ("3600", "1h"), ("86400", "24h")].map(|(seconds, text)| view! { <option value=seconds>{text}</option> }).into_iter().collect_view()}
                </select>
                {check(tr!(logs.follow), Signal::derive(move || how.read().follow), |how| how.update(|how| how.follow = !how.follow))}
                {check(tr!(logs.previous), Signal::derive(move || how.read().previous), |how| how.update(|how| how.previous = !how.previous))}
                {flip(tr!(logs.times), times)}
                {flip(tr!(logs.wrap), wrap)}
                <span class="grow"></span>
                <span class="soft">{count}</span>
                <button title=tr!(logs.download) aria-label=tr!(logs.download) on:click=move |_| download(&buffer.read_untracked().text())><Icon shape=Shape::Download /></button>
            </div>
            <Lines buffer window wrap times several sources linked line choose />
        </section>
    }
}

/// Reads every source while it is wanted; another choice ends the streams and begins anew.
fn read_all(
    namespace: String,
    sources: Memo<Vec<Source>>,
    how: RwSignal<How>,
    buffer: RwSignal<Buffer>,
    window: Window,
) {
    Effect::new(move |_| {
        let (sources, how) = (sources.get(), how.get());
        buffer.update(Buffer::clear);
        let readings = Readings::new();
        let came = StoredValue::new(false);
        for (at, source) in sources.into_iter().enumerate() {
            let (namespace, how) = (namespace.clone(), how.clone());
            spawn_local(async move {
                let mut place = Place::default();
                loop {
                    let path = address(&namespace, &source, &how, &place.time);
                    match Call::new("GET", &path).accept("*/*").send().await {
                        Ok(response) => {
                            let Some(bytes) = Bytes::of(&response).map(Rc::new) else { return };
                            if !readings.add(bytes.clone())
                                || read(at, &bytes, &mut place, buffer, came).await
                            {
                                return;
                            }
                        }
                        // the daemon is away, or a proxy says so
                        Err(Failure { code: 0 | 502..=504, .. }) if how.goes_on() => {}
                        Err(failure) => {
                            let told = |buffer: &mut Buffer| buffer.push(at, &toast::explain(&failure));
                            return buffer.try_update(told).unwrap_or_default();
                        }
                    }
                    if !how.goes_on() {
                        return;
                    }
                    place.go_back();
                    api::sleep(AGAIN).await;
                    if !readings.go_on() {
                        return;
                    }
                }
            });
        }
        // what came is drawn a few times a second, however much it is
        let timer = set_interval_with_handle(
            move || {
                if came.try_update_value(std::mem::take) == Some(true) {
                    buffer.notify();
                    request_animation_frame(move || window.follow());
                }
            },
            Duration::from_millis(50),
        );
        on_cleanup(move || {
            if let Ok(timer) = timer {
                timer.clear();
            }
        });
    });
}

/// `from` is the time of the last line that came, of a log that goes on.
fn address(namespace: &str, source: &Source, how: &How, from: &str) -> String {
    let Source { pod, container } = source;
    let mut path = format!(
        "k8s/api/v1/namespaces/{namespace}/pods/{pod}/log?timestamps=true&follow={}&previous={}",
        how.goes_on(),
        how.previous
    );
    if !container.is_empty() {
        path.push_str(&format!("&container={container}"));
    }
    match how.since.as_str() {
        _ if !from.is_empty() => path.push_str(&format!("&sinceTime={from}")),
        "" => path.push_str("&tailLines=2000"),
        time if time.contains('T') => {
            let time = time.split('~').next().unwrap_or_default();
            let from = js_sys::Date::new(&time.into()).get_time() - BEFORE;
            let from = js_sys::Date::new(&from.into()).to_iso_string();
            path.push_str(&format!("&sinceTime={}&limitBytes={BYTES}", String::from(from)));
        }
        seconds => path.push_str(&format!("&sinceSeconds={seconds}")),
    }
    path
}

/// Lines of a stream, which come in pieces; false if it broke off before its end.
async fn read(
    source: usize,
    bytes: &Bytes,
    place: &mut Place,
    buffer: RwSignal<Buffer>,
    came: StoredValue<bool>,
) -> bool {
    let mut lines = lines::Lines::default();
    loop {
        let piece = match bytes.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            // a line of which the end is missing comes again
            Err(_) => return false,
        };
        let Some(mut buffer) = buffer.try_write_untracked() else { return true };
        lines.push(&piece, |line| {
            if place.step(lines::stamped(line).0) {
                buffer.push(source, line);
            }
        });
        drop(buffer);
        came.try_set_value(true);
    }
    let _ = buffer.try_update(|buffer| {
        lines.end(|line| {
            if place.step(lines::stamped(line).0) {
                buffer.push(source, line);
            }
        });
    });
    true
}

#[component]
fn Lines(
    buffer: RwSignal<Buffer>,
    window: Window,
    wrap: RwSignal<bool>,
    times: RwSignal<bool>,
    several: bool,
    sources: Memo<Vec<Source>>,
    linked: Memo<String>,
    line: RwSignal<Option<Line>>,
    choose: Callback<Option<Line>>,
) -> impl IntoView {
    /// Wrapped lines have no fixed height: so many of the last are drawn.
    const WRAPPED: usize = 500;
    let range = move || {
        buffer.with(|buffer| {
            let count = buffer.len();
            if wrap.get() { (count.saturating_sub(WRAPPED), count) } else { window.range(count) }
        })
    };
    let drawn = move || {
        let (first, last) = range();
        buffer.with(|buffer| buffer.range(first, last))
    };
    let above = move || if wrap.get() { "0".to_owned() } else { window.room(range().0) };
    let below = move || {
        if wrap.get() {
            "0".to_owned()
        } else {
            window.room(buffer.with(Buffer::len).saturating_sub(range().1))
        }
    };
    let name = move |source: usize| {
        sources.read().get(source).map(|source| format!("{} ", source.pod)).unwrap_or_default()
    };
    // the last line in sight at first, then one up or down
    let walk = move |event: leptos::ev::KeyboardEvent| {
        let count = buffer.with_untracked(Buffer::len);
        let now = buffer.with_untracked(|buffer| buffer.place(&linked.read_untracked()));
        let next = match (event.key().as_str(), now) {
            ("Enter", _) => window.last_seen(count),
            ("ArrowUp", Some(now)) => now.checked_sub(1),
            ("ArrowDown", Some(now)) => Some(now + 1).filter(|next| *next < count),
            ("Escape", Some(_)) => None,
            _ => return,
        };
        event.prevent_default();
        event.stop_propagation();
        let found = next.and_then(|at| buffer.with_untracked(|buffer| buffer.range(at, at + 1).pop()));
        if let Some(at) = next {
            window.reveal(at, 0.0);
        }
        if found.is_some() || event.key() == "Escape" {
            choose.run(found.map(|(_, line)| line));
        }
    };
    view! {
        <div class="lines" class:wrap=wrap class:times=times node_ref=window.node on:scroll=move |_| window.measure() on:keydown=walk
            tabindex="0" role="log" aria-live="off">
            <div style:height=above></div>
            <For each=drawn key=|(number, _)| *number let:item>
                {
                    let (line, key) = (item.1.clone(), item.1.key());
                    let level = level(&item.1.text);
                    view! {
                        <div class=format!("log {level}") class:linked=move || !key.is_empty() && *linked.read() == key on:click=move |_| choose.run(Some(line.clone()))>
                            <span class="time">{item.1.time.get(11..23).unwrap_or_default().to_owned()}</span>
                            {several.then(|| view! { <span class=format!("source s{}", item.1.source % 8)>{name(item.1.source)}</span> })}
                            {spans(&item.1.text)}
                        </div>
                    }
                }
            </For>
            <div style:height=below></div>
        </div>
        {move || line.get().and_then(|line| pretty(&line.text)).map(|text| view! {
            <div class="pretty">
                <button class="quiet" aria-label=tr!(action.close) on:click=move |_| choose.run(None)><Icon shape=Shape::Close /></button>
                <pre tabindex="0">{text}</pre>
            </div>
        })}
    }
}

fn spans(text: &str) -> Vec<AnyView> {
    let view = |span: ansi::Span| match (span.colour, span.bold) {
        (None, false) => view! { <span>{span.text}</span> }.into_any(),
        (colour, bold) => {
            let class = colour.map(|colour| format!("c{colour}")).unwrap_or_default();
            view! { <span class=class class:bold=bold>{span.text}</span> }.into_any()
        }
    };
    ansi::spans(text).into_iter().map(view).collect()
}

/// A line that is or ends in JSON, on several lines.
fn pretty(line: &str) -> Option<String> {
    let plain = ansi::plain(line);
    let at = plain.find('{')?;
    let value: Value = serde_json::from_str(plain[at..].trim_end()).ok()?;
    serde_json::to_string_pretty(&value).ok()
}

/// Hands the text to the browser as a file.
fn download(text: &str) {
    use wasm_bindgen::JsCast;
    let parts = js_sys::Array::of1(&text.into());
    let Ok(blob) = web_sys::Blob::new_with_str_sequence(&parts) else { return };
    let Ok(url) = web_sys::Url::create_object_url_with_blob(&blob) else { return };
    if let Ok(Ok(link)) =
        document().create_element("a").map(|link| link.dyn_into::<web_sys::HtmlAnchorElement>())
    {
        link.set_href(&url);
        link.set_download("log.txt");
        link.click();
    }
    let _ = web_sys::Url::revoke_object_url(&url);
}
