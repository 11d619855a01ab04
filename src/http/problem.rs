//! Failures as `application/problem+json` (RFC 9457), and the one place that logs them.
//!
//! The native JSON door and everything common to all doors answer with a [`Problem`]; doors with a dialect of their own
//! match the same errors themselves. Its `type` is `/errors#<code>`: stable, relative to the service, and the anchor of
//! the entry in the error catalogue. The private cause reaches the log, never the client.
//!
//! The request id is known to the whole handling of a request without being handed from call to call: the outermost
//! layer sets it around the request's future ([`with_request_id`]).

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    auth::{AuthError, operators::OperatorError},
    domain::{Timestamp, upload::Refusal},
    http::form::FormError,
    uploads::{BodyError, UploadError},
};

/// When to try again after a failure that passes by itself.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What a 401 asks for; RFC 9110 §15.5.2 demands that it asks.
pub const CHALLENGE: &str = "Chunkgate realm=\"chunkgate\"";

tokio::task_local! {
    static REQUEST_ID: String;
}

/// Runs the handling of a request under its id.
pub async fn with_request_id<F: Future>(id: String, handling: F) -> F::Output {
    REQUEST_ID.scope(id, handling).await
}

/// The id of the request that is being handled here.
pub fn request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

/// Defines the catalogue: code, status, title, and whether the same request may succeed later.
macro_rules! catalogue {
    ($($variant:ident $name:literal $status:ident $retryable:literal $title:literal;)*) => {
        /// What went wrong, by its public name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its public name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The status it is answered with.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// Whether the same request may succeed later.
            pub fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }

            /// A short sentence that is the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

catalogue! {
    CredentialsMissing "credentials_missing" UNAUTHORIZED false "No credentials were presented";
    AmbiguousCredentials "ambiguous_credentials" BAD_REQUEST false "The credentials contradict each other";
    CredentialsMalformed "credentials_malformed" BAD_REQUEST false "The credentials are malformed";
    TimestampOutOfWindow "timestamp_out_of_window" UNAUTHORIZED false "The timestamp is outside the accepted window";
    InvalidCredentials "invalid_credentials" UNAUTHORIZED false "The credentials are not valid";
    TokenExpired "token_expired" UNAUTHORIZED false "The upload token is no longer good";
    Replayed "replayed" UNAUTHORIZED false "The signature was already used";
    SchemeNotAllowed "scheme_not_allowed" UNAUTHORIZED false "The signature is of a scheme that is not accepted";
    NonceRequired "nonce_required" BAD_REQUEST false "The signature has no nonce";
    AccountDisabled "account_disabled" FORBIDDEN false "The account is disabled";
    CrossSiteRequest "cross_site_request" FORBIDDEN false "A page of another origin may not act with a browser's password";
    AuthUnavailable "auth_unavailable" SERVICE_UNAVAILABLE true "The credentials cannot be checked at the moment";
    RateLimited "rate_limited" TOO_MANY_REQUESTS true "Too many wrong credentials came from this address";
    ScopeDenied "scope_denied" FORBIDDEN false "The credentials lack a scope";
    Forbidden "forbidden" FORBIDDEN false "The credentials do not allow this";
    NotFound "not_found" NOT_FOUND false "There is nothing here";
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED false "The method is not allowed here";
    Expired "expired" GONE false "The upload has expired";
    Cancelled "cancelled" GONE false "The upload was cancelled";
    Conflict "conflict" CONFLICT false "It contradicts what is there";
    Complete "complete" CONFLICT false "The upload is already complete";
    Joined "joined" CONFLICT false "The upload is joined from parts and takes no bytes itself";
    Part "part" CONFLICT false "The upload is a part of another one";
    NotAPart "not_a_part" BAD_REQUEST false "It cannot be joined";
    KeyReused "key_reused" UNPROCESSABLE_ENTITY false "The key stands for another upload";
    Incomplete "incomplete" CONFLICT false "The upload is not complete yet";
    WrongOffset "wrong_offset" CONFLICT false "The chunk does not start where the upload stands";
    WrongSize "wrong_size" BAD_REQUEST false "The total length is another one";
    BeyondSize "beyond_size" BAD_REQUEST false "The chunk reaches beyond the total length";
    TooLarge "too_large" PAYLOAD_TOO_LARGE false "The file is larger than allowed";
    ChunkTooLarge "chunk_too_large" PAYLOAD_TOO_LARGE false "The chunk is larger than allowed";
    LimitExceeded "limit_exceeded" PAYLOAD_TOO_LARGE false "The uploads together would take more than allowed";
    TooManyUploads "too_many_uploads" TOO_MANY_REQUESTS true "As many uploads grow as may";
    TypeNotAllowed "type_not_allowed" UNSUPPORTED_MEDIA_TYPE false "Content of this type may not be uploaded";
    TooManyRequests "too_many_requests" TOO_MANY_REQUESTS true "Requests come too fast";
    SlowDown "slow_down" SERVICE_UNAVAILABLE true "Requests for the upload come too fast";
    WrongLength "wrong_length" BAD_REQUEST false "Another number of bytes arrived than was claimed";
    WrongDigest "wrong_digest" BAD_REQUEST false "The digest does not match";
    NoDigest "no_digest" BAD_REQUEST false "No such digest is kept for this upload";
    RangeNotSatisfiable "range_not_satisfiable" RANGE_NOT_SATISFIABLE false "There are no such bytes";
    MalformedBody "malformed_body" BAD_REQUEST false "The body is malformed";
    BadRequest "bad_request" BAD_REQUEST false "The request is malformed";
    Disconnected "disconnected" BAD_REQUEST true "The body ended before its end";
    TooSlow "too_slow" REQUEST_TIMEOUT true "The body came too slowly";
    HeadTooLarge "head_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE false "The request's head is too large";
    DiskFull "disk_full" INSUFFICIENT_STORAGE true "There is no space left";
    Busy "busy" SERVICE_UNAVAILABLE true "The upload is in use";
    Unavailable "unavailable" SERVICE_UNAVAILABLE true "The service is unavailable at the moment";
    ShuttingDown "shutting_down" SERVICE_UNAVAILABLE true "The service is stopping";
    Internal "internal" INTERNAL_SERVER_ERROR false "The service failed";
}

/// A failure as the client sees it, with the private cause for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: String,
    facts: Facts,
    retry_after: Option<Duration>,
    cause: Option<String>,
    /// Where a protocol has a status of its own for it.
    status: Option<StatusCode>,
}

/// What a client may act upon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Where the upload stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The total length that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// What is left to the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_bytes: Option<u64>,
    /// The service's time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_time: Option<Timestamp>,
}

/// The document's members, in the order they are written.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    retryable: bool,
    #[serde(flatten)]
    facts: &'a Facts,
}

impl Problem {
    /// A problem of that kind; `detail` is a sentence for the client.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = retry_after(code.status());
        Self { code, detail: detail.into(), facts: Facts::default(), retry_after, cause: None, status: None }
    }

    /// A fault of the service; `cause` is for the log alone.
    pub fn internal(cause: impl Into<String>) -> Self {
        Self::plain(Code::Internal).because(cause)
    }

    /// Nothing there, or not the caller's.
    pub fn not_found() -> Self {
        Self::plain(Code::NotFound)
    }

    /// With facts that a client may act upon.
    #[must_use]
    pub fn with(self, facts: Facts) -> Self {
        Self { facts, ..self }
    }

    /// Under the status that a protocol has for it.
    #[must_use]
    pub fn under(self, status: StatusCode) -> Self {
        Self { status: Some(status), retry_after: self.retry_after.or(retry_after(status)), ..self }
    }

    /// With a cause for the log alone.
    #[must_use]
    pub fn because(self, cause: impl Into<String>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.code
    }

    fn status(&self) -> StatusCode {
        self.status.unwrap_or_else(|| self.code.status())
    }

    fn plain(code: Code) -> Self {
        Self::new(code, code.title())
    }

    fn document(&self, request_id: Option<&str>) -> String {
        let document = Document {
            r#type: format!("/errors#{}", self.code.name()),
            title: self.code.title(),
            status: self.status().as_u16(),
            detail: &self.detail,
            code: self.code.name(),
            request_id,
            retryable: self.code.retryable(),
            facts: &self.facts,
        };
        serde_json::to_string(&document).unwrap_or_default()
    }
}

/// Whoever hears that a failure passes hears when to come back.
fn retry_after(status: StatusCode) -> Option<Duration> {
    (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER)
}

/// Logs a failure once, at the door that answers it: faults of the service loudly, refusals quietly.
pub(super) fn log(status: StatusCode, code: &str, detail: &str, cause: Option<&str>) {
    match status {
        StatusCode::INTERNAL_SERVER_ERROR => tracing::error!(problem.code = code, cause, "{detail}"),
        status if status.is_server_error() => tracing::warn!(problem.code = code, cause, "{detail}"),
        _ => tracing::debug!(problem.code = code, cause, "{detail}"),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        log(self.status(), self.code.name(), &self.detail, self.cause.as_deref());
        let body = self.document(request_id().as_deref());
        let kind = [(header::CONTENT_TYPE, "application/problem+json"), (header::CACHE_CONTROL, "no-store")];
        let mut response = (self.status(), kind, body).into_response();
        let headers = response.headers_mut();
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        if let Some(wait) = self.retry_after {
            let whole_seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds.max(1)));
        }
        response
    }
}

impl From<&AuthError> for Problem {
    fn from(error: &AuthError) -> Self {
        let code = match error {
            AuthError::Missing => Code::CredentialsMissing,
            AuthError::Ambiguous(_) => Code::AmbiguousCredentials,
            AuthError::Malformed(_) => Code::CredentialsMalformed,
            AuthError::Stale { .. } => Code::TimestampOutOfWindow,
            AuthError::Invalid => Code::InvalidCredentials,
            AuthError::TokenExpired => Code::TokenExpired,
            AuthError::Replayed => Code::Replayed,
            AuthError::SchemeNotAllowed => Code::SchemeNotAllowed,
            AuthError::Disabled => Code::AccountDisabled,
            AuthError::CrossSite => Code::CrossSiteRequest,
            AuthError::RateLimited { .. } => Code::RateLimited,
            AuthError::Unavailable { .. } => Code::AuthUnavailable,
        };
        let mut problem = Self::new(code, error.to_string());
        if let AuthError::Stale { server_time } = error {
            problem.facts.server_time = Some(*server_time);
        }
        if let AuthError::Unavailable { retry_after } | AuthError::RateLimited { retry_after } = error {
            problem.retry_after = Some(*retry_after);
        }
        problem
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        Self::from(&error)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let none = Facts::default();
        let (code, facts) = match refusal {
            Refusal::Expired => (Code::Expired, none),
            Refusal::Cancelled => (Code::Cancelled, none),
            Refusal::Complete => (Code::Complete, none),
            Refusal::Joined => (Code::Joined, none),
            Refusal::Part => (Code::Part, none),
            Refusal::NotAPart => (Code::NotAPart, none),
            Refusal::KeyReused => (Code::KeyReused, none),
            Refusal::Incomplete { offset } => (Code::Incomplete, Facts { offset: Some(offset), ..none }),
            Refusal::WrongOffset { offset } => (Code::WrongOffset, Facts { offset: Some(offset), ..none }),
            Refusal::WrongSize { size } => (Code::WrongSize, Facts { size: Some(size), ..none }),
            Refusal::BeyondSize { size } => (Code::BeyondSize, Facts { size: Some(size), ..none }),
            Refusal::TooLarge { max_bytes } => (Code::TooLarge, Facts { max_bytes: Some(max_bytes), ..none }),
            Refusal::ChunkTooLarge { max_bytes } => (Code::ChunkTooLarge, Facts { max_bytes: Some(max_bytes), ..none }),
            Refusal::OverQuota { left_bytes } => (Code::LimitExceeded, Facts { left_bytes: Some(left_bytes), ..none }),
            Refusal::TooManyUploads { max_uploads: _ } => (Code::TooManyUploads, none),
            Refusal::TypeNotAllowed => (Code::TypeNotAllowed, none),
            Refusal::TooManyRequests { wait_seconds: _ } => (Code::TooManyRequests, none),
            Refusal::SlowDown { wait_seconds: _ } => (Code::SlowDown, none),
            Refusal::WrongLength => (Code::WrongLength, none),
            Refusal::WrongDigest { algorithm: _ } => (Code::WrongDigest, none),
            Refusal::NoDigest { algorithm: _ } => (Code::NoDigest, none),
        };
        let problem = Self::new(code, refusal.to_string()).with(facts);
        Self { retry_after: refusal.retry_after().or(problem.retry_after), ..problem }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let code = match error {
            BodyError::Disconnected => Code::Disconnected,
            BodyError::TooSlow => Code::TooSlow,
            BodyError::Malformed(_) => Code::MalformedBody,
            BodyError::WrongDigest { algorithm: _ } => Code::WrongDigest,
        };
        Self::new(code, error.to_string())
    }
}

impl From<FormError> for Problem {
    fn from(error: FormError) -> Self {
        match error {
            FormError::NotAForm => Self::new(Code::BadRequest, error.to_string()),
            FormError::Body(error) => error.into(),
        }
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::NotFound => Self::not_found(),
            UploadError::Refused(refusal) => refusal.into(),
            UploadError::Replayed => Self::plain(Code::Replayed),
            UploadError::NonceRequired => Self::new(Code::NonceRequired, error.to_string()),
            UploadError::OutOfScope { .. } => Self::new(Code::ScopeDenied, error.to_string()),
            UploadError::Forbidden => Self::plain(Code::Forbidden),
            UploadError::Body(error) => error.into(),
            UploadError::Full => Self::plain(Code::DiskFull),
            UploadError::Busy => Self::plain(Code::Busy),
            UploadError::Unavailable(cause) => Self::plain(Code::Unavailable).because(cause),
            UploadError::Internal(cause) => Self::internal(cause),
            UploadError::ShuttingDown => Self::plain(Code::ShuttingDown),
        }
    }
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::NotFound => Self::not_found(),
            OperatorError::Invalid(detail) => Self::new(Code::BadRequest, detail),
            OperatorError::Conflict(detail) => Self::new(Code::Conflict, detail),
            OperatorError::Full => Self::plain(Code::DiskFull),
            OperatorError::Unavailable(cause) => Self::plain(Code::Unavailable).because(cause),
            OperatorError::Internal(cause) => Self::internal(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document() {
        let problem = Problem::from(Refusal::WrongOffset { offset: 10 });
        assert_eq!(
            problem.document(Some("r1")),
            concat!(
                r#"{"type":"/errors#wrong_offset","title":"The chunk does not start where the upload stands","#,
                r#""status":409,"detail":"the upload stands at 10","code":"wrong_offset","request_id":"r1","#,
                r#""retryable":false,"offset":10}"#
            )
        );
    }

    #[tokio::test]
    async fn headers_that_statuses_demand() {
        let answer = with_request_id("r1".into(), async { Problem::from(AuthError::Missing).into_response() }).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], CHALLENGE);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
        let wait = AuthError::Unavailable { retry_after: Duration::from_millis(1500) };
        assert_eq!(Problem::from(wait).into_response().headers()[header::RETRY_AFTER], "2");
        assert_eq!(Problem::from(UploadError::Busy).into_response().headers()[header::RETRY_AFTER], "2");
        assert!(!Problem::not_found().into_response().headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn the_private_cause_stays_private() {
        for error in [UploadError::Internal("secret path".into()), UploadError::Unavailable("secret host".into())] {
            assert!(!Problem::from(error).document(None).contains("secret"));
        }
    }

    #[test]
    fn names_are_unique_and_lower_case() {
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
    }
}
