//! Who may do what.

mod user;

pub use user::{AUTHENTICATED, Attributes, Decision, MASTERS, UNAUTHENTICATED, UserInfo};
