//! What becomes of links that nobody mails.

use super::environment::Reader;

/// What becomes of links with which people prove e-mail addresses and reset passwords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Links {
    /// They are dropped.
    #[default]
    Dropped,
    /// They are written to the log. Whoever reads it can log in as anybody: for development only.
    Logged,
}

impl Links {
    /// The setting's value.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Dropped => "off",
            Self::Logged => "on",
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        reader
            .parsed("AIROUTER_LOG_LINKS", "on or off", |text| {
                [Self::Dropped, Self::Logged]
                    .into_iter()
                    .find(|links| links.name() == text)
            })
            .unwrap_or_default()
    }
}
