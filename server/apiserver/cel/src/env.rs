//! What an expression may name, and a compiled expression.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::{Expr, Node};
use crate::check::check;
use crate::error::{CompileError, EvalError};
use crate::eval::{Budget, Vars, evaluate};
use crate::parse::parse;
use crate::types::{ObjectType, Type};
use crate::value::Value;

/// The variables, and the objects that may be constructed.
#[derive(Clone, Debug, Default)]
pub struct Env {
    variables: BTreeMap<String, Type>,
    objects: BTreeMap<String, Arc<ObjectType>>,
    mutation: bool,
}

impl Env {
    /// Kubernetes' environment without variables.
    pub fn new() -> Self {
        Self::default()
    }
    /// With a variable.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, ty: Type) -> Self {
        self.declare(name, ty);
        self
    }
    /// Adds a variable.
    pub fn declare(&mut self, name: impl Into<String>, ty: Type) {
        self.variables.insert(name.into(), ty);
    }
    /// With an object type that may be constructed by its name.
    #[must_use]
    pub fn with_object(mut self, object: ObjectType) -> Self {
        self.objects.insert(object.name.clone(), Arc::new(object));
        self
    }
    /// With `Object{}`, `Object.spec{}` … of any fields, as in mutating policies.
    #[must_use]
    pub fn with_object_paths(mut self) -> Self {
        self.mutation = true;
        self
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Type> {
        self.variables.get(name)
    }

    pub(crate) fn object(&self, name: &str) -> Option<Arc<ObjectType>> {
        if let Some(known) = self.objects.get(name) {
            return Some(known.clone());
        }
        let path = self.mutation && (name == "Object" || name.starts_with("Object."));
        path.then(|| Arc::new(ObjectType { name: name.to_owned(), fields: BTreeMap::new() }))
    }

    /// Parses and checks.
    pub fn compile(&self, source: &str) -> Result<Program, CompileError> {
        let expr = parse(source).map_err(|issue| CompileError::new(source, vec![issue]))?;
        let (ty, issues) = check(self, &expr);
        if !issues.is_empty() {
            return Err(CompileError::new(source, issues));
        }
        crate::library::literals(&expr).map_err(|issue| CompileError::new(source, vec![issue]))?;
        Ok(Program { expr, ty })
    }
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) expr: Expr,
    ty: Type,
}

impl Program {
    /// What it evaluates to, as far as that is known.
    pub fn result_type(&self) -> &Type {
        &self.ty
    }

    /// Its value.
    pub fn eval<'a>(&'a self, vars: &Vars<'a>, budget: &Budget) -> Result<Value<'a>, EvalError> {
        evaluate(&self.expr, vars, budget)
    }

    /// What it costs at least, when `self` and `oldSelf` hold as much as they may.
    pub fn worst(&self, of_self: &crate::cost::Bound) -> u64 {
        crate::cost::worst(&self.expr, of_self)
    }

    /// Whether it reads the field `field` of the variable `name`, as `name.field` or `name.?field`.
    pub fn selects(&self, name: &str, field: &str) -> bool {
        selects(&self.expr, name, field)
    }

    /// Whether it names the variable `name` (or a local one of that name).
    pub fn mentions(&self, name: &str) -> bool {
        mentions(&self.expr, name)
    }
}

fn selects(expr: &Expr, name: &str, field: &str) -> bool {
    let here = match &expr.node {
        Node::Select(operand, found) | Node::OptionalSelect(operand, found) | Node::Has(operand, found) => {
            &**found == field && matches!(&operand.node, Node::Ident(ident) if &**ident == name)
        }
        _ => false,
    };
    here || expr.node.children().into_iter().any(|child| selects(child, name, field))
}

fn mentions(expr: &Expr, name: &str) -> bool {
    matches!(&expr.node, Node::Ident(found) if &**found == name)
        || expr.node.children().into_iter().any(|child| mentions(child, name))
}
