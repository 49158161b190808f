//! The shadow: what the kernel's table holds, and what has changed since it was told last.
//!
//! Objects own elements. Where two objects want one place (two pods that had one address in turn, two services that lead
//! to one endpoint), the one whose name sorts first has it, and the other gets it when that one lets go.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::chain::Chain;
use crate::element::{Element, Key, Map, Value};

/// Who owns an element, such as `service default/api`.
pub type Owner = Arc<str>;

type Place = (Map, Key);

/// Who wants a place. Nearly always there is one.
#[derive(Clone, Debug)]
enum Claims {
    One(Owner, Value),
    Several(BTreeMap<Owner, Value>),
}

impl Claims {
    fn winner(&self) -> Option<&Value> {
        match self {
            Claims::One(_, value) => Some(value),
            Claims::Several(all) => all.values().next(),
        }
    }

    fn set(&mut self, owner: &Owner, value: Value) {
        match self {
            Claims::One(known, old) if known == owner => *old = value,
            Claims::One(known, old) => {
                *self = Claims::Several([(known.clone(), old.clone()), (owner.clone(), value)].into());
            }
            Claims::Several(all) => drop(all.insert(owner.clone(), value)),
        }
    }

    fn remove(&mut self, owner: &Owner) -> bool {
        match self {
            Claims::One(known, _) => known == owner,
            Claims::Several(all) => {
                all.remove(owner);
                all.is_empty()
            }
        }
    }
}

/// A set or chain that an object needs, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Structure {
    /// A set with its type.
    Set(&'static str),
    /// A chain with its rules.
    Chain(String),
}

/// What the kernel is to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Sets and chains that are new or different.
    pub structures: BTreeMap<String, Structure>,
    /// Sets and chains that nothing refers to any more.
    pub stale: BTreeMap<String, Structure>,
    /// Elements that go.
    pub removed: Vec<Element>,
    /// Elements that come.
    pub added: Vec<Element>,
}

impl Change {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.structures.is_empty()
            && self.stale.is_empty()
            && self.removed.is_empty()
            && self.added.is_empty()
    }
}

/// The shadow.
#[derive(Debug, Default)]
pub struct Table {
    places: HashMap<Place, Claims>,
    owners: HashMap<Owner, Vec<Element>>,
    /// Places touched since the kernel was told, with what it has there.
    touched: HashMap<Place, Option<Value>>,
    structures: BTreeMap<String, Structure>,
    told: BTreeMap<String, Option<Structure>>,
    /// Chains that elements lead to, with how many do.
    chains: HashMap<Chain, usize>,
    pods: String,
}

impl Table {
    /// An empty shadow; `pods` is the block of the cluster's pods.
    pub fn new(pods: &str) -> Self {
        Self { pods: pods.to_owned(), ..Self::default() }
    }

    /// Says all that an object owns; `elements` are sorted and each place is there once.
    pub fn set(&mut self, owner: &Owner, elements: Vec<Element>) {
        let before = match elements.is_empty() {
            true => self.owners.remove(owner).unwrap_or_default(),
            false => self.owners.insert(owner.clone(), elements.clone()).unwrap_or_default(),
        };
        let mut old = before.into_iter().peekable();
        let mut new = elements.into_iter().peekable();
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some(old), Some(new)) => (&old.map, &old.key).cmp(&(&new.map, &new.key)),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return,
            };
            match order {
                std::cmp::Ordering::Less => {
                    if let Some(gone) = old.next() {
                        self.unclaim((gone.map, gone.key), owner);
                    }
                }
                std::cmp::Ordering::Greater => {
                    if let Some(one) = new.next() {
                        self.claim((one.map, one.key), owner, one.value);
                    }
                }
                std::cmp::Ordering::Equal => {
                    if let (Some(old), Some(new)) = (old.next(), new.next())
                        && old.value != new.value
                    {
                        self.claim((new.map, new.key), owner, new.value);
                    }
                }
            }
        }
    }

    fn claim(&mut self, place: Place, owner: &Owner, value: Value) {
        let known = self.places.get(&place).and_then(Claims::winner).cloned();
        self.touched.entry(place.clone()).or_insert(known);
        match self.places.entry(place) {
            Entry::Occupied(mut claims) => claims.get_mut().set(owner, value),
            Entry::Vacant(empty) => drop(empty.insert(Claims::One(owner.clone(), value))),
        }
    }

    fn unclaim(&mut self, place: Place, owner: &Owner) {
        let Entry::Occupied(mut claims) = self.places.entry(place.clone()) else { return };
        self.touched.entry(place).or_insert_with(|| claims.get().winner().cloned());
        if claims.get_mut().remove(owner) {
            claims.remove();
        }
    }

    /// Says that a set or chain has to be there, or (`None`) not any more.
    pub fn set_structure(&mut self, name: &str, structure: Option<Structure>) {
        let before = self.structures.get(name).cloned();
        if before == structure {
            return;
        }
        self.told.entry(name.to_owned()).or_insert(before);
        match structure {
            Some(structure) => drop(self.structures.insert(name.to_owned(), structure)),
            None => drop(self.structures.remove(name)),
        }
    }

    /// What has changed since the last call.
    pub fn take(&mut self) -> Change {
        let mut change = Change::default();
        for (place, before) in std::mem::take(&mut self.touched) {
            let now = self.places.get(&place).and_then(Claims::winner).cloned();
            if now == before {
                continue;
            }
            if let Some(value) = before {
                self.forget(&value);
                change.removed.push(Element::new(place.0.clone(), place.1, value));
            }
            if let Some(value) = now {
                self.refer(&value);
                change.added.push(Element::new(place.0, place.1, value));
            }
        }
        change.removed.sort_unstable();
        change.added.sort_unstable();
        for (name, before) in std::mem::take(&mut self.told) {
            match (before, self.structures.get(&name)) {
                (before, Some(now)) if before.as_ref() != Some(now) => {
                    drop(change.structures.insert(name, now.clone()))
                }
                (Some(before), None) => drop(change.stale.insert(name, before)),
                _ => {}
            }
        }
        // an element that goes to a set that goes needs no telling
        change.removed.retain(|one| !change.stale.contains_key(one.map.base()));
        change
    }

    fn refer(&mut self, value: &Value) {
        let (Value::Goto(chain) | Value::Jump(chain)) = value else { return };
        if let Some(count) = self.chains.get_mut(chain) {
            *count += 1;
            return;
        }
        if let Some(rules) = chain.rules(&self.pods) {
            self.set_structure(&chain.name(), Some(Structure::Chain(rules)));
        }
        self.chains.insert(chain.clone(), 1);
    }

    /// Chains that choose endpoints stay: there are as many as different numbers of endpoints, and one that is not
    /// needed now was and will be.
    fn forget(&mut self, value: &Value) {
        let (Value::Goto(chain) | Value::Jump(chain)) = value else { return };
        let Some(count) = self.chains.get_mut(chain) else { return };
        *count -= 1;
        if *count == 0 && matches!(chain, Chain::Profile(_) | Chain::Firewall(_)) {
            self.chains.remove(chain);
            self.set_structure(&chain.name(), None);
        }
    }

    /// Everything, as a change of an empty table; what was touched counts as told.
    pub fn whole(&mut self) -> Change {
        self.take();
        let winners = self.places.iter().filter_map(|((map, key), claims)| {
            Some(Element::new(map.clone(), *key, claims.winner()?.clone()))
        });
        let mut added: Vec<Element> = winners.collect();
        added.sort_unstable();
        Change { structures: self.structures.clone(), added, ..Change::default() }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}
