//! Who may register.

use airouter_api::RegistrationMode;

use super::environment::Reader;

pub(super) fn read(reader: &mut Reader<'_>) -> RegistrationMode {
    reader
        .parsed(
            "AIROUTER_REGISTRATION",
            "open, invitation or closed",
            RegistrationMode::from_name,
        )
        .unwrap_or_default()
}
