use super::*;
use proptest::prelude::*;

/// `a/one`, its variant, `b/two`, `c/three`, and an id that the upstream redirects to `b/two`.
struct List;

const LISTED: [&str; 6] = [
    "a/one",
    "a/one:free",
    "b/two",
    "c/three",
    "~b/latest",
    "r/router",
];

impl PriceList for List {
    fn lists(&self, id: &str) -> bool {
        LISTED.contains(&id)
    }

    fn redirect_of(&self, id: &str) -> Option<&str> {
        (id == "~b/latest").then_some("b/two")
    }
}

fn alias(name: &str, models: &[&str]) -> Alias {
    let models = models.iter().map(|&model| model.to_owned()).collect();
    Alias::new(name.to_owned(), models).unwrap()
}

fn rules(states: &[(&str, SaleState)], aliases: &[Alias]) -> SaleRules {
    SaleRules {
        states: states
            .iter()
            .map(|(model, state)| ((*model).to_owned(), *state))
            .collect(),
        aliases: aliases
            .iter()
            .map(|alias| (alias.name().to_owned(), alias.clone()))
            .collect(),
        default_model: None,
    }
}

fn only(patterns: &[&str]) -> ModelAccess {
    ModelAccess::Only(patterns.iter().map(|&pattern| pattern.to_owned()).collect())
}

fn asked(
    rules: &SaleRules,
    name: &str,
    access: &[&ModelAccess],
) -> Result<Vec<String>, NotForSale> {
    let chosen = rules.choose(name, &List, access)?;
    Ok(chosen.into_iter().map(|model| model.asked_as).collect())
}

#[test]
fn a_disabled_model_is_unknown_by_every_name() {
    let rules = rules(
        &[
            ("a/one", SaleState::Disabled),
            ("b/two", SaleState::Disabled),
        ],
        &[
            alias("mine", &["a/one"]),
            alias("both", &["b/two", "c/three"]),
        ],
    );
    for name in [
        "a/one",
        "a/one:free",
        "a/one:nitro",
        "a/one:online",
        "b/two",
        "~b/latest",
        "~b/latest:floor",
        "mine",
        "mine:nitro",
        "mine:free",
        "A/one",
        "a/ONE",
        "а/one",
        "a%2Fone",
        " a/one",
        "a/one@preset/x",
    ] {
        assert_eq!(asked(&rules, name, &[]), Err(NotForSale::Unknown), "{name}");
    }
    assert_eq!(asked(&rules, "both", &[]), Ok(vec!["c/three".to_owned()]));
}

#[test]
fn a_variant_may_be_on_sale_although_its_base_is_not() {
    let rules = rules(
        &[
            ("a/one", SaleState::Disabled),
            ("a/one:free", SaleState::Hidden),
        ],
        &[],
    );
    assert_eq!(
        asked(&rules, "a/one:free", &[]),
        Ok(vec!["a/one:free".to_owned()])
    );
    assert_eq!(asked(&rules, "a/one", &[]), Err(NotForSale::Unknown));
}

#[test]
fn a_suffix_of_an_alias_is_one_of_each_of_its_models() {
    let rules = rules(
        &[],
        &[
            alias("fast", &["b/two", "a/one:free"]),
            alias("quick", &["a/one:nitro"]),
        ],
    );
    let names = |name| asked(&rules, name, &[]).map(|names| names.join(" "));
    assert_eq!(names("fast").unwrap(), "b/two a/one:free");
    assert_eq!(
        names("fast:online").unwrap(),
        "b/two:online a/one:free:online"
    );
    assert_eq!(names("quick").unwrap(), "a/one:nitro");
    for name in [
        "quick:online",
        "fast:free",
        "fast:",
        "fast:nitro:online",
        "FAST",
        "fast@preset/x",
    ] {
        assert_eq!(names(name), Err(NotForSale::Unknown), "{name}");
    }
    let online = rules.choose("fast:online", &List, &[]).unwrap();
    assert!(
        online
            .iter()
            .all(|model| model.modifier == Some(Modifier::WebSearch))
    );
    assert!(
        online
            .iter()
            .all(|model| model.alias.as_deref() == Some("fast"))
    );
}

#[test]
fn an_alias_goes_before_a_model_of_its_name() {
    let rules = rules(
        &[("a/one", SaleState::Disabled)],
        &[
            alias("a/one", &["c/three"]),
            alias("c/three", &["c/three", "b/two"]),
        ],
    );
    assert_eq!(asked(&rules, "a/one", &[]), Ok(vec!["c/three".to_owned()]));
    assert_eq!(asked(&rules, "c/three", &[]).unwrap().len(), 2);
}

#[test]
fn both_lists_hold_whatever_the_name() {
    let rules = rules(
        &[],
        &[
            alias("mine", &["b/two"]),
            alias("more", &["b/two", "c/three"]),
        ],
    );
    let allowed = |name: &str, one: &ModelAccess, other: &ModelAccess| {
        rules.choose(name, &List, &[one, other]).is_ok()
    };
    let all = ModelAccess::All;
    for name in ["b/two", "b/two:nitro", "mine", "mine:online", "~b/latest"] {
        assert!(allowed(name, &only(&["b/two"]), &all), "{name}");
        assert!(!allowed(name, &only(&["b/two"]), &only(&["a/*"])), "{name}");
    }
    for name in [
        "a/one",
        "a/one:free",
        "a/one:nitro",
        "more",
        "r/router",
        "c/three",
    ] {
        assert!(!allowed(name, &all, &only(&["b/two"])), "{name}");
    }
    // A list that names the alias allows what it stands for, and nothing else by its own name.
    assert!(allowed("more", &only(&["more"]), &all));
    assert!(!allowed("c/three", &only(&["more"]), &all));
    assert!(!allowed("more", &only(&["more"]), &only(&["b/two"])));
    // A variant is a model of its own.
    assert!(!allowed("a/one:free", &only(&["a/one"]), &all));
    assert!(allowed("a/one:free", &only(&["a/*"]), &all));
}

#[test]
fn what_can_be_no_alias_is_refused() {
    let new = |name: &str, models: &[&str]| {
        let models = models.iter().map(|&model| model.to_owned()).collect();
        Alias::new(name.to_owned(), models)
    };
    for name in ["", "a:b", "a@b", "a b", "a*", "ä", "a\n"] {
        assert!(
            matches!(new(name, &["x"]), Err(AliasError::Name(_))),
            "{name}"
        );
    }
    assert!(matches!(new("a", &["x", "y z"]), Err(AliasError::Model(_))));
    assert!(matches!(
        new("a", &["@preset/x"]),
        Err(AliasError::Model(_))
    ));
    assert_eq!(new("a", &[]), Err(AliasError::Count));
    assert_eq!(new("a", &["x", "x"]), Err(AliasError::Count));
    assert_eq!(new("a", &["x"; 9]), Err(AliasError::Count));
    assert!(new("a/b-1", &["x", "x:nitro"]).is_ok());
}

proptest! {
    /// Whatever a client writes, it gets nothing but models that are sold and that both lists allow.
    #[test]
    fn no_name_evades_what_was_decided(
        parts in proptest::collection::vec(prop_oneof![
            Just("a/one"), Just("A/one"), Just("b/two"), Just("~b/latest"), Just("mine"), Just("more"), Just("c/three"),
            Just(":free"), Just(":online"), Just(":nitro"), Just("@preset/x"), Just("%2F"), Just(" "), Just("/"), Just("\u{430}"),
        ], 1..4),
        disabled in proptest::sample::select(LISTED.to_vec()),
        allowed in proptest::sample::subsequence(LISTED.to_vec(), 0..4),
    ) {
        let rules = rules(
            &[(disabled, SaleState::Disabled)],
            &[alias("mine", &["b/two"]), alias("more", &["a/one", "c/three"])],
        );
        let list = only(&allowed);
        if let Ok(chosen) = rules.choose(&parts.concat(), &List, &[&ModelAccess::All, &list]) {
            prop_assert!(!chosen.is_empty());
            for model in chosen {
                prop_assert!(model.model != disabled);
                prop_assert!(List.redirect_of(&model.model) != Some(disabled));
                let redirect = List.redirect_of(&model.model);
                prop_assert!(list.names(&model.model) || redirect.is_some_and(|to| list.names(to)));
            }
        }
    }
}
