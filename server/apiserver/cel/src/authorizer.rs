//! The `authorizer` variable of admission expressions: questions put together by calls, answered by whoever gave it.
//!
//! Ported from upstream's `apiserver/pkg/cel/library/authz.go`.

use std::sync::Arc;

use crate::error::EvalError;
use crate::value::Value;

/// Answers whether somebody may do something.
pub trait Authorizer: Sync {
    /// The answer to `ask`.
    fn authorize(&self, ask: &Ask) -> Answer;
}

/// A question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Not of the request's user, but of this service account (namespace, name).
    pub service_account: Option<(String, String)>,
    /// Of a path that is no resource.
    pub path: Option<String>,
    /// Of a resource.
    pub resource: Resource,
    /// Which verb.
    pub verb: String,
}

/// What an [`Ask`] is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are Kubernetes'
pub struct Resource {
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong, if anything.
    pub error: Option<String>,
}

/// A value on the way from the authorizer to a decision.
#[derive(Clone)]
pub struct Authz<'a> {
    authorizer: &'a dyn Authorizer,
    ask: Arc<Ask>,
    stage: Stage,
}

#[derive(Clone)]
enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
    Decision(Arc<Answer>),
}

/// The variable's value.
pub fn authorizer<'a>(authorizer: &'a dyn Authorizer) -> Value<'a> {
    Value::Authz(Authz { authorizer, ask: Arc::new(Ask::default()), stage: Stage::Authorizer })
}

/// The value of `authorizer.requestResource`.
pub fn of_resource<'a>(authorizer: &'a dyn Authorizer, resource: Resource) -> Value<'a> {
    let ask = Ask { resource, ..Ask::default() };
    Value::Authz(Authz { authorizer, ask: Arc::new(ask), stage: Stage::Resource })
}

impl<'a> Authz<'a> {
    pub(crate) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Authorizer => "kubernetes.authorization.Authorizer",
            Stage::Path => "kubernetes.authorization.PathCheck",
            Stage::Group => "kubernetes.authorization.GroupCheck",
            Stage::Resource => "kubernetes.authorization.ResourceCheck",
            Stage::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    fn with(&self, stage: Stage, change: impl FnOnce(&mut Ask)) -> Value<'a> {
        let mut ask = (*self.ask).clone();
        change(&mut ask);
        Value::Authz(Authz { authorizer: self.authorizer, ask: Arc::new(ask), stage })
    }

    /// A call of one of its methods.
    pub(crate) fn call(&self, method: &str, arguments: &[Value<'a>]) -> Result<Value<'a>, EvalError> {
        let text = |index: usize| arguments.get(index).and_then(Value::as_str).map(str::to_owned);
        let first = text(0);
        Ok(match (&self.stage, method, first) {
            (Stage::Authorizer, "path", Some(path)) => self.with(Stage::Path, |ask| ask.path = Some(path)),
            (Stage::Authorizer, "group", Some(group)) => {
                self.with(Stage::Group, |ask| ask.resource.group = group)
            }
            (Stage::Authorizer, "serviceAccount", Some(namespace)) => {
                let name = text(1).ok_or_else(EvalError::overload)?;
                self.with(Stage::Authorizer, |ask| ask.service_account = Some((namespace, name)))
            }
            (Stage::Group, "resource", Some(value)) => {
                self.with(Stage::Resource, |ask| ask.resource.resource = value)
            }
            (Stage::Resource, "subresource", Some(value)) => {
                self.with(Stage::Resource, |ask| ask.resource.subresource = value)
            }
            (Stage::Resource, "namespace", Some(value)) => {
                self.with(Stage::Resource, |ask| ask.resource.namespace = value)
            }
            (Stage::Resource, "name", Some(value)) => {
                self.with(Stage::Resource, |ask| ask.resource.name = value)
            }
            (Stage::Resource, "fieldSelector", Some(value)) => {
                self.with(Stage::Resource, |ask| ask.resource.field_selector = value)
            }
            (Stage::Resource, "labelSelector", Some(value)) => {
                self.with(Stage::Resource, |ask| ask.resource.label_selector = value)
            }
            (Stage::Resource | Stage::Path, "check", Some(verb)) => {
                let mut ask = (*self.ask).clone();
                ask.verb = verb;
                let answer = self.authorizer.authorize(&ask);
                self.with(Stage::Decision(Arc::new(answer)), |_| ())
            }
            (Stage::Decision(answer), "allowed", None) => Value::Bool(answer.allowed),
            (Stage::Decision(answer), "reason", None) => Value::owned(answer.reason.as_str()),
            (Stage::Decision(answer), "errored", None) => Value::Bool(answer.error.is_some()),
            (Stage::Decision(answer), "error", None) => {
                Value::owned(answer.error.clone().unwrap_or_default())
            }
            _ => return Err(EvalError::overload()),
        })
    }
}
