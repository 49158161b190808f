//! The native addons, in the order in which they are listed and started: the one list to add a new one to.

use std::sync::Arc;

use sampan_addon::Native;

/// Every native addon of this binary.
pub fn natives() -> Vec<Arc<dyn Native>> {
    vec![
        Arc::new(sampan_addon_dns::Dns),
        Arc::new(sampan_addon_ingress::Ingress),
        Arc::new(sampan_addon_loadbalancer::LoadBalancer),
        Arc::new(sampan_addon_metrics::Metrics),
        Arc::new(sampan_addon_registry::Registry),
        Arc::new(sampan_addon_storage::Storage),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use sampan_addon::Site;
    use serde_json::json;

    use super::*;
    use crate::fields::fields;
    use crate::object::prepare;
    use crate::package::is_label;

    fn site() -> Site {
        Site {
            profile: "sampan".into(),
            node_name: "n1".into(),
            node_ips: vec![Ipv4Addr::new(192, 0, 2, 1).into()],
            bridge: "sampan0".into(),
            gateway: Ipv4Addr::new(10, 244, 0, 1),
            pod_cidr: "10.244.0.0/16".into(),
            service_cidr: "10.96.0.0/12".into(),
            dns_ip: Ipv4Addr::new(10, 96, 0, 10),
            cluster_domain: "cluster.local".into(),
        }
    }

    #[test]
    fn every_native_addon_says_who_it_is_and_works_as_it_comes() {
        let all = natives();
        let names: BTreeSet<&str> = all.iter().map(|native| native.about().name).collect();
        assert_eq!(names.len(), all.len(), "two addons of one name");
        for native in &all {
            let about = native.about();
            let name = about.name;
            assert!(is_label(name), "{name}");
            let said = [about.summary.en, about.summary.zh, about.maintainer, about.version];
            assert!(said.iter().all(|text| !text.is_empty()), "{name}: {said:?}");
            assert!(about.needs.iter().all(|need| names.contains(need)), "{name} needs {:?}", about.needs);
            let config = native.configuration(&json!({})).unwrap();
            assert_eq!(
                native.configuration(&config).unwrap(),
                config,
                "{name}: the defaults are not accepted"
            );
            for field in fields(&native.schema(), &config) {
                assert!(!field.description.is_empty(), "{name}: {} has no description", field.path);
            }
            for object in native.objects(&config, &site()).unwrap() {
                prepare(&object, Some("kube-system"), name, "").unwrap();
            }
        }
    }
}
