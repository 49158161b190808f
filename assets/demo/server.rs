//! The demo's web server, and the pause process of Docker sandboxes.
//!
//! One file, standard library only, linked statically by `server/build.rs` and packed into an OCI image that the
//! sampan binary carries. `demo` answers every request on port 8080 (or `$PORT`); `demo pause` holds a pod's
//! namespaces.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

const PAGE: &str = include_str!("index.html");

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn _exit(code: i32) -> !;
}

/// As process 1 of its namespace it would ignore SIGTERM and SIGINT without a handler.
extern "C" fn stop(_: i32) {
    // SAFETY: `_exit` is async-signal-safe
    unsafe { _exit(0) }
}

fn main() {
    // SAFETY: the handler calls nothing but `_exit`; SIGCHLD (17) ignored reaps orphans
    unsafe {
        signal(15, stop as *const () as usize);
        signal(2, stop as *const () as usize);
        signal(17, 1);
    }
    if std::env::args().nth(1).as_deref() == Some("pause") {
        loop {
            std::thread::park();
        }
    }
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = match TcpListener::bind(format!("[::]:{port}")).or_else(|_| TcpListener::bind(format!("0.0.0.0:{port}"))) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on port {port}: {error}");
            std::process::exit(1);
        }
    };
    println!("listening on port {port}");
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| host.trim().to_owned());
    for stream in listener.incoming().flatten() {
        let host = host.clone();
        std::thread::spawn(move || serve(stream, &host));
    }
}

/// Answers the requests of one connection until the client hangs up.
fn serve(stream: TcpStream, host: &str) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream).lines();
    loop {
        let request = lines.next()?.ok()?;
        while !lines.next()?.ok()?.is_empty() {}
        println!("{request}");
        let body = PAGE.replace("{host}", host);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length:";
        write!(writer, "{head} {}\r\n\r\n", body.len()).ok()?;
        if !request.starts_with("HEAD") {
            writer.write_all(body.as_bytes()).ok()?;
        }
    }
}
