//! Joins k8s-openapi's schemas with k8s-pb's messages into `server/api/src/fields/fields.txt` and `docs.bin`.
//!
//! `fields.txt`, for the whole life of the process, is read in place: a line `=name|form|flags` opens a type,
//! each line after it is a field: json name, type code, tag, then marks (see `sampan_api::fields`). Types
//! are in order of name, fields too; references are the number of a type's line. `docs.bin` holds the
//! descriptions in the same order, deflated per package, since they are needed for OpenAPI alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use crate::merges::{self, Merges};
use crate::newer;
use crate::protos::{self, Message, marker};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Types that are not objects with fields: their one-letter code.
const SCALARS: &[(&str, &str)] = &[
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "t"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", "T"),
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "q"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "x"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "r"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "f"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Patch", "j"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "j"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray", "P"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool", "Q"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray", "R"),
];

/// `+default=ref(...)`: the constants that upstream's markers name.
const CONSTANTS: &[(&str, &str)] =
    &[("ref(AzureDataDiskCachingReadWrite)", "\"ReadWrite\""), ("ref(AzureSharedBlobDisk)", "\"Shared\"")];

/// What the run produced.
pub struct Output {
    pub fields: String,
    pub docs: Vec<u8>,
    pub notes: Vec<String>,
}

struct Tables {
    definitions: Map<String, Value>,
    messages: BTreeMap<String, Message>,
    numbers: BTreeMap<String, usize>,
    merges: Merges,
    newer: BTreeMap<(String, String), newer::Wire>,
    go_types: BTreeMap<(String, String), [String; 2]>,
    notes: Vec<String>,
}

/// Writes both tables.
pub fn generate(mut definitions: Map<String, Value>, kinds: &[(String, bool)]) -> Result<Output> {
    for (schema, listable) in kinds {
        anyhow::ensure!(definitions.contains_key(schema), "k8s-openapi has no {schema}");
        if *listable {
            definitions.insert(format!("{schema}List"), list_of(schema));
        }
    }
    definitions.sort_keys();
    let numbers = definitions.keys().enumerate().map(|(number, name)| (name.clone(), number)).collect();
    let mut tables = Tables {
        definitions,
        messages: protos::read()?,
        newer: newer::read()?,
        go_types: newer::go_types()?,
        merges: merges::read()?,
        numbers,
        notes: Vec::new(),
    };
    let mut fields = String::new();
    let mut docs: BTreeMap<String, String> = BTreeMap::new();
    for (name, schema) in tables.definitions.clone() {
        let package = name.rsplit_once('.').map_or("", |(package, _)| package).to_owned();
        tables.write_type(&name, &schema, &mut fields, docs.entry(package).or_default())?;
    }
    Ok(Output { fields, docs: pack(&docs)?, notes: tables.notes })
}

/// The schema of a list, as upstream words it.
fn list_of(schema: &str) -> Value {
    let list = format!("{schema}List");
    let row = include_str!("../lists.tsv").lines().find(|line| line.split('\t').next() == Some(list.as_str()));
    let mut words = row.unwrap_or_default().split('\t').skip(1);
    let mut next = || words.next().unwrap_or_default();
    let (itself, items, metadata) = (next(), next(), next());
    serde_json::json!({
        "description": itself,
        "properties": {
            "apiVersion": {"type": "string", "description": API_VERSION},
            "items": {"type": "array", "description": items,
                "items": {"$ref": format!("#/$defs/{schema}")}},
            "kind": {"type": "string", "description": KIND},
            "metadata": {"$ref": format!("#/$defs/{META}.ListMeta"), "description": metadata},
        },
        "required": ["items"],
        "type": "object",
    })
}

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// What the wire has for one JSON field: the path of tags and the proto field.
type Found = (Vec<u32>, protos::Field);

impl Tables {
    fn write_type(&mut self, name: &str, schema: &Value, out: &mut String, docs: &mut String) -> Result<()> {
        let description = schema["description"].as_str().unwrap_or_default();
        push_doc(docs, description);
        if let Some((_, code)) = SCALARS.iter().find(|(scalar, _)| *scalar == name) {
            writeln!(out, "={name}|{code}|")?;
            return Ok(());
        }
        let message = self.message(name);
        let atomic = message.as_ref().is_some_and(|m| marker(&m.markers, "structType") == Some("atomic"));
        writeln!(out, "={name}|o|{}", if atomic { "A" } else { "" })?;
        let empty = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&empty);
        if properties.is_empty() {
            self.notes.push(format!("type without fields: {name}: {schema}"));
        }
        let found = message.map(|message| self.join(name, &message, properties)).unwrap_or_default();
        let required: BTreeSet<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (json, property) in properties {
            push_doc(docs, property["description"].as_str().unwrap_or_default());
            let object_meta = reference(property).is_some_and(|name| name.ends_with(".ObjectMeta"));
            // k8s-openapi requires what its structs cannot leave out; upstream's document does not
            let optional = found
                .get(json)
                .is_some_and(|(_, proto): &Found| proto.markers.iter().any(|(name, _)| name == "optional"));
            let asked = required.contains(json.as_str()) && !(json == "metadata" && object_meta);
            if asked && optional {
                self.notes.push(format!("required by k8s-openapi, optional upstream: {name}.{json}"));
            }
            let required = asked && !optional;
            let line = self.field(name, json, property, required, found.get(json))?;
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// The message of a type; for types newer than k8s-pb, a sibling version's.
    fn message(&mut self, name: &str) -> Option<Message> {
        if let Some(message) = self.messages.get(&protos::lookup_key(name)) {
            return Some(message.clone());
        }
        // v1alpha1 of scheduling.k8s.io had other types of the same names
        if name.ends_with("List") || name.contains(".scheduling.v1alpha2.") {
            return None;
        }
        let lower = protos::lookup_key(name);
        let (package, kind) = lower.rsplit_once('.')?;
        let (group, _) = package.rsplit_once('.')?;
        let siblings = self.messages.iter().filter(|(other, _)| {
            let parts = other.rsplit_once('.').and_then(|(p, k)| Some((p.rsplit_once('.')?.0, k)));
            parts == Some((group, kind))
        });
        // of equals the last: v1beta1 before v1alpha1
        let sibling = siblings.max_by_key(|(_, message)| message.fields.len());
        let note = match &sibling {
            Some((other, _)) => format!("no message {name}: tags and markers of {other}"),
            None => format!("no message {name}: no tags"),
        };
        let message = sibling.map(|(_, message)| message.clone());
        self.notes.push(note);
        message
    }

    /// Proto fields by JSON name, looking through messages that JSON inlines.
    fn join(
        &mut self,
        name: &str,
        message: &Message,
        properties: &Map<String, Value>,
    ) -> BTreeMap<String, Found> {
        let by_key: BTreeMap<String, &str> =
            properties.keys().map(|json| (key(json), json.as_str())).collect();
        let mut found = BTreeMap::new();
        self.join_fields(name, message, &by_key, &[], &mut found);
        found
    }

    fn join_fields(
        &mut self,
        name: &str,
        message: &Message,
        by_key: &BTreeMap<String, &str>,
        path: &[u32],
        found: &mut BTreeMap<String, Found>,
    ) {
        for field in &message.fields {
            let path = [path, &[field.tag]].concat();
            if let Some(json) = by_key.get(&key(&field.name)) {
                found.entry((*json).to_owned()).or_insert((path, field.clone()));
                continue;
            }
            let inlined = field.message.as_ref().and_then(|message| self.messages.get(message)).cloned();
            let before = found.len();
            if let Some(inlined) = inlined.filter(|_| path.len() < 4) {
                self.join_fields(name, &inlined, by_key, &path, found);
            }
            if found.len() == before && path.len() == 1 {
                self.notes.push(format!("only in protobuf: {name}.{}", field.name));
            }
        }
    }

    fn field(
        &mut self,
        owner: &str,
        json: &str,
        property: &Value,
        required: bool,
        found: Option<&Found>,
    ) -> Result<String> {
        let newer = self.newer_markers(owner, json);
        let mut code = self.code(property).with_context(|| format!("{owner}.{json}"))?;
        let mut tag = "0".to_owned();
        if let Some((path, proto)) = found {
            tag = path.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
            if code == "s" && proto.message.as_deref().is_some_and(|name| name.ends_with(".meta.v1.duration"))
            {
                code = "D".to_owned();
            }
            self.check_wire(owner, json, &code, proto);
        }
        let newer_wire = self.newer.get(&(owner.to_owned(), json.to_owned()));
        if let Some(path) = newer_wire.map(|wire| &wire.tags).filter(|path| !path.is_empty()) {
            tag.clone_from(path);
        }
        let wire_marks = newer_wire.map(|wire| wire.marks.clone()).unwrap_or_default();
        if tag == "0" && !(json == "apiVersion" || json == "kind") {
            self.notes.push(format!("no tag: {owner}.{json}"));
        }
        let markers = found.map_or(&newer, |(_, proto)| &proto.markers);
        let said = marker(&newer, "listType").filter(|said| *said != "atomic");
        if said.is_some() && marker(markers, "listType").is_none() {
            self.notes.push(format!("only DeepMerge tells list items apart: {owner}.{json} {newer:?}"));
        }
        let mut line = format!("{json}\t{code}\t{tag}");
        for mark in wire_marks.chars() {
            write!(line, "\t{mark}")?;
        }
        for mark in marks(&code, required, markers, property) {
            write!(line, "\t{mark}")?;
        }
        let told = self.go_types.get(&(owner.to_owned(), json.to_owned()));
        for (mark, said) in ["g", "e"].into_iter().zip(told.into_iter().flatten()) {
            if !said.is_empty() {
                write!(line, "\t{mark}:{said}")?;
            }
        }
        Ok(line)
    }

    /// What `DeepMerge` knows of a list that k8s-pb lacks.
    fn newer_markers(&self, owner: &str, json: &str) -> protos::Markers {
        let of_type = self.merges.iter().filter(|((name, _), _)| name == owner);
        let found = of_type.into_iter().find(|((_, field), _)| key(field) == key(json));
        found.map(|(_, markers)| markers.clone()).unwrap_or_default()
    }

    fn check_wire(&mut self, owner: &str, json: &str, code: &str, proto: &protos::Field) {
        let expected = match code.trim_start_matches(['L']).chars().next().unwrap_or(' ') {
            's' => "string",
            'i' => "int32",
            'l' => "int64",
            'd' => "double",
            'b' => "bool",
            'y' => "bytes",
            'M' => "btree_map",
            _ => "message",
        };
        let map = expected == "btree_map" && proto.wire == "map";
        if expected != proto.wire && !map {
            self.notes.push(format!("wire: {owner}.{json} is {code} but {} {:?}", proto.wire, proto.message));
        } else if code.starts_with("ML") {
            self.notes.push(format!("wire: {owner}.{json} is {code} and {} {:?}", proto.wire, proto.message));
        }
    }

    /// The type code of a property.
    fn code(&self, property: &Value) -> Result<String> {
        if let Some(name) = reference(property) {
            if let Some((_, code)) = SCALARS.iter().find(|(scalar, _)| *scalar == name) {
                return Ok((*code).to_owned());
            }
            let number = self.numbers.get(name).with_context(|| format!("no definition of {name}"))?;
            return Ok(format!("O{number}"));
        }
        Ok(match (property["type"].as_str(), property["format"].as_str()) {
            (Some("string"), Some("byte")) => "y".to_owned(),
            (Some("string"), Some("date-time")) => "t".to_owned(),
            (Some("string"), _) => "s".to_owned(),
            (Some("integer"), Some("int64")) => "l".to_owned(),
            (Some("integer"), _) => "i".to_owned(),
            (Some("number"), _) => "d".to_owned(),
            (Some("boolean"), _) => "b".to_owned(),
            (Some("array"), _) => format!("L{}", self.code(&property["items"])?),
            (Some("object"), _) if property["additionalProperties"].is_object() => {
                format!("M{}", self.code(&property["additionalProperties"])?)
            }
            (Some("object"), _) | (None, _) => "j".to_owned(),
            (Some(other), _) => anyhow::bail!("a property of type {other}"),
        })
    }
}

/// The marks of a field's line: `r` required, `la` `ls` `lm:keys` list type, `ma` map type atomic,
/// `p:` patch strategy, `k:` patch merge key, `d:` default. Ahead of them are those of `wire.tsv` (`z`, `w`, `n`), behind them
/// come `g:`, what Go calls the type, and `e:`, the structs that JSON inlines.
fn marks(code: &str, required: bool, markers: &protos::Markers, property: &Value) -> Vec<String> {
    let mut marks = Vec::new();
    if required {
        marks.push("r".to_owned());
    }
    let mut keys: Vec<&str> =
        markers.iter().filter(|(name, _)| name == "listMapKey").map(|(_, key)| key.as_str()).collect();
    keys.dedup();
    let mut seen = BTreeSet::new();
    keys.retain(|key| seen.insert(*key));
    match marker(markers, "listType") {
        Some("atomic") => marks.push("la".to_owned()),
        Some("set") => marks.push("ls".to_owned()),
        Some("map") => marks.push(format!("lm:{}", keys.join(","))),
        _ => {}
    }
    let atomic = |name| marker(markers, name) == Some("atomic");
    if atomic("mapType") || (atomic("structType") && !code.starts_with('L')) {
        marks.push("ma".to_owned());
    }
    if let Some(strategy) = marker(markers, "patchStrategy") {
        marks.push(format!("p:{strategy}"));
    }
    if let Some(key) = marker(markers, "patchMergeKey") {
        marks.push(format!("k:{key}"));
    }
    let default = marker(markers, "default").map(|value| {
        CONSTANTS.iter().find(|(name, _)| *name == value).map_or(value, |(_, value)| value).to_owned()
    });
    if let Some(default) = default.or_else(|| property.get("default").map(Value::to_string)) {
        marks.push(format!("d:{default}"));
    }
    marks
}

/// The type a property refers to, directly or wrapped to carry a description.
fn reference(property: &Value) -> Option<&str> {
    let direct = property.get("$ref").or_else(|| property.get("allOf")?.get(0)?.get("$ref"));
    direct?.as_str()?.strip_prefix("#/$defs/")
}

/// `hostIPC`, `host_ipc` and `host_i_p_c` are one field.
fn key(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn push_doc(docs: &mut String, text: &str) {
    docs.push_str(&text.replace('\0', ""));
    docs.push('\0');
}

/// `count`, then per package: name, offset and length as lines of text, an empty line, then the streams.
fn pack(docs: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let (mut head, mut body) = (String::new(), Vec::new());
    for (package, text) in docs {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text.as_bytes())?;
        let stream = encoder.finish()?;
        writeln!(head, "{package}\t{}\t{}\t{}", body.len(), stream.len(), text.len())?;
        body.extend(stream);
    }
    head.push('\n');
    let mut bytes = head.into_bytes();
    bytes.extend(body);
    Ok(bytes)
}
