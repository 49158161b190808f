use serde_json::json;

use super::decode;

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).expect("short")];
    out.extend_from_slice(bytes);
    out
}

fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &meta), field(2, raw)].concat()
}

#[test]
fn what_kubectl_create_namespace_sends() {
    // captured from kubectl 1.32: every field that is no pointer is there, empty
    let raw = b"\x0a\x12\x0a\x02n1\x12\0\x1a\0\x22\0\x2a\0\x32\x008\0B\0\x12\0\x1a\x02\x0a\0";
    let value = decode(&body("v1", "Namespace", raw), "io.k8s.api.core.v1.Namespace").expect("decodes");
    let wanted = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n1"}, "spec": {}, "status": {}});
    assert_eq!(value, wanted);
}

#[test]
fn inlined_messages_maps_and_bytes() {
    // volumes[0] = {name: "v", volumeSource: {emptyDir: {}}}
    let volume = [field(1, b"v"), field(2, &field(2, b""))].concat();
    let spec = field(1, &volume);
    let pod = decode(&body("v1", "Pod", &field(2, &spec)), "io.k8s.api.core.v1.Pod").expect("decodes");
    assert_eq!(pod["spec"]["volumes"], json!([{"name": "v", "emptyDir": {}}]));

    let entry = [field(1, b"a"), field(2, b"b")].concat();
    let secret =
        decode(&body("v1", "Secret", &field(2, &entry)), "io.k8s.api.core.v1.Secret").expect("decodes");
    assert_eq!(secret["data"], json!({"a": "Yg=="}));
}

#[test]
fn a_message_without_fields_is_an_empty_object() {
    // spec.versions[0].subresources = {status: {}}
    let version = field(5, &field(1, b""));
    let schema = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";
    let raw = field(2, &field(7, &version));
    let crd =
        decode(&body("apiextensions.k8s.io/v1", "CustomResourceDefinition", &raw), schema).expect("decodes");
    assert_eq!(crd["spec"]["versions"], json!([{"subresources": {"status": {}}}]));
}

#[test]
fn zeros_that_mean_something_stay() {
    let deployment = |spec: &[u8]| {
        let schema = "io.k8s.api.apps.v1.Deployment";
        decode(&body("apps/v1", "Deployment", &field(2, spec)), schema).expect("decodes")["spec"].clone()
    };
    assert_eq!(deployment(&number(1, 0)), json!({"replicas": 0}));
    assert_eq!(deployment(&number(5, 0)), json!({}), "minReadySeconds is no pointer");
}

#[test]
fn broken_bodies_are_errors() {
    let schema = "io.k8s.api.core.v1.Pod";
    for broken in [&b"{}"[..], b"k8s\0\x0a", b"k8s\0\x12\x05\x0a", b"k8s\0\x13\x05", b"k8s\0\x12\x02\x0a\x7f"]
    {
        assert!(decode(broken, schema).is_err(), "{broken:?}");
    }
}
