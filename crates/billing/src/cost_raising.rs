//! What of a request raises its cost in ways that tokens and their prices don't show; what a plan allows of it, and at
//! what it is held.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::money::Nanos;

/// A kind of what raises the cost (OpenRouter: Web Search, PDF Inputs, Service Tiers, Model Variants).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostRaisingKind {
    /// `plugins`, by `id`: web search, file parsing, fusion and others that bill extra.
    Plugins,
    /// `tools` that the upstream runs itself and bills, by `type`: any but `function`.
    ServerTools,
    /// `web_search_options`.
    WebSearchOptions,
    /// A `service_tier` with prices of its own, by its name.
    ServiceTiers,
    /// `modalities` that ask for images or audio, by their name.
    OutputModalities,
    /// `provider.options`, by the provider's id: fields that only that provider understands, tiers and tools among them.
    ProviderOptions,
    /// A model with the suffix `:online`.
    Online,
    /// A model that is priced by the one that will serve (`-1`).
    Routers,
}

impl CostRaisingKind {
    /// What a client calls it.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Plugins => "plugins",
            Self::ServerTools => "tools",
            Self::WebSearchOptions => "web_search_options",
            Self::ServiceTiers => "service_tier",
            Self::OutputModalities => "modalities",
            Self::ProviderOptions => "provider.options",
            Self::Online | Self::Routers => "model",
        }
    }
}

/// Something of a request that raises its cost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CostRaisingUse {
    /// The kind.
    pub kind: CostRaisingKind,
    /// Which of the kind; empty where there is but one, or it has no name.
    pub id: String,
}

impl CostRaisingUse {
    /// A use of `kind`.
    pub fn new(kind: CostRaisingKind, id: impl Into<String>) -> Self {
        Self {
            kind,
            id: id.into(),
        }
    }

    /// Whether it might ask models that the request does not name, so that a list of models would mean nothing. What is
    /// not known may.
    pub fn may_choose_models(&self) -> bool {
        const HARMLESS_PLUGINS: [&str; 4] = ["web", "web-fetch", "file-parser", "moderation"];
        const HARMLESS_TOOLS: [&str; 9] = [
            "openrouter:web_search",
            "openrouter:web_fetch",
            "openrouter:datetime",
            "openrouter:files",
            "openrouter:shell",
            "openrouter:bash",
            "openrouter:apply_patch",
            "openrouter:tool_search",
            "custom",
        ];
        let id = self.id.as_str();
        match self.kind {
            CostRaisingKind::Plugins => !HARMLESS_PLUGINS.contains(&id),
            CostRaisingKind::ServerTools => {
                !HARMLESS_TOOLS.contains(&id) && !id.starts_with("web_search")
            }
            CostRaisingKind::ProviderOptions => true,
            CostRaisingKind::WebSearchOptions
            | CostRaisingKind::ServiceTiers
            | CostRaisingKind::OutputModalities
            | CostRaisingKind::Online
            | CostRaisingKind::Routers => false,
        }
    }
}

/// What a plan says of something that raises the cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostRaisingRule {
    /// Allowed, and held at the plan's `cost_raising_cap`.
    #[default]
    Allow,
    /// Allowed, and held at this.
    Cap(Nanos),
    /// Refused.
    Refuse,
}

/// What a plan says of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KindRules {
    /// What holds for all that is not named.
    pub otherwise: CostRaisingRule,
    /// What holds for single ones, by plugin id, tool type, tier, modality or router.
    pub by_id: BTreeMap<String, CostRaisingRule>,
}

/// What a plan says of all kinds; what is not mentioned is allowed at the plan's cap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CostRaisingRules(pub BTreeMap<CostRaisingKind, KindRules>);

impl CostRaisingRules {
    /// The rule for a use.
    pub fn rule_for(&self, used: &CostRaisingUse) -> CostRaisingRule {
        let Some(rules) = self.0.get(&used.kind) else {
            return CostRaisingRule::default();
        };
        rules
            .by_id
            .get(&used.id)
            .copied()
            .unwrap_or(rules.otherwise)
    }

    /// Whether it is named by its id and not refused: the operator thought of it.
    pub fn allows_by_name(&self, used: &CostRaisingUse) -> bool {
        self.0
            .get(&used.kind)
            .and_then(|rules| rules.by_id.get(&used.id))
            .is_some_and(|rule| *rule != CostRaisingRule::Refuse)
    }

    /// Whether the plan says nothing.
    pub fn is_default(&self) -> bool {
        self.0.is_empty()
    }
}
