//! Services and their endpoints, ingresses, policies, volumes, claims and classes: upstream's words, by table.

use super::*;

fn check_create(cases: &[(&str, &str, Value, &str)]) {
    for (name, pointer, value, expected) in cases {
        let object = changed(name, pointer, value.clone());
        assert_eq!(shown(create(kind(name), &object)), *expected, "{name} {pointer} {value}");
    }
}

#[test]
fn services() {
    check_create(&[
        (
            "Service",
            "/spec/externalTrafficPolicy",
            json!("Local"),
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
        ),
        (
            "Service",
            "/spec/allocateLoadBalancerNodePorts",
            json!(true),
            "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
        (
            "Service",
            "/spec/loadBalancerClass",
            json!("a/b"),
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
        (
            "Service",
            "/spec/loadBalancerSourceRanges",
            json!(["10.0.0.0"]),
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'; spec.LoadBalancerSourceRanges[0]: Invalid value: \"10.0.0.0\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        ),
        (
            "Service",
            "/spec/healthCheckNodePort",
            json!(30000),
            "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ),
        (
            "Service",
            "/spec/externalIPs",
            json!(["127.0.0.1", "x"]),
            "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128); spec.externalIPs[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff); spec.externalTrafficPolicy: Required value",
        ),
        (
            "Service",
            "/spec/trafficDistribution",
            json!("Far"),
            "spec.trafficDistribution: Unsupported value: \"Far\": supported values: \"PreferClose\", \"PreferSameZone\", \"PreferSameNode\"",
        ),
        (
            "Service",
            "/spec/sessionAffinity",
            json!("ClientIP"),
            "spec.sessionAffinityConfig: Required value: when session affinity type is ClientIP",
        ),
        (
            "Service",
            "/spec/sessionAffinityConfig",
            json!({"clientIP": {"timeoutSeconds": 5}}),
            "spec.sessionAffinityConfig: Forbidden: must not be set when session affinity is None",
        ),
        (
            "Service",
            "/spec/ports/1",
            json!({"name": "b", "port": 80, "protocol": "TCP", "targetPort": 80}),
            "spec.ports[0].name: Required value; spec.ports[1]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}",
        ),
        (
            "Service",
            "/spec/ipFamilies",
            json!(["IPv4", "IPv4", "IPX"]),
            "spec.ipFamilies[1]: Duplicate value: \"IPv4\"; spec.ipFamilies[2]: Unsupported value: \"IPX\": supported values: \"IPv4\", \"IPv6\"",
        ),
        ("Service", "/spec/clusterIP", json!("10.0.0.1"), "spec.clusterIPs: Required value"),
        (
            "Service",
            "/spec/clusterIPs",
            json!(["10.0.0.1"]),
            "spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: must be empty when `clusterIP` is not specified",
        ),
    ]);
    let mut external = valid("Service");
    external["spec"] = json!({"type": "ExternalName", "externalName": "a_b", "sessionAffinity": "None", "ipFamilies": ["IPv4"]});
    let errors = shown(create(kind("Service"), &external));
    assert!(errors.starts_with("spec.ipFamilies: Forbidden: may not be set for ExternalName services; spec.externalName: Invalid value: \"a_b\""), "{errors}");
    let status = |ingress: Value| {
        let mut new = valid("Service");
        new["spec"]["type"] = json!("LoadBalancer");
        new["status"] = json!({"loadBalancer": {"ingress": [ingress]}});
        shown(update_status(kind("Service"), &new, &valid("Service")))
    };
    assert_eq!(status(json!({"ip": "10.0.0.1", "ipMode": "VIP"})), "");
    assert_eq!(
        status(json!({"ip": "10.0.0.1"})),
        "status.loadBalancer.ingress[0].ipMode: Required value: must be specified when `ip` is set"
    );
    assert_eq!(
        status(json!({"hostname": "10.0.0.1"})),
        "status.loadBalancer.ingress[0].hostname: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address"
    );
}

#[test]
fn a_services_addresses_and_families_change_by_rule() {
    let service = |ips: Value, families: Value, policy: &str| {
        let mut service = valid("Service");
        let first = ips[0].clone();
        service["spec"]["clusterIP"] = if first.is_null() { json!("") } else { first };
        service["spec"]["clusterIPs"] = ips;
        service["spec"]["ipFamilies"] = families;
        service["spec"]["ipFamilyPolicy"] = json!(policy);
        service
    };
    let (one, two) = (json!(["10.0.0.1"]), json!(["10.0.0.1", "fd00::1"]));
    let (four, both) = (json!(["IPv4"]), json!(["IPv4", "IPv6"]));
    let single = service(one.clone(), four.clone(), "SingleStack");
    let dual = service(two.clone(), both.clone(), "RequireDualStack");
    let cases = [
        (&single, dual.clone(), ""),
        (&dual, single.clone(), ""),
        (
            &dual,
            service(one.clone(), four.clone(), "RequireDualStack"),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be set to 'SingleStack' when releasing the secondary clusterIP; spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be set to 'SingleStack' when releasing the secondary ipFamily",
        ),
        (
            &single,
            service(json!(["10.0.0.2"]), four.clone(), "SingleStack"),
            "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set",
        ),
        (
            &single,
            service(json!([]), four.clone(), "SingleStack"),
            "spec.clusterIPs[0]: Invalid value: []: primary clusterIP can not be unset",
        ),
        (
            &single,
            service(json!(["10.0.0.1", "10.0.0.2"]), both, "RequireDualStack"),
            "spec.clusterIPs: Invalid value: [\"10.0.0.1\",\"10.0.0.2\"]: may specify no more than one IP for each IP family; spec.clusterIPs[1]: Invalid value: \"10.0.0.2\": expected an IPv6 value as indicated by `ipFamilies[1]`",
        ),
        (
            &single,
            service(json!(["None"]), four, "SingleStack"),
            "spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set",
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(shown(update(kind("Service"), &new, old)), expected, "{new}");
    }
    let mut balanced = valid("Service");
    balanced["spec"]["type"] = json!("LoadBalancer");
    defaults::apply("Service", "", "v1", &mut balanced);
    let mut classed = balanced.clone();
    classed["spec"]["loadBalancerClass"] = json!("a/b");
    assert_eq!(
        shown(update(kind("Service"), &classed, &balanced)),
        "spec.loadBalancerClass: Invalid value: \"a/b\": may not change once set"
    );
}

#[test]
fn endpoints_and_slices() {
    check_create(&[
        (
            "Endpoints",
            "/subsets/0/addresses",
            json!([]),
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
        ),
        (
            "Endpoints",
            "/subsets/0/addresses/0/ip",
            json!("169.254.0.1"),
            "subsets[0].addresses[0].ip: Invalid value: \"169.254.0.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ),
        (
            "Endpoints",
            "/subsets/0/ports/1",
            json!({"port": 0, "protocol": "TCP"}),
            "subsets[0].ports[0].name: Required value; subsets[0].ports[1].name: Required value; subsets[0].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            "EndpointSlice",
            "/endpoints/0/addresses/0",
            json!("fd00::1"),
            "endpoints[0].addresses: Invalid value: \"fd00::1\": must be an IPv4 address",
        ),
        (
            "EndpointSlice",
            "/endpoints/0/addresses",
            json!([]),
            "endpoints[0].addresses: Required value: must contain at least 1 address",
        ),
        (
            "EndpointSlice",
            "/ports",
            json!([{"name": "a", "protocol": "TCP"}, {"name": "a", "protocol": "X"}]),
            "ports[1].name: Duplicate value: \"a\"; ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
        ("EndpointSlice", "/addressType", json!("FQDN"), ""),
        (
            "EndpointSlice",
            "/endpoints/0/hints",
            json!({"forZones": [{"name": "a"}, {"name": "a"}]}),
            "endpoints[0].hints.forZones[1].name: Duplicate value: \"a\"",
        ),
    ]);
    let new = changed("EndpointSlice", "/addressType", json!("FQDN"));
    assert_eq!(
        shown(update(kind("EndpointSlice"), &new, &valid("EndpointSlice"))),
        "addressType: Invalid value: \"FQDN\": field is immutable"
    );
}

#[test]
fn ingresses() {
    const PATH: &str = "/spec/rules/0/http/paths/0";
    let path = |pointer: &str| format!("{PATH}{pointer}");
    let at = "spec.rules[0].http.paths[0]";
    for (pointer, value, expected) in [
        (path("/path"), json!("x"), format!("{at}.path: Invalid value: \"x\": must be an absolute path")),
        (
            path("/path"),
            json!("/a//b"),
            format!("{at}.path: Invalid value: \"/a//b\": must not contain '//'"),
        ),
        (
            path("/path"),
            json!("/a/.."),
            format!("{at}.path: Invalid value: \"/a/..\": cannot end with '/..'"),
        ),
        (
            path("/pathType"),
            json!("Regex"),
            format!(
                "{at}.pathType: Unsupported value: \"Regex\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\""
            ),
        ),
        (
            path("/backend/service/port"),
            json!({"name": "a", "number": 80}),
            format!("{at}.backend: Invalid value: \"\": cannot set both port name & port number"),
        ),
        (
            path("/backend/service/port"),
            json!({}),
            format!("{at}.backend: Required value: port name or number is required"),
        ),
        (
            path("/backend/service/port"),
            json!({"number": 70000}),
            format!(
                "{at}.backend.service.port.number: Invalid value: 70000: must be between 1 and 65535, inclusive"
            ),
        ),
        (
            path("/backend"),
            json!({}),
            format!("{at}.backend: Invalid value: \"\": resource or service backend is required"),
        ),
        (
            path("/backend/resource"),
            json!({"kind": "K", "name": "n"}),
            format!("{at}.backend: Invalid value: \"\": cannot set both resource and service backends"),
        ),
        (
            path("/backend"),
            json!({"resource": {"apiGroup": "a.b", "name": "n"}}),
            format!("{at}.backend.resource.kind: Required value"),
        ),
        (
            "/spec/rules/0/host".to_owned(),
            json!("1.2.3.4"),
            "spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"
                .to_owned(),
        ),
        (
            "/spec/rules".to_owned(),
            json!([]),
            "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified".to_owned(),
        ),
        (
            "/spec".to_owned(),
            json!({"tls": [{}]}),
            "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified".to_owned(),
        ),
        ("/spec/rules/0/host".to_owned(), json!("*.example.com"), String::new()),
        (
            "/spec/tls".to_owned(),
            json!([{"hosts": ["A.b"], "secretName": "_"}]),
            "spec.tls[0].hosts[0]".to_owned(),
        ),
    ] {
        let errors = shown(create(kind("Ingress"), &changed("Ingress", &pointer, value)));
        match pointer.as_str() {
            "/spec/tls" => assert!(
                errors.starts_with(&expected) && errors.contains("spec.tls[0].secretName"),
                "{errors}"
            ),
            _ => assert_eq!(errors, expected, "{pointer}"),
        }
    }
    let mut both = changed("Ingress", "/spec/ingressClassName", json!("a"));
    both["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": "b"});
    assert_eq!(
        shown(create(kind("Ingress"), &both)),
        "annotations.kubernetes.io/ingress.class: Invalid value: \"b\": must match `ingressClassName` when both are specified"
    );
    check_create(&[
        ("IngressClass", "/spec/controller", json!(""), "spec.controller: Required value"),
        (
            "IngressClass",
            "/spec/controller",
            json!("nginx"),
            "spec.controller: Invalid value: \"nginx\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        ),
        (
            "IngressClass",
            "/spec/parameters",
            json!({"kind": "K", "name": "n", "scope": "Namespace"}),
            "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
        ),
        (
            "IngressClass",
            "/spec/parameters",
            json!({"kind": "K", "name": "n", "scope": "Cluster", "namespace": "d"}),
            "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'",
        ),
    ]);
    let other = changed("IngressClass", "/spec/controller", json!("x.y/z"));
    assert_eq!(
        shown(update(kind("IngressClass"), &other, &valid("IngressClass"))),
        "spec.controller: Invalid value: \"x.y/z\": field is immutable"
    );
}

#[test]
fn policies() {
    let ingress = |rule: Value| json!([rule]);
    check_create(&[
        (
            "NetworkPolicy",
            "/spec/ingress",
            ingress(json!({"from": [{}]})),
            "spec.ingress[0].from[0]: Required value: must specify a peer",
        ),
        (
            "NetworkPolicy",
            "/spec/ingress",
            ingress(json!({"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]})),
            "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer",
        ),
        (
            "NetworkPolicy",
            "/spec/egress",
            ingress(
                json!({"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8", "11.0.0.0/16", "10.1.0.0/16", "x"]}}]}),
            ),
            "spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`; spec.egress[0].to[0].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`; spec.egress[0].to[0].ipBlock.except[3]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        ),
        (
            "NetworkPolicy",
            "/spec/ingress",
            ingress(
                json!({"ports": [{"port": 80, "endPort": 79}, {"endPort": 9}, {"port": "http", "endPort": 9}, {"port": 0}]}),
            ),
            "spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`; spec.ingress[0].ports[1].endPort: Invalid value: 9: may not be specified when `port` is not specified; spec.ingress[0].ports[2].endPort: Invalid value: 9: may not be specified when `port` is non-numeric; spec.ingress[0].ports[3].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            "NetworkPolicy",
            "/spec/policyTypes",
            json!(["Ingress", "Sideways"]),
            "spec.policyTypes[1]: Unsupported value: \"Sideways\": supported values: \"Ingress\", \"Egress\"",
        ),
        (
            "NetworkPolicy",
            "/spec/policyTypes",
            json!(["Ingress", "Egress", "Ingress"]),
            "spec.policyTypes: Invalid value: [\"Ingress\",\"Egress\",\"Ingress\"]: may not specify more than two policyTypes",
        ),
    ]);
    // what was there before may stay
    let old = changed(
        "NetworkPolicy",
        "/spec/ingress",
        ingress(json!({"from": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]})),
    );
    assert!(!create(kind("NetworkPolicy"), &old).is_empty());
    assert_eq!(shown(update(kind("NetworkPolicy"), &old, &old)), "");
}

#[test]
fn addresses_and_blocks() {
    check_create(&[
        ("IPAddress", "/spec/parentRef", Value::Null, "spec.parentRef: Required value"),
        (
            "IPAddress",
            "/spec/parentRef/name",
            json!("a/b"),
            "spec.parentRef.name: Invalid value: \"a/b\": may not contain '/'",
        ),
        (
            "IPAddress",
            "/metadata/name",
            json!("010.0.0.1"),
            "metadata.name: Invalid value: \"010.0.0.1\": must not have leading 0s",
        ),
        (
            "ServiceCIDR",
            "/spec/cidrs",
            json!(["10.0.0.0/24", "10.1.0.0/24"]),
            "spec.cidrs: Invalid value: [\"10.0.0.0/24\",\"10.1.0.0/24\"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        ),
        (
            "ServiceCIDR",
            "/spec/cidrs",
            json!(["2001:DB8::/64"]),
            "spec.cidrs[0]: Invalid value: \"2001:DB8::/64\": must be in canonical form (\"2001:db8::/64\")",
        ),
    ]);
    let both = changed("ServiceCIDR", "/spec/cidrs", json!(["10.0.0.0/24", "2001:db8::/112"]));
    assert_eq!(shown(update(kind("ServiceCIDR"), &both, &valid("ServiceCIDR"))), "");
    assert_eq!(
        shown(update(kind("ServiceCIDR"), &valid("ServiceCIDR"), &both)),
        "spec.cidrs: Invalid value: [\"10.0.0.0/24\"]: field is immutable"
    );
}

#[test]
fn volumes() {
    let sources = [
        ("/spec/hostPath", Value::Null, "spec: Required value: must specify a volume type"),
        (
            "/spec/nfs",
            json!({"server": "s", "path": "/p"}),
            "spec.nfs: Forbidden: may not specify more than 1 volume type",
        ),
        (
            "/spec/capacity",
            json!({}),
            "spec.capacity: Required value; spec.capacity: Unsupported value: {}: supported values: \"storage\"",
        ),
        (
            "/spec/capacity/storage",
            json!("-1"),
            "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity; spec.capacity[storage]: Invalid value: \"-1\": must be greater than zero",
        ),
        (
            "/spec/accessModes",
            json!(["ReadWriteOncePod", "ReadWriteOnce"]),
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
        ),
        (
            "/spec/persistentVolumeReclaimPolicy",
            json!("Keep"),
            "spec.persistentVolumeReclaimPolicy: Unsupported value: \"Keep\": supported values: \"Delete\", \"Recycle\", \"Retain\"",
        ),
        (
            "/spec/nodeAffinity",
            json!({}),
            "spec.nodeAffinity.required: Required value: must specify required node constraints",
        ),
    ];
    for (pointer, value, expected) in sources {
        check_create(&[("PersistentVolume", pointer, value, expected)]);
    }
    let mut local = valid("PersistentVolume");
    local["spec"].as_object_mut().unwrap().shift_remove("hostPath");
    local["spec"]["local"] = json!({"path": "/x"});
    assert_eq!(
        shown(create(kind("PersistentVolume"), &local)),
        "spec.nodeAffinity: Required value: Local volume requires node affinity"
    );
    let term = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]});
    local["spec"]["nodeAffinity"] = json!({"required": term});
    assert_eq!(shown(create(kind("PersistentVolume"), &local)), "");
    let mut moved = local.clone();
    moved["spec"]["local"]["path"] = json!("/y");
    moved["spec"]["nodeAffinity"] = Value::Null;
    let errors = shown(update(kind("PersistentVolume"), &moved, &local));
    assert!(errors.contains("spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n- \tspec.local.path: \"/x\"\n+ \tspec.local.path: \"/y\""), "{errors}");
    assert!(
        errors.contains(
            "nodeAffinity: Invalid value: null: field is immutable, except for updating from beta label to GA"
        ),
        "{errors}"
    );
}

#[test]
fn claims() {
    check_create(&[
        (
            "PersistentVolumeClaim",
            "/spec/accessModes",
            json!([]),
            "spec.accessModes: Required value: at least 1 access mode is required",
        ),
        ("PersistentVolumeClaim", "/spec/resources", json!({}), "spec.resources[storage]: Required value"),
        (
            "PersistentVolumeClaim",
            "/spec/resources/requests/storage",
            json!("0"),
            "spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
        ),
        (
            "PersistentVolumeClaim",
            "/spec/volumeMode",
            json!("Tape"),
            "spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\"",
        ),
        (
            "PersistentVolumeClaim",
            "/spec/dataSource",
            json!({"kind": "Pod", "name": "p"}),
            "spec.dataSource: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        ),
    ]);
    let claim = |class: Value, volume: &str, size: &str, phase: &str| {
        let mut claim = valid("PersistentVolumeClaim");
        claim["spec"]["storageClassName"] = class;
        claim["spec"]["volumeName"] = json!(volume);
        claim["spec"]["resources"]["requests"]["storage"] = json!(size);
        claim["status"] = json!({"phase": phase, "capacity": {"storage": "1Gi"}});
        claim
    };
    let errors = |new: Value, old: &Value| shown(update(kind("PersistentVolumeClaim"), &new, old));
    let pending = claim(Value::Null, "", "1Gi", "Pending");
    assert_eq!(
        errors(claim(json!("c"), "v", "1Gi", "Pending"), &pending),
        "",
        "a class and a volume may come"
    );
    let bound = claim(json!("c"), "v", "2Gi", "Bound");
    assert_eq!(errors(claim(json!("c"), "v", "3Gi", "Bound"), &bound), "");
    assert_eq!(
        errors(claim(json!("c"), "v", "1Gi", "Bound"), &bound),
        "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
    );
    assert_eq!(
        errors(claim(json!("c"), "v", "1500Mi", "Bound"), &bound),
        "",
        "taken back as far as it has not grown"
    );
    assert_eq!(
        errors(claim(json!("d"), "w", "2Gi", "Bound"), &bound),
        "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n- \tspec.storageClassName: \"c\"\n+ \tspec.storageClassName: \"d\"\n- \tspec.volumeName: \"v\"\n+ \tspec.volumeName: \"w\""
    );
    assert!(
        errors(claim(Value::Null, "", "2Gi", "Pending"), &pending).contains("spec is immutable"),
        "only bound claims grow"
    );
}

#[test]
fn a_claim_may_have_its_source_said_in_one_field_alone() {
    let source = json!({"kind": "PersistentVolumeClaim", "name": "a"});
    let claim = |fields: &[&str], source: &Value| {
        let mut claim = valid("PersistentVolumeClaim");
        for field in fields {
            claim["spec"][field] = source.clone();
        }
        claim
    };
    let both = &["dataSource", "dataSourceRef"];
    let errors = |new: &Value, old: &Value| shown(update(kind("PersistentVolumeClaim"), new, old));
    for old in [&["dataSource"][..], &["dataSourceRef"], both] {
        assert_eq!(errors(&claim(both, &source), &claim(old, &source)), "", "{old:?}");
        let other = claim(both, &json!({"kind": "PersistentVolumeClaim", "name": "b"}));
        assert!(errors(&other, &claim(old, &source)).contains("spec is immutable"), "{old:?}");
    }
    let mut far = source.clone();
    far["namespace"] = json!("n");
    assert_eq!(errors(&claim(&["dataSourceRef"], &far), &claim(&["dataSourceRef"], &far)), "");
    assert!(errors(&claim(both, &source), &claim(&[], &source)).contains("spec is immutable"));
}

#[test]
fn classes() {
    check_create(&[
        ("StorageClass", "/provisioner", json!(""), "provisioner: Required value"),
        (
            "StorageClass",
            "/volumeBindingMode",
            json!("Later"),
            "volumeBindingMode: Unsupported value: \"Later\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
        ),
        (
            "StorageClass",
            "/parameters",
            json!({"": "x"}),
            "parameters: Invalid value: \"\": field can not be empty.",
        ),
        (
            "StorageClass",
            "/allowedTopologies",
            json!([{"matchLabelExpressions": [{"key": "zone", "values": []}]}]),
            "allowedTopologies[0].matchLabelExpressions[0].values: Required value",
        ),
    ]);
    for (pointer, value, expected) in [
        ("/provisioner", json!("q"), "provisioner: Invalid value: \"q\": field is immutable"),
        ("/parameters", json!({"a": "b"}), "parameters: Invalid value: {\"a\":\"b\"}: field is immutable"),
        ("/reclaimPolicy", json!("Retain"), "reclaimPolicy: Invalid value: \"Retain\": field is immutable"),
        (
            "/volumeBindingMode",
            json!("WaitForFirstConsumer"),
            "volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable",
        ),
        ("/allowVolumeExpansion", json!(true), ""),
    ] {
        let new = changed("StorageClass", pointer, value);
        assert_eq!(shown(update(kind("StorageClass"), &new, &valid("StorageClass"))), expected, "{pointer}");
    }
}
