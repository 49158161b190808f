//! The functions of Kubernetes' CEL environment: their signatures.
//!
//! The list is that of upstream's `apiserver/pkg/cel/environment/base.go` at v1.36: the standard library, optional types,
//! strings (version 2), sets, two-variable comprehensions (see `parse.rs`), and Kubernetes' lists, regex, urls, ip, cidr,
//! quantity, semver, format, image, authorizer and jsonpatch.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::relation::Relation;
use crate::types::Type;

/// One way to call a function.
#[derive(Debug)]
pub(crate) struct Overload {
    pub method: bool,
    /// The target of a method first.
    pub params: Vec<Type>,
    pub result: Type,
}

/// `target.name(params) result`, a line each.
const SIGNATURES: &str = include_str!("signatures.txt");

static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut all: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for line in SIGNATURES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, overload) = signature(line);
        all.entry(name).or_default().push(overload);
    }
    all
});

/// All ways to call `name`.
pub(crate) fn overloads(name: &str) -> Option<&'static [Overload]> {
    FUNCTIONS.get(name).map(Vec::as_slice)
}

fn signature(line: &'static str) -> (&'static str, Overload) {
    let (head, rest) = line.split_once('(').unwrap_or((line, ")"));
    let (params, result) = rest.rsplit_once(") ").unwrap_or((rest, "dyn"));
    let mut types: Vec<Type> = split(params).into_iter().map(parse).collect();
    let Some((target, name)) = head.split_once("::") else {
        return (head, Overload { method: false, params: types, result: parse(result) });
    };
    types.insert(0, parse(target));
    (name, Overload { method: true, params: types, result: parse(result) })
}

/// At the commas that stand outside of angle brackets.
fn split(text: &'static str) -> Vec<&'static str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    if !text[from..].trim().is_empty() {
        parts.push(text[from..].trim());
    }
    parts
}

fn parse(text: &'static str) -> Type {
    if let Some((outer, inner)) = text.strip_suffix('>').and_then(|text| text.split_once('<')) {
        let mut inner = split(inner).into_iter().map(|one| Arc::new(parse(one)));
        let mut next = || inner.next().unwrap_or(Arc::new(Type::Dyn));
        return match outer {
            "list" => Type::List(next(), Relation::Atomic),
            "map" => Type::Map(next(), next()),
            "optional" => Type::Optional(next()),
            _ => Type::Type(next()),
        };
    }
    match text {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "A" | "B" => Type::Param(text),
        _ => Type::Opaque(text),
    }
}

/// The names that stand for types.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "list" => Type::list(Type::Dyn),
        "map" => Type::Map(Arc::new(Type::Dyn), Arc::new(Type::Dyn)),
        "null_type" => Type::Null,
        "type" => Type::Type(Arc::new(Type::Dyn)),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        "net.IP" => Type::Opaque("net.IP"),
        "net.CIDR" => Type::Opaque("net.CIDR"),
        "kubernetes.URL" => Type::Opaque("kubernetes.URL"),
        "kubernetes.Quantity" => Type::Opaque("kubernetes.Quantity"),
        "kubernetes.Semver" => Type::Opaque("kubernetes.Semver"),
        "kubernetes.Image" => Type::Opaque("kubernetes.Image"),
        _ => return None,
    })
}
