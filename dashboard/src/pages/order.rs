//! Filtering and sorting of a list: whole when the question changes, in place when some rows do.

use std::{collections::HashSet, sync::Arc};

use sampan_view::{Column, Filter, Row, order};

use crate::net::feed::Rows;

/// What decides the order; another one means to sort anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    pub filter: String,
    pub sort: String,
    pub down: bool,
}

/// A sorted, filtered list, and what it was made of.
#[derive(Default)]
pub struct Ordered {
    pub rows: Arc<Vec<Arc<Row>>>,
    question: Question,
    epoch: u32,
    generation: u64,
}

impl Ordered {
    /// Brings it up to date. A filter that does not read keeps the last good one: the caller shows what is wrong.
    pub fn follow(&mut self, live: &Rows, question: &Question, filter: &Filter) {
        let same = self.question == *question && self.epoch == live.epoch;
        let next = live.generation == self.generation + 1;
        if same && live.generation == self.generation {
            return;
        }
        let key = key(&question.sort, &live.columns);
        let order = |a: &Arc<Row>, b: &Arc<Row>| order::compare(&key, question.down, a, b);
        if same && next && live.touched.len() * 10 < live.rows.len() {
            self.mend(live, filter, order);
        } else {
            let mut rows: Vec<_> = live.rows.values().filter(|row| filter.holds(row)).cloned().collect();
            rows.sort_unstable_by(order);
            self.rows = Arc::new(rows);
        }
        self.question = question.clone();
        self.epoch = live.epoch;
        self.generation = live.generation;
    }

    /// Takes the touched rows out and puts the ones that hold in where they belong.
    fn mend(
        &mut self,
        live: &Rows,
        filter: &Filter,
        order: impl Fn(&Arc<Row>, &Arc<Row>) -> std::cmp::Ordering,
    ) {
        let touched: HashSet<&str> = live.touched.iter().map(String::as_str).collect();
        let rows = Arc::make_mut(&mut self.rows);
        rows.retain(|row| !touched.contains(row.uid.as_str()));
        for uid in touched {
            let Some(row) = live.rows.get(uid).filter(|row| filter.holds(row)) else { continue };
            let at = rows.partition_point(|own| order(own, row).is_lt());
            rows.insert(at, row.clone());
        }
    }
}

fn key(sort: &str, columns: &[Column]) -> order::Key {
    match sort {
        "" => order::Key::Name,
        "Name" => order::Key::NameOnly,
        "Namespace" => order::Key::Name,
        "Health" => order::Key::Health,
        "Age" => order::Key::Age,
        column => match columns.iter().position(|own| own.name == column) {
            Some(at) => order::Key::Column(at),
            None => order::Key::Name,
        },
    }
}
