//! What Go's standard library says and accepts, where clients see it.

mod duration;
mod number;
mod quote;
pub mod regexp;

pub use duration::parse_duration;
pub use number::{parse_int, parse_uint};
pub use quote::{Quote, Quoted, quoted_list};
