//! The service with users of every kind, and what a request of theirs looks like.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use chunkgate::{
    auth::Method,
    config::Config,
    db::{self, Change, Stores},
    domain::{Clock as _, after, before, signing},
};

use super::{
    Pairs, Row, Says, check,
    routes::{CHUNKS, FIRST, ROUTES, Route, Sends, Stage},
};
use crate::{
    local::{self, PEPPER, add_user, keep_key, new_key},
    support::{Answer, Caller, TestApp, form, md5, operate, watch::watch},
};

/// The service, and users of both kinds: of the identity server alice, bob, and carol who is disabled; of the service
/// itself ann, ben, and dora who is disabled.
pub(super) struct House {
    pub(super) app: TestApp,
    pub(super) stores: Stores,
    /// API keys, by their words.
    pub(super) keys: HashMap<&'static str, String>,
    tries: AtomicU32,
}

/// Whose uploads a table is about.
#[derive(Clone, Copy)]
pub(super) enum Owner {
    /// Proved by a signature.
    Alice,
    /// Proved by an API key or a password.
    Ann,
}

/// An upload that a route is asked about.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) file: String,
    /// The upload token that came with it.
    pub(super) token: String,
}

impl House {
    pub(super) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let app = TestApp::with(|config| {
            config.auth.methods = vec![Method::Signature, Method::ApiKey, Method::Basic];
            config.auth.pepper = PEPPER.into();
            config.auth.query_credentials = true;
            config.storage.local.durability = chunkgate::domain::Durability::Os;
            change(config);
        })
        .await;
        let more = "[[users]]\nid = \"c\"\nusername = \"carol\"\ndisabled = true\n\
            [[users.keys]]\napi_key = \"carol-key\"\nsecret = \"carol-secret\"\n";
        let users = std::fs::read_to_string(&app.users).expect("users") + more;
        std::fs::write(&app.users, users).expect("written");
        let stores = db::connect(&app.config.database, app.config.storage.local.durability).await.expect("connects");
        let mut house = Self { app, stores, keys: HashMap::new(), tries: AtomicU32::new(0) };
        house.people().await;
        house
    }

    async fn people(&mut self) {
        let (clock, operations) = (self.app.clock.clone(), &self.stores.operations);
        let now = clock.now();
        let [ann, ben, dora] = [
            add_user(&self.stores, "ann", &clock).await,
            add_user(&self.stores, "ben", &clock).await,
            add_user(&self.stores, "dora", &clock).await,
        ];
        let names = ["ann-key", "expired-key", "revoked-key"].map(|word| (word, ann));
        for (word, of) in names.into_iter().chain([("ben-key", ben), ("dora-key", dora)]) {
            let (key, mut kept) = new_key(of, &*clock);
            kept.expires = (word == "expired-key").then_some(now);
            keep_key(&self.stores, &kept).await;
            if word == "revoked-key" {
                assert!(operate(operations, Change::RevokeKey(key.id()), now).await.expect("answers"));
            }
            self.keys.insert(word, key.reveal().to_owned());
        }
        self.keys.insert("unknown-key", new_key(ann, &*clock).0.reveal().to_owned());
        assert!(operate(operations, Change::SetDisabled(dora, true), now).await.expect("answers"));
    }

    pub(super) async fn stop(self) {
        self.stores.close().await;
        self.app.stop().await;
    }

    /// What the words in braces stand for now.
    fn words(&self, about: &Known) -> HashMap<&'static str, String> {
        let mut words = self.keys.clone();
        let now = self.app.clock.now();
        let (edge, far) = (Duration::from_secs(290), Duration::from_secs(310));
        for (time, sig, at) in [
            ("time", "sig", now),
            ("edge-time", "edge-sig", before(now, edge)),
            ("old-time", "old-sig", before(now, far)),
            ("early-time", "early-sig", after(now, far)),
        ] {
            let text = at.as_second().to_string();
            words.insert(sig, signing::sign_v1(b"alice-secret", &text));
            words.insert(time, text);
        }
        let time = words["time"].clone();
        for (word, secret) in [("bob-sig", "bob-secret"), ("carol-sig", "carol-secret"), ("wrong-sig", "another")] {
            words.insert(word, signing::sign_v1(secret.as_bytes(), &time));
        }
        words.insert("SIG", words["sig"].to_uppercase());
        for (_, signature) in words.iter().filter(|(word, _)| word.to_lowercase().ends_with("sig")) {
            watch().keep("a signature", signature);
        }
        for (word, name) in [("ann-basic", "ann"), ("ben-basic", "ben"), ("dora-basic", "dora")] {
            words.insert(word, local::right(name).trim_start_matches("Basic ").to_owned());
        }
        words.insert("id", about.id.clone());
        words.insert("file", about.file.clone());
        words.insert("token", about.token.clone());
        let changed = |(at, c)| {
            if at != 40 {
                c
            } else if c == 'A' {
                'B'
            } else {
                'A'
            }
        };
        words.insert("changed-token", about.token.chars().enumerate().map(changed).collect());
        words.insert("md5", md5(b"0123456789"));
        words
    }

    fn owner(&self, owner: Owner) -> (Caller, Vec<(String, String)>) {
        match owner {
            Owner::Alice => (self.app.user("alice"), Vec::new()),
            Owner::Ann => {
                let key = format!("ApiKey ann:{}", self.keys["ann-key"]);
                (self.app.anonymous(), vec![("Authorization".to_owned(), key)])
            }
        }
    }

    pub(super) fn fresh_name(&self) -> String {
        format!("try-{}.bin", self.tries.fetch_add(1, Ordering::Relaxed))
    }

    /// An upload of the owner's, so far.
    pub(super) async fn prepare(&self, owner: Owner, stage: Stage) -> Known {
        let file = self.fresh_name();
        let (caller, proof) = self.owner(owner);
        let (bytes, range): (&[u8], _) = match stage {
            Stage::Half => (b"01234", FIRST),
            Stage::Whole | Stage::Complete => (b"0123456789", "bytes 0-9/10"),
        };
        let (content_type, body) = form::multipart(&[form::Part::file("file", &file, None, bytes.to_vec())]);
        let mut headers = proof.clone();
        headers.push(("Content-Type".into(), content_type.expect("multipart")));
        headers.push(("Content-Range".into(), range.into()));
        let begun = caller.send("POST", CHUNKS, &headers, body).await.expect(200);
        let (id, token) = (begun.id(), begun.header("upload-token").expect("a token").to_owned());
        if stage == Stage::Complete {
            let done = format!("/chunked_uploads/upload/done/{id}/");
            caller.send("POST", &done, &proof, Vec::new()).await.expect(200);
        }
        Known { id, file, token }
    }

    /// Sends what the row says to the route.
    pub(super) async fn present(&self, row: &Row, route: &Route, about: &Known) -> Answer {
        let about = match route.begins() {
            true => Known { file: self.fresh_name(), ..about.clone() },
            false => about.clone(),
        };
        let words = Words(self.words(&about));
        let Row(what, headers, query, fields, _) = row;
        let mut path = words.filled(route.path);
        if !query.is_empty() {
            let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(words.pairs(query)).finish();
            path = format!("{path}{}{query}", if path.contains('?') { '&' } else { '?' });
        }
        let mut headers = words.pairs(headers);
        let body = words.body(route.sends, fields, &about.file, &mut headers);
        let answer = self.app.anonymous().send_as_is(route.method, &path, &headers, body).await;
        words.assert_kept(&answer, &format!("{what}, {}", route.what));
        answer
    }

    /// Presents every row at every route that can carry it.
    pub(super) async fn judge(&self, owner: Owner, rows: &[Row]) -> u32 {
        self.judge_by(owner, rows, |says, _| says).await
    }

    /// The same, where what a row says depends on the route.
    pub(super) async fn judge_by(&self, owner: Owner, rows: &[Row], at: impl Fn(Says, &Route) -> Says) -> u32 {
        let mut bystanders = HashMap::new();
        for stage in [Stage::Half, Stage::Whole, Stage::Complete] {
            bystanders.insert(stage, self.prepare(owner, stage).await);
        }
        let mut judged = 0;
        for row in rows {
            for route in ROUTES.iter().filter(|route| row.3.is_empty() || route.takes_fields()) {
                let about = match row.4 {
                    Says::Yes if route.stage != Stage::Complete => self.prepare(owner, route.stage).await,
                    _ => bystanders[&route.stage].clone(),
                };
                let answer = self.present(row, route, &about).await;
                check(row, route, at(row.4, route), &answer);
                self.let_time_pass(row.4);
                judged += 1;
            }
        }
        self.unchanged(owner, &bystanders).await;
        judged
    }

    /// Guesses are slowed: after each, as much time passes as it takes to forget it.
    fn let_time_pass(&self, says: Says) {
        if says == Says::Invalid {
            self.app.clock.advance(Duration::from_secs(7));
        }
    }

    /// What nobody was admitted to stands as it stood.
    async fn unchanged(&self, owner: Owner, bystanders: &HashMap<Stage, Known>) {
        let (caller, proof) = self.owner(owner);
        for (stage, (offset, state)) in
            [(Stage::Half, (5, "receiving")), (Stage::Whole, (10, "receiving")), (Stage::Complete, (10, "complete"))]
        {
            let path = format!("/api/v1/uploads/{}", bystanders[&stage].id);
            let status = caller.send("GET", &path, &proof, Vec::new()).await.expect(200).json();
            assert_eq!((status["offset"].as_u64(), status["state"].as_str()), (Some(offset), Some(state)));
        }
    }
}

/// What the words in braces stand for.
struct Words(HashMap<&'static str, String>);

impl Words {
    fn filled(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (word, value)| text.replace(&format!("{{{word}}}"), value))
    }

    fn pairs(&self, pairs: Pairs) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), self.filled(value))).collect()
    }

    /// The body, and what it needs among the headers.
    fn body(&self, sends: Sends, fields: Pairs, file: &str, headers: &mut Vec<(String, String)>) -> Vec<u8> {
        let mut head = |name: &str, value: String| headers.push((name.to_owned(), value));
        let fields = |own: Pairs| -> Vec<form::Part> {
            let pairs = self.pairs(fields).into_iter().chain(self.pairs(own));
            pairs.map(|(name, value)| form::Part::field(&name, &value)).collect()
        };
        let (content_type, body) = match sends {
            Sends::Nothing => (None, Vec::new()),
            Sends::Form(own) if fields(own).is_empty() => (None, Vec::new()),
            Sends::Form(own) => form::urlencoded(&fields(own)),
            Sends::Part(own, range) => {
                head("Content-Range", range.into());
                let mut parts = fields(own);
                parts.push(form::Part::file("file", file, None, chunk(range).to_vec()));
                form::multipart(&parts)
            }
            Sends::Bytes(range) => {
                head("Content-Range", range.into());
                head("Content-Disposition", format!("attachment; filename=\"{file}\""));
                (None, chunk(range).to_vec())
            }
            Sends::Tus(own, bytes) => {
                head("Tus-Resumable", "1.0.0".into());
                self.pairs(own).into_iter().for_each(|(name, value)| head(&name, value));
                (None, bytes.as_bytes().to_vec())
            }
        };
        if let Some(content_type) = content_type {
            head("Content-Type", content_type);
        }
        body
    }

    /// No answer repeats a secret.
    #[track_caller]
    fn assert_kept(&self, answer: &Answer, place: &str) {
        let secret = |word: &str| ["key", "sig", "SIG", "basic", "token"].iter().any(|end| word.ends_with(end));
        for (word, value) in self.0.iter().filter(|(word, value)| secret(word) && !value.is_empty()) {
            assert!(!answer.text.contains(value), "{place}: {word} is in the answer");
        }
    }
}

fn chunk(range: &str) -> &'static [u8] {
    if range == FIRST { b"01234" } else { b"56789" }
}
