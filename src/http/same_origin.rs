//! What is for pages of this origin alone: the operators' API. Whatever `cors.*` lists, no other page may use or read it.
//!
//! The console sends its credentials by itself, so nothing rides along on a foreign page's request. But a browser may know
//! a password for this host (`Basic`) and would add it to a form that such a page posts. So what a browser marks as another
//! page's (`cross_site`) is refused before any credential is looked at, reads too. What carries no mark comes from no
//! browser.

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{
    AppState,
    problem::{Code, Problem},
};

/// Path of the operators' API.
pub const API: &str = "/api/v1/admin";

/// Whether this path is kept from pages of other origins.
pub fn is_kept(path: &str) -> bool {
    path.strip_prefix(API).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The layer.
pub async fn same_origin(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if app.here(&parts).is_from_elsewhere(&parts) {
        return Problem::new(Code::CrossSiteRequest, "only the console of this service may do this from a browser")
            .into_response();
    }
    let mut response = next.run(Request::from_parts(parts, body)).await;
    // Secrets are shown once, and lists are of now.
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept() {
        for path in ["/api/v1/admin", "/api/v1/admin/", "/api/v1/admin/users"] {
            assert!(is_kept(path), "{path}");
        }
        for path in ["/api/v1/administer", "/api/v1/uploads", "/admin/"] {
            assert!(!is_kept(path), "{path}");
        }
    }
}
