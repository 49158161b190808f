//! sampan
fn main() {}
