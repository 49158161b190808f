//! What the dashboard decides without a browser, so that the host can test it.

pub mod quantity;
