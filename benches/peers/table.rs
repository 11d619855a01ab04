//! Figures by peer, what is aimed at, and the ways to write both down.

use std::fmt;

use serde_json::{Value, json};

/// What one scenario gave.
pub(crate) struct Table {
    pub(crate) scenario: &'static str,
    /// What was done, in one line.
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<(&'static str, Vec<Cell>)>,
    pub(crate) aims: Vec<Aim>,
    /// What went wrong. A figure is worth nothing beside it.
    pub(crate) faults: Vec<String>,
    pub(crate) noise: Noise,
}

/// A figure, or what stands in its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Number(f64),
    Text(String),
    /// Does not apply, or there is nothing to compare with.
    Empty,
}

/// What others did on the machine meanwhile.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Noise {
    /// Seconds of processors.
    pub(crate) other: f64,
    pub(crate) wall: f64,
}

/// Something to reach.
pub(crate) struct Aim {
    pub(crate) what: String,
    pub(crate) bound: Bound,
    /// What was measured, if there was something to measure it against.
    pub(crate) figure: Option<f64>,
}

/// When something is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Cell {
    /// A number, if there is one.
    pub(crate) fn of(number: Option<f64>) -> Self {
        number.filter(|number| number.is_finite()).map_or(Self::Empty, Self::Number)
    }

    fn json(&self) -> Value {
        match self {
            Self::Number(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::Empty => Value::Null,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) if number.abs() >= 99.95 => write!(f, "{number:.0}"),
            Self::Number(number) if number.abs() >= 9.995 => write!(f, "{number:.1}"),
            Self::Number(number) => write!(f, "{number:.2}"),
            Self::Text(text) => f.write_str(text),
            Self::Empty => f.write_str("–"),
        }
    }
}

impl Noise {
    /// Whether the figures are to be believed.
    pub(crate) fn loud(self) -> bool {
        self.other > self.wall / 10.0
    }

    pub(crate) fn add(&mut self, other: std::time::Duration, wall: std::time::Duration) {
        self.other += other.as_secs_f64();
        self.wall += wall.as_secs_f64();
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "other work on the machine: {:.1} s of processors in {:.1} s", self.other, self.wall)?;
        if self.loud() { f.write_str(". DISTRUST THIS TABLE: that is more than a tenth") } else { Ok(()) }
    }
}

impl Aim {
    fn reached(&self) -> Option<bool> {
        let figure = self.figure?;
        Some(match self.bound {
            Bound::AtLeast(wanted) => figure >= wanted,
            Bound::AtMost(wanted) => figure <= wanted,
            Bound::Below(wanted) => figure < wanted,
        })
    }

    /// In words; what was measured in much noise is not judged.
    fn told(&self, noise: Noise) -> String {
        let (sign, wanted) = match self.bound {
            Bound::AtLeast(wanted) => ("≥", wanted),
            Bound::AtMost(wanted) => ("≤", wanted),
            Bound::Below(wanted) => ("<", wanted),
        };
        let Some(figure) = self.figure else { return format!("{} {sign} {wanted}: not measured", self.what) };
        let verdict = match self.reached() {
            _ if noise.loud() => "not judged",
            Some(true) => "reached",
            Some(false) | None => "not reached",
        };
        format!("{} {sign} {wanted}: {}, {verdict}", self.what, Cell::Number(figure))
    }
}

impl Table {
    /// A table without figures.
    pub(crate) fn new(scenario: &'static str, title: String, columns: Vec<String>) -> Self {
        let (rows, aims, faults) = Default::default();
        Self { scenario, title, columns, rows, aims, faults, noise: Noise::default() }
    }

    /// The number in a peer's row.
    pub(crate) fn number(&self, peer: &str, column: &str) -> Option<f64> {
        let at = self.columns.iter().position(|known| known == column)?;
        match &self.rows.iter().find(|(known, _)| *known == peer)?.1[at] {
            Cell::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn json(&self) -> Value {
        let row = |(peer, cells): &(&str, Vec<Cell>)| {
            let cells = self.columns.iter().cloned().zip(cells.iter().map(Cell::json));
            json!({ "peer": peer, "figures": cells.collect::<serde_json::Map<_, _>>() })
        };
        let aim = |aim: &Aim| json!({ "aim": aim.told(self.noise), "figure": aim.figure, "reached": aim.reached() });
        json!({
            "scenario": self.scenario,
            "title": self.title,
            "peers": self.rows.iter().map(row).collect::<Vec<_>>(),
            "aims": self.aims.iter().map(aim).collect::<Vec<_>>(),
            "faults": self.faults,
            "other_cpu_s": self.noise.other,
            "wall_s": self.noise.wall,
        })
    }

    /// For a page.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("#### {}\n\n{}\n\n", self.scenario, self.title);
        text.push_str(&format!("| peer | {} |\n", self.columns.join(" | ")));
        text.push_str(&format!("|---|{}\n", "---|".repeat(self.columns.len())));
        for (peer, cells) in &self.rows {
            let cells: Vec<_> = cells.iter().map(Cell::to_string).collect();
            text.push_str(&format!("| {peer} | {} |\n", cells.join(" | ")));
        }
        text.push('\n');
        self.lines().iter().for_each(|line| text.push_str(&format!("- {line}\n")));
        text
    }

    fn lines(&self) -> Vec<String> {
        let aims = self.aims.iter().map(|aim| aim.told(self.noise));
        let faults = self.faults.iter().map(|fault| format!("FAILED: {fault}"));
        aims.chain(faults).chain([self.noise.to_string()]).collect()
    }
}

/// For a terminal.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "== {}: {}\n", self.scenario, self.title)?;
        let text = |cells: &[Cell]| cells.iter().map(Cell::to_string).collect::<Vec<_>>();
        let rows: Vec<_> = self.rows.iter().map(|(peer, cells)| (*peer, text(cells))).collect();
        let width = |at: usize| {
            let cells = rows.iter().map(|(_, cells)| cells[at].chars().count());
            cells.max().unwrap_or(0).max(self.columns[at].chars().count())
        };
        let widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        for (peer, cells) in std::iter::once(&("peer", self.columns.clone())).chain(&rows) {
            write!(f, "{peer:<16}")?;
            for (cell, width) in cells.iter().zip(&widths) {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f)?;
        }
        writeln!(f)?;
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
