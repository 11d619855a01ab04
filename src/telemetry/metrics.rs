//! The metrics of one running service: every name in one place, and the text in which Prometheus reads them.
//!
//! What is counted is declared where it is counted (`auth::meters`, `uploads::meters`, `http::meters`); those parts know
//! no names. `proto-docs/metrics.md` tells what each means, and a test holds it against what is written here.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use crate::{
    auth, content,
    domain::{
        Timestamp,
        realms::{LOCAL_REALM, Realm, Realms},
    },
    http,
    meter::{Meter, Sample},
    uploads,
    worker::{Health, Workers},
};

/// A realm's name and its meters.
type Counted = (String, Arc<auth::meters::Meters>);

/// What a running service counts.
#[derive(Clone)]
pub struct Metrics {
    /// When it started.
    pub started: Timestamp,
    /// At the doors.
    pub http: Arc<http::meters::Meters>,
    /// At the gate.
    pub auth: Arc<auth::meters::AtGate>,
    /// Of the realms that have an identity server, by their names, in their places.
    pub realms: Vec<Counted>,
    /// Of the service's own users.
    pub local: Arc<auth::meters::Meters>,
    /// In the upload core.
    pub uploads: Arc<uploads::meters::Meters>,
    /// In the content store.
    pub content: Arc<content::metered::Meters>,
    /// By its workers.
    pub workers: Arc<Workers>,
}

impl Metrics {
    /// Of a service with these realms that starts at that time and has counted nothing.
    pub fn new(started: Timestamp, realms: &Realms) -> Self {
        let local = Arc::<auth::meters::Meters>::default();
        let of = |realm: &Realm| (realm.name.clone(), Arc::new(local.beside()));
        Self {
            started,
            http: Arc::default(),
            auth: local.gate.clone(),
            realms: realms.all().iter().map(of).collect(),
            local,
            uploads: Arc::default(),
            content: Arc::default(),
            workers: Arc::default(),
        }
    }

    /// Everything as it stands, in the text format of Prometheus, version 0.0.4.
    pub fn text(&self) -> String {
        let mut text = Text::default();
        self.service(&mut text);
        http(&mut text, &self.http);
        gate(&mut text, &self.auth);
        let local = (LOCAL_REALM.to_owned(), self.local.clone());
        verdicts(&mut text, &[&*self.realms, &[local]].concat());
        identity(&mut text, &self.realms);
        uploads(&mut text, &self.uploads);
        text.meter("content_errors_total", "Deeds of the content store that failed.", &self.content.errors);
        workers(&mut text, &self.workers.report());
        text.0
    }

    fn service(&self, to: &mut Text) {
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        to.series("info", "gauge", "Always 1; names the version.", &[plain(version, 1.0)]);
        let started = [plain(Vec::new(), seconds(self.started))];
        to.series("start_time_seconds", "gauge", "When the service started, in Unix time.", &started);
    }
}

fn http(to: &mut Text, http: &http::meters::Meters) {
    to.meter("http_requests_total", "Requests, by the door they came to and the answer.", &http.requests);
    to.meter("http_request_duration_seconds", "From a request's head to the head of its answer.", &http.seconds);
    to.meter("http_requests_in_flight", "Requests not answered yet.", &http.in_flight);
    to.meter("cors_refused_total", "Preflights of pages that may not use the service.", &http.cors_refused);
}

fn gate(to: &mut Text, gate: &auth::meters::AtGate) {
    to.meter("auth_requests_total", "Requests at the gate, by what they presented.", &gate.requests);
    to.meter("auth_duration_seconds", "How long a verdict on a proof took, by who gave it.", &gate.seconds);
    to.meter("auth_guesses_slowed_total", "Wrong or unjudged credentials that were slowed.", &gate.slowed);
}

fn verdicts(to: &mut Text, of: &[Counted]) {
    to.realms(of, "auth_verdicts_found_total", "Verdicts that were remembered.", |realm| &realm.found);
    to.realms(of, "auth_verdicts_missed_total", "Verdicts that were not remembered.", |realm| &realm.missed);
    to.realms(of, "auth_verdicts_shared_total", "Requests that waited for the question of another.", |realm| {
        &realm.shared
    });
    to.realms(of, "auth_verdicts_kept", "Verdicts remembered, as of the last one that was added.", |realm| &realm.kept);
}

fn identity(to: &mut Text, of: &[Counted]) {
    let name = "auth_stale_admitted_total";
    to.realms(of, name, "Requests admitted by an earlier verdict during an outage.", |realm| &realm.stale);
    let name = "auth_provisioned_total";
    to.realms(of, name, "Local users written from the identity server's answers.", |realm| &realm.provisioned);
    to.realms(of, "identity_events_total", "Events that the identity server told.", |realm| &realm.events);
    let name = "identity_requests_total";
    to.realms(of, name, "Questions for the identity server, by what became of them.", |realm| &realm.asked);
    let name = "identity_request_duration_seconds";
    to.realms(of, name, "How long a question took, both tries together.", |realm| &realm.asking);
    to.realms(of, "identity_requests_in_flight", "Questions under way.", |realm| &realm.under_way);
    to.realms(of, "identity_requests_waiting", "Questions that wait for their turn.", |realm| &realm.waiting);
    to.realms(of, "identity_retries_total", "Second tries, and those that the budget forbade.", |realm| &realm.retries);
    let name = "identity_breaker_state";
    to.realms(of, name, "1 for the phase that the breaker was in at the last question.", |realm| &realm.breaker);
    let name = "identity_breaker_changes_total";
    to.realms(of, name, "Changes of the breaker into a phase.", |realm| &realm.breaker_changes);
}

fn uploads(to: &mut Text, uploads: &uploads::meters::Meters) {
    to.meter("uploads_total", "What happened to uploads.", &uploads.events);
    to.meter("upload_chunks_total", "Chunks, by what became of them.", &uploads.chunks);
    to.meter("upload_completions_total", "Calls for completion, by what became of them.", &uploads.completions);
    to.meter("upload_received_bytes_total", "Bytes that arrived for uploads.", &uploads.arrived);
    to.meter("upload_acknowledged_bytes_total", "Bytes that were acknowledged.", &uploads.acknowledged);
    to.meter("upload_chunks_in_flight", "Chunks on their way in.", &uploads.receiving);
    to.meter("upload_commit_duration_seconds", "How long the database took to admit durable bytes.", &uploads.commits);
}

fn workers(to: &mut Text, workers: &BTreeMap<&'static str, Health>) {
    let each = |value: &dyn Fn(&Health) -> f64| -> Vec<Sample> {
        let sample = |(name, health): (&&str, &Health)| plain(vec![("worker", (*name).to_owned())], value(health));
        workers.iter().map(sample).collect()
    };
    let at = |time: Option<Timestamp>| time.map_or(0.0, seconds);
    to.series("worker_steps_total", "counter", "Steps of a worker.", &each(&|health| health.steps as f64));
    let failures = each(&|health| health.failures as f64);
    to.series("worker_failures_total", "counter", "Steps of a worker that failed.", &failures);
    let last = each(&|health| at(health.last_step));
    to.series("worker_last_step_seconds", "gauge", "When a worker's last step ended, in Unix time.", &last);
    let failed = each(&|health| at(health.last_error.as_ref().map(|(when, _)| *when)));
    to.series("worker_last_failure_seconds", "gauge", "When a worker last failed, in Unix time; 0: never.", &failed);
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

fn plain(labels: Vec<(&'static str, String)>, value: f64) -> Sample {
    Sample { suffix: "", labels, value }
}

/// The text as it grows.
#[derive(Default)]
struct Text(String);

impl Text {
    fn meter<M: Meter>(&mut self, name: &str, help: &str, meter: &M) {
        self.series(name, M::KIND, help, &meter.samples());
    }

    /// The same meter of each realm.
    fn realms<M: Meter>(
        &mut self,
        of: &[Counted],
        name: &str,
        help: &str,
        meter: impl Fn(&auth::meters::Meters) -> &M,
    ) {
        let told = |(realm, counted): &Counted| {
            let labelled = |mut sample: Sample| {
                sample.labels.insert(0, ("realm", realm.clone()));
                sample
            };
            meter(counted).samples().into_iter().map(labelled).collect::<Vec<_>>()
        };
        let samples: Vec<_> = of.iter().flat_map(told).collect();
        self.series(name, M::KIND, help, &samples);
    }

    /// Labels are words of closed lists, names of workers and of realms (`config::rules` bounds those to plain characters)
    /// and a version: none of them needs an escape.
    fn series(&mut self, name: &str, kind: &str, help: &str, samples: &[Sample]) {
        let to = &mut self.0;
        // Writing into a string does not fail.
        let _ = writeln!(to, "# HELP chunkgate_{name} {help}\n# TYPE chunkgate_{name} {kind}");
        for Sample { suffix, labels, value } in samples {
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(to, "chunkgate_{name}{suffix}{labels} {value}");
        }
    }
}
