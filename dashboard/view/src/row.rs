//! A row: what a list shows of one object, whatever its kind.

use serde::{Deserialize, Serialize};

/// How an object is, for its colour, its icon and `status:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It does not work and will not by itself.
    Failed,
    /// It works in part, or something about it wants to be looked at.
    Warning,
    /// It is on its way.
    Progressing,
    /// As it should be.
    Healthy,
    /// Ended, as it should.
    Done,
    /// Of a kind that has no health.
    #[default]
    None,
}

impl Health {
    /// Every one, worst first.
    pub const ALL: [Health; 6] =
        [Health::Failed, Health::Warning, Health::Progressing, Health::Healthy, Health::Done, Health::None];

    /// As `status:` and style sheets have it.
    pub fn word(self) -> &'static str {
        match self {
            Health::Failed => "failed",
            Health::Warning => "warning",
            Health::Progressing => "progressing",
            Health::Healthy => "healthy",
            Health::Done => "done",
            Health::None => "none",
        }
    }
}

/// The object that controls another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A column of a list, as the API server's Table has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// `Restarts`.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`; how it is sorted and aligned.
    pub sort: String,
    /// What it means, in English.
    pub description: String,
    /// Above 0: shown only when asked for (`kubectl -o wide`).
    pub priority: u8,
}

/// What stands in a column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    /// Nothing is known.
    #[default]
    Empty,
    /// As it is to be shown.
    Text(String),
    /// A number, and how it is written where that is not its digits (`250m`, `2 (5m ago)`).
    Number(f64, Option<String>),
    /// Seconds since 1970; shown as an age.
    Time(i64),
}

impl Cell {
    /// The text of it that a filter sees; a time has none.
    pub fn text(&self) -> String {
        match self {
            Cell::Empty | Cell::Time(_) => String::new(),
            Cell::Text(text) | Cell::Number(_, Some(text)) => text.clone(),
            Cell::Number(number, None) => plain(*number),
        }
    }
}

/// Its digits, to six places: what prints an `f64` whole would be a part of the page worth weighing.
pub(crate) fn plain(number: f64) -> String {
    const UNIT: f64 = 1e6;
    let sign = if number < 0.0 { "-" } else { "" };
    let (whole, part) = (number.abs().trunc(), (number.abs().fract() * UNIT).round() as u64);
    let whole = whole as u64 + part / UNIT as u64;
    match part % UNIT as u64 {
        0 => format!("{sign}{whole}"),
        part => format!("{sign}{whole}.{part:06}").trim_end_matches('0').to_owned(),
    }
}

/// What a list shows of one object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `metadata.uid`: what tells an object from a later one of the same name.
    pub uid: String,
    /// Empty for kinds without namespaces.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// How it is.
    pub health: Health,
    /// Why, in one of the API's words (`CrashLoopBackOff`, `Running`); empty if there is none.
    pub reason: String,
    /// The node that it runs on; empty for what runs on none.
    pub node: String,
    /// What controls it.
    pub owner: Option<Owner>,
    /// `metadata.labels`, by name.
    pub labels: Vec<(String, String)>,
    /// `metadata.creationTimestamp`, seconds since 1970.
    pub created: i64,
    /// Since when it is being deleted, seconds since 1970.
    pub deleting: Option<i64>,
    /// One for each column of the view.
    pub cells: Vec<Cell>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_their_digits() {
        for (number, text) in [
            (0.0, "0"),
            (12.0, "12"),
            (-3.0, "-3"),
            (0.25, "0.25"),
            (1.999_999_9, "2"),
            (1e15, "1000000000000000"),
        ] {
            assert_eq!(plain(number), text);
        }
    }
}
