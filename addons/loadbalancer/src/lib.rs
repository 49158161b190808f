//! The native addon loadbalancer.
