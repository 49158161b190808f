//! Keeps the administrator's certificate in every kubeconfig that `sampan start` wrote.
//!
//! The certificate is renewed at two thirds of its life. A machine that is up for longer would lock its administrator
//! out, as the old one is all that the kubeconfig holds.

use sampan_apiserver::ApiServer;

use super::access;
use crate::kubeconfig::{self, Access, Owner};
use crate::profile::Profile;

/// Writes the certificate at once where it is another, and again whenever it is renewed.
pub async fn follow(server: ApiServer, profile: Profile) {
    let mut changes = server.pki().changes();
    loop {
        let (access, profile) = (access::of(&server), profile.clone());
        // files of another user's may lie on a disk that is slow, or be locked by kubectl
        let written = tokio::task::spawn_blocking(move || refresh(&profile, &access)).await;
        if let Err(error) = written {
            tracing::warn!(%error, "the kubeconfigs were not looked at");
        }
        // the sender lives as long as the server
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn refresh(profile: &Profile, access: &Access) {
    // read anew: each `start` may have written another file
    for (path, context) in profile.settings_or_default().kubeconfigs() {
        match kubeconfig::refresh(path, &Owner::of(path), &profile.name, context, access) {
            Ok(true) => tracing::info!(kubeconfig = %path.display(), "has the new certificate"),
            Ok(false) => {}
            Err(failure) => tracing::warn!(%failure, "the new certificate was not written"),
        }
    }
}
