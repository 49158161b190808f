//! What this crate asks of a schema: the field table is one, the tests' toy table another.

/// The type of a value, one level deep.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // the names say it
pub enum Shape<N> {
    /// Anything at all, kept as it is (RawExtension, fieldsV1, JSON).
    Any,
    Text,
    Bool,
    Int32,
    Int64,
    Float,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    /// base64
    Bytes,
    /// Fields by [`Node::field`].
    Object,
    List(N),
    Map(N),
}

/// Markers for strategic merge patch: `patchStrategy` and `patchMergeKey`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merge<'a> {
    /// `patchStrategy` contains `merge`.
    pub merge: bool,
    /// `patchStrategy` contains `replace`.
    pub replace: bool,
    /// `patchStrategy` contains `retainKeys`.
    pub retain_keys: bool,
    /// `patchMergeKey`.
    pub key: Option<&'a str>,
}

/// A type, or a field with its type.
pub trait Node: Copy {
    /// Its type.
    fn shape(self) -> Shape<Self>;
    /// A field of an object, by its JSON name.
    fn field(self, json: &str) -> Option<Self>;
    /// The Go struct's name: `PodSpec`.
    fn name(self) -> &'static str;
    /// The Go struct's package: `v1`.
    fn package(self) -> &'static str {
        "v1"
    }
    /// What Go calls a field's type, where its shape does not tell.
    fn go_type(self) -> Option<&'static str> {
        None
    }
    /// The structs that JSON inlines between a field and its owner, with dots between.
    fn embedded(self) -> Option<&'static str> {
        None
    }
    /// Whether Go's JSON says it when it is zero: it is a pointer, or has no `omitempty`.
    fn keeps_zero(self) -> bool {
        true
    }
    /// Whether Go's JSON says nothing of it, a map or list of `owner`'s, when it is empty.
    fn omits_empty(self, _owner: &str) -> bool {
        false
    }
    /// How strategic merge patch treats it.
    fn merge(self) -> Merge<'static>;
}

/// No schema: everything is kept.
impl Node for () {
    fn shape(self) -> Shape<()> {
        Shape::Any
    }
    fn field(self, _: &str) -> Option<()> {
        None
    }
    fn name(self) -> &'static str {
        "Unstructured"
    }
    fn merge(self) -> Merge<'static> {
        Merge::default()
    }
}
