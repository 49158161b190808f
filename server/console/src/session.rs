//! Who is signed in: one-time tickets, sealed cookies, and a bound on wrong guesses.
//!
//! A session is a cookie that only this daemon can read or write: AES-256-GCM over the user, with a key that is kept
//! beside the cluster's other keys, so that open pages go on after a restart. The page's own code never sees it.
//! A session that was begun with a token has the token in it, and lives only as long as that is good. Who signed out is
//! kept in a file until the cookie would have run out: a restart lets nobody in again.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::User;

/// How long a ticket waits to be used.
const TICKET_LIFE: Duration = Duration::from_secs(120);
/// Tickets that wait at once.
const TICKETS: usize = 64;
/// How long a session lasts.
pub const SESSION_SECONDS: i64 = 12 * 3600;
/// Wrong guesses in [`GUESS_WINDOW`] after which no more are looked at.
const GUESSES: usize = 10;
const GUESS_WINDOW: Duration = Duration::from_secs(60);

/// One-time tickets: each lets one browser in, as the user it was made for.
#[derive(Clone, Default)]
pub struct Tickets(Arc<Mutex<HashMap<String, (Instant, User)>>>);

impl Tickets {
    /// A ticket for `user`, good for two minutes and one use: 32 random bytes in base64url.
    pub fn issue(&self, user: User) -> String {
        let bytes: [u8; 32] = rand::random();
        let ticket = URL_SAFE_NO_PAD.encode(bytes);
        let mut all = self.0.lock();
        all.retain(|_, (made, _)| made.elapsed() < TICKET_LIFE);
        if all.len() >= TICKETS
            && let Some(oldest) =
                all.iter().min_by_key(|(_, (made, _))| *made).map(|(ticket, _)| ticket.clone())
        {
            all.remove(&oldest);
        }
        all.insert(ticket.clone(), (Instant::now(), user));
        ticket
    }

    /// The user of a ticket, which is used up by it.
    pub fn redeem(&self, ticket: &str) -> Option<User> {
        let (made, user) = self.0.lock().remove(ticket)?;
        (made.elapsed() < TICKET_LIFE).then_some(user)
    }
}

/// What is in a cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Tells it from others, for signing out.
    pub id: String,
    /// Who signed in.
    pub user: User,
    /// The token that it was done with, if it was.
    #[serde(default)]
    pub token: Option<String>,
    /// Until when, seconds since 1970.
    pub until: i64,
}

impl Session {
    /// A session that begins at `now`.
    pub fn new(user: User, token: Option<String>, now: i64) -> Self {
        let id: [u8; 16] = rand::random();
        Self { id: URL_SAFE_NO_PAD.encode(id), user, token, until: now + SESSION_SECONDS }
    }
}

/// Seals and opens cookies, and remembers who signed out.
pub struct Sessions {
    key: LessSafeKey,
    /// Sessions that ended before their time, with when that would have been.
    ended: Mutex<HashMap<String, i64>>,
    /// Where they are kept: an object of ids and seconds since 1970.
    file: PathBuf,
    /// Told when one ends.
    told: watch::Sender<()>,
}

impl Sessions {
    /// With the daemon's key, and the file of those that ended.
    pub fn new(key: &[u8; 32], file: PathBuf) -> Self {
        // a key of 32 bytes is one of AES-256
        #[allow(clippy::expect_used, reason = "the length is right by its type")]
        let key = UnboundKey::new(&AES_256_GCM, key).expect("32 bytes");
        let ended = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self {
            key: LessSafeKey::new(key),
            ended: Mutex::new(ended.unwrap_or_default()),
            file,
            told: watch::Sender::default(),
        }
    }

    /// Changes whenever a session ends before its time.
    pub fn endings(&self) -> watch::Receiver<()> {
        self.told.subscribe()
    }

    /// The cookie's value.
    pub fn seal(&self, session: &Session) -> String {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut text = serde_json::to_vec(session).unwrap_or_default();
        let sealed =
            self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text);
        if sealed.is_err() {
            // only for texts of gigabytes
            return String::new();
        }
        URL_SAFE_NO_PAD.encode([nonce.as_slice(), &text].concat())
    }

    /// The session of a cookie's value; none if it was not sealed here, has run out or was ended.
    pub fn open(&self, cookie: &str, now: i64) -> Option<Session> {
        let bytes = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let text = self.key.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
        let session: Session = serde_json::from_slice(text).ok()?;
        self.is_good(&session, now).then_some(session)
    }

    /// Whether a session has neither run out nor been ended.
    pub fn is_good(&self, session: &Session, now: i64) -> bool {
        session.until > now && !self.ended.lock().contains_key(&session.id)
    }

    /// Ends a session before its time.
    ///
    /// # Errors
    /// It would be good again after a restart: the file cannot be written.
    pub fn end(&self, session: &Session, now: i64) -> std::io::Result<()> {
        let mut ended = self.ended.lock();
        ended.retain(|_, until| *until > now);
        ended.insert(session.id.clone(), session.until);
        let written = write(&self.file, &serde_json::to_vec(&*ended)?);
        drop(ended);
        self.told.send_replace(());
        written
    }
}

fn write(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let new = file.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut opened = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    opened.write_all(text)?;
    opened.sync_all()?;
    std::fs::rename(&new, file)
}

/// Bounds how often a wrong ticket or token is tried.
#[derive(Default)]
pub struct Guesses(Mutex<VecDeque<Instant>>);

impl Guesses {
    /// Whether one may be tried now; if not, in how many seconds.
    pub fn allowed(&self) -> Result<(), u64> {
        let mut wrong = self.0.lock();
        while wrong.front().is_some_and(|first| first.elapsed() > GUESS_WINDOW) {
            wrong.pop_front();
        }
        match wrong.front() {
            Some(first) if wrong.len() >= GUESSES => {
                Err(GUESS_WINDOW.saturating_sub(first.elapsed()).as_secs() + 1)
            }
            _ => Ok(()),
        }
    }

    /// One was wrong.
    pub fn wrong(&self) {
        self.0.lock().push_back(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> User {
        User { name: name.into(), ..User::default() }
    }

    #[test]
    fn a_ticket_is_good_once() {
        let tickets = Tickets::default();
        let ticket = tickets.issue(user("a"));
        assert_eq!(tickets.redeem("x"), None);
        assert_eq!(tickets.redeem(&ticket), Some(user("a")));
        assert_eq!(tickets.redeem(&ticket), None);
    }

    #[test]
    fn tickets_are_few() {
        let tickets = Tickets::default();
        let first = tickets.issue(user("a"));
        for _ in 0..TICKETS {
            tickets.issue(user("b"));
        }
        assert_eq!(tickets.redeem(&first), None);
    }

    #[test]
    fn a_cookie_is_ours_in_time_and_not_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ended.json");
        let sessions = Sessions::new(&[7; 32], file.clone());
        let session = Session::new(user("a"), Some("t".into()), 100);
        let cookie = sessions.seal(&session);
        assert_eq!(sessions.open(&cookie, 100), Some(session.clone()));
        assert_eq!(sessions.open(&cookie, 100 + SESSION_SECONDS), None);
        assert_eq!(Sessions::new(&[8; 32], file.clone()).open(&cookie, 100), None);
        for at in 0..cookie.len() {
            let mut forged = cookie.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("text");
            // the last letter has bits that mean nothing; such a text is no base64
            assert_eq!(sessions.open(&forged, 100), None, "{at}");
        }
        let endings = sessions.endings();
        sessions.end(&session, 100).expect("written");
        assert!(endings.has_changed().expect("lives"));
        assert_eq!(sessions.open(&cookie, 101), None);
        assert_eq!(Sessions::new(&[7; 32], file).open(&cookie, 101), None, "a restart let it in again");
    }

    #[test]
    fn guesses_are_bounded() {
        let guesses = Guesses::default();
        for _ in 0..GUESSES {
            assert_eq!(guesses.allowed(), Ok(()));
            guesses.wrong();
        }
        assert!(guesses.allowed().is_err_and(|seconds| (1..=61).contains(&seconds)));
    }
}
