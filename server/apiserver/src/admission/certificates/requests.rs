//! What becomes of the fields of a CertificateSigningRequest: `pkg/registry/certificates/certificates/strategy.go` and
//! `pkg/apis/certificates/validation`.

use std::collections::HashSet;

use sampan_api::go::Quote as _;
use sampan_api::status::{ApiError, FieldError};
use serde_json::{Value, json};

use super::{GROUP, of_request, request_of, usages};
use crate::pki::request;
use crate::registry::{Operation, Plugin, Review};
use crate::value::{at, items, keep, meta, now, set, text};

const LEGACY: &str = "kubernetes.io/legacy-unknown";
const LEAST_SECONDS: i64 = 600;

/// Upstream has this in the registry. It comes first among the plugins: they see who really asks.
pub(in crate::admission) struct CertificateRequests;

impl Plugin for CertificateRequests {
    fn admit(&self, review: &Review<'_>, object: &mut Value) -> Result<(), ApiError> {
        match (review.operation, review.old) {
            (Operation::Create, _) if of_request(review, "") => author(review, object),
            (Operation::Update, Some(old)) if of_request(review, "") => {
                keep(object, old, &["spec"]);
                keep(object, old, &["status"]);
            }
            (Operation::Update, Some(old)) if of_request(review, "approval") => {
                keep(object, old, &["spec"]);
                keep(object, old, &["status", "certificate"]);
                stamp(object, old);
            }
            (Operation::Update, Some(old)) if of_request(review, "status") => {
                keep(object, old, &["spec"]);
                keep_approval(object, old);
                stamp(object, old);
            }
            _ => {}
        }
        Ok(())
    }

    fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        let errors = match (review.operation, review.old) {
            (Operation::Create, _) if of_request(review, "") => new_errors(object),
            (Operation::Update, Some(old))
                if of_request(review, "approval") || of_request(review, "status") =>
            {
                change_errors(object, old)
            }
            _ => return Ok(()),
        };
        if errors.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid(GROUP, "CertificateSigningRequest", meta(object, "name"), errors))
    }
}

/// The author is who asks, not who the request says.
fn author(review: &Review<'_>, object: &mut Value) {
    let user = review.user;
    let spec = crate::value::object(object, &["spec"]);
    for field in ["username", "uid", "groups", "extra"] {
        spec.shift_remove(field);
    }
    spec.insert("username".into(), user.name.as_str().into());
    if !user.uid.is_empty() {
        spec.insert("uid".into(), user.uid.as_str().into());
    }
    if !user.groups.is_empty() {
        spec.insert("groups".into(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        spec.insert("extra".into(), json!(user.extra));
    }
    set(object, &["status"], json!({}));
}

fn conditions(object: &Value) -> &[Value] {
    items(at(object, &["status", "conditions"]))
}

/// The condition of that type.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    conditions(object).iter().find(|condition| text(condition, &["type"]) == kind)
}

/// Who writes the status does not decide: Approved and Denied stay as they are.
fn keep_approval(object: &mut Value, old: &Value) {
    let decides = |condition: &Value| matches!(text(condition, &["type"]), "Approved" | "Denied");
    let kept = conditions(old).iter().filter(|condition| decides(condition));
    let others = conditions(object).iter().filter(|condition| !decides(condition));
    let all: Vec<Value> = kept.chain(others).cloned().collect();
    if !all.is_empty() {
        set(object, &["status", "conditions"], all);
    } else if !at(object, &["status", "conditions"]).is_null() {
        keep(object, old, &["status", "conditions"]);
    }
}

/// Fills in the times that conditions leave open.
fn stamp(object: &mut Value, old: &Value) {
    let mut all = conditions(object).to_vec();
    for condition in &mut all {
        if at(condition, &["lastUpdateTime"]).is_null() {
            set(condition, &["lastUpdateTime"], now());
        }
        if at(condition, &["lastTransitionTime"]).is_null() {
            let before = conditions(old).iter().find(|old| {
                ["type", "status"].iter().all(|field| at(old, &[field]) == at(condition, &[field]))
            });
            let since = before.map(|old| text(old, &["lastTransitionTime"])).filter(|time| !time.is_empty());
            set(condition, &["lastTransitionTime"], since.map_or_else(now, str::to_owned));
        }
    }
    if !all.is_empty() {
        set(object, &["status", "conditions"], all);
    }
}

fn new_errors(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let request = at(object, &["spec", "request"]);
    if let Err(why) = request::named(&request_of(object)) {
        errors.push(FieldError::invalid("spec.request", request.clone(), why));
    }
    let usages = usages(object);
    if usages.is_empty() {
        errors.push(FieldError::required("spec.usages", ""));
    }
    let mut seen = HashSet::new();
    for (index, usage) in usages.iter().enumerate() {
        let field = format!("spec.usages[{index}]");
        if !seen.insert(usage) {
            errors.push(FieldError::duplicate(field, usage.as_str()));
        } else if !request::USAGES.contains(&usage.as_str()) {
            errors.push(FieldError::not_supported(field, usage.as_str(), request::USAGES));
        }
    }
    errors.extend(signer_errors(text(object, &["spec", "signerName"])));
    let seconds = at(object, &["spec", "expirationSeconds"]);
    if seconds.as_i64().is_some_and(|seconds| seconds < LEAST_SECONDS) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid("spec.expirationSeconds", seconds.clone(), why));
    }
    errors
}

/// `ValidateSignerName`: a domain, a slash, a path.
pub(super) fn signer_errors(signer: &str) -> Vec<FieldError> {
    let field = "spec.signerName";
    if signer.is_empty() {
        return vec![FieldError::required(field, "")];
    }
    if signer == LEGACY {
        let why = "the legacy signerName is not allowed via this API version";
        return vec![FieldError::invalid(field, signer, why)];
    }
    match signer.split_once('/') {
        Some((domain, path)) if domain.contains('.') && !path.is_empty() && !path.contains('/') => Vec::new(),
        _ => vec![FieldError::invalid(
            field,
            signer,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        )],
    }
}

fn change_errors(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let field = "status.conditions";
    for (index, condition) in conditions(object).iter().enumerate() {
        let (kind, status) = (text(condition, &["type"]), text(condition, &["status"]));
        if kind.is_empty() {
            errors.push(FieldError::required(format!("{field}[{index}].type"), ""));
        }
        match status {
            "" => errors.push(FieldError::required(format!("{field}[{index}].status"), "")),
            "True" => {}
            _ if matches!(kind, "Approved" | "Denied" | "Failed") => {
                errors.push(FieldError::not_supported(format!("{field}[{index}].status"), status, &["True"]));
            }
            _ => {}
        }
    }
    if condition(object, "Approved").is_some() && condition(object, "Denied").is_some() {
        let index =
            conditions(object).iter().rposition(|c| matches!(text(c, &["type"]), "Approved" | "Denied"));
        let kind = index.map_or("", |index| text(&conditions(object)[index], &["type"]));
        let why = "Approved and Denied conditions are mutually exclusive";
        errors.push(FieldError::invalid(format!("{field}[{}].type", index.unwrap_or(0)), kind, why));
    }
    for kind in ["Approved", "Denied", "Failed"] {
        if condition(old, kind).is_some() && condition(object, kind).is_none() {
            let why = format!("updates may not remove a condition of type {}", kind.quoted());
            errors.push(FieldError::forbidden(field, why));
        }
        if review_adds(object, old, kind)
            && kind != "Failed"
            && !at(old, &["status", "certificate"]).is_null()
        {
            let why = format!("updates may not add a condition of type {}", kind.quoted());
            errors.push(FieldError::forbidden(field, why));
        }
    }
    let (new, was) = (at(object, &["status", "certificate"]), at(old, &["status", "certificate"]));
    if !was.is_null() && new != was {
        errors
            .push(FieldError::forbidden("status.certificate", "updates may not change certificate content"));
    }
    errors
}

fn review_adds(object: &Value, old: &Value, kind: &str) -> bool {
    condition(object, kind).is_some() && condition(old, kind).is_none()
}
