#![allow(clippy::unwrap_used)]
use super::*;

fn config(folder: &Path) -> Config {
    Config {
        folder: folder.join("pki"),
        node_name: "boat".into(),
        addresses: vec!["192.0.2.7".parse().unwrap()],
        service_ip: "10.96.0.1".parse().unwrap(),
        cluster_domain: "cluster.local".into(),
    }
}

#[test]
fn a_second_start_finds_what_the_first_made() {
    let dir = tempfile::tempdir().unwrap();
    let first = Pki::open(config(dir.path())).unwrap();
    let second = Pki::open(config(dir.path())).unwrap();
    assert_eq!(first.ca_pem(), second.ca_pem());
    assert_eq!(first.serving().certificate_pem, second.serving().certificate_pem);
    assert_eq!(first.admin().key_pem, second.admin().key_pem);
    assert_eq!(first.token_key().jwk(), second.token_key().jwk());
    for file in ["ca.key", "apiserver.key", "admin.key", "sa.key", ""] {
        assert!(is_private(&dir.path().join("pki").join(file)), "{file}");
    }
}

#[test]
fn new_addresses_are_in_the_certificate_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(config(dir.path())).unwrap();
    let before = pki.serving().certificate_pem.clone();
    assert!(!pki.set_addresses(vec!["192.0.2.7".parse().unwrap()]).unwrap(), "nothing new");
    assert!(pki.set_addresses(vec!["198.51.100.9".parse().unwrap()]).unwrap());
    let after = pki.serving();
    assert_ne!(before, after.certificate_pem);
    let debug = format!("{after:?}");
    for word in
        ["IP=198.51.100.9", "IP=10.96.0.1", "IP=::1", "DNS=kubernetes.default.svc.cluster.local", "DNS=boat"]
    {
        assert!(debug.contains(word), "{word} in {debug}");
    }
    assert!(!debug.contains("192.0.2.7"));
    let mut again = config(dir.path());
    again.addresses = vec!["198.51.100.9".parse().unwrap()];
    assert_eq!(Pki::open(again).unwrap().serving().certificate_pem, after.certificate_pem);
}

#[test]
fn certificates_are_renewed_at_two_thirds_of_their_life() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(config(dir.path())).unwrap();
    let due = pki.renew(Timestamp::now()).unwrap();
    let days = (due.as_second() - Timestamp::now().as_second()) / 86_400;
    assert!((242..=243).contains(&days), "{days}");
    let (serving, admin) = (pki.serving().certificate_pem.clone(), pki.admin().certificate_pem.clone());
    let front = pki.front_proxy().certificate_pem.clone();
    let later = Timestamp::from_second(due.as_second() + 1).unwrap();
    assert!(pki.renew(later).unwrap() > later);
    assert_ne!(serving, pki.serving().certificate_pem);
    assert_ne!(admin, pki.admin().certificate_pem);
    assert_ne!(front, pki.front_proxy().certificate_pem);
    assert_eq!(*pki.changes().borrow(), 3);
}

#[test]
fn half_an_authority_is_refused_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(config(dir.path())).unwrap();
    drop(pki);
    std::fs::remove_file(dir.path().join("pki/ca.key")).unwrap();
    let error = Pki::open(config(dir.path())).err().unwrap().to_string();
    assert!(error.contains("ca.key") && error.contains("missing"), "{error}");
}

#[test]
fn tokens_signed_are_tokens_verified() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(config(dir.path())).unwrap();
    let key = pki.token_key();
    let mut signature = key.sign(b"hello").unwrap();
    assert!(key.verify(b"hello", &signature));
    assert!(!key.verify(b"hellO", &signature));
    signature[3] ^= 1;
    assert!(!key.verify(b"hello", &signature));
}

#[test]
fn the_first_start_is_quick() {
    let dir = tempfile::tempdir().unwrap();
    let began = std::time::Instant::now();
    Pki::open(config(dir.path())).unwrap();
    // generous: the goal is 50 ms of CPU on an optimised build
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}
