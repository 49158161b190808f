//! sampan
