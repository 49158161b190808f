//! What the dashboard decides without a browser, so that the host can test it.

pub mod ansi;
pub mod difference;
pub mod quantity;
pub mod why;
pub mod yaml;
