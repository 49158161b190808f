//! What has to hold for any bytes at all: a function for each target, which panics if it does not.
//!
//! libFuzzer calls them (`fuzz_targets/`, `make fuzz`), and so does a test of `make test`, with damaged copies of valid
//! bodies (`tests/api/tests/fuzz.rs`): it compiles the module [`targets`] a second time, so that there is one of each.

mod targets;

pub use targets::{apply, json, protobuf, quantity, selector, strategic, yaml};
