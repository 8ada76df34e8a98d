use super::*;
use crate::price_book::Pricing;
use proptest::prelude::*;

const ENTRY: &str = r#""prompt":"0.0000001","completion":"4e-7","context_length":1000"#;

fn table(entry: &str) -> Result<Vec<TableEntry>, TableError> {
    parse(format!(r#"{{"our/model":{{{entry}}}}}"#).as_bytes())
}

#[test]
fn an_entry_keeps_its_prices_as_they_are_written() {
    let entries = table(&format!(
        r#"{ENTRY},"upstream_model":"gpt-x","max_completion_tokens":100,"input_cache_read":"0.00000005",
        "limit_field":"max_completion_tokens","extra_fields":["top_k"]"#
    ));
    let entry = entries.unwrap().remove(0);
    assert_eq!(entry.id, "our/model");
    let text = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(
        entry.pricing.prices,
        [
            text("prompt", "0.0000001"),
            text("completion", "4e-7"),
            text("input_cache_read", "0.00000005")
        ]
    );
    assert!(Pricing::from_raw(&entry.pricing).is_ok());
    assert_eq!(
        (entry.context_length, entry.max_completion_tokens),
        (Some(1000), Some(100))
    );
    let expected = ServedAs {
        upstream_model: "gpt-x".to_owned(),
        limit_field: LimitField::MaxCompletionTokens,
        extra_fields: vec!["top_k".to_owned()],
    };
    assert_eq!(entry.served_as, expected);
}

#[test]
fn a_server_knows_a_model_by_our_name_unless_it_is_told() {
    let entry = table(ENTRY).unwrap().remove(0);
    assert_eq!(entry.served_as, ServedAs::named("our/model"));
    assert!(parse(b"{}").unwrap().is_empty());
}

#[test]
fn what_is_not_understood_is_refused_by_its_name() {
    for (entry, told) in [
        (ENTRY.replace("0.0000001", "-1"), "prompt"),
        (ENTRY.replace("0.0000001", "-0.5"), "prompt"),
        (ENTRY.replace("4e-7", "1e99"), "completion"),
        (ENTRY.replace("4e-7", "1e-27"), "completion"),
        (ENTRY.replace("4e-7", "NaN"), "completion"),
        (ENTRY.replace("4e-7", "1001"), "completion"),
        (ENTRY.replace("\"4e-7\"", "0.1"), "string"),
        (ENTRY.replace(r#""completion":"4e-7","#, ""), "completion"),
        (ENTRY.replace("1000", "0"), "context_length"),
        (ENTRY.replace("1000", "-1"), "integer"),
        (format!(r#"{ENTRY},"prompt":"1""#), "duplicate"),
        (format!(r#"{ENTRY},"image":"1""#), "image"),
        (format!(r#"{ENTRY},"surcharge":"1""#), "surcharge"),
        (
            format!(r#"{ENTRY},"upstream_model":"a b""#),
            "upstream_model",
        ),
        (
            format!(r#"{ENTRY},"extra_fields":["provider"]"#),
            "provider",
        ),
        (format!(r#"{ENTRY},"limit_field":"n""#), "max_tokens"),
    ] {
        let error = table(&entry).unwrap_err().to_string();
        assert!(error.starts_with("our/model: "), "{entry}: {error}");
        assert!(error.contains(told), "{entry}: {error}");
    }
}

#[test]
fn an_id_is_one_and_is_there_once() {
    for id in ["", "a b", "a/b:free", "a/b:online", "a@b", "\\u0000"] {
        let refused = parse(format!(r#"{{"{id}":{{{ENTRY}}}}}"#).as_bytes());
        assert!(matches!(refused, Err(TableError::Entry { .. })), "{id:?}");
    }
    let twice = format!(r#"{{"a":{{{ENTRY}}},"a":{{{ENTRY}}}}}"#);
    assert!(parse(twice.as_bytes()).is_err());
    for text in ["", "[]", "1", "{\"a\":1}", "{} {}"] {
        assert!(parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn a_table_is_bounded() {
    let many: Vec<String> = (0..=MOST_ENTRIES)
        .map(|number| format!(r#""m{number}":{{{ENTRY}}}"#))
        .collect();
    let text = |entries: &[String]| format!("{{{}}}", entries.join(","));
    assert!(parse(text(&many).as_bytes()).is_err());
    assert_eq!(
        parse(text(&many[1..]).as_bytes()).unwrap().len(),
        MOST_ENTRIES
    );
    assert!(matches!(
        parse(&vec![b' '; LONGEST_TABLE + 1]),
        Err(TableError::TooLong)
    ));
}

#[test]
fn a_list_with_prices_is_taken_where_usage_counts_what_they_are_for() {
    let listed = |more: &[(&str, &str)]| {
        let prices = [("prompt", "0.1"), ("completion", "0.2")];
        let text = |(name, price): &(&str, &str)| ((*name).to_owned(), (*price).to_owned());
        let pricing = RawPricing {
            prices: prices.iter().chain(more).map(text).collect(),
            overrides: Vec::new(),
        };
        TableEntry::listed("a/b", pricing, None, Some(5))
    };
    assert_eq!(
        listed(&[("image", "0"), ("request", "0.01")])
            .unwrap()
            .served_as,
        ServedAs::named("a/b")
    );
    for more in [("image", "0.1"), ("web_search", "0.1"), ("audio", "-1")] {
        assert!(listed(&[more]).is_err(), "{more:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(text in "\\PC{0,80}", name in "\\PC{0,12}", value in "\\PC{0,24}") {
        let _ = parse(text.as_bytes());
        let _ = table(&format!("{ENTRY},{}:{value}", serde_json::to_string(&name).unwrap()));
    }
}
