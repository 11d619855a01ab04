//! The operators' console at `/admin/`: a page, its style and its scripts, embedded, without a build step.
//!
//! It holds nothing that is not public: whoever opens it types in who they are, and what it shows comes from the
//! operators' API. Its policy allows this origin alone, no inline script or style, and (where browsers know Trusted
//! Types) no text that is made into markup: names of files are their senders'.

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Path, content type and text of everything the console consists of.
const CONSOLE: [(&str, &str, &str); 11] = [
    ("/admin", HTML, include_str!("../../assets/admin/admin.html")),
    ("/admin/", HTML, include_str!("../../assets/admin/admin.html")),
    ("/admin/admin.css", STYLE, include_str!("../../assets/admin/admin.css")),
    ("/admin/admin.mjs", SCRIPT, include_str!("../../assets/admin/admin.mjs")),
    ("/admin/wire.mjs", SCRIPT, include_str!("../../assets/admin/wire.mjs")),
    ("/admin/parts.mjs", SCRIPT, include_str!("../../assets/admin/parts.mjs")),
    ("/admin/uploads.mjs", SCRIPT, include_str!("../../assets/admin/uploads.mjs")),
    ("/admin/users.mjs", SCRIPT, include_str!("../../assets/admin/users.mjs")),
    ("/admin/realms.mjs", SCRIPT, include_str!("../../assets/admin/realms.mjs")),
    ("/admin/trail.mjs", SCRIPT, include_str!("../../assets/admin/trail.mjs")),
    ("/admin/icon.svg", "image/svg+xml", include_str!("../../assets/icon.svg")),
];

/// The routes.
pub fn routes() -> Router {
    CONSOLE.into_iter().fold(Router::new(), |router, (path, content_type, text)| {
        router.route(path, get(async move || asset(content_type, text)))
    })
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
