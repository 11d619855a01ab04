//! Who was called active of late: they wait less for the next question (`room`).
//!
//! A key is known together with the network it was used from, so that whoever sees a key pass, as those do who see a
//! signature, gains nothing from it elsewhere; and where its owner sits too, a few wrong proofs a minute end the favour.
//! Nothing here admits or refuses anybody. Bounded: only answers that call somebody active are remembered.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;

use super::{
    room::{Asker, Class, Network},
    wire::{Answer, Proof, Status},
};
use crate::{
    auth::{
        key::{Key, Keys},
        throttle::{Buckets, network},
    },
    domain::{Clock, Timestamp, before},
};

const ENTRIES: u64 = 20_000;
/// How long a right proof is remembered.
const LATELY: Duration = Duration::from_secs(600);
/// Wrong proofs a minute that end the favour.
const FAILURES: f64 = 5.0;

/// See the module.
pub(super) struct Regulars {
    clock: Arc<dyn Clock>,
    keys: Keys,
    active: Cache<Key, Timestamp>,
    failures: Buckets<Key>,
}

/// A key, and from where it is used.
#[derive(Clone, Copy)]
pub(super) struct Guest {
    name: Key,
    network: Network,
}

impl Regulars {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let active = Cache::builder().max_capacity(ENTRIES).time_to_live(LATELY).build();
        Self { clock, keys: Keys::new(), active, failures: Buckets::new(FAILURES) }
    }

    /// Who presents the proof from there.
    pub(super) fn guest(&self, proof: &Proof, from: Network) -> Guest {
        let network = from.map(network);
        let place = network.map(|network| network.to_string()).unwrap_or_default();
        let (kind, key) = named(proof);
        Guest { name: self.keys.key(&[kind, key, &place]), network }
    }

    /// As whom the guest waits.
    pub(super) fn asker(&self, guest: Guest) -> Asker {
        let now = self.clock.now();
        let lately = self.active.get(&guest.name).is_some_and(|at| at > before(now, LATELY));
        let favoured = lately && self.failures.room(&guest.name, now).is_ok();
        Asker { network: guest.network, class: if favoured { Class::Regular } else { Class::Stranger } }
    }

    /// What was answered about the guest's proof.
    pub(super) fn heed(&self, guest: Guest, answer: &Answer) {
        let now = self.clock.now();
        match answer.status {
            Status::Active => self.active.insert(guest.name, now),
            // A right proof does not make up for wrong ones: its owner may not be who sends those.
            _ if self.active.contains_key(&guest.name) => self.failures.fill(guest.name, now),
            Status::Denied | Status::Unsupported => {}
        }
    }
}

/// The kind of a proof, and what it names itself by.
fn named(proof: &Proof) -> (&'static str, &str) {
    match proof {
        Proof::Signature { api_key, .. } => ("signature", api_key),
        Proof::ApiKey { api_key, .. } => ("api_key", api_key),
        Proof::Basic { username, .. } => ("basic", username),
        Proof::Unknown => ("unknown", ""),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Mutex};

    use super::*;
    use crate::domain::after;

    struct Still(Mutex<Timestamp>);

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            *self.0.lock().expect("no panic")
        }
    }

    fn signature(api_key: &str) -> Proof {
        Proof::Signature {
            scheme: "v1".into(),
            api_key: api_key.into(),
            timestamp: String::new(),
            signature: String::new(),
            algorithm: None,
            nonce: None,
            signature_base: None,
        }
    }

    #[test]
    fn a_key_is_a_regular_where_it_was_right_of_late() {
        let clock = Arc::new(Still(Mutex::new(Timestamp::UNIX_EPOCH)));
        let regulars = Regulars::new(clock.clone());
        let at = |text: &str| text.parse::<IpAddr>().ok();
        let is_regular =
            |key: &str, from: &str| regulars.asker(regulars.guest(&signature(key), at(from))).class == Class::Regular;
        let heed = |key: &str, from: &str, status| {
            regulars.heed(regulars.guest(&signature(key), at(from)), &Answer::to("q", status));
        };
        assert!(!is_regular("ann", "10.0.0.1"));
        heed("ann", "10.0.0.1", Status::Active);
        assert!(is_regular("ann", "10.0.0.1") && is_regular("ann", "::ffff:10.0.0.1"));
        assert!(!is_regular("ann", "10.0.0.2") && !is_regular("bob", "10.0.0.1"));
        heed("ann", "2001:db8:0:1::1", Status::Active);
        assert!(is_regular("ann", "2001:db8:0:1:ffff::2") && !is_regular("ann", "2001:db8:0:2::1"));

        (0..100).for_each(|_| heed("ann", "10.0.0.2", Status::Denied));
        assert!(is_regular("ann", "10.0.0.1"), "what others do elsewhere is not held against her");
        (0..5).for_each(|_| heed("ann", "10.0.0.1", Status::Denied));
        heed("ann", "10.0.0.1", Status::Active);
        assert!(!is_regular("ann", "10.0.0.1"), "somebody there guesses");
        *clock.0.lock().expect("no panic") = after(Timestamp::UNIX_EPOCH, Duration::from_secs(60));
        assert!(is_regular("ann", "10.0.0.1"));
        *clock.0.lock().expect("no panic") = after(Timestamp::UNIX_EPOCH, LATELY);
        assert!(!is_regular("ann", "10.0.0.1"));
    }

    #[test]
    fn strangers_are_not_remembered() {
        let regulars = Regulars::new(Arc::new(crate::domain::SystemClock));
        for number in 0..1000 {
            regulars.heed(regulars.guest(&signature(&number.to_string()), None), &Answer::to("q", Status::Denied));
        }
        regulars.active.run_pending_tasks();
        assert_eq!(regulars.active.entry_count(), 0);
    }
}
