//! CEL over one device (upstream's `dynamic-resource-allocation/cel`): `device.driver`, `device.attributes` and
//! `device.capacity`, by domain and name. A domain that a device does not have is an empty one.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use k8s_openapi::api::resource::v1::{Device, DeviceAttribute};
use sampan_cel::{Budget, Env, EvalError, Key, Lazy, Map, PER_CALL_LIMIT, Program, Type, Value, Vars};

/// An expression that says whether a device is wanted.
#[derive(Debug)]
pub struct Selector(Program);

static ENV: LazyLock<Env> = LazyLock::new(|| {
    let fields = [
        ("driver", Type::String),
        ("allowMultipleAllocations", Type::Bool),
        ("attributes", Type::map(Type::map(Type::Dyn))),
        ("capacity", Type::map(Type::map(Type::Opaque("kubernetes.Quantity")))),
    ];
    let fields = fields.map(|(name, ty)| (name.to_owned(), ty));
    Env::new().with("device", Type::object("kubernetes.DRADevice", fields))
});

/// Makes the values of libraries, which only expressions can.
fn maker(source: &str) -> Option<Program> {
    Env::new().with("text", Type::String).compile(source).ok()
}

static QUANTITY: LazyLock<Option<Program>> = LazyLock::new(|| maker("quantity(text)"));
static SEMVER: LazyLock<Option<Program>> = LazyLock::new(|| maker("semver(text)"));

fn made<'a>(program: &'static LazyLock<Option<Program>>, text: &'a str) -> Result<Value<'a>, String> {
    let program = program.as_ref().ok_or("the function to read it is missing")?;
    let vars = Vars::new().with("text", Value::text(text));
    program.eval(&vars, &Budget::default()).map_err(|error| error.to_string())
}

/// Reads an expression.
///
/// # Errors
/// It is none, or its value is no truth.
pub fn compile(expression: &str) -> Result<Selector, String> {
    let program = ENV.compile(expression).map_err(|error| format!("compilation failed: {error}"))?;
    match program.result_type() {
        Type::Bool | Type::Dyn => Ok(Selector(program)),
        other => Err(format!("must evaluate to bool or the unknown type, not {other}")),
    }
}

/// By domain; those that are not there are empty.
struct Domains<'a>(BTreeMap<&'a str, BTreeMap<Key, Value<'a>>>);

impl<'a> Domains<'a> {
    fn lazy<V>(
        driver: &'a str,
        all: Option<&'a BTreeMap<String, V>>,
        value: impl Fn(&'a V) -> Result<Value<'a>, String>,
    ) -> Result<Value<'a>, String> {
        let mut domains: BTreeMap<&str, BTreeMap<Key, Value<'a>>> = BTreeMap::new();
        for (name, one) in all.into_iter().flatten() {
            let value = value(one).map_err(|why| format!("attribute {name}: {why}"))?;
            let (domain, id) = name.split_once('/').unwrap_or((driver, name));
            domains.entry(domain).or_default().insert(Key::String(id.into()), value);
        }
        Ok(Value::Lazy(Arc::new(Self(domains))))
    }
}

impl<'a> Lazy<'a> for Domains<'a> {
    fn get(&self, key: &str) -> Option<Result<Value<'a>, EvalError>> {
        let found = self.0.get(key).cloned().unwrap_or_default();
        Some(Ok(Value::Map(Map::Made(Arc::new(found)))))
    }
}

fn attribute(one: &DeviceAttribute) -> Result<Value<'_>, String> {
    if let Some(value) = one.int {
        return Ok(Value::Int(value));
    }
    if let Some(value) = one.bool {
        return Ok(Value::Bool(value));
    }
    if let Some(text) = &one.string {
        return Ok(Value::text(text));
    }
    if let Some(text) = &one.version {
        return made(&SEMVER, text).map_err(|why| format!("parse semantic version: {why}"));
    }
    let list = match (&one.ints, &one.bools, &one.strings, &one.versions) {
        (Some(all), ..) => all.iter().map(|value| Ok(Value::Int(*value))).collect(),
        (_, Some(all), ..) => all.iter().map(|value| Ok(Value::Bool(*value))).collect(),
        (_, _, Some(all), _) => all.iter().map(|text| Ok(Value::text(text))).collect(),
        (_, _, _, Some(all)) => all.iter().map(|text| made(&SEMVER, text)).collect(),
        _ => Err("unsupported attribute value".to_owned()),
    };
    list.map(Value::list)
}

impl Selector {
    /// Whether it wants the device.
    ///
    /// # Errors
    /// It has no value for it; cel-go's texts.
    pub fn matches(&self, driver: &str, device: &Device) -> Result<bool, String> {
        let attributes = Domains::lazy(driver, device.attributes.as_ref(), attribute)?;
        let capacity = Domains::lazy(driver, device.capacity.as_ref(), |one| made(&QUANTITY, &one.value.0))?;
        let shared = Value::Bool(device.allow_multiple_allocations == Some(true));
        let fields = [
            ("driver", Value::text(driver)),
            ("allowMultipleAllocations", shared),
            ("attributes", attributes),
            ("capacity", capacity),
        ];
        let fields = fields.into_iter().map(|(name, value)| (Key::String(name.into()), value)).collect();
        let vars = Vars::new().with("device", Value::Map(Map::Made(Arc::new(fields))));
        let value = self.0.eval(&vars, &Budget::new(PER_CALL_LIMIT)).map_err(|error| error.to_string())?;
        let other = || format!("CEL result of type {} could not be converted to bool", value.type_name());
        value.as_bool().ok_or_else(other)
    }
}

#[cfg(test)]
#[path = "selectors_tests.rs"]
mod tests;
