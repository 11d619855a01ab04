//! What was found, as lines for people and as JSON for programs.

use std::fmt::Write as _;

use reqwest::Url;
use serde::Serialize;

use super::{
    asking::{Exchange, Silence},
    cases::Case,
    expect::Flaw,
};
use crate::cli::printable;

/// Of an answer's body, so many characters are shown.
const SHOWN: usize = 300;

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The server keeps the protocol here.
    Ok,
    /// It does not.
    Failed,
    /// It was not asked.
    Skipped,
}

/// What one case found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The case.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was asked, in words.
    pub asked: &'static str,
    /// Why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<&'static str>,
    /// What is wrong.
    #[serde(flatten)]
    pub fault: Option<Fault>,
}

/// What is wrong, why it matters, what to do.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// What came.
    pub came: String,
    /// What is wrong with it.
    pub flaw: String,
    /// What the protocol wants.
    pub wanted: String,
    /// Why it matters.
    pub why: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

impl Finding {
    pub(super) fn skipped(case: &'static Case, why: &'static str) -> Self {
        Self { name: case.name, outcome: Outcome::Skipped, asked: case.asks, skipped: Some(why), fault: None }
    }

    pub(super) fn of(case: &'static Case, flaw: Option<Flaw>, exchanges: &[Exchange]) -> Self {
        let fault = flaw.map(|flaw| Fault {
            came: exchanges.get(flaw.at).map(|exchange| came(flaw.at, exchanges.len(), exchange)).unwrap_or_default(),
            flaw: printable(&flaw.what),
            wanted: case.expect.wants(),
            why: case.why,
            remedy: case.remedy,
        });
        let outcome = if fault.is_some() { Outcome::Failed } else { Outcome::Ok };
        Self { name: case.name, outcome, asked: case.asks, skipped: None, fault }
    }

    /// One line; of a fault, some more.
    pub fn text(&self) -> String {
        let word = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        };
        let told = self.skipped.unwrap_or(self.asked);
        let mut text = format!("{word:<8}{:<24}{told}\n", self.name);
        if let Some(Fault { came, flaw, wanted, why, remedy }) = &self.fault {
            let parts = [("came", came.as_str()), ("flaw", flaw), ("wanted", wanted), ("why", why), ("to do", remedy)];
            for (title, part) in parts {
                let _ = writeln!(text, "        {title:<8}{part}");
            }
        }
        text
    }
}

/// What came, short enough for a terminal. It may be anything.
fn came(at: usize, of: usize, exchange: &Exchange) -> String {
    let which = if of > 1 { format!("to question {} of {of}: ", at + 1) } else { String::new() };
    let what = match &exchange.came {
        Err(Silence::Broken(why)) => format!("no answer ({why})"),
        Err(Silence::Late(waited)) => format!("no answer in {} s", waited.as_secs()),
        Ok(came) => {
            let body = String::from_utf8_lossy(&came.body);
            let short: String = body.chars().take(SHOWN).collect();
            let more = if short.len() < body.len() { " …" } else { "" };
            format!("HTTP {} {} in {} ms: {short}{more}", came.status, came.content_type, came.took.as_millis())
        }
    };
    format!("{which}{}", printable(what.trim_end()))
}

/// What all cases found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where the questions went.
    pub url: String,
    /// One for each case, in the order of the table.
    #[serde(rename = "cases")]
    pub findings: Vec<Finding>,
}

impl Report {
    pub(super) fn of(endpoint: &Url) -> Self {
        Self { url: endpoint.to_string(), findings: Vec::new() }
    }

    /// Whether the first case failed, on which all others build.
    pub(super) fn deaf(&self) -> bool {
        self.findings.first().is_some_and(|finding| finding.outcome == Outcome::Failed)
    }

    /// Whether no case failed.
    pub fn passed(&self) -> bool {
        self.count(Outcome::Failed) == 0
    }

    /// How many cases ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.findings.iter().filter(|finding| finding.outcome == outcome).count()
    }

    /// The names of the cases that ended so.
    pub fn names(&self, outcome: Outcome) -> Vec<&'static str> {
        self.findings.iter().filter(|finding| finding.outcome == outcome).map(|finding| finding.name).collect()
    }

    /// One line.
    pub fn summary(&self) -> String {
        let [ok, failed, skipped] = [Outcome::Ok, Outcome::Failed, Outcome::Skipped].map(|outcome| self.count(outcome));
        format!("{}: {ok} ok, {failed} failed, {skipped} skipped\n", self.url)
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        let [ok, failed, skipped] = [Outcome::Ok, Outcome::Failed, Outcome::Skipped].map(|outcome| self.count(outcome));
        let counted = serde_json::json!({"url": self.url, "ok": ok, "failed": failed, "skipped": skipped, "cases": self.findings});
        format!("{counted:#}\n")
    }
}
