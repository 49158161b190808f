//! The dashboard's files, embedded gzipped, each under a name with its hash in it.

use std::borrow::Cow;
use std::io::Read;

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use flate2::read::GzDecoder;
use rust_embed::RustEmbed;

use crate::reply;

/// What `.ci/dashboard` left; `NAME.gz` is the file NAME.
#[derive(RustEmbed)]
#[folder = "../../assets/dashboard"]
#[include = "*.gz"]
struct Built;

/// What is shown instead of a dashboard that was not built.
const MISSING: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>sampan</title>\
<p>This sampan was built without its dashboard: run <code>make dashboard</code>, then <code>make build</code>.</p></html>";
/// What the base is in the embedded page.
const BASE: &str = "<base href=\"/\">";

/// The file of a path (without its leading slash), or the page itself for what is a place within it.
pub fn answer(path: &str, prefix: &str, headers: &HeaderMap) -> HttpResponse {
    match Built::get(&format!("{path}.gz")) {
        Some(file) if path != "index.html" => send(path, file.data, headers),
        // a place of the page has no dot in its last part, or is one of an object whose name has
        _ if is_asset(path) => reply::failure(404, "NotFound", "there is no such file"),
        _ => page(prefix),
    }
}

/// Files that pages ask for lie at the top, or below `assets/`.
fn is_asset(path: &str) -> bool {
    const ENDS: [&str; 8] = [".js", ".css", ".wasm", ".svg", ".png", ".ico", ".json", ".map"];
    !path.contains('/') && ENDS.iter().any(|end| path.ends_with(end)) || path.starts_with("assets/")
}

fn page(prefix: &str) -> HttpResponse {
    let html = match Built::get("index.html.gz").and_then(|file| inflate(&file.data)) {
        // the prefix is checked to be plain when it is configured
        Some(html) => html.replacen(BASE, &format!("<base href=\"{prefix}\">"), 1),
        None => MISSING.to_owned(),
    };
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(html)
}

fn inflate(bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).ok()?;
    Some(text)
}

fn send(path: &str, data: Cow<'static, [u8]>, headers: &HeaderMap) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.content_type(content_type(path));
    response.insert_header((header::VARY, "accept-encoding"));
    if is_hashed(path) {
        response.insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"));
    } else {
        response.insert_header((header::CACHE_CONTROL, "no-cache"));
    }
    body(response, data, headers)
}

fn body(mut response: HttpResponseBuilder, data: Cow<'static, [u8]>, headers: &HeaderMap) -> HttpResponse {
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("gzip"));
    if headers.get(header::ACCEPT_ENCODING).is_some_and(accepts) {
        response.insert_header((header::CONTENT_ENCODING, "gzip"));
        return match data {
            Cow::Borrowed(data) => response.body(bytes::Bytes::from_static(data)),
            Cow::Owned(data) => response.body(data),
        };
    }
    let mut plain = Vec::new();
    match GzDecoder::new(&*data).read_to_end(&mut plain) {
        Ok(_) => response.body(plain),
        Err(error) => reply::failure(500, "InternalError", &error.to_string()),
    }
}

/// `app-0123456789abcdef.js`: its content never changes.
fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.split('.').next().unwrap_or(name);
    stem.rsplit_once(['-', '_'])
        .is_some_and(|(_, hash)| hash.len() >= 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashed_names_are_kept_for_ever() {
        for (path, hashed) in [
            ("app-0123456789abcdef.js", true),
            ("app_bg-0123456789abcdef.wasm", true),
            ("assets/term-01234567.js", true),
            ("boot.js", false),
            ("sign-in.js", false),
        ] {
            assert_eq!(is_hashed(path), hashed, "{path}");
        }
    }

    #[test]
    fn places_are_the_page_and_missing_files_are_missing() {
        let code = |path: &str| answer(path, "/", &HeaderMap::new()).status().as_u16();
        assert_eq!((code(""), code("v1/pods/default/web.json"), code("apis/x.js/y")), (200, 200, 200));
        assert_eq!((code("gone-01234567.js"), code("assets/x")), (404, 404));
    }
}
