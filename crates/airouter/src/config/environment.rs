//! Reading settings from the environment, so that every fault is found in one go.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use secrecy::SecretString;

use super::settings::SETTINGS;

/// Environment variables, as data.
#[derive(Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, OsString>);

/// Something wrong with a setting: its name, what is wrong, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    name: &'static str,
    what: String,
}

/// Everything wrong with the settings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Faults(Vec<Fault>);

impl Environment {
    /// The environment of this process. Names that are not text are nobody's settings.
    pub(crate) fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect()
    }

    /// This environment with another value of one variable.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// This environment without one variable.
    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.0.remove(name);
        self
    }

    /// `AIROUTER_…` variables that mean nothing: most likely typing errors.
    pub(super) fn unknown(&self) -> Vec<String> {
        let is_known = |name: &str| SETTINGS.iter().any(|setting| setting.name == name);
        self.0
            .keys()
            .filter(|name| name.starts_with("AIROUTER_") && !is_known(name))
            .cloned()
            .collect()
    }
}

impl FromIterator<(String, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, OsString)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// Reads settings and collects what is wrong with them; whoever reads goes on with a default.
pub(super) struct Reader<'a> {
    environment: &'a Environment,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(environment: &'a Environment) -> Self {
        Self {
            environment,
            faults: Vec::new(),
        }
    }

    /// The trimmed text of a setting; one that is empty is not set.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        debug_assert!(
            SETTINGS.iter().any(|setting| setting.name == name),
            "{name} is not documented"
        );
        let value = self.environment.0.get(name)?;
        let Some(text) = value.to_str() else {
            self.fault(name, "is not UTF-8 text");
            return None;
        };
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The text of a setting that no message may repeat.
    pub(super) fn secret(&mut self, name: &'static str) -> Option<SecretString> {
        self.text(name).map(SecretString::from)
    }

    /// A setting that `parse` understands; `expected` says what that is.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.fault(name, format!("{text:?} is not {expected}"));
        }
        parsed
    }

    /// Notes that a setting is wrong.
    pub(super) fn fault(&mut self, name: &'static str, what: impl Into<String>) {
        self.faults.push(Fault {
            name,
            what: what.into(),
        });
    }

    /// `value`, if nothing was wrong.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Faults> {
        if self.faults.is_empty() {
            Ok(value)
        } else {
            Err(Faults(self.faults))
        }
    }
}

/// One line for each fault: `NAME: what is wrong`.
impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Fault { name, what }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{name}: {what}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
