//! Reads `fields.txt` in place.
//!
//! A line `=name|form|flags` opens a type; each line after it is a field: JSON name, type code, tags, marks,
//! with tabs between. The generator's `fields.rs` is the writer.

use std::sync::{LazyLock, OnceLock};

use super::{Field, FieldType, ListType, Type, TypeRef, Unsaid};

static TEXT: &str = include_str!("fields.txt");

struct Row {
    name: &'static str,
    body: &'static str,
    decoded: OnceLock<Type>,
}

static ROWS: LazyLock<Box<[Row]>> =
    LazyLock::new(|| TEXT.split('=').skip(1).map(row).collect::<Vec<_>>().into());

fn row(text: &'static str) -> Row {
    Row { name: text.split('|').next().unwrap_or(text), body: text, decoded: OnceLock::new() }
}

pub(super) fn count() -> usize {
    ROWS.len()
}

pub(super) fn name(number: usize) -> &'static str {
    ROWS[number].name
}

pub(super) fn find(schema: &str) -> Option<usize> {
    ROWS.binary_search_by(|row| row.name.cmp(schema)).ok()
}

pub(super) fn nth(number: usize) -> &'static Type {
    let row = &ROWS[number];
    row.decoded.get_or_init(|| decode(number, row.name, row.body))
}

fn decode(number: usize, name: &'static str, body: &'static str) -> Type {
    let mut lines = body.lines();
    let mut head = lines.next().unwrap_or_default().split('|').skip(1);
    let form = head.next().unwrap_or_default();
    Type {
        name,
        scalar: (form != "o").then(|| code(form)),
        atomic: head.next() == Some("A"),
        fields: lines.map(field).collect(),
        number: u16::try_from(number).unwrap_or(u16::MAX),
    }
}

fn field(line: &'static str) -> Field {
    let mut cells = line.split('\t');
    let mut field = Field {
        json: cells.next().unwrap_or_default(),
        ty: code(cells.next().unwrap_or_default()),
        tags: tags(cells.next().unwrap_or_default()),
        keeps_zero: false,
        unsaid: Unsaid::Nothing,
        required: false,
        list_type: None,
        map_keys: &[],
        map_atomic: false,
        patch_strategy: None,
        merge_key: None,
        default: None,
        go_type: None,
        embedded: None,
    };
    for mark in cells {
        apply(&mut field, mark);
    }
    field
}

fn apply(field: &mut Field, mark: &'static str) {
    match mark.split_once(':') {
        None if mark == "z" => field.keeps_zero = true,
        None if mark == "w" => field.unsaid = Unsaid::Zero,
        None if mark == "n" => field.unsaid = Unsaid::Null,
        None if mark == "r" => field.required = true,
        None if mark == "la" => field.list_type = Some(ListType::Atomic),
        None if mark == "ls" => field.list_type = Some(ListType::Set),
        None if mark == "ma" => field.map_atomic = true,
        Some(("lm", keys)) => {
            field.list_type = Some(ListType::Map);
            field.map_keys = keys.split(',').collect::<Vec<_>>().leak();
        }
        Some(("p", strategy)) => field.patch_strategy = Some(strategy),
        Some(("k", key)) => field.merge_key = Some(key),
        Some(("d", default)) => field.default = Some(default),
        Some(("g", name)) => field.go_type = Some(name),
        Some(("e", structs)) => field.embedded = Some(structs),
        _ => unreachable!("the generator writes no mark {mark}"),
    }
}

/// Most fields have one small tag: those share one array instead of a leaked one each.
fn tags(text: &str) -> &'static [u32] {
    const SMALL: [u32; 64] = {
        let (mut numbers, mut at) = ([0; 64], 0);
        while at < 64 {
            numbers[at] = at as u32;
            at += 1;
        }
        numbers
    };
    static SHARED: [u32; 64] = SMALL;
    let numbers: Vec<u32> = text.split('.').filter_map(|part| part.parse().ok()).collect();
    match numbers[..] {
        [0] | [] => &[],
        [small @ 1..64] => std::slice::from_ref(&SHARED[small as usize]),
        _ => numbers.leak(),
    }
}

fn code(text: &str) -> FieldType {
    let rest = text.get(1..).unwrap_or_default();
    match text.as_bytes().first().copied().unwrap_or(b'j') {
        b's' => FieldType::String,
        b'i' => FieldType::Int32,
        b'l' => FieldType::Int64,
        b'd' => FieldType::Float,
        b'b' => FieldType::Bool,
        b'y' => FieldType::Bytes,
        b't' => FieldType::Time,
        b'T' => FieldType::MicroTime,
        b'D' => FieldType::Duration,
        b'q' => FieldType::Quantity,
        b'x' => FieldType::IntOrString,
        b'r' => FieldType::RawExtension,
        b'f' => FieldType::FieldsV1,
        b'P' => FieldType::SchemaOrArray,
        b'Q' => FieldType::SchemaOrBool,
        b'R' => FieldType::SchemaOrStrings,
        b'O' => FieldType::Object(TypeRef(rest.parse().unwrap_or(u16::MAX))),
        b'L' => FieldType::List(item(rest)),
        b'M' => FieldType::Map(item(rest)),
        _ => FieldType::Json,
    }
}

/// Items that are scalars are promoted statics; only objects and nested lists cost an allocation.
fn item(text: &str) -> &'static FieldType {
    match code(text) {
        FieldType::String => &FieldType::String,
        FieldType::Quantity => &FieldType::Quantity,
        FieldType::Bytes => &FieldType::Bytes,
        other => Box::leak(Box::new(other)),
    }
}

/// FNV-1a over the table.
pub(super) static FINGERPRINT: LazyLock<u64> = LazyLock::new(|| {
    TEXT.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
});
