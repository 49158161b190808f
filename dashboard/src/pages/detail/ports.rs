//! The ports of a Service or pod, and its web pages: each opens on an origin of its own, through the daemon.

use leptos::prelude::*;
use sampan_view::place::encode;
use serde_json::Value;

use super::Object;
use crate::{
    kinds::{Resource, list, word},
    net::api::{self, May, Wish},
    ui::icon::{Icon, Shape},
};

/// A port as it is shown.
#[derive(Clone, PartialEq)]
struct Port {
    name: String,
    number: u64,
    protocol: String,
    /// Where it leads, and where it is reached besides.
    more: String,
}

#[component]
pub fn Ports(resource: Resource, namespace: String, name: String, object: Object) -> impl IntoView {
    let core = resource.group.is_empty();
    let kind = match resource.plural.as_str() {
        "services" if core => "services",
        "pods" if core => "pods",
        _ => return ().into_any(),
    };
    let ports = Memo::new(move |_| object.get().map(|object| all(kind, &object)).unwrap_or_default());
    let may = api::allowed(Wish {
        verb: "get",
        resource: kind.to_owned(),
        subresource: "proxy",
        namespace: namespace.clone(),
        name: name.clone(),
        ..Wish::default()
    });
    let address = move |port: u64| {
        format!(
            "sampan/v1/open?kind={kind}&namespace={}&name={}&port={port}",
            encode(&namespace),
            encode(&name)
        )
    };
    let row = move |port: Port| {
        let (href, web) = (address(port.number), port.protocol == "TCP");
        let link = move || {
            match may.get() {
            May::Yes => view! {
                <a class="button quiet" href=href.clone() target="_blank" rel="noopener external" title=tr!(ports.open_how)>
                    <Icon shape=Shape::Expand />{tr!(ports.open)}
                </a>
            }
            .into_any(),
            not => view! { <button class="quiet" disabled title=not.why_not()><Icon shape=Shape::Expand />{tr!(ports.open)}</button> }
                .into_any(),
        }
        };
        view! {
            <tr>
                <th scope="row">{port.number}"/"{port.protocol}</th>
                <td>{port.name}</td>
                <td class="soft">{port.more}</td>
                <td class="number">{web.then_some(link)}</td>
            </tr>
        }
    };
    view! {
        {move || {
            let (ports, row) = (ports.get(), row.clone());
            (!ports.is_empty()).then(|| view! {
                <section class="ports">
                    <h2 class="part">{tr!(detail.ports)}</h2>
                    <table class="plain"><tbody>{ports.into_iter().map(row).collect_view()}</tbody></table>
                </section>
            })
        }}
    }
    .into_any()
}

fn all(kind: &str, object: &Value) -> Vec<Port> {
    let spec = &object["spec"];
    if kind == "services" {
        return list(&spec["ports"]).iter().map(of_service).collect();
    }
    list(&spec["containers"])
        .iter()
        .flat_map(|container| {
            list(&container["ports"]).iter().map(|port| Port {
                name: word(&port["name"]),
                number: port["containerPort"].as_u64().unwrap_or_default(),
                protocol: protocol(port),
                more: word(&container["name"]),
            })
        })
        .collect()
}

fn of_service(port: &Value) -> Port {
    let target = port["targetPort"].as_str().map_or_else(|| port["targetPort"].to_string(), str::to_owned);
    let node = port["nodePort"].as_u64().map(|node| format!(" · NodePort {node}")).unwrap_or_default();
    Port {
        name: word(&port["name"]),
        number: port["port"].as_u64().unwrap_or_default(),
        protocol: protocol(port),
        more: format!("→ {target}{node}"),
    }
}

fn protocol(port: &Value) -> String {
    port["protocol"].as_str().unwrap_or("TCP").to_owned()
}
