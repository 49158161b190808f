//! What the dashboard decides without a browser, so that the host can test it.

pub mod ansi;
pub mod chart;
pub mod columns;
pub mod cover;
pub mod debugger;
pub mod difference;
pub mod drain;
pub mod facts;
pub mod form;
pub mod graph;
pub mod lines;
pub mod merge;
pub mod owned;
pub mod quantity;
pub mod revisions;
pub mod sort;
pub mod who;
pub mod why;
pub mod wrong;
pub mod yaml;
