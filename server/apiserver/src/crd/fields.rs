//! The versions of a custom resource, as managed fields need them: managers name fields in the version that they wrote.

use std::sync::Arc;

use sampan_api::apply::Shape;
use sampan_api::apply::manager::Versions;
use sampan_api::crd::{self, Custom, Version};
use sampan_api::kinds::Kind;
use serde_json::Value;

use super::convert::Memo;
use crate::value::set;

/// All served versions of one definition.
pub(crate) struct CustomVersions<'a> {
    group: &'static str,
    versions: Vec<Arc<Version>>,
    /// What a webhook made of objects in other versions.
    memo: Option<&'a Memo>,
}

impl<'a> CustomVersions<'a> {
    /// The versions of `kind`'s definition as it is now.
    pub fn of(kind: &'static Kind, custom: &Custom) -> Self {
        let own = custom.version();
        let versions = own.iter().flat_map(|own| own.served()).collect();
        Self { group: kind.group, versions, memo: None }
    }

    /// With what a webhook converted, and where to note what it has to.
    pub fn with(self, memo: &'a Memo) -> Self {
        let asked = self.versions.first().is_some_and(|version| version.head.converter().is_some());
        Self { memo: asked.then_some(memo), ..self }
    }

    /// The version of that name.
    pub fn get(&self, api_version: &str) -> Option<&Version> {
        let (group, name) = sampan_api::meta::group_version(api_version);
        let found = self.versions.iter().find(|version| version.about().name == name);
        found.filter(|_| group == self.group).map(|version| &**version)
    }
}

impl Versions for CustomVersions<'_> {
    fn shape(&self, api_version: &str) -> Option<Shape<'_>> {
        Some(Shape::Other(self.get(api_version)?.root()))
    }

    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        let version = self.get(api_version)?;
        if let Some(memo) = self.memo {
            return memo.get(object, api_version);
        }
        let mut object = object.clone();
        set(&mut object, &["apiVersion"], api_version);
        crd::prune(&mut object, version.schema());
        crd::default(&mut object, version.schema());
        Some(object)
    }
}
