//! A shell of a node: a pod in the node's own namespaces, which is deleted when its terminal is left.

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::debugger;

use super::{
    Object,
    debugger::{Ask, IMAGE, Once, fresh},
};
use crate::{
    app::app,
    kinds::Resource,
    net::{
        api::{self, Call, Wish},
        feed,
    },
    ui::toast,
};

/// Where its pod is, as `kubectl debug node/…` has it.
const NAMESPACE: &str = "default";
const PODS: &str = "k8s/api/v1/namespaces/default/pods";

#[component]
pub fn NodeShell(name: String) -> impl IntoView {
    let image = RwSignal::new(IMAGE.to_owned());
    let asked = RwSignal::new(None::<String>);
    let may = api::allowed(Wish {
        verb: "create",
        resource: "pods".to_owned(),
        namespace: NAMESPACE.to_owned(),
        ..Wish::default()
    });
    let not = Signal::derive(move || may.read().why_not());
    let start = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        // a pod's name is at most 63 letters in its hostname
        let prefix: String = format!("node-debugger-{name}").chars().take(57).collect();
        let own = fresh(&format!("{}-", prefix.trim_end_matches(['-', '.'])));
        let pod = debugger::node_pod(&own, &name, image.read_untracked().trim());
        spawn_local(async move {
            match Call::new("POST", PODS).json(&pod).send().await {
                // somebody left while it was made
                Ok(_) => {
                    if asked.try_set(Some(own.clone())).is_some() {
                        remove(own)
                    }
                }
                Err(failure) => toast::bad(&failure),
            }
        });
    };
    view! {
        <section class="terminal-page">
            {move || {
                app().language.track();
                asked.read().is_none().then(|| view! { <Ask image start=start.clone() text=tr!(terminal.node_then) not /> })
            }}
            {move || asked.get().map(|pod| view! { <Session pod /> })}
        </section>
    }
}

#[component]
fn Session(pod: String) -> impl IntoView {
    let pods = Resource { version: "v1".to_owned(), plural: "pods".to_owned(), ..Resource::default() };
    let view = feed::watch(pods.feed(), NAMESPACE, &pod);
    let object: Object = Memo::new(move |_| view.live().read().object.clone());
    let own = pod.clone();
    on_cleanup(move || remove(own));
    view! { <Once namespace=NAMESPACE.to_owned() name=pod container="debugger".to_owned() object /> }
}

fn remove(pod: String) {
    spawn_local(async move {
        if let Err(failure) = Call::new("DELETE", &format!("{PODS}/{pod}")).send().await
            && failure.code != 404
        {
            toast::bad(&failure);
        }
    });
}
