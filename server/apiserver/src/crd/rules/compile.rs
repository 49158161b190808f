//! Rules, compiled: a tree beside the schema's, without the branches that have none.

use std::collections::BTreeMap;

use sampan_api::crd::{Additional, ListType, Schema, field_path};
use sampan_cel::{Env, Program, Type, escape, from_schema};
use serde_json::Value;

use crate::value::text;

/// The rules of one place and those below it.
#[derive(Debug)]
pub(super) struct Node {
    /// What expressions take the value for; rules of a place without are not asked.
    pub ty: Option<Type>,
    /// The name of the schema's type, for errors.
    pub type_name: &'static str,
    pub rules: Vec<Rule>,
    pub properties: BTreeMap<String, Node>,
    pub additional: Option<Box<Node>>,
    pub items: Option<Box<Node>>,
    /// The keys by which old items are found, of a list of type map.
    pub keys: Option<Vec<String>>,
    pub default: Option<Value>,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub source: String,
    pub message: String,
    pub reason: String,
    /// As errors show it, below the place of the rule.
    pub field_path: String,
    /// Whether `oldSelf` is an optional.
    pub optional: bool,
    pub program: Result<Program, String>,
    pub message_source: String,
    pub message_expression: Option<Result<Program, String>>,
    pub uses_old: bool,
}

impl Node {
    /// Of a whole object's schema.
    pub(super) fn root(json: &Value, schema: &Schema) -> Self {
        Self::of(json, schema, from_schema(json, "Object", true))
    }

    fn of(json: &Value, schema: &Schema, ty: Option<Type>) -> Self {
        let rules = ty.as_ref().map(|ty| Rule::all(schema, ty)).unwrap_or_default();
        let element = match &ty {
            Some(Type::List(item, _)) => Some((**item).clone()),
            Some(Type::Map(_, value)) => Some((**value).clone()),
            _ => None,
        };
        let mut properties = BTreeMap::new();
        for (name, field) in schema.properties.iter().filter(|(_, field)| field.has_rules) {
            let Some(below) = json.get("properties").and_then(|all| all.get(name)) else { continue };
            let declared = match (&ty, escape(name)) {
                (Some(Type::Object(object)), Some(escaped)) => {
                    object.fields.get(&escaped).map(|field| field.ty.clone())
                }
                (_, Some(_)) => None,
                // no expression reaches it from above; those below it do
                (_, None) => from_schema(below, "Object", field.embedded),
            };
            properties.insert(name.clone(), Self::of(below, field, declared));
        }
        let below = |schema: &Schema, key: &str| {
            let json = json.get(key).filter(|_| schema.has_rules)?;
            Some(Box::new(Self::of(json, schema, element.clone())))
        };
        let additional = match &schema.additional {
            Some(Additional::Of(of)) => below(of, "additionalProperties"),
            _ => None,
        };
        Self {
            type_name: schema.ty.name(),
            rules,
            properties,
            additional,
            items: schema.items.as_deref().and_then(|items| below(items, "items")),
            keys: (schema.list_type == ListType::Map).then(|| schema.list_map_keys.clone()),
            default: schema.default.clone(),
            ty,
        }
    }
}

impl Rule {
    fn all(schema: &Schema, ty: &Type) -> Vec<Self> {
        if schema.rules.is_empty() {
            return Vec::new();
        }
        let of_self = Env::new().with("self", ty.clone());
        let plain = of_self.clone().with("oldSelf", ty.clone());
        let optional = of_self.with("oldSelf", Type::optional(ty.clone()));
        let compiled = |rule: &Value| {
            let env =
                if rule.get("optionalOldSelf") == Some(&Value::Bool(true)) { &optional } else { &plain };
            Self::compile(rule, schema, env)
        };
        schema.rules.iter().map(compiled).collect()
    }

    fn compile(rule: &Value, schema: &Schema, env: &Env) -> Self {
        let source = text(rule, &["rule"]).to_owned();
        let program = match env.compile(&source) {
            Err(why) => Err(format!("compilation failed: {why}")),
            Ok(program) if *program.result_type() != Type::Bool => {
                Err("cel expression must evaluate to a bool".to_owned())
            }
            Ok(program) => Ok(program),
        };
        let by = text(rule, &["messageExpression"]);
        let message_expression = || match env.compile(by) {
            Err(why) => Err(format!("messageExpression compilation failed: {why}")),
            Ok(program) if *program.result_type() != Type::String => {
                Err("messageExpression must evaluate to a string".to_owned())
            }
            Ok(program) => Ok(program),
        };
        Self {
            message: text(rule, &["message"]).trim().to_owned(),
            reason: text(rule, &["reason"]).to_owned(),
            field_path: field_path(text(rule, &["fieldPath"]), schema).unwrap_or_default(),
            optional: rule.get("optionalOldSelf") == Some(&Value::Bool(true)),
            uses_old: program.as_ref().is_ok_and(|program| program.mentions("oldSelf")),
            // upstream does not look at the message of a rule that it cannot use
            message_expression: (program.is_ok() && !by.is_empty()).then(message_expression),
            message_source: by.to_owned(),
            program,
            source,
        }
    }

    /// How errors name it.
    pub(super) fn shown(&self) -> &str {
        if self.message.is_empty() { self.source.trim() } else { &self.message }
    }
}
