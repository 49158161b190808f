use super::*;
use proptest::prelude::*;
use serde_json::json;

/// A table small enough to read: what of Pod and Deployment the cases of this crate need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Toy(&'static str, Merge<'static>);

impl Toy {
    pub(crate) fn of(ty: &'static str) -> Self {
        Toy(ty, Merge::default())
    }
}

const MERGE: Merge<'static> = Merge { merge: true, replace: false, retain_keys: false, key: None };
const fn by(key: &'static str) -> Merge<'static> {
    Merge { key: Some(key), ..MERGE }
}

impl Node for Toy {
    fn shape(self) -> Shape<Self> {
        if let Some(item) = self.0.strip_prefix("[]") {
            return Shape::List(Toy::of(item));
        }
        if let Some(item) = self.0.strip_prefix("map:") {
            return Shape::Map(Toy::of(item));
        }
        match self.0 {
            "string" => Shape::Text,
            "bool" => Shape::Bool,
            "int32" => Shape::Int32,
            "int64" => Shape::Int64,
            "float" => Shape::Float,
            "quantity" => Shape::Quantity,
            "intstr" => Shape::IntOrString,
            "time" => Shape::Time,
            "micro" => Shape::MicroTime,
            "bytes" => Shape::Bytes,
            "any" => Shape::Any,
            _ => Shape::Object,
        }
    }
    fn field(self, json: &str) -> Option<Self> {
        let none = Merge::default();
        let retain = Merge { retain_keys: true, ..none };
        Some(match (self.0, json) {
            (
                _,
                "kind" | "apiVersion" | "name" | "image" | "value" | "protocol" | "mountPath" | "nodeName",
            ) => Toy("string", none),
            (_, "metadata") => Toy("ObjectMeta", none),
            ("ObjectMeta", "labels") => Toy("map:string", none),
            ("ObjectMeta", "finalizers") => Toy("[]string", MERGE),
            ("ObjectMeta", "creationTimestamp") => Toy("time", none),
            ("Pod", "spec") => Toy("PodSpec", none),
            ("Deployment", "spec") => Toy("DeploymentSpec", none),
            ("DeploymentSpec", "replicas") => Toy("int32", none),
            ("DeploymentSpec", "paused") => Toy("bool", none),
            ("DeploymentSpec", "strategy") => Toy("Strategy", retain),
            ("Strategy", "type") => Toy("string", none),
            ("Strategy", "rollingUpdate") => Toy("Rolling", none),
            ("Rolling", "maxSurge") => Toy("intstr", none),
            ("PodSpec", "containers") => Toy("[]Container", by("name")),
            ("PodSpec", "tolerations") => Toy("[]any", none),
            ("PodSpec", "volumes") => Toy("[]Volume", Merge { retain_keys: true, ..by("name") }),
            ("PodSpec", "activeDeadlineSeconds") => Toy("int64", none),
            ("Volume", "emptyDir" | "hostPath") => Toy("any", none),
            ("Container", "env") => Toy("[]Env", by("name")),
            ("Container", "ports") => Toy("[]Port", by("containerPort")),
            ("Container", "args") => Toy("[]string", none),
            ("Container", "limits") => Toy("map:quantity", none),
            ("Port", "containerPort") => Toy("int32", none),
            ("Secret", "data") => Toy("map:bytes", none),
            ("Secret", "at") => Toy("micro", none),
            ("Secret", "weight") => Toy("float", none),
            _ => return None,
        })
    }
    fn name(self) -> &'static str {
        self.0
    }
    fn merge(self) -> Merge<'static> {
        self.1
    }
}

const DEPLOYMENT: Expected<'static> = Expected { group: "apps", version: "v1", kind: "Deployment" };
const POD: Expected<'static> = Expected { group: "", version: "v1", kind: "Pod" };

fn pod(body: &str, mode: FieldValidation) -> Result<Decoded, ApiError> {
    decode(body.as_bytes(), Format::Json, Toy::of("Pod"), POD, mode)
}

#[test]
fn unknown_and_duplicate_fields_are_named_in_order() {
    let body = r#"{"spec": {"unknown1": 1, "twin": {"x": [1]}, "twin": 2, "paused": true, "paused": false, "replicas": 1}, "metadata": {"labels": {"a": "b", "a": "c"}}}"#;
    let error =
        decode(body.as_bytes(), Format::Json, Toy::of("Deployment"), DEPLOYMENT, FieldValidation::Strict)
            .unwrap_err();
    assert_eq!(
        error.message,
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.unknown1\", \
         unknown field \"spec.twin\", duplicate field \"spec.paused\", duplicate field \"metadata.labels.a\""
    );
    assert_eq!(error.code, 400);
    let decoded =
        decode(body.as_bytes(), Format::Json, Toy::of("Deployment"), DEPLOYMENT, FieldValidation::Warn)
            .unwrap();
    assert_eq!(decoded.warnings.len(), 4);
    assert_eq!(
        decoded.value,
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"paused": false, "replicas": 1}, "metadata": {"labels": {"a": "c"}}})
    );
}

#[test]
fn nested_paths_have_indices() {
    let body = r#"{"spec": {"containers": [{"name": "a", "name": "b"}, {"x": 1, "Name": "c"}]}}"#;
    assert_eq!(
        pod(body, FieldValidation::Warn).unwrap().warnings,
        [
            r#"duplicate field "spec.containers[0].name""#,
            r#"unknown field "spec.containers[1].x""#,
            r#"unknown field "spec.containers[1].Name""#
        ]
    );
}

#[test]
fn yaml_errors_begin_with_the_line() {
    let error = |body: &str| {
        let decoded =
            decode(body.as_bytes(), Format::Yaml, Toy::of("Deployment"), DEPLOYMENT, FieldValidation::Warn);
        decoded.unwrap_err().message
    };
    let begin = "the object provided is unrecognized (must be of type Deployment): yaml:";
    assert_eq!(
        error("a: b: c"),
        format!("{begin} mapping values are not allowed in this context (613a20623a2063)")
    );
    let second = error("a: 1\nb: c: d\n");
    assert!(
        second.starts_with(&format!("{begin} line 2: mapping values are not allowed in this context (")),
        "{second}"
    );
    let third = error("a:\n  b: 1\n c: 2\n");
    assert!(third.starts_with(&format!("{begin} line 2: did not find expected key (")), "{third}");
}

#[test]
fn yaml_duplicates_have_lines() {
    let body = "kind: Deployment\nspec:\n  unknown: 1\n  replicas: 1\n  # again\n  replicas: 2\nmetadata:\n  name: a\n";
    let decoded =
        decode(body.as_bytes(), Format::Yaml, Toy::of("Deployment"), DEPLOYMENT, FieldValidation::Warn)
            .unwrap();
    assert_eq!(
        decoded.warnings,
        ["line 6: key \"replicas\" already set in map", "unknown field \"spec.unknown\""]
    );
    assert_eq!(decoded.value["spec"], json!({"replicas": 2}));
}

/// What upstream says of the same documents.
#[test]
fn yaml_duplicates_are_where_their_values_begin() {
    #[rustfmt::skip]
    let cases = [
        ("{a: 1, a: 2}", "1 \"a\""),
        ("{a: 1,\n a: 2, b: {c: 1,\nc: 3}}", "2 \"a\", 3 \"c\""),
        ("data: {a: b,\n  a: c, \"a\": d}", "2 \"a\", 2 \"a\""),
        ("metadata: {name: a, name: b}\ndata:\n  a: \"1\"\n  a: \"2\"", "1 \"name\", 4 \"a\""),
        ("labels:\n  ? a\n  : b\n  ? a\n  : c", "5 \"a\""),
        ("data:\n  1: a\n  \"1\": b", ""),
        ("data:\n  1: a\n  1: b", "3 1"),
        ("data:\n  0x1: a\n  1: b\n  1.0: c\nfoo: 1\nfoo: 2", "3 1, 6 \"foo\""),
        ("data:\n  a: |\n    x: 1\n    x: 2\n  b: >\n    a: 1\n    a: 2\n  a: z", "8 \"a\""),
        ("data:\n  a: b\n  # c\n\n  'a': c", "5 \"a\""),
        ("data:\n  a: b\n  a : c\n\"data\": {}", "3 \"a\", 4 \"data\""),
        ("metadata:\n  labels:\n  labels:\n    a: b", "4 \"labels\""),
        ("metadata:\n  labels: {}\n  labels:\n\n    a: b\n    a: c", "6 \"a\", 5 \"labels\""),
        ("metadata:\n  finalizers: []\n  finalizers:\n\n  - a", "5 \"finalizers\""),
        ("metadata:\n  finalizers: []\n  finalizers: [\n a]", "3 \"finalizers\""),
        ("foo: {a: 1, a: 2}\nfoo: 5", "1 \"a\", 2 \"foo\""),
        ("foo: [{a: 1,\na: 2}]", "2 \"a\""),
        ("a: b\na: !!str c\n\"a\\n\": 1\n\"a\\n\": 2", "2 \"a\", 4 \"a\\n\""),
        ("a: &x {b: c}\nd: *x\nd: 1", "3 \"d\""),
    ];
    for (body, want) in cases {
        let problems = parse::<()>(body.as_bytes(), Format::Yaml, None).expect(body).problems;
        let lines = problems.iter().flat_map(|problem| problem.lines().skip(1));
        let lines: Vec<String> = lines
            .map(|line| line.replace("  line ", "").replace(": key", "").replace(" already set in map", ""))
            .collect();
        assert_eq!(lines.join(", "), want, "{body}");
    }
    // nobody wants what is unknown, and yet
    let body = "spec:\n  unknown: {a: 1, a: 2}\n";
    let decoded =
        decode(body.as_bytes(), Format::Yaml, Toy::of("Deployment"), DEPLOYMENT, FieldValidation::Warn);
    assert_eq!(
        decoded.expect(body).warnings,
        ["line 2: key \"a\" already set in map", "unknown field \"spec.unknown\""]
    );
}

#[test]
fn a_body_says_what_it_is_in_words_or_not_at_all() {
    let begin = "the object provided is unrecognized (must be of type Pod): ";
    let typed = |what: &str, key: &str, shown: &str| {
        format!(
            "{begin}couldn't get version/kind; json parse error: json: cannot unmarshal {what} into Go struct field .{key} of type string ({shown})"
        )
    };
    let other = |what: &str, shown: &str| {
        format!(
            "{begin}couldn't get version/kind; json parse error: json: cannot unmarshal {what} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }} ({shown})"
        )
    };
    use Format::{Json, Yaml};
    #[rustfmt::skip]
    let cases = [
        (Json, "null", String::new()),
        (Json, r#"{"kind":null,"apiVersion":""}"#, String::new()),
        (Yaml, "~", String::new()),
        (Yaml, "", String::new()),
        (Json, r#"{"kind":5}"#, typed("number", "kind", r#"{"kind":5}"#)),
        (Json, r#"{"apiVersion":[]}"#, typed("array", "apiVersion", r#"{"apiVersion":[]}"#)),
        (Json, r#"{"kind":5,"apiVersion":[]}"#, typed("number", "kind", r#"{"kind":5,"apiVersion":[]}"#)),
        (Json, r#"{"apiVersion":{},"kind":true}"#, typed("object", "apiVersion", r#"{"apiVersion":{},"kind":true}"#)),
        (Yaml, "kind: 5\napiVersion: []", typed("array", "apiVersion", "6b696e643a20350a61706956657273696f6e3a205b5d")),
        (Json, "[]", other("array", "5b5d")),
        (Json, "5", other("number", "35")),
        (Json, "\"a\"", other("string", "226122")),
        (Yaml, "- a", other("array", "2d2061")),
        (Json, r#"{"apiVersion":"a/b/c"}"#, format!("{begin}unexpected GroupVersion string: a/b/c ({{\"apiVersion\":\"a/b/c\"}})")),
    ];
    for (format, body, want) in cases {
        match decode(body.as_bytes(), format, Toy::of("Pod"), POD, FieldValidation::Strict) {
            Ok(decoded) => {
                assert_eq!(want, "", "{body}");
                assert_eq!(decoded.value, json!({"apiVersion": "v1", "kind": "Pod"}), "{body}");
            }
            Err(error) => assert_eq!((error.message, error.code), (want, 400), "{body}"),
        }
    }
}

#[test]
fn yaml_has_merge_keys_and_one_document() {
    let body = "spec:\n  containers:\n  - &a {name: x, image: i}\n  - {<<: *a, name: y}\n";
    let decoded =
        decode(body.as_bytes(), Format::Yaml, Toy::of("Pod"), POD, FieldValidation::Strict).unwrap();
    assert_eq!(decoded.value["spec"]["containers"][1], json!({"name": "y", "image": "i"}));
    assert!(parse::<()>(b"a: 1\n---\nb: 2\n", Format::Yaml, None).is_err());
}

#[test]
fn type_errors_are_upstreams() {
    for (body, why) in [
        (
            r#"{"spec": {"containers": "x"}}"#,
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            r#"{"spec": {"containers": [{"env": [{"value": 1}]}]}}"#,
            "json: cannot unmarshal number into Go struct field Env.spec.containers.env.value of type string",
        ),
        (
            r#"{"spec": {"containers": [{"ports": [{"containerPort": 1.5}]}]}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field Port.spec.containers.ports.containerPort of type int32",
        ),
        (
            r#"{"spec": {"containers": [{"ports": [{"containerPort": 99999999999}]}]}}"#,
            "json: cannot unmarshal number 99999999999 into Go struct field Port.spec.containers.ports.containerPort of type int32",
        ),
        (
            r#"{"metadata": {"labels": {"a": true}}}"#,
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (r#"{"spec": {"containers": [{"limits": {"cpu": "1KK"}}]}}"#, "unable to parse quantity's suffix"),
        (
            r#"{"spec": {"containers": [{"limits": {"cpu": "1x"}}]}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (r#"{"spec": 5}"#, "json: cannot unmarshal number into Go struct field Pod.spec of type v1.PodSpec"),
    ] {
        let error = pod(body, FieldValidation::Ignore).unwrap_err();
        assert_eq!(error.message, format!("Pod in version \"v1\" cannot be handled as a Pod: {why}"));
    }
}

#[test]
fn values_are_written_as_upstream_writes_them() {
    let cases = [
        (
            "Pod",
            r#"{"metadata": {"creationTimestamp": null}, "spec": {"containers": [{"limits": {"cpu": 0.5, "memory": "1024Mi"}}]}}"#,
            json!({"metadata": {}, "spec": {"containers": [{"limits": {"cpu": "500m", "memory": "1Gi"}}]}}),
        ),
        (
            "Pod",
            r#"{"metadata": {"creationTimestamp": "2024-01-01T02:00:00+02:00", "labels": {"a": null}}}"#,
            json!({"metadata": {"creationTimestamp": "2024-01-01T00:00:00Z", "labels": {"a": ""}}}),
        ),
        (
            "Secret",
            r#"{"data": {"a": "aGk="}, "at": "2024-01-01T00:00:00Z", "weight": 1}"#,
            json!({"data": {"a": "aGk="}, "at": "2024-01-01T00:00:00.000000Z", "weight": 1}),
        ),
    ];
    for (ty, body, expected) in cases {
        let mut value = serde_json::from_str(body).unwrap();
        assert_eq!(conform(&mut value, Toy::of(ty)), Ok(vec![]));
        assert_eq!(value, expected);
    }
    let mut bad = json!({"data": {"a": "a!k="}});
    assert_eq!(conform(&mut bad, Toy::of("Secret")).unwrap_err(), "illegal base64 data at input byte 1");
    let mut bad = json!({"metadata": {"creationTimestamp": "now"}});
    assert_eq!(
        conform(&mut bad, Toy::of("Pod")).unwrap_err(),
        "parsing time \"now\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"now\" as \"2006\""
    );
}

#[test]
fn a_body_must_be_of_its_endpoint() {
    for (body, message) in [
        (
            r#"{"apiVersion": "v2"}"#,
            "Pod in version \"v2\" cannot be handled as a Pod: no kind \"Pod\" is registered for version \"v2\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        ),
        (
            r#"{"kind": "Deployment", "apiVersion": "apps/v1"}"#,
            "Deployment in version \"v1\" cannot be handled as a Pod: converting (v1.Deployment) to (core.Pod): unknown conversion",
        ),
        (
            r#"{"kind": "pod"}"#,
            "pod in version \"v1\" cannot be handled as a Pod: no kind \"pod\" is registered for version \"v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        ),
        (
            "nonsense",
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: invalid character 'o' in literal null (expecting 'u') (6e6f6e73656e7365)",
        ),
        (
            r#"{"kind": "Service"}"#,
            "Service in version \"v1\" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): unknown conversion",
        ),
        (
            "{\"a\":",
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: unexpected end of JSON input ({\"a\":)",
        ),
    ] {
        let error = pod(body, FieldValidation::Strict).unwrap_err();
        assert_eq!((error.message.as_str(), error.code), (message, 400));
    }
    for body in ["[]", "1", "", "{} {}", "\u{0}"] {
        assert_eq!(pod(body, FieldValidation::Ignore).unwrap_err().code, 400, "{body}");
    }
}

#[test]
fn what_is_no_text_is_replaced_as_go_does() {
    let read = |body: &[u8]| parse::<()>(body, Format::Json, None).map(|parsed| parsed.value);
    let replaced = json!({"a": "\u{fffd}b"});
    assert_eq!(read(b"{\"a\": \"\\ud800b\"}"), Ok(replaced.clone()));
    assert_eq!(read(b"{\"a\": \"\xffb\"}"), Ok(replaced));
    assert_eq!(read(b"{\"a\": \"\xff\\udc00\"}"), Ok(json!({"a": "\u{fffd}\u{fffd}"})));
}

#[test]
fn deep_nesting_is_refused() {
    for (open, format) in
        [("[", Format::Json), ("{\"a\":", Format::Json), ("[", Format::Yaml), ("- ", Format::Yaml)]
    {
        let body = open.repeat(100_000);
        assert!(parse::<()>(body.as_bytes(), format, None).is_err());
    }
    for (depth, refused) in [
        (127, None),
        (128, Some("invalid character '[' exceeded max depth")),
        (20_000, Some("invalid character '[' exceeded max depth")),
    ] {
        let body = "[".repeat(depth) + &"]".repeat(depth);
        let why = parse::<()>(body.as_bytes(), Format::Json, None).err();
        assert_eq!(why.as_deref(), refused, "{depth}");
    }
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
    assert!(parse::<()>(bomb.as_bytes(), Format::Yaml, None).is_err());
}

#[test]
fn the_field_table_is_a_node() {
    let pod = Spot::root("io.k8s.api.core.v1.Pod").unwrap();
    let body = r#"{"spec": {"containers": [{"name": "a", "imag": "x", "resources": {"limits": {"cpu": 1, "memory": "1024Mi"}}, "livenessProbe": {"httpGet": {"port": "http"}}}], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1000Mi"}}]}, "metadata": {"managedFields": [{"fieldsV1": {"f:a": {}}}], "creationTimestamp": null}}"#;
    let decoded = decode(body.as_bytes(), Format::Json, pod, POD, FieldValidation::Warn).unwrap();
    assert_eq!(decoded.warnings, [r#"unknown field "spec.containers[0].imag""#]);
    let container = &decoded.value["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(decoded.value["spec"]["volumes"][0]["emptyDir"], json!({"sizeLimit": "1000Mi"}));
    assert_eq!(decoded.value["metadata"], json!({"managedFields": [{"fieldsV1": {"f:a": {}}}]}));
    let containers = pod.field("spec").and_then(|s| s.field("containers")).unwrap();
    assert_eq!((containers.merge().merge, containers.merge().key), (true, Some("name")));
    let wrong = r#"{"spec": {"containers": [{"ports": [{"containerPort": "80"}]}]}}"#;
    let error = decode(wrong.as_bytes(), Format::Json, pod, POD, FieldValidation::Warn).unwrap_err();
    assert!(error.message.ends_with("json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32"));
}

pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9./$ -]{0,8}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("spec".to_owned()),
        Just("metadata".to_owned()),
        Just("containers".to_owned()),
        Just("name".to_owned()),
        Just("labels".to_owned()),
        Just("limits".to_owned()),
        Just("env".to_owned()),
        Just("$patch".to_owned()),
        "[a-z$/]{0,6}",
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn decoding_never_panics(body in "[\\[\\]{}\":,a-z0-9&*<|> \n-]{0,60}") {
        for format in [Format::Json, Format::Yaml] {
            let _ = decode(body.as_bytes(), format, Toy::of("Pod"), POD, FieldValidation::Strict);
        }
    }

    #[test]
    fn conforming_never_panics_and_settles(mut value in any_json()) {
        if conform(&mut value, Toy::of("Pod")).is_ok() {
            let settled = value.clone();
            prop_assert_eq!(conform(&mut value, Toy::of("Pod")), Ok(vec![]));
            prop_assert_eq!(value, settled);
        }
    }
}

#[test]
fn aliases_become_no_more_than_upstream_allows() {
    let excessive = Err("yaml: document contains excessive aliasing".to_owned());
    let read = |body: &str| parse::<()>(body.as_bytes(), Format::Yaml, None).map(drop);
    let list = |item: &str, count: usize| vec![item; count].join(",");
    assert_eq!(read(&format!("x: &a [{}]\ny: [{}]\n", list("1", 10_000), list("*a", 10_000))), excessive);
    let doubled = |levels: usize| {
        let line = |level: usize| format!("l{level}: &l{level} [*l{}, *l{}]\n", level - 1, level - 1);
        format!("l0: &l0 [a]\n{}", (1..levels).map(line).collect::<String>())
    };
    assert_eq!(read(&doubled(6)), Ok(()));
    assert_eq!(read(&doubled(60)), excessive);
    let text = "x".repeat(100_000);
    assert_eq!(read(&format!("x: &a {text}\ny: [{}]\n", list("*a", 1000))), excessive, "long texts");
    assert_eq!(read(&format!("x: &a {{a: b}}\ny: [{}]\n", list("*a", 10_000))), Ok(()));
    // nor below what nobody wants
    let body = format!("unknown: {{x: &a [{}], y: [{}]}}\n", list("1", 10_000), list("*a", 10_000));
    let why = parse(body.as_bytes(), Format::Yaml, Some(Toy::of("Pod"))).map(drop);
    assert_eq!(why, excessive);
}

#[test]
fn problems_are_kept_up_to_upstreams_number_and_once_each() {
    let fields = |from: usize, to: usize, format: fn(usize) -> String| -> String {
        (from..to).map(format).collect::<Vec<_>>().join(",")
    };
    let unknown = fields(0, 100_000, |at| format!("\"u{at}\": 1"));
    let twice = fields(0, 100_000, |_| "\"name\": 1".to_owned());
    let problems =
        |body: &str, format| parse(body.as_bytes(), format, Some(Toy::of("Pod"))).expect("reads").problems;
    let found = problems(&format!("{{\"spec\": {{{unknown}}}}}"), Format::Json);
    assert_eq!(found.len(), 100);
    assert_eq!(found.last().map(String::as_str), Some("unknown field \"spec.u99\""));
    let found = problems(&format!("{{\"spec\": {{{unknown}}}}}"), Format::Yaml);
    assert_eq!((found.len(), found[2].as_str()), (100, "unknown field \"spec.u10\""));
    let found = problems(&format!("{{\"metadata\": {{{twice}, \"a\\n\": 1}}}}"), Format::Json);
    assert_eq!(found, ["duplicate field \"metadata.name\"", "unknown field \"metadata.a\\n\""]);
    // below a long name, each of them would be as long
    let long = "k".repeat(100_000);
    let body = format!("{{\"metadata\": {{\"labels\": {{\"{long}\": {{{unknown}}}}}}}}}");
    parse(body.as_bytes(), Format::Json, Some(Toy::of("Pod"))).expect("reads");
}

#[test]
fn many_keys_given_twice_have_their_lines() {
    let pairs: String = (0..20_000).map(|at| format!("k{at}: 1\nk{at}: 2\n")).collect();
    for body in [pairs.clone(), format!("{pairs}a: &a 1\nb: *a\n")] {
        let problems = parse::<()>(body.as_bytes(), Format::Yaml, None).expect("reads").problems;
        let last = problems[0].lines().last();
        assert_eq!(last, Some("  line 40000: key \"k19999\" already set in map"));
    }
}
