//! Which workloads are open in a browser: each a name of its own below `localhost`, so that their pages share an origin
//! neither with the dashboard nor with each other. In memory: after a restart they are opened anew.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::server::Asker;

/// How long a ticket waits to be used.
const TICKET_LIFE: Duration = Duration::from_secs(60);
/// Open at once; the ones opened longest ago go.
const PLACES: usize = 256;
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Letters of a name: 130 bits.
const NAME: usize = 26;

/// An open workload.
#[derive(Clone)]
pub struct Place {
    /// The first label of its host.
    pub name: String,
    /// Who opened it.
    pub asker: Asker,
    /// Its path at the API server, up to and with `/proxy`.
    pub target: String,
    /// What its cookie says.
    secret: String,
    ticket: Option<(String, Instant)>,
}

/// All of them, the oldest first.
#[derive(Default)]
pub struct Places(Mutex<Vec<Place>>);

impl Places {
    /// A name and a one-time ticket for a workload. Who opens one again comes to the same place.
    pub fn open(&self, asker: Asker, target: String) -> (String, String) {
        let mut all = self.0.lock();
        let known = all.iter().position(|place| place.target == target && place.asker.is(&asker));
        let mut place = match known {
            Some(at) => all.remove(at),
            None => Place { name: random(), asker, target, secret: random(), ticket: None },
        };
        let ticket = random();
        place.ticket = Some((ticket.clone(), Instant::now()));
        let name = place.name.clone();
        if all.len() >= PLACES {
            all.remove(0);
        }
        all.push(place);
        (name, ticket)
    }

    /// The cookie of a place for its ticket, which is used up by it.
    pub fn redeem(&self, name: &str, ticket: &str) -> Option<String> {
        let mut all = self.0.lock();
        let place = all.iter_mut().find(|place| place.name == name)?;
        let (own, made) = place.ticket.take()?;
        (own == ticket && made.elapsed() < TICKET_LIFE).then(|| place.secret.clone())
    }

    /// The place of a name, for who has its cookie.
    pub fn enter(&self, name: &str, secret: &str) -> Option<Place> {
        let all = self.0.lock();
        let place = all.iter().find(|place| place.name == name)?;
        let same = ring::digest::digest(&ring::digest::SHA256, place.secret.as_bytes()).as_ref()
            == ring::digest::digest(&ring::digest::SHA256, secret.as_bytes()).as_ref();
        same.then(|| place.clone())
    }
}

/// The name in a host such as `NAME.localhost:6480`.
pub fn name(host: &str, port: u16) -> Option<&str> {
    let name = host.strip_suffix(&format!(".localhost:{port}"))?;
    (name.len() == NAME && name.bytes().all(|byte| LETTERS.contains(&byte))).then_some(name)
}

fn random() -> String {
    let bytes: [u8; NAME] = rand::random();
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::User;

    fn asker(name: &str) -> Asker {
        let user = User { name: name.to_owned(), ..User::default() };
        Asker { user, session: None, token: Some(name.to_owned()) }
    }

    #[test]
    fn a_place_is_entered_by_its_ticket_once_and_by_its_cookie() {
        let places = Places::default();
        let (name, ticket) = places.open(asker("ann"), "/a".to_owned());
        assert_eq!(places.redeem(&name, "x"), None);
        let (again, ticket_two) = places.open(asker("ann"), "/a".to_owned());
        assert_eq!(again, name);
        assert_eq!(places.redeem(&name, &ticket), None, "a newer ticket took its place");
        assert_eq!(places.redeem(&name, &ticket_two), None, "it was used up by the wrong guess");
        let (_, ticket) = places.open(asker("ann"), "/a".to_owned());
        let secret = places.redeem(&name, &ticket).unwrap_or_default();
        assert!(places.enter(&name, &secret).is_some() && places.enter(&name, "").is_none());
        let (other, _) = places.open(asker("bob"), "/a".to_owned());
        assert_ne!(other, name);
        assert!(places.enter(&other, &secret).is_none());
    }

    #[test]
    fn places_are_bounded() {
        let places = Places::default();
        let (first, ticket) = places.open(asker("ann"), "/first".to_owned());
        (0..PLACES).for_each(|at| drop(places.open(asker("ann"), format!("/{at}"))));
        assert_eq!(places.redeem(&first, &ticket), None);
        assert_eq!(places.0.lock().len(), PLACES);
    }

    #[test]
    fn names_are_ours() {
        let own = "abcdefghijklmnopqrstuvwxyz";
        assert_eq!(name(&format!("{own}.localhost:6480"), 6480), Some(own));
        for host in [
            "localhost:6480",
            "a.localhost:6480",
            &format!("{own}.localhost:1"),
            &format!("{own}.evil.example:6480"),
        ] {
            assert_eq!(name(host, 6480), None, "{host}");
        }
    }
}
