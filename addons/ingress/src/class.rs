//! Which Ingresses are ours. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::ResourceExt;

/// The name of our class.
pub const CLASS: &str = "sampan";
/// The controller that our class names.
pub const CONTROLLER: &str = "sampan.dev/ingress";
/// The annotation that marks the class of Ingresses that name none.
pub const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
const LEGACY: &str = "kubernetes.io/ingress.class";

/// The classes that there are, and what the configuration says of them.
#[derive(Clone, Debug)]
pub struct Classes {
    known: BTreeMap<String, Class>,
    aliases: Vec<String>,
    default_class: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Class {
    ours: bool,
    default: bool,
}

impl Classes {
    /// None yet.
    pub fn new(config: &crate::Config) -> Self {
        Self {
            known: BTreeMap::new(),
            aliases: config.class_aliases.clone(),
            default_class: config.default_class,
        }
    }

    /// Takes note of a class; whether that can change what is ours.
    pub fn apply(&mut self, name: &str, class: Option<&IngressClass>) -> bool {
        let class = class.map(|class| Class {
            ours: class.spec.as_ref().and_then(|spec| spec.controller.as_deref()) == Some(CONTROLLER),
            default: class.annotations().get(DEFAULT_CLASS).is_some_and(|value| value == "true"),
        });
        let before = match &class {
            Some(class) => self.known.insert(name.to_owned(), class.clone()),
            None => self.known.remove(name),
        };
        before != class
    }

    /// Whether an Ingress is ours to serve.
    pub fn is_ours(&self, ingress: &Ingress) -> bool {
        let named = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
        match named.or_else(|| ingress.annotations().get(LEGACY).map(String::as_str)) {
            Some(name) => match self.known.get(name) {
                Some(class) => class.ours,
                None => name == CLASS || self.aliases.iter().any(|alias| alias == name),
            },
            None => self.default_class && !self.known.values().any(|class| class.default && !class.ours),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn class(controller: &str, default: bool) -> IngressClass {
        let annotations = json!({ DEFAULT_CLASS: default.to_string() });
        let class = json!({"metadata": {"annotations": annotations}, "spec": {"controller": controller}});
        serde_json::from_value(class).unwrap()
    }

    fn ingress(name: Option<&str>, legacy: Option<&str>) -> Ingress {
        let mut ingress = Ingress::default();
        ingress.spec.get_or_insert_default().ingress_class_name = name.map(str::to_owned);
        ingress.metadata.annotations = legacy.map(|name| [(LEGACY.to_owned(), name.to_owned())].into());
        ingress
    }

    #[test]
    fn classes_say_whose_an_ingress_is() {
        let mut classes = Classes::new(&crate::Config::default());
        assert!(classes.apply("sampan", Some(&class(CONTROLLER, true))));
        assert!(!classes.apply("sampan", Some(&class(CONTROLLER, true))));
        let ours = |classes: &Classes, name, legacy| classes.is_ours(&ingress(name, legacy));
        for (name, legacy, expected) in [
            (Some("sampan"), None, true),
            (None, Some("sampan"), true),
            (Some("nginx"), None, true),
            (None, Some("nginx"), true),
            (Some("traefik"), None, false),
            (Some("traefik"), Some("sampan"), false),
            (None, None, true),
        ] {
            assert_eq!(ours(&classes, name, legacy), expected, "{name:?} {legacy:?}");
        }
        // the other controller came for real
        assert!(classes.apply("nginx", Some(&class("k8s.io/ingress-nginx", true))));
        assert!(!ours(&classes, Some("nginx"), None) && !ours(&classes, None, None));
        assert!(classes.apply("nginx", None) && ours(&classes, None, None));
        // a second class of ours
        classes.apply("mine", Some(&class(CONTROLLER, false)));
        assert!(ours(&classes, Some("mine"), None));
    }

    #[test]
    fn without_being_the_default_a_class_has_to_be_named() {
        let config = crate::Config { default_class: false, class_aliases: Vec::new(), ..Default::default() };
        let classes = Classes::new(&config);
        assert!(!classes.is_ours(&ingress(None, None)) && !classes.is_ours(&ingress(Some("nginx"), None)));
        assert!(classes.is_ours(&ingress(Some("sampan"), None)));
    }
}
