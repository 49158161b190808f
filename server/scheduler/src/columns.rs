//! What nodes by themselves say to pods of one shape, kept from pod to pod.
//!
//! A shape has a column: a row for each node, in the order of their names. A row is computed anew only when its node
//! changed, so that a placement costs one row for each shape that is asked for again.

use std::sync::Arc;

use crate::filters::{Refusal, local};
use crate::pods::PodInfo;
use crate::scores::Local;
use crate::world::{NodeInfo, World};
use sampan_reconcile::HashMap;

/// As many shapes are kept.
const SHAPES: usize = 256;

/// A node's answer to a shape.
pub type Row = Result<Local, Refusal>;

#[derive(Default)]
struct Column {
    epoch: u64,
    /// How many of the epoch's changes are in.
    seen: usize,
    used: u64,
    rows: Vec<Row>,
}

/// The columns of the shapes asked for lately.
#[derive(Default)]
pub struct Columns {
    by_shape: HashMap<Arc<str>, Column>,
    clock: u64,
}

impl Columns {
    /// The rows for the pod's shape, as the world is now.
    pub fn rows(&mut self, pod: &PodInfo, world: &mut World) -> &[Row] {
        self.clock += 1;
        if self.by_shape.len() >= SHAPES && !self.by_shape.contains_key(pod.shape()) {
            let oldest = self.by_shape.iter().min_by_key(|(_, column)| column.used);
            if let Some(shape) = oldest.map(|(shape, _)| shape.clone()) {
                self.by_shape.remove(&shape);
            }
        }
        let (epoch, touched) = world.epoch();
        let column = self.by_shape.entry(pod.shape().clone()).or_default();
        let row = |node: &NodeInfo, world: &World| -> Row {
            local(pod, node)?;
            Ok(Local::new(pod, node, world))
        };
        // the first epoch is 1
        if column.epoch == epoch {
            let mut changed = world.touched(column.seen).to_vec();
            changed.sort_unstable();
            changed.dedup();
            for at in changed {
                if let Some(node) = world.node_at(at) {
                    column.rows[at] = row(node, world);
                }
            }
        } else {
            column.rows = world.nodes().map(|node| row(node, world)).collect();
        }
        (column.epoch, column.seen, column.used) = (epoch, touched, self.clock);
        &column.rows
    }
}
