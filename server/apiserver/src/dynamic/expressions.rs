//! What admission's expressions may name, and the values of it. Ported from upstream's `plugin/cel` and
//! `plugin/webhook/matchconditions`.

use std::sync::Arc;

use sampan_api::kinds::Kind;
use sampan_cel::{
    Answer, Ask, Authorizer, Budget, Env, EvalError, Lazy, ObjectField, ObjectType, Program, Resource, Type,
    Value, Vars,
};
use serde_json::Value as Json;

use crate::auth::{Attributes, Auth, Decision, UserInfo};
use crate::registry::Review;
use crate::value::{at, items, text};

/// The variables of all: `object`, `oldObject`, `request`, `namespaceObject`.
pub(super) fn env(params: bool, authorizer: bool) -> Env {
    let mut env = Env::new()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("request", request_type())
        .with("namespaceObject", namespace_type());
    if params {
        env.declare("params", Type::Dyn);
    }
    if authorizer {
        env.declare("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"));
        env.declare("authorizer.requestResource", Type::Opaque("kubernetes.authorization.ResourceCheck"));
    }
    env
}

/// A type whose fields go by their own names: upstream escapes the words that CEL reserves (`namespace`) in schemas alone.
fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let field = |(name, ty): &(&str, Type)| {
        ((*name).to_owned(), ObjectField { json: (*name).to_owned(), ty: ty.clone() })
    };
    let fields = fields.iter().map(field).collect();
    Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields }))
}

fn request_type() -> Type {
    let text = Type::String;
    let kind = object(
        "kubernetes.GroupVersionKind",
        &[("group", text.clone()), ("version", text.clone()), ("kind", text.clone())],
    );
    let resource = object(
        "kubernetes.GroupVersionResource",
        &[("group", text.clone()), ("version", text.clone()), ("resource", text.clone())],
    );
    let user = object(
        "kubernetes.UserInfo",
        &[
            ("username", text.clone()),
            ("uid", text.clone()),
            ("groups", Type::list(text.clone())),
            ("extra", Type::map(Type::list(text.clone()))),
        ],
    );
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", text.clone()),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", text.clone()),
            ("name", text.clone()),
            ("namespace", text.clone()),
            ("operation", text),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

fn namespace_type() -> Type {
    let text = Type::String;
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", text.clone()),
            ("generateName", text.clone()),
            ("namespace", text.clone()),
            ("labels", Type::map(text.clone())),
            ("annotations", Type::map(text.clone())),
            ("UID", text.clone()),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", text.clone()),
            ("finalizers", Type::list(text.clone())),
        ],
    );
    let spec = object("kubernetes.NamespaceSpec", &[("finalizers", Type::list(text.clone()))]);
    let status = object("kubernetes.NamespaceStatus", &[("phase", text)]);
    object("kubernetes.Namespace", &[("metadata", metadata), ("spec", spec), ("status", status)])
}

/// An expression that compiled, or why it did not.
pub(crate) struct Expression {
    /// As written.
    pub source: String,
    /// Ready to run, or upstream's text.
    pub program: Result<Program, String>,
}

impl Expression {
    /// Compiles; the result has to be of one of `wanted`.
    pub(crate) fn new(env: &Env, source: &str, wanted: &[Type]) -> Self {
        let program = env.compile(source).map_err(|why| format!("compilation failed: {why}"));
        let program = program.and_then(|program| {
            let ty = program.result_type().clone();
            let fits = wanted.is_empty() || wanted.iter().any(|one| ty.may_be(one));
            if fits { Ok(program) } else { Err(must_be(wanted)) }
        });
        Self { source: source.to_owned(), program }
    }

    /// Its value; what goes wrong is told with the expression.
    pub(super) fn eval<'a>(&'a self, vars: &Vars<'a>, budget: &Budget) -> Result<Value<'a>, Failure> {
        let program = self.program.as_ref().map_err(|why| Failure::Text(why.clone()))?;
        program.eval(vars, budget).map_err(|why| match why {
            EvalError::Budget => Failure::Budget,
            why => Failure::Text(format!("expression '{}' resulted in error: {why}", self.source)),
        })
    }
}

fn must_be(wanted: &[Type]) -> String {
    let names: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    match names.as_slice() {
        [one] => format!("must evaluate to {one}"),
        names => format!("must evaluate to one of [{}]", names.join(" ")),
    }
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// Nothing after it may run either.
    #[error("validation failed due to running out of cost budget, no further validation rules will be run")]
    Budget,
    /// Its own fault.
    #[error("{0}")]
    Text(String),
}

/// What expressions see of one request.
pub(super) struct Scene<'a> {
    pub object: &'a Json,
    pub old: &'a Json,
    pub request: &'a Json,
    pub namespace: &'a Json,
    pub params: Option<&'a Json>,
    pub authorizer: Option<&'a Judge<'a>>,
    pub variables: Option<Arc<dyn Lazy<'a> + 'a>>,
}

static REQUEST: std::sync::LazyLock<Type> = std::sync::LazyLock::new(request_type);
static NAMESPACE: std::sync::LazyLock<Type> = std::sync::LazyLock::new(namespace_type);

impl<'a> Scene<'a> {
    pub(super) fn vars(&self) -> Vars<'a> {
        let mut vars = Vars::new()
            .with("object", Value::untyped(self.object))
            .with("oldObject", Value::untyped(self.old))
            .with("request", Value::json(self.request, &REQUEST))
            .with("namespaceObject", Value::json(self.namespace, &NAMESPACE));
        if let Some(params) = self.params {
            vars = vars.with("params", Value::untyped(params));
        }
        if let Some(judge) = self.authorizer {
            vars = vars
                .with("authorizer", sampan_cel::authorizer(judge))
                .with("authorizer.requestResource", sampan_cel::of_resource(judge, judge.resource()));
        }
        if let Some(variables) = &self.variables {
            vars = vars.with("variables", Value::Lazy(variables.clone()));
        }
        vars
    }
}

/// The `authorizer` of an expression: asks the API server's own, of the request's user or of a service account.
pub(super) struct Judge<'a> {
    pub auth: &'a Auth,
    pub review: &'a Review<'a>,
    pub kind: &'a Kind,
    pub name: &'a str,
}

impl Judge<'_> {
    fn resource(&self) -> Resource {
        Resource {
            group: self.kind.group.to_owned(),
            resource: self.kind.plural.to_owned(),
            subresource: super::matching::subresource(self.review).to_owned(),
            namespace: self.review.namespace.to_owned(),
            name: self.name.to_owned(),
            ..Resource::default()
        }
    }
}

impl Authorizer for Judge<'_> {
    fn authorize(&self, ask: &Ask) -> Answer {
        let account;
        let user = match &ask.service_account {
            None => self.review.user,
            Some((namespace, name)) => {
                let own = format!("system:serviceaccounts:{namespace}");
                let name = format!("system:serviceaccount:{namespace}:{name}");
                account = UserInfo::new(name, &["system:serviceaccounts", &own]);
                &account
            }
        };
        let resource = &ask.resource;
        let attributes = match &ask.path {
            Some(path) => Attributes { verb: &ask.verb, path, ..Attributes::default() },
            None => Attributes {
                verb: &ask.verb,
                group: &resource.group,
                version: "*",
                resource: &resource.resource,
                subresource: &resource.subresource,
                namespace: &resource.namespace,
                name: &resource.name,
                field_selector: &resource.field_selector,
                label_selector: &resource.label_selector,
                is_resource: true,
                ..Attributes::default()
            },
        };
        match self.auth.authorize(user, &attributes) {
            Decision::Allow(reason) => Answer { allowed: true, reason, error: None },
            Decision::Deny(reason) => Answer { allowed: false, reason, error: None },
        }
    }
}

/// `matchConditions`.
pub(super) struct Conditions(Vec<Expression>);

impl Conditions {
    pub(super) fn parse(conditions: &Json, env: &Env) -> Self {
        let source = |one: &Json| text(one, &["expression"]).trim().to_owned();
        Self(items(conditions).iter().map(|one| Expression::new(env, &source(one), &[Type::Bool])).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold. One that does not hold decides, even if others fail.
    pub(super) fn hold<'a>(&'a self, scene: &Scene<'a>, fail: bool) -> Result<bool, String> {
        let (vars, budget) = (scene.vars(), Budget::new(sampan_cel::RUNTIME_BUDGET / 4));
        let mut errors = Vec::new();
        for condition in &self.0 {
            match condition.eval(&vars, &budget) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(why) => errors.push(why.to_string()),
            }
        }
        match errors.as_slice() {
            [] => Ok(true),
            _ if !fail => Ok(false),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }
}

/// Whether failures refuse: `failurePolicy`.
pub(super) fn fails(configuration: &Json) -> bool {
    at(configuration, &["failurePolicy"]).as_str() != Some("Ignore")
}
