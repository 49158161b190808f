//! What the dashboard decides without a browser, so that the host can test it.

pub mod ansi;
pub mod columns;
pub mod difference;
pub mod graph;
pub mod quantity;
pub mod sort;
pub mod why;
pub mod yaml;
