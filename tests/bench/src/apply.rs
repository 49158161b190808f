//! Processor time of a server-side apply of a Deployment, over TLS: user and system time of the daemon over many of them.
//!
//! Each apply sends the whole of the Deployment, which has three kilobytes, two containers and a second manager of some of
//! its fields, with one value changed. The first figure changes an annotation, to which no controller has anything to
//! write. The second one changes the template of a Deployment that is paused: then its controller's status is in it too.

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use sampan_testkit::Cluster;
use serde_json::{Value, json};

use crate::figure::{Figure, Goal, Unit};
use crate::idle;

const NAME: &str = "web";

/// Measures both.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let cluster = Cluster::start()?;
    let api: Api<Deployment> = Api::default_namespaced(cluster.client().await?);
    let other = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": NAME, "labels": {"team": "blue"}},
        "spec": {"replicas": 0},
    });
    apply(&api, "bench", &deployment("", "")).await?;
    apply(&api, "other", &other).await?;
    let (mut annotated, mut changed) = (Vec::new(), Vec::new());
    // a second of processor time has a hundred of the kernel's ticks
    let (rounds, applies) = if short { (3, 300_u32) } else { (7, 2000) };
    for round in 0..rounds {
        let value = |number: u32| format!("{round}-{number}");
        let mut spent = idle::processor_time(&[cluster.pid()?])?;
        let mut each = || {
            let now = idle::processor_time(&[cluster.pid()?])?;
            let milliseconds = (now - std::mem::replace(&mut spent, now)) * 1e3 / f64::from(applies);
            anyhow::Ok(milliseconds)
        };
        for number in 0..applies {
            apply(&api, "bench", &deployment(&value(number), "")).await?;
        }
        annotated.push(each()?);
        for number in 0..applies {
            apply(&api, "bench", &deployment("", &value(number))).await?;
        }
        changed.push(each()?);
    }
    let figure = |what, values, goal| {
        let name = format!("server-side apply of a Deployment, {what}: processor time");
        Figure::alone(name, Unit::Milliseconds, values, goal)
    };
    Ok(vec![
        figure("an annotation", annotated, Goal::Below(1.0)),
        figure("its template, with its controller", changed, Goal::Report),
    ])
}

async fn apply(api: &Api<Deployment>, manager: &str, object: &Value) -> Result<()> {
    api.patch(NAME, &PatchParams::apply(manager), &Patch::Apply(object)).await?;
    Ok(())
}

fn deployment(annotation: &str, variable: &str) -> Value {
    let container = |name: &str| {
        let variables: Vec<_> = (0..6)
            .map(|index| json!({"name": format!("SETTING_{index}"), "value": "a value of usual length"}))
            .chain([json!({"name": "CHANGED", "value": variable})])
            .collect();
        json!({
            "name": name, "image": format!("registry.example.org/team/{name}:1.27.3"), "env": variables,
            "ports": [{"containerPort": 8080, "name": name}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": name}},
            "volumeMounts": [{"name": "settings", "mountPath": "/etc/settings"}],
        })
    };
    let labels = json!({"app": NAME, "tier": "front"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": NAME, "labels": labels, "annotations": {"example.org/changed": annotation}},
        "spec": {
            "paused": true,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [container("main"), container("beside")],
                    "volumes": [{"name": "settings", "configMap": {"name": "settings"}}],
                },
            },
        },
    })
}
