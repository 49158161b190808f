use super::*;
use crate::kinds;

fn field(path: &str) -> &'static Field {
    let (owner, json) = path.rsplit_once('/').expect("type/field");
    let owner = type_of(&format!("io.k8s.{owner}")).unwrap_or_else(|| panic!("no type {owner}"));
    owner.field(json).unwrap_or_else(|| panic!("no field {path}"))
}

#[test]
fn lists_say_how_their_items_are_told_apart() {
    for (path, list, keys, strategy, merge_key) in [
        ("api.core.v1.PodSpec/containers", Some(ListType::Map), "name", Some("merge"), Some("name")),
        ("api.core.v1.PodSpec/volumes", Some(ListType::Map), "name", Some("merge,retainKeys"), Some("name")),
        ("api.core.v1.PodSpec/tolerations", Some(ListType::Atomic), "", None, None),
        ("api.core.v1.PodSpec/imagePullSecrets", Some(ListType::Map), "name", Some("merge"), Some("name")),
        ("api.core.v1.PodSpec/hostAliases", Some(ListType::Map), "ip", Some("merge"), Some("ip")),
        (
            "api.core.v1.PodSpec/topologySpreadConstraints",
            Some(ListType::Map),
            "topologyKey,whenUnsatisfiable",
            Some("merge"),
            Some("topologyKey"),
        ),
        (
            "api.core.v1.Container/ports",
            Some(ListType::Map),
            "containerPort,protocol",
            Some("merge"),
            Some("containerPort"),
        ),
        ("api.core.v1.Container/env", Some(ListType::Map), "name", Some("merge"), Some("name")),
        ("api.core.v1.Container/args", Some(ListType::Atomic), "", None, None),
        (
            "api.core.v1.Container/volumeMounts",
            Some(ListType::Map),
            "mountPath",
            Some("merge"),
            Some("mountPath"),
        ),
        ("api.core.v1.PodStatus/conditions", Some(ListType::Map), "type", Some("merge"), Some("type")),
        ("api.core.v1.ServiceSpec/ports", Some(ListType::Map), "port,protocol", Some("merge"), Some("port")),
        ("api.core.v1.ServiceAccount/secrets", Some(ListType::Map), "name", Some("merge"), Some("name")),
        ("api.apps.v1.DeploymentSpec/strategy", None, "", Some("retainKeys"), None),
        ("api.apps.v1.DeploymentStatus/conditions", Some(ListType::Map), "type", Some("merge"), Some("type")),
        ("apimachinery.pkg.apis.meta.v1.ObjectMeta/finalizers", Some(ListType::Set), "", Some("merge"), None),
        (
            "apimachinery.pkg.apis.meta.v1.ObjectMeta/ownerReferences",
            Some(ListType::Map),
            "uid",
            Some("merge"),
            Some("uid"),
        ),
    ] {
        let found = field(path);
        let actual = (found.list_type, found.map_keys.join(","), found.patch_strategy, found.merge_key);
        assert_eq!(actual, (list, keys.to_owned(), strategy, merge_key), "{path}");
    }
}

#[test]
fn types_and_tags_are_upstreams() {
    for (path, ty, tags) in [
        ("api.core.v1.PodSpec/nodeName", FieldType::String, &[10][..]),
        ("api.core.v1.PodSpec/hostIPC", FieldType::Bool, &[13]),
        ("api.core.v1.PodSpec/terminationGracePeriodSeconds", FieldType::Int64, &[4]),
        ("api.core.v1.PodSpec/overhead", FieldType::Map(&FieldType::Quantity), &[32]),
        ("api.core.v1.Secret/data", FieldType::Map(&FieldType::Bytes), &[2]),
        ("api.core.v1.ServicePort/targetPort", FieldType::IntOrString, &[4]),
        ("api.core.v1.Event/eventTime", FieldType::MicroTime, &[10]),
        ("api.apps.v1.ControllerRevision/data", FieldType::RawExtension, &[2]),
        ("api.autoscaling.v2.MetricTarget/averageUtilization", FieldType::Int32, &[4]),
        ("apimachinery.pkg.apis.meta.v1.ObjectMeta/creationTimestamp", FieldType::Time, &[8]),
        ("apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry/fieldsV1", FieldType::FieldsV1, &[7]),
    ] {
        let found = field(path);
        assert_eq!((found.ty, found.tags), (ty, tags), "{path}");
    }
    let volume = field("api.core.v1.Volume/emptyDir");
    assert_eq!(
        (volume.tags, volume.ty.object().map(|ty| ty.name)),
        (&[2, 2][..], Some("io.k8s.api.core.v1.EmptyDirVolumeSource"))
    );
    assert_eq!(field("api.admissionregistration.v1.NamedRuleWithOperations/apiGroups").tags, [2, 2, 1]);
}

#[test]
fn required_and_default_are_upstreams() {
    assert!(field("api.core.v1.PodSpec/containers").required);
    assert!(field("api.core.v1.Container/name").required);
    assert!(!field("api.core.v1.Pod/metadata").required);
    assert!(!field("api.core.v1.LocalObjectReference/name").required);
    assert_eq!(field("api.core.v1.ContainerPort/protocol").default, Some("\"TCP\""));
    assert!(field("api.core.v1.PodSpec/nodeSelector").map_atomic);
    assert!(type_of("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector").is_some_and(|ty| ty.atomic));
}

#[test]
fn every_kind_and_its_list_has_a_type() {
    for kind in kinds::all() {
        assert!(type_of(kind.schema).is_some(), "{}", kind.schema);
        assert!(
            !kind.allows("list") || type_of(&format!("{}List", kind.schema)).is_some(),
            "{}",
            kind.schema
        );
    }
}

#[test]
fn the_table_is_sorted_and_whole() {
    let mut last = "";
    for ty in all() {
        assert!(last < ty.name, "{last} {}", ty.name);
        last = ty.name;
        assert!(ty.fields.is_sorted_by(|a, b| a.json < b.json), "{}", ty.name);
        for field in &ty.fields {
            assert_eq!(
                field.list_type == Some(ListType::Map),
                !field.map_keys.is_empty(),
                "{} {}",
                ty.name,
                field.json
            );
            if let Some(default) = field.default {
                serde_json::from_str::<serde_json::Value>(default).expect("a default is JSON");
            }
            for key in field.map_keys {
                assert!(field.ty.object().is_some_and(|item| item.field(key).is_some()), "{} {key}", ty.name);
            }
        }
    }
}

#[test]
fn descriptions_belong_to_their_fields() {
    let docs = Docs::of_package("io.k8s.api.core.v1").expect("core has descriptions");
    let spec = type_of("io.k8s.api.core.v1.PodSpec").expect("a type");
    assert_eq!(docs.of_type(spec), "PodSpec is a description of a pod.");
    let containers = spec.field("containers").expect("a field");
    assert!(docs.of_field(spec, containers).starts_with("List of containers belonging to the pod."));
    let taint = type_of("io.k8s.api.core.v1.Taint").expect("a type");
    let value = taint.field("value").expect("a field");
    assert_eq!(docs.of_field(taint, value), "The taint value corresponding to the taint key.");
    assert!(Docs::of_package("io.k8s").is_none());
    assert!(
        type_of("io.k8s.api.core.v1.Pod").is_some_and(|pod| pod.doc().starts_with("Pod is a collection"))
    );
}
