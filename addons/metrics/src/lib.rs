//! The native addon metrics.
