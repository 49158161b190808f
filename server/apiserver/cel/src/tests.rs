//! Expressions and what they come to: one line each.

use serde_json::{Value as Json, json};

use crate::{Budget, Env, EvalError, Type, Value, Vars};

fn env() -> Env {
    let spec = Type::object(
        "Object.spec",
        [
            ("replicas".to_owned(), Type::Int),
            ("name".to_owned(), Type::String),
            ("when".to_owned(), Type::Timestamp),
            ("a-b".to_owned(), Type::String),
            ("namespace".to_owned(), Type::String),
            ("labels".to_owned(), Type::map(Type::String)),
            ("list".to_owned(), Type::list(Type::Int)),
        ],
    );
    Env::new().with("object", Type::Dyn).with("self", Type::object("Object", [("spec".to_owned(), spec)]))
}

fn object() -> Json {
    json!({"metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": 3, "name": "n", "when": "2024-02-29T10:11:12Z", "a-b": "dash", "namespace": "ns",
                 "labels": {"a": "1"}, "list": [3, 1, 2], "ports": [{"port": 80}, {"port": 443, "name": "tls"}]}})
}

/// The value as JSON, or the error's text.
fn run(source: &str) -> Result<Json, String> {
    let program = env().compile(source).map_err(|error| error.to_string())?;
    let object = object();
    let ty = env().variable("self").cloned().unwrap();
    let vars = Vars::new().with("object", Value::untyped(&object)).with("self", Value::json(&object, &ty));
    let value = program.eval(&vars, &Budget::default()).map_err(|error| error.to_string())?;
    value.to_json().ok_or_else(|| value.type_name().to_owned())
}

#[track_caller]
fn is(source: &str, expected: Json) {
    assert_eq!(run(source), Ok(expected), "{source}");
}

#[track_caller]
fn fails(source: &str, text: &str) {
    let error = run(source).expect_err(source);
    assert!(error.contains(text), "{source}: {error}");
}

#[test]
fn expressions_have_values() {
    let lines = TRUE.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    let wrong: Vec<_> =
        lines.map(|line| (line, run(line))).filter(|(_, value)| *value != Ok(json!(true))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

const TRUE: &str = r#"
    1 + 2 * 3 == 7 && 7 / 2 == 3 && 7 % 4 == 3 && -7 / 2 == -3
    1.5 + 1.5 == 3.0 && 2u + 3u == 5u && 0x1F == 31 && 1e3 == 1000.0
    1 < 2.5 && 2u > 1 && dyn(1) == 1.0 && 'a' < 'b'
    'a' + 'b' == "ab" && r'\n' == '\\n' && b'a' == bytes('a') && '''x'y''' == "x'y"
    [1, 2] + [3] == [1, 2, 3] && {'a': 1}['a'] == 1 && {'a': 1}.a == 1
    1 in [1, 2] && !(3 in [1, 2]) && 'a' in {'a': 1}
    true ? true : false
    false || true || (1 / 0 == 1)
    (1 / 0 == 1) || true
    !((1 / 0 == 1) && false)
    has(object.spec) && !has(object.missing) && has(self.spec.replicas)
    object.spec.replicas == 3 && object['spec']['replicas'] == 3 && object.spec.ports[1].port == 443
    self.spec.a__dash__b == 'dash' && self.spec.__namespace__ == 'ns'
    object.spec.ports.all(p, p.port > 0) && object.spec.ports.exists(p, has(p.name) && p.name == 'tls')
    object.spec.ports.exists_one(p, p.port == 80) && object.spec.ports.map(p, p.port) == [80, 443]
    object.spec.ports.filter(p, p.port > 100).size() == 1 && [1, 2, 3].map(x, x > 1, x * 2) == [4, 6]
    {'a': 1, 'b': 2}.all(k, k in ['a', 'b']) && object.metadata.labels.exists(k, k == 'app')
    [1, 2].all(i, v, v == i + 1) && {'a': 1}.exists(k, v, k == 'a' && v == 1)
    [5, 6].transformList(i, v, i + v) == [5, 7] && {'a': 1}.transformMap(k, v, v + 1) == {'a': 2}
    {'a': 'b'}.transformMapEntry(k, v, {v: k}) == {'b': 'a'}
    size('äöü') == 3 && 'abc'.size() == 3 && size([1]) == 1 && size({'a': 1}) == 1
    'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c') && 'abc'.matches('^a.c$') && matches('x', 'x')
    'abcabc'.indexOf('c') == 2 && 'abcabc'.lastIndexOf('c') == 5 && 'abcabc'.indexOf('c', 3) == 5
    'abc'.substring(1) == 'bc' && 'abc'.substring(1, 2) == 'b' && 'abc'.charAt(1) == 'b' && 'abc'.charAt(3) == ''
    'a,b'.split(',') == ['a', 'b'] && ['a', 'b'].join('-') == 'a-b' && 'a b'.replace(' ', '_') == 'a_b'
    ' A '.trim().lowerAscii() == 'a' && 'a'.upperAscii() == 'A' && strings.quote('a"b') == '"a\\"b"'
    '%s is %d, %.2f'.format(['x', dyn(3), 1.5]) == 'x is 3, 1.50' && '%s'.format([[dyn(1), 'a']]) == '[1, a]'
    string(1) == '1' && int('5') == 5 && double('1.5') == 1.5 && uint(3) == 3u && string(true) == 'true'
    type(1) == int && type('a') == string && type(object) == map && type(null) == null_type && type([]) == list
    timestamp('2024-02-29T10:11:12Z').getFullYear() == 2024 && self.spec.when.getMonth() == 1
    timestamp('2024-02-29T23:00:00Z').getDayOfMonth('+02:00') == 0 && self.spec.when > timestamp('2024-01-01T00:00:00Z')
    duration('1h30m') == duration('90m') && duration('90s').getMinutes() == 1 && string(duration('1.5s')) == '1.5s'
    timestamp('2024-02-29T10:11:12Z') + duration('1h') == timestamp('2024-02-29T11:11:12Z')
    optional.of(1).orValue(2) == 1 && optional.none().orValue(2) == 2 && object.?spec.?nope.orValue('x') == 'x'
    object.spec.?replicas.hasValue() && object.?a.?b.c.or(optional.of(1)).value() == 1
    [1, 2][?5].orValue(9) == 9 && {'a': 1}[?'b'].orValue(3) == 3 && [?optional.none(), 1] == [1]
    optional.of(2).optMap(x, x * 2).value() == 4 && {?'a': optional.none()} == {}
    sets.contains([1, 2], [2]) && sets.equivalent([1, 2, 1], [2, 1]) && sets.intersects([1], [1, 2])
    [1, 2, 3].isSorted() && [3, 1, 2].max() == 3 && [3, 1].min() == 1 && [1, 2].sum() == 3 && [1, 2].indexOf(2) == 1
    'a1b22'.find('[0-9]+') == '1' && 'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'a1b22'.findAll('[0-9]+', 1) == ['1']
    isURL('https://a.b:80/c?d=e') && !isURL('../x') && url('https://a.b:80/c?d=e&d=f').getQuery() == {'d': ['e', 'f']}
    url('https://[::1]:80/c').getHostname() == '::1' && url('https://[::1]:80/c').getPort() == '80' && url('/a').getHost() == ''
    ip('127.0.0.1').isLoopback() && ip('::1').family() == 6 && !isIP('1.2.3') && ip.isCanonical('::1')
    cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !isCIDR('10.0.0.0/33')
    string(cidr('10.1.2.3/8').masked()) == '10.0.0.0/8' && cidr('10.1.2.3/8').ip() == ip('10.1.2.3')
    quantity('1.5Gi').isGreaterThan(quantity('1G')) && quantity('100m').add(quantity('900m')).isInteger()
    quantity('50k').compareTo(quantity('50000')) == 0 && quantity('1') == quantity('1000m') && quantity('3').asInteger() == 3
    semver('1.2.3').isLessThan(semver('1.3.0-rc.1')) && semver('v1.2', true).patch() == 0 && !isSemver('v1.2')
    !format.dns1123Label().validate('web').hasValue() && format.dns1123Label().validate('We').hasValue()
    format.named('uuid').value().validate('00000000-0000-0000-0000-000000000000') == optional.none()
    jsonpatch.escapeKey('a/b~c') == 'a~1b~0c'
    image('registry.k8s.io/kube-apiserver:v1').registry() == 'registry.k8s.io' && image('a.b:5000/c/d').repository() == 'c/d'
    image('nginx').registry() == 'index.docker.io' && image('nginx').repository() == 'library/nginx' && image('nginx').tag() == 'latest'
    image('a.b/cd:v1@sha256:6aefddb645ee6963afd681b1845c661d0ea4c3b20ab9db86d9e753b203d385f2').identifier().startsWith('sha256:')
    image('a.b/cd@sha256:6aefddb645ee6963afd681b1845c661d0ea4c3b20ab9db86d9e753b203d385f2').containsDigest() && !image('a/b').containsDigest()
    !isImage('registry.k8s.io//kube') && !isImage('A/b') && !isImage('a:') && !isImage('') && isImage('localhost/ab:x')
    [[1], [2]] == [[1], [2]] && {'a': [1]} == {'a': [1]} && dyn([1]) != dyn('a')
    'x' == 'y' ? false : 1 == 1
    !!true && - -1 == 1
    object.metadata.labels == {'app': 'web'} && self.spec.labels.a == '1' && self.spec.list == [3, 1, 2]
    -9223372036854775808 < 0 && 9223372036854775807 > 0
"#;

#[test]
fn failures_have_upstreams_words() {
    fails("object.missing", "no such key: missing");
    fails("[1][3] == 1", "index out of bounds: 3");
    fails("1 / 0 == 1", "division by zero");
    fails("1 % 0 == 1", "modulus by zero");
    fails("9223372036854775807 + 1 == 0", "integer overflow");
    fails("int(object.metadata.name) == 1", "type conversion error from 'string' to 'int'");
    fails("object.spec.replicas > 'a'", "no such overload");
    fails("optional.none().value() == 1", "optional.none() dereference");
}

/// As cel-go 0.26 says of the same.
#[test]
fn what_has_no_fields_has_none_of_that_name() {
    let scalars =
        ["null", "1", "2u", "1.5", "true", "'s'", "b'b'", "type(1)", "duration('1h')", "quantity('1')"];
    for scalar in scalars.map(|source| format!("dyn({source})")) {
        is(&format!("has({scalar}.f)"), json!(false));
        is(&format!("{scalar}.?f.hasValue()"), json!(false));
        is(&format!("{scalar}.?f.g.orValue(3)"), json!(3));
        is(&format!("{scalar}[?'a'].hasValue() || {scalar}[?0].hasValue()"), json!(false));
        is(&format!("has(optional.of({scalar}).f)"), json!(false));
        fails(&format!("{scalar}.f == 1"), "no such key: f");
        fails(&format!("has({scalar}.f.g)"), "no such key: f");
        fails(&format!("{scalar}['a'] == 1"), "no such key: a");
        fails(&format!("{scalar}[0] == 1"), "no such key: 0");
        fails(&format!("{scalar}[1.5] == 1"), "no such key: 1.5");
    }
    for source in
        ["has(dyn([1]).f)", "dyn([1]).f == 1", "dyn([1]).?f.hasValue()", "dyn([1])[?'a'].hasValue()"]
    {
        fails(source, "unsupported index type 'string' in list");
    }
    fails("dyn([1])[true] == 1", "unsupported index type 'bool' in list");
    fails("[1][dyn(1.5)] == 1", "unsupported index value 1.5 in list");
    fails("[1][5] == 1", "index out of bounds: 5");
}

#[test]
fn complaints_point_at_their_place() {
    let check = |source: &str, expected: &str| {
        assert_eq!(env().compile(source).expect_err(source).to_string(), expected, "{source}");
    };
    check(
        "self.spec.replicas > '1'",
        "ERROR: <input>:1:20: found no matching overload for '_>_' applied to '(int, string)'\n | self.spec.replicas > '1'\n | ...................^",
    );
    check("nope.a", "ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')\n | nope.a\n | ^");
    check(
        "self.spec.nope == 1",
        "ERROR: <input>:1:10: undefined field 'nope'\n | self.spec.nope == 1\n | .........^",
    );
    check(
        "'a'.nope(1)",
        "ERROR: <input>:1:9: undeclared reference to 'nope' (in container '')\n | 'a'.nope(1)\n | ........^",
    );
    check(
        "'a'.startsWith(1)",
        "ERROR: <input>:1:15: found no matching overload for 'startsWith' applied to 'string.(int)'\n | 'a'.startsWith(1)\n | ..............^",
    );
    check("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^");
    check(
        "true &&\n 1",
        "ERROR: <input>:1:6: found no matching overload for '_&&_' applied to '(bool, int)'\n | true &&\n | .....^",
    );
    check(
        "'a'.matches('(')",
        "ERROR: <input>:1:13: invalid matches argument\n | 'a'.matches('(')\n | ............^",
    );
    for (expression, shown) in
        [("object.spec =", "="), ("object.spec = 1", "= "), ("object.spec =\n1", "=\\n")]
    {
        let broken = env().compile(expression).expect_err("broken").to_string();
        let start = format!("ERROR: <input>:1:13: Syntax error: token recognition error at: '{shown}'");
        assert!(broken.starts_with(&start), "{broken}");
    }
    let ended = env().compile("1 +").expect_err("ended").to_string();
    assert!(
        ended.starts_with("ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting"),
        "{ended}"
    );
}

#[test]
fn types_are_known_where_they_can_be() {
    let of = |source: &str| env().compile(source).map(|program| program.result_type().to_string());
    assert_eq!(of("1 == 1").as_deref(), Ok("bool"));
    assert_eq!(of("object.a").as_deref(), Ok("dyn"));
    assert_eq!(of("self.spec.list.map(x, string(x))").as_deref(), Ok("list(string)"));
    assert_eq!(of("self.spec.list.max()").as_deref(), Ok("int"));
    assert_eq!(of("self.?spec.?name").as_deref(), Ok("optional_type(string)"));
    assert_eq!(of("quantity('1')").as_deref(), Ok("kubernetes.Quantity"));
    assert_eq!(of("true ? 'a' : 'b'").as_deref(), Ok("string"));
}

#[test]
fn what_would_run_for_ever_is_stopped() {
    let list = format!("[{}]", vec!["1"; 100].join(","));
    let source = format!("{list}.all(a, {list}.all(b, {list}.all(c, {list}.all(d, a + b + c + d > 0))))");
    let program = env().compile(&source).unwrap();
    let budget = Budget::default();
    assert_eq!(program.eval(&Vars::new(), &budget).err(), Some(EvalError::CostLimit));
    assert!(EvalError::CostLimit.to_string().contains("actual cost limit exceeded"));
    // an error of cost is not made good by the other side of an or
    let program = env().compile(&format!("{source} || true")).unwrap();
    assert_eq!(program.eval(&Vars::new(), &Budget::default()).err(), Some(EvalError::CostLimit));
    let small = Budget::new(10);
    let program = env().compile("[1, 2, 3].all(x, x > 0)").unwrap();
    assert_eq!(program.eval(&Vars::new(), &small).err(), Some(EvalError::Budget));
}

#[test]
fn texts_do_not_grow_beyond_the_budget() {
    let doubled = (0..40).fold("'ab'".to_owned(), |inner, _| format!("[{inner}].map(x, x + x)[0]"));
    let program = env().compile(&doubled).unwrap();
    assert_eq!(program.eval(&Vars::new(), &Budget::default()).err(), Some(EvalError::CostLimit));
}

#[test]
fn deep_nesting_is_refused() {
    let deep = format!("{}1{}", "(".repeat(300), ")".repeat(300));
    assert!(env().compile(&deep).unwrap_err().to_string().contains("recursion limit exceeded"));
    let long = vec!["1"; 1000].join(" + ");
    assert!(env().compile(&long).unwrap_err().to_string().contains("recursion limit exceeded"));
    // a long chain of conditions is fine
    is(&vec!["true"; 1000].join(" && "), json!(true));
    is("// a comment\ntrue // and another", json!(true));
}

#[test]
fn objects_are_made_by_name() {
    let env = Env::new().with_object_paths();
    let program = env.compile("Object{spec: Object.spec{replicas: 1, ?gone: optional.none()}}").unwrap();
    let value = program.eval(&Vars::new(), &Budget::default()).unwrap();
    assert_eq!(value.to_json(), Some(json!({"spec": {"replicas": 1}})));
    assert!(Env::new().compile("Object{}").is_err());
}

#[test]
fn broken_expressions_are_refused_not_feared() {
    // every beginning of every expression, and every expression with one character changed
    for line in TRUE.lines().map(str::trim) {
        for (at, _) in line.char_indices() {
            let _ = env().compile(&line[..at]);
            for other in ["(", "\"", "?", "]", "{", "\\"] {
                let mut changed = line.to_owned();
                changed.replace_range(at..at + line[at..].chars().next().unwrap().len_utf8(), other);
                if let Ok(program) = env().compile(&changed) {
                    let value = program.eval(&Vars::new(), &Budget::new(10_000));
                    assert!(value.is_ok() || value.is_err_and(|why| !why.to_string().is_empty()));
                }
            }
        }
    }
}

/// Rules as operators ship them, over a schema of theirs.
#[test]
fn rules_of_custom_resources_hold() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "replicas": {"type": "integer"}, "max": {"type": "integer"}, "ratio": {"type": "number"},
        "port": {"x-kubernetes-int-or-string": true},
        "host": {"type": "string"}, "since": {"type": "string", "format": "date-time"}, "wait": {"type": "string", "format": "duration"},
        "mode": {"type": "string", "enum": ["A", "B"]}, "a": {"type": "object", "properties": {"x": {"type": "string"}}},
        "namespace": {"type": "string"}, "x-y": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "rules": {"type": "array", "items": {"type": "object", "properties": {
            "path": {"type": "object", "properties": {"type": {"type": "string"}, "value": {"type": "string"}}},
            "weight": {"type": "integer"}}}}}}}});
    let object = json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n", "labels": {"a": "b"}}, "spec": {
        "replicas": 2, "max": 3, "ratio": 1, "port": "80%", "host": "*.example.com", "since": "2024-01-01T00:00:00Z",
        "wait": "1h", "mode": "A", "a": {"x": "y"}, "namespace": "ns", "x-y": "z", "labels": {"k": "v"}, "free": {"any": 1},
        "rules": [{"path": {"type": "Exact", "value": "/a"}, "weight": 1}, {"weight": 2}]}});
    let ty = crate::from_schema(&schema, "Object", true).unwrap();
    let env = Env::new().with("self", ty.clone()).with("oldSelf", Type::optional(ty.clone()));
    let holds = |rule: &str| {
        let program = env.compile(rule).map_err(|error| error.to_string())?;
        let vars = Vars::new().with("self", Value::json(&object, &ty)).with("oldSelf", Value::Optional(None));
        let value = program.eval(&vars, &Budget::default()).map_err(|error| error.to_string())?;
        value.to_json().ok_or_else(String::new)
    };
    let rules = [
        "self.spec.replicas <= self.spec.max && self.spec.ratio == 1.0",
        "type(self.spec.port) == string ? self.spec.port.endsWith('%') : self.spec.port > 0",
        "self.spec.host.matches('^(\\\\*\\\\.)?[a-z0-9.-]+$') && size(self.spec.host) < 253",
        "self.spec.since < timestamp('2025-01-01T00:00:00Z') && self.spec.wait == duration('60m')",
        "self.spec.mode == 'A' ? has(self.spec.a) : !has(self.spec.a)",
        "self.spec.mode in ['A', 'B'] && ['A', 'B'].exists(m, m == self.spec.mode)",
        "self.spec.__namespace__ == 'ns' && self.spec.x__dash__y == 'z'",
        "self.spec.labels.all(k, self.spec.labels[k].size() > 0) && 'k' in self.spec.labels && self.spec.labels.exists(k, v, v == 'v')",
        "self.spec.rules.all(r, has(r.path) && has(r.path.type) ? ['Exact', 'Prefix'].exists(t, r.path.type == t) : true)",
        "self.spec.rules.all(a, self.spec.rules.exists_one(b, a.weight == b.weight))",
        "self.spec.rules.map(r, r.weight).sum() == 3 && self.spec.rules.filter(r, has(r.path)).size() == 1",
        "self.spec.rules[0].?path.?value.orValue('') == '/a' && !self.spec.rules[1].?path.hasValue()",
        "self.metadata.name.startsWith('n') && self.kind == 'K'",
        "oldSelf.hasValue() ? oldSelf.value().spec.mode == self.spec.mode : true",
        "self == self && self.spec.a == self.spec.a && has(self.spec.free)",
        "optional.none() == oldSelf.?spec.?mode",
    ];
    let wrong: Vec<_> =
        rules.iter().map(|rule| (rule, holds(rule))).filter(|(_, value)| *value != Ok(json!(true))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (rule, why) in [
        ("self.metadata.labels.a == 'b'", "undefined field 'labels'"),
        ("self.spec.free.any == 1", "undefined field 'any'"),
        ("self.spec.mode > 1", "found no matching overload for '_>_' applied to '(string, int)'"),
        ("self.spec.ratio == 1", "found no matching overload for '_==_' applied to '(double, int)'"),
        (
            "oldSelf.spec.mode == 'A'",
            "found no matching overload for '_==_' applied to '(optional_type(string), string)'",
        ),
    ] {
        let found = holds(rule).expect_err(rule);
        assert!(found.contains(why), "{rule}: {found}");
    }
}
