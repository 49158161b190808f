//! A policy and a binding, parsed; a policy's expressions, compiled.

use sampan_api::kinds::{self, Kind};
use sampan_cel::{Env, ObjectType, Type};
use serde_json::Value;

use super::mutation::Mutation;
use crate::crd::Customs;
use crate::dynamic::expressions::{Conditions, Expression, env, fails};
use crate::dynamic::matching::Matcher;
use crate::value::{at, items, meta, strings, text};

/// A policy of either sort.
pub(super) struct Policy {
    pub name: String,
    pub matcher: Matcher,
    pub conditions: Conditions,
    pub variables: Vec<(String, Expression)>,
    pub validations: Vec<Validation>,
    pub annotations: Vec<(String, Expression)>,
    pub mutations: Vec<Mutation>,
    /// `paramKind`, as written.
    pub param_kind: Option<Value>,
    /// Whether failures refuse.
    pub fail: bool,
    /// `reinvocationPolicy: IfNeeded`
    pub repeatable: bool,
}

/// One of `spec.validations`.
pub(super) struct Validation {
    pub expression: Expression,
    pub message: String,
    pub message_expression: Option<Expression>,
    pub reason: String,
}

/// Environments of a policy's expressions: with the variables declared so far.
pub(in crate::dynamic) struct Envs {
    params: bool,
    mutation: bool,
    fields: Vec<(String, Type)>,
    /// Types of `object` and `oldObject`, and of `params`, where they are known.
    pub object: Type,
    pub param: Type,
}

impl Envs {
    pub(in crate::dynamic) fn new(params: bool, mutation: bool) -> Self {
        Self { params, mutation, fields: Vec::new(), object: Type::Dyn, param: Type::Dyn }
    }

    /// The environment, for whom the authorizer is there or not.
    pub(in crate::dynamic) fn env(&self, authorizer: bool) -> Env {
        let mut env = env(self.params, authorizer)
            .with("object", self.object.clone())
            .with("oldObject", self.object.clone());
        if self.params {
            env.declare("params", self.param.clone());
        }
        if !self.fields.is_empty() {
            env.declare("variables", Type::object("kubernetes.variables", self.fields.iter().cloned()));
        }
        if self.mutation {
            let text = Type::String;
            let fields = [("op", text.clone()), ("path", text.clone()), ("from", text), ("value", Type::Dyn)];
            let fields = fields.map(|(name, ty)| (name.to_owned(), ty));
            env = env.with_object(ObjectType::new("JSONPatch", fields)).with_object_paths();
        }
        env
    }

    /// Compiles a variable and declares it for those after it.
    pub(in crate::dynamic) fn variable(&mut self, name: &str, source: &str) -> Expression {
        let compiled = Expression::new(&self.env(true), source, &[]);
        let ty = compiled.program.as_ref().map_or(Type::Dyn, |program| program.result_type().clone());
        self.fields.push((name.to_owned(), ty));
        compiled
    }
}

impl Policy {
    pub(super) fn validating(policy: &Value) -> Self {
        Self::parse(policy, false)
    }

    pub(super) fn mutating(policy: &Value) -> Self {
        Self::parse(policy, true)
    }

    fn parse(policy: &Value, mutating: bool) -> Self {
        let spec = at(policy, &["spec"]);
        let param_kind = at(spec, &["paramKind"]).is_object().then(|| at(spec, &["paramKind"]).clone());
        let mut envs = Envs::new(param_kind.is_some(), mutating);
        let conditions = Conditions::parse(at(spec, &["matchConditions"]), &envs.env(true));
        let variables = items(at(spec, &["variables"])).iter().map(|one| {
            let name = text(one, &["name"]);
            (name.to_owned(), envs.variable(name, text(one, &["expression"])))
        });
        let variables = variables.collect();
        let annotation = |one: &Value| {
            let source = text(one, &["valueExpression"]).trim().to_owned();
            let compiled = Expression::new(&envs.env(true), &source, &[Type::String, Type::Null]);
            (text(one, &["key"]).to_owned(), compiled)
        };
        Self {
            name: meta(policy, "name").to_owned(),
            matcher: Matcher::of_resources(at(spec, &["matchConstraints"])),
            conditions,
            variables,
            validations: items(at(spec, &["validations"]))
                .iter()
                .map(|one| Validation::parse(one, &envs))
                .collect(),
            annotations: items(at(spec, &["auditAnnotations"])).iter().map(annotation).collect(),
            mutations: items(at(spec, &["mutations"]))
                .iter()
                .map(|one| Mutation::parse(one, &envs.env(true)))
                .collect(),
            param_kind,
            fail: fails(spec),
            repeatable: text(spec, &["reinvocationPolicy"]) == "IfNeeded",
        }
    }

    /// The kind of its parameters, if it has any; without that kind the policy cannot be used.
    pub(super) fn params(&self, customs: &Customs) -> Result<Option<&'static Kind>, String> {
        self.param_kind.as_ref().map(|reference| kind_of(reference, customs)).transpose()
    }
}

/// The kind that a `paramKind` names; those of custom resources come and go.
fn kind_of(reference: &Value, customs: &Customs) -> Result<&'static Kind, String> {
    let (version, kind) = (text(reference, &["apiVersion"]), text(reference, &["kind"]));
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    kinds::by_kind(group, version, kind).or_else(|| customs.by_kind(group, version, kind)).ok_or_else(|| {
        let place = kinds::api_version(group, version);
        format!("failed to find resource referenced by paramKind: '{place}, Kind={kind}'")
    })
}

impl Validation {
    fn parse(validation: &Value, envs: &Envs) -> Self {
        let message = text(validation, &["messageExpression"]);
        Self {
            expression: Expression::new(&envs.env(true), text(validation, &["expression"]), &[Type::Bool]),
            message: text(validation, &["message"]).trim().to_owned(),
            message_expression: (!message.trim().is_empty())
                .then(|| Expression::new(&envs.env(false), message, &[Type::String])),
            reason: text(validation, &["reason"]).to_owned(),
        }
    }
}

/// A binding of either sort.
pub(super) struct Binding {
    pub name: String,
    pub policy: String,
    pub matcher: Option<Matcher>,
    pub param_ref: Value,
    pub actions: Vec<String>,
}

impl Binding {
    pub(super) fn parse(binding: &Value) -> Self {
        let spec = at(binding, &["spec"]);
        let resources = at(spec, &["matchResources"]);
        Self {
            name: meta(binding, "name").to_owned(),
            policy: text(spec, &["policyName"]).to_owned(),
            matcher: resources.is_object().then(|| Matcher::of_resources(resources)),
            param_ref: at(spec, &["paramRef"]).clone(),
            actions: strings(at(spec, &["validationActions"])),
        }
    }
}
