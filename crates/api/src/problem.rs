//! Everything that can be wrong with a request, and how it is told: RFC 9457 problem documents.

use std::time::Duration;

use airouter_billing::Nanos;
use airouter_store::StoreError;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of problem documents.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";
/// A detail is no longer: it may repeat what a client sent.
const LONGEST_DETAIL: usize = 300;

/// Why a request is not answered.
#[derive(Debug)]
pub(crate) enum Problem {
    /// No access token came.
    MissingToken,
    /// The access token is none of ours, or its session has ended.
    InvalidToken,
    /// The access token has expired.
    ExpiredToken,
    /// The caller's role may not do this.
    Forbidden,
    /// Who impersonates may only look.
    OnlyLooking,
    /// The operator token has not this scope.
    ScopeMissing(&'static str),
    /// E-mail address or password is wrong; which one is not told.
    WrongCredentials,
    /// The password was right; the login needs a code too.
    SecondFactorNeeded,
    /// The code is none of now, was used before, or is no recovery code that is left.
    WrongCode,
    /// There is no second factor that this could be done with.
    NoSecondFactor,
    /// There is a second factor already.
    SecondFactorOn,
    /// The caller's password is another one.
    WrongPassword,
    /// The token of a link is none that is good.
    NoSuchMailedToken,
    /// The caller's e-mail address is proved already.
    EmailVerified,
    /// Too many attempts.
    TooManyAttempts(Duration),
    /// Too many calls.
    TooManyCalls(Duration),
    /// The refresh token is none of ours, was used before, or its session has ended.
    InvalidRefreshToken,
    /// A cookie came without the proof that it was a page of ours that sent it.
    ForgeryProofMissing,
    /// The browser that comes back did not begin this attempt, or it is over.
    LoginNotBegun,
    /// The provider did not let the person in.
    ProviderRefused,
    /// The provider does not answer.
    ProviderUnavailable,
    /// What the provider says can't be relied on.
    ProviderNotReliable,
    /// The provider does not say that the e-mail address is the person's.
    EmailNotVouchedFor,
    /// A login has the address, and it isn't proved whose that is.
    LinkFirst,
    /// The identity is another login's, or the login has one of the provider.
    IdentityTaken,
    /// The operator has disabled the login.
    LoginDisabled,
    /// Nobody could log in any more.
    LastWayIn,
    /// Nobody may register.
    RegistrationClosed,
    /// Only who has an invitation may register, and this is none that holds.
    InvitationNeeded,
    /// There is no such thing, or it is somebody else's.
    NotFound(&'static str),
    /// It exists already.
    Exists(&'static str),
    /// There are as many as there may be.
    TooMany(&'static str),
    /// A change does not say what its author has seen.
    IfMatchMissing,
    /// It is not any more what the author of the change has seen.
    ChangedMeanwhile,
    /// The credit line is used beyond what it is to be.
    CreditLineInUse,
    /// Who has or owes something can't be erased.
    BalanceLeft(Nanos),
    /// A metered account has no balance.
    NoBalance,
    /// Of a request no more than so much can be refunded.
    RefundTooLarge(Nanos),
    /// The idempotency key came with another request before.
    KeyOfAnotherRequest,
    /// A request with this idempotency key runs.
    KeyRuns,
    /// Only who owns the organization may do this.
    OwnersOnly,
    /// The organization would be left without an owner.
    LastOwner,
    /// The code is none of an open invitation for the caller's e-mail address.
    NoSuchInvitation,
    /// Nobody may shut himself out.
    Oneself,
    /// The body, the query or the path can't be read.
    Malformed(String),
    /// A value is not possible.
    Invalid {
        /// Which.
        field: &'static str,
        /// What is expected.
        expected: &'static str,
    },
    /// What was sent says something that can't be.
    Unacceptable {
        /// Where.
        field: &'static str,
        /// Why not.
        reason: String,
    },
    /// It can't go: something has it.
    InUse(&'static str),
    /// An account that serves needs a key.
    LastKey,
    /// It has no such thing.
    OfAnotherKind(&'static str),
    /// The body is too large.
    BodyTooLarge,
    /// The body is not JSON.
    NotJson,
    /// There is no such path.
    UnknownPath,
    /// The path has no such method.
    WrongMethod,
    /// It took too long.
    TooSlow,
    /// There is too much to do.
    Busy,
    /// The database is away.
    StoreUnavailable,
    /// A bug, or a database that is broken; the log says more.
    Internal,
}

/// A problem as it is told (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemDocument {
    /// Which kind of problem: `urn:airouter:problem:` and its code.
    #[schema(example = "urn:airouter:problem:invalid_value")]
    r#type: String,
    /// What kind of problem it is, in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened here, and what to do.
    detail: String,
    /// The kind as a word, for programs.
    code: &'static str,
    /// The field that is wrong, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
}

struct Told {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
}

fn told(
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: impl Into<String>,
) -> Told {
    Told {
        status,
        code,
        title,
        detail: detail.into(),
    }
}

impl Problem {
    fn tell(&self) -> Told {
        self.tell_about_the_caller()
            .or_else(|| self.tell_about_the_provider())
            .or_else(|| self.tell_about_the_state())
            .or_else(|| self.tell_about_the_request())
            .unwrap_or_else(|| self.tell_about_the_service())
    }

    fn tell_about_the_caller(&self) -> Option<Told> {
        Some(match self {
            Self::MissingToken => told(
                StatusCode::UNAUTHORIZED,
                "missing_token",
                "No access token",
                "Log in (POST /v1/auth/login) and send the access token as 'Authorization: Bearer …'.",
            ),
            Self::InvalidToken => told(
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                "The access token is not valid",
                "The token is not one of this service, or its session has ended. Log in again.",
            ),
            Self::ExpiredToken => told(
                StatusCode::UNAUTHORIZED,
                "expired_token",
                "The access token has expired",
                "Get a new one with the refresh token (POST /v1/auth/refresh).",
            ),
            Self::Forbidden => told(
                StatusCode::FORBIDDEN,
                "forbidden",
                "Not allowed",
                "Only an administrator may do this.",
            ),
            Self::OnlyLooking => told(
                StatusCode::FORBIDDEN,
                "only_looking",
                "An administrator in a client's place may only look",
                "Only GET is allowed with this token.",
            ),
            Self::ScopeMissing(scope) => told(
                StatusCode::FORBIDDEN,
                "missing_scope",
                "Not allowed",
                format!("The operator token needs the scope '{scope}'."),
            ),
            Self::OwnersOnly => told(
                StatusCode::FORBIDDEN,
                "owners_only",
                "Not allowed",
                "Only an owner of the organization may do this.",
            ),
            Self::RegistrationClosed => told(
                StatusCode::FORBIDDEN,
                "registration_closed",
                "Nobody can register",
                "Ask the operator for a login.",
            ),
            Self::InvitationNeeded => told(
                StatusCode::FORBIDDEN,
                "invitation_needed",
                "An invitation is needed",
                "Send the code of one as 'invitation': one that is not used, revoked or expired, and not for another address.",
            ),
            Self::WrongCredentials => told(
                StatusCode::UNAUTHORIZED,
                "wrong_credentials",
                "The e-mail address or the password is wrong",
                "Check both. After several attempts there are pauses between them.",
            ),
            Self::SecondFactorNeeded => told(
                StatusCode::FORBIDDEN,
                "second_factor_needed",
                "A code is needed",
                "Send what the authenticator shows, or a recovery code, as 'code' too.",
            ),
            Self::WrongCode => told(
                StatusCode::FORBIDDEN,
                "wrong_code",
                "The code is wrong",
                "Send the code that the authenticator shows now; each is good once. After several attempts there are pauses.",
            ),
            Self::WrongPassword => told(
                StatusCode::FORBIDDEN,
                "wrong_password",
                "The password is wrong",
                "Send the password that you log in with. After several attempts there are pauses between them.",
            ),
            Self::TooManyAttempts(wait) => told(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_attempts",
                "Too many attempts",
                format!("Try again in {} seconds.", whole_seconds(*wait)),
            ),
            Self::TooManyCalls(wait) => told(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_calls",
                "Too many calls",
                format!("Try again in {} seconds.", whole_seconds(*wait)),
            ),
            Self::InvalidRefreshToken => told(
                StatusCode::UNAUTHORIZED,
                "invalid_refresh_token",
                "The refresh token is not valid",
                "It was used before, or the session has ended. Log in again.",
            ),
            Self::ForgeryProofMissing => told(
                StatusCode::FORBIDDEN,
                "missing_csrf_token",
                "No proof that the request comes from the page itself",
                "Repeat the value of the cookie __Secure-airouter-csrf in the header x-csrf-token.",
            ),
            _ => return None,
        })
    }

    fn tell_about_the_provider(&self) -> Option<Told> {
        Some(match self {
            Self::LoginNotBegun => told(
                StatusCode::BAD_REQUEST,
                "login_not_begun",
                "This browser has begun no such login",
                "It took longer than ten minutes, was done already, or began elsewhere. Log in again (GET /v1/auth/oidc/login).",
            ),
            Self::ProviderRefused => told(
                StatusCode::UNAUTHORIZED,
                "provider_refused",
                "The provider has not logged you in",
                "You or the provider refused. Log in again (GET /v1/auth/oidc/login).",
            ),
            Self::ProviderUnavailable => told(
                StatusCode::SERVICE_UNAVAILABLE,
                "provider_unavailable",
                "The provider of logins does not answer",
                "Try again shortly, or log in with a password.",
            ),
            Self::ProviderNotReliable => told(
                StatusCode::BAD_GATEWAY,
                "provider_not_reliable",
                "The provider of logins can't be relied on",
                "What it says is not valid; the operator's log says why.",
            ),
            Self::EmailNotVouchedFor => told(
                StatusCode::FORBIDDEN,
                "email_not_vouched_for",
                "The provider does not say that an e-mail address is yours",
                "Verify it there, or log in with your password and link the provider (POST /v1/auth/identities).",
            ),
            Self::LinkFirst => told(
                StatusCode::CONFLICT,
                "link_first",
                "There is a login with this e-mail address",
                "Its address was not verified here, so it may be somebody else's. Log in with its password and link the provider (POST /v1/auth/identities).",
            ),
            Self::IdentityTaken => told(
                StatusCode::CONFLICT,
                "identity_taken",
                "It is linked already",
                "This identity logs somebody else in, or the login has another one of this provider.",
            ),
            Self::LoginDisabled => told(
                StatusCode::FORBIDDEN,
                "login_disabled",
                "The login is disabled",
                "Ask the operator.",
            ),
            Self::LastWayIn => told(
                StatusCode::CONFLICT,
                "last_way_in",
                "It is the last way to log in",
                "Without a password or another identity nobody could log in any more.",
            ),
            _ => return None,
        })
    }

    fn tell_about_the_state(&self) -> Option<Told> {
        Some(match self {
            Self::IfMatchMissing => told(
                StatusCode::PRECONDITION_REQUIRED,
                "if_match_missing",
                "What was seen is not said",
                "Send the 'ETag' of the object as it was read in 'If-Match'.",
            ),
            Self::ChangedMeanwhile => told(
                StatusCode::PRECONDITION_FAILED,
                "changed_meanwhile",
                "It was changed meanwhile",
                "Read it again, and change what it is now.",
            ),
            Self::CreditLineInUse => told(
                StatusCode::CONFLICT,
                "credit_line_in_use",
                "The credit line is in use",
                "The account has used or reserved more than the new credit line covers.",
            ),
            Self::BalanceLeft(balance) => told(
                StatusCode::CONFLICT,
                "balance_left",
                "There is a balance",
                format!(
                    "It is {balance} USD. Pay it out or write it off with a debit or a credit first, so that it is 0."
                ),
            ),
            Self::NoBalance => told(
                StatusCode::CONFLICT,
                "no_balance",
                "The account has no balance",
                "A metered account pays afterwards: nothing can be credited or debited.",
            ),
            Self::RefundTooLarge(left) => told(
                StatusCode::CONFLICT,
                "refund_too_large",
                "More than is left of the charge",
                format!("At most {left} USD of this request can still be refunded."),
            ),
            Self::KeyOfAnotherRequest => told(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "The idempotency key belongs to another request",
                "Take a new Idempotency-Key for each request.",
            ),
            Self::KeyRuns => told(
                StatusCode::CONFLICT,
                "idempotency_key_in_use",
                "A request with this idempotency key runs",
                "Ask again when it is done.",
            ),
            Self::LastOwner => told(
                StatusCode::CONFLICT,
                "last_owner",
                "An organization has an owner",
                "Make somebody else an owner first.",
            ),
            Self::NoSuchInvitation => told(
                StatusCode::NOT_FOUND,
                "no_such_invitation",
                "There is no such invitation",
                "Send the code of one that is for your e-mail address, and is not used, revoked or expired.",
            ),
            Self::NoSuchMailedToken => told(
                StatusCode::NOT_FOUND,
                "no_such_token",
                "There is no such token",
                "It was used, has expired, or a later link has taken its place. Ask for another link.",
            ),
            Self::NoSecondFactor => told(
                StatusCode::CONFLICT,
                "no_second_factor",
                "There is no second factor",
                "Begin with POST /v1/auth/second-factor.",
            ),
            Self::SecondFactorOn => told(
                StatusCode::CONFLICT,
                "second_factor_on",
                "There is a second factor already",
                "Remove it first (POST /v1/auth/second-factor/remove).",
            ),
            Self::EmailVerified => told(
                StatusCode::CONFLICT,
                "email_verified",
                "The e-mail address is proved",
                "It was proved before; there is nothing to send.",
            ),
            Self::InUse(what) => told(
                StatusCode::CONFLICT,
                "in_use",
                "It is in use",
                format!("Something has {what}: it can't go, or no more can be added."),
            ),
            Self::LastKey => told(
                StatusCode::CONFLICT,
                "last_key",
                "It is the last key",
                "Add another key first, or pause the account.",
            ),
            Self::OfAnotherKind(why) => told(
                StatusCode::CONFLICT,
                "of_another_kind",
                "The account is of another kind",
                *why,
            ),
            Self::Oneself => told(
                StatusCode::CONFLICT,
                "oneself",
                "Not on oneself",
                "Another administrator must do this.",
            ),
            _ => return None,
        })
    }

    fn tell_about_the_request(&self) -> Option<Told> {
        Some(match self {
            Self::NotFound(what) => told(
                StatusCode::NOT_FOUND,
                "not_found",
                "Not found",
                format!("There is no such {what}."),
            ),
            Self::Exists(what) => told(
                StatusCode::CONFLICT,
                "exists",
                "It exists already",
                format!("There is {what} already."),
            ),
            Self::TooMany(what) => told(
                StatusCode::CONFLICT,
                "too_many",
                "There are too many",
                format!("There are as many {what} as there may be. Remove one first."),
            ),
            Self::Malformed(error) => told(
                StatusCode::BAD_REQUEST,
                "malformed_request",
                "The request can't be read",
                shortened(error),
            ),
            Self::Invalid { field, expected } => told(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_value",
                "A value is not possible",
                format!("'{field}' must be {expected}."),
            ),
            Self::Unacceptable { field, reason } => told(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_value",
                "A value is not possible",
                shortened(&format!("'{field}' is not possible: {reason}.")),
            ),
            Self::BodyTooLarge => told(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_too_large",
                "The body is too large",
                "A body has at most 64 KiB, a price table 4 MiB.",
            ),
            Self::NotJson => told(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "The body is not JSON",
                "Send JSON with 'Content-Type: application/json', not compressed.",
            ),
            Self::UnknownPath => told(
                StatusCode::NOT_FOUND,
                "unknown_path",
                "Not found",
                "There is nothing at this path; /openapi.json lists what there is.",
            ),
            Self::WrongMethod => told(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "Method not allowed",
                "The header 'Allow' says which methods this path has.",
            ),
            _ => return None,
        })
    }

    fn tell_about_the_service(&self) -> Told {
        match self {
            Self::TooSlow => told(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_slow",
                "It took too long",
                "The request did not come or was not answered in time. It may have been carried out.",
            ),
            Self::Busy => told(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Too much to do",
                "Try again shortly.",
            ),
            Self::StoreUnavailable => told(
                StatusCode::SERVICE_UNAVAILABLE,
                "service_unavailable",
                "The service is not available",
                "The database does not answer at the moment. Try again shortly.",
            ),
            _ => told(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal_error",
                "Something went wrong here",
                "The operator's log says what.",
            ),
        }
    }

    fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::TooManyAttempts(wait) | Self::TooManyCalls(wait) => Some(whole_seconds(*wait)),
            Self::TooSlow | Self::Busy | Self::StoreUnavailable | Self::ProviderUnavailable => {
                Some(1)
            }
            _ => None,
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_DETAIL).collect()
}

fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// What the database says is told only as far as it concerns the caller.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { what } => Self::NotFound(what.trim_start_matches("the ")),
            StoreError::Exists { what } => Self::Exists(what),
            StoreError::ChangedMeanwhile => Self::ChangedMeanwhile,
            StoreError::InUse { what } => Self::InUse(what),
            StoreError::Unavailable(_) | StoreError::InDoubt(_) | StoreError::Fenced => {
                tracing::warn!(%error, "the control plane's database does not answer");
                Self::StoreUnavailable
            }
            StoreError::Refused(_) | StoreError::Corrupt { .. } | StoreError::OutOfRange => {
                tracing::error!(%error, "the control plane's database refused");
                Self::Internal
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let told = self.tell();
        let document = ProblemDocument {
            r#type: format!("urn:airouter:problem:{}", told.code),
            title: told.title,
            status: told.status.as_u16(),
            detail: told.detail,
            code: told.code,
            field: match self {
                Self::Invalid { field, .. } | Self::Unacceptable { field, .. } => Some(field),
                _ => None,
            },
        };
        // Serializing texts into memory can't fail.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = told.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if told.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
