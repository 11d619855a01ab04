//! Lists by the page: newest first, a limit, and a cursor that says where the next page begins.

use std::str::FromStr;

use super::problem::{Code, Problem};
use crate::domain::Timestamp;

/// Most rows on one page.
const MAX_PAGE: u32 = 200;
/// Rows on one page when the client does not say.
const PAGE: u32 = 50;

/// How many rows a client wants.
///
/// # Errors
/// A 400 that says what may be asked for.
pub fn limit(asked: Option<&str>) -> Result<u32, Problem> {
    match asked.map(str::parse) {
        None => Ok(PAGE),
        Some(Ok(limit @ 1..=MAX_PAGE)) => Ok(limit),
        Some(_) => Err(Problem::new(Code::BadRequest, format!("limit is a number from 1 to {MAX_PAGE}"))),
    }
}

/// After which row a client wants to go on.
///
/// # Errors
/// A 400.
pub fn after<Id: FromStr>(cursor: Option<&str>) -> Result<Option<(Timestamp, Id)>, Problem> {
    let ours = |text| parse_cursor(text).ok_or_else(|| Problem::new(Code::BadRequest, "cursor is not one of ours"));
    cursor.map(ours).transpose()
}

/// Cuts rows, of which one more than `limit` was asked for, to a page, and says where the next one begins. `key`: a row's
/// place in the list, its time and its id without dashes.
pub fn cut<T>(rows: &mut Vec<T>, limit: u32, key: impl Fn(&T) -> (Timestamp, String)) -> Option<String> {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let (time, id) = rows.last().filter(|_| more).map(key)?;
    Some(format!("{}-{id}", time.as_microsecond()))
}

fn parse_cursor<Id: FromStr>(text: &str) -> Option<(Timestamp, Id)> {
    let (micros, id) = text.rsplit_once('-')?;
    Some((Timestamp::from_microsecond(micros.parse().ok()?).ok()?, id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UploadId;

    #[test]
    fn cursors_are_ours_or_refused() {
        let (id, at) = (UploadId::new(), Timestamp::from_microsecond(1_700_000_000_000_000).expect("a time"));
        let mut rows = vec![(at, id), (at, UploadId::new())];
        let text = cut(&mut rows, 1, |row| (row.0, row.1.simple())).expect("there is more");
        assert_eq!(after(Some(&text)), Ok(Some((at, id))));
        assert_eq!(cut(&mut rows, 1, |row| (row.0, row.1.simple())), None);
        for text in ["", "-", "x-y", "1-", "-1", "99999999999999999999999-00000000000000000000000000000000"] {
            assert!(after::<UploadId>(Some(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn limits() {
        assert_eq!((limit(None), limit(Some("200"))), (Ok(50), Ok(200)));
        for text in ["", "0", "201", "-1", "ten"] {
            assert!(limit(Some(text)).is_err(), "{text}");
        }
    }
}
