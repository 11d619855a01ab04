//! A statement as a value: made by itself on either engine, or with many others at once where that is worth while.

use serde::{Serialize, Serializer};

use super::{StoreError, dialect::Dialect, store::Statement};
use crate::domain::hex;

/// One statement and its values. Changes one row, or says no.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) text: &'static str,
    pub(super) values: Vec<Value>,
}

/// A value as the tables keep it; in JSON, bytes are spelled in hex.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
    Flag(bool),
    Bytes(#[serde(serialize_with = "in_hex")] Option<Vec<u8>>),
}

impl Step {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, values: Vec::new() }
    }

    /// The value of the next parameter.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    pub(super) fn statement<DB: Dialect>(self) -> Statement<'static, DB> {
        self.values.into_iter().fold(sqlx::query(self.text), |statement, value| match value {
            Value::Text(text) => statement.bind(text),
            Value::Number(number) => statement.bind(number),
            Value::Flag(flag) => statement.bind(flag),
            Value::Bytes(bytes) => statement.bind(bytes),
        })
    }

    /// Makes it by itself. Whether it changed its row.
    pub(super) async fn make<DB: Dialect>(self, on: &mut DB::Connection) -> Result<bool, StoreError> {
        Ok(DB::changed(&self.statement::<DB>().execute(on).await?) == 1)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Option<Vec<u8>>> for Value {
    fn from(bytes: Option<Vec<u8>>) -> Self {
        Self::Bytes(bytes)
    }
}

fn in_hex<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
    bytes.as_deref().map(hex).serialize(to)
}
