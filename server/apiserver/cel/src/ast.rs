//! The tree of an expression. Macros stay what they are: a `Fold` is evaluated as such, not as a comprehension with an accumulator.

use std::sync::Arc;

/// A node with the place in the source that complaints about it point at (a character's index).
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub node: Node,
    /// Where cel-go points when it complains.
    pub at: usize,
    /// How many nodes stand below each other, this included.
    pub depth: usize,
}

impl Expr {
    pub(crate) fn new(node: Node, at: usize) -> Self {
        let depth = 1 + node.children().iter().map(|child| child.depth).max().unwrap_or(0);
        Self { node, at, depth }
    }
}

impl Node {
    /// What it is made of.
    pub(crate) fn children(&self) -> Vec<&Expr> {
        match self {
            Self::Literal(_) | Self::Ident(_) => Vec::new(),
            Self::Select(operand, _) | Self::OptionalSelect(operand, _) | Self::Has(operand, _) => {
                vec![operand]
            }
            Self::Index(left, right)
            | Self::OptionalIndex(left, right)
            | Self::And(left, right)
            | Self::Or(left, right)
            | Self::OptionalMap(_, left, _, right) => vec![left, right],
            Self::Call(_, arguments) => arguments.iter().collect(),
            Self::Method(target, _, arguments) => std::iter::once(&**target).chain(arguments).collect(),
            Self::Condition(all) => all.iter().collect(),
            Self::List(items) => items.iter().map(|(_, item)| item).collect(),
            Self::Map(entries) => entries.iter().flat_map(|(_, key, value)| [key, value]).collect(),
            Self::Struct(_, fields) => fields.iter().map(|field| &field.value).collect(),
            Self::Fold(fold) => {
                [Some(&fold.range), fold.filter.as_ref(), Some(&fold.body)].into_iter().flatten().collect()
            }
        }
    }
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// `null`, `true`, `1`, `1u`, `1.0`, `'a'`, `b'a'`.
    Literal(Literal),
    /// `a`; with a leading dot only the outermost name is meant, which is the same here.
    Ident(Arc<str>),
    /// `a.b`
    Select(Box<Expr>, Arc<str>),
    /// `a.?b`
    OptionalSelect(Box<Expr>, Arc<str>),
    /// `has(a.b)`
    Has(Box<Expr>, Arc<str>),
    /// `a[b]`
    Index(Box<Expr>, Box<Expr>),
    /// `a[?b]`
    OptionalIndex(Box<Expr>, Box<Expr>),
    /// `f(a)`; operators have cel-go's names (`_+_`, `!_` …).
    Call(Arc<str>, Vec<Expr>),
    /// `a.f(b)`
    Method(Box<Expr>, Arc<str>, Vec<Expr>),
    /// `a && b`
    And(Box<Expr>, Box<Expr>),
    /// `a || b`
    Or(Box<Expr>, Box<Expr>),
    /// `a ? b : c`
    Condition(Box<[Expr; 3]>),
    /// `[a, ?b]`; the flag marks optional ones.
    List(Vec<(bool, Expr)>),
    /// `{a: b, ?c: d}`
    Map(Vec<(bool, Expr, Expr)>),
    /// `Type{a: b, ?c: d}`
    Struct(Arc<str>, Vec<Field>),
    /// `range.map(x, f)` and its kin.
    Fold(Box<Fold>),
    /// `a.optMap(x, f)`; the flag says `optFlatMap`.
    OptionalMap(bool, Box<Expr>, Arc<str>, Box<Expr>),
}

/// A field of a constructed object.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: Arc<str>,
    /// Whether the value is an optional that may leave it out.
    pub optional: bool,
    /// Its value.
    pub value: Expr,
    /// Where it stands.
    pub at: usize,
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the names are CEL's
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
}

/// A macro over a list's elements or a map's keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Fold {
    /// Which.
    pub kind: FoldKind,
    /// Over what.
    pub range: Expr,
    /// The variable; of two, the index or key.
    pub first: Arc<str>,
    /// The second variable: the element or value.
    pub second: Option<Arc<str>>,
    /// Which to take.
    pub filter: Option<Expr>,
    /// What to make of it, or the condition of all, exists and exists_one.
    pub body: Expr,
}

/// The macros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldKind {
    /// `all`
    All,
    /// `exists`
    Exists,
    /// `exists_one`, `existsOne`
    ExistsOne,
    /// `map`, `filter`, `transformList`
    List,
    /// `transformMap`
    Map,
    /// `transformMapEntry`
    Entries,
}
