//! Every route of every door that asks who is there.

use chunkgate::domain::principal::Scope;

use super::Pairs;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Native,
    Tus,
    Multipart,
    Raw,
}

/// How far the upload is that a route is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Half,
    Whole,
    Complete,
}

/// What a request carries besides credentials.
#[derive(Clone, Copy)]
pub(super) enum Sends {
    Nothing,
    /// An urlencoded form.
    Form(Pairs),
    /// A multipart form with the file behind the fields.
    Part(Pairs, &'static str),
    /// The bytes alone.
    Bytes(&'static str),
    /// These bytes under these headers, as tus clients send them.
    Tus(Pairs, &'static str),
}

pub(super) struct Route {
    pub(super) what: &'static str,
    pub(super) door: Door,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) stage: Stage,
    pub(super) sends: Sends,
    /// What a key needs for it.
    pub(super) scope: Option<Scope>,
    /// The status for the owner, and for somebody else.
    pub(super) answers: (u16, u16),
}

pub(super) const FIRST: &str = "bytes 0-4/10";
pub(super) const NEXT: &str = "bytes 5-9/10";
pub(super) const CHUNKS: &str = "/chunked_upload/";
pub(super) const RAW: &str = "/chunked_uploads/upload/";

#[rustfmt::skip]
const fn route(
    what: &'static str, door: Door, (method, path): (&'static str, &'static str), stage: Stage, sends: Sends,
    scope: Option<Scope>, answers: (u16, u16),
) -> Route {
    Route { what, door, method, path, stage, sends, scope, answers }
}

#[rustfmt::skip]
pub(super) const ROUTES: [Route; 20] = {
    use {Door::{Multipart, Native, Raw, Tus}, Sends::{Bytes, Form, Nothing, Part}, Stage::*, Scope::*};
    const MADE: Pairs = &[("Upload-Length", "10")];
    const AT_FIVE: Pairs = &[("Upload-Offset", "5"), ("Content-Type", "application/offset+octet-stream")];
    const PATCHED: Pairs = &[
        ("X-HTTP-Method-Override", "PATCH"), ("Upload-Offset", "5"),
        ("Content-Type", "application/offset+octet-stream"),
    ];
    const DONE: Pairs = &[("upload_id", "{id}"), ("md5", "{md5}")];
    [
        route("multipart, first chunk", Multipart, ("POST", CHUNKS), Half, Part(&[], FIRST), Some(Create), (200, 200)),
        route("multipart, next chunk", Multipart, ("POST", CHUNKS), Half, Part(&[("upload_id", "{id}")], NEXT), Some(Write), (200, 404)),
        route("multipart, complete", Multipart, ("POST", "/chunked_upload_complete/"), Whole, Form(DONE), Some(Write), (200, 404)),
        route("raw, first chunk", Raw, ("POST", RAW), Half, Bytes(FIRST), Some(Create), (200, 200)),
        route("raw, next chunk", Raw, ("POST", RAW), Half, Bytes(NEXT), Some(Write), (200, 409)),
        route("raw, probe", Raw, ("GET", RAW), Half, Nothing, Some(Read), (200, 200)),
        route("raw, probe by name", Raw, ("GET", "/chunked_uploads/upload/?file={file}"), Half, Nothing, Some(Read), (200, 200)),
        route("raw, done", Raw, ("POST", "/chunked_uploads/upload/done/{id}/"), Whole, Form(&[]), Some(Write), (200, 404)),
        route("raw, delete", Raw, ("DELETE", "/chunked_uploads/{id}/delete/"), Half, Form(&[]), Some(Delete), (200, 404)),
        route("raw, delete of nothing", Raw, ("DELETE", RAW), Half, Form(&[]), None, (404, 404)),
        route("native, list", Native, ("GET", "/api/v1/uploads"), Half, Nothing, Some(Read), (200, 200)),
        route("native, status", Native, ("GET", "/api/v1/uploads/{id}"), Half, Nothing, Some(Read), (200, 404)),
        route("native, content", Native, ("GET", "/api/v1/uploads/{id}/content"), Complete, Nothing, Some(Read), (200, 404)),
        route("native, cancel", Native, ("DELETE", "/api/v1/uploads/{id}"), Half, Nothing, Some(Delete), (204, 404)),
        route("tus, create", Tus, ("POST", "/files/"), Half, Sends::Tus(MADE, ""), Some(Create), (201, 201)),
        route("tus, offset", Tus, ("HEAD", "/files/{id}"), Half, Sends::Tus(&[], ""), Some(Read), (200, 404)),
        route("tus, next bytes", Tus, ("PATCH", "/files/{id}"), Half, Sends::Tus(AT_FIVE, "56789"), Some(Write), (204, 404)),
        route("tus, next bytes in a POST", Tus, ("POST", "/files/{id}"), Half, Sends::Tus(PATCHED, "56789"), Some(Write), (204, 404)),
        route("tus, content", Tus, ("GET", "/files/{id}"), Complete, Sends::Tus(&[], ""), Some(Read), (200, 404)),
        route("tus, terminate", Tus, ("DELETE", "/files/{id}"), Half, Sends::Tus(&[], ""), Some(Delete), (204, 404)),
    ]
};

impl Route {
    pub(super) fn takes_fields(&self) -> bool {
        matches!(self.sends, Sends::Form(_) | Sends::Part(..))
    }

    pub(super) fn begins(&self) -> bool {
        matches!(self.sends, Sends::Part(_, FIRST) | Sends::Bytes(FIRST)) || self.path == "/files/"
    }
}
