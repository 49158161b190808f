//! Which representation a client wants: `Accept`, as
//! `k8s.io/apiserver/pkg/endpoints/handlers/negotiation` reads it.
//!
//! Protobuf is not served; clients that ask for it first also accept `*/*` or JSON.

use sampan_api::status::ApiError;

/// Serialisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
}

/// What objects are turned into before they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// The object itself.
    Object,
    /// `meta.k8s.io/v1 Table`.
    Table,
    /// `meta.k8s.io/v1 PartialObjectMetadata` and its list.
    Metadata,
}

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Serialisation.
    pub encoding: Encoding,
    /// Shape.
    pub shape: As,
    /// Indented.
    pub pretty: bool,
}

impl Format {
    /// Plain JSON.
    pub const JSON: Format = Format { encoding: Encoding::Json, shape: As::Object, pretty: false };
}

/// The media types in a 406.
pub const SUPPORTED: &[&str] = &["application/json", "application/yaml"];

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

/// Chooses the first clause that can be served. `table`: whether `as=` shapes may be asked for.
pub fn negotiate(accept: &str, table: bool, pretty: bool) -> Result<Format, ApiError> {
    let list = clauses(accept);
    if list.is_empty() {
        return Ok(Format { pretty, ..Format::JSON });
    }
    let found = list
        .iter()
        .find_map(|c| Some(Format { encoding: encoding(c.media)?, shape: shape(c, table)?, pretty }));
    found.ok_or_else(|| ApiError::not_acceptable(SUPPORTED))
}

fn encoding(media: &str) -> Option<Encoding> {
    match media {
        "*/*" | "application/*" | "application/json" => Some(Encoding::Json),
        "application/yaml" => Some(Encoding::Yaml),
        _ => None,
    }
}

fn shape(clause: &Clause<'_>, table: bool) -> Option<As> {
    let known = matches!((clause.param("g"), clause.param("v")), ("meta.k8s.io", "v1" | "v1beta1"));
    match clause.param("as") {
        "" => Some(As::Object),
        "Table" if known && table => Some(As::Table),
        "PartialObjectMetadata" | "PartialObjectMetadataList" if known && table => Some(As::Metadata),
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
            ("application/vnd.kubernetes.protobuf, */*", Some((Encoding::Json, As::Object))),
            ("application/vnd.kubernetes.protobuf", None),
            ("application/yaml;q=0.5, application/json", Some((Encoding::Json, As::Object))),
            (table, Some((Encoding::Json, As::Table))),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Some((Encoding::Json, As::Metadata)),
            ),
            ("application/json;as=Table;v=v9;g=meta.k8s.io", None),
        ];
        for (accept, expected) in cases {
            let got = negotiate(accept, true, false).ok().map(|f| (f.encoding, f.shape));
            assert_eq!(got, expected, "{accept}");
        }
        assert!(negotiate("application/json;as=Table;v=v1;g=meta.k8s.io", false, false).is_err());
    }
}
