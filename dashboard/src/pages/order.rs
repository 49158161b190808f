//! A list in its order, following what the feed tells.

use std::{ops::Deref, sync::Arc};

use sampan_view::{Column, Filter, Ordered, order::Key};

use crate::net::feed::Rows;

/// What is filtered and sorted by.
pub struct Question<'a> {
    pub filter: &'a Filter,
    pub sort: &'a str,
    pub down: bool,
}

/// A sorted, filtered list, and what it was made of.
#[derive(Default)]
pub struct Following {
    ordered: Ordered,
    epoch: u32,
    generation: u64,
}

impl Deref for Following {
    type Target = Ordered;

    fn deref(&self) -> &Ordered {
        &self.ordered
    }
}

impl Following {
    /// Brings it up to date.
    pub fn follow(&mut self, live: &Rows, question: &Question) {
        if (self.epoch, self.generation) != (live.epoch, live.generation) {
            let next = self.epoch == live.epoch && self.generation + 1 == live.generation;
            if !(next && self.change(live)) {
                self.ordered.reset(live.rows.values().cloned().collect());
            }
            (self.epoch, self.generation) = (live.epoch, live.generation);
        }
        self.ordered.ask(question.filter, key(question.sort, &live.columns), question.down);
    }

    /// Takes what the last frame changed, if that is less work than all.
    fn change(&mut self, live: &Rows) -> bool {
        let changed =
            |(uid, before): (&String, &Option<Arc<_>>)| (before.clone(), live.rows.get(uid).cloned());
        live.touched.len() * 4 < live.rows.len()
            && self.ordered.change(live.touched.iter().map(changed).collect())
    }
}

fn key(sort: &str, columns: &[Column]) -> Key {
    match sort {
        "" | "Namespace" => Key::Name,
        "Name" => Key::NameOnly,
        "Health" => Key::Health,
        "Age" => Key::Age,
        column => columns.iter().position(|own| own.name == column).map_or(Key::Name, Key::Column),
    }
}
