//! Where a request comes in: looked up once, before anything else, and kept with the request.
//!
//! The rule is `domain::realms`; here its facts are handed over (the target's own host and path, never what a proxy says
//! was meant), and what follows from it is known: the path that the doors see, the URLs that clients are told, the origin
//! that pages are compared with, and at which entrance the gate is asked. What trusted proxies say of the request is kept
//! beside it: who sent it, and the scheme and host of URLs where no setting says them.

use std::{convert::Infallible, ops::Deref, sync::Arc};

use axum::{
    Router,
    extract::{FromRequestParts, Request},
    http::{Extensions, HeaderValue, Uri, request::Parts, uri::PathAndQuery},
};
use tower::util::MapRequest;

use super::{
    AppState,
    cross_site::{Own, from_elsewhere},
    extract, problem,
    proxies::{Arrival, TrustedProxies},
    server::PeerAddr,
};
use crate::{
    auth::{AuthError, Presented},
    domain::{
        principal::Principal,
        realms::{self, Entrance, Realms},
    },
};

/// Where a request came in. In every request's extensions.
#[derive(Debug, Clone, Default)]
pub struct Entered {
    found: realms::Entered,
    /// The target as it was received.
    received: Uri,
    arrival: Arrival,
}

impl Entered {
    /// As it was found out. What came by no router came in at the common entrance.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// The entrance.
    pub fn entrance(&self) -> Entrance {
        self.found.entrance
    }

    /// Who sent it, and what for.
    pub fn arrival(&self) -> &Arrival {
        &self.arrival
    }

    /// What was taken off the path; nothing, mostly.
    pub fn prefix(&self) -> &str {
        &self.received.path()[..self.found.prefix]
    }

    /// The path as it was received, where that is another than the doors see.
    pub fn path<'a>(&'a self, seen: &'a Uri) -> &'a str {
        if self.found.prefix == 0 { seen.path() } else { self.received.path() }
    }
}

/// `inside`, which sees each request as it stands behind its entrance. Around the router and not a layer of it: a router
/// chooses the route before its layers run.
pub fn around(inside: Router, rule: Arc<Realms>, proxies: TrustedProxies) -> Router {
    Router::new().fallback_service(MapRequest::new(inside, move |request| enter(&rule, &proxies, request)))
}

fn enter(rule: &Realms, proxies: &TrustedProxies, request: Request) -> Request {
    let (mut parts, body) = request.into_parts();
    let peer = parts.extensions.get::<PeerAddr>().map(|peer| peer.0.ip());
    let arrival = peer.map_or_else(Arrival::default, |peer| proxies.arrival(peer, &parts.headers));
    let found = rule.entered(extract::host(&parts.headers, &parts.uri), parts.uri.path());
    let received = parts.uri.clone();
    if found.prefix > 0 {
        parts.uri = without_prefix(&received, found.prefix).unwrap_or_default();
    }
    parts.extensions.insert(Entered { found, received, arrival });
    Request::from_parts(parts, body)
}

fn without_prefix(target: &Uri, bytes: usize) -> Option<Uri> {
    let rest = target.path_and_query()?.as_str().get(bytes..)?;
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    let mut parts = target.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(rest).ok()?);
    Uri::from_parts(parts).ok()
}

/// The doors' state, at the entrance of one request.
pub struct Here {
    app: AppState,
    entered: Entered,
}

impl Deref for Here {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.app
    }
}

impl FromRequestParts<AppState> for Here {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Infallible> {
        Ok(app.here(parts))
    }
}

impl AppState {
    /// At the entrance of this request.
    pub(super) fn here(&self, parts: &Parts) -> Here {
        Here { app: self.clone(), entered: Entered::of(&parts.extensions) }
    }
}

impl Here {
    /// Who is asking?
    pub(super) async fn admit(&self, presented: &Presented) -> Result<Principal, AuthError> {
        self.gate.admit(presented).await
    }

    /// Value of `WWW-Authenticate`.
    pub(super) fn challenge(&self) -> HeaderValue {
        let challenge = self.gate.challenge(self.entered.entrance());
        HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static(problem::CHALLENGE))
    }

    /// What stands before every path that clients know of this entrance.
    pub(super) fn prefix(&self) -> &str {
        self.entered.prefix()
    }

    /// What absolute URLs in answers begin with, so that they lead to this entrance again; plain http where no scheme is
    /// known.
    pub(super) fn base_url(&self, parts: &Parts) -> String {
        let (scheme, authority) = self.reached(parts);
        let prefix = self.prefix();
        authority.map_or_else(|| prefix.to_owned(), |host| format!("{}://{host}{prefix}", scheme.unwrap_or("http")))
    }

    /// What a request presents. Behind a proxy that changes `Host`, the authority is the one that clients know.
    pub(super) fn presented(&self, parts: &Parts, form: Vec<(String, String)>) -> Presented {
        let mut presented = extract::presented(parts, &self.entered, form);
        presented.cross_site = self.is_cross_site(parts);
        let (scheme, authority) = self.reached(parts);
        presented.request.host = authority.map(str::to_owned);
        if let Some(scheme) = scheme {
            presented.scheme = scheme.to_owned();
        }
        presented
    }

    /// Whether the client is known to come by https.
    pub(super) fn is_https(&self) -> bool {
        self.scheme() == Some("https")
    }

    /// Scheme and authority that are set.
    fn set(&self) -> Option<(&str, &str)> {
        self.public_url.as_deref()?.split_once("://")
    }

    fn scheme(&self) -> Option<&str> {
        self.set().map(|(scheme, _)| scheme).or(self.entered.arrival.scheme)
    }

    /// Scheme, if it is known, and authority under which the client reaches the service: what is set, else what a trusted
    /// proxy says, else what was asked. A realm's own host, by which it came in, is none of a proxy's or of
    /// `server.public_url`.
    fn reached<'a>(&'a self, parts: &'a Parts) -> (Option<&'a str>, Option<&'a str>) {
        let asked = extract::host(&parts.headers, &parts.uri);
        let told = || self.set().map(|(_, authority)| authority).or(self.entered.arrival.host.as_deref());
        let authority = if self.entered.found.by_host { asked } else { told().or(asked) };
        (self.scheme(), authority)
    }

    /// Whether a browser sends the request for a page of another origin, one that may not act with what the browser
    /// knows of its user.
    fn is_cross_site(&self, parts: &Parts) -> bool {
        self.is_from_elsewhere(parts) && !self.cors.grants_credentials(self.entered.entrance(), &parts.headers)
    }

    /// Whether a browser sends the request for a page of another origin.
    pub(super) fn is_from_elsewhere(&self, parts: &Parts) -> bool {
        let (scheme, authority) = self.reached(parts);
        let set = scheme.zip(authority).map(|(scheme, authority)| format!("{scheme}://{authority}"));
        from_elsewhere(&parts.headers, &set.as_deref().map_or(Own::Asked(authority), Own::Set))
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::State, routing::any};
    use tower::ServiceExt as _;

    use super::*;
    use crate::domain::realms::Realm;

    async fn seen(target: &str, host: &str) -> String {
        async fn told(State(()): State<()>, request: Request) -> String {
            let entered = Entered::of(request.extensions());
            format!("{} {} {:?}", request.uri(), entered.path(request.uri()), entered.entrance())
        }
        let acme = Realm {
            name: "acme".into(),
            hosts: vec!["acme.test".into()],
            path_prefixes: vec!["/acme".into()],
            ..Realm::default()
        };
        let router = Router::new().route("/", any(told)).route("/x/{id}/", any(told)).with_state(());
        let router = around(router, Arc::new(Realms::new("main", [acme])), TrustedProxies::default());
        let request = Request::get(target).header("host", host).body(Body::empty()).expect("a request");
        let Ok(answer) = router.oneshot(request).await;
        let body = axum::body::to_bytes(answer.into_body(), 4096).await.expect("a small body");
        String::from_utf8_lossy(&body).into_owned()
    }

    #[tokio::test]
    async fn a_prefix_is_taken_off_before_the_route_is_chosen() {
        for (target, host, answer) in [
            ("/x/1/?a=b", "up.test", "/x/1/?a=b /x/1/ Common"),
            ("/acme/x/1/?a=/acme", "up.test", "/x/1/?a=/acme /acme/x/1/ Own(1)"),
            ("/acme", "up.test", "/ /acme Own(1)"),
            ("/acme?a", "up.test", "/?a /acme Own(1)"),
            ("/acme/", "up.test", "/ /acme/ Own(1)"),
            ("/x/1/", "ACME.test:81", "/x/1/ /x/1/ Own(1)"),
            ("http://acme.test/x/1/", "up.test", "http://acme.test/x/1/ /x/1/ Own(1)"),
            ("http://up.test/acme/x/1/", "up.test", "http://up.test/x/1/ /acme/x/1/ Own(1)"),
            ("/acme/acme/x/1/", "up.test", ""),
        ] {
            assert_eq!(seen(target, host).await, answer, "{target}");
        }
    }
}
