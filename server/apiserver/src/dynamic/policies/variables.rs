//! `variables.x`: each is evaluated when an expression first asks for it, and may ask for those before it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sampan_api::go::Quote as _;
use sampan_cel::{Budget, EvalError, Lazy, Value, Vars};

use crate::dynamic::expressions::Expression;

/// The variables of a policy, for one request.
#[derive(Clone)]
pub(super) struct Variables<'a>(Arc<Inner<'a>>);

struct Inner<'a> {
    all: &'a [(String, Expression)],
    /// The other variables of the environment.
    vars: Vars<'a>,
    budget: &'a Budget,
    known: Mutex<HashMap<&'a str, Result<Value<'a>, EvalError>>>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(all: &'a [(String, Expression)], vars: Vars<'a>, budget: &'a Budget) -> Self {
        Self(Arc::new(Inner { all, vars, budget, known: Mutex::default() }))
    }

    fn evaluate(&self, name: &'a str, expression: &'a Expression) -> Result<Value<'a>, EvalError> {
        let program = expression.program.as_ref().map_err(|why| {
            EvalError::Failed(format!("composited variable {} fails to compile: {why}", name.quoted()))
        })?;
        let vars = self.0.vars.clone().with("variables", Value::Lazy(Arc::new(self.clone())));
        match program.eval(&vars, self.0.budget) {
            // it would keep itself alive
            Ok(Value::Lazy(_)) => {
                Err(EvalError::Failed(format!("composited variable {} is all variables", name.quoted())))
            }
            Err(EvalError::Failed(why)) => Err(EvalError::Failed(format!(
                "composited variable {} fails to evaluate: {why}",
                name.quoted()
            ))),
            other => other,
        }
    }
}

impl<'a> Lazy<'a> for Variables<'a> {
    fn get(&self, key: &str) -> Option<Result<Value<'a>, EvalError>> {
        let all: &'a [(String, Expression)] = self.0.all;
        let (name, expression) = all.iter().find(|(name, _)| name == key)?;
        if let Some(known) = self.0.known.lock().get(name.as_str()) {
            return Some(known.clone());
        }
        let value = self.evaluate(name, expression);
        self.0.known.lock().insert(name, value.clone());
        Some(value)
    }
}
