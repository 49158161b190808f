//! A figure of the table: what was measured, beside what, against which goal. Pure.

use serde_json::{Value, json};

/// Smallest, middle and largest of what the rounds measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The smallest.
    pub low: f64,
    /// The median.
    pub middle: f64,
    /// The largest.
    pub high: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "a spread of nothing");
        values.sort_by(f64::total_cmp);
        Self { low: values[0], middle: values[values.len() / 2], high: values[values.len() - 1] }
    }

    /// Of the ratios of rounds that ran side by side.
    pub fn ratio(ours: &[f64], theirs: &[f64]) -> Self {
        Self::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect())
    }

    fn json(self) -> Value {
        json!({"min": self.low, "median": self.middle, "max": self.high})
    }
}

/// What the numbers count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    /// Milliseconds.
    Milliseconds,
    /// Things per second, with the thing's name.
    PerSecond(&'static str),
    /// Millions of bytes.
    Megabytes,
    /// Millions of bytes per second.
    MegabytesPerSecond,
    /// Hundredths of one core.
    PercentOfCore,
    /// Bytes.
    Bytes,
    /// Thousands of bytes.
    Kilobytes,
    /// Things.
    Count,
}

impl Unit {
    fn name(self) -> String {
        match self {
            Unit::Milliseconds => "ms".into(),
            Unit::PerSecond(thing) => format!("{thing}/s"),
            Unit::Megabytes => "MB".into(),
            Unit::MegabytesPerSecond => "MB/s".into(),
            Unit::PercentOfCore => "% of a core".into(),
            Unit::Bytes => "bytes".into(),
            Unit::Kilobytes => "kB".into(),
            Unit::Count => "in all".into(),
        }
    }

    fn text(self, value: f64) -> String {
        let number = match value.abs() {
            size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
            size if size >= 10.0 => format!("{value:.1}"),
            _ => format!("{value:.2}"),
        };
        format!("{number} {}", self.name())
    }
}

/// What a figure has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Nothing: the figure is reported.
    Report,
    /// Our median stays under this.
    Below(f64),
    /// Our median reaches this.
    AtLeast(f64),
    /// The median ratio stays at or under this.
    RatioAtMost(f64),
    /// The median ratio reaches this.
    RatioAtLeast(f64),
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// Unit of both sides.
    pub unit: Unit,
    /// Our side.
    pub sampan: Spread,
    /// The other side, with its name.
    pub peer: Option<(&'static str, Spread)>,
    /// Ours over theirs, round by round.
    pub ratio: Option<Spread>,
    /// What has to be reached.
    pub goal: Goal,
}

impl Figure {
    /// A figure with no peer.
    pub fn alone(name: impl Into<String>, unit: Unit, ours: Vec<f64>, goal: Goal) -> Self {
        Self { name: name.into(), unit, sampan: Spread::of(ours), peer: None, ratio: None, goal }
    }

    /// A figure of rounds that ran side by side.
    pub fn beside(
        name: impl Into<String>,
        unit: Unit,
        ours: &[f64],
        (peer, theirs): (&'static str, &[f64]),
        goal: Goal,
    ) -> Self {
        Self {
            name: name.into(),
            unit,
            sampan: Spread::of(ours.to_vec()),
            peer: Some((peer, Spread::of(theirs.to_vec()))),
            ratio: Some(Spread::ratio(ours, theirs)),
            goal,
        }
    }

    /// Whether the goal is reached; none if there is none.
    pub fn met(&self) -> Option<bool> {
        let ratio = self.ratio.map(|ratio| ratio.middle);
        match self.goal {
            Goal::Report => None,
            Goal::Below(limit) => Some(self.sampan.middle < limit),
            Goal::AtLeast(limit) => Some(self.sampan.middle >= limit),
            Goal::RatioAtMost(limit) => Some(ratio.is_some_and(|ratio| ratio <= limit)),
            Goal::RatioAtLeast(limit) => Some(ratio.is_some_and(|ratio| ratio >= limit)),
        }
    }

    fn goal_text(&self) -> String {
        match self.goal {
            Goal::Report => "report".into(),
            Goal::Below(limit) => format!("< {}", self.unit.text(limit)),
            Goal::AtLeast(limit) => format!("≥ {}", self.unit.text(limit)),
            Goal::RatioAtMost(limit) => format!("≤ {limit}×"),
            Goal::RatioAtLeast(limit) => format!("≥ {limit}×"),
        }
    }

    /// The figure as a row of Markdown.
    pub fn row(&self) -> String {
        let spread = |spread: Spread| match spread.low == spread.high {
            true => self.unit.text(spread.middle),
            false => {
                let bounds = [spread.low, spread.high].map(|value| self.unit.text(value));
                let bare = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
                format!("{} ({}–{})", self.unit.text(spread.middle), bare(&bounds[0]), bare(&bounds[1]))
            }
        };
        let peer = self.peer.map_or("—".into(), |(name, theirs)| format!("{name}: {}", spread(theirs)));
        let ratio = self.ratio.map_or("—".into(), |ratio| {
            format!("{:.2}× ({:.2}–{:.2})", ratio.middle, ratio.low, ratio.high)
        });
        let met = match self.met() {
            None => "—",
            Some(true) => "yes",
            Some(false) => "**no**",
        };
        let (ours, goal) = (spread(self.sampan), self.goal_text());
        format!("| {} | {ours} | {peer} | {ratio} | {goal} | {met} |", self.name)
    }

    /// The figure for programs.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name, "unit": self.unit.name(), "sampan": self.sampan.json(),
            "peer": self.peer.map(|(name, theirs)| json!({"name": name, "value": theirs.json()})),
            "ratio": self.ratio.map(Spread::json), "goal": self.goal_text(), "met": self.met(),
        })
    }
}

/// The table in Markdown.
pub fn table(figures: &[Figure]) -> String {
    let head = "| figure | sampan | peer | ratio | goal | met |\n|---|---|---|---|---|---|";
    let rows = figures.iter().map(Figure::row);
    std::iter::once(head.to_owned()).chain(rows).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_median_and_bounds_of_both_sides_and_of_the_ratios() {
        let ours = [10.0, 30.0, 20.0];
        let figure = Figure::beside(
            "pod",
            Unit::Milliseconds,
            &ours,
            ("runc", &[20.0, 20.0, 20.0]),
            Goal::RatioAtMost(2.0),
        );
        let row = "| pod | 20.0 ms (10.0–30.0) | runc: 20.0 ms | 1.00× (0.50–1.50) | ≤ 2× | yes |";
        assert_eq!(figure.row(), row);
    }

    #[test]
    fn goals_look_at_the_medians() {
        let met = |goal| {
            let peer: &[f64] = &[2.0, 2.0, 2.0];
            Figure::beside("x", Unit::Bytes, &[1.0, 4.0, 100.0], ("y", peer), goal).met()
        };
        let cases = [
            (Goal::Report, None),
            (Goal::Below(4.0), Some(false)),
            (Goal::Below(4.1), Some(true)),
            (Goal::AtLeast(4.0), Some(true)),
            (Goal::AtLeast(4.1), Some(false)),
            (Goal::RatioAtMost(2.0), Some(true)),
            (Goal::RatioAtMost(1.9), Some(false)),
            (Goal::RatioAtLeast(2.0), Some(true)),
            (Goal::RatioAtLeast(2.1), Some(false)),
        ];
        for (goal, expected) in cases {
            assert_eq!(met(goal), expected, "{goal:?}");
        }
    }

    #[test]
    fn ratios_are_of_rounds_not_of_medians() {
        let ratio = Spread::ratio(&[1.0, 10.0, 100.0], &[1.0, 100.0, 100.0]);
        assert_eq!(ratio, Spread { low: 0.1, middle: 1.0, high: 1.0 });
    }
}
