//! Keyed, level-triggered control loops over shared informers.
//!
//! [`Informers`] keeps one copy of each kind per process ([`Informer`]), fed by a list and a watch, or a watch alone: decoded what is read,
//! as text what nobody has read for a while.
//! Whoever needs a kind reads that copy through indexes and subscribes to its deltas, which are never lost. A
//! [`Controller`] maps deltas to keys; a [`Queue`] keeps each key once, gives it to one worker at a time and
//! backs off per key. [`Recorder`] writes events as upstream's correlator does, [`SeriesRecorder`] those of the newer API.
//!
//! Nothing here polls: an idle cluster costs parked tasks only. A controller that has written waits with
//! [`Informer::reached`] until its own informer shows the write, so that the next pass over the same key
//! never acts on a state older than its own deeds; this replaces upstream's expectations.

mod clock;
mod controller;
mod correlator;
mod decode;
mod hashing;
mod held;
mod informer;
mod informers;
mod key;
mod queue;
mod recorder;
mod reflector;
mod series;
mod series_recorder;
mod store;

pub use clock::{now, simulate};
pub use controller::{Controller, Error, Sources, run};
pub use decode::{Decode, without_managed_fields};
pub use hashing::{HashMap, HashSet, Hashing};
pub use informer::{Delta, Deltas, Informer};
pub use informers::{AbortOnDrop, Informers};
pub use key::{Key, Object};
pub use queue::Queue;
pub use recorder::{EventType, Recorder, reference};
pub use series_recorder::{Deed, SeriesRecorder};

/// For [`decoded`].
#[doc(hidden)]
pub use serde_json;
