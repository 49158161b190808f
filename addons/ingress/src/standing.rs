//! How the addon stands at its ports: sockets that are not there, and ports that lead elsewhere. Pure, apart from the
//! lock.

use parking_lot::Mutex;
use sampan_addon::{Report, Reporter};

/// A port that is not served, wholly or at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Whether it is TLS's.
    pub tls: bool,
    /// Why, naming the port and who has it.
    pub reason: String,
}

#[derive(Debug, Default)]
struct Gaps {
    /// Sockets that are missing; nothing before they have been tried.
    missing: Option<Vec<Gap>>,
    /// Ports that lead elsewhere; nothing before the objects are known.
    led: Option<Vec<Gap>>,
}

/// What is known, told on at each change once all is.
pub struct Standing {
    health: Reporter,
    /// How many sockets there should be.
    sockets: usize,
    gaps: Mutex<Gaps>,
}

impl Standing {
    /// For an addon that opens as many sockets.
    pub fn new(health: Reporter, sockets: usize) -> Self {
        Self { health, sockets, gaps: Mutex::default() }
    }

    /// The sockets that could not be opened.
    pub fn missing(&self, missing: Vec<Gap>) {
        let mut gaps = self.gaps.lock();
        gaps.missing = Some(missing);
        self.say(&gaps);
    }

    /// The ports that lead elsewhere.
    pub fn led(&self, led: Vec<Gap>) {
        let mut gaps = self.gaps.lock();
        gaps.led = Some(led);
        self.say(&gaps);
    }

    fn say(&self, gaps: &Gaps) {
        if let (Some(missing), Some(led)) = (&gaps.missing, &gaps.led) {
            self.health.set(judge(missing, led, self.sockets));
        }
    }
}

fn judge(missing: &[Gap], led: &[Gap], sockets: usize) -> Report {
    let Some(first) = missing.first().or(led.first()) else { return Report::Healthy };
    let mut reasons: Vec<_> = missing.iter().chain(led).map(|gap| gap.reason.as_str()).collect();
    reasons.dedup();
    let reason = reasons.join("; ");
    let field = if first.tls { "https.port" } else { "http.port" };
    let way = if missing.is_empty() { "give it another port" } else { "end what holds it" };
    let next = format!("{way}, or choose another here: sampan addons configure ingress --set {field}=PORT");
    match missing.len() == sockets {
        true => Report::Failed { reason, next },
        false => Report::Degraded { reason, next },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(tls: bool, reason: &str) -> Gap {
        Gap { tls, reason: reason.into() }
    }

    #[test]
    fn one_of_two_sockets_is_degraded_and_none_failed() {
        let Report::Degraded { reason, next } = judge(&[gap(true, "port 443 is taken")], &[], 2) else {
            panic!()
        };
        assert!(reason == "port 443 is taken" && next.contains("https.port"));
        let both = [gap(false, "port 80 is taken"), gap(true, "port 443 is taken")];
        let Report::Failed { reason, next } = judge(&both, &[], 2) else { panic!() };
        assert!(reason == "port 80 is taken; port 443 is taken" && next.contains("http.port"));
    }

    #[test]
    fn nothing_is_said_before_all_is_known() {
        let health = Reporter::new();
        let standing = Standing::new(health.clone(), 2);
        standing.missing(Vec::new());
        assert_eq!(health.get(), Report::Starting);
        standing.led(vec![gap(false, "port 80 at 192.0.2.1 leads to the Service default/api")]);
        let Report::Degraded { next, .. } = health.get() else { panic!("{:?}", health.get()) };
        assert!(next.starts_with("give it another port"));
        standing.led(Vec::new());
        assert_eq!(health.get(), Report::Healthy);
    }
}
