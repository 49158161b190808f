//! `/statusz` and `/flagz`, for people as text, for programs as objects of `config.k8s.io` that they have to ask for by
//! name: upstream's `k8s.io/apiserver/pkg/server/{statusz,flagz}`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use jiff::Timestamp;
use sampan_api::status::ApiError;
use serde_json::{Value, json};

use super::slis;
use crate::pipeline::negotiate::{Clause, Encoding, Format, clauses};
use crate::pipeline::{Context, respond, warnings};
use crate::{Config, ResponseBody, VERSION};

/// Upstream's name of this server on its pages.
const COMPONENT: &str = "apiserver";
const GROUP: &str = "config.k8s.io";
/// The media types in a 406.
const SUPPORTED: &[&str] = &["application/json", "application/yaml", "text/plain"];
/// What stands between a name and a value, a new one each time: nobody is to read the text by machine.
const DELIMITERS: [&str; 4] = [":", ": ", "=", " "];
/// Folders that are no help to who debugs.
const ELSEWHERE: [&str; 5] = ["apis", "api", "openid", "openapi", ".well-known"];

/// Names of flags with their values.
pub(crate) type Flags = BTreeMap<&'static str, String>;

/// What the server was told, under the names that upstream's flags have.
pub(crate) fn flags(config: &Config, advertise: IpAddr, port: u16, issuer: &str) -> Flags {
    let file = |path: &Option<PathBuf>| {
        path.as_deref().map(Path::display).map(|path| path.to_string()).unwrap_or_default()
    };
    let audit = &config.audit;
    BTreeMap::from([
        ("advertise-address", advertise.to_string()),
        ("audit-log-compress", audit.log_compress.to_string()),
        ("audit-log-maxage", audit.log_max_age.to_string()),
        ("audit-log-maxbackup", audit.log_max_backup.to_string()),
        ("audit-log-maxsize", audit.log_max_size.to_string()),
        ("audit-log-path", file(&audit.log_path)),
        ("audit-policy-file", file(&audit.policy_file)),
        ("audit-webhook-batch-max-size", audit.webhook_batch_size.to_string()),
        ("audit-webhook-config-file", file(&audit.webhook_config_file)),
        ("authentication-config", file(&config.authentication)),
        ("bind-address", config.bind.to_string()),
        ("secure-port", port.to_string()),
        ("service-account-issuer", issuer.to_owned()),
        ("service-cluster-ip-range", config.services.to_string()),
    ])
}

/// `/flagz`.
pub(super) fn flagz(flags: &Flags, context: &Context) -> Result<Response<ResponseBody>, ApiError> {
    answer(context, "Flagz", json!({"flags": flags}), |separator| {
        flags.iter().map(|(name, value)| format!("{name}{separator}{value}\n")).collect()
    })
}

/// `/statusz`, of a server that has `paths`.
pub(super) fn statusz(paths: &[String], context: &Context) -> Result<Response<ResponseBody>, ApiError> {
    let began = slis::began().and_then(|began| Timestamp::from_second(began as i64).ok()).unwrap_or_default();
    let up = Timestamp::now().as_second().saturating_sub(began.as_second()).max(0);
    let version = super::version();
    let said = |key: &str| version.get(key).and_then(Value::as_str).unwrap_or_default();
    let (go, binary) = (said("goVersion"), binary_version());
    let emulation = format!("{}.{}", said("emulationMajor"), said("emulationMinor"));
    let paths = folders(paths);
    let fields = json!({
        "startTime": began.to_string(), "uptimeSeconds": up, "goVersion": go,
        "binaryVersion": binary, "emulationVersion": emulation, "paths": paths,
    });
    answer(context, "Statusz", fields, |delimiter| {
        let started = began.strftime("%a %b %e %H:%M:%S UTC %Y");
        let up = format!("{} hr {:02} min {:02} sec", up / 3600, up / 60 % 60, up % 60);
        let rest = [
            ("Started", started.to_string()),
            ("Up", up),
            ("Go version", go.to_owned()),
            ("Binary version", binary.to_owned()),
            ("Emulation version", emulation),
            ("Paths", paths.join(" ")),
        ];
        let lines = rest.map(|(name, value)| format!("{name}{delimiter} {value}\n"));
        format!("\n{}", lines.concat())
    })
}

/// The numbers that the version begins with.
fn binary_version() -> &'static str {
    let numbers = VERSION.trim_start_matches('v');
    let end = numbers.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(numbers.len());
    &numbers[..end]
}

/// The first folder of each path.
fn folders(paths: &[String]) -> Vec<String> {
    let first = paths.iter().filter_map(|path| path.split('/').nth(1));
    let debugging: BTreeSet<_> = first.filter(|one| !one.is_empty() && !ELSEWHERE.contains(one)).collect();
    debugging.into_iter().map(|folder| format!("/{folder}")).collect()
}

/// In which form a page is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Text,
    Object(Encoding, &'static str),
}

/// The first clause that can be served: text as it is, the rest if it asks for the page's own kind.
fn wanted(accept: &str, kind: &str) -> Option<Wanted> {
    if accept.trim().is_empty() {
        return Some(Wanted::Text);
    }
    clauses(accept).iter().find_map(|clause| of_clause(clause, kind))
}

fn of_clause(clause: &Clause<'_>, kind: &str) -> Option<Wanted> {
    if !clause.param("sv").is_empty() || !clause.param("stream").is_empty() {
        return None;
    }
    let asked = ["as", "g", "v"].map(|key| clause.param(key));
    let plain = asked == [""; 3];
    let version = match asked {
        [of, GROUP, "v1alpha1"] if of == kind => Some("v1alpha1"),
        [of, GROUP, "v1beta1"] if of == kind => Some("v1beta1"),
        _ => None,
    };
    let object = |encoding| version.map(|version| Wanted::Object(encoding, version));
    match clause.media {
        "text/plain" | "text/*" | "*/*" if plain => Some(Wanted::Text),
        "application/json" | "application/*" | "*/*" => object(Encoding::Json),
        "application/yaml" => object(Encoding::Yaml),
        _ => None,
    }
}

/// A page of `kind`: what `fields` say as an object, or what `text` writes with a delimiter.
fn answer(
    context: &Context,
    kind: &str,
    fields: Value,
    text: impl FnOnce(&str) -> String,
) -> Result<Response<ResponseBody>, ApiError> {
    let page = kind.to_lowercase();
    match wanted(context.accept(), kind).ok_or_else(|| ApiError::not_acceptable(SUPPORTED))? {
        Wanted::Text => {
            let delimiter = DELIMITERS[rand::random_range(0..DELIMITERS.len())];
            let head = format!(
                "\n{COMPONENT} {page}\nWarning: This endpoint is not meant to be machine parseable, has no formatting \
                 compatibility guarantees and is for debugging purposes only.\n"
            );
            Ok(respond::raw(200, "text/plain; charset=utf-8", head + &text(delimiter)))
        }
        Wanted::Object(encoding, version) => {
            if version == "v1alpha1" {
                warnings::tell(format!(
                    "This version of the {page} endpoint is deprecated. Please use a newer version."
                ));
            }
            let mut object = json!({"kind": kind, "apiVersion": format!("{GROUP}/{version}"), "metadata": {"name": COMPONENT}});
            if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
                object.extend(fields);
            }
            let format = Format { encoding, pretty: context.pretty(), ..Format::JSON };
            let mut response = respond::value(200, &object, format, &context.head.headers);
            let media = if encoding == Encoding::Yaml { "yaml" } else { "json" };
            let full = format!("application/{media};g={GROUP};v={version};as={kind}");
            if let Ok(full) = HeaderValue::from_str(&full) {
                response.headers_mut().insert(CONTENT_TYPE, full);
            }
            Ok(response)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_for_those_who_ask_for_the_kind() {
        let json = Some(Wanted::Object(Encoding::Json, "v1beta1"));
        let cases = [
            ("", Some(Wanted::Text)),
            ("*/*", Some(Wanted::Text)),
            ("text/plain", Some(Wanted::Text)),
            ("text/html,*/*;q=0.1", Some(Wanted::Text)),
            ("application/json", None),
            ("text/plain;as=Statusz;g=config.k8s.io;v=v1beta1", None),
            ("application/json;as=Statusz;g=config.k8s.io;v=v1beta1", json),
            (
                "application/yaml;v=v1alpha1;g=config.k8s.io;as=Statusz",
                Some(Wanted::Object(Encoding::Yaml, "v1alpha1")),
            ),
            ("application/json;as=Flagz;g=config.k8s.io;v=v1beta1", None),
            ("application/json;as=Statusz;g=config.k8s.io;v=v1", None),
            ("application/vnd.kubernetes.protobuf", None),
        ];
        for (accept, expected) in cases {
            assert_eq!(wanted(accept, "Statusz"), expected, "{accept}");
        }
    }

    #[test]
    fn paths_are_told_by_their_folders() {
        let paths = ["/", "/api/v1", "/readyz/log", "/readyz", "/metrics/slis", "/openapi/v3"];
        assert_eq!(folders(&paths.map(str::to_owned)), ["/metrics", "/readyz"]);
        assert!(VERSION.starts_with(&format!("v{}", binary_version())));
    }
}
