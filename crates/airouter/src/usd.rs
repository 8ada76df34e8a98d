//! Showing amounts that may be larger than any balance.

use airouter_billing::money::NANOS_PER_USD;

/// An exact decimal text in USD of so many nano-dollars: `-0.000000001`.
pub(crate) fn usd(nanos: i128) -> String {
    let unit: u128 = NANOS_PER_USD.unsigned_abs().into();
    let (whole, fraction): (u128, u128) =
        (nanos.unsigned_abs() / unit, nanos.unsigned_abs() % unit);
    let sign = if nanos < 0 { "-" } else { "" };
    let text = format!("{sign}{whole}.{fraction:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::usd;

    #[test]
    fn amounts_are_shown_to_the_nano_dollar() {
        for (nanos, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (-1_500_000_000, "-1.5"),
            (20_000_000_000, "20"),
            (i128::from(i64::MAX) * 10, "92233720368.54775807"),
        ] {
            assert_eq!(usd(nanos), text);
        }
    }
}
