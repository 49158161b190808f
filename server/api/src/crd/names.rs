//! Which names a definition gets (`controller/status/naming_controller.go`), and the order of versions.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::head::{Condition, Head, Names};
use crate::go::Quote as _;

/// The names that a definition gets and its conditions, when the other definitions of the group have `resources` and
/// `kinds`.
pub fn conditions(
    head: &Head,
    resources: &HashSet<String>,
    kinds: &HashSet<String>,
) -> (Names, [Condition; 2]) {
    let (asked, has) = (&head.spec.names, &head.status.accepted_names);
    let mut names = has.clone();
    let mut refused: Option<(&str, String)> = None;
    let mut take =
        |reason, asked: &String, has: &mut String, used: &HashSet<String>| match free(asked, has, used) {
            Ok(()) => *has = asked.clone(),
            Err(why) => refused = Some((reason, why)),
        };
    take("PluralConflict", &asked.plural, &mut names.plural, resources);
    take("SingularConflict", &asked.singular, &mut names.singular, resources);
    if asked.short_names != has.short_names {
        let new = asked.short_names.iter().filter(|name| !has.short_names.contains(name));
        let wrong: Vec<String> = new.filter_map(|name| free(name, "", resources).err()).collect();
        match wrong.as_slice() {
            [] => names.short_names = asked.short_names.clone(),
            [one] => refused = Some(("ShortNamesConflict", one.clone())),
            all => refused = Some(("ShortNamesConflict", format!("[{}]", all.join(", ")))),
        }
    }
    let mut take = |reason, asked: &String, has: &mut String| match free(asked, has, kinds) {
        Ok(()) => *has = asked.clone(),
        Err(why) => refused = Some((reason, why)),
    };
    take("KindConflict", &asked.kind, &mut names.kind);
    take("ListKindConflict", &asked.list_kind, &mut names.list_kind);
    names.categories = asked.categories.clone();
    let accepted = match refused {
        Some((reason, why)) => condition("NamesAccepted", "False", reason, why),
        None => condition("NamesAccepted", "True", "NoConflicts", "no conflicts found".into()),
    };
    let established = match (head.is("Established"), accepted.status == "True") {
        (true, _) | (_, true) => condition(
            "Established",
            "True",
            "InitialNamesAccepted",
            "the initial names have been accepted".into(),
        ),
        (false, false) => {
            condition("Established", "False", "NotAccepted", "not all names are accepted".into())
        }
    };
    (names, [accepted, established])
}

fn condition(ty: &str, status: &str, reason: &str, message: String) -> Condition {
    Condition { ty: ty.into(), status: status.into(), reason: reason.into(), message }
}

fn free(asked: &str, has: &str, used: &HashSet<String>) -> Result<(), String> {
    if asked == has || !used.contains(asked) {
        return Ok(());
    }
    Err(format!("{} is already in use", asked.quoted()))
}

/// Upstream's `CompareKubeAwareVersionStrings`, most preferred first: v2, v1, v1beta2, v1beta1, v1alpha1, others by name.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (parts(a), parts(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major, minor: greater is preferred.
fn parts(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let split = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(split);
    let major = major.parse().ok().filter(|_| !major.starts_with('0'))?;
    let (level, minor) = match rest {
        "" => return Some((2, major, 0)),
        _ => rest.strip_prefix("beta").map(|n| (1, n)).or(rest.strip_prefix("alpha").map(|n| (0, n)))?,
    };
    Some((level, major, minor.parse().ok().filter(|_| !minor.starts_with('0'))?))
}
