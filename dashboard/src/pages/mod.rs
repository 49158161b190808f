//! The pages. One list and one detail page serve every kind.

pub mod access;
pub mod addons;
pub mod buffer;
pub mod create;
pub mod detail;
pub mod form;
pub mod list;
pub mod logs;
pub mod missing;
pub mod order;
pub mod overview;
pub mod sign_in;
pub mod terminal;
pub mod topology;
