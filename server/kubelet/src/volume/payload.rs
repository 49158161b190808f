//! Contents of configMap, secret, downwardAPI and projected volumes.
//!
//! Ported from upstream's `pkg/volume/{configmap,secret,downwardapi,projected}`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume, VolumeProjection};

use super::Holdings;
use super::atomic::{File, Payload};
use crate::container::downward;
use crate::context::Context;

const DEFAULT_MODE: i32 = 0o644;

/// What the volume has to show now.
pub async fn payload(
    context: &Context,
    pod: &Pod,
    volume: &Volume,
    holdings: &Holdings,
) -> Result<Payload, String> {
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        return config_map(context, pod, holdings, &source.name, &source.items, source.optional, mode).await;
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        return secret(context, pod, holdings, name, &source.items, source.optional, mode).await;
    }
    if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        return downward_api(context, pod, &source.items, mode);
    }
    let mut payload = Payload::new();
    if let Some(source) = &volume.projected {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        for projection in source.sources.iter().flatten() {
            payload.append(&mut project(context, pod, holdings, projection, mode).await?);
        }
    }
    Ok(payload)
}

async fn project(
    context: &Context,
    pod: &Pod,
    holdings: &Holdings,
    projection: &VolumeProjection,
    mode: i32,
) -> Result<Payload, String> {
    if let Some(source) = &projection.config_map {
        return config_map(context, pod, holdings, &source.name, &source.items, source.optional, mode).await;
    }
    if let Some(source) = &projection.secret {
        return secret(context, pod, holdings, &source.name, &source.items, source.optional, mode).await;
    }
    if let Some(source) = &projection.downward_api {
        return downward_api(context, pod, &source.items, mode);
    }
    let Some(source) = &projection.service_account_token else {
        return Err("this source of a projected volume is not supported".to_owned());
    };
    let token = holdings.tokens.get(context, pod, source).await?;
    let owner = common_user(pod);
    let private = owner.is_some() || super::fs_group(pod).is_some();
    let mode = if private { 0o600 } else { mode.unsigned_abs() };
    Ok(Payload::from([(source.path.clone(), File { data: token.into_bytes(), mode, uid: owner })]))
}

/// The one user all containers run as, if there is one.
fn common_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|c| c.run_as_user);
    let mut users = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(of_pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

async fn config_map(
    context: &Context,
    pod: &Pod,
    holdings: &Holdings,
    name: &str,
    items: &Option<Vec<KeyToPath>>,
    optional: Option<bool>,
    mode: i32,
) -> Result<Payload, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let optional = optional == Some(true);
    let Some(object) = holdings.config_map(context, namespace, name, true).await? else {
        return if optional { Ok(Payload::new()) } else { Err(format!("configmap {name:?} not found")) };
    };
    let mut data: BTreeMap<String, Vec<u8>> =
        object.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes())).collect();
    data.extend(object.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())));
    select(data, items, mode, optional, "configmap references non-existent config key")
}

async fn secret(
    context: &Context,
    pod: &Pod,
    holdings: &Holdings,
    name: &str,
    items: &Option<Vec<KeyToPath>>,
    optional: Option<bool>,
    mode: i32,
) -> Result<Payload, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let optional = optional == Some(true);
    let Some(object) = holdings.secret(context, namespace, name, true).await? else {
        return if optional { Ok(Payload::new()) } else { Err(format!("secret {name:?} not found")) };
    };
    let data = object.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect();
    select(data, items, mode, optional, "references non-existent secret key")
}

/// All keys under their own names, or the items asked for.
fn select(
    data: BTreeMap<String, Vec<u8>>,
    items: &Option<Vec<KeyToPath>>,
    mode: i32,
    optional: bool,
    complaint: &str,
) -> Result<Payload, String> {
    let file = |data: &[u8], mode: i32| File { data: data.to_vec(), mode: mode.unsigned_abs(), uid: None };
    let Some(items) = items.as_ref().filter(|items| !items.is_empty()) else {
        return Ok(data.into_iter().map(|(key, value)| (key, file(&value, mode))).collect());
    };
    let mut payload = Payload::new();
    for item in items {
        match data.get(&item.key) {
            Some(value) => _ = payload.insert(item.path.clone(), file(value, item.mode.unwrap_or(mode))),
            None if optional => {}
            None => return Err(format!("{complaint}: {}", item.key)),
        }
    }
    Ok(payload)
}

fn downward_api(
    context: &Context,
    pod: &Pod,
    items: &Option<Vec<DownwardAPIVolumeFile>>,
    mode: i32,
) -> Result<Payload, String> {
    let facts = context.facts(Vec::new());
    let mut payload = Payload::new();
    for item in items.iter().flatten() {
        let text = if let Some(field) = &item.field_ref {
            downward::field(pod, &field.field_path, &facts)?
        } else if let Some(selector) = &item.resource_field_ref {
            let container = downward::container_of(pod, selector.container_name.as_deref(), None)
                .ok_or_else(|| {
                    format!("container {} not found", selector.container_name.as_deref().unwrap_or_default())
                })?;
            downward::resource(pod, container, selector, &facts)?
        } else {
            continue;
        };
        let mode = item.mode.unwrap_or(mode).unsigned_abs();
        payload.insert(item.path.clone(), File { data: text.into_bytes(), mode, uid: None });
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn items_choose_keys_paths_and_modes() {
        let data = || BTreeMap::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        let all = select(data(), &None, 0o600, false, "").unwrap();
        assert_eq!((all.len(), all["a"].mode), (2, 0o600));
        let item = |key: &str| {
            Some(vec![KeyToPath { key: key.to_owned(), mode: Some(0o400), path: "x/y".to_owned() }])
        };
        let one = select(data(), &item("b"), 0o644, false, "").unwrap();
        assert_eq!((one["x/y"].data.as_slice(), one["x/y"].mode), (b"2".as_slice(), 0o400));
        assert_eq!(select(data(), &item("c"), 0o644, false, "no key").unwrap_err(), "no key: c");
        assert!(select(data(), &item("c"), 0o644, true, "").unwrap().is_empty());
    }
}
