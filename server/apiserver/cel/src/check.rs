//! The type checker: cel-go's rules and texts.
//!
//! What it does not do: infer the element type of `[]` from its use (it is dyn).

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{Expr, Field, Fold, FoldKind, Literal, Node};
use crate::decls::{Overload, overloads, type_named};
use crate::env::Env;
use crate::error::Issue;
use crate::parse::qualified;
use crate::types::Type;

/// The type of the whole, and all complaints.
pub(crate) fn check(env: &Env, expr: &Expr) -> (Type, Vec<Issue>) {
    let mut checker = Checker { env, scopes: Vec::new(), issues: Vec::new() };
    let ty = checker.expr(expr);
    (ty, checker.issues)
}

struct Checker<'e> {
    env: &'e Env,
    scopes: Vec<(Arc<str>, Type)>,
    issues: Vec<Issue>,
}

impl Checker<'_> {
    /// Notes a complaint; whatever is wrong has any type, so that one fault is told once.
    fn complain(&mut self, at: usize, text: impl Into<String>) -> Type {
        self.issues.push(Issue::new(at, text));
        Type::Dyn
    }

    fn variable(&self, name: &str) -> Option<Type> {
        let local = self.scopes.iter().rev().find(|(known, _)| &**known == name).map(|(_, ty)| ty.clone());
        local.or_else(|| self.env.variable(name).cloned())
    }

    fn expr(&mut self, expr: &Expr) -> Type {
        match &expr.node {
            Node::Literal(literal) => of_literal(literal),
            Node::Ident(name) => self.ident(expr.at, name),
            Node::Select(operand, field) => self.select(expr, operand, field),
            Node::OptionalSelect(operand, field) => {
                let operand = self.expr(operand);
                let field = self.field(expr.at, unwrapped(&operand), field);
                Type::optional(unwrapped(&field).clone())
            }
            Node::Has(operand, field) => {
                let operand = self.expr(operand);
                self.field(expr.at, &operand, field);
                Type::Bool
            }
            Node::Index(operand, index) => self.index(expr.at, operand, index),
            Node::OptionalIndex(operand, index) => {
                let item = self.index(expr.at, operand, index);
                Type::optional(unwrapped(&item).clone())
            }
            Node::Call(name, arguments) => {
                let types = arguments.iter().map(|argument| self.expr(argument)).collect();
                self.call(expr.at, name, false, types)
            }
            Node::Method(target, name, arguments) => {
                let all = std::iter::once(&**target).chain(arguments);
                let types = all.map(|argument| self.expr(argument)).collect();
                self.call(expr.at, name, true, types)
            }
            Node::And(left, right) => self.logic(expr.at, "_&&_", left, right),
            Node::Or(left, right) => self.logic(expr.at, "_||_", left, right),
            Node::Condition(parts) => self.condition(expr.at, parts),
            Node::List(items) => self.list(items),
            Node::Map(entries) => self.map(entries),
            Node::Struct(name, fields) => self.object(expr.at, name, fields),
            Node::Fold(fold) => self.fold(expr.at, fold),
            Node::OptionalMap(flat, target, name, body) => {
                self.optional_map(expr.at, *flat, target, name, body)
            }
        }
    }

    fn ident(&mut self, at: usize, name: &str) -> Type {
        if let Some(ty) = self.variable(name) {
            return ty;
        }
        match type_named(name) {
            Some(ty) => Type::Type(Arc::new(ty)),
            None => self.undeclared(at, name),
        }
    }

    fn undeclared(&mut self, at: usize, name: &str) -> Type {
        self.complain(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str) -> Type {
        if let Some(ty) = qualified(expr).and_then(|name| type_named(&name)) {
            return Type::Type(Arc::new(ty));
        }
        // `authorizer.requestResource` is a variable of its own
        if let Some(ty) = qualified(expr).and_then(|name| self.env.variable(&name).cloned()) {
            return ty;
        }
        let operand = self.expr(operand);
        self.field(expr.at, &operand, field)
    }

    fn field(&mut self, at: usize, operand: &Type, field: &str) -> Type {
        match operand {
            Type::Dyn | Type::Param(_) => Type::Dyn,
            Type::Map(_, value) => (**value).clone(),
            Type::Optional(inner) => {
                let inner = self.field(at, inner, field);
                Type::optional(unwrapped(&inner).clone())
            }
            Type::Object(object) => match object.fields.get(field) {
                Some(field) => field.ty.clone(),
                None => self.complain(at, format!("undefined field '{field}'")),
            },
            other => self.complain(at, format!("type '{other}' does not support field selection")),
        }
    }

    fn index(&mut self, at: usize, operand: &Expr, index: &Expr) -> Type {
        let (operand, index) = (self.expr(operand), self.expr(index));
        match self.indexed(&operand, &index) {
            Some(ty) => ty,
            None => self.no_overload(at, "_[_]", false, &[operand, index]),
        }
    }

    fn indexed(&self, operand: &Type, index: &Type) -> Option<Type> {
        match operand {
            Type::Dyn => Some(Type::Dyn),
            Type::List(item, _) => {
                matches!(index, Type::Int | Type::Uint | Type::Double | Type::Dyn).then(|| (**item).clone())
            }
            Type::Map(key, value) => assignable(key, index, &mut HashMap::new()).then(|| (**value).clone()),
            Type::Optional(inner) => {
                let inner = self.indexed(inner, index)?;
                Some(Type::optional(unwrapped(&inner).clone()))
            }
            _ => None,
        }
    }

    fn call(&mut self, at: usize, name: &str, method: bool, types: Vec<Type>) -> Type {
        let Some(all) = overloads(name).filter(|all| !method || all.iter().any(|one| one.method)) else {
            return self.undeclared(at, name);
        };
        let results: Vec<Type> = all.iter().filter_map(|one| result_of(one, method, &types)).collect();
        match results.split_first() {
            None => self.no_overload(at, name, method, &types),
            Some((first, rest)) if rest.iter().all(|other| other == first) => first.clone(),
            Some(_) => Type::Dyn,
        }
    }

    fn no_overload(&mut self, at: usize, name: &str, method: bool, types: &[Type]) -> Type {
        let names = |types: &[Type]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let applied = match types.split_first() {
            Some((target, rest)) if method => format!("{target}.({})", names(rest)),
            _ => format!("({})", names(types)),
        };
        self.complain(at, format!("found no matching overload for '{name}' applied to '{applied}'"))
    }

    fn logic(&mut self, at: usize, name: &str, left: &Expr, right: &Expr) -> Type {
        let types = [self.expr(left), self.expr(right)];
        if types.iter().all(|ty| ty.may_be(&Type::Bool)) {
            return Type::Bool;
        }
        self.no_overload(at, name, false, &types);
        Type::Bool
    }

    fn condition(&mut self, at: usize, parts: &[Expr; 3]) -> Type {
        let types = [self.expr(&parts[0]), self.expr(&parts[1]), self.expr(&parts[2])];
        let [condition, yes, no] = &types;
        match joined(yes, no) {
            Some(ty) if condition.may_be(&Type::Bool) => ty,
            _ => self.no_overload(at, "_?_:_", false, &types),
        }
    }

    /// The common type of a literal's parts.
    fn join(&mut self, at: usize, known: Option<Type>, next: Type) -> Type {
        let Some(known) = known else { return next };
        match joined(&known, &next) {
            Some(ty) => ty,
            None => self.complain(at, format!("expected type '{known}' but found '{next}'")),
        }
    }

    fn item(&mut self, optional: bool, expr: &Expr) -> Type {
        let ty = self.expr(expr);
        match (optional, &ty) {
            (true, Type::Optional(inner)) => (**inner).clone(),
            (true, Type::Dyn) | (false, _) => ty,
            (true, other) => {
                self.complain(expr.at, format!("expected type 'optional_type(dyn)' but found '{other}'"))
            }
        }
    }

    fn list(&mut self, items: &[(bool, Expr)]) -> Type {
        let mut known = None;
        for (optional, item) in items {
            let ty = self.item(*optional, item);
            known = Some(self.join(item.at, known, ty));
        }
        Type::list(known.unwrap_or(Type::Dyn))
    }

    fn map(&mut self, entries: &[(bool, Expr, Expr)]) -> Type {
        let (mut keys, mut values) = (None, None);
        for (optional, key, value) in entries {
            let ty = self.expr(key);
            keys = Some(self.join(key.at, keys, ty));
            let ty = self.item(*optional, value);
            values = Some(self.join(value.at, values, ty));
        }
        Type::Map(Arc::new(keys.unwrap_or(Type::Dyn)), Arc::new(values.unwrap_or(Type::Dyn)))
    }

    fn object(&mut self, at: usize, name: &str, fields: &[Field]) -> Type {
        let Some(object) = self.env.object(name) else {
            for field in fields {
                self.expr(&field.value);
            }
            return self.undeclared(at, name);
        };
        for field in fields {
            let found = self.item(field.optional, &field.value);
            let wanted = match object.fields.get(&*field.name) {
                Some(known) => &known.ty,
                None if object.fields.is_empty() => &Type::Dyn,
                None => {
                    self.complain(field.at, format!("undefined field '{}'", field.name));
                    continue;
                }
            };
            if !assignable(wanted, &found, &mut HashMap::new()) {
                let name = &field.name;
                let text =
                    format!("expected type of field '{name}' is '{wanted}' but provided type is '{found}'");
                self.complain(field.at, text);
            }
        }
        Type::Object(object)
    }

    fn fold(&mut self, at: usize, fold: &Fold) -> Type {
        let range = self.expr(&fold.range);
        let (first, second) = match (&range, &fold.second) {
            (Type::List(item, _), None) => ((**item).clone(), None),
            (Type::List(item, _), Some(_)) => (Type::Int, Some((**item).clone())),
            (Type::Map(key, _), None) => ((**key).clone(), None),
            (Type::Map(key, value), Some(_)) => ((**key).clone(), Some((**value).clone())),
            (Type::Dyn, _) => (Type::Dyn, Some(Type::Dyn)),
            (other, _) => {
                let text = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                (self.complain(fold.range.at, text), Some(Type::Dyn))
            }
        };
        let outer = self.scopes.len();
        self.scopes.push((fold.first.clone(), first.clone()));
        if let Some(name) = &fold.second {
            self.scopes.push((name.clone(), second.unwrap_or(Type::Dyn)));
        }
        if let Some(filter) = &fold.filter {
            self.truth(at, filter);
        }
        let body = match fold.kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => {
                self.truth(at, &fold.body);
                Type::Bool
            }
            FoldKind::List => Type::list(self.expr(&fold.body)),
            FoldKind::Map => {
                let key = if matches!(range, Type::List(..)) { Type::Int } else { first };
                Type::Map(Arc::new(key), Arc::new(self.expr(&fold.body)))
            }
            FoldKind::Entries => match self.expr(&fold.body) {
                map @ Type::Map(..) => map,
                _ => Type::Dyn,
            },
        };
        self.scopes.truncate(outer);
        body
    }

    fn truth(&mut self, at: usize, expr: &Expr) {
        let ty = self.expr(expr);
        if !ty.may_be(&Type::Bool) {
            self.no_overload(at, "_&&_", false, &[Type::Bool, ty]);
        }
    }

    fn optional_map(&mut self, at: usize, flat: bool, target: &Expr, name: &Arc<str>, body: &Expr) -> Type {
        let inner = match self.expr(target) {
            Type::Optional(inner) => (*inner).clone(),
            Type::Dyn => Type::Dyn,
            other => return self.no_overload(at, if flat { "optFlatMap" } else { "optMap" }, true, &[other]),
        };
        self.scopes.push((name.clone(), inner));
        let body = self.expr(body);
        self.scopes.pop();
        if flat { body } else { Type::optional(body) }
    }
}

fn of_literal(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

fn unwrapped(ty: &Type) -> &Type {
    if let Type::Optional(inner) = ty { inner } else { ty }
}

/// The type of what is one or the other.
fn joined(a: &Type, b: &Type) -> Option<Type> {
    if matches!(a, Type::Dyn) || matches!(b, Type::Dyn) {
        return Some(Type::Dyn);
    }
    if assignable(a, b, &mut HashMap::new()) {
        return Some(if matches!(a, Type::Null) { b.clone() } else { a.clone() });
    }
    assignable(b, a, &mut HashMap::new()).then(|| b.clone())
}

fn result_of(overload: &Overload, method: bool, types: &[Type]) -> Option<Type> {
    if overload.method != method || overload.params.len() != types.len() {
        return None;
    }
    let mut bound = HashMap::new();
    let fits = overload.params.iter().zip(types).all(|(param, ty)| assignable(param, ty, &mut bound));
    fits.then(|| substitute(&overload.result, &bound))
}

fn substitute(ty: &Type, bound: &HashMap<&'static str, Type>) -> Type {
    let inner = |ty: &Arc<Type>| Arc::new(substitute(ty, bound));
    match ty {
        Type::Param(name) => bound.get(name).cloned().unwrap_or(Type::Dyn),
        Type::List(item, relation) => Type::List(inner(item), relation.clone()),
        Type::Map(key, value) => Type::Map(inner(key), inner(value)),
        Type::Optional(value) => Type::Optional(inner(value)),
        Type::Type(of) => Type::Type(inner(of)),
        other => other.clone(),
    }
}

/// Whether a `found` may be given where `wanted` is asked for.
fn assignable(wanted: &Type, found: &Type, bound: &mut HashMap<&'static str, Type>) -> bool {
    match (wanted, found) {
        (Type::Param(name), _) => match bound.get(name).cloned() {
            None => {
                bound.insert(name, found.clone());
                true
            }
            Some(known) => match joined(&known, found) {
                Some(ty) => {
                    bound.insert(name, ty);
                    true
                }
                None => false,
            },
        },
        (Type::Dyn, _) | (_, Type::Dyn) => true,
        (Type::List(a, _), Type::List(b, _))
        | (Type::Optional(a), Type::Optional(b))
        | (Type::Type(a), Type::Type(b)) => assignable(a, b, bound) || matches!(wanted, Type::Type(_)),
        (Type::Map(a, b), Type::Map(c, d)) => assignable(a, c, bound) && assignable(b, d, bound),
        (Type::Object(_) | Type::Opaque(_) | Type::Timestamp | Type::Duration, Type::Null)
        | (Type::Null, Type::Object(_) | Type::Opaque(_) | Type::Timestamp | Type::Duration) => true,
        _ => wanted == found,
    }
}
