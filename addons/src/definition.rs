//! What an addon is: native code or a package, asked in one way.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use sampan_addon::{Native, Site};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::package::{Files, Package};
use crate::record::FILES;
use crate::runner::panic_words;

/// Where objects of native addons go that name no namespace.
const NATIVE_NAMESPACE: &str = "kube-system";

/// What an addon is.
#[derive(Clone)]
pub(crate) enum Definition {
    Native(Arc<dyn Native>),
    Package(Arc<Package>),
}

/// Reads a package from the ConfigMap that holds its files.
pub(crate) fn read_package(name: &str, map: &ConfigMap) -> Result<Arc<Package>, Error> {
    let packed = map.binary_data.as_ref().and_then(|data| data.get(FILES));
    let packed =
        packed.ok_or_else(|| Error::Package(format!("the files of {name} are not in its configmap")))?;
    let package = Package::read(Files::of_tar(&packed.0)?)?;
    package.renamed(name).map(Arc::new)
}

/// Manifests with their origins, and where those go that name no namespace.
pub(crate) struct Manifests {
    pub list: Vec<(String, Value)>,
    pub namespace: String,
}

impl Manifests {
    /// Whether one of them defines a kind.
    pub fn defines(&self, kind: &str) -> bool {
        let is = |value: &Value| {
            value["kind"] == "CustomResourceDefinition" && value["spec"]["names"]["kind"] == kind
        };
        self.list.iter().any(|(_, value)| is(value))
    }
}

impl Definition {
    /// The configuration with its defaults.
    pub fn configuration(&self, given: &Map<String, Value>) -> Result<Value, Error> {
        match self {
            Self::Native(native) => {
                guarded(|| native.configuration(&Value::Object(given.clone())))?.map_err(Error::from)
            }
            Self::Package(package) => package.configuration(given),
        }
    }

    pub fn schema(&self) -> Value {
        match self {
            Self::Native(native) => guarded(|| native.schema()).unwrap_or_default(),
            Self::Package(package) => package.schema(),
        }
    }

    pub fn manifests(&self, config: &Value, site: &Site) -> Result<Manifests, Error> {
        match self {
            Self::Native(native) => {
                let list = guarded(|| native.objects(config, site))?.map_err(Error::from)?;
                let list = list.into_iter().map(|value| (String::new(), value)).collect();
                Ok(Manifests { list, namespace: NATIVE_NAMESPACE.to_owned() })
            }
            Self::Package(package) => {
                let list = package.manifests(config)?;
                let list = list.into_iter().map(|manifest| (manifest.origin, manifest.value)).collect();
                Ok(Manifests { list, namespace: package.description.namespace.clone() })
            }
        }
    }

    pub fn version(&self) -> String {
        match self {
            Self::Native(native) => native.about().version.to_owned(),
            Self::Package(package) => package.description.version.clone(),
        }
    }

    pub fn needs(&self) -> Vec<String> {
        match self {
            Self::Native(native) => native.about().needs.iter().map(|name| (*name).to_owned()).collect(),
            Self::Package(package) => package.description.needs.clone(),
        }
    }

    pub fn page(&self, config: &Value, site: &Site) -> Option<String> {
        match self {
            Self::Native(native) => guarded(|| native.page(config, site)).ok().flatten(),
            Self::Package(package) => package.page(config),
        }
    }
}

/// Calls an addon's own code: what it panics of is an error of its own.
fn guarded<T>(code: impl FnOnce() -> T) -> Result<T, Error> {
    std::panic::catch_unwind(AssertUnwindSafe(code))
        .map_err(|panic| Error::Code(format!("panicked: {}", panic_words(panic.as_ref()))))
}
