//! Acting as somebody else: `k8s.io/apiserver/pkg/endpoints/filters/impersonation.go`.

use std::collections::BTreeMap;

use http::HeaderMap;
use sampan_api::go::Quote as _;
use sampan_api::status::ApiError;

use super::{
    AUTHENTICATED, Attributes, Decision, UNAUTHENTICATED, UserInfo, forbidden, tokens::account_user,
};

const EXTRA: &str = "impersonate-extra-";

/// The user that the headers ask for, or `None` if they ask for nothing. `may` decides each attribute.
pub fn impersonate(
    user: &UserInfo,
    headers: &HeaderMap,
    may: impl Fn(&UserInfo, &Attributes<'_>) -> Decision,
) -> Result<Option<UserInfo>, ApiError> {
    let one = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    let (name, uid) = (one("impersonate-user"), one("impersonate-uid"));
    let groups: Vec<String> = headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .map(str::to_owned)
        .collect();
    let extra = extras(headers);
    if name.is_empty() {
        return match uid.is_empty() && groups.is_empty() && extra.is_empty() {
            true => Ok(None),
            false => Err(ApiError::bad_request(format!(
                "requested {} without impersonating a user",
                groups.first().map(String::as_str).unwrap_or(uid).quoted()
            ))),
        };
    }
    let check = |attributes: Attributes<'_>| {
        let attributes = Attributes { verb: "impersonate", version: "v1", is_resource: true, ..attributes };
        match may(user, &attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(why) => Err(forbidden(user, &attributes, &why)),
        }
    };
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) => {
            check(Attributes { resource: "serviceaccounts", namespace, name, ..Attributes::default() })?
        }
        None => check(Attributes { resource: "users", name, ..Attributes::default() })?,
    }
    let authentication = "authentication.k8s.io";
    if !uid.is_empty() {
        check(Attributes { group: authentication, resource: "uids", name: uid, ..Attributes::default() })?;
    }
    for group in &groups {
        check(Attributes { resource: "groups", name: group, ..Attributes::default() })?;
    }
    for (key, value) in extra.iter().flat_map(|(k, values)| values.iter().map(move |v| (k, v))) {
        check(Attributes {
            group: authentication,
            resource: "userextras",
            subresource: key,
            name: value,
            ..Attributes::default()
        })?;
    }
    let mut acting = match account {
        Some((namespace, name)) if groups.is_empty() => account_user(namespace, name, uid),
        _ => UserInfo { name: name.to_owned(), uid: uid.to_owned(), groups, ..UserInfo::default() },
    };
    acting.extra = extra;
    if acting.name == "system:anonymous" {
        if !acting.in_group(UNAUTHENTICATED) {
            acting.groups.push(UNAUTHENTICATED.into());
        }
    } else if !acting.in_group(AUTHENTICATED) && !acting.in_group(UNAUTHENTICATED) {
        acting.groups.push(AUTHENTICATED.into());
    }
    Ok(Some(acting))
}

fn extras(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let key = name.as_str().strip_prefix(EXTRA);
        if let (Some(key), Ok(value)) = (key, value.to_str()) {
            extra.entry(percent_decoded(key)).or_default().push(value.to_owned());
        }
    }
    extra
}

/// Header names cannot hold a slash; clients send `%2f`.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail
            .get(..2)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}
