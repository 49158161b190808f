//! What is needed to send a request a second time: its head, in one buffer that the next request uses again. A copy of
//! the map of headers would cost as much as the rest of a request's way through the table.

use std::cell::RefCell;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri, Version};

/// Buffers that wait for their next use, at most.
const KEPT_MAX: usize = 256;

/// The buffers of one worker.
#[derive(Debug, Default)]
pub struct Spares(RefCell<Vec<Vec<u8>>>);

/// The head of a request without a body.
#[derive(Debug)]
pub struct Spare<'a> {
    method: Method,
    uri: Uri,
    version: Version,
    /// Name and value of each header, each after its length in four bytes.
    headers: Vec<u8>,
    home: &'a Spares,
}

impl Spares {
    /// Remembers a request's head.
    pub fn keep<B>(&self, request: &Request<B>) -> Spare<'_> {
        let mut headers = self.0.borrow_mut().pop().unwrap_or_default();
        for (name, value) in request.headers() {
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                // a head is a few kilobytes
                headers.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_ne_bytes());
                headers.extend_from_slice(part);
            }
        }
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Spare { method, uri, version: request.version(), headers, home: self }
    }
}

impl Spare<'_> {
    /// The request again, with `body`.
    pub fn request<B>(&self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        let (map, mut rest) = (request.headers_mut(), &self.headers[..]);
        while let Some((name, value)) = part(&mut rest).zip(part(&mut rest)) {
            append(map, name, value);
        }
        request
    }
}

fn append(map: &mut HeaderMap, name: &[u8], value: &[u8]) {
    // they were names and values before
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        map.append(name, value);
    }
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let (part, after) = after.split_at_checked(usize::try_from(u32::from_ne_bytes(*length)).ok()?)?;
    *rest = after;
    Some(part)
}

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        let mut kept = self.home.0.borrow_mut();
        if kept.len() < KEPT_MAX {
            let mut buffer = std::mem::take(&mut self.headers);
            buffer.clear();
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_as_it_was() {
        let spares = Spares::default();
        for _ in 0..2 {
            let mut request = Request::put("/a?b=%20").version(Version::HTTP_11).body(()).unwrap();
            for (name, value) in
                [("host", &b"x"[..]), ("cookie", b"a=\xff"), ("cookie", b""), ("x-long", &[b'v'; 5000])]
            {
                request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
            }
            let spare = spares.keep(&request);
            let again = spare.request(());
            assert_eq!(
                (again.method(), again.uri(), again.version()),
                (request.method(), request.uri(), request.version())
            );
            assert_eq!(again.headers(), request.headers());
            drop(spare);
            assert_eq!(spares.0.borrow().len(), 1, "one buffer for all");
        }
    }
}
