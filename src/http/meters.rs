//! What is counted at the doors: every request once, by the door it came to, also one that no door answered.

use axum::{
    extract::{Request, State},
    http::{Method as Verb, StatusCode, header},
    middleware::Next,
    response::Response,
};
use std::sync::Arc;
use tokio::time::Instant;

use crate::meter::{Counter, Gauge, Histogram, words};

words! {
    /// Which door a request came to.
    pub enum Door as "door" {
        Multipart = "multipart",
        Raw = "raw",
        Tus = "tus",
        Native = "native",
        Admin = "admin",
        Pages = "pages",
        Health = "health",
        Other = "other",
    }
}

words! {
    /// With which method; what a client makes up is `other`.
    pub enum Method as "method" {
        Get = "GET",
        Head = "HEAD",
        Post = "POST",
        Put = "PUT",
        Patch = "PATCH",
        Delete = "DELETE",
        Options = "OPTIONS",
        Other = "other",
    }
}

words! {
    /// What it was answered.
    pub enum Class as "status" {
        Informed = "1xx",
        Done = "2xx",
        Elsewhere = "3xx",
        Refused = "4xx",
        Failed = "5xx",
        Gone = "gone",
    }
}

/// What is counted at the doors.
#[derive(Default)]
pub struct Meters {
    /// Requests.
    pub requests: Counter<(Door, (Method, Class))>,
    /// From a request's head to the head of its answer.
    pub seconds: Histogram<Door>,
    /// Requests that are not answered yet.
    pub in_flight: Gauge,
    /// Preflights of pages that may not read answers.
    pub cors_refused: Counter,
}

/// The doors' paths, as they are set.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) meters: Arc<Meters>,
    pub(super) multipart: Arc<str>,
    pub(super) raw: Arc<str>,
    pub(super) tus: Arc<str>,
}

impl Doors {
    /// To which door a path leads. A prefix ends with a segment: `/chunked_uploads/` is not below `/chunked_upload`.
    fn door(&self, path: &str) -> Door {
        let below =
            |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        match path {
            _ if below(&self.multipart) || below(&format!("{}_complete", self.multipart)) => Door::Multipart,
            _ if below(&self.raw) => Door::Raw,
            _ if below(&self.tus) => Door::Tus,
            _ if below("/api/v1/admin") => Door::Admin,
            _ if below("/api") => Door::Native,
            _ if below("/healthz") || below("/readyz") => Door::Health,
            "/" => Door::Pages,
            _ if below("/admin") || below("/client") || below("/demo") => Door::Pages,
            _ => Door::Other,
        }
    }
}

impl Method {
    fn of(verb: &Verb) -> Self {
        match *verb {
            Verb::GET => Self::Get,
            Verb::HEAD => Self::Head,
            Verb::POST => Self::Post,
            Verb::PUT => Self::Put,
            Verb::PATCH => Self::Patch,
            Verb::DELETE => Self::Delete,
            Verb::OPTIONS => Self::Options,
            _ => Self::Other,
        }
    }
}

impl Class {
    fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            ..200 => Self::Informed,
            200..300 => Self::Done,
            300..400 => Self::Elsewhere,
            400..500 => Self::Refused,
            500.. => Self::Failed,
        }
    }
}

/// The outermost layer: what the others answer is counted too.
pub(super) async fn count(State(doors): State<Doors>, request: Request, next: Next) -> Response {
    let meters = &doors.meters;
    let door = doors.door(request.uri().path());
    let mut seen =
        Seen { meters, door, method: Method::of(request.method()), class: Class::Gone, begun: Instant::now() };
    let _in_flight = meters.in_flight.hold(());
    let preflight = is_preflight(&request);
    let response = next.run(request).await;
    if preflight && !response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        meters.cors_refused.one(());
    }
    seen.class = Class::of(response.status());
    response
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Verb::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// A request that is counted when it is answered, or when its client leaves and its handler is dropped.
struct Seen<'a> {
    meters: &'a Meters,
    door: Door,
    method: Method,
    class: Class,
    begun: Instant,
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        self.meters.requests.one((self.door, (self.method, self.class)));
        self.meters.seconds.since(self.door, self.begun);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_doors() {
        let doors = Doors {
            meters: Arc::default(),
            multipart: "/chunked_upload".into(),
            raw: "/chunked_uploads".into(),
            tus: "/files".into(),
        };
        for (path, door) in [
            ("/chunked_upload", Door::Multipart),
            ("/chunked_upload_complete/", Door::Multipart),
            ("/chunked_uploads/upload/", Door::Raw),
            ("/files", Door::Tus),
            ("/files/1", Door::Tus),
            ("/chunked_uploadx", Door::Other),
            ("/api/v1/uploads/1", Door::Native),
            ("/api/v1/admin/users", Door::Admin),
            ("/admin/", Door::Pages),
            ("/", Door::Pages),
            ("/readyz", Door::Health),
            ("/wp-login.php", Door::Other),
        ] {
            assert_eq!(doors.door(path), door, "{path}");
        }
    }
}
