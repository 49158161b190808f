//! `sampan dns`: names of the cluster on the host itself. Opt-in, and only where it can be taken back.
//!
//! systemd-resolved can be told of one server for one domain on one link, and forgets it with the link. Where it does
//! not run, the line for the host's own resolver is said, and nothing is changed.

use serde_json::json;

use super::{Context, Outcome};
use crate::cli::Dns;
use crate::failure::{Failure, Kind};
use crate::messages::Message;
use crate::profile::Profile;
use crate::resolver::{self, Site};
use crate::rights;
use crate::ui::Format;

/// Runs the verb.
pub async fn run(mut context: Context, verb: Option<Dns>) -> Outcome {
    let site = site(&context.profile)?;
    match verb {
        None => show(&context, &site),
        Some(Dns::Enable) => set(&mut context, &site, true).await,
        Some(Dns::Disable) => set(&mut context, &site, false).await,
    }
}

fn site(profile: &Profile) -> Result<Site, Failure> {
    if !profile.exists()? {
        let message = format!("there is no cluster {:?}", profile.name);
        return Err(Failure::new(Kind::NotFound, message));
    }
    Site::of(profile, &profile.settings()?)
}

fn show(context: &Context, site: &Site) -> Outcome {
    let enabled = context.profile.settings()?.host_dns;
    let resolver = if resolver::is_resolved() { "systemd-resolved" } else { "other" };
    match context.ui.format() {
        Format::Json => context.ui.value(&json!({
            "server": site.server, "domain": site.domain, "resolver": resolver, "enabled": enabled, "line": site.line(),
        })),
        Format::Text => context.ui.plain(&site.line()),
    }
    Ok(0)
}

async fn set(context: &mut Context, site: &Site, on: bool) -> Outcome {
    rights::check()?;
    let _held = context.profile.lock_command()?;
    let mut settings = context.profile.settings()?;
    if on && !resolver::is_resolved() {
        let message = format!(
            "systemd-resolved does not run here; tell this host's resolver yourself, for dnsmasq: {}",
            site.line()
        );
        return Err(Failure::new(Kind::HostMissing, message));
    }
    if settings.host_dns != on {
        settings.host_dns = on;
        context.profile.save(&settings)?;
    }
    if context.profile.daemon_pid().is_some() && resolver::is_resolved() {
        site.tell(on).await?;
    }
    let domain = site.domain.clone();
    context.ui.step(&if on { Message::HostDnsOn { domain } } else { Message::HostDnsOff { domain } });
    Ok(0)
}
