//! What the daemon and the browser say to each other about a view.
//!
//! The daemon projects objects to [`Row`]s and sends them over the feed ([`feed`]); the browser filters ([`Filter`]),
//! sorts ([`order`], [`Ordered`]) and shows them, and keeps what is seen in the URL ([`place`]). Both sides use this crate, so a
//! filter means the same on either. It does no I/O, knows no clock, and builds for WebAssembly.

pub mod age;
pub mod feed;
mod filter;
pub mod order;
mod ordered;
pub mod place;
mod regex;
mod row;

pub use filter::{Filter, FilterError, Term, Test, lower_case};
pub use ordered::{Change, Ordered};
pub use regex::Regex;
pub use row::{Cell, Column, Health, Owner, Row};
