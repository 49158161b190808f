//! sampan-store
