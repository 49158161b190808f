//! What the upstreams' states come to, in words for the person who has to do something. Pure.

use sampan_addon::Report;

/// What is known of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Answers,
    /// What is sent there comes back.
    Loops,
    /// It does not answer, and why.
    Silent(String),
}

/// The servers of one zone, by address; the zone of everything else is `None`.
pub struct Seen {
    /// The zone.
    pub zone: Option<String>,
    /// The servers.
    pub servers: Vec<(String, State)>,
}

const OTHERS: &str = "name other resolvers: sampan addons configure dns --set";

/// How forwarding is. `listed` says why no server is known, if that is so.
pub fn judge(all: &[Seen], listed: Option<&str>, server: &str) -> Report {
    let degraded = |reason: String, next: String| Report::Degraded { reason, next };
    for seen in all {
        let looping: Vec<&str> =
            of(seen, |state| *state == State::Loops).map(|(address, _)| address).collect();
        if !looping.is_empty() {
            let reason = format!(
                "questions{} that are sent to {} come back to this server, so that forwarding there is refused",
                about(seen),
                looping.join(" and ")
            );
            return degraded(reason, format!("let it not ask {server}, or {}", other(seen)));
        }
    }
    for seen in all {
        if seen.servers.is_empty() {
            let reason = listed.unwrap_or("no resolver is named").to_owned();
            return degraded(format!("{reason}: only names of the cluster are answered"), other(seen));
        }
        let silent: Vec<String> = of(seen, |state| matches!(state, State::Silent(_)))
            .map(|(address, state)| match state {
                State::Silent(why) => format!("{address}: {why}"),
                State::Answers | State::Loops => address.to_owned(),
            })
            .collect();
        if silent.len() == seen.servers.len() {
            let reason = format!("no resolver answers{} ({})", about(seen), silent.join("; "));
            return degraded(reason, format!("check the host's network, or {}", other(seen)));
        }
    }
    Report::Healthy
}

fn of<'a>(seen: &'a Seen, which: impl Fn(&State) -> bool + 'a) -> impl Iterator<Item = (&'a str, &'a State)> {
    seen.servers
        .iter()
        .filter(move |(_, state)| which(state))
        .map(|(address, state)| (address.as_str(), state))
}

fn about(seen: &Seen) -> String {
    seen.zone.as_ref().map(|zone| format!(" about {zone}")).unwrap_or_default()
}

fn other(seen: &Seen) -> String {
    match &seen.zone {
        None => format!("{OTHERS} 'upstreams[0]=ADDRESS'"),
        Some(zone) => format!("{OTHERS} 'stubZones={{\"{zone}\":[\"ADDRESS\"]}}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_what_is_wrong_and_what_to_do() {
        let server = |address: &str, state: State| (address.to_owned(), state);
        let seen = |zone: Option<&str>, servers| Seen { zone: zone.map(str::to_owned), servers };
        let silent = || State::Silent("connection refused".into());
        let cases = [
            (vec![seen(None, vec![server("a:53", State::Answers)])], None),
            (vec![seen(None, vec![server("a:53", State::Answers), server("b:53", silent())])], None),
            (
                vec![seen(None, vec![server("a:53", silent())])],
                Some(("no resolver answers (a:53: connection refused)", "check the host's network")),
            ),
            (
                vec![seen(Some("x.y"), vec![server("a:53", silent())]), seen(None, vec![])],
                Some(("no resolver answers about x.y (", "'stubZones={\"x.y\":[\"ADDRESS\"]}'")),
            ),
            (
                vec![seen(None, vec![])],
                Some(("the file names none: only names of the cluster", "--set 'upstreams[0]=ADDRESS'")),
            ),
            (
                vec![seen(None, vec![server("a:53", State::Loops), server("b:53", State::Answers)])],
                Some(("sent to a:53 come back", "let it not ask 10.96.0.10")),
            ),
        ];
        for (all, wanted) in cases {
            match (judge(&all, Some("the file names none"), "10.96.0.10"), wanted) {
                (Report::Healthy, None) => {}
                (Report::Degraded { reason, next }, Some((why, what))) => {
                    assert!(reason.contains(why) && next.contains(what), "{reason} / {next}");
                }
                (report, wanted) => panic!("{report:?} instead of {wanted:?}"),
            }
        }
    }
}
