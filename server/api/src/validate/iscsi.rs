//! iSCSI volumes: names of targets and initiators, by which of three authorities.

use serde_json::Value;

use super::access::*;
use crate::status::FieldError;
use crate::validation::range_error;

/// `validateISCSIVolumeSource`.
pub(super) fn source(source: &Value, at: &str, errors: &mut Errors) {
    const AUTHORITIES: &str = "must be valid format starting with iqn, eui, or naa";
    of(source, AUTHORITIES, at, errors);
}

/// `validateISCSIPersistentVolumeSource`, of the volume of that name.
pub(super) fn persistent(source: &Value, volume: &str, at: &str, errors: &mut Errors) {
    of(source, "must be valid format", at, errors);
    let portal = text(source, "targetPortal");
    if has(source, "initiatorName") && volume.len() + 1 + portal.len() > 64 {
        let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        errors.push(FieldError::invalid(join(at, "targetportal"), portal, why));
    }
    let secret = get(source, "secretRef");
    if !secret.is_null() && text(secret, "name").is_empty() {
        errors.push(FieldError::required(join(at, "secretRef.name"), ""));
    }
}

fn of(source: &Value, authorities: &str, at: &str, errors: &mut Errors) {
    required_text(source, "targetPortal", at, any_text, errors);
    match text(source, "iqn") {
        "" => errors.push(FieldError::required(join(at, "iqn"), "")),
        name => invalid_each(errors, &join(at, "iqn"), name, name_error(name, authorities)),
    }
    if let Some(lun) = int(source, "lun").filter(|lun| !(0..=255).contains(lun)) {
        errors.push(FieldError::invalid(join(at, "lun"), lun, range_error(0, 255)));
    }
    let asks = is_true(source, "chapAuthDiscovery") || is_true(source, "chapAuthSession");
    if asks && !has(source, "secretRef") {
        errors.push(FieldError::required(join(at, "secretRef"), ""));
    }
    if let Some(name) = get(source, "initiatorName").as_str() {
        invalid_each(errors, &join(at, "initiatorname"), name, name_error(name, authorities));
    }
}

fn name_error(name: &str, authorities: &str) -> Vec<String> {
    let of_length = |rest: &str, length: usize| {
        rest.len() == length + 1 && rest.bytes().skip(1).all(|byte| byte.is_ascii_alphanumeric())
    };
    let right = match name.split_at_checked(3) {
        Some(("iqn", rest)) => is_qualified(rest),
        Some(("eui", rest)) => of_length(rest, 16),
        Some(("naa", rest)) => of_length(rest, 32),
        _ => return vec![authorities.to_owned()],
    };
    if right { Vec::new() } else { vec!["must be valid format".to_owned()] }
}

/// `.2001-04.com.example:name`.
fn is_qualified(rest: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((date, rest)) = rest.strip_prefix('.').and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let dated = date
        .split_once('-')
        .is_some_and(|(year, month)| year.len() == 4 && month.len() == 2 && digits(year) && digits(month));
    let (authority, name) = rest.split_once(':').unwrap_or((rest, ""));
    let authority_right = !authority.is_empty()
        && authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let name_right = !name.is_empty() && !name.contains([',', ';', '*', '&', '$', '|', ' ', '\t', '\n']);
    dated && authority_right && name_right
}
