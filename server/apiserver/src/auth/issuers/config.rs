//! `apiserver.config.k8s.io` `AuthenticationConfiguration`: what the file may say
//! (`k8s.io/apiserver/pkg/apis/apiserver/validation`).

use sampan_api::go::Quote as _;
use sampan_api::status::FieldError;
use sampan_cel::{Env, Program, Type};
use serde::Deserialize;

use crate::dynamic::Expression;
use crate::outbound::{Trust, client_config};

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Configuration {
    api_version: String,
    kind: String,
    #[serde(default)]
    pub jwt: Vec<Authenticator>,
    pub anonymous: Option<Anonymous>,
}

/// Who is let in without credentials.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Anonymous {
    #[serde(default)]
    pub enabled: bool,
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Condition {
    pub path: String,
}

/// `JWTAuthenticator`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Authenticator {
    pub issuer: Issuer,
    #[serde(default)]
    pub claim_validation_rules: Vec<ClaimRule>,
    #[serde(default)]
    pub claim_mappings: Mappings,
    #[serde(default)]
    pub user_validation_rules: Vec<UserRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Issuer {
    #[serde(default)]
    pub url: String,
    #[serde(default, rename = "discoveryURL")]
    pub discovery_url: String,
    #[serde(default)]
    pub certificate_authority: String,
    #[serde(default)]
    pub audiences: Vec<String>,
    #[serde(default)]
    pub audience_match_policy: String,
    #[serde(default)]
    pub egress_selector_type: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClaimRule {
    #[serde(default)]
    pub claim: String,
    #[serde(default)]
    pub required_value: String,
    #[serde(default)]
    pub expression: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mappings {
    #[serde(default)]
    pub username: Prefixed,
    #[serde(default)]
    pub groups: Prefixed,
    #[serde(default)]
    pub uid: Claim,
    #[serde(default)]
    pub extra: Vec<Extra>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prefixed {
    #[serde(default)]
    pub claim: String,
    pub prefix: Option<String>,
    #[serde(default)]
    pub expression: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    #[serde(default)]
    pub claim: String,
    #[serde(default)]
    pub expression: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Extra {
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub value_expression: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserRule {
    #[serde(default)]
    pub expression: String,
    #[serde(default)]
    pub message: String,
}

type Errors = Vec<FieldError>;

/// Reads the text of a file, and says all that is wrong with it. `own` are issuers that are not somebody else's.
pub(super) fn read(content: &str, own: &[String]) -> Result<Configuration, String> {
    let found: Configuration = serde_yaml_ng::from_str(content).map_err(|why| why.to_string())?;
    let known = ["v1", "v1beta1", "v1alpha1"].map(|version| format!("apiserver.config.k8s.io/{version}"));
    if !known.contains(&found.api_version) || found.kind != "AuthenticationConfiguration" {
        return Err(format!(
            "no kind {} is registered for version {} in scheme: apiserver.config.k8s.io/v1 AuthenticationConfiguration is wanted",
            found.kind.quoted(),
            found.api_version.quoted()
        ));
    }
    let errors = check(&found, own);
    match errors.is_empty() {
        true => Ok(found),
        false => Err(errors.iter().map(FieldError::to_string).collect::<Vec<_>>().join("; ")),
    }
}

fn check(found: &Configuration, own: &[String]) -> Errors {
    let mut errors = Vec::new();
    if found.jwt.len() > 64 {
        errors.push(FieldError::too_many("jwt", found.jwt.len(), 64));
        return errors;
    }
    for (index, one) in found.jwt.iter().enumerate() {
        let (path, before) = (format!("jwt[{index}]"), &found.jwt[..index]);
        authenticator(one, &path, own, &mut errors);
        let issuer = &one.issuer;
        if before.iter().any(|other| other.issuer.url == issuer.url) {
            errors.push(FieldError::duplicate(format!("{path}.issuer.url"), issuer.url.as_str()));
        }
        let same = |other: &Authenticator| other.issuer.discovery_url == issuer.discovery_url;
        if !issuer.discovery_url.is_empty() && before.iter().any(same) {
            let field = format!("{path}.issuer.discoveryURL");
            errors.push(FieldError::duplicate(field, issuer.discovery_url.as_str()));
        }
    }
    if let Some(anonymous) = found.anonymous.as_ref().filter(|anonymous| !anonymous.enabled)
        && !anonymous.conditions.is_empty()
    {
        let why = "enabled should be set to true when conditions are defined";
        errors.push(FieldError::invalid("anonymous.conditions", anonymous.conditions.len(), why));
    }
    errors
}

fn authenticator(one: &Authenticator, path: &str, own: &[String], errors: &mut Errors) {
    issuer(&one.issuer, &format!("{path}.issuer"), own, errors);
    let mut verified = claim_rules(one, &format!("{path}.claimValidationRules"), errors);
    let here = format!("{path}.claimMappings");
    let mappings = &one.claim_mappings;
    let username = prefixed(&mappings.username, &format!("{here}.username"), true, errors);
    prefixed(&mappings.groups, &format!("{here}.groups"), false, errors);
    verified |= username.as_ref().is_some_and(says_verified);
    let uid = &mappings.uid;
    if !uid.claim.is_empty() && !uid.expression.is_empty() {
        errors.push(FieldError::invalid(format!("{here}.uid"), "", "claim and expression can't both be set"));
    } else if !uid.expression.is_empty() {
        compile(&claims(), &uid.expression, &[], format!("{here}.uid.expression"), errors);
    }
    verified |= extra(&mappings.extra, &format!("{here}.extra"), errors);
    if username.is_some_and(|program| program.selects("claims", "email")) && !verified {
        let why = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
        let field = format!("{here}.username.expression");
        errors.push(FieldError::invalid(field, mappings.username.expression.as_str(), why));
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, rule) in one.user_validation_rules.iter().enumerate() {
        let field = format!("{path}.userValidationRules[{index}].expression");
        if rule.expression.is_empty() {
            errors.push(FieldError::required(field, ""));
        } else if seen.contains(&rule.expression.as_str()) {
            errors.push(FieldError::duplicate(field, rule.expression.as_str()));
        } else {
            compile(&user(), &rule.expression, &[Type::Bool], field, errors);
        }
        seen.push(&rule.expression);
    }
}

fn issuer(issuer: &Issuer, path: &str, own: &[String], errors: &mut Errors) {
    match issuer.url.as_str() {
        "" => errors.push(FieldError::required(format!("{path}.url"), "")),
        address => url(address, own, &format!("{path}.url"), errors),
    }
    let discovery = issuer.discovery_url.as_str();
    if !discovery.is_empty() {
        let field = format!("{path}.discoveryURL");
        if issuer.url.trim_end_matches('/') == discovery.trim_end_matches('/') {
            errors.push(FieldError::invalid(
                field.as_str(),
                discovery,
                "discoveryURL must be different from URL",
            ));
        }
        url(discovery, &[], &field, errors);
    }
    let field = format!("{path}.audiences");
    if issuer.audiences.is_empty() {
        errors.push(FieldError::required(field.as_str(), format!("at least one {field} is required")));
    }
    for (index, audience) in issuer.audiences.iter().enumerate() {
        if audience.is_empty() {
            errors.push(FieldError::required(format!("{field}[{index}]"), ""));
        }
        if issuer.audiences[..index].contains(audience) {
            errors.push(FieldError::duplicate(format!("{field}[{index}]"), audience.as_str()));
        }
    }
    let policy = issuer.audience_match_policy.as_str();
    let why = match (issuer.audiences.len(), policy) {
        (0, _) | (1, "") | (_, "MatchAny") => None,
        (1, _) => Some("audienceMatchPolicy must be empty or MatchAny for single audience"),
        _ => Some("audienceMatchPolicy must be MatchAny for multiple audiences"),
    };
    if let Some(why) = why {
        errors.push(FieldError::invalid(format!("{path}.audienceMatchPolicy"), policy, why));
    }
    if let Err(why) = client_config(&trust(issuer), None) {
        errors.push(FieldError::invalid(format!("{path}.certificateAuthority"), "<omitted>", why));
    }
    if !issuer.egress_selector_type.is_empty() {
        let why = "egress selectors are not configured";
        let field = format!("{path}.egressSelectorType");
        errors.push(FieldError::invalid(field, issuer.egress_selector_type.as_str(), why));
    }
}

/// Whose certificate the issuer has to show.
pub(super) fn trust(issuer: &Issuer) -> Trust {
    match issuer.certificate_authority.as_str() {
        "" => Trust::System,
        pem => Trust::Bundle(pem.as_bytes().to_vec()),
    }
}

fn url(address: &str, own: &[String], field: &str, errors: &mut Errors) {
    let mut wrong = |why: String| errors.push(FieldError::invalid(field, address, why));
    if own.iter().any(|issuer| issuer == address) {
        wrong(format!("URL must not overlap with disallowed issuers: [{}]", own.join(" ")));
    }
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    if scheme != "https" {
        wrong("URL scheme must be https".into());
    } else {
        match address.parse::<http::Uri>() {
            Err(why) => wrong(format!("parse {}: {why}", address.quoted())),
            Ok(uri) if uri.host().is_none_or(str::is_empty) => wrong("URL must have a host".into()),
            Ok(_) => {}
        }
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    if place.split('/').next().is_some_and(|authority| authority.contains('@')) {
        wrong("URL must not contain a username or password".into());
    }
    if !query.is_empty() {
        wrong("URL must not contain a query".into());
    }
    if !fragment.is_empty() {
        wrong("URL must not contain a fragment".into());
    }
}

/// Whether one of the rules asks for `email_verified`.
fn claim_rules(one: &Authenticator, path: &str, errors: &mut Errors) -> bool {
    let rules = &one.claim_validation_rules;
    let mut verified = false;
    for (index, rule) in rules.iter().enumerate() {
        let (path, before) = (format!("{path}[{index}]"), &rules[..index]);
        match (rule.claim.as_str(), rule.expression.as_str()) {
            ("", "") => errors.push(FieldError::required(path, "claim or expression is required")),
            ("", source) => {
                if !rule.required_value.is_empty() {
                    let why = "may not be specified when expression is set";
                    let field = format!("{path}.requiredValue");
                    errors.push(FieldError::invalid(field, rule.required_value.as_str(), why));
                }
                let field = format!("{path}.expression");
                if before.iter().any(|other| other.expression == source) {
                    errors.push(FieldError::duplicate(field, source));
                } else {
                    let program = compile(&claims(), source, &[Type::Bool], field, errors);
                    verified |= program.as_ref().is_some_and(says_verified);
                }
            }
            (claim, "") => {
                if !rule.message.is_empty() {
                    let why = "may not be specified when claim is set";
                    errors.push(FieldError::invalid(format!("{path}.message"), rule.message.as_str(), why));
                }
                if before.iter().any(|other| other.claim == claim) {
                    errors.push(FieldError::duplicate(format!("{path}.claim"), claim));
                }
            }
            (claim, _) => {
                errors.push(FieldError::invalid(path, claim, "claim and expression can't both be set"))
            }
        }
    }
    verified
}

fn prefixed(mapping: &Prefixed, path: &str, required: bool, errors: &mut Errors) -> Option<Program> {
    match (mapping.claim.as_str(), mapping.expression.as_str()) {
        ("", "") if required => errors.push(FieldError::required(path, "claim or expression is required")),
        ("", "") => {}
        ("", source) => {
            if let Some(prefix) = &mapping.prefix {
                let why = "may not be specified when expression is set";
                errors.push(FieldError::invalid(format!("{path}.prefix"), prefix.as_str(), why));
            }
            return compile(&claims(), source, &[], format!("{path}.expression"), errors);
        }
        (_, "") if mapping.prefix.is_none() => {
            let why =
                "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
            errors.push(FieldError::required(format!("{path}.prefix"), why));
        }
        (_, "") => {}
        _ => errors.push(FieldError::invalid(path, "", "claim and expression can't both be set")),
    }
    None
}

/// Whether one of them asks for `email_verified`.
fn extra(all: &[Extra], path: &str, errors: &mut Errors) -> bool {
    let mut verified = false;
    for (index, one) in all.iter().enumerate() {
        let (path, key) = (format!("{path}[{index}]"), one.key.as_str());
        let field = format!("{path}.key");
        extra_key(key, &field, errors);
        if all[..index].iter().any(|other| other.key == key) {
            errors.push(FieldError::duplicate(field, key));
        } else if one.value_expression.is_empty() {
            errors.push(FieldError::required(format!("{path}.valueExpression"), ""));
        } else {
            let field = format!("{path}.valueExpression");
            let program = compile(&claims(), &one.value_expression, &[], field, errors);
            verified |= program.as_ref().is_some_and(says_verified);
        }
    }
    verified
}

/// `IsDomainPrefixedPath`, and what is upstream's own.
fn extra_key(key: &str, field: &str, errors: &mut Errors) {
    let (domain, path) = key.split_once('/').unwrap_or_default();
    if key.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else if domain.is_empty() || path.is_empty() {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        errors.push(FieldError::invalid(field, key, why));
    } else {
        for why in sampan_api::validation::is_dns1123_subdomain(domain) {
            errors.push(FieldError::invalid(field, domain, why));
        }
        if path.contains(|c: char| !c.is_ascii_alphanumeric() && !"-._~!$&'()*+,;=:%/".contains(c)) {
            let why = "Invalid path (regex used for validation is '^[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+$')";
            errors.push(FieldError::invalid(field, path, why));
        }
    }
    if key.to_lowercase() != key {
        errors.push(FieldError::invalid(field, key, "must be lowercase"));
    }
    let reserved =
        ["k8s.io", "kubernetes.io"].iter().any(|of| domain == *of || domain.ends_with(&format!(".{of}")));
    if reserved {
        let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
        errors.push(FieldError::invalid(field, key, why));
    }
}

fn says_verified(program: &Program) -> bool {
    program.selects("claims", "email_verified")
}

/// What expressions over claims may name.
pub(super) fn claims() -> Env {
    Env::new().with("claims", Type::map(Type::Dyn))
}

/// What expressions over the mapped user may name.
pub(super) fn user() -> Env {
    Env::new().with("user", user_type())
}

/// The type of `user`.
pub(super) fn user_type() -> Type {
    let fields = [
        ("username", Type::String),
        ("uid", Type::String),
        ("groups", Type::list(Type::String)),
        ("extra", Type::map(Type::list(Type::String))),
    ];
    Type::object("kubernetes.UserInfo", fields.map(|(name, ty)| (name.to_owned(), ty)))
}

fn compile(env: &Env, source: &str, wanted: &[Type], field: String, errors: &mut Errors) -> Option<Program> {
    let compiled = Expression::new(env, source, wanted);
    compiled.program.map_err(|why| errors.push(FieldError::invalid(field, source, why))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer: {url: https://a.example, audiences: [a]}
  claimMappings:
    username: {claim: sub, prefix: ''}
";

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let own = ["https://kubernetes.default.svc".to_owned()];
        assert!(read(GOOD, &own).is_ok());
        assert!(
            read("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n", &own).is_ok()
        );
        let cases = [
            (
                "https://a.example",
                "http://a.example",
                "jwt[0].issuer.url: Invalid value: \"http://a.example\": URL scheme must be https",
            ),
            (
                "https://a.example",
                "https://kubernetes.default.svc",
                "jwt[0].issuer.url: Invalid value: \"https://kubernetes.default.svc\": URL must not overlap with disallowed issuers: [https://kubernetes.default.svc]",
            ),
            (
                "https://a.example",
                "https://:443/a",
                "jwt[0].issuer.url: Invalid value: \"https://:443/a\": URL must have a host",
            ),
            (
                "https://a.example",
                "https://a b",
                "jwt[0].issuer.url: Invalid value: \"https://a b\": parse \"https://a b\": invalid uri character",
            ),
            (
                "https://a.example",
                "https://u@a.example/?q#f",
                "jwt[0].issuer.url: Invalid value: \"https://u@a.example/?q#f\": URL must not contain a username or password; jwt[0].issuer.url: Invalid value: \"https://u@a.example/?q#f\": URL must not contain a query; jwt[0].issuer.url: Invalid value: \"https://u@a.example/?q#f\": URL must not contain a fragment",
            ),
            (
                "audiences: [a]",
                "audiences: []",
                "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required",
            ),
            (
                "audiences: [a]",
                "audiences: [a, b]",
                "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences",
            ),
            (
                "prefix: ''",
                "",
                "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
            ),
            (
                "{claim: sub, prefix: ''}",
                "{}",
                "jwt[0].claimMappings.username: Required value: claim or expression is required",
            ),
            (
                "{claim: sub, prefix: ''}",
                "{expression: claims.email}",
                "jwt[0].claimMappings.username.expression: Invalid value: \"claims.email\": claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression",
            ),
            (
                "username: {",
                "extra: [{key: foo, valueExpression: '1'}]\n    username: {",
                "jwt[0].claimMappings.extra[0].key: Invalid value: \"foo\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            ),
            (
                "username: {",
                "extra: [{key: a.k8s.io/b, valueExpression: '1'}]\n    username: {",
                "jwt[0].claimMappings.extra[0].key: Invalid value: \"a.k8s.io/b\": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use",
            ),
            (
                "  claimMappings:",
                "  claimValidationRules: [{claim: a, expression: b}]\n  claimMappings:",
                "jwt[0].claimValidationRules[0]: Invalid value: \"a\": claim and expression can't both be set",
            ),
            (
                "  claimMappings:",
                "  userValidationRules: [{expression: user.username}]\n  claimMappings:",
                "jwt[0].userValidationRules[0].expression: Invalid value: \"user.username\": must evaluate to bool",
            ),
        ];
        for (from, to, why) in cases {
            let content = GOOD.replace(from, to);
            assert_eq!(read(&content, &own).map(|_| ()), Err(why.to_owned()), "{content}");
        }
        let verified = GOOD.replace(
            "{claim: sub, prefix: ''}",
            "{expression: 'claims.?email_verified.orValue(true) ? claims.email : claims.sub'}",
        );
        assert!(read(&verified, &own).is_ok(), "{:?}", read(&verified, &own));
        let anonymous = read(&format!("{GOOD}anonymous: {{}}\n"), &own).map(|found| found.anonymous);
        assert!(anonymous.is_ok_and(|found| found.is_some_and(|found| !found.enabled)));
        assert!(read(&GOOD.replace("audiences", "audience"), &own).unwrap_err().contains("unknown field"));
        assert!(read(&GOOD.replace("/v1", "/v2"), &own).is_err());
    }
}
