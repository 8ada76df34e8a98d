//! A price table of a compatible server: all of it is read or nothing, and what is read can be sold.
#![no_main]

use airouter_billing::price_book::Pricing;
use airouter_billing::price_table::{NEVER_EXTRA, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(table) = parse(text) else {
        return;
    };
    for entry in &table {
        let pricing = Pricing::from_raw(&entry.pricing);
        assert!(matches!(pricing, Ok(Pricing::Listed { .. })), "{entry:?}");
        let extra_fields = &entry.served_as.extra_fields;
        assert!(extra_fields.iter().all(|field| !NEVER_EXTRA.contains(&field.as_str())));
    }
});
