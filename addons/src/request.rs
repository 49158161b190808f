//! What can be asked of the platform and what it answers: the words of the control socket, and of REST later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fields::Field;
use crate::health::Condition;
use crate::object::Reference;
use crate::package::Summary;

/// A verb with what it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// All addons: a list of [`Status`].
    List,
    /// One addon: [`Details`].
    Show {
        /// Its name.
        name: String,
    },
    /// Turns an addon on and waits until it is healthy: [`Status`].
    Enable {
        /// Its name.
        name: String,
        /// `path=value`, on top of what was set before.
        #[serde(default)]
        set: Vec<String>,
        /// How long to wait; `None`: 30 s for native addons, 3 minutes for packages.
        #[serde(default)]
        timeout_seconds: Option<u64>,
    },
    /// Turns an addon off and takes its objects away: [`Status`].
    Disable {
        /// Its name.
        name: String,
    },
    /// Changes the configuration, at once if the addon is enabled: [`Details`].
    Configure {
        /// Its name.
        name: String,
        /// `path=value`.
        #[serde(default)]
        set: Vec<String>,
        /// Paths of which the default is to hold again.
        #[serde(default)]
        unset: Vec<String>,
    },
    /// Adds a package, or another version of one: [`Details`].
    Add {
        /// A tar, gzipped, in base64.
        files: String,
        /// The name to give it; `None`: its own.
        #[serde(default)]
        name: Option<String>,
    },
    /// Takes a package out, with what it made: [`Status`] as it was.
    Remove {
        /// Its name.
        name: String,
    },
    /// The images that it uses: name → reference.
    Images {
        /// Its name.
        name: String,
    },
    /// The address of its page: a text.
    Page {
        /// Its name.
        name: String,
    },
}

/// Where an addon comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Sort {
    /// Code of this binary.
    Native,
    /// Manifests that somebody added.
    Package,
}

/// An addon in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Whether it is to run.
    pub enabled: bool,
    /// How it is.
    pub health: Condition,
    /// Its version.
    pub version: String,
    /// Who mends it.
    pub maintainer: String,
    /// What it is.
    pub summary: Summary,
    /// Where it comes from.
    pub sort: Sort,
    /// Whether a new cluster has it enabled.
    pub default_on: bool,
}

/// An addon with everything about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// As in a list.
    pub status: Status,
    /// The JSON schema of its configuration.
    pub schema: Value,
    /// The configuration with its defaults.
    pub configuration: Value,
    /// The same field by field, for forms.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// What the user set of it.
    pub set: Map<String, Value>,
    /// The addons that it needs.
    pub needs: Vec<String>,
    /// The objects that it owns.
    pub objects: Vec<Reference>,
}

/// What happens while a verb works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Objects are being applied.
    Applying,
    /// Not yet healthy.
    Waiting {
        /// Why, naming the object.
        reason: String,
    },
    /// A post-install check.
    Checking {
        /// Its name.
        check: String,
    },
    /// What was before is being restored.
    RollingBack {
        /// Why.
        reason: String,
    },
    /// Objects are being taken away.
    Pruning,
}
