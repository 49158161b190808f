//! The platform of addons.

mod natives;

pub use natives::natives;
