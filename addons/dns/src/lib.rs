//! The native addon dns.
