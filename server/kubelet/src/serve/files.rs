//! The machine's own logs at `/logs/`: the files below /var/log, as upstream's kubelet shows them with Go's file server.
//!
//! Nothing outside is shown: names are resolved by the kernel with /var/log as the root, for links too.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use bytes::Bytes;
use http::{Response, StatusCode};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use sampan_process::Tasks;
use tokio::sync::mpsc::channel;

use super::{ResponseBody, page_not_found, response, stream, whole};

/// Where they are.
const ROOT: &str = "/var/log";

/// The file or directory at `path` below [`ROOT`].
pub fn show(path: &str, tasks: &Tasks) -> Response<ResponseBody> {
    show_below(Path::new(ROOT), path, tasks)
}

fn show_below(root: &Path, path: &str, tasks: &Tasks) -> Response<ResponseBody> {
    let Ok(file) = open(root, path.trim_matches('/')) else { return page_not_found() };
    let Ok(metadata) = file.metadata() else { return page_not_found() };
    match (metadata.is_dir(), path.is_empty() || path.ends_with('/')) {
        (true, true) => listing(&file).map_or_else(|_| page_not_found(), |page| html(&page)),
        // links in it are relative
        (true, false) => moved(&format!("{}/", path.rsplit('/').next().unwrap_or_default())),
        (false, _) if !metadata.is_file() => page_not_found(),
        (false, true) => {
            moved(&format!("../{}", path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()))
        }
        (false, false) => content(file, tasks),
    }
}

fn open(root: &Path, path: &str) -> nix::Result<File> {
    let root = nix::fcntl::open(root, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let path = if path.is_empty() { "." } else { path };
    // nobody waits for the other end of a pipe
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(root.as_fd(), path, how)?.into())
}

/// Go's `dirList`.
fn listing(directory: &File) -> std::io::Result<String> {
    use std::os::fd::AsRawFd;
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))? {
        let entry = entry?;
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    let mut page =
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n".to_owned();
    for name in names {
        // writing to a String cannot fail
        let _ = writeln!(page, "<a href=\"{}\">{}</a>", reference(&name), escaped(&name));
    }
    page.push_str("</pre>\n");
    Ok(page)
}

/// A name as a relative reference.
fn reference(name: &str) -> String {
    let mut out = String::new();
    if name.split('/').next().is_some_and(|first| first.contains(':')) {
        out.push_str("./");
    }
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'~' | b'/' | b'+' | b':' | b'@' | b'=' | b',' | b'$' => {
                out.push(char::from(byte))
            }
            // writing to a String cannot fail
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
    out
}

fn escaped(text: &str) -> String {
    let with = |one: char| match one {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&#34;".to_owned(),
        '\'' => "&#39;".to_owned(),
        other => other.to_string(),
    };
    text.chars().map(with).collect()
}

fn html(page: &str) -> Response<ResponseBody> {
    response(StatusCode::OK, "text/html; charset=utf-8", whole(page.to_owned()))
}

fn moved(to: &str) -> Response<ResponseBody> {
    let mut response =
        response(StatusCode::MOVED_PERMANENTLY, "text/html; charset=utf-8", whole(Bytes::new()));
    if let Ok(value) = reference(to).parse() {
        response.headers_mut().insert(http::header::LOCATION, value);
    }
    response
}

fn content(mut file: File, tasks: &Tasks) -> Response<ResponseBody> {
    let (out, from) = channel(4);
    let copied = tokio::task::spawn_blocking(move || {
        let mut chunk = vec![0; 64 << 10];
        while let Ok(read @ 1..) = file.read(&mut chunk) {
            if out.blocking_send(Bytes::copy_from_slice(&chunk[..read])).is_err() {
                return;
            }
        }
    });
    tasks.spawn_until_drain("file", async move {
        // a reader that panicked has dropped its end
        let _ = copied.await;
    });
    stream(from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::BodyExt;
    use sampan_process::Component;
    use std::os::unix::fs::symlink;

    #[tokio::test]
    async fn files_and_directories_below_the_root_are_shown_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("log");
        std::fs::create_dir_all(root.join("apt")).unwrap();
        std::fs::write(root.join("apt/history.log"), "installed").unwrap();
        std::fs::write(root.join("a b&c"), "odd").unwrap();
        std::fs::write(directory.path().join("outside"), "secret").unwrap();
        symlink("../outside", root.join("link")).unwrap();
        symlink("apt/history.log", root.join("inside")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), Mode::S_IRWXU).unwrap();
        let tasks = Tasks::new(Component::Kubelet);
        for (path, code, text) in [
            ("apt/history.log", 200, "installed"),
            ("inside", 200, "installed"),
            ("", 200, "<a href=\"a%20b%26c\">a b&amp;c</a>\n<a href=\"apt/\">apt/</a>\n"),
            ("apt/", 200, "<pre>\n<a href=\"history.log\">history.log</a>\n</pre>\n"),
            ("apt", 301, ""),
            ("inside/", 301, ""),
            ("link", 404, ""),
            ("../outside", 404, ""),
            ("pipe", 404, ""),
            ("none", 404, ""),
        ] {
            let response = show_below(&root, path, &tasks);
            assert_eq!(response.status().as_u16(), code, "{path}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&body).contains(text), "{path}: {body:?}");
        }
        tasks.drain().start();
        tasks.finish(std::time::Duration::from_secs(9)).await;
    }
}
