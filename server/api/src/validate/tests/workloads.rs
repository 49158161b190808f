//! Jobs and autoscalers, and what of traffic to the API and of storage drivers.

use serde_json::{Value, json};

use super::super::{create, update};
use super::{changed, defaults, kind, kinds, shown, valid};

#[test]
fn a_job_says_what_failure_and_success_are() {
    let mut indexed = valid("Job");
    indexed["spec"]["completionMode"] = json!("Indexed");
    indexed["spec"]["completions"] = json!(3);
    indexed["spec"]["podReplacementPolicy"] = json!("Failed");
    let failure = |rule: Value| json!({"rules": [rule]});
    let codes = |operator: &str, values: Value| {
        failure(json!({"action": "FailJob", "onExitCodes": {"operator": operator, "values": values}}))
    };
    let cases = [
        ("podFailurePolicy", codes("In", json!([1, 2])), ""),
        (
            "podFailurePolicy",
            codes("In", json!([2, 0])),
            "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator; spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,0]: must be ordered",
        ),
        (
            "podFailurePolicy",
            failure(json!({"action": "FailIndex"})),
            "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set; spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
        ),
        ("successPolicy", json!({"rules": [{"succeededIndexes": "0,2", "succeededCount": 2}]}), ""),
        (
            "successPolicy",
            json!({"rules": [{"succeededIndexes": "0,2", "succeededCount": 3}]}),
            "spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)",
        ),
        (
            "podReplacementPolicy",
            json!("Never"),
            "spec.podReplacementPolicy: Unsupported value: \"Never\": supported values: \"Failed\", \"TerminatingOrFailed\"",
        ),
        ("managedBy", json!("example.com/a"), ""),
        (
            "managedBy",
            json!("a"),
            "spec.managedBy: Invalid value: \"a\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        ),
        (
            "maxFailedIndexes",
            json!(4),
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified; spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions",
        ),
    ];
    for (key, value, expected) in cases {
        let mut job = indexed.clone();
        job["spec"][key] = value;
        assert_eq!(shown(create(kind("Job"), &job)), expected, "{key}");
    }
}

#[test]
fn a_job_that_rests_may_change_what_its_pods_ask_for() {
    let mut old = valid("Job");
    old["spec"]["suspend"] = json!(true);
    let mut new = old.clone();
    new["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
    let refused = shown(update(kind("Job"), &new, &old));
    assert!(refused.starts_with("spec.template: Invalid value"), "{refused}");
    old["status"] = json!({"conditions": [{"type": "Suspended", "status": "True"}]});
    assert_eq!(shown(update(kind("Job"), &new, &old)), "");
}

#[test]
fn autoscalers_have_bounds_targets_and_metrics() {
    let row = kinds::by_kind("autoscaling", "v2", "HorizontalPodAutoscaler").unwrap();
    let valid = json!({"metadata": {"name": "h", "namespace": "d"}, "spec": {"minReplicas": 1, "maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}});
    let cases = [
        ("maxReplicas", json!(3), ""),
        (
            "maxReplicas",
            json!(0),
            "spec.maxReplicas: Required value: must be set and greater than 0; spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
        ),
        (
            "minReplicas",
            json!(0),
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1; spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
        ),
        ("scaleTargetRef", json!({"apiVersion": "v1", "kind": "ReplicationController", "name": "x"}), ""),
        (
            "scaleTargetRef",
            json!({"apiVersion": "v1", "kind": "Pod", "name": "x"}),
            "spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API group",
        ),
        (
            "metrics",
            json!([{"type": "Pods", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]),
            "spec.metrics[0].pods: Required value: must populate information for the given metric source",
        ),
        (
            "metrics",
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}]),
            "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
        ),
        (
            "behavior",
            json!({"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1801}]}}),
            "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
        ),
    ];
    for (key, value, expected) in cases {
        let mut object = valid.clone();
        object["spec"][key] = value;
        assert_eq!(shown(create(row, &object)), expected, "{key}");
    }
}

#[test]
fn flows_name_a_level_and_levels_their_queues() {
    let flow = |spec: Value| json!({"metadata": {"name": "f"}, "spec": spec});
    let level = json!({"name": "l"});
    let cases = [
        ("FlowSchema", json!({"matchingPrecedence": 5, "priorityLevelConfiguration": level}), ""),
        (
            "FlowSchema",
            json!({"matchingPrecedence": 1, "priorityLevelConfiguration": {}}),
            "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1; spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
        ),
        (
            "PriorityLevelConfiguration",
            json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}),
            "",
        ),
        (
            "PriorityLevelConfiguration",
            json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 64, "handSize": 8, "queueLengthLimit": 50}}}}),
            "",
        ),
        (
            "PriorityLevelConfiguration",
            json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 512, "handSize": 8, "queueLengthLimit": 50}}}}),
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60",
        ),
        (
            "PriorityLevelConfiguration",
            json!({"type": "Exempt"}),
            "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'",
        ),
    ];
    for (name, spec, expected) in cases {
        assert_eq!(shown(create(kind(name), &flow(spec.clone()))), expected, "{name} {spec}");
    }
}

#[test]
fn drivers_nodes_and_attachments_name_each_other() {
    let cases = [
        ("CSINode", json!({"drivers": [{"name": "d", "nodeID": "n"}]}), ""),
        (
            "CSINode",
            json!({"drivers": [{"name": "d", "nodeID": ""}]}),
            "spec.drivers[0].nodeID: Required value",
        ),
        (
            "CSIDriver",
            json!({"attachRequired": true, "podInfoOnMount": false, "storageCapacity": false}),
            "spec.seLinuxMount: Required value",
        ),
        (
            "VolumeAttachment",
            json!({"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "v"}}),
            "",
        ),
        (
            "VolumeAttachment",
            json!({"attacher": "d", "nodeName": "n", "source": {}}),
            "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        ),
    ];
    for (name, spec, expected) in cases {
        let object = json!({"metadata": {"name": "x"}, "spec": spec});
        assert_eq!(shown(create(kind(name), &object)), expected, "{name} {spec}");
    }
}

#[test]
fn a_stateful_sets_pods_are_named_by_their_controller() {
    let set = changed("StatefulSet", "/spec/template/spec/hostname", json!("Not a name"));
    assert_eq!(shown(create(kind("StatefulSet"), &set)), "");
}

#[test]
fn without_a_template_the_pods_are_those_of_an_empty_one() {
    let mismatch =
        "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`";
    let empty = "spec.template.spec.containers: Required value";
    let restarts = "restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"";
    let in_job = "spec.jobTemplate.spec.template.spec.";
    let selected = json!({"selector": {"matchLabels": {"a": "b"}}});
    let replicas = format!("spec.selector: Required value; {mismatch}; {empty}");
    let cases = [
        ("Deployment", json!({}), replicas.clone()),
        ("Deployment", selected.clone(), format!("{mismatch}; {empty}")),
        ("ReplicaSet", json!({}), replicas.clone()),
        ("DaemonSet", selected.clone(), format!("{mismatch}; {empty}")),
        ("StatefulSet", json!({}), replicas),
        (
            "Job",
            json!({"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}}),
            format!("{empty}; spec.template.spec.{restarts}; {mismatch}"),
        ),
        (
            "CronJob",
            json!({"schedule": "* * * * *"}),
            format!("{in_job}containers: Required value; {in_job}{restarts}"),
        ),
        (
            "ReplicationController",
            json!({}),
            "spec.selector: Required value; spec.template: Required value".to_owned(),
        ),
        ("PodTemplate", Value::Null, "template.spec.containers: Required value".to_owned()),
    ];
    for (name, spec, expected) in cases {
        let mut object = json!({"metadata": {"name": "n", "namespace": "d", "uid": "u"}});
        if !spec.is_null() {
            object["spec"] = spec;
        }
        defaults::apply(name, kind(name).group, "v1", &mut object);
        assert_eq!(shown(create(kind(name), &object)), expected, "{name}");
    }
}

#[test]
fn an_empty_list_sent_again_changes_nothing() {
    let empty = |of: &str, at: &[(&str, Value)]| {
        let mut object = valid(of);
        for (pointer, value) in at {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap()[key] = value.clone();
        }
        object
    };
    let pod = "/spec/template/spec";
    let (drop, nodes) = (format!("{pod}/containers/0/securityContext"), format!("{pod}/nodeSelector"));
    let (drop, nodes) = ((drop.as_str(), json!({"capabilities": {"drop": []}})), (nodes.as_str(), json!({})));
    let job = |limit: &str| (format!("{pod}/containers/0/resources"), json!({"limits": {"cpu": limit}}));
    let cases = [
        ("Deployment", vec![("/spec/selector/matchExpressions", json!([]))], ""),
        ("DaemonSet", vec![("/spec/selector/matchExpressions", json!([]))], ""),
        ("ReplicaSet", vec![("/spec/selector/matchExpressions", json!([]))], ""),
        (
            "StatefulSet",
            vec![("/spec/volumeClaimTemplates", json!([])), ("/spec/selector/matchExpressions", json!([]))],
            "",
        ),
        ("Job", vec![drop, nodes, ("/spec/selector/matchExpressions", json!([]))], ""),
        // a struct that says nothing is not none
        ("Job", vec![("/spec/template/spec/containers/0/securityContext", json!({}))], "spec.template"),
        ("StatefulSet", vec![("/spec/serviceName", json!("other"))], "spec"),
    ];
    for (name, at, refused) in cases {
        let kind = kind(name);
        let (mut old, mut new) = (valid(name), empty(name, &at));
        for object in [&mut old, &mut new] {
            defaults::apply(kind.kind, kind.group, kind.version, object);
        }
        if refused.is_empty() {
            // what is stored of the first
            old = new.clone();
            defaults::forget_empty(&mut old, kind.schema);
            assert_ne!(old, new, "{name}");
        }
        let fields: Vec<_> = update(kind, &new, &old).into_iter().map(|error| error.field).collect();
        let expected: Vec<&str> = [refused].into_iter().filter(|field| !field.is_empty()).collect();
        assert_eq!(fields, expected, "{name} {at:?}");
    }
    let kind = kind("Job");
    let [one, other] = ["1", "1000m"].map(|limit| {
        let (at, value) = job(limit);
        empty("Job", &[(&at, value)])
    });
    assert_eq!(shown(update(kind, &one, &other)), "");
}
