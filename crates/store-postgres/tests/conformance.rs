//! The suite that every adapter passes.

mod support;

airouter_store::conformance_tests!(crate::support::new_store);
