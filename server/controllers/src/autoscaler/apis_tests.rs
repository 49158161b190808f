//! Cases of what is asked of the metrics APIs, and of what they answer.

#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;

fn metric(selector: Value) -> MetricIdentifier {
    serde_json::from_value(json!({"name": "hits per/s", "selector": selector})).unwrap()
}

#[test]
fn pods_are_sums_of_containers() {
    let one = |name: &str, cpu: &str| json!({"name": name, "usage": {"cpu": cpu}});
    let metrics = json!({
        "metadata": {"name": "p"}, "timestamp": "2026-01-01T00:00:00Z", "window": "15.5s",
        "containers": [one("a", "250m"), one("b", "1")]});
    let milli = |resource: &str, container: Option<&str>| {
        usage(&metrics, resource, container).map(|(_, sample)| sample.milli)
    };
    assert_eq!(milli("cpu", None), Some(1250));
    assert_eq!(milli("cpu", Some("a")), Some(250));
    assert_eq!((milli("memory", None), milli("cpu", Some("c"))), (None, None));
    assert_eq!(usage(&metrics, "cpu", None).unwrap().1.window, Duration::from_millis(15_500));
    assert!(has_container(&metrics, "b") && !has_container(&metrics, "c"));
}

#[test]
fn a_value_says_whose_it_is_and_over_which_time() {
    let item = json!({
        "describedObject": {"kind": "Pod", "name": "p", "namespace": "n"}, "value": "1500m",
        "timestamp": "2026-01-01T00:00:00Z"});
    let (name, sample) = of_object(&item).unwrap();
    assert_eq!((name.as_str(), sample.milli, sample.window), ("p", 1500, Duration::from_secs(60)));
    let mut item = item;
    item["windowSeconds"] = json!(15);
    assert_eq!(of_object(&item).unwrap().1.window, Duration::from_secs(15));
    item["value"] = json!("many");
    assert_eq!(of_object(&item), None);
}

#[test]
fn where_an_objects_metric_is() {
    let about = |kind: &str| CrossVersionObjectReference {
        api_version: None,
        kind: kind.to_owned(),
        name: "main".to_owned(),
    };
    let labels = json!({"matchLabels": {"verb": "GET"}});
    let asked =
        object_asked("v1beta2", "n", "ingresses.networking.k8s.io", &about("Ingress"), &metric(labels));
    let asked = asked.unwrap();
    assert_eq!(
        format!("{}{}", asked.path, query(&asked.query)),
        "/apis/custom.metrics.k8s.io/v1beta2/namespaces/n/ingresses.networking.k8s.io/main/hits%20per%2Fs?metricLabelSelector=verb%3DGET"
    );
    assert_eq!(asked.resource, "ingresses.networking.k8s.io.custom.metrics.k8s.io");
    // no selector is none, and a namespace is asked for its own
    let asked =
        object_asked("v1beta1", "n", "namespaces", &about("Namespace"), &metric(Value::Null)).unwrap();
    assert_eq!(
        format!("{}{}", asked.path, query(&asked.query)),
        "/apis/custom.metrics.k8s.io/v1beta1/namespaces/n/metrics/hits%20per%2Fs"
    );
}

#[test]
fn an_answer_that_is_no_status_is_worded_as_by_client_go() {
    let asked = |name: &str| Asked {
        path: String::new(),
        query: Vec::new(),
        resource: "pods.metrics.k8s.io".to_owned(),
        name: name.to_owned(),
    };
    let answer = |code: u16, message: &str, reason: &str| {
        kube::Error::Api(kube::core::Status::failure(message, reason).with_code(code).boxed())
    };
    let raw = "Failed to parse error data";
    let cases = [
        (
            answer(404, "404 page not found", raw),
            "",
            "the server could not find the requested resource (get pods.metrics.k8s.io)",
        ),
        (
            answer(404, "404 page not found", raw),
            "*",
            "the server could not find the requested resource (get pods.metrics.k8s.io *)",
        ),
        (
            answer(503, "service unavailable", raw),
            "",
            "the server is currently unable to handle the request (get pods.metrics.k8s.io)",
        ),
        (
            answer(404, "the server could not find the metric hits for pods", "NotFound"),
            "*",
            "the server could not find the metric hits for pods",
        ),
    ];
    for (error, name, expected) in cases {
        assert_eq!(worded(&error, &asked(name)), expected);
    }
}
