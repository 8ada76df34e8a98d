//! The PROXY protocol: whoever reads as many bytes as are said to be missing, finds the header that is there, and takes
//! nothing of what follows it.
#![no_main]

use airouter_proxy::server::proxy_header::{Parsed, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut read = 0;
    let stepwise = loop {
        match parse(&bytes[..read]) {
            Ok(Parsed::Missing(count)) => {
                assert!(count > 0);
                read += count;
                if read > bytes.len() {
                    break None;
                }
            }
            done => break Some(done),
        }
    };
    match (parse(bytes), stepwise) {
        (Ok(Parsed::Header { length, .. }), stepwise) => {
            assert_eq!(read, length, "not a byte more");
            assert_eq!(stepwise, Some(parse(bytes)));
            assert_eq!(parse(&bytes[..length]), parse(bytes), "what follows does not matter");
        }
        (Ok(Parsed::Missing(_)), stepwise) => assert_eq!(stepwise, None),
        (Err(_), stepwise) => assert!(!matches!(stepwise, Some(Ok(_)))),
    }
});
