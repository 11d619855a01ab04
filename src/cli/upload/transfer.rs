//! One file on its way: where it stands, what to do next, and when to give up.
//!
//! Three facts decide the next step: the upload's id, its offset, and whether that offset is known for sure. After
//! anything that leaves the offset in doubt (a resume, a broken connection) the service is asked first.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    super::uploads::bytes,
    journal::{Journal, Left},
    progress::Meter,
    source::Source,
    wire::{Door, Meaning, dashed},
};

/// The first wait before another try; doubled up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// No wait is longer, unless the service asks for it.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// An upload that vanishes again and again will not be there next time either.
const MOST_BEGINNINGS: u32 = 3;

/// A file on its way.
pub(super) struct Transfer<'a> {
    door: &'a Door,
    source: Source,
    journal: Journal,
    meter: Meter,
    chunk_bytes: u64,
    patience: Patience,
    id: Option<String>,
    offset: u64,
    sure: bool,
    beginnings: u32,
    /// What the service says the digest is; set once the upload is complete.
    complete: Option<Value>,
}

/// A file that did not arrive.
pub(super) struct Unfinished {
    pub(super) reason: String,
    pub(super) id: Option<String>,
    pub(super) offset: u64,
    pub(super) size: Option<u64>,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(
        door: &'a Door,
        source: Source,
        journal: Journal,
        meter: Meter,
        chunk_bytes: u64,
        retry_for: Duration,
    ) -> Self {
        let patience = Patience::new(retry_for);
        let (id, offset, sure, beginnings, complete) = (None, 0, true, 1, None);
        Self { door, source, journal, meter, chunk_bytes, patience, id, offset, sure, beginnings, complete }
    }

    /// Brings the file over; answers with the report of the upload.
    pub(super) async fn run(mut self) -> Result<Value, Unfinished> {
        self.recall();
        let ended = self.go().await;
        self.meter.clear();
        match ended {
            Ok(report) => {
                self.journal.remove();
                Ok(report)
            }
            Err(reason) => Err(Unfinished {
                reason,
                id: self.id.as_deref().map(dashed),
                offset: self.offset,
                size: Some(self.source.size),
            }),
        }
    }

    /// Takes up what an earlier run left.
    fn recall(&mut self) {
        match self.journal.read() {
            Left::Nothing => {}
            Left::Changed => self.meter.say("changed since it was last uploaded in part; starting anew"),
            Left::Upload { id, offset } => {
                (self.id, self.offset, self.sure) = (Some(id), offset.min(self.source.size), false);
            }
        }
    }

    async fn go(&mut self) -> Result<Value, String> {
        let resumed = self.id.is_some();
        let mut told = !resumed;
        loop {
            let meaning = self.step().await?;
            if let Some(report) = self.heed(meaning).await? {
                return Ok(report);
            }
            if !told && self.sure && self.id.is_some() {
                told = true;
                let (offset, size) = (bytes(self.offset), bytes(self.source.size));
                self.meter.say(&format!("resuming at {offset} of {size}"));
            }
        }
    }

    /// Does what comes next.
    async fn step(&mut self) -> Result<Meaning, String> {
        let size = self.source.size;
        match self.id.clone() {
            Some(id) if self.complete.is_some() || !self.sure => Ok(self.door.ask(&id, size).await),
            Some(id) if self.offset >= size => {
                let md5 = self.md5().await?;
                self.unchanged()?;
                Ok(self.door.complete(&id, &md5).await)
            }
            id => {
                self.unchanged()?;
                let unreadable = |error| format!("cannot be read: {error}");
                self.source.catch_up(self.offset).await.map_err(unreadable)?;
                self.meter.jump(self.offset);
                let length = self.chunk_bytes.min(size - self.offset);
                Ok(self.door.send(&self.source, id.as_deref(), self.offset, length, &self.meter).await)
            }
        }
    }

    /// Draws the consequences of an answer; the report once everything is done.
    async fn heed(&mut self, meaning: Meaning) -> Result<Option<Value>, String> {
        match meaning {
            Meaning::Stands { id, offset } => self.stand(id, offset).map(|()| None),
            // The door has compared the md5; native JSON says the same, or the file is not what was sent.
            Meaning::Complete { digest: Value::Null } if self.complete.is_none() => {
                self.complete = Some(Value::Null);
                Ok(None)
            }
            Meaning::Complete { digest } => self.report(digest).await.map(Some),
            Meaning::Mute if self.complete.is_some() => self.report(Value::Null).await.map(Some),
            Meaning::Mute => {
                self.sure = true;
                Ok(None)
            }
            // It is complete; that it cannot be shown (another rule for reading it, say) takes nothing from that.
            Meaning::Gone(_) | Meaning::Refused(_) if self.complete.is_some() => {
                self.report(Value::Null).await.map(Some)
            }
            Meaning::Gone(why) => self.begin_anew(&why).map(|()| None),
            Meaning::Later { why, after } => self.wait(&why, after).await.map(|()| None),
            Meaning::Refused(why) => Err(self.refused(why).await),
        }
    }

    fn stand(&mut self, id: Option<String>, offset: u64) -> Result<(), String> {
        if offset > self.source.size {
            return Err(format!("the service claims {offset} bytes of {}", self.source.size));
        }
        // An offset that was sure and did not move was refused for a reason that will not pass.
        let news = id.is_some() && self.id.is_none() || offset != self.offset || !self.sure;
        if !news && !self.patience.once_more() {
            return Err(format!("the service stands at {offset} and takes no more; try again later"));
        }
        self.id = id.or(self.id.take());
        (self.offset, self.sure) = (offset, true);
        self.patience.moved(offset);
        self.meter.waiting("");
        let Some(id) = &self.id else { return Err("the service named no upload".into()) };
        self.journal
            .write(id, offset)
            .map_err(|error| format!("progress cannot be remembered: {error}; give --state-dir"))
    }

    fn begin_anew(&mut self, why: &str) -> Result<(), String> {
        self.beginnings += 1;
        if self.beginnings > MOST_BEGINNINGS {
            return Err(format!("{why}, again and again"));
        }
        self.meter.say(&format!("{why}; starting anew"));
        self.journal.remove();
        (self.id, self.offset, self.sure, self.complete) = (None, 0, true, None);
        self.patience.anew();
        self.meter.jump(0);
        Ok(())
    }

    async fn wait(&mut self, why: &str, after: Option<Duration>) -> Result<(), String> {
        let Some(wait) = self.patience.next(after) else {
            let how = "the same command resumes where it stopped";
            return Err(format!("gave up after {} without progress: {why}; {how}", self.patience.spent()));
        };
        let seconds = humantime::format_duration(Duration::from_secs(wait.as_secs().max(1)));
        self.meter.waiting(&format!("{why}; trying again in {seconds}"));
        tokio::time::sleep(wait).await;
        self.sure = self.id.is_none();
        Ok(())
    }

    /// A wrong md5 cannot be mended by resuming: the upload is given up. Anything else keeps it.
    async fn refused(&mut self, why: String) -> String {
        if !(self.offset >= self.source.size && why.contains("md5")) {
            return why;
        }
        self.journal.remove();
        if let Some(id) = &self.id {
            self.door.give_up(id).await;
        }
        format!("{why}; what arrived is not the file: upload it again")
    }

    fn unchanged(&self) -> Result<(), String> {
        match self.source.is_unchanged() {
            true => Ok(()),
            false => Err("changed while it was uploaded; upload it again".to_owned()),
        }
    }

    async fn md5(&self) -> Result<String, String> {
        self.source.md5().await.map_err(|error| format!("cannot be read: {error}"))
    }

    async fn report(&mut self, reported: Value) -> Result<Value, String> {
        let md5 = self.md5().await?;
        if md5_in(&reported).is_some_and(|theirs| !theirs.eq_ignore_ascii_case(&md5)) {
            self.journal.remove();
            return Err(format!("the service reports another digest ({reported}) than the file's (md5 {md5})"));
        }
        let id = self.id.as_deref().unwrap_or_default();
        let digest = if reported.is_null() { json!(format!("md5:{md5}")) } else { reported };
        let size = self.source.size;
        let url = self.door.content_url(id);
        Ok(json!({"id": dashed(id), "url": url, "size": size, "offset": size, "state": "complete", "digest": digest}))
    }
}

/// The md5 in a reported digest: an object that names the algorithm, or text that ends in the value.
fn md5_in(digest: &Value) -> Option<&str> {
    match digest {
        Value::String(text) if text.contains("sha") => None,
        Value::String(text) => text.rsplit([':', '=']).next().filter(|value| value.len() == 32),
        Value::Object(named) if named.get("algorithm").and_then(Value::as_str) == Some("md5") => {
            ["value", "hex"].iter().find_map(|name| named.get(*name)?.as_str())
        }
        Value::Object(named) => named.get("md5")?.as_str(),
        _ => None,
    }
}

/// How long to go on without progress, and how long to wait between tries.
struct Patience {
    retry_for: Duration,
    since: Instant,
    furthest: Option<u64>,
    tries: u32,
    repeats: u32,
}

impl Patience {
    fn new(retry_for: Duration) -> Self {
        Self { retry_for, since: Instant::now(), furthest: None, tries: 0, repeats: 0 }
    }

    /// The upload stands at `offset`. Only bytes beyond the furthest so far are progress.
    fn moved(&mut self, offset: u64) {
        if self.furthest.is_none_or(|furthest| offset > furthest) {
            (self.furthest, self.since, self.tries, self.repeats) = (Some(offset), Instant::now(), 0, 0);
        }
    }

    /// The upload begins anew: what was reached counts no more.
    fn anew(&mut self) {
        (self.furthest, self.repeats) = (None, 0);
    }

    /// Whether an answer that changed nothing may be had again: a few times, for answers that crossed each other.
    fn once_more(&mut self) -> bool {
        self.repeats += 1;
        self.repeats <= 3
    }

    /// How long to wait before the next try; `None` once patience is used up.
    fn next(&mut self, after: Option<Duration>) -> Option<Duration> {
        let doubled = FIRST_WAIT.saturating_mul(1 << self.tries.min(10)).min(LONGEST_WAIT);
        // Half of it is chance, so that clients of a service that comes back do not come back at once.
        let wait = doubled.mul_f64(rand::random_range(0.5..1.0)).max(after.unwrap_or_default());
        self.tries += 1;
        (self.since.elapsed() + wait <= self.retry_for).then_some(wait)
    }

    fn spent(&self) -> String {
        humantime::format_duration(Duration::from_secs(self.since.elapsed().as_secs())).to_string()
    }
}
