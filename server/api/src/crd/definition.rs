//! What is wrong with a CustomResourceDefinition (`pkg/apis/apiextensions/validation/validation.go`).

use std::collections::HashSet;

use serde_json::Value;

use super::approval;
use super::definition_schema;
use super::schema::{Schema, Type};
use super::structural::{flag, list, text};
use crate::go::Quote as _;
use crate::status::FieldError;
use crate::validation::{FIELD_IS_IMMUTABLE, NameRule, is_dns1035_label, is_dns1123_subdomain, object_meta};

type Errors = Vec<FieldError>;

static NULL: Value = Value::Null;

fn get<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&NULL)
}

/// What is wrong with a new definition.
pub fn create(new: &Value) -> Errors {
    let spec = get(new, "spec");
    let mut errors = object_meta(get(new, "metadata"), false, NameRule::Subdomain);
    let name = text(get(new, "metadata"), "name");
    let wanted = format!("{}.{}", text(get(spec, "names"), "plural"), text(spec, "group"));
    if name != wanted {
        errors.push(FieldError::invalid("metadata.name", name, "must be spec.names.plural+\".\"+spec.group"));
    }
    self::spec(spec, &mut errors);
    names(get(get(new, "status"), "acceptedNames"), "status.acceptedNames", &mut errors);
    approval::errors(new, None, &mut errors);
    preserve(spec, &NULL, &mut errors);
    errors
}

/// What is wrong with a change, besides its metadata.
pub fn update(new: &Value, old: &Value, errors: &mut Errors) {
    let (spec, old_spec) = (get(new, "spec"), get(old, "spec"));
    self::spec(spec, errors);
    let established = list(get(old, "status"), "conditions")
        .iter()
        .any(|c| text(c, "type") == "Established" && text(c, "status") == "True");
    let mut immutable = |field: &str, pointer: &str| {
        let (new, old) = (spec.pointer(pointer), old_spec.pointer(pointer));
        if new != old {
            errors.push(FieldError::invalid(field, new.cloned().unwrap_or_default(), FIELD_IS_IMMUTABLE));
        }
    };
    if established {
        immutable("spec.scope", "/scope");
        immutable("spec.names.kind", "/names/kind");
    }
    immutable("spec.group", "/group");
    immutable("spec.names.plural", "/names/plural");
    names(get(get(new, "status"), "acceptedNames"), "status.acceptedNames", errors);
    stored_versions(new, errors);
    approval::errors(new, Some(old), errors);
    preserve(spec, old_spec, errors);
}

/// `ValidateCustomResourceDefinitionStoredVersions`.
fn stored_versions(new: &Value, errors: &mut Errors) {
    const FIELD: &str = "status.storedVersions";
    let stored = list(get(new, "status"), "storedVersions");
    let versions = list(get(new, "spec"), "versions");
    let shown = Value::from(stored.to_vec());
    if stored.is_empty() {
        errors.push(FieldError::invalid(FIELD, shown, "must have at least one stored version"));
        return;
    }
    let storage =
        versions.iter().find(|version| flag(version, "storage")).map(|version| get(version, "name"));
    if let Some(storage) = storage.filter(|storage| !stored.contains(storage)) {
        let why = format!("must have the storage version {}", storage.as_str().unwrap_or_default());
        errors.push(FieldError::invalid(FIELD, shown, why));
    }
    for (index, stored) in stored.iter().enumerate() {
        if versions.iter().any(|version| get(version, "name") == stored) {
            continue;
        }
        let name = stored.as_str().unwrap_or_default();
        let why = format!(
            "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
        );
        errors.push(FieldError::invalid(format!("{FIELD}[{index}]"), name, why));
    }
}

fn spec(spec: &Value, errors: &mut Errors) {
    group(text(spec, "group"), errors);
    match text(spec, "scope") {
        "" => errors.push(FieldError::required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        other => errors.push(FieldError::not_supported("spec.scope", other, &["Cluster", "Namespaced"])),
    }
    let versions = list(spec, "versions");
    for (index, version) in versions.iter().enumerate() {
        self::version(version, &format!("spec.versions[{index}]"), errors);
    }
    let unique: HashSet<&str> = versions.iter().map(|version| text(version, "name")).collect();
    let shown = || Value::from(versions.to_vec());
    if unique.len() != versions.len() {
        errors.push(FieldError::invalid("spec.versions", shown(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| flag(version, "storage")).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", shown(), why));
    }
    let asked = get(spec, "names");
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(asked, key).is_empty() {
            errors.push(FieldError::required(format!("spec.names.{key}"), ""));
        }
    }
    names(asked, "spec.names", errors);
    conversion(get(spec, "conversion"), errors);
}

fn group(group: &str, errors: &mut Errors) {
    let wrong = is_dns1123_subdomain(group);
    match () {
        () if group.is_empty() => errors.push(FieldError::required("spec.group", "")),
        () if !wrong.is_empty() => errors.push(FieldError::invalid("spec.group", group, wrong.join(","))),
        () if !group.contains('.') => {
            errors.push(FieldError::invalid("spec.group", group, "should be a domain with at least one dot"));
        }
        () => {}
    }
}

fn names(names: &Value, at: &str, errors: &mut Errors) {
    let mut label = |field: String, value: &str, before: &str| {
        let wrong = is_dns1035_label(&value.to_lowercase());
        if !value.is_empty() && !wrong.is_empty() {
            errors.push(FieldError::invalid(field, value, format!("{before}{}", wrong.join(","))));
        }
    };
    const MIXED: &str = "may have mixed case, but should otherwise match: ";
    for (key, before) in [("plural", ""), ("singular", ""), ("kind", MIXED), ("listKind", MIXED)] {
        label(format!("{at}.{key}"), text(names, key), before);
    }
    for key in ["shortNames", "categories"] {
        for (index, name) in list(names, key).iter().enumerate() {
            label(format!("{at}.{key}[{index}]"), name.as_str().unwrap_or_default(), "");
        }
    }
    let kind = text(names, "kind");
    if !kind.is_empty() && kind == text(names, "listKind") {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(format!("{at}.listKind"), kind, why));
    }
}

fn version(version: &Value, at: &str, errors: &mut Errors) {
    let name = text(version, "name");
    let wrong = is_dns1035_label(name);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(format!("{at}.name"), name, wrong.join(",")));
    }
    deprecation(version, at, errors);
    let schema = get(get(version, "schema"), "openAPIV3Schema");
    let field = format!("{at}.schema.openAPIV3Schema");
    let subresources = get(version, "subresources");
    match schema.is_object() {
        true => definition_schema::errors(schema, &field, get(subresources, "status").is_object(), errors),
        false => errors.push(FieldError::required(field, "schemas are required")),
    }
    scale(get(subresources, "scale"), &format!("{at}.subresources.scale"), errors);
    for (index, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
        self::column(column, &format!("{at}.additionalPrinterColumns[{index}]"), errors);
    }
    selectable(list(version, "selectableFields"), schema, &format!("{at}.selectableFields"), errors);
}

fn deprecation(version: &Value, at: &str, errors: &mut Errors) {
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else { return };
    let mut says = |why: String| {
        errors.push(FieldError::invalid(format!("{at}.deprecationWarning"), warning, why));
    };
    if !flag(version, "deprecated") {
        return says("can only be set for deprecated versions".into());
    }
    if warning.len() > 256 {
        says("must be <= 256 characters long".into());
    }
    if warning.is_empty() {
        says("must not be an empty string".into());
    }
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        says(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        ));
    }
}

fn simple_path(path: &str, field: &str) -> Option<FieldError> {
    let says = |why: &str| Some(FieldError::invalid(field, path, why));
    match path.as_bytes().first() {
        None => says("must not be empty"),
        Some(b'.') => None,
        Some(_) => says("must be a simple json path starting with ."),
    }
}

fn scale(scale: &Value, at: &str, errors: &mut Errors) {
    if !scale.is_object() {
        return;
    }
    let mut path = |key: &str, required: bool, roots: &[&str], why: &str| {
        let (value, field) = (text(scale, key), format!("{at}.{key}"));
        match simple_path(value, &field) {
            _ if value.is_empty() && !required => {}
            _ if value.is_empty() => errors.push(FieldError::required(field, "")),
            Some(error) => errors.push(error),
            None if roots.iter().any(|root| value.starts_with(root)) => {}
            None => errors.push(FieldError::invalid(field, value, why)),
        }
    };
    path("specReplicasPath", true, &[".spec."], "should be a json path under .spec");
    path("statusReplicasPath", true, &[".status."], "should be a json path under .status");
    let why = "should be a json path under either .spec or .status";
    path("labelSelectorPath", false, &[".spec.", ".status."], why);
}

fn column(column: &Value, at: &str, errors: &mut Errors) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 9] =
        ["byte", "date", "date-time", "double", "float", "int32", "int64", "password", "binary"];
    if text(column, "name").is_empty() {
        errors.push(FieldError::required(format!("{at}.name"), ""));
    }
    let (ty, wanted) = (text(column, "type"), format!("must be one of {}", TYPES.join(",")));
    match ty {
        "" => errors.push(FieldError::required(format!("{at}.type"), wanted)),
        ty if !TYPES.contains(&ty) => errors.push(FieldError::invalid(format!("{at}.type"), ty, wanted)),
        _ => {}
    }
    let format = text(column, "format");
    if !format.is_empty() && !FORMATS.contains(&format) {
        let mut sorted = FORMATS;
        sorted.sort_unstable();
        let why = format!("must be one of {}", sorted.join(","));
        errors.push(FieldError::invalid(format!("{at}.format"), format, why));
    }
    // upstream names the internal type's field here
    let (path, field) = (text(column, "jsonPath"), format!("{at}.JSONPath"));
    match path.is_empty() {
        true => errors.push(FieldError::required(field, "")),
        false => errors.extend(simple_path(path, &field)),
    }
}

/// Upstream's `MaxSelectableFields`.
const MAX_SELECTABLE: usize = 8;

fn selectable(fields: &[Value], schema: &Value, at: &str, errors: &mut Errors) {
    if fields.is_empty() {
        return;
    }
    let schema = Schema::read(schema);
    let mut seen = HashSet::new();
    for (index, field) in fields.iter().enumerate() {
        let (path, field) = (text(field, "jsonPath"), format!("{at}[{index}].jsonPath"));
        if path.is_empty() {
            errors.push(FieldError::required(field, ""));
            continue;
        }
        let found = match selected(path, &schema) {
            Ok(found) => found,
            Err(why) => {
                errors.push(FieldError::invalid(field, path, format!("is an invalid path: {why}")));
                continue;
            }
        };
        if path.starts_with(".metadata") {
            errors.push(FieldError::invalid(&field, path, "must not point to fields in metadata"));
        }
        if !matches!(found.ty, Type::String | Type::Boolean | Type::Integer) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(&field, path, why));
        }
        if !seen.insert(path) {
            errors.push(FieldError::duplicate(field, path));
        }
    }
    if seen.len() > MAX_SELECTABLE {
        errors.push(FieldError::too_many(at, seen.len(), MAX_SELECTABLE));
    }
}

fn selected<'a>(path: &str, schema: &'a Schema) -> Result<&'a Schema, String> {
    let Some(names) = path.strip_prefix('.') else {
        return Err(format!("expected '.' but got: {}", path.quoted()));
    };
    let mut here = schema;
    let mut said = String::new();
    for name in names.split('.') {
        said = format!("{said}.{name}");
        here = here.field(name).ok_or_else(|| {
            format!("does not refer to a valid field: {}", said.trim_start_matches('.').quoted())
        })?;
    }
    Ok(here)
}

fn conversion(conversion: &Value, errors: &mut Errors) {
    if !conversion.is_object() {
        return;
    }
    const AT: &str = "spec.conversion";
    let webhook = get(conversion, "webhook");
    match text(conversion, "strategy") {
        "" => errors.push(FieldError::required(format!("{AT}.strategy"), "")),
        "None" if webhook.is_object() => {
            let why = "should not be set when strategy is not set to Webhook";
            errors.push(FieldError::forbidden(format!("{AT}.webhookClientConfig"), why));
        }
        "None" => {}
        "Webhook" => {
            let config = get(webhook, "clientConfig");
            if !config.is_object() {
                let why = "required when strategy is set to Webhook";
                errors.push(FieldError::required(format!("{AT}.webhookClientConfig"), why));
            } else if config.get("url").is_some() == config.get("service").is_some() {
                let why = "exactly one of url or service is required";
                errors.push(FieldError::required(format!("{AT}.webhookClientConfig"), why));
            }
            review_versions(list(webhook, "conversionReviewVersions"), errors);
        }
        other => {
            errors.push(FieldError::not_supported(format!("{AT}.strategy"), other, &["None", "Webhook"]))
        }
    }
}

fn review_versions(versions: &[Value], errors: &mut Errors) {
    const AT: &str = "spec.conversion.conversionReviewVersions";
    if versions.is_empty() {
        errors.push(FieldError::required(AT, ""));
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        let (name, field) = (version.as_str().unwrap_or_default(), format!("{AT}[{index}]"));
        if versions[..index].contains(version) {
            errors.push(FieldError::invalid(field, name, "duplicate version"));
            continue;
        }
        errors.extend(is_dns1035_label(name).into_iter().map(|why| FieldError::invalid(&field, name, why)));
    }
    if !versions.iter().any(|version| version == "v1" || version == "v1beta1") {
        let why = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(AT, versions.to_vec(), why));
    }
}

fn preserve(spec: &Value, old: &Value, errors: &mut Errors) {
    if flag(spec, "preserveUnknownFields") && !flag(old, "preserveUnknownFields") {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", true, why));
    }
}
