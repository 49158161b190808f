//! What is written into the cluster's database about an addon: its record, and a package's files.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use sampan_reconcile::Key;

use crate::error::Error;
use crate::manager::Manager;
use crate::record::{self, FILES, NAMESPACE, Record};

/// Records that lose against another's write are written anew this often.
const TURNS: usize = 8;

impl Manager {
    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.objects.client().clone(), NAMESPACE)
    }

    /// Changes a record, whoever else does meanwhile, and waits until this process sees it; the resourceVersion from
    /// which on it holds.
    pub async fn update(&self, name: &str, change: impl Fn(&mut Record)) -> Result<u64, Error> {
        let what = format!("configmap {NAMESPACE}/{}", record::name_of(name));
        let failed = |error: &kube::Error| Error::api(&what, "", error);
        let mut last = Error::Leaving(what.clone());
        for _ in 0..TURNS {
            let map = self.api().get_opt(&record::name_of(name)).await.map_err(|error| failed(&error))?;
            let there = map.as_ref().map(|map| Record::read(map).map_err(Error::Package)).transpose()?;
            let mut wanted = there.clone().unwrap_or_default();
            change(&mut wanted);
            if there.as_ref() == Some(&wanted) {
                let version = map.as_ref().map_or(0, version);
                self.maps.reached(version).await;
                return Ok(version);
            }
            let mut written = wanted.write(name).map_err(|error| Error::Code(error.to_string()))?;
            let result = match map {
                Some(map) => {
                    written.metadata = map.metadata;
                    self.api().replace(&record::name_of(name), &PostParams::default(), &written).await
                }
                None => self.api().create(&PostParams::default(), &written).await,
            };
            match result {
                Ok(map) => {
                    self.maps.reached(version(&map)).await;
                    return Ok(version(&map));
                }
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                    last = failed(&kube::Error::Api(status));
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(last)
    }

    /// Keeps a package's files; the resourceVersion from which on they hold.
    pub async fn keep_files(&self, name: &str, packed: Vec<u8>) -> Result<u64, Error> {
        let map_name = record::package_name_of(name);
        let failed = |error: &kube::Error| Error::api(format!("configmap {NAMESPACE}/{map_name}"), "", error);
        let mut map = ConfigMap {
            metadata: record::metadata(name, map_name.clone()),
            binary_data: Some([(FILES.to_owned(), k8s_openapi::ByteString(packed))].into()),
            ..ConfigMap::default()
        };
        let there = self.api().get_opt(&map_name).await.map_err(|error| failed(&error))?;
        let written = match there {
            Some(there) => {
                map.metadata = there.metadata;
                self.api().replace(&map_name, &PostParams::default(), &map).await
            }
            None => self.api().create(&PostParams::default(), &map).await,
        };
        let version = version(&written.map_err(|error| failed(&error))?);
        self.maps.reached(version).await;
        Ok(version)
    }

    /// A package's files as they are kept.
    pub fn kept_files(&self, name: &str) -> Option<Vec<u8>> {
        let map = self.maps.get(&Key::namespaced(NAMESPACE, &record::package_name_of(name)))?;
        map.binary_data.as_ref()?.get(FILES).map(|bytes| bytes.0.clone())
    }

    /// Deletes a ConfigMap of ours and waits until this process sees it gone.
    pub async fn delete_map(&self, map_name: &str) -> Result<(), Error> {
        match self.api().delete(map_name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(Error::api(format!("configmap {NAMESPACE}/{map_name}"), "", &error)),
            Ok(_) => {}
        }
        self.maps.until(|maps| maps.get(&Key::namespaced(NAMESPACE, map_name)).is_none()).await;
        Ok(())
    }
}

/// The resourceVersion of a ConfigMap.
pub(crate) fn version(map: &ConfigMap) -> u64 {
    map.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}
