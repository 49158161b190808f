//! What Go's standard library says and accepts, where clients see it.

mod quote;
pub mod regexp;

pub use quote::{Quote, Quoted, quoted_list};
