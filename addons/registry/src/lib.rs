//! The native addon registry.
