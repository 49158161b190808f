//! A short history of nodes and pods in memory, for charts. Pure.
//!
//! Each round of readings is one column: a time, and a pair of `f32` for each series, aligned to the newest end. That is
//! 480 bytes for a pod and a quarter of an hour.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use crate::store::PodKey;

/// Most series: pods beyond it have no history.
const SERIES_MAX: usize = 5000;

/// What a series is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A node.
    Node(String),
    /// A pod.
    Pod(PodKey),
}

/// CPU in cores and memory in bytes; NaN where a round had none.
type Pair = [f32; 2];

/// One column per round, oldest first.
#[derive(Debug)]
pub struct History {
    rounds: usize,
    times: VecDeque<Timestamp>,
    series: HashMap<Subject, VecDeque<Pair>>,
}

/// A series with its times, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// When each was taken.
    pub times: Vec<Timestamp>,
    /// Cores in use; `None` where it is not known.
    pub cpu_cores: Vec<Option<f32>>,
    /// Bytes of the working set.
    pub memory_bytes: Vec<Option<f32>>,
}

impl History {
    /// Keeps so many rounds.
    pub fn new(rounds: usize) -> Self {
        Self { rounds: rounds.max(1), times: VecDeque::new(), series: HashMap::new() }
    }

    /// Adds a round. A series that it has nothing for goes on with a hole while `lives` holds, and goes otherwise.
    pub fn add(&mut self, at: Timestamp, round: HashMap<Subject, Pair>, lives: impl Fn(&Subject) -> bool) {
        self.times.push_back(at);
        if self.times.len() > self.rounds {
            self.times.pop_front();
        }
        let room = self.times.len();
        let mut round = round;
        self.series.retain(|subject, values| {
            let value = round.remove(subject);
            values.push_back(value.unwrap_or([f32::NAN; 2]));
            if values.len() > room {
                values.pop_front();
            }
            value.is_some() || lives(subject)
        });
        for (subject, value) in round {
            if self.series.len() < SERIES_MAX {
                self.series.insert(subject, VecDeque::from([value]));
            }
        }
    }

    /// The series of a subject.
    pub fn of(&self, subject: &Subject) -> Option<Series> {
        let values = self.series.get(subject)?;
        let from = self.times.len().saturating_sub(values.len());
        let known = |value: f32| Some(value).filter(|value| !value.is_nan());
        Some(Series {
            times: self.times.range(from..).copied().collect(),
            cpu_cores: values.iter().map(|value| known(value[0])).collect(),
            memory_bytes: values.iter().map(|value| known(value[1])).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::testing::time;

    #[test]
    fn rounds_are_bounded_and_series_end_with_their_pods() {
        let mut history = History::new(3);
        let (node, pod) = (Subject::Node("n".into()), Subject::Pod(("a".into(), "p".into())));
        let round = |pairs: &[(&Subject, f32)]| -> HashMap<Subject, Pair> {
            pairs.iter().map(|(subject, value)| ((*subject).clone(), [*value, *value * 10.0])).collect()
        };
        history.add(time(0), round(&[(&node, 1.0)]), |_| true);
        history.add(time(1), round(&[(&node, 2.0), (&pod, 7.0)]), |_| true);
        history.add(time(2), round(&[(&node, 3.0)]), |_| true);
        history.add(time(3), round(&[(&node, 4.0), (&pod, 8.0)]), |_| true);
        let series = history.of(&node).unwrap();
        assert_eq!(series.times, [time(1), time(2), time(3)]);
        assert_eq!(series.memory_bytes, [Some(20.0), Some(30.0), Some(40.0)]);
        let series = history.of(&pod).unwrap();
        assert_eq!((series.times.len(), series.cpu_cores), (3, vec![Some(7.0), None, Some(8.0)]));
        history.add(time(4), round(&[(&node, 5.0)]), |subject| *subject == node);
        assert_eq!(history.of(&pod), None);
        assert_eq!(history.series.len(), 1);
    }
}
