//! Evaluation: a walk over the tree, each step paid from a budget.
//!
//! Costs are those of cel-go's tracker in kind (a step is 1, texts and lists cost by their length), not to the digit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ast::{Expr, Field, Fold, FoldKind, Literal, Node};
use crate::decls::type_named;
use crate::error::EvalError;
use crate::library;
use crate::parse::qualified;
use crate::value::{Key, List, Map, Value};

/// Upstream's `PerCallLimit`: what one expression may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// Upstream's `RuntimeCELCostBudget`: what all expressions of one object or policy may cost.
pub const RUNTIME_BUDGET: u64 = 10_000_000;

/// What evaluations may still cost.
#[derive(Debug)]
pub struct Budget {
    all: AtomicU64,
    call: AtomicU64,
}

impl Budget {
    /// With this much for all evaluations together.
    pub fn new(all: u64) -> Self {
        Self { all: all.into(), call: 0.into() }
    }
    /// What is left.
    pub fn left(&self) -> u64 {
        self.all.load(Ordering::Relaxed)
    }
    /// What the last evaluation has cost.
    pub fn last_call(&self) -> u64 {
        PER_CALL_LIMIT.saturating_sub(self.call.load(Ordering::Relaxed))
    }
    pub(crate) fn pay(&self, cost: u64) -> Result<(), EvalError> {
        // one thread pays at a time: evaluations of one request follow each other
        let left = self.call.load(Ordering::Relaxed).checked_sub(cost).ok_or(EvalError::CostLimit)?;
        self.call.store(left, Ordering::Relaxed);
        let left = self.left().checked_sub(cost).ok_or(EvalError::Budget)?;
        self.all.store(left, Ordering::Relaxed);
        Ok(())
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(RUNTIME_BUDGET)
    }
}

/// The variables' values.
#[derive(Clone, Default)]
pub struct Vars<'a> {
    all: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Vars<'a> {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }
    /// With one more.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: Value<'a>) -> Self {
        self.all.retain(|(known, _)| *known != name);
        self.all.push((name, value));
        self
    }
    fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.all.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

type Evaluated<'a> = Result<Value<'a>, EvalError>;

enum Scope<'s, 'a> {
    Root(&'s Vars<'a>),
    Local(&'a str, Value<'a>, &'s Scope<'s, 'a>),
}

impl<'a> Scope<'_, 'a> {
    fn get(&self, name: &str) -> Option<&Value<'a>> {
        match self {
            Self::Root(vars) => vars.get(name),
            Self::Local(known, value, outer) => {
                if *known == name {
                    Some(value)
                } else {
                    outer.get(name)
                }
            }
        }
    }
}

pub(crate) fn evaluate<'a>(expr: &'a Expr, vars: &Vars<'a>, budget: &Budget) -> Evaluated<'a> {
    // an expression that is asked for while another runs (a policy's variable) counts on its own
    let outer = budget.call.swap(PER_CALL_LIMIT, Ordering::Relaxed);
    let result = Eval { budget }.expr(expr, &Scope::Root(vars));
    if outer > 0 && outer < PER_CALL_LIMIT {
        budget.call.store(outer, Ordering::Relaxed);
    }
    result
}

struct Eval<'b> {
    budget: &'b Budget,
}

impl Eval<'_> {
    fn expr<'a>(&self, expr: &'a Expr, scope: &Scope<'_, 'a>) -> Evaluated<'a> {
        match &expr.node {
            Node::Literal(literal) => Ok(of_literal(literal)),
            Node::Ident(name) => self.ident(name, scope),
            Node::Select(operand, field) => self.select(expr, operand, field, scope),
            Node::OptionalSelect(operand, field) => {
                let operand = self.expr(operand, scope)?;
                self.budget.pay(1)?;
                optional_field(&operand, field)
            }
            Node::Has(operand, field) => self.has(operand, field, scope),
            Node::Index(operand, index) => {
                let (operand, index) = (self.expr(operand, scope)?, self.expr(index, scope)?);
                self.budget.pay(1)?;
                index_of(&operand, &index)
            }
            Node::OptionalIndex(operand, index) => {
                let (operand, index) = (self.expr(operand, scope)?, self.expr(index, scope)?);
                self.budget.pay(1)?;
                optional_index(&operand, &index)
            }
            Node::Call(name, arguments) => {
                let values = self.all(arguments, scope)?;
                library::call(name, values, self.budget)
            }
            Node::Method(target, name, arguments) => {
                let target = self.expr(target, scope)?;
                let values = self.all(arguments, scope)?;
                library::method(name, target, values, self.budget)
            }
            Node::And(left, right) => self.logic(left, right, false, scope),
            Node::Or(left, right) => self.logic(left, right, true, scope),
            Node::Condition(parts) => match self.expr(&parts[0], scope)? {
                Value::Bool(true) => self.expr(&parts[1], scope),
                Value::Bool(false) => self.expr(&parts[2], scope),
                _ => Err(EvalError::overload()),
            },
            Node::List(items) => self.list(items, scope),
            Node::Map(entries) => self.map(entries, scope),
            Node::Struct(name, fields) => self.object(name, fields, scope),
            Node::Fold(fold) => self.fold(fold, scope),
            Node::OptionalMap(flat, target, name, body) => match self.expr(target, scope)? {
                Value::Optional(None) => Ok(Value::Optional(None)),
                Value::Optional(Some(value)) => {
                    let inner = Scope::Local(name, (*value).clone(), scope);
                    let value = self.expr(body, &inner)?;
                    Ok(if *flat { value } else { value.some() })
                }
                _ => Err(EvalError::overload()),
            },
        }
    }

    fn all<'a>(&self, exprs: &'a [Expr], scope: &Scope<'_, 'a>) -> Result<Vec<Value<'a>>, EvalError> {
        exprs.iter().map(|expr| self.expr(expr, scope)).collect()
    }

    fn ident<'a>(&self, name: &str, scope: &Scope<'_, 'a>) -> Evaluated<'a> {
        self.budget.pay(1)?;
        if let Some(value) = scope.get(name) {
            return Ok(value.clone());
        }
        match type_named(name) {
            Some(_) => Ok(Value::Type(name.into())),
            None => Err(EvalError::new(format!("no such attribute(s): {name}"))),
        }
    }

    fn select<'a>(
        &self,
        expr: &'a Expr,
        operand: &'a Expr,
        field: &str,
        scope: &Scope<'_, 'a>,
    ) -> Evaluated<'a> {
        self.budget.pay(1)?;
        // a variable may have a dot in its name, and so has a type; neither begins with another variable's name but `authorizer`
        if let Node::Ident(root) = &operand.node {
            if (&**root == "authorizer" || scope.get(root).is_none())
                && let Some(value) = scope.get(&format!("{root}.{field}"))
            {
                return Ok(value.clone());
            }
        } else if let Some(name) = qualified(expr).filter(|name| type_named(name).is_some()) {
            return Ok(Value::Type(name));
        }
        let operand = self.expr(operand, scope)?;
        field_of(&operand, field)
    }

    fn has<'a>(&self, operand: &'a Expr, field: &str, scope: &Scope<'_, 'a>) -> Evaluated<'a> {
        let found = match self.expr(operand, scope)? {
            Value::Optional(None) => return Ok(Value::Bool(false)),
            Value::Optional(Some(inner)) => (*inner).clone(),
            other => other,
        };
        Ok(Value::Bool(match &found {
            Value::Map(map) => map.field(field).is_some(),
            Value::Struct(_, fields) => fields.contains_key(field),
            Value::Lazy(lazy) => lazy.get(field).is_some(),
            other => find_field(other, field)?.is_some(),
        }))
    }

    /// Either side decides alone, even if the other fails.
    fn logic<'a>(
        &self,
        left: &'a Expr,
        right: &'a Expr,
        decisive: bool,
        scope: &Scope<'_, 'a>,
    ) -> Evaluated<'a> {
        let first = self.expr(left, scope);
        match &first {
            Ok(Value::Bool(value)) if *value == decisive => return Ok(Value::Bool(decisive)),
            Err(error) if error.is_cost() => return first,
            _ => {}
        }
        let second = self.expr(right, scope);
        match (first, second) {
            (_, Ok(Value::Bool(value))) if value == decisive => Ok(Value::Bool(decisive)),
            (_, Err(error)) if error.is_cost() => Err(error),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(Value::Bool(_)), Ok(Value::Bool(_))) => Ok(Value::Bool(!decisive)),
            _ => Err(EvalError::overload()),
        }
    }

    fn list<'a>(&self, items: &'a [(bool, Expr)], scope: &Scope<'_, 'a>) -> Evaluated<'a> {
        let mut list = Vec::with_capacity(items.len());
        self.budget.pay(10)?;
        for (optional, item) in items {
            list.extend(present(*optional, self.expr(item, scope)?)?);
        }
        Ok(Value::list(list))
    }

    fn map<'a>(&self, entries: &'a [(bool, Expr, Expr)], scope: &Scope<'_, 'a>) -> Evaluated<'a> {
        let mut map = BTreeMap::new();
        self.budget.pay(30)?;
        for (optional, key, value) in entries {
            let key = key_of(&self.expr(key, scope)?)?;
            if let Some(value) = present(*optional, self.expr(value, scope)?)? {
                insert(&mut map, key, value)?;
            }
        }
        Ok(Value::Map(Map::Made(Arc::new(map))))
    }

    fn object<'a>(&self, name: &Arc<str>, fields: &'a [Field], scope: &Scope<'_, 'a>) -> Evaluated<'a> {
        let mut map = BTreeMap::new();
        self.budget.pay(40)?;
        for field in fields {
            if let Some(value) = present(field.optional, self.expr(&field.value, scope)?)? {
                map.insert(field.name.clone(), value);
            }
        }
        Ok(Value::Struct(name.clone(), Arc::new(map)))
    }

    fn fold<'a>(&self, fold: &'a Fold, scope: &Scope<'_, 'a>) -> Evaluated<'a> {
        let pairs: Vec<(Value<'a>, Option<Value<'a>>)> = match self.expr(&fold.range, scope)? {
            Value::List(list) if fold.second.is_none() => list.iter().map(|item| (item, None)).collect(),
            Value::List(list) => {
                list.iter().enumerate().map(|(index, item)| (Value::Int(index as i64), Some(item))).collect()
            }
            Value::Map(map) => map.entries().map(|(key, value)| (key.value(), Some(value))).collect(),
            _ => return Err(EvalError::overload()),
        };
        let mut gathered = Gathered::new(fold.kind);
        for (first, second) in pairs {
            self.budget.pay(2)?;
            let key = first.clone();
            let one = Scope::Local(&fold.first, first, scope);
            let done = match (&fold.second, second) {
                (Some(name), Some(value)) => {
                    self.turn(fold, key, &Scope::Local(name, value, &one), &mut gathered)?
                }
                _ => self.turn(fold, key, &one, &mut gathered)?,
            };
            if done {
                break;
            }
        }
        gathered.finish()
    }

    /// One round; says whether the rest does not matter.
    fn turn<'a>(
        &self,
        fold: &'a Fold,
        key: Value<'a>,
        scope: &Scope<'_, 'a>,
        gathered: &mut Gathered<'a>,
    ) -> Result<bool, EvalError> {
        if let Some(filter) = &fold.filter {
            match self.expr(filter, scope)? {
                Value::Bool(true) => {}
                Value::Bool(false) => return Ok(false),
                _ => return Err(EvalError::overload()),
            }
        }
        let body = self.expr(&fold.body, scope);
        if matches!(gathered.kind, FoldKind::List | FoldKind::Map | FoldKind::Entries) {
            self.budget.pay(1)?;
        }
        gathered.add(key, body)
    }
}

/// What a fold has so far.
struct Gathered<'a> {
    kind: FoldKind,
    list: Vec<Value<'a>>,
    map: BTreeMap<Key, Value<'a>>,
    error: Option<EvalError>,
    count: usize,
    decided: bool,
}

impl<'a> Gathered<'a> {
    fn new(kind: FoldKind) -> Self {
        Self { kind, list: Vec::new(), map: BTreeMap::new(), error: None, count: 0, decided: false }
    }

    fn add(&mut self, key: Value<'a>, body: Evaluated<'a>) -> Result<bool, EvalError> {
        match self.kind {
            FoldKind::List => self.list.push(body?),
            FoldKind::Map => insert(&mut self.map, key_of(&key)?, body?)?,
            FoldKind::Entries => {
                let Value::Map(entries) = body? else { return Err(EvalError::overload()) };
                for (key, value) in entries.entries() {
                    insert(&mut self.map, key, value)?;
                }
            }
            FoldKind::ExistsOne => self.count += usize::from(truth(body)?),
            FoldKind::All | FoldKind::Exists => match truth(body) {
                Ok(value) => self.decided = value == (self.kind == FoldKind::Exists),
                Err(error) if error.is_cost() => return Err(error),
                Err(error) => self.error = Some(error),
            },
        }
        Ok(self.decided)
    }

    fn finish(self) -> Evaluated<'a> {
        if self.decided {
            return Ok(Value::Bool(self.kind == FoldKind::Exists));
        }
        if let Some(error) = self.error {
            return Err(error);
        }
        Ok(match self.kind {
            FoldKind::All => Value::Bool(true),
            FoldKind::Exists => Value::Bool(false),
            FoldKind::ExistsOne => Value::Bool(self.count == 1),
            FoldKind::List => Value::list(self.list),
            FoldKind::Map | FoldKind::Entries => Value::Map(Map::Made(Arc::new(self.map))),
        })
    }
}

fn truth(value: Evaluated<'_>) -> Result<bool, EvalError> {
    value?.as_bool().ok_or_else(EvalError::overload)
}

fn of_literal<'a>(literal: &'a Literal) -> Value<'a> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::text(text),
        Literal::Bytes(bytes) => Value::Bytes(bytes.clone()),
    }
}

/// An item of a literal; an optional one may be absent.
fn present(optional: bool, value: Value<'_>) -> Result<Option<Value<'_>>, EvalError> {
    match value {
        Value::Optional(inner) if optional => Ok(inner.map(|value| (*value).clone())),
        _ if optional => Err(EvalError::overload()),
        value => Ok(Some(value)),
    }
}

fn key_of(value: &Value<'_>) -> Result<Key, EvalError> {
    value.key().ok_or_else(|| EvalError::new("unsupported key type"))
}

fn insert<'a>(map: &mut BTreeMap<Key, Value<'a>>, key: Key, value: Value<'a>) -> Result<(), EvalError> {
    if map.contains_key(&key) {
        let shown = library::convert::show_key(&key);
        return Err(EvalError::new(format!("insert failed: key {shown} already exists")));
    }
    map.insert(key, value);
    Ok(())
}

fn no_key(key: &str) -> EvalError {
    EvalError::new(format!("no such key: {key}"))
}

/// cel-go's `refQualify`: what has no fields has none of that name either, but a list is not asked for one.
fn find_field<'a>(operand: &Value<'a>, field: &str) -> Result<Option<Value<'a>>, EvalError> {
    match operand {
        Value::Map(map) => Ok(map.field(field)),
        Value::Struct(_, fields) => Ok(fields.get(field).cloned()),
        Value::Lazy(lazy) => lazy.get(field).transpose(),
        Value::List(_) => Err(EvalError::new("unsupported index type 'string' in list")),
        _ => Ok(None),
    }
}

fn field_of<'a>(operand: &Value<'a>, field: &str) -> Evaluated<'a> {
    match operand {
        Value::Optional(_) => optional_field(operand, field),
        _ => find_field(operand, field)?.ok_or_else(|| no_key(field)),
    }
}

fn optional_field<'a>(operand: &Value<'a>, field: &str) -> Evaluated<'a> {
    match operand {
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => optional_field(inner, field),
        _ => Ok(Value::optional(find_field(operand, field)?)),
    }
}

/// The same by a value: a position, or a key.
fn find_index<'a>(operand: &Value<'a>, index: &Value<'a>) -> Result<Option<Value<'a>>, EvalError> {
    match operand {
        Value::List(list) => at(list, index),
        Value::Map(map) => Ok(map.get(&key_of(index)?)),
        Value::Lazy(_) | Value::Struct(..) => {
            find_field(operand, index.as_str().ok_or_else(EvalError::overload)?)
        }
        _ => Ok(None),
    }
}

fn index_of<'a>(operand: &Value<'a>, index: &Value<'a>) -> Evaluated<'a> {
    if let Value::Optional(_) = operand {
        return optional_index(operand, index);
    }
    if let Some(found) = find_index(operand, index)? {
        return Ok(found);
    }
    let key = shown(index)?;
    Err(match operand {
        Value::List(_) => EvalError::new(format!("index out of bounds: {key}")),
        _ => no_key(&key),
    })
}

fn optional_index<'a>(operand: &Value<'a>, index: &Value<'a>) -> Evaluated<'a> {
    match operand {
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => optional_index(inner, index),
        _ => Ok(Value::optional(find_index(operand, index)?)),
    }
}

/// An index in an error's words.
fn shown(index: &Value<'_>) -> Result<String, EvalError> {
    match index {
        Value::Double(value) => Ok(library::convert::show_double(*value)),
        other => key_of(other).map(|key| library::convert::show_key(&key)),
    }
}

/// The item there, if the list is that long; `types.IndexOrError` says what is no position.
fn at<'a>(list: &List<'a>, index: &Value<'a>) -> Result<Option<Value<'a>>, EvalError> {
    match (index, index.key()) {
        (Value::Int(_) | Value::Uint(_) | Value::Double(_), Some(Key::Int(position))) => {
            Ok(usize::try_from(position).ok().and_then(|index| list.get(index)))
        }
        (Value::Double(value), _) => {
            let value = library::convert::show_double(*value);
            Err(EvalError::new(format!("unsupported index value {value} in list")))
        }
        (other, _) => Err(EvalError::new(format!("unsupported index type '{}' in list", other.type_name()))),
    }
}
