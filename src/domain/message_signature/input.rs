//! The fields `Signature-Input` and `Signature` (RFC 9421 §4): dictionaries of structured fields.

use std::collections::HashSet;

use sfv::{BareItem, Dictionary, InnerList, Item, Key, ListEntry, Parser, Version};

use super::{ALGORITHM, Flaw, MAX_COMPONENTS, NONCE_BYTES, TAG, Terms, malformed};
use crate::domain::{Timestamp, signing};

/// The parameters of one of our signatures.
pub(super) struct Parameters {
    pub(super) keyid: String,
    pub(super) created: Timestamp,
    pub(super) expires: Option<Timestamp>,
    pub(super) nonce: Option<String>,
}

/// The one signature with our tag: its label, and what it says it covers.
pub(super) fn ours(field: &str) -> Result<(Key, InnerList), Flaw> {
    let mut found = dictionary("Signature-Input", field)?.into_iter().filter_map(|(label, entry)| match entry {
        ListEntry::InnerList(list) if text(&list, "tag") == Some(TAG) => Some((label, list)),
        _ => None,
    });
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Flaw::Ambiguous(format!("several signatures have the tag \"{TAG}\""))),
        (None, _) => malformed(format!("no signature has the parameter tag=\"{TAG}\"")),
    }
}

/// The signature of that label.
pub(super) fn value(field: &str, label: &Key) -> Result<Vec<u8>, Flaw> {
    match dictionary("Signature", field)?.swap_remove(label) {
        Some(ListEntry::Item(Item { bare_item: BareItem::ByteSequence(value), .. })) if value.len() == 32 => Ok(value),
        Some(_) => malformed(format!("an {ALGORITHM} signature is a byte sequence of 32 bytes")),
        None => malformed("Signature has no member of the label that Signature-Input describes"),
    }
}

fn dictionary(name: &str, field: &str) -> Result<Dictionary, Flaw> {
    // Not the error's own text: it may quote the field.
    let parsed = Parser::new(field).with_version(Version::Rfc8941).parse();
    parsed.map_err(|_| Flaw::Malformed(format!("{name} is not a dictionary of structured fields (RFC 8941)")))
}

fn text<'a>(list: &'a InnerList, name: &str) -> Option<&'a str> {
    list.params.get(name)?.as_string().map(|text| text.as_str())
}

/// The parameters, each of its type and no other among them.
pub(super) fn parameters(list: &InnerList) -> Result<Parameters, Flaw> {
    const KNOWN: [&str; 6] = ["alg", "created", "expires", "keyid", "nonce", "tag"];
    if list.params.keys().any(|name| !KNOWN.contains(&name.as_str())) {
        return malformed(format!("only the parameters {} are understood", KNOWN.join(", ")));
    }
    if list.params.contains_key("alg") && text(list, "alg") != Some(ALGORITHM) {
        return malformed(format!("the algorithm must be \"{ALGORITHM}\""));
    }
    let Some(keyid) = text(list, "keyid").filter(|keyid| signing::is_api_key(keyid)) else {
        return malformed("keyid must be the api_key, 1 to 256 visible ASCII characters");
    };
    let Some(created) = time(list, "created")? else { return malformed("the parameter created is missing") };
    let nonce = text(list, "nonce").filter(|nonce| NONCE_BYTES.contains(&nonce.len()));
    if list.params.contains_key("nonce") && nonce.is_none() {
        return malformed("nonce must be a string of 8 to 128 characters");
    }
    let expires = time(list, "expires")?;
    Ok(Parameters { keyid: keyid.to_owned(), created, expires, nonce: nonce.map(str::to_owned) })
}

fn time(list: &InnerList, name: &str) -> Result<Option<Timestamp>, Flaw> {
    let Some(value) = list.params.get(name) else { return Ok(None) };
    let seconds = value.as_integer().map(i64::from);
    match seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()) {
        Some(time) => Ok(Some(time)),
        None => malformed(format!("{name} must be unix seconds, an integer")),
    }
}

/// The names of the covered components: without parameters, each once.
pub(super) fn components(list: &InnerList) -> Result<Vec<&str>, Flaw> {
    if list.items.len() > MAX_COMPONENTS {
        return malformed(format!("more than {MAX_COMPONENTS} components are covered"));
    }
    let mut seen = HashSet::new();
    list.items.iter().map(component).try_fold(Vec::new(), |mut names, name| {
        let name = name?;
        if !seen.insert(name) {
            return malformed("a component is covered twice");
        }
        names.push(name);
        Ok(names)
    })
}

fn component(item: &Item) -> Result<&str, Flaw> {
    let Some(name) = item.bare_item.as_string() else { return malformed("components are named by strings") };
    if !item.params.is_empty() {
        return malformed("components with parameters are not accepted");
    }
    let field = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match name.as_str().strip_prefix('@').unwrap_or(name.as_str()) {
        bare if !bare.is_empty() && bare.bytes().all(field) => Ok(name.as_str()),
        _ => malformed("components are named in lower case"),
    }
}

/// What a client writes: the components with its terms.
pub(super) fn written(components: &[&str], terms: &Terms) -> Result<InnerList, Flaw> {
    let string = |text: &str| {
        let why = |_| Flaw::Malformed("a text that is signed must be visible ASCII".into());
        sfv::StringRef::from_str(text).map(|text| BareItem::from(text.to_owned())).map_err(why)
    };
    let items = components.iter().map(|name| string(name).map(Item::new)).collect::<Result<_, _>>()?;
    let created = sfv::Integer::try_from(terms.created.as_second()).map(BareItem::from);
    let mut parameters = vec![
        ("created", created.map_err(|_| Flaw::Malformed("created is too far from now".into()))?),
        ("keyid", string(&terms.keyid)?),
        ("alg", string(ALGORITHM)?),
        ("tag", string(TAG)?),
    ];
    if let Some(nonce) = &terms.nonce {
        parameters.push(("nonce", string(nonce)?));
    }
    let key = |name: &str| Key::from_string(name.to_owned()).expect("a name of ours");
    let params = parameters.into_iter().map(|(name, value)| (key(name), value)).collect();
    Ok(InnerList::with_params(items, params))
}
