//! What a request is about, from its method, path and query: ported from
//! `k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`.

use http::Method;

use super::query::Query;

/// Upstream's `request.RequestInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path names a resource.
    pub is_resource: bool,
    /// The path as sent.
    pub path: String,
    /// `get`, `list`, `watch`, `create` …, or the lower-cased method for other paths.
    pub verb: String,
    /// `api` or `apis`.
    pub prefix: String,
    /// Group, empty for core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace, empty for cluster scope or all namespaces.
    pub namespace: String,
    /// Whether the path names the resource below a namespace.
    pub in_namespace: bool,
    /// Plural resource.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Object's name.
    pub name: String,
    /// What follows the subresource (of a proxy), escaped as it was sent.
    pub rest: String,
}

impl RequestInfo {
    /// What stands in the path ahead of the resource and says what is done with it: `watch`, or `proxy`.
    pub fn special(&self) -> Option<&str> {
        let above = if self.prefix == "apis" { 3 } else { 2 };
        let word = self.path.trim_start_matches('/').split('/').nth(above)?;
        let special = self.is_resource && word == self.verb && word != self.resource;
        (special && matches!(word, "watch" | "proxy")).then_some(word)
    }
}

/// Reads a request's head. A malformed `watch` prefix is no resource request.
pub fn parse(method: &Method, path: &str, query: &Query) -> RequestInfo {
    let mut info =
        RequestInfo { path: path.to_owned(), verb: method.as_str().to_lowercase(), ..Default::default() };
    let decoded: Vec<String> = path.trim_matches('/').split('/').map(super::query::decode_path).collect();
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let rest = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => {
            info.version = (*version).to_owned();
            rest
        }
        ["apis", group, version, rest @ ..] if !rest.is_empty() => {
            (info.group, info.version) = ((*group).to_owned(), (*version).to_owned());
            rest
        }
        _ => return info,
    };
    info.prefix = parts[0].to_owned();
    info.is_resource = true;
    let (special, rest) = match rest {
        ["watch" | "proxy", rest @ ..] if !rest.is_empty() => {
            (Some(parts[parts.len() - rest.len() - 1]), rest)
        }
        rest => (None, rest),
    };
    info.verb = special.unwrap_or_else(|| verb_of(method)).to_owned();
    let tail = place(&mut info, rest);
    info.rest = after(path, parts.len() - tail).to_owned();
    refine(&mut info, special.is_none(), query);
    info
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// What follows the first `segments` of `path`, as it was sent: a slash at the end and escapes are the backend's.
fn after(path: &str, segments: usize) -> &str {
    path.trim_start_matches('/').splitn(segments + 1, '/').nth(segments).unwrap_or_default()
}

/// Namespace, resource, name, subresource. Returns how many parts follow them.
fn place(info: &mut RequestInfo, mut parts: &[&str]) -> usize {
    if let ["namespaces", namespace, tail @ ..] = parts {
        info.namespace = (*namespace).to_owned();
        // namespaces/x, namespaces/x/status and namespaces/x/finalize are about the namespace itself
        if !matches!(tail, [] | ["status" | "finalize", ..]) {
            parts = tail;
            info.in_namespace = true;
        }
    }
    let part = |i: usize| parts.get(i).map_or(String::new(), |p| (*p).to_owned());
    info.resource = part(0);
    info.name = part(1);
    info.subresource = part(2);
    parts.len().saturating_sub(3)
}

fn refine(info: &mut RequestInfo, plain: bool, query: &Query) {
    if info.name.is_empty() && info.verb == "get" {
        info.verb = if query.flag("watch") { "watch" } else { "list" }.to_owned();
    }
    if matches!(info.verb.as_str(), "list" | "watch") && plain {
        // authorization of "list this one object" is by its name
        if let Some(name) = query.get("fieldSelector").and_then(single_name) {
            info.name = name;
        }
    }
    if info.name.is_empty() && info.verb == "delete" {
        info.verb = "deletecollection".to_owned();
    }
}

fn single_name(selector: &str) -> Option<String> {
    selector.split(',').find_map(|term| {
        let (key, value) = term.split_once('=')?;
        (key == "metadata.name").then(|| value.trim_start_matches('=').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        #[rustfmt::skip]
        let cases = [
            ("GET", "/api/v1/namespaces", "list", "", "namespaces", "", ""),
            ("GET", "/api/v1/namespaces/x", "get", "x", "namespaces", "x", ""),
            ("PUT", "/api/v1/namespaces/x/finalize", "update", "x", "namespaces", "x", "finalize"),
            ("GET", "/api/v1/namespaces/x/pods", "list", "x", "pods", "", ""),
            ("GET", "/api/v1/pods?watch=1", "watch", "", "pods", "", ""),
            ("GET", "/api/v1/watch/namespaces/x/pods", "watch", "x", "pods", "", ""),
            ("GET", "/api/v1/watch/pods", "watch", "", "pods", "", ""),
            ("DELETE", "/apis/apps/v1/namespaces/x/deployments", "deletecollection", "x", "deployments", "", ""),
            ("PATCH", "/apis/apps/v1/namespaces/x/deployments/d/scale", "patch", "x", "deployments", "d", "scale"),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Da", "list", "", "pods", "a", ""),
        ];
        for (method, uri, verb, namespace, resource, name, subresource) in cases {
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let info = parse(&method, path, &Query::parse(query));
            assert!(info.is_resource, "{uri}");
            assert_eq!(info.special(), uri.contains("/watch/").then_some("watch"), "{uri}");
            assert_eq!(
                (&*info.verb, &*info.namespace, &*info.resource, &*info.name, &*info.subresource),
                (verb, namespace, resource, name, subresource),
                "{uri}"
            );
        }
        for path in ["/", "/api", "/api/v1", "/apis/apps/v1", "/healthz", "/version"] {
            assert!(!parse(&Method::GET, path, &Query::default()).is_resource, "{path}");
        }
    }

    #[test]
    fn what_a_proxy_passes_on_is_as_it_was_sent() {
        let cases = [
            ("/api/v1/namespaces/x/pods/p/proxy", ""),
            ("/api/v1/namespaces/x/pods/p/proxy/", ""),
            ("/api/v1/namespaces/x/pods/p/proxy/a/", "a/"),
            ("/api/v1/namespaces/x/services/s:80/proxy/a%2Fb/c%20d", "a%2Fb/c%20d"),
            ("/api/v1/nodes/n/proxy/metrics/cadvisor", "metrics/cadvisor"),
        ];
        for (path, expected) in cases {
            assert_eq!(parse(&Method::GET, path, &Query::default()).rest, expected, "{path}");
        }
    }
}
