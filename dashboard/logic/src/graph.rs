//! Where the boxes of the topology stand. Layers from left to right, each family (what hangs together) on rows of its own.
//! Families in which something fails or warns stand above the others, and both in the order of the names of what they begin
//! with; within a family what is owned stands in the order of its owners, then of names. So nothing jumps as long as nothing
//! turns bad or well. What fails comes in first when not all find room.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::sort;

/// A box to be placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub id: String,
    pub name: String,
    /// 0 is leftmost.
    pub layer: usize,
    /// 0 is the worst.
    pub badness: u8,
}

/// A placed box: its node's place in the list given, and its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub node: usize,
    pub row: usize,
}

/// What is no worse is on its way or well.
const DEGRADED: u8 = 1;

/// The boxes that find room, and how many do not.
pub fn place(nodes: &[Node], edges: &[(String, String)], room: usize) -> (Vec<Placed>, usize) {
    let families = families(nodes, edges);
    let mut all: Vec<Vec<usize>> = families.into_values().collect();
    sort::by_key(&mut all, |family| family.iter().map(|at| nodes[*at].badness).min());
    let mut taken = 0;
    let mut kept: Vec<Vec<usize>> = Vec::new();
    for mut family in all {
        let free = room.saturating_sub(taken);
        // of a large family the left layers and what fails
        sort::by_key(&mut family, |at| (nodes[*at].layer == 3, nodes[*at].badness, nodes[*at].name.clone()));
        family.truncate(free);
        taken += family.len();
        kept.push(family);
    }
    kept.retain(|family| !family.is_empty());
    sort::by_key(&mut kept, |family| {
        let well = family.iter().all(|at| nodes[*at].badness > DEGRADED);
        (well, family.iter().map(|at| (nodes[*at].layer, nodes[*at].name.clone())).min())
    });
    (rows(nodes, edges, &kept), nodes.len() - taken)
}

/// Each layer of a family fills its rows from the family's first on, in the order of what stands left of it.
fn rows(nodes: &[Node], edges: &[(String, String)], families: &[Vec<usize>]) -> Vec<Placed> {
    let mut placed: Vec<Placed> = Vec::new();
    let mut row_of: HashMap<&str, usize> = HashMap::new();
    let mut first = 0;
    for family in families {
        let mut layers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for at in family {
            layers.entry(nodes[*at].layer).or_default().push(*at);
        }
        let mut height = 0;
        for layer in layers.values_mut() {
            let owner = |id: &str| {
                edges
                    .iter()
                    .filter(|(_, to)| to == id)
                    .filter_map(|(from, _)| row_of.get(from.as_str()))
                    .min()
                    .copied()
            };
            sort::by_key(layer, |at| (owner(&nodes[*at].id).unwrap_or(usize::MAX), nodes[*at].name.clone()));
            for (row, at) in layer.iter().enumerate() {
                placed.push(Placed { node: *at, row: first + row });
                row_of.insert(&nodes[*at].id, first + row);
            }
            height = height.max(layer.len());
        }
        first += height;
    }
    placed
}

/// What hangs together, by the least place of its members.
fn families(nodes: &[Node], edges: &[(String, String)]) -> BTreeMap<usize, Vec<usize>> {
    let places: HashMap<&str, usize> =
        nodes.iter().enumerate().map(|(at, node)| (node.id.as_str(), at)).collect();
    let mut near: HashMap<usize, Vec<usize>> = HashMap::new();
    for (from, to) in edges {
        if let (Some(from), Some(to)) = (places.get(from.as_str()), places.get(to.as_str())) {
            near.entry(*from).or_default().push(*to);
            near.entry(*to).or_default().push(*from);
        }
    }
    let mut seen = HashSet::new();
    let mut families = BTreeMap::new();
    for start in 0..nodes.len() {
        let mut waiting = vec![start];
        let mut family = Vec::new();
        while let Some(at) = waiting.pop() {
            if seen.insert(at) {
                family.push(at);
                waiting.extend(near.get(&at).into_iter().flatten());
            }
        }
        if !family.is_empty() {
            families.insert(start, family);
        }
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, layer: usize, badness: u8) -> Node {
        Node { id: id.into(), name: id.into(), layer, badness }
    }

    fn shown(nodes: &[Node], edges: &[(&str, &str)], room: usize) -> (String, usize) {
        let edges: Vec<_> = edges.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        let (mut placed, left) = place(nodes, &edges, room);
        sort::by_key(&mut placed, |placed| (placed.row, nodes[placed.node].layer));
        (
            placed
                .iter()
                .map(|placed| format!("{}@{}", nodes[placed.node].id, placed.row))
                .collect::<Vec<_>>()
                .join(" "),
            left,
        )
    }

    #[test]
    fn families_have_rows_of_their_own_and_what_fails_is_above() {
        let edges = [("web", "web-1"), ("web", "web-2"), ("api", "api-1")];
        let nodes = |bad: u8| {
            vec![
                node("web", 1, 3),
                node("web-2", 3, bad),
                node("web-1", 3, 3),
                node("api", 1, 3),
                node("api-1", 3, 3),
            ]
        };
        let wanted = ("api@0 api-1@0 web@1 web-1@1 web-2@2".to_owned(), 0);
        assert_eq!(shown(&nodes(3), &edges, 200), wanted);
        assert_eq!(shown(&nodes(2), &edges, 200), wanted);
        let wanted = ("web@0 web-1@0 web-2@1 api@2 api-1@2".to_owned(), 0);
        assert_eq!(shown(&nodes(0), &edges, 200), wanted);
        assert_eq!(shown(&nodes(1), &edges, 200), wanted);
    }

    #[test]
    fn what_is_owned_stands_in_the_order_of_its_owners() {
        let edges = [("front", "z"), ("front", "a"), ("a", "a-1"), ("z", "a-2"), ("a", "z-1")];
        let nodes = [
            node("front", 0, 3),
            node("z", 1, 3),
            node("a", 1, 3),
            node("a-2", 3, 3),
            node("z-1", 3, 3),
            node("a-1", 3, 3),
        ];
        assert_eq!(shown(&nodes, &edges, 200), ("front@0 a@0 a-1@0 z@1 z-1@1 a-2@2".to_owned(), 0));
    }

    #[test]
    fn what_fails_finds_room_first() {
        let nodes = [node("a", 3, 3), node("b", 3, 0), node("c", 3, 3)];
        assert_eq!(shown(&nodes, &[], 1), ("b@0".to_owned(), 2));
        assert_eq!(shown(&[], &[], 9), (String::new(), 0));
    }
}
