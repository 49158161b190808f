//! Which representation a client wants: `Accept`, as
//! `k8s.io/apiserver/pkg/endpoints/handlers/negotiation` reads it.
//!
//! Protobuf is there for built-in types, and for the metadata of all: Tables and custom resources are JSON or YAML.

use sampan_api::fields;
use sampan_api::kinds::Kind;
use sampan_api::status::ApiError;

/// Serialisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// What objects are turned into before they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// The object itself.
    Object,
    /// `meta.k8s.io/v1 Table`.
    Table,
    /// `meta.k8s.io/v1 PartialObjectMetadata`.
    Metadata,
    /// `meta.k8s.io/v1 PartialObjectMetadataList`.
    MetadataList,
}

/// The version of `meta.k8s.io` that Tables and metadata are said to be of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Meta {
    /// `v1`.
    #[default]
    V1,
    /// `v1beta1`, which is the same but for its name.
    V1Beta1,
}

impl Meta {
    /// As `apiVersion`.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Serialisation.
    pub encoding: Encoding,
    /// Shape.
    pub shape: As,
    /// Of which version, if it is a shape of its own.
    pub meta: Meta,
    /// Indented.
    pub pretty: bool,
}

impl Format {
    /// Plain JSON.
    pub const JSON: Format =
        Format { encoding: Encoding::Json, shape: As::Object, meta: Meta::V1, pretty: false };
}

/// The media type of protobuf.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// The media types in a 406, the last of them where there is protobuf of something.
const SUPPORTED: &[&str] = &["application/json", "application/yaml", PROTOBUF];

/// The same of a watch: YAML cannot be cut into events.
pub const STREAMED: &[&str] =
    &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// What can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Tables and metadata alone.
    pub shapes: bool,
    /// Protobuf of the objects themselves.
    pub protobuf: bool,
}

impl Offer {
    /// Objects in every encoding.
    pub const OBJECT: Self = Self { shapes: false, protobuf: true };

    /// Objects of a built-in type, in every shape.
    pub const SHAPES: Self = Self { shapes: true, protobuf: true };

    /// Objects of a kind, in every shape.
    pub fn of(kind: &Kind) -> Self {
        Self { shapes: true, protobuf: fields::type_of(kind.schema).is_some() }
    }
}

/// One clause of an Accept header: type, parameters.
pub struct Clause<'a> {
    /// `application/json`.
    pub media: &'a str,
    /// `as=Table` …
    pub params: Vec<(&'a str, &'a str)>,
}

impl<'a> Clause<'a> {
    /// A parameter's value, or "".
    pub fn param(&self, key: &str) -> &'a str {
        self.params.iter().find(|(k, _)| *k == key).map_or("", |(_, v)| v)
    }
}

/// The clauses of `header`, most wanted first.
pub fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut list: Vec<Clause<'_>> = header.split(',').filter(|c| !c.trim().is_empty()).map(clause).collect();
    let weight = |c: &Clause<'_>| (c.param("q").parse::<f32>().unwrap_or(1.0) * 1000.0) as i32;
    list.sort_by_key(|c| -weight(c));
    list
}

fn clause(text: &str) -> Clause<'_> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or("");
    let params = parts
        .filter_map(|p| p.split_once('='))
        .map(|(k, v)| (k.trim(), v.trim().trim_matches('"')))
        .collect();
    Clause { media, params }
}

/// Chooses the first clause that can be served.
pub fn negotiate(accept: &str, offer: Offer, pretty: bool) -> Result<Format, ApiError> {
    let list = clauses(accept);
    if list.is_empty() {
        return Ok(Format { pretty, ..Format::JSON });
    }
    let found = list.iter().find_map(|c| {
        let encoding = encoding(c.media)?;
        let shape = shape(c, offer, encoding)?;
        let given = offer.protobuf || encoding != Encoding::Protobuf || shape != As::Object;
        let meta = if c.param("v") == "v1beta1" { Meta::V1Beta1 } else { Meta::V1 };
        given.then_some(Format { encoding, shape, meta, pretty })
    });
    let supported = &SUPPORTED[..SUPPORTED.len() - usize::from(!offer.protobuf && !offer.shapes)];
    found.ok_or_else(|| ApiError::not_acceptable(supported))
}

fn encoding(media: &str) -> Option<Encoding> {
    match media {
        "*/*" | "application/*" | "application/json" => Some(Encoding::Json),
        "application/yaml" => Some(Encoding::Yaml),
        PROTOBUF => Some(Encoding::Protobuf),
        _ => None,
    }
}

fn shape(clause: &Clause<'_>, offer: Offer, encoding: Encoding) -> Option<As> {
    let known = matches!((clause.param("g"), clause.param("v")), ("meta.k8s.io", "v1" | "v1beta1"));
    match clause.param("as") {
        "" => Some(As::Object),
        "Table" if known && offer.shapes && encoding != Encoding::Protobuf => Some(As::Table),
        "PartialObjectMetadata" if known && offer.shapes => Some(As::Metadata),
        "PartialObjectMetadataList" if known && offer.shapes => Some(As::MetadataList),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_servable_clause_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        let cases = [
            ("", Some((Encoding::Json, As::Object))),
            ("*/*", Some((Encoding::Json, As::Object))),
            ("application/yaml", Some((Encoding::Yaml, As::Object))),
            ("application/vnd.kubernetes.protobuf, */*", Some((Encoding::Protobuf, As::Object))),
            ("application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1", None),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
                Some((Encoding::Protobuf, As::Metadata)),
            ),
            ("application/yaml;q=0.5, application/json", Some((Encoding::Json, As::Object))),
            (table, Some((Encoding::Json, As::Table))),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Some((Encoding::Json, As::MetadataList)),
            ),
            ("application/json;as=Table;v=v9;g=meta.k8s.io", None),
        ];
        let all = Offer { shapes: true, protobuf: true };
        for (accept, expected) in cases {
            let got = negotiate(accept, all, false).ok().map(|f| (f.encoding, f.shape));
            assert_eq!(got, expected, "{accept}");
        }
        assert!(negotiate("application/json;as=Table;v=v1;g=meta.k8s.io", Offer::OBJECT, false).is_err());
        let custom = Offer { shapes: true, protobuf: false };
        let got = negotiate("application/vnd.kubernetes.protobuf, */*", custom, false).map(|f| f.encoding);
        assert_eq!(got.ok(), Some(Encoding::Json));
        let refused = negotiate(PROTOBUF, custom, false).expect_err("no protobuf").message;
        assert!(
            refused.ends_with("application/json, application/yaml, application/vnd.kubernetes.protobuf"),
            "{refused}"
        );
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let got = negotiate(metadata, custom, false).map(|f| (f.encoding, f.shape));
        assert_eq!(got.ok(), Some((Encoding::Protobuf, As::MetadataList)));
        let older = negotiate("application/json;as=Table;v=v1beta1;g=meta.k8s.io", custom, false);
        assert_eq!(older.ok().map(|format| format.meta.api_version()), Some("meta.k8s.io/v1beta1"));
    }
}
