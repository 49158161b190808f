//! The plainest thing that can be compared with a big answer: a thread that copies bytes from memory into one TLS connection.
//!
//! Nothing is looked up, encoded or authorized. TLS is rustls with ring, as in sampan.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use bytes::Bytes;
use nix::unistd::Pid;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::machine::cores;
use crate::tls::{Target, certificate, pin};

/// How much is handed to TLS at once.
const PIECE: usize = 64 << 10;

/// Serves one connection after another; ends when dropped.
pub struct Copy {
    target: Target,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Copy {
    /// Serves `body` on the cores that are not the loader's.
    pub fn of(body: Bytes) -> Result<Self> {
        let made = certificate()?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let target = Target::signed(listener.local_addr()?.port(), &made, "/")?;
        let stop = Arc::new(AtomicBool::new(false));
        let (config, ended) = (Arc::new(config), stop.clone());
        let thread = std::thread::spawn(move || {
            if let Err(error) = serve(&listener, &config, &body, &ended) {
                // whoever asks sees a connection that ends too early
                eprintln!("plain copy: {error:#}");
            }
        });
        Ok(Self { target, stop, thread: Some(thread) })
    }

    /// Where to ask.
    pub fn target(&self) -> &Target {
        &self.target
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // it waits for a connection
        let _ = TcpStream::connect(("127.0.0.1", self.target.port()));
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn serve(listener: &TcpListener, config: &Arc<ServerConfig>, body: &[u8], ended: &AtomicBool) -> Result<()> {
    if cores() > 1 {
        pin(Pid::from_raw(0), 0..cores() - 1)?;
    }
    loop {
        let stream = listener.accept()?.0;
        if ended.load(Ordering::Relaxed) {
            return Ok(());
        }
        stream.set_nodelay(true)?;
        answer(StreamOwned::new(ServerConnection::new(config.clone())?, stream), body)?;
    }
}

/// One request, one answer, and the end of the connection.
fn answer(mut stream: StreamOwned<ServerConnection, TcpStream>, body: &[u8]) -> Result<()> {
    let (mut head, mut piece) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        let length = stream.read(&mut piece)?;
        ensure!(length > 0, "a request that does not end");
        head.extend_from_slice(&piece[..length]);
    }
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
    body.chunks(PIECE).try_for_each(|piece| stream.write_all(piece))?;
    stream.conn.send_close_notify();
    Ok(stream.flush()?)
}
