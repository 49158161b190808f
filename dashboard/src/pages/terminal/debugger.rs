//! A debug container in a pod that runs: asked for, waited for, attached to.

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::debugger::{self, Progress};

use super::{Object, Screen, attached};
use crate::{app::app, net::api::Call, ui::toast};

/// Has a shell and the usual tools, and is small.
pub const IMAGE: &str = "busybox";

/// A name that nothing has: so many letters of chance after a prefix.
pub fn fresh(prefix: &str) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let letter =
        |_| char::from(LETTERS[(js_sys::Math::random() * LETTERS.len() as f64) as usize % LETTERS.len()]);
    format!("{prefix}{}", (0..5).map(letter).collect::<String>())
}

#[component]
pub fn Debugger(namespace: String, name: String, target: Memo<String>, object: Object) -> impl IntoView {
    let image = RwSignal::new(IMAGE.to_owned());
    let asked = RwSignal::new(None::<String>);
    let path = format!(
        "k8s/api/v1/namespaces/{namespace}/pods/{name}/ephemeralcontainers?fieldManager=sampan-dashboard"
    );
    let start = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let own = fresh("debugger-");
        let patch = debugger::ephemeral(&own, image.read_untracked().trim(), &target.read_untracked());
        let path = path.clone();
        spawn_local(async move {
            let call = Call::new("PATCH", &path);
            match call.body("application/strategic-merge-patch+json", patch.to_string()).send().await {
                Ok(_) => drop(asked.try_set(Some(own))),
                Err(failure) => toast::bad(&failure),
            }
        });
    };
    view! {
        {move || {
            app().language.track();
            asked.read().is_none().then(|| view! { <Ask image start=start.clone() text=tr!(terminal.debug_then) /> })
        }}
        {move || asked.get().map(|container| view! { <Once namespace=namespace.clone() name=name.clone() container object /> })}
    }
}

/// Asks for the image and starts.
#[component]
pub fn Ask(
    image: RwSignal<String>,
    start: impl Fn(leptos::ev::SubmitEvent) + 'static,
    text: &'static str,
    #[prop(optional)] not: Option<Signal<Option<String>>>,
) -> impl IntoView {
    let not = move || not.and_then(|not| not.get());
    view! {
        <form class="line" on:submit=start>
            <label class="inline">{tr!(terminal.image)}
                <input type="text" required prop:value=image.get_untracked() on:input=move |event| image.set(event_target_value(&event)) />
            </label>
            <button class="primary" disabled=move || not().is_some() title=not>{tr!(terminal.start)}</button>
        </form>
        <p class="soft">{text}</p>
    }
}

/// The terminal of a container, once that runs.
#[component]
pub fn Once(namespace: String, name: String, container: String, object: Object) -> impl IntoView {
    let own = container.clone();
    // what runs has a terminal, which stays when it ends: its last words are on it
    let progress = Memo::new(move |before: Option<&Progress>| match before {
        Some(Progress::Running) => Progress::Running,
        _ => object.with(|object| {
            object.as_ref().map_or(Progress::Waiting(String::new()), |pod| debugger::progress(pod, &own))
        }),
    });
    move || match progress.get() {
        Progress::Running => {
            let address = format!("{}&wake=true", attached(&namespace, &name, &container, true));
            view! { <Screen address /> }.into_any()
        }
        Progress::Waiting(why) => {
            app().language.track();
            view! { <p role="status">{tr!(terminal.waiting, name = container.clone(), why = why)}</p> }
                .into_any()
        }
        Progress::Over(why) => {
            app().language.track();
            view! { <p role="alert">{tr!(terminal.over, name = container.clone(), why = why)}</p> }.into_any()
        }
    }
}
