//! Images of the host's Docker Engine, for those who built one with `docker build` a minute ago.
//!
//! Two requests over its socket, written by hand: a client library for that would be the largest part of this
//! crate. HTTP/1.0 is asked for, so the answer ends with the connection and is never chunked.

use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

type Answer = (u16, BufReader<UnixStream>);

async fn get(socket: &Path, path: &str) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").as_bytes()).await?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    while line.trim_end() != "" {
        line.clear();
        if reader.read_line(&mut line).await? == 0 {
            break;
        }
    }
    Ok((status, reader))
}

/// Letters a path may have as they are.
fn escaped(name: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/' | b':' | b'@');
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Whether the engine has the image, by one of its names.
pub async fn has(socket: &Path, name: &str) -> bool {
    matches!(get(socket, &format!("/images/{}/json", escaped(name))).await, Ok((200, _)))
}

/// Writes the image as a docker-save archive.
pub async fn save(socket: &Path, name: &str, to: &Path) -> std::io::Result<()> {
    let (status, mut body) = get(socket, &format!("/images/{}/get", escaped(name))).await?;
    if status != 200 {
        let mut text = String::new();
        body.read_to_string(&mut text).await?;
        return Err(std::io::Error::other(format!("docker: {}", text.trim())));
    }
    let mut file = tokio::fs::File::create(to).await?;
    tokio::io::copy(&mut body, &mut file).await?;
    file.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_a_path() {
        assert_eq!(escaped("docker.io/library/nginx:1.2@sha256:ab"), "docker.io/library/nginx:1.2@sha256:ab");
        assert_eq!(escaped("a b?"), "a%20b%3F");
    }
}
