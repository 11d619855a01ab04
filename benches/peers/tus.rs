//! A client of tus 1.0: one upload's requests. The head of each is text.

use crate::{
    Fault,
    content::{Content, Range},
    peer::Peer,
    wire::{Answer, Link, Request},
};

/// Where an upload lies.
#[derive(Clone)]
pub(crate) struct Place {
    path: String,
}

/// The request that makes an upload of `bytes`, with all of them in it or without any.
fn creation(peer: &Peer, bytes: u64, body: Range) -> Request {
    let kind = if body.bytes > 0 { "content-type: application/offset+octet-stream\r\n" } else { "" };
    let (path, length, opening) = (peer.path, body.bytes, peer.opening("POST", peer.path));
    debug_assert!(path.starts_with('/'));
    let head = format!(
        "{opening}{}tus-resumable: 1.0.0\r\nupload-length: {bytes}\r\n\
         upload-metadata: filename Zi5iaW4=\r\n{kind}content-length: {length}\r\n\r\n",
        peer.proof
    );
    Request::with(head, body)
}

/// The request that adds bytes.
pub(crate) fn addition(peer: &Peer, place: &Place, body: Range) -> Request {
    let Range { from, bytes, .. } = body;
    let head = format!(
        "{}{}tus-resumable: 1.0.0\r\nupload-offset: {from}\r\n\
         content-type: application/offset+octet-stream\r\ncontent-length: {bytes}\r\n\r\n",
        peer.opening("PATCH", &place.path),
        peer.proof
    );
    Request::with(head, body)
}

/// Makes an upload of `bytes`, of which `body` is sent along.
pub(crate) async fn create(
    peer: &Peer,
    link: &mut Link,
    content: &Content,
    bytes: u64,
    body: Range,
) -> Result<Place, Fault> {
    let answer = link.ask(content, &creation(peer, bytes, body)).await?.success()?;
    if body.bytes > 0 && answer.number("upload-offset") != Some(body.bytes) {
        return Err(format!("of {} bytes {:?} were taken", body.bytes, answer.field("upload-offset")).into());
    }
    let location = answer.field("location").ok_or("an upload without a location")?;
    let path = match location.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/').ok_or("a location without a path")?..],
        None => location,
    };
    Ok(Place { path: path.to_owned() })
}

/// Adds bytes; the answer whatever it is.
pub(crate) async fn add(
    peer: &Peer,
    link: &mut Link,
    content: &Content,
    place: &Place,
    body: Range,
) -> Result<Answer, Fault> {
    link.ask(content, &addition(peer, place, body)).await
}

/// Adds bytes that must all be taken.
pub(crate) async fn append(
    peer: &Peer,
    link: &mut Link,
    content: &Content,
    place: &Place,
    body: Range,
) -> Result<(), Fault> {
    let answer = add(peer, link, content, place, body).await?.success()?;
    match answer.number("upload-offset") == Some(body.from + body.bytes) {
        true => Ok(()),
        false => Err(format!("was answered offset {:?}", answer.field("upload-offset")).into()),
    }
}

/// Asks how far an upload got; the answer whatever it is.
pub(crate) async fn status(peer: &Peer, link: &mut Link, content: &Content, place: &Place) -> Result<Answer, Fault> {
    let opening = peer.opening("HEAD", &place.path);
    let head = format!("{opening}{}tus-resumable: 1.0.0\r\n\r\n", peer.proof);
    link.ask(content, &Request::text(head)).await
}
