//! An upload as native JSON shows it, to its owner and to operators.

use serde::Serialize;

use crate::domain::{
    Timestamp,
    digest::Algorithm,
    upload::{State, Upload},
};

/// An upload.
#[derive(Serialize)]
pub struct Shown {
    id: String,
    filename: String,
    state: State,
    offset: u64,
    size: Option<u64>,
    percent: Option<f64>,
    created: Timestamp,
    expires: Option<Timestamp>,
    digest: Option<ShownDigest>,
}

/// The digest of a complete upload.
#[derive(Serialize)]
struct ShownDigest {
    algorithm: Algorithm,
    value: String,
}

/// The upload as it stands at `now`.
pub fn show(upload: &Upload, now: Timestamp) -> Shown {
    let state = upload.state_at(now);
    Shown {
        id: upload.id.to_string(),
        filename: upload.filename.clone(),
        state,
        offset: upload.offset,
        size: upload.size,
        percent: upload.size.map(|size| percent(upload.offset, size)),
        created: upload.created,
        expires: (state == State::Receiving).then_some(upload.expires),
        digest: upload.sum.as_ref().map(|sum| ShownDigest { algorithm: sum.algorithm, value: sum.to_hex() }),
    }
}

/// With one decimal, rounded down: 100 means every byte.
fn percent(offset: u64, size: u64) -> f64 {
    if size == 0 {
        return 100.0;
    }
    (u128::from(offset) * 1000 / u128::from(size)) as f64 / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_100_only_at_the_end() {
        assert_eq!(percent(0, 0), 100.0);
        assert_eq!(percent(10, 25), 40.0);
        assert_eq!(percent(9_999_999, 10_000_000), 99.9);
        assert_eq!(percent(u64::MAX, u64::MAX), 100.0);
    }
}
