//! Kubernetes' CEL environment: one for admission policies, match conditions, and the rules of custom resources.
//!
//! An [`Env`] declares variables; [`Env::compile`] parses and type-checks an expression with cel-go's texts; a [`Program`]
//! evaluates over JSON that is borrowed, not copied, and under a [`Budget`] that ends what would run for ever.
//!
//! Why not a library: those there are (`cel`, `kube-cel`) have no type checker, whose texts and verdicts clients see; no
//! budget, without which an expression stops the API server; and a parser generator's run time of half a megabyte.
//!
//! What is not here: upstream's full estimates of cost before evaluation ([`Bound`] counts loops only), and what Kubernetes
//! does not enable.

mod ast;
mod authorizer;
mod check;
mod cost;
mod decls;
mod env;
mod error;
mod eval;
mod lex;
mod library;
mod parse;
mod relation;
mod types;
mod value;

pub use authorizer::{Answer, Ask, Authorizer, Resource, authorizer, of_resource};
pub use cost::Bound;
pub use env::{Env, Program};
pub use error::{CompileError, EvalError};
pub use eval::{Budget, PER_CALL_LIMIT, RUNTIME_BUDGET, Vars};
pub use parse::is_reserved;
pub use relation::Relation;
pub use types::{ObjectField, ObjectType, Type, escape, from_schema};
pub use value::{Key, Lazy, List, Map, Text, Value};

#[cfg(test)]
mod tests;
