//! Realms: several identity servers, and which of them a request may have to do with.
//!
//! A request comes in at an [`Entrance`], decided by its target alone (host and path) before any credential is looked
//! at: the own one of a realm, or the common one. The own entrance is for users of that realm and nobody else. The common
//! one is for the default realm, for local users, and for realms that have no entrance of their own and are told by the
//! beginning of the key. Nothing that a client says about itself chooses a realm: a realm that is named is a realm that
//! is guessed (CVE-2023-3128 is what linking users across such names comes to).

/// The realm of users who are known here, and not by an identity server.
pub const LOCAL_REALM: &str = "local";

/// By what a realm is told from others. The default realm has no such marks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Realm {
    /// Under which name its users are filed.
    pub name: String,
    /// Its own hosts, with a port where only that one is meant.
    pub hosts: Vec<String>,
    /// Beginnings of paths, `/acme`, that are its own and are taken off.
    pub path_prefixes: Vec<String>,
    /// Beginnings of its users' keys.
    pub key_prefixes: Vec<String>,
}

/// Where a request came in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Entrance {
    /// Neither host nor path is a realm's own.
    #[default]
    Common,
    /// Of the realm at that place of the list.
    Own(usize),
}

/// What a request's target says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entered {
    /// Where it came in.
    pub entrance: Entrance,
    /// Whether by a host of the realm's own.
    pub by_host: bool,
    /// How many bytes of the path are the realm's prefix.
    pub prefix: usize,
}

/// Every realm, the default one first.
#[derive(Debug, Clone)]
pub struct Realms(Vec<Realm>);

impl Realm {
    /// The default realm.
    pub fn default_of(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Whether it has an entrance of its own, and so no part in the common one.
    pub fn has_entrance(&self) -> bool {
        !self.hosts.is_empty() || !self.path_prefixes.is_empty()
    }

    fn prefix_of(&self, path: &str) -> Option<usize> {
        self.path_prefixes.iter().find(|prefix| is_at_or_below(path, prefix)).map(String::len)
    }
}

impl Realms {
    /// These realms beside the default one.
    pub fn new(default: &str, further: impl IntoIterator<Item = Realm>) -> Self {
        Self([Realm::default_of(default)].into_iter().chain(further).collect())
    }

    /// The default realm alone.
    pub fn only(name: &str) -> Self {
        Self::new(name, [])
    }

    /// All of them, in their places.
    pub fn all(&self) -> &[Realm] {
        &self.0
    }

    /// Where a request for this path at this host comes in. A host goes before a path: at the host of one realm the
    /// prefix of another is a path like any other, which leads nowhere.
    pub fn entered(&self, host: Option<&str>, path: &str) -> Entered {
        let by_host = self.0.iter().position(|realm| realm.hosts.iter().any(|own| is_host(host, own)));
        if let Some(at) = by_host {
            let prefix = self.0[at].prefix_of(path).unwrap_or_default();
            return Entered { entrance: Entrance::Own(at), by_host: true, prefix };
        }
        let by_path = self.0.iter().enumerate().find_map(|(at, realm)| Some((at, realm.prefix_of(path)?)));
        by_path.map_or_else(Entered::default, |(at, prefix)| Entered {
            entrance: Entrance::Own(at),
            by_host: false,
            prefix,
        })
    }

    /// The realm that judges a credential with this key (or with none) at this entrance. `None`: the key says that it is
    /// another realm's, whose server is not asked here, and nobody else's is either.
    pub fn judging(&self, entrance: Entrance, key: Option<&str>) -> Option<usize> {
        let marked = key.and_then(|key| self.0.iter().position(|realm| is_marked(key, realm)));
        match (entrance, marked) {
            (Entrance::Own(at), Some(other)) => (at == other).then_some(at),
            (Entrance::Own(at), None) => Some(at),
            (Entrance::Common, Some(at)) => (!self.0[at].has_entrance()).then_some(at),
            (Entrance::Common, None) => Some(0),
        }
    }

    /// Whether users of that realm may come in here. Nobody's uploads are at the common entrance.
    pub fn admits(&self, entrance: Entrance, realm: Option<&str>) -> bool {
        match (entrance, realm) {
            (Entrance::Own(at), Some(name)) => self.0[at].name == name,
            (Entrance::Own(_), None) => false,
            (Entrance::Common, None | Some(LOCAL_REALM)) => true,
            (Entrance::Common, Some(name)) => self.0.iter().any(|realm| realm.name == name && !realm.has_entrance()),
        }
    }

    /// The name to show at this entrance.
    pub fn name(&self, entrance: Entrance) -> &str {
        match entrance {
            Entrance::Own(at) => &self.0[at].name,
            Entrance::Common => &self.0[0].name,
        }
    }
}

fn is_marked(key: &str, realm: &Realm) -> bool {
    realm.key_prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
}

/// Whether the host that was asked for is this one: in any case of letters, at any port unless one is meant.
fn is_host(asked: Option<&str>, own: &str) -> bool {
    let Some(asked) = asked else { return false };
    let ((name, port), (own_name, own_port)) = (host_and_port(asked), host_and_port(own));
    name.eq_ignore_ascii_case(own_name) && (own_port.is_none() || own_port == port)
}

/// Whether two hosts of the configuration can be meant by one request.
pub fn hosts_meet(one: &str, other: &str) -> bool {
    is_host(Some(one), other) || is_host(Some(other), one)
}

/// Name without the dot of the root, and port. Brackets keep the colons of an address together.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    let end = authority.rfind(']').map_or(0, |end| end + 1);
    let (name, port) = match authority[end..].rfind(':') {
        Some(colon) => (&authority[..end + colon], Some(&authority[end + colon + 1..])),
        None => (authority, None),
    };
    (name.strip_suffix('.').unwrap_or(name), port.filter(|port| !port.is_empty()))
}

/// Whether a path is the prefix or goes on below it: a prefix ends with a segment.
pub fn is_at_or_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `main`, then `acme` by host and path and key, `beta` by path, `gamma` by key.
    fn realms() -> Realms {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
        let realm = |name: &str, hosts: &[&str], paths: &[&str], keys: &[&str]| Realm {
            name: name.into(),
            hosts: list(hosts),
            path_prefixes: list(paths),
            key_prefixes: list(keys),
        };
        Realms::new(
            "main",
            [
                realm("acme", &["acme.example.org", "acme.test:8443", "[::1]"], &["/acme"], &["acme_"]),
                realm("beta", &[], &["/beta", "/b/e"], &[]),
                realm("gamma", &[], &[], &["gamma_"]),
            ],
        )
    }

    const ACME: Entrance = Entrance::Own(1);
    const BETA: Entrance = Entrance::Own(2);

    #[test]
    fn where_a_request_comes_in() {
        for (host, path, entrance, by_host, prefix) in [
            (Some("up.example.org"), "/chunked_upload/", Entrance::Common, false, 0),
            (None, "/chunked_upload/", Entrance::Common, false, 0),
            (Some("acme.example.org"), "/chunked_upload/", ACME, true, 0),
            (Some("ACME.Example.ORG:80"), "/", ACME, true, 0),
            (Some("acme.example.org."), "/", ACME, true, 0),
            (Some("acme.test:8443"), "/", ACME, true, 0),
            (Some("acme.test"), "/", Entrance::Common, false, 0),
            (Some("acme.test:80"), "/", Entrance::Common, false, 0),
            (Some("[::1]:8080"), "/", ACME, true, 0),
            (Some("x.acme.example.org"), "/", Entrance::Common, false, 0),
            (Some("acme.example.org@evil"), "/", Entrance::Common, false, 0),
            (Some("evil@acme.example.org"), "/", Entrance::Common, false, 0),
            (Some(""), "/acme", ACME, false, 5),
            (None, "/acme/chunked_upload/", ACME, false, 5),
            (None, "/acmeee/chunked_upload/", Entrance::Common, false, 0),
            (None, "/ACME/", Entrance::Common, false, 0),
            (None, "/%61cme/", Entrance::Common, false, 0),
            (None, "//acme/", Entrance::Common, false, 0),
            (None, "/b/e/x", BETA, false, 4),
            (None, "/b/x", Entrance::Common, false, 0),
            (Some("acme.example.org"), "/acme/x", ACME, true, 5),
            (Some("acme.example.org"), "/beta/x", ACME, true, 0),
            (Some("up.example.org"), "*", Entrance::Common, false, 0),
        ] {
            let entered = realms().entered(host, path);
            assert_eq!(entered, Entered { entrance, by_host, prefix }, "{host:?} {path}");
        }
    }

    #[test]
    fn who_judges_a_key() {
        for (entrance, key, judge) in [
            (Entrance::Common, None, Some(0)),
            (Entrance::Common, Some("k"), Some(0)),
            (Entrance::Common, Some("gamma_k"), Some(3)),
            (Entrance::Common, Some("Gamma_k"), Some(0)),
            (Entrance::Common, Some("acme_k"), None),
            (ACME, None, Some(1)),
            (ACME, Some("k"), Some(1)),
            (ACME, Some("acme_k"), Some(1)),
            (ACME, Some("gamma_k"), None),
            (BETA, Some("acme_k"), None),
            (BETA, Some("k"), Some(2)),
        ] {
            assert_eq!(realms().judging(entrance, key), judge, "{entrance:?} {key:?}");
        }
    }

    #[test]
    fn who_may_come_in_where() {
        let everybody = [None, Some("local"), Some("main"), Some("acme"), Some("beta"), Some("gamma"), Some("gone")];
        for (entrance, admitted) in [
            (Entrance::Common, &[None, Some("local"), Some("main"), Some("gamma")][..]),
            (ACME, &[Some("acme")]),
            (BETA, &[Some("beta")]),
        ] {
            for who in everybody {
                assert_eq!(realms().admits(entrance, who), admitted.contains(&who), "{entrance:?} {who:?}");
            }
        }
    }

    #[test]
    fn hosts_that_meet() {
        assert!(
            hosts_meet("a.org", "A.org:443") && hosts_meet("a.org:443", "a.org") && hosts_meet("[::1]", "[::1]:80")
        );
        assert!(!hosts_meet("a.org:80", "a.org:443") && !hosts_meet("a.org", "b.a.org"));
    }

    fn entrance(realms: &Realms) -> impl Strategy<Value = Entrance> + use<> {
        let own = (1..realms.all().len()).prop_filter_map("has none", {
            let realms = realms.clone();
            move |at| realms.all()[at].has_entrance().then_some(Entrance::Own(at))
        });
        prop_oneof![Just(Entrance::Common), own]
    }

    proptest! {
        /// Whoever is asked at an entrance vouches for users whom that entrance admits; no other realm's are.
        #[test]
        fn the_judge_is_always_one_of_the_entrance(at in entrance(&realms()), key in "(acme_|gamma_|)[a-z]{0,3}") {
            let realms = realms();
            if let Some(judge) = realms.judging(at, Some(&key)) {
                prop_assert!(realms.admits(at, Some(&realms.all()[judge].name)));
            }
        }

        /// No user is admitted at two entrances.
        #[test]
        fn a_user_has_one_entrance(one in entrance(&realms()), other in entrance(&realms()), who in 0usize..4) {
            let realms = realms();
            let name = Some(&*realms.all()[who].name);
            prop_assert!(one == other || !(realms.admits(one, name) && realms.admits(other, name)));
        }

        /// Whatever is sent, the prefix is a part of the path, and what remains is a path or nothing.
        #[test]
        fn any_target_is_read(host in ".{0,20}", path in "(/acme|/beta|/b/e|/|é){0,3}.{0,9}") {
            let entered = realms().entered(Some(&host), &path);
            let rest = &path[entered.prefix..];
            prop_assert!(entered.prefix == 0 || rest.is_empty() || rest.starts_with('/'));
        }
    }
}
