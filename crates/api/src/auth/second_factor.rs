//! `/v1/auth/second-factor`: codes that a login needs beside the password.

pub(crate) mod begin;
pub(crate) mod confirm;
mod proof;
pub(crate) mod recovery_codes;
pub(crate) mod remove;
mod secret;
pub(crate) mod status;

use airouter_auth::RecoveryCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::secret as secret_text;
use crate::problem::Problem;

pub(super) use proof::{prove, prove_at_login};

/// Recovery codes that somebody gets at once.
const RECOVERY_CODES: usize = 10;

/// The password and a code once more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordAndCode {
    /// The password.
    #[serde(deserialize_with = "secret_text")]
    #[schema(value_type = String, format = Password, max_length = 1024, example = "correct horse battery")]
    password: SecretString,
    /// What the authenticator shows, or a recovery code.
    #[serde(deserialize_with = "secret_text")]
    #[schema(value_type = String, max_length = 40, example = "123456")]
    code: SecretString,
}

/// Codes to log in with when the authenticator is lost.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecoveryCodes {
    /// Each is good once. They are shown this once.
    #[schema(example = json!(["abcd-efgh-ijkl-mnop"]))]
    recovery_codes: Vec<String>,
}

impl RecoveryCodes {
    fn of(codes: &[RecoveryCode]) -> Self {
        let shown = codes.iter().map(|code| code.expose().to_owned());
        Self {
            recovery_codes: shown.collect(),
        }
    }
}

fn new_recovery_codes() -> Result<Vec<RecoveryCode>, Problem> {
    let codes = (0..RECOVERY_CODES).map(|_| RecoveryCode::generate());
    codes.collect::<Result<_, _>>().map_err(|error| {
        tracing::error!(%error, "no recovery codes could be made");
        Problem::Internal
    })
}
