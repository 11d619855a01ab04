//! The contract of a content store. Every store passes it.

use bytes::Bytes;
use chunkgate::{
    content::{
        ContentError, ContentStore, Start,
        local::{LocalStore, Settings},
    },
    domain::{Clock as _, Durability, SystemClock, UploadId, concat::Slice, upload::Placement},
};
use futures_util::TryStreamExt as _;

/// Every duty of a store, one test each, for the store that `$make` opens in a folder.
macro_rules! contract {
    ($name:ident, $make:expr) => {
        mod $name {
            use super::*;

            async fn store() -> (tempfile::TempDir, Box<dyn ContentStore>) {
                let folder = tempfile::tempdir().expect("a folder");
                let store = $make(folder.path()).await;
                (folder, store)
            }

            contract!(@ what_is_written_is_read growing_is_cut_where_it_is_told writing_again_is_harmless
                what_is_put_is_as_if_written what_was_finished_and_not_recorded_grows_again
                pieces_are_joined_and_what_was_beyond_is_cut
                a_content_that_is_too_short_is_missing finishing_twice_is_once deleting_twice_is_once
                a_finished_content_takes_the_empty_chunk_that_changes_nothing unfinished_contents_are_found the_probe_leaves_nothing);
        }
    };
    (@ $($duty:ident)*) => {
        $(#[tokio::test]
        async fn $duty() {
            let (_folder, store) = store().await;
            super::$duty(&*store).await;
        })*
    };
}

contract!(local_disk, |folder: &std::path::Path| local(folder.to_owned(), Durability::Disk));
contract!(local_os, |folder: &std::path::Path| local(folder.to_owned(), Durability::Os));

async fn local(path: std::path::PathBuf, durability: Durability) -> Box<dyn ContentStore> {
    Box::new(LocalStore::open(&Settings { path, durability, ..Settings::default() }).await.expect("opens"))
}

fn place(store: &dyn ContentStore) -> (UploadId, Placement) {
    let id = UploadId::new();
    (id, store.place(id, None, SystemClock.now()))
}

async fn made(store: &dyn ContentStore, frames: &[&'static str]) -> Placement {
    let (_, placement) = place(store);
    let mut writer = store.create(&placement).await.expect("made");
    writer.write(frames.iter().map(|frame| Bytes::from_static(frame.as_bytes())).collect()).await.expect("written");
    writer.sync().await.expect("synced");
    placement
}

async fn appended(store: &dyn ContentStore, placement: &Placement, at: u64, text: &'static str) {
    let mut writer = store.append(placement, at).await.expect("opens");
    writer.write(vec![Bytes::from_static(text.as_bytes())]).await.expect("written");
    writer.sync().await.expect("synced");
}

async fn read(store: &dyn ContentStore, placement: &Placement, from: u64, length: u64) -> String {
    let bytes: Vec<Bytes> =
        store.read(placement, from, length).await.expect("opens").try_collect().await.expect("reads");
    String::from_utf8(bytes.concat()).expect("text")
}

async fn what_is_written_is_read(store: &dyn ContentStore) {
    let placement = made(store, &["012", "", "34", "56789"]).await;
    assert_eq!(read(store, &placement, 0, 10).await, "0123456789");
    assert_eq!(read(store, &placement, 3, 4).await, "3456");
    store.finish(&placement, 10).await.expect("finished");
    assert_eq!(read(store, &placement, 8, 2).await, "89");
    assert_eq!(read(store, &placement, 10, 0).await, "");
}

async fn pieces_are_joined_and_what_was_beyond_is_cut(store: &dyn ContentStore) {
    let [one, other] = [made(store, &["0123"]).await, made(store, &["456789"]).await];
    let (_, joined) = place(store);
    let slice = |placement: &Placement, from, length| Slice { placement: placement.clone(), from, length };
    store.join(&joined, 0, &[slice(&other, 3, 2), slice(&one, 0, 4)]).await.expect("joined");
    assert_eq!(read(store, &joined, 0, 9).await, "780123");
    store.join(&joined, 2, &[slice(&other, 0, 2)]).await.expect("joined");
    assert_eq!(read(store, &joined, 0, 9).await, "7845");
    assert_eq!(read(store, &one, 0, 9).await, "0123");
    let short = store.join(&joined, 4, &[slice(&one, 2, 3)]).await;
    assert!(matches!(short, Err(ContentError::Missing(_))), "{short:?}");
    assert!(matches!(store.join(&joined, 9, &[]).await, Err(ContentError::Missing(_))));
    store.join(&joined, 0, &[]).await.expect("emptied");
    store.finish(&joined, 0).await.expect("finished");
}

async fn growing_is_cut_where_it_is_told(store: &dyn ContentStore) {
    let placement = made(store, &["01234", "left behind"]).await;
    appended(store, &placement, 5, "56").await;
    assert_eq!(read(store, &placement, 0, 100).await, "0123456");
    appended(store, &placement, 7, "789 and more").await;
    store.finish(&placement, 10).await.expect("finished");
    assert_eq!(read(store, &placement, 0, 100).await, "0123456789", "cut at the end, too");
}

async fn writing_again_is_harmless(store: &dyn ContentStore) {
    let placement = made(store, &["01234"]).await;
    appended(store, &placement, 2, "234567").await;
    appended(store, &placement, 2, "234567").await;
    assert_eq!(read(store, &placement, 0, 100).await, "01234567");
}

async fn what_is_put_is_as_if_written(store: &dyn ContentStore) {
    let put = async |placement, start, text: &'static str| {
        let frames = text.split_inclusive('4').map(|frame| Bytes::from_static(frame.as_bytes())).collect();
        store.put(placement, start, frames).await
    };
    let (_, placement) = place(store);
    put(&placement, Start::New, "01234 left behind").await.expect("made");
    put(&placement, Start::At(5), "5").await.expect("there");
    assert_eq!(read(store, &placement, 0, 100).await, "012345");
    put(&placement, Start::At(6), "").await.expect("the same");
    assert_eq!(read(store, &placement, 0, 100).await, "012345");
    assert!(matches!(put(&placement, Start::At(7), "7").await, Err(ContentError::Missing(_))));
    assert_eq!(read(store, &placement, 0, 100).await, "012345", "and is left as it was");
    put(&placement, Start::New, "").await.expect("made anew");
    store.finish(&placement, 0).await.expect("finished");
    let (_, nowhere) = place(store);
    assert!(matches!(put(&nowhere, Start::At(0), "").await, Err(ContentError::Missing(_))));
    assert_eq!(store.unfinished().await.expect("listed"), [], "looking makes nothing");
}

async fn a_content_that_is_too_short_is_missing(store: &dyn ContentStore) {
    let placement = made(store, &["01234"]).await;
    assert!(matches!(store.append(&placement, 6).await.err(), Some(ContentError::Missing(_))));
    assert!(matches!(store.finish(&placement, 6).await, Err(ContentError::Missing(_))));
    assert_eq!(read(store, &placement, 0, 100).await, "01234", "and is left as it was");
    let (_, nowhere) = place(store);
    assert!(matches!(store.append(&nowhere, 0).await.err(), Some(ContentError::Missing(_))));
    assert!(matches!(store.finish(&nowhere, 0).await, Err(ContentError::Missing(_))));
    assert!(matches!(store.read(&nowhere, 0, 1).await.err(), Some(ContentError::Missing(_))));
    assert!(store.unfinished().await.expect("listed").len() == 1, "looking makes nothing");
}

async fn finishing_twice_is_once(store: &dyn ContentStore) {
    let placement = made(store, &["01234"]).await;
    store.finish(&placement, 5).await.expect("finished");
    store.finish(&placement, 5).await.expect("finished before");
    assert_eq!(read(store, &placement, 0, 100).await, "01234");
}

async fn a_finished_content_takes_the_empty_chunk_that_changes_nothing(store: &dyn ContentStore) {
    let placement = made(store, &["01234"]).await;
    store.finish(&placement, 5).await.expect("finished, and nobody recorded it");
    store.append(&placement, 5).await.expect("opens");
    assert!(matches!(store.append(&placement, 4).await.err(), Some(ContentError::Missing(_))));
    store.finish(&placement, 5).await.expect("finished before");
    assert_eq!(read(store, &placement, 0, 100).await, "01234");
}

async fn what_was_finished_and_not_recorded_grows_again(store: &dyn ContentStore) {
    let placement = made(store, &["01234", "left behind"]).await;
    store.finish(&placement, 16).await.expect("finished, and nobody recorded it");
    assert!(matches!(store.open(&placement, Start::Again(17)).await.err(), Some(ContentError::Missing(_))));
    assert_eq!(read(store, &placement, 0, 100).await, "01234left behind", "and is left as it was");
    store.put(&placement, Start::Again(5), vec![Bytes::from_static(b"56789")]).await.expect("there");
    assert_eq!(store.unfinished().await.expect("listed").len(), 1, "it grows");
    assert_eq!(read(store, &placement, 0, 100).await, "0123456789");
    store.put(&placement, Start::Again(5), vec![Bytes::from_static(b"5")]).await.expect("the same");
    store.finish(&placement, 6).await.expect("finished");
    store.open(&placement, Start::Again(6)).await.expect("opens");
    assert_eq!(store.unfinished().await.expect("listed"), [], "what has no more than was recorded stays");
    assert_eq!(read(store, &placement, 0, 100).await, "012345");
}

async fn deleting_twice_is_once(store: &dyn ContentStore) {
    let (growing, finished) = (made(store, &["01234"]).await, made(store, &["01234"]).await);
    store.finish(&finished, 5).await.expect("finished");
    for placement in [&growing, &finished, &growing, &finished] {
        store.delete(placement).await.expect("gone");
    }
    for placement in [&growing, &finished] {
        assert!(matches!(store.read(placement, 0, 1).await.err(), Some(ContentError::Missing(_))));
    }
}

async fn unfinished_contents_are_found(store: &dyn ContentStore) {
    let (id, growing) = place(store);
    store.create(&growing).await.expect("made");
    let finished = made(store, &["01234"]).await;
    store.finish(&finished, 5).await.expect("finished");
    let found = store.unfinished().await.expect("listed");
    assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id]);
    store.delete(&found[0].1).await.expect("gone");
    assert_eq!(store.unfinished().await.expect("listed"), []);
    assert_eq!(read(store, &finished, 0, 100).await, "01234");
}

async fn the_probe_leaves_nothing(store: &dyn ContentStore) {
    store.check().await.expect("writable");
    assert_eq!(store.unfinished().await.expect("listed"), []);
}
