//! The native addon storage.
