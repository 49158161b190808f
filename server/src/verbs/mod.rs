//! One file per verb of the command line.

pub mod backup;
pub mod completion;
pub mod delete;
pub mod demo;
pub mod image;
pub mod kubectl;
pub mod logs;
pub mod start;
pub mod status;
pub mod stop;
pub mod version;

use crate::failure::Failure;
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
