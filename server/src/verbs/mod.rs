//! One file per verb of the command line.

pub mod addons;
pub mod backup;
pub mod completion;
pub mod dashboard;
pub mod delete;
pub mod demo;
pub mod dns;
pub mod image;
pub mod kubectl;
pub mod logs;
pub mod profile;
pub mod simulate;
pub mod start;
pub mod status;
pub mod stop;
pub mod token;
pub mod version;

use crate::failure::{Failure, Kind};
use crate::profile::Profile;
use crate::ui::Ui;

/// What every verb gets.
pub struct Context {
    /// The cluster to work on.
    pub profile: Profile,
    /// Where to speak.
    pub ui: Ui,
}

/// The process's exit code, or why there is no result.
pub type Outcome = Result<u8, Failure>;

/// The failure of asking a daemon that lives: if nobody answers, it is just starting or ending, and "start it" would
/// be no advice.
pub fn busy(failure: Failure, pid: i32) -> Failure {
    match failure.kind {
        Kind::NotRunning => {
            Failure::new(Kind::Locked, format!("the daemon (pid {pid}) is just starting or ending"))
        }
        _ => failure,
    }
}
