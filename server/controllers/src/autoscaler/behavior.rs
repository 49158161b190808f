//! From what the metrics ask for to what may be done: stabilisation, rates and limits (upstream's
//! `normalizeDesiredReplicas` and `normalizeDesiredReplicasWithBehaviors`). Pure.
//!
//! An autoscaler without behaviour is one with upstream's default rules: at most the double or four more at once,
//! downwards what was the highest wish of five minutes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// How long a wish for fewer replicas has to be the highest.
const DOWN_WINDOW: i32 = 300;

/// What was wished, or by how much was scaled, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mark {
    pub at: Timestamp,
    pub replicas: i32,
}

/// What an autoscaler remembers; a restart forgets it, as upstream's does.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub wishes: Vec<Mark>,
    pub ups: Vec<Mark>,
    pub downs: Vec<Mark>,
}

/// A wish to be bounded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub current: i32,
    pub desired: i32,
    pub min: i32,
    pub max: i32,
    pub now: Timestamp,
}

type Words = (&'static str, &'static str);

/// What becomes of a wish, and what the conditions AbleToScale and ScalingLimited say of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounded {
    pub replicas: i32,
    pub able: Words,
    pub limited: (bool, Words),
}

const READY: Words = ("ReadyForNewScale", "recommended size matches current size");
const HIGHER: Words = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const LOWER: Words = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const IN_RANGE: Words = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FEW: Words = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const TOO_MANY: Words =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const UP_LIMIT: Words =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Words =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");

fn seconds(number: i32) -> Duration {
    Duration::from_secs(number.max(0).unsigned_abs().into())
}

fn since(marks: &[Mark], window: Duration, now: Timestamp) -> impl Iterator<Item = i32> {
    marks.iter().filter(move |mark| mark.at > now - window).map(|mark| mark.replicas)
}

impl Memory {
    /// Notes a wish and forgets what nothing asks for any more.
    pub fn wish(&mut self, at: Timestamp, replicas: i32, behavior: Option<&HorizontalPodAutoscalerBehavior>) {
        let window = |rules: Option<&HPAScalingRules>| rules.and_then(|r| r.stabilization_window_seconds);
        let up = window(behavior.and_then(|b| b.scale_up.as_ref())).unwrap_or(0);
        let down = window(behavior.and_then(|b| b.scale_down.as_ref())).unwrap_or(DOWN_WINDOW);
        let longest = seconds(up.max(down));
        self.wishes.retain(|mark| mark.at > at - longest);
        self.wishes.push(Mark { at, replicas });
    }

    /// Notes what was done; policies look back half an hour at most.
    pub fn scaled(&mut self, at: Timestamp, before: i32, after: i32) {
        let (marks, replicas) =
            if after > before { (&mut self.ups, after - before) } else { (&mut self.downs, before - after) };
        marks.retain(|mark| mark.at > at - Duration::from_secs(1800));
        marks.push(Mark { at, replicas });
    }
}

/// Bounds a wish. `memory` holds the wishes before this one.
pub(super) fn bound(
    wish: Wish,
    behavior: Option<&HorizontalPodAutoscalerBehavior>,
    memory: &Memory,
) -> Bounded {
    let stable = stabilized(wish, behavior, memory);
    let able = match stable.cmp(&wish.desired) {
        std::cmp::Ordering::Equal => READY,
        std::cmp::Ordering::Less => LOWER,
        std::cmp::Ordering::Greater => HIGHER,
    };
    let wish = Wish { desired: stable, ..wish };
    let (replicas, words) = match behavior {
        Some(behavior) => by_rules(wish, behavior, memory),
        None => by_default(wish),
    };
    Bounded { replicas, able, limited: (replicas != stable, words) }
}

fn stabilized(wish: Wish, behavior: Option<&HorizontalPodAutoscalerBehavior>, memory: &Memory) -> i32 {
    let window = |rules: Option<&HPAScalingRules>| rules.and_then(|rules| rules.stabilization_window_seconds);
    let up = behavior.and_then(|b| window(b.scale_up.as_ref())).unwrap_or(0);
    let down = behavior.and_then(|b| window(b.scale_down.as_ref())).unwrap_or(DOWN_WINDOW);
    let lowest = since(&memory.wishes, seconds(up), wish.now).fold(wish.desired, i32::min);
    let highest = since(&memory.wishes, seconds(down), wish.now).fold(wish.desired, i32::max);
    match behavior {
        Some(_) => wish.current.max(lowest).min(highest),
        None => highest,
    }
}

fn by_default(wish: Wish) -> (i32, Words) {
    let limit = wish.current.saturating_mul(2).max(4);
    let (most, words) = if wish.max > limit { (limit, UP_LIMIT) } else { (wish.max, TOO_MANY) };
    match wish.desired {
        desired if desired < wish.min => (wish.min, TOO_FEW),
        desired if desired > most => (most, words),
        desired => (desired, IN_RANGE),
    }
}

fn by_rules(wish: Wish, behavior: &HorizontalPodAutoscalerBehavior, memory: &Memory) -> (i32, Words) {
    if wish.desired > wish.current {
        let limit = up_limit(wish, behavior.scale_up.as_ref(), memory).max(wish.current);
        let (most, words) = if wish.max > limit { (limit, UP_LIMIT) } else { (wish.max, TOO_MANY) };
        if wish.desired > most {
            return (most, words);
        }
    } else if wish.desired < wish.current {
        let limit = down_limit(wish, behavior.scale_down.as_ref(), memory).min(wish.current);
        let (least, words) = if wish.min < limit { (limit, DOWN_LIMIT) } else { (wish.min, TOO_FEW) };
        if wish.desired < least {
            return (least, words);
        }
    }
    (wish.desired, IN_RANGE)
}

/// The policies of a rule, as (type, value, period); upstream's where there are none.
fn policies(rules: Option<&HPAScalingRules>, default: &[(&str, i32)]) -> Vec<(String, i32, Duration)> {
    let given = rules.and_then(|rules| rules.policies.as_deref()).unwrap_or_default();
    if given.is_empty() {
        return default.iter().map(|(kind, value)| ((*kind).to_owned(), *value, seconds(15))).collect();
    }
    given.iter().map(|policy| (policy.type_.clone(), policy.value, seconds(policy.period_seconds))).collect()
}

fn choice(rules: Option<&HPAScalingRules>) -> &str {
    rules.and_then(|rules| rules.select_policy.as_deref()).unwrap_or("Max")
}

/// Where a policy's period began.
fn began(wish: Wish, memory: &Memory, period: Duration) -> i32 {
    let (ups, downs) = (since(&memory.ups, period, wish.now), since(&memory.downs, period, wish.now));
    wish.current - ups.sum::<i32>() + downs.sum::<i32>()
}

#[allow(clippy::cast_possible_truncation)]
fn up_limit(wish: Wish, rules: Option<&HPAScalingRules>, memory: &Memory) -> i32 {
    let limits =
        policies(rules, &[("Pods", 4), ("Percent", 100)]).into_iter().map(|(kind, value, period)| {
            let start = began(wish, memory, period);
            match kind.as_str() {
                "Pods" => start.saturating_add(value),
                _ => (f64::from(start) * (1.0 + f64::from(value) / 100.0)).ceil() as i32,
            }
        });
    match choice(rules) {
        "Disabled" => wish.current,
        "Min" => limits.min().unwrap_or(wish.current),
        _ => limits.max().unwrap_or(wish.current),
    }
}

#[allow(clippy::cast_possible_truncation)]
fn down_limit(wish: Wish, rules: Option<&HPAScalingRules>, memory: &Memory) -> i32 {
    let limits = policies(rules, &[("Percent", 100)]).into_iter().map(|(kind, value, period)| {
        let start = began(wish, memory, period);
        match kind.as_str() {
            "Pods" => start.saturating_sub(value),
            _ => (f64::from(start) * (1.0 - f64::from(value) / 100.0)) as i32,
        }
    });
    match choice(rules) {
        "Disabled" => wish.current,
        "Min" => limits.max().unwrap_or(wish.current),
        _ => limits.min().unwrap_or(wish.current),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn wish(current: i32, desired: i32) -> Wish {
        Wish { current, desired, min: 2, max: 20, now: now() }
    }

    fn ago(seconds: u64, replicas: i32) -> Mark {
        Mark { at: now() - Duration::from_secs(seconds), replicas }
    }

    #[test]
    fn without_behaviour() {
        let cases = [
            (wish(5, 5), vec![], 5, READY, false, IN_RANGE),
            (wish(5, 15), vec![], 10, READY, true, UP_LIMIT),
            (wish(1, 9), vec![], 4, READY, true, UP_LIMIT),
            (wish(15, 40), vec![], 20, READY, true, TOO_MANY),
            (wish(5, 1), vec![], 2, READY, true, TOO_FEW),
            (wish(9, 3), vec![ago(299, 8), ago(301, 9)], 8, HIGHER, false, IN_RANGE),
        ];
        for (wish, wishes, replicas, able, limited, words) in cases {
            let memory = Memory { wishes, ..Memory::default() };
            let bounded = bound(wish, None, &memory);
            assert_eq!(bounded, Bounded { replicas, able, limited: (limited, words) }, "{wish:?}");
        }
    }

    #[test]
    fn with_rules() {
        let one = |rule: Value| json!({"scaleUp": rule, "scaleDown": rule});
        let pods = one(
            json!({"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}], "stabilizationWindowSeconds": 0}),
        );
        let both = |select: &str| {
            let policies = json!([{"type": "Pods", "value": 1, "periodSeconds": 60}, {"type": "Percent", "value": 50, "periodSeconds": 60}]);
            one(json!({"policies": policies, "selectPolicy": select, "stabilizationWindowSeconds": 0}))
        };
        let window = one(json!({"stabilizationWindowSeconds": 60}));
        let cases = [
            (pods.clone(), wish(5, 15), Memory::default(), 7, UP_LIMIT),
            (pods.clone(), wish(5, 15), Memory { ups: vec![ago(30, 2)], ..Memory::default() }, 5, UP_LIMIT),
            (pods.clone(), wish(5, 15), Memory { ups: vec![ago(90, 2)], ..Memory::default() }, 7, UP_LIMIT),
            (pods, wish(9, 3), Memory::default(), 7, DOWN_LIMIT),
            (both("Max"), wish(8, 20), Memory::default(), 12, UP_LIMIT),
            (both("Min"), wish(8, 20), Memory::default(), 9, UP_LIMIT),
            (both("Disabled"), wish(8, 20), Memory::default(), 8, UP_LIMIT),
            (both("Max"), wish(8, 2), Memory::default(), 4, DOWN_LIMIT),
            (both("Min"), wish(8, 2), Memory::default(), 7, DOWN_LIMIT),
            (both("Disabled"), wish(8, 2), Memory::default(), 8, DOWN_LIMIT),
            (
                window.clone(),
                wish(5, 8),
                Memory { wishes: vec![ago(30, 6)], ..Memory::default() },
                6,
                IN_RANGE,
            ),
            (window, wish(5, 3), Memory { wishes: vec![ago(30, 4)], ..Memory::default() }, 4, IN_RANGE),
            (json!({}), wish(5, 30), Memory::default(), 10, UP_LIMIT),
            (json!({}), wish(15, 30), Memory::default(), 20, TOO_MANY),
        ];
        for (behavior, wish, memory, replicas, words) in cases {
            let rules = serde_json::from_value(behavior.clone()).unwrap();
            let bounded = bound(wish, Some(&rules), &memory);
            assert_eq!((bounded.replicas, bounded.limited.1), (replicas, words), "{behavior} {wish:?}");
        }
    }

    #[test]
    fn memory_is_short() {
        let mut memory = Memory { wishes: vec![ago(400, 9), ago(100, 8)], ..Memory::default() };
        memory.wish(now(), 7, None);
        assert_eq!(memory.wishes, [ago(100, 8), ago(0, 7)]);
        memory.scaled(now(), 3, 5);
        memory.scaled(now(), 5, 4);
        assert_eq!((memory.ups, memory.downs), (vec![ago(0, 2)], vec![ago(0, 1)]));
    }
}
