//! The few HTTP requests that pushing an image takes, blocking, over plain TCP.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result};

/// Status, headers (lower-case names) and body of an answer.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Sends one request to `address` on a connection of its own.
pub fn send(address: &str, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes)).with_context(|| format!("{method} {path}: no HTTP answer"))
}

fn parse(text: &str) -> Option<Answer> {
    let head = text.split("\r\n\r\n").next()?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| line.split_once(": ").map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()));
    Some(Answer { status, headers: lines.filter_map(header).collect() })
}
