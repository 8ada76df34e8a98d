//! The simulated upstream, the load generator and the bare proxy, driven over real sockets.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod billing;
mod compatible;
mod faults;
mod load;
mod shapes;
mod support;
