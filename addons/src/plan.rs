//! Which objects an addon may have, and which of them are to go. Pure.

use crate::object::Reference;

/// The inventory to write before anything is made: what there may be already, and what is about to be.
pub(crate) fn announced(inventory: &[Reference], wanted: &[Reference]) -> Vec<Reference> {
    let new = wanted.iter().filter(|place| !inventory.iter().any(|held| held.same_place(place)));
    inventory.iter().chain(new).cloned().collect()
}

/// What is in the inventory and no longer wanted, last made first.
pub(crate) fn pruned(inventory: &[Reference], wanted: &[Reference]) -> Vec<Reference> {
    let stays = |held: &&Reference| wanted.iter().any(|place| place.same_place(held));
    inventory.iter().rev().filter(|held| !stays(held)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(names: &[&str]) -> Vec<Reference> {
        let one = |name: &&str| Reference {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: Some("a".into()),
            name: name.trim_end_matches('!').into(),
            // with `!` it has been made
            uid: if name.ends_with('!') { "u".into() } else { String::new() },
        };
        names.iter().map(one).collect()
    }

    #[test]
    fn what_is_no_longer_wanted_goes_and_nothing_else() {
        for (held, wanted, announce, prune) in [
            (&[][..], &["a", "b"][..], &["a", "b"][..], &[][..]),
            (&["a!", "b!"], &["a", "b"], &["a!", "b!"], &[]),
            (&["a!", "b!"], &["b", "c"], &["a!", "b!", "c"], &["a!"]),
            (&["a!", "b!", "c"], &[], &["a!", "b!", "c"], &["c", "b!", "a!"]),
        ] {
            let (held, wanted) = (places(held), places(wanted));
            let begun = announced(&held, &wanted);
            assert_eq!(begun, places(announce));
            assert_eq!(pruned(&begun, &wanted), places(prune));
        }
    }
}
