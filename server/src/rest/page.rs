//! The API's description for people: one page, made from the same document, without a script.

use bytes::Bytes;
use http::Response;
use sampan_apiserver::ResponseBody;
use serde_json::Value;

use super::{openapi, reply};

/// The page.
pub fn answer() -> Response<ResponseBody> {
    reply::text("text/html; charset=utf-8", Bytes::from(page(&openapi::document())))
}

fn page(document: &Value) -> String {
    let mut rows = String::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let text = |field: &str| escaped(operation[field].as_str().unwrap_or_default());
            rows.push_str(&format!(
                "<tr><td><code>{}</code></td><td><code>{}</code></td><td>{}</td><td>{}</td></tr>\n",
                method.to_uppercase(),
                escaped(path),
                text("summary"),
                sent(operation),
            ));
        }
    }
    let version = document["info"]["version"].as_str().unwrap_or_default();
    let about = escaped(document["info"]["description"].as_str().unwrap_or_default());
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>sampan REST API</title></head><body>\n\
<h1>sampan REST API {version}</h1>\n<p>{about}</p>\n\
<p><a href=\"openapi.json\">openapi.json</a> is the same for programs.</p>\n\
<table><thead><tr><th>Method</th><th>Path</th><th>What it does</th><th>What is sent</th></tr></thead><tbody>\n\
{rows}</tbody></table>\n</body></html>\n"
    )
}

/// Query and body of an operation.
fn sent(operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let query = parameters.filter(|one| one["in"] == "query").filter_map(|one| one["name"].as_str());
    let query: Vec<String> = query.map(|name| format!("<code>?{}</code>", escaped(name))).collect();
    let body = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
    let body =
        body.and_then(|path| path.rsplit('/').next()).map(|name| format!("<code>{}</code>", escaped(name)));
    query.into_iter().chain(body).collect::<Vec<_>>().join(" ")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_on_the_page() {
        let document = openapi::document();
        let page = page(&document);
        for path in document["paths"].as_object().expect("paths").keys() {
            assert!(page.contains(&escaped(path)), "{path}");
        }
        assert!(!page.contains("<script"));
    }
}
