//! A body that can be had back as long as nobody began to read it.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, stream};

use crate::uploads::Body;

/// What gives a lent body back.
pub(super) struct Unread(Arc<Mutex<Option<Body>>>);

/// Lends a body.
pub(super) fn lend(body: Body) -> (Body, Unread) {
    let shared = Arc::new(Mutex::new(Some(body)));
    let unread = Unread(shared.clone());
    let lent = stream::once(async move { take(&shared).unwrap_or_else(|| stream::empty().boxed()) }).flatten();
    (lent.boxed(), unread)
}

impl Unread {
    /// The whole body, if none of it was read.
    pub(super) fn back(self) -> Option<Body> {
        take(&self.0)
    }
}

fn take(shared: &Mutex<Option<Body>>) -> Option<Body> {
    shared.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn body() -> Body {
        stream::iter([Ok(Bytes::from_static(b"one")), Ok(Bytes::from_static(b"two"))]).boxed()
    }

    #[tokio::test]
    async fn what_was_not_read_comes_back_whole() {
        let (lent, unread) = lend(body());
        drop(lent);
        assert_eq!(unread.back().expect("unread").count().await, 2);
        let (mut lent, unread) = lend(body());
        assert_eq!(lent.next().await.expect("a frame").expect("bytes"), "one");
        assert!(unread.back().is_none());
        assert_eq!(lent.count().await, 1);
    }
}
