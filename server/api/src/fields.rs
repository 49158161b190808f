//! Every field of every built-in type: name, type, protobuf tag, list and map semantics, merge keys.
//!
//! The table is generated (see `server/api/generate`) and lies in the binary as text that is read in place:
//! a type is decoded when first asked for and kept, most types never are. Descriptions are apart, deflated
//! per package, decoded for one OpenAPI document and dropped again. What a value must satisfy beyond its
//! shape is not here: see `validate`.
//!
//! ```
//! use sampan_api::fields::{self, ListType};
//! let spec = fields::type_of("io.k8s.api.core.v1.PodSpec").unwrap();
//! assert_eq!(spec.field("containers").unwrap().list_type, Some(ListType::Map));
//! ```

mod docs;
mod parse;

use std::fmt;
use std::sync::LazyLock;

use serde_json::{Map, Value};

pub use docs::Docs;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// A string.
    String,
    /// A number of 32 bits.
    Int32,
    /// A number of 64 bits.
    Int64,
    /// A number with a fraction.
    Float,
    /// A boolean.
    Bool,
    /// Bytes: base64 in JSON.
    Bytes,
    /// A time in seconds.
    Time,
    /// A time in microseconds.
    MicroTime,
    /// A Go duration such as `1h30m`.
    Duration,
    /// An amount such as `500m`; a number is accepted too.
    Quantity,
    /// A number or a string.
    IntOrString,
    /// An object with declared fields.
    Object(TypeRef),
    /// An array.
    List(&'static FieldType),
    /// An object with free keys.
    Map(&'static FieldType),
    /// Any Kubernetes object.
    RawExtension,
    /// The field set of a manager.
    FieldsV1,
    /// Any JSON value.
    Json,
    /// A JSONSchemaProps or a list of them.
    SchemaOrArray,
    /// A JSONSchemaProps or a boolean.
    SchemaOrBool,
    /// A JSONSchemaProps or a list of strings.
    SchemaOrStrings,
}

/// How the items of a list are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole.
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects, told apart by [`Field::map_keys`].
    Map,
}

/// What Go's JSON says of a field of which nothing was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsaid {
    /// Nothing: `omitempty` or `omitzero`.
    Nothing,
    /// Its zero, see [`Field::zero`]: it has no `omitempty`, or is a struct by value, which `omitempty` does not leave out.
    Zero,
    /// Null: a pointer without `omitempty`.
    Null,
}

/// A type by its place in the table.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeRef(u16);

impl TypeRef {
    /// The type.
    pub fn get(self) -> &'static Type {
        parse::nth(usize::from(self.0))
    }

    /// Its place.
    pub(crate) fn number(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Debug for TypeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(parse::name(usize::from(self.0)))
    }
}

/// One built-in type.
#[derive(Debug)]
pub struct Type {
    /// The schema name, such as `io.k8s.api.core.v1.PodSpec`.
    pub name: &'static str,
    /// `None` for objects; what the type is instead for `Time`, `Quantity` and the like.
    pub scalar: Option<FieldType>,
    /// Whether the object is replaced as a whole (`+structType=atomic`).
    pub atomic: bool,
    /// Fields in order of their JSON name.
    pub fields: Box<[Field]>,
    number: u16,
}

/// One field of a type.
#[derive(Debug)]
pub struct Field {
    /// The name in JSON.
    pub json: &'static str,
    /// What it holds.
    pub ty: FieldType,
    /// Protobuf field numbers: one, or the way through messages that JSON inlines (Volume's `emptyDir` is
    /// `[2, 2]`). Empty where the tag is not known (fields newer than the generator's source).
    pub tags: &'static [u32],
    /// Whether Go's JSON says a scalar that is zero: a pointer, or no `omitempty`.
    pub keeps_zero: bool,
    /// What Go's JSON says where nothing was said.
    pub unsaid: Unsaid,
    /// Whether upstream's schema requires it.
    pub required: bool,
    /// How list items are told apart; `None` where upstream says nothing (then atomic for apply).
    pub list_type: Option<ListType>,
    /// The keys of a [`ListType::Map`].
    pub map_keys: &'static [&'static str],
    /// Whether the map or object is replaced as a whole by apply.
    pub map_atomic: bool,
    /// Strategic merge patch: `merge`, `retainKeys`, `merge,retainKeys`, `replace` as upstream writes it.
    pub patch_strategy: Option<&'static str>,
    /// Strategic merge patch: the key of list items.
    pub merge_key: Option<&'static str>,
    /// The default that upstream's schema states, as JSON text.
    pub default: Option<&'static str>,
    /// What Go calls the type, without a pointer, where that is not told by what it holds: `v1.RestartPolicy`.
    pub go_type: Option<&'static str>,
    /// The structs that JSON inlines between the type and the field: `VolumeSource`.
    pub embedded: Option<&'static str>,
}

/// The type of that schema name.
pub fn type_of(schema: &str) -> Option<&'static Type> {
    parse::find(schema).map(parse::nth)
}

/// All types in order of name. Decodes the whole table: for generators of documents and tests.
pub fn all() -> impl Iterator<Item = &'static Type> {
    (0..parse::count()).map(parse::nth)
}

/// How many types there are.
pub(crate) fn count() -> usize {
    parse::count()
}

/// A number that changes when the table does.
pub fn fingerprint() -> u64 {
    *parse::FINGERPRINT
}

impl Type {
    /// The field of that JSON name.
    pub fn field(&self, json: &str) -> Option<&Field> {
        self.fields.binary_search_by(|field| field.json.cmp(json)).ok().map(|at| &self.fields[at])
    }

    /// The reference that fields of this type carry.
    pub fn reference(&self) -> TypeRef {
        TypeRef(self.number)
    }

    /// The Go package in the schema name: everything before the last dot.
    pub fn package(&self) -> &'static str {
        self.name.rsplit_once('.').map_or("", |(package, _)| package)
    }

    /// The description. Inflates a package's text: use [`Docs`] for more than one.
    pub fn doc(&self) -> String {
        Docs::of_package(self.package()).map_or_else(String::new, |docs| docs.of_type(self).to_owned())
    }
}

static NULL: Value = Value::Null;
static FALSE: Value = Value::Bool(false);
static NO_TEXT: Value = Value::String(String::new());
static NUMBER: LazyLock<Value> = LazyLock::new(|| 0.into());
static AMOUNT: LazyLock<Value> = LazyLock::new(|| "0".into());
static DURATION: LazyLock<Value> = LazyLock::new(|| "0s".into());
static OBJECT: LazyLock<Value> = LazyLock::new(|| Map::new().into());

impl FieldType {
    /// Go's zero value, as JSON.
    fn zero(&self) -> &'static Value {
        match self {
            Self::String => &NO_TEXT,
            Self::Bool => &FALSE,
            Self::Int32 | Self::Int64 | Self::Float | Self::IntOrString => &NUMBER,
            Self::Quantity => &AMOUNT,
            Self::Duration => &DURATION,
            Self::Object(reference) => match &reference.get().scalar {
                Some(scalar) => scalar.zero(),
                None => &OBJECT,
            },
            // nil slices and maps, and structs that write themselves so
            Self::List(_) | Self::Map(_) | Self::Bytes | Self::Time | Self::MicroTime => &NULL,
            Self::RawExtension | Self::FieldsV1 | Self::Json => &NULL,
            Self::SchemaOrArray | Self::SchemaOrBool | Self::SchemaOrStrings => &NULL,
        }
    }

    /// The object type that the value or its items have.
    pub fn object(&self) -> Option<&'static Type> {
        match self {
            Self::Object(reference) => Some(reference.get()),
            Self::List(item) | Self::Map(item) => item.object(),
            _ => None,
        }
    }
}

impl Field {
    /// What the field is where nothing was said: `None` if it is not there at all. Of an object by value this is `{}`: what
    /// it always has itself is for who asks.
    pub fn zero(&self) -> Option<&'static Value> {
        match self.unsaid {
            Unsaid::Nothing => None,
            Unsaid::Null => Some(&NULL),
            Unsaid::Zero => Some(self.ty.zero()),
        }
    }

    /// Whether the patch strategy contains the word.
    pub fn has_strategy(&self, word: &str) -> bool {
        self.patch_strategy.is_some_and(|strategy| strategy.split(',').any(|part| part == word))
    }
}

#[cfg(test)]
mod tests;
