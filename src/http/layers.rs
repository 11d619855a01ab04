//! What happens to every request before a door sees it, and to every answer after: the order, stated once.
//!
//! Around all of them stands the **count** ([`super::meters`]), so that what any layer answers is counted, preflights too.
//! Then, from the outside in:
//! 1. **cross-domain**: around everything, so that a page of a listed origin can read every answer, whoever made it; a
//!    preflight ends here, unlogged, for browsers send many and they say nothing;
//! 2. **request id**: so early that everything below, a panic too, answers and logs under it;
//! 3. **nosniff**: on every answer, whoever made it: no browser is to guess what content is;
//! 4. **sensitive headers**: marked before anything may print a request;
//! 5. **span**: under the id; sees the final status, so it is around whatever makes one;
//! 6. **panic → 500**: inside the span, so that the panic is logged in it and the connection lives on;
//! 7. **sound head**: its size and its one authority, before any door parses a header;
//! 8. **guarded body**: it replaces the body that the doors read; everything above answers without reading;
//! 9. **digested body**: last, so that what is hashed is what a door reads.
//!
//! No limit on time or length of a request: uploads are
//! long; their pace is the guard's business, their length the core's.

use std::{any::Any, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Version, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use tower_http::{
    catch_panic::CatchPanicLayer, classify::ServerErrorsFailureClass,
    sensitive_headers::SetSensitiveRequestHeadersLayer, set_header::SetResponseHeaderLayer, trace::TraceLayer,
};
use tracing::{Span, field::Empty};

use crate::{
    http::{
        Settings,
        body::{Guard, guard},
        cors::{Cors, cors},
        digested::digested,
        entrance::Entered,
        problem::{Code, Problem, with_request_id},
    },
    worker::Tasks,
};

/// Names a request in answers, logs and questions to the identity server.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers that carry credentials, under every name that the gate reads.
const SENSITIVE: [HeaderName; 10] = [
    header::AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("api-key"),
    HeaderName::from_static("api_key"),
    HeaderName::from_static("x_api_key"),
    HeaderName::from_static("x_signature"),
    HeaderName::from_static("signature"),
    HeaderName::from_static("upload-token"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-signature"),
];

/// `router` with all layers, and with problems for unknown routes and wrong methods.
pub fn wrap(router: Router, settings: &Settings, origins: Cors, tasks: &Tasks) -> Router {
    let max_head = usize::try_from(settings.max_head.as_u64()).unwrap_or(usize::MAX);
    // A layer is around those that were added before it: read this from below.
    router
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed, "see the Allow header"))
        .layer(from_fn(digested))
        .layer(from_fn_with_state(Guard::new(settings, tasks), guard))
        .layer(from_fn_with_state(max_head, sound_head))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_request(())
                .on_response(answered)
                .on_failure(|_: ServerErrorsFailureClass, _: Duration, _: &Span| {}),
        )
        .layer(SetSensitiveRequestHeadersLayer::new(SENSITIVE))
        .layer(SetResponseHeaderLayer::overriding(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .layer(from_fn(name_request))
        .layer(from_fn_with_state(origins, cors))
}

/// Gives the request an id: the client's own if it is short and harmless, else a new one (UUID version 7, so that ids
/// sort by time). tower-http's layers would take three and a filter before them, since they believe every client.
async fn name_request(mut request: Request, next: Next) -> Response {
    let sent = request.headers().get(X_REQUEST_ID).filter(|sent| is_harmless(sent)).cloned();
    let id = sent.unwrap_or_else(minted);
    request.headers_mut().insert(X_REQUEST_ID, id.clone());
    let name = id.to_str().unwrap_or_default().to_owned();
    let mut response = with_request_id(name, next.run(request)).await;
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

fn is_harmless(id: &HeaderValue) -> bool {
    (1..=64).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn minted() -> HeaderValue {
    HeaderValue::try_from(uuid::Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("unnamed"))
}

/// Without the query: credentials may stand in it.
fn span(request: &Request) -> Span {
    let id = request.headers().get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
    tracing::info_span!(
        "request",
        http.method = %request.method(),
        http.path = Entered::of(request.extensions()).path(request.uri()),
        request.id = id,
        http.status = Empty,
        latency_ms = Empty,
    )
}

fn answered(response: &Response, latency: Duration, span: &Span) {
    span.record("http.status", response.status().as_u16());
    span.record("latency_ms", u64::try_from(latency.as_millis()).unwrap_or(u64::MAX));
    tracing::info!("answered");
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
    Problem::internal(format!("panic: {text}")).into_response()
}

/// Refuses a head that is too large, or one whose authority is in doubt: HTTP/1.1 needs exactly one `Host` (RFC 9112
/// §3.2); with two, a proxy and this service could believe different ones.
async fn sound_head(State(max_head): State<usize>, request: Request, next: Next) -> Response {
    if head_length(request.headers()) + request.uri().to_string().len() > max_head {
        let detail = format!("request line and headers exceed {max_head} bytes");
        return Problem::new(Code::HeadTooLarge, detail).into_response();
    }
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Problem::new(Code::BadRequest, "exactly one Host header is needed").into_response();
    }
    next.run(request).await
}

/// As HTTP/1 spells them: a colon, a blank and a line end beside name and value.
fn head_length(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}
