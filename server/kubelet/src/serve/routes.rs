//! Paths and queries of the kubelet's API. Pure.

use super::remote::Wanted;

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the paths'
pub enum Route {
    Healthz,
    Pods,
    RunningPods,
    Configz,
    Files(String),
    Metrics,
    ResourceMetrics,
    CadvisorMetrics,
    ProbeMetrics,
    Stats,
    Logs { namespace: String, pod: String, container: String },
    Exec { namespace: String, pod: String, container: String },
    Attach { namespace: String, pod: String, container: String },
    PortForward { namespace: String, pod: String },
}

/// The route of a path.
pub fn route(path: &str) -> Option<Route> {
    let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
    let words: Vec<&str> = parts.iter().map(String::as_str).collect();
    let own = |text: &str| text.to_owned();
    Some(match words.as_slice() {
        ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] => Route::Healthz,
        ["pods"] => Route::Pods,
        ["runningpods"] => Route::RunningPods,
        ["configz"] => Route::Configz,
        ["logs", ..] => {
            Route::Files(decode(path.trim_start_matches('/').strip_prefix("logs/").unwrap_or_default()))
        }
        ["metrics"] => Route::Metrics,
        ["metrics", "resource"] => Route::ResourceMetrics,
        ["metrics", "cadvisor"] => Route::CadvisorMetrics,
        ["metrics", "probes"] => Route::ProbeMetrics,
        ["stats", "summary"] => Route::Stats,
        ["containerLogs", namespace, pod, container] => {
            Route::Logs { namespace: own(namespace), pod: own(pod), container: own(container) }
        }
        // the longer form carries the pod's uid in between
        ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
            Route::Exec { namespace: own(namespace), pod: own(pod), container: own(container) }
        }
        ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
            Route::Attach { namespace: own(namespace), pod: own(pod), container: own(container) }
        }
        ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
            Route::PortForward { namespace: own(namespace), pod: own(pod) }
        }
        _ => return None,
    })
}

/// The pairs of a query.
pub fn query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The streams a query asks for: upstream's `remotecommand.NewOptions`, with its own and the API's names.
pub fn wanted(query: &[(String, String)]) -> Wanted {
    let on = |names: [&str; 2]| {
        query.iter().any(|(name, value)| names.contains(&name.as_str()) && (value == "1" || value == "true"))
    };
    let tty = on(["tty", "tty"]);
    Wanted {
        stdin: on(["input", "stdin"]),
        stdout: on(["output", "stdout"]),
        stderr: on(["error", "stderr"]) && !tty,
        tty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries() {
        let exec = Route::Exec { namespace: "a".to_owned(), pod: "b".to_owned(), container: "c".to_owned() };
        assert_eq!(route("/exec/a/b/c"), Some(exec.clone()));
        assert_eq!(route("/exec/a/b/uid/c"), Some(exec));
        assert_eq!(route("/nothing"), None);
        assert_eq!(route("/healthz/other"), None);
        for (path, below) in [("/logs", ""), ("/logs/", ""), ("/logs/apt/", "apt/"), ("/logs/a%20b", "a b")] {
            assert_eq!(route(path), Some(Route::Files(below.to_owned())), "{path}");
        }
        let query = query("command=echo&command=a%20b+c&input=1&stdout=true&tty=0");
        let commands: Vec<&str> =
            query.iter().filter(|(k, _)| k == "command").map(|(_, v)| v.as_str()).collect();
        assert_eq!(commands, ["echo", "a b c"]);
        assert_eq!(wanted(&query), Wanted { stdin: true, stdout: true, stderr: false, tty: false });
    }
}
