//! Model ids: `author/slug`, with variants that have prices of their own and modifiers that have none.

/// Suffixes that change how a request is routed; they are valid on any model and absent from the price list
/// (wire-contract §4.5).
const ROUTING_MODIFIERS: [&str; 4] = ["nitro", "floor", "exacto", "online"];

/// What a modifier does to the cost of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modifier {
    /// `:nitro`, `:floor`, `:exacto`: another endpoint of the same model.
    Routing,
    /// `:online`: web search, which is charged beside the tokens.
    WebSearch,
}

/// A requested model id, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestedModel<'a> {
    /// The id as the client sent it.
    pub id: &'a str,
    /// The id under which the price book knows it.
    pub priced_as: &'a str,
    /// The modifier that was taken off.
    pub modifier: Option<Modifier>,
}

impl<'a> RequestedModel<'a> {
    /// Looks `id` up with `is_known`: the exact id first, then without one routing modifier. Presets (`@preset/…`,
    /// `model@preset/…`) are never known: they can switch on tools that cost extra.
    pub fn resolve(id: &'a str, is_known: impl Fn(&str) -> bool) -> Option<Self> {
        if id.contains('@') {
            return None;
        }
        if is_known(id) {
            return Some(Self {
                id,
                priced_as: id,
                modifier: None,
            });
        }
        let (base, suffix) = id.rsplit_once(':')?;
        if !ROUTING_MODIFIERS.contains(&suffix) || !is_known(base) {
            return None;
        }
        let modifier = if suffix == "online" {
            Modifier::WebSearch
        } else {
            Modifier::Routing
        };
        Some(Self {
            id,
            priced_as: base,
            modifier: Some(modifier),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(id: &str) -> Option<(&str, Option<Modifier>)> {
        let known = |id: &str| ["a/b", "a/b:free", "a/b:thinking"].contains(&id);
        RequestedModel::resolve(id, known).map(|model| (model.priced_as, model.modifier))
    }

    #[test]
    fn variants_have_their_own_price_and_modifiers_the_base_models() {
        assert_eq!(resolve("a/b"), Some(("a/b", None)));
        assert_eq!(resolve("a/b:free"), Some(("a/b:free", None)));
        assert_eq!(resolve("a/b:nitro"), Some(("a/b", Some(Modifier::Routing))));
        assert_eq!(
            resolve("a/b:free:online"),
            Some(("a/b:free", Some(Modifier::WebSearch)))
        );
    }

    #[test]
    fn the_rest_is_unknown() {
        for id in [
            "",
            "a",
            "a/b:",
            "a/b:extended",
            "a/b:nitro:online",
            "a/b@preset/x",
            "@preset/x",
            "a/c:free",
        ] {
            assert_eq!(resolve(id), None, "{id}");
        }
    }
}
