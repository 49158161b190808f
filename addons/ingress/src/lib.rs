//! The native addon ingress.
