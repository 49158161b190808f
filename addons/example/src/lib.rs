//! The native addon example.
