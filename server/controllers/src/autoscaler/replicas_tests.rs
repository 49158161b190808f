//! Cases of what metrics ask for.

#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

/// A pod that requests 1000m; `r` ready, `p` pending, `f` failed, `m` ready without metrics, `u` never ready.
fn pod(number: usize, letter: char) -> Arc<Pod> {
    let phase = match letter {
        'p' => "Pending",
        'f' => "Failed",
        _ => "Running",
    };
    let (ready, since) = if letter == 'u' { ("False", "00:00:10") } else { ("True", "00:10:00") };
    let ready =
        json!({"type": "Ready", "status": ready, "lastTransitionTime": format!("2026-01-01T{since}Z")});
    let container = json!({"name": "c", "resources": {"requests": {"cpu": "1"}}});
    Arc::new(
        serde_json::from_value(json!({
        "metadata": {"name": format!("p{number}")}, "spec": {"containers": [container]},
        "status": {"phase": phase, "startTime": "2026-01-01T00:00:00Z", "conditions": [ready]}}))
        .unwrap(),
    )
}

fn ask(letters: &str, milli: &[i64], target: Target, current: i32) -> Result<Proposal, String> {
    let pods: Vec<_> = letters.chars().enumerate().map(|(i, letter)| pod(i, letter)).collect();
    let window = Duration::from_secs(60);
    let measured = letters.chars().enumerate().filter(|(_, letter)| !matches!(letter, 'm' | 'p'));
    let samples = measured
        .zip(milli)
        .map(|((i, _), milli)| (format!("p{i}"), Sample { milli: *milli, at: now(), window }));
    let question = Question {
        pods: &pods,
        samples: &samples.collect(),
        resource: "cpu",
        container: None,
        target,
        current,
        tolerance: Tolerance { down: 0.1, up: 0.1 },
        now: now(),
    };
    propose(&question)
}

#[test]
fn ratios_become_replicas() {
    let half = Target::Utilization(50);
    let cases: [(&str, &[i64], Target, i32, i32); 13] = [
        ("rrr", &[500, 500, 500], half, 3, 3),
        ("rrr", &[540, 540, 540], half, 3, 3),
        ("rrr", &[1000, 1000, 1000], half, 3, 6),
        ("rrr", &[200, 200, 200], half, 3, 2),
        ("r", &[20], half, 1, 1),
        // what has no metrics is taken to be against the change
        ("rrm", &[1000, 1000], half, 3, 4),
        ("rrm", &[600, 600], half, 3, 3),
        ("rrm", &[100, 100], half, 3, 3),
        // what is not ready uses nothing when more are asked for, and is left out otherwise
        ("rrp", &[1000, 1000], half, 3, 4),
        ("rru", &[1000, 1000, 1000], half, 3, 4),
        ("rrf", &[100, 100, 100], half, 3, 1),
        ("rr", &[300, 300], Target::Average(100), 2, 6),
        ("rr", &[50, 50], Target::Average(100), 2, 1),
    ];
    for (letters, milli, target, current, expected) in cases {
        let proposal = ask(letters, milli, target, current).unwrap();
        assert_eq!(proposal.replicas, expected, "{letters} {milli:?} {target:?}");
    }
    let proposal = ask("rr", &[300, 500], half, 2).unwrap();
    assert_eq!((proposal.average_milli, proposal.utilization), (400, Some(40)));
}

#[test]
fn what_cannot_be_said() {
    let half = Target::Utilization(50);
    let cases: [(&str, &[i64], &str); 3] = [
        ("", &[], "no pods returned by selector while calculating replica count"),
        ("u", &[100], "did not receive metrics for targeted pods (pods might be unready)"),
        ("m", &[], "did not receive metrics for targeted pods (pods might be unready)"),
    ];
    for (letters, milli, expected) in cases {
        assert_eq!(ask(letters, milli, half, 1).unwrap_err(), expected, "{letters}");
    }
    let mut bare = (*pod(0, 'r')).clone();
    bare.spec.as_mut().unwrap().containers[0].resources = None;
    assert_eq!(request(&bare, "cpu", None).unwrap_err(), "missing request for cpu in container c of Pod p0");
    assert_eq!(request(&bare, "cpu", Some("other")).unwrap_err(), "container other not found in Pod p0");
    let whole = |fields: serde_json::Value| {
        let mut pod = (*pod(0, 'r')).clone();
        pod.spec.as_mut().unwrap().resources =
            Some(serde_json::from_value(json!({"requests": fields})).unwrap());
        pod
    };
    assert_eq!(request(&whole(json!({"cpu": "3"})), "cpu", None).unwrap(), 3000);
    assert_eq!(request(&whole(json!({"cpu": "3"})), "cpu", Some("c")).unwrap(), 1000);
    assert_eq!(request(&whole(json!({"memory": "1Gi"})), "cpu", None).unwrap(), 1000);
    assert_eq!(
        request(&whole(json!({"cpu": "3"})), "memory", None).unwrap_err(),
        "missing pod-level request for memory in Pod p0"
    );
}

#[test]
fn a_custom_metric_knows_no_beginning_of_pods() {
    // `u` never was ready: its CPU would not count
    let pods = [pod(0, 'r'), pod(1, 'u')];
    let one = |milli| Sample { milli, at: now(), window: Duration::from_secs(60) };
    let samples = [("p0".to_owned(), one(300)), ("p1".to_owned(), one(100))].into();
    let mut question = Question {
        pods: &pods,
        samples: &samples,
        resource: "",
        container: None,
        target: Target::Average(100),
        current: 2,
        tolerance: Tolerance { down: 0.1, up: 0.1 },
        now: now(),
    };
    let proposal = propose(&question).unwrap();
    assert_eq!((proposal.replicas, proposal.average_milli, proposal.utilization), (4, 200, None));
    question.resource = "cpu";
    assert_eq!(propose(&question).unwrap().average_milli, 300);
}

#[test]
fn one_value_for_all_pods() {
    let tolerance = Tolerance { down: 0.1, up: 0.1 };
    let pods = |letters: &str| letters.chars().enumerate().map(|(i, c)| pod(i, c)).collect::<Vec<_>>();
    for (used, target, current, letters, expected) in [
        (2000, 1000, 3, "rrr", 6),
        (1100, 1000, 3, "rrr", 3),
        (500, 1000, 4, "rrrr", 2),
        // what is not ready does not multiply
        (2000, 1000, 3, "rru", 4),
        // from zero: as many as the value is targets
        (2500, 1000, 0, "", 3),
        (0, 1000, 0, "", 0),
    ] {
        let replicas = by_value(used, target, current, &pods(letters), tolerance);
        assert_eq!(replicas.unwrap(), expected, "{used}/{target} {letters}");
    }
    assert_eq!(
        by_value(2000, 1000, 1, &[], tolerance).unwrap_err(),
        "unable to calculate ready pods: no pods returned by selector while calculating replica count"
    );
    for (used, target, has, expected) in [
        (9000, 3000, 1, (3, 9000)),
        (9000, 3000, 3, (3, 3000)),
        (9800, 3000, 3, (3, 3267)),
        (1000, 3000, 4, (1, 250)),
        (7000, 3000, 0, (3, i64::MAX)),
    ] {
        assert_eq!(by_share(used, target, has, tolerance), expected, "{used}/{target} of {has}");
    }
}
