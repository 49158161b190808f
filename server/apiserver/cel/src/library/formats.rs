//! `format.dns1123Label().validate(…)`: upstream's named formats, whose texts are those of `sampan_api::validation`.

use sampan_api::validation as rules;

use super::{Called, Special, special};
use crate::error::EvalError;
use crate::value::Value;

/// A named format.
#[derive(Debug)]
pub struct Format {
    pub name: &'static str,
    check: fn(&str) -> Vec<String>,
}

static FORMATS: [Format; 13] = [
    Format { name: "dns1123Label", check: rules::is_dns1123_label },
    Format { name: "dns1123Subdomain", check: rules::is_dns1123_subdomain },
    Format { name: "dns1035Label", check: rules::is_dns1035_label },
    Format { name: "qualifiedName", check: rules::is_qualified_name },
    Format { name: "dns1123LabelPrefix", check: |text| rules::is_dns1123_label(&masked(text)) },
    Format { name: "dns1123SubdomainPrefix", check: |text| rules::is_dns1123_subdomain(&masked(text)) },
    Format { name: "dns1035LabelPrefix", check: |text| rules::is_dns1035_label(&masked(text)) },
    Format { name: "labelValue", check: rules::is_label_value },
    Format { name: "uri", check: |text| wrong(super::urls::parse(text).is_ok(), "invalid URI for request") },
    Format { name: "uuid", check: |text| wrong(is_uuid(text), "does not match the UUID format") },
    Format { name: "byte", check: |text| wrong(super::convert::base64(text).is_some(), "invalid base64") },
    Format {
        name: "date",
        check: |text| wrong(text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10, "invalid date"),
    },
    Format {
        name: "datetime",
        check: |text| wrong(text.parse::<jiff::Timestamp>().is_ok(), "invalid datetime"),
    },
];

/// A prefix may end in a dash, which stands for the rest of the name.
fn masked(text: &str) -> String {
    if text.len() > 1 && text.ends_with('-') {
        format!("{}a", &text[..text.len() - 1])
    } else {
        text.to_owned()
    }
}

fn wrong(valid: bool, text: &str) -> Vec<String> {
    if valid { Vec::new() } else { vec![text.to_owned()] }
}

fn is_uuid(text: &str) -> bool {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) fn make<'a>(name: &str, argument: Option<&Value<'_>>) -> Called<'a> {
    let find = |wanted: &str| {
        let found = FORMATS.iter().find(|format| format.name == wanted)?;
        Some(special(Special::Format(found)))
    };
    match (name, argument) {
        ("format.named", Some(value)) => {
            Ok(Value::optional(find(value.as_str().ok_or_else(EvalError::overload)?)))
        }
        (_, None) => find(name.trim_start_matches("format.")).ok_or_else(EvalError::overload),
        _ => Err(EvalError::overload()),
    }
}

impl Format {
    pub(super) fn method<'a>(&self, name: &str, argument: Option<&Value<'_>>) -> Called<'a> {
        match (name, argument.and_then(Value::as_str)) {
            ("validate", Some(text)) => {
                let wrong = (self.check)(text);
                let list = Value::list(wrong.into_iter().map(Value::owned).collect());
                Ok(Value::optional(matches!(&list, Value::List(all) if !all.is_empty()).then_some(list)))
            }
            _ => Err(EvalError::overload()),
        }
    }
}
