//! From a token's claims to a user (`plugin/pkg/authenticator/token/oidc`). Pure.

use std::collections::BTreeMap;

use sampan_api::go::Quote as _;
use sampan_cel::{Budget, Program, Type, Value as Cel, Vars};
use serde_json::{Value, json};

use super::config::{self, Authenticator, Claim, Prefixed};
use crate::auth::UserInfo;
use crate::value::at;

/// Rules and mappings of one issuer, compiled.
pub(super) struct Mapping {
    username: Source,
    groups: Option<Source>,
    uid: Option<Source>,
    extra: Vec<(String, Program)>,
    required: Vec<(String, String)>,
    claim_rules: Vec<Rule>,
    user_rules: Vec<Rule>,
}

/// Where a value comes from.
enum Source {
    Claim(String, String),
    Made(Program),
}

struct Rule {
    source: String,
    program: Program,
    message: String,
}

impl Mapping {
    /// Of an authenticator that was checked.
    pub fn new(authenticator: &Authenticator) -> Result<Self, String> {
        let mappings = &authenticator.claim_mappings;
        let claims = |source: &str| config::claims().compile(source).map_err(|why| why.to_string());
        let prefixed = |mapping: &Prefixed| match (mapping.claim.as_str(), mapping.expression.as_str()) {
            ("", "") => Ok(None),
            ("", source) => claims(source).map(|made| Some(Source::Made(made))),
            (claim, _) => {
                Ok(Some(Source::Claim(claim.to_owned(), mapping.prefix.clone().unwrap_or_default())))
            }
        };
        let plain = |claim: &Claim| {
            let Claim { claim, expression } = claim.clone();
            prefixed(&Prefixed { claim, expression, prefix: None })
        };
        let extra = mappings
            .extra
            .iter()
            .map(|one| claims(&one.value_expression).map(|made| (one.key.clone(), made)));
        let (required, expressions): (Vec<_>, Vec<_>) =
            authenticator.claim_validation_rules.iter().partition(|rule| !rule.claim.is_empty());
        let rule = |source: &str, message: &str, program: Result<Program, String>| {
            Ok::<_, String>(Rule { source: source.into(), program: program?, message: message.into() })
        };
        let claim_rules =
            expressions.iter().map(|one| rule(&one.expression, &one.message, claims(&one.expression)));
        let user_rules = authenticator.user_validation_rules.iter().map(|one| {
            let program = config::user().compile(&one.expression).map_err(|why| why.to_string());
            rule(&one.expression, &one.message, program)
        });
        Ok(Self {
            username: prefixed(&mappings.username)?.ok_or("claimMappings.username: Required value")?,
            groups: prefixed(&mappings.groups)?,
            uid: plain(&mappings.uid)?,
            extra: extra.collect::<Result<_, String>>()?,
            required: required.iter().map(|one| (one.claim.clone(), one.required_value.clone())).collect(),
            claim_rules: claim_rules.collect::<Result<_, _>>()?,
            user_rules: user_rules.collect::<Result<_, _>>()?,
        })
    }

    /// The user that the claims are of.
    pub fn user(&self, claims: &Value) -> Result<UserInfo, String> {
        let name = self.name(claims)?;
        let groups = self.group_names(claims)?;
        let uid = self.uid_of(claims)?;
        let extra = self.extra_of(claims)?;
        for (claim, wanted) in &self.required {
            let found = at(claims, &[claim.as_str()]);
            if found.is_null() {
                return Err(format!("oidc: required claim {claim} not present in ID token"));
            }
            let found = found.as_str().ok_or_else(|| format!("oidc: parse claim {claim}: no text"))?;
            if found != wanted {
                return Err(format!(
                    "oidc: required claim {claim} value does not match. Got = {found}, want = {wanted}"
                ));
            }
        }
        for rule in &self.claim_rules {
            let vars = Vars::new().with("claims", Cel::untyped(claims));
            rule.holds(&vars)
                .map_err(|why| format!("oidc: error evaluating claim validation expression: {why}"))?;
        }
        let user = UserInfo { name, uid, groups, extra };
        let shown =
            json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        let ty = config::user_type();
        for rule in &self.user_rules {
            let vars = Vars::new().with("user", Cel::json(&shown, &ty));
            rule.holds(&vars)
                .map_err(|why| format!("oidc: error evaluating user info validation rule: {why}"))?;
        }
        Ok(user)
    }

    fn name(&self, claims: &Value) -> Result<String, String> {
        const WHAT: &str = "oidc: error evaluating username claim expression";
        match &self.username {
            Source::Made(program) => {
                let name = evaluate(program, claims).map_err(|why| format!("{WHAT}: {why}"))?;
                match name.as_str() {
                    None => Err(format!("{WHAT}: username claim expression must return a string")),
                    Some("") => Err("oidc: empty username via CEL expression is not allowed".into()),
                    Some(name) => Ok(name.to_owned()),
                }
            }
            Source::Claim(claim, prefix) => {
                let name = at(claims, &[claim.as_str()]);
                let why = if name.is_null() { "claim not present" } else { "no text" };
                let name = name
                    .as_str()
                    .ok_or_else(|| format!("oidc: parse username claims {}: {why}", claim.quoted()))?;
                let verified = at(claims, &["email_verified"]);
                match verified.as_bool() {
                    _ if claim != "email" || verified.is_null() => {}
                    None => return Err("oidc: parse 'email_verified' claim: no boolean".into()),
                    Some(false) => return Err("oidc: email not verified".into()),
                    Some(true) => {}
                }
                Ok(format!("{prefix}{name}"))
            }
        }
    }

    fn group_names(&self, claims: &Value) -> Result<Vec<String>, String> {
        match &self.groups {
            None => Ok(Vec::new()),
            Some(Source::Made(program)) => {
                let groups = evaluate(program, claims).and_then(|made| texts(&made));
                groups.map_err(|why| format!("oidc: error evaluating group claim expression: {why}"))
            }
            Some(Source::Claim(claim, prefix)) => {
                let wrong = || {
                    format!("oidc: parse groups claim {}: neither a text nor a list of texts", claim.quoted())
                };
                let names: Vec<&str> = match at(claims, &[claim.as_str()]) {
                    Value::Null => Vec::new(),
                    Value::String(one) => vec![one],
                    Value::Array(all) => {
                        all.iter().map(|one| one.as_str().ok_or_else(wrong)).collect::<Result<_, _>>()?
                    }
                    _ => return Err(wrong()),
                };
                Ok(names.into_iter().map(|name| format!("{prefix}{name}")).collect())
            }
        }
    }

    fn uid_of(&self, claims: &Value) -> Result<String, String> {
        match &self.uid {
            None => Ok(String::new()),
            Some(Source::Claim(claim, _)) => {
                let uid = at(claims, &[claim.as_str()]).as_str().map(str::to_owned);
                uid.ok_or_else(|| format!("oidc: parse uid claim {}: claim not present", claim.quoted()))
            }
            Some(Source::Made(program)) => {
                const WHAT: &str = "oidc: error evaluating uid claim expression";
                let uid = evaluate(program, claims).map_err(|why| format!("{WHAT}: {why}"))?;
                let uid = uid.as_str().map(str::to_owned);
                uid.ok_or_else(|| format!("{WHAT}: uid claim expression must return a string"))
            }
        }
    }

    fn extra_of(&self, claims: &Value) -> Result<BTreeMap<String, Vec<String>>, String> {
        let id = at(claims, &["jti"]).as_str().filter(|id| !id.is_empty());
        let key = "authentication.kubernetes.io/credential-id".to_owned();
        let mut extra: BTreeMap<_, _> = id.map(|id| (key, vec![format!("JTI={id}")])).into_iter().collect();
        for (key, program) in &self.extra {
            let values = evaluate(program, claims).and_then(|made| texts(&made));
            let values =
                values.map_err(|why| format!("oidc: error evaluating extra claim expression: {why}"))?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        Ok(extra)
    }
}

impl Rule {
    fn holds<'a>(&'a self, vars: &Vars<'a>) -> Result<(), String> {
        let made = self.program.eval(vars, &Budget::default()).map_err(|why| why.to_string())?;
        match made.as_bool() {
            None => Err("validation expression must return a boolean".into()),
            Some(true) => Ok(()),
            Some(false) => Err(format!("validation expression '{}' failed: {}", self.source, self.message)),
        }
    }
}

fn evaluate(program: &Program, claims: &Value) -> Result<Value, String> {
    let ty = Type::map(Type::Dyn);
    let vars = Vars::new().with("claims", Cel::json(claims, &ty));
    let made = program.eval(&vars, &Budget::default()).map_err(|why| why.to_string())?;
    made.to_json().ok_or_else(|| "expression must return a string or a list of strings".into())
}

/// `convertCELValueToStringList`: empty texts are none.
fn texts(made: &Value) -> Result<Vec<String>, String> {
    let wrong = || "expression must return a string or a list of strings".to_owned();
    let all: Vec<&str> = match made {
        Value::Null => Vec::new(),
        Value::String(one) => vec![one],
        Value::Array(all) => {
            all.iter().map(|one| one.as_str().ok_or_else(wrong)).collect::<Result<_, _>>()?
        }
        _ => return Err(wrong()),
    };
    Ok(all.into_iter().filter(|one| !one.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(authenticator: &str, claims: Value) -> Result<UserInfo, String> {
        let content = format!(
            "{{apiVersion: apiserver.config.k8s.io/v1, kind: AuthenticationConfiguration, jwt: [{{issuer: {{url: 'https://a', audiences: [a]}}, {authenticator}}}]}}"
        );
        let found = config::read(&content, &[]).expect("a good configuration");
        Mapping::new(&found.jwt[0]).expect("a mapping").user(&claims)
    }

    #[test]
    fn claims_become_a_user() {
        let plain = "claimMappings: {username: {claim: sub, prefix: 'o:'}, groups: {claim: roles, prefix: 'g:'}, uid: {claim: id}}";
        let jane =
            user(plain, json!({"sub": "jane", "roles": ["a", "b"], "id": "7", "jti": "x"})).expect("a user");
        assert_eq!(
            (jane.name.as_str(), jane.uid.as_str(), jane.groups.join(" ").as_str()),
            ("o:jane", "7", "g:a g:b")
        );
        assert_eq!(jane.extra["authentication.kubernetes.io/credential-id"], ["JTI=x"]);
        let one = user(plain, json!({"sub": "jane", "roles": "a", "id": "7"})).expect("a user");
        assert_eq!(one.groups, ["g:a"]);
        let made = "claimMappings: {username: {expression: 'claims.sub + \"@\" + claims.org.name'}, groups: {expression: 'claims.roles.split(\",\")'}, uid: {expression: 'string(claims.id)'}, extra: [{key: example.com/team, valueExpression: 'claims.?team.orValue(\"\")'}]}";
        let jane =
            user(made, json!({"sub": "jane", "org": {"name": "x"}, "roles": "a,b,", "id": 7, "team": "t"}))
                .expect("a user");
        assert_eq!(
            (jane.name.as_str(), jane.uid.as_str(), jane.groups.join(" ").as_str()),
            ("jane@x", "7", "a b")
        );
        assert_eq!(jane.extra["example.com/team"], ["t"]);
    }

    #[test]
    fn who_breaks_a_rule_is_nobody() {
        let name = "claimMappings: {username: {claim: email, prefix: ''}}";
        let rules = "claimMappings: {username: {claim: sub, prefix: ''}, groups: {expression: 'claims.roles'}}, claimValidationRules: [{claim: hd, requiredValue: example.com}, {expression: 'claims.exp - claims.iat <= 3600', message: too long}], userValidationRules: [{expression: '!user.username.startsWith(\"system:\")', message: reserved}, {expression: 'user.groups.all(g, g != \"system:masters\")'}]";
        let good = json!({"sub": "jane", "hd": "example.com", "iat": 0, "exp": 60, "roles": ["a"]});
        assert!(user(rules, good.clone()).is_ok());
        let with = |key: &str, value: Value| {
            let mut claims = good.clone();
            claims[key] = value;
            claims
        };
        let cases = [
            (name, json!({"email": "a@b", "email_verified": false}), "oidc: email not verified"),
            (name, json!({"sub": "a"}), "oidc: parse username claims \"email\": claim not present"),
            (
                rules,
                with("hd", json!("other")),
                "oidc: required claim hd value does not match. Got = other, want = example.com",
            ),
            (rules, with("hd", Value::Null), "oidc: required claim hd not present in ID token"),
            (
                rules,
                with("exp", json!(9999)),
                "oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.iat <= 3600' failed: too long",
            ),
            (
                rules,
                with("sub", json!("system:admin")),
                "oidc: error evaluating user info validation rule: validation expression '!user.username.startsWith(\"system:\")' failed: reserved",
            ),
            (
                rules,
                with("roles", json!(["system:masters"])),
                "oidc: error evaluating user info validation rule: validation expression 'user.groups.all(g, g != \"system:masters\")' failed: ",
            ),
            (
                rules,
                with("roles", json!([1])),
                "oidc: error evaluating group claim expression: expression must return a string or a list of strings",
            ),
        ];
        for (authenticator, claims, why) in cases {
            assert_eq!(
                user(authenticator, claims.clone()).map(|user| user.name),
                Err(why.to_owned()),
                "{claims}"
            );
        }
    }
}
