//! The demo page. Only the demo serves it: it holds the demo user's secret.

use axum::Router;

use super::{File, HTML, IMAGE, SCRIPT, STYLE, client, file};

/// Everything that the page consists of beside the browser client.
const FILES: [File; 4] = [
    ("/", HTML, include_str!("../../../assets/demo.html")),
    ("/demo/demo.js", SCRIPT, include_str!("../../../assets/demo.js")),
    ("/demo/demo.css", STYLE, include_str!("../../../assets/demo.css")),
    ("/demo/icon.svg", IMAGE, include_str!("../../../assets/icon.svg")),
];

/// The page at `/`, and the browser client that it uses.
pub fn routes() -> Router {
    super::routes(&FILES, file).merge(client())
}
