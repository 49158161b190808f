//! What was used over the last minutes, as a line. The metrics addon keeps the readings; here they are added up for the
//! pods of a workload and laid out in a box.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::Value;

use crate::quantity::fixed;

/// Readings, oldest first; none where there was none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// Seconds since 1970.
    pub times: Vec<i64>,
    pub cpu: Vec<Option<f64>>,
    pub memory: Vec<Option<f64>>,
}

/// The sum of all that a list of `PodHistory` or `NodeHistory` has.
pub fn sum(list: &Value) -> Past {
    added(list["items"].as_array().into_iter().flatten())
}

/// Each of such a list, by name.
pub fn each(list: &Value) -> BTreeMap<String, Past> {
    let named = |item: &Value| Some((item["metadata"]["name"].as_str()?.to_owned(), added([item])));
    list["items"].as_array().into_iter().flatten().filter_map(named).collect()
}

fn added<'a>(items: impl IntoIterator<Item = &'a Value>) -> Past {
    let mut all = BTreeMap::<i64, (Option<f64>, Option<f64>)>::new();
    for item in items {
        for (at, time) in item["timestamps"].as_array().into_iter().flatten().enumerate() {
            let Some(time) = time.as_i64() else { continue };
            let (cpu, memory) = all.entry(time).or_default();
            add(cpu, item["cpuCores"][at].as_f64());
            add(memory, item["memoryBytes"][at].as_f64());
        }
    }
    Past {
        times: all.keys().copied().collect(),
        cpu: all.values().map(|(cpu, _)| *cpu).collect(),
        memory: all.values().map(|(_, memory)| *memory).collect(),
    }
}

fn add(sum: &mut Option<f64>, value: Option<f64>) {
    if let Some(value) = value {
        *sum = Some(sum.unwrap_or_default() + value);
    }
}

/// The last reading and the highest.
pub fn marks(values: &[Option<f64>]) -> Option<(f64, f64)> {
    let known = || values.iter().copied().flatten();
    Some((known().next_back()?, known().fold(0.0, f64::max)))
}

/// The line of the readings in a box, as an SVG path; a gap ends it, and a lone reading is a short stroke. The highest
/// reading (or `top`, if that is more) touches the upper edge.
pub fn line(times: &[i64], values: &[Option<f64>], wide: f64, high: f64) -> String {
    let (first, last) =
        (times.first().copied().unwrap_or_default(), times.last().copied().unwrap_or_default());
    let span = (last - first).max(1) as f64;
    let most = values.iter().copied().flatten().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let mut path = String::new();
    let mut before = None::<f64>;
    for (time, value) in times.iter().zip(values) {
        let Some(value) = value else {
            before = None;
            continue;
        };
        let x = tenth((time - first) as f64 / span * wide);
        let y = tenth(high - value / most * high);
        let verb = if before.is_some() { "L" } else { "M" };
        let _ = write!(path, "{verb}{x} {y}");
        if before.is_none() {
            path.push_str("h.5");
        }
        before = Some(*value);
    }
    path
}

/// Drawn no finer than this.
fn tenth(number: f64) -> String {
    let text = fixed(number, 1);
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn readings_of_one_time_are_added_and_gaps_stay() {
        let one = json!({"metadata": {"name": "a"}, "timestamps": [10, 20, 30], "cpuCores": [0.5, null, 1.0], "memoryBytes": [1, 2, 3]});
        let other = json!({"timestamps": [20, 30], "cpuCores": [null, 2.0], "memoryBytes": [10, null]});
        assert_eq!(each(&json!({"items": [one]}))["a"].cpu, [Some(0.5), None, Some(1.0)]);
        let past = sum(&json!({"items": [one, other]}));
        assert_eq!(past.times, [10, 20, 30]);
        assert_eq!(past.cpu, [Some(0.5), None, Some(3.0)]);
        assert_eq!(past.memory, [Some(1.0), Some(12.0), Some(3.0)]);
        assert_eq!(sum(&json!({"items": []})), Past::default());
    }

    #[test]
    fn the_last_and_the_highest_are_told() {
        for (values, wanted) in [
            (vec![Some(1.0), Some(4.0), Some(2.0), None], Some((2.0, 4.0))),
            (vec![None], None),
            (vec![], None),
        ] {
            assert_eq!(marks(&values), wanted);
        }
    }

    #[test]
    fn lines_fill_their_box() {
        for (times, values, wanted) in [
            (vec![0, 10, 20], vec![Some(0.0), Some(2.0), Some(1.0)], "M0 40h.5L50 0L100 20"),
            (vec![0, 10, 20], vec![Some(2.0), None, Some(1.0)], "M0 0h.5M100 20h.5"),
            (vec![7], vec![Some(0.0)], "M0 40h.5"),
            (vec![], vec![], ""),
        ] {
            assert_eq!(line(&times, &values, 100.0, 40.0), wanted);
        }
    }
}
