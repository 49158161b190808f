//! The receive loop: datagrams come in batches (recvmmsg), are answered in their buffers, and go out in batches
//! (sendmmsg). What has to be waited for goes to a task of its own.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use sampan_process::Tasks;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::answer::{Transport, UDP_BYTES};
use crate::responder::{Later, Outcome, Responder};

/// Datagrams in one system call.
const BATCH: usize = 32;

/// Serves datagrams.
pub struct Udp {
    socket: Arc<UdpSocket>,
    responder: Arc<Responder>,
    tasks: Tasks,
    buffers: Box<[[u8; UDP_BYTES]]>,
    lengths: [usize; BATCH],
    peers: [Option<SockaddrIn>; BATCH],
    turn: usize,
}

impl Udp {
    /// Serves what comes to `socket`; what has to be waited for runs among `tasks`.
    pub fn new(socket: UdpSocket, responder: Arc<Responder>, tasks: Tasks) -> Self {
        Self {
            socket: Arc::new(socket),
            responder,
            tasks,
            buffers: vec![[0; UDP_BYTES]; BATCH].into(),
            lengths: [0; BATCH],
            peers: [None; BATCH],
            turn: 0,
        }
    }

    /// Serves for ever.
    ///
    /// # Errors
    /// The socket does not work any more.
    pub async fn run(mut self) -> io::Result<()> {
        let socket = self.socket.clone();
        loop {
            socket.readable().await?;
            let mut received = 0;
            let read = socket.try_io(Interest::READABLE, || {
                received = self.receive()?;
                // fewer than there was room for: nothing is left, which saves asking
                if received < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match read {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            let later = self.answer(received);
            self.send(received).await?;
            later.into_iter().for_each(|(later, peer)| self.finish(later, peer));
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let descriptor = self.socket.as_raw_fd();
        let messages = recvmmsg(descriptor, &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        let mut count = 0;
        for (place, message) in messages.enumerate() {
            self.lengths[place] = message.bytes;
            self.peers[place] = message.address;
            count = place + 1;
        }
        Ok(count)
    }

    /// Answers what was received in its place; a length of 0 is no answer.
    fn answer(&mut self, received: usize) -> Vec<(Box<Later>, SocketAddrV4)> {
        let zone = self.responder.zone();
        let mut all = Vec::new();
        for (place, buffer) in self.buffers[..received].iter_mut().enumerate() {
            self.turn = self.turn.wrapping_add(1);
            let length = self.lengths[place];
            self.lengths[place] =
                match self.responder.answer(&zone, buffer, length, Transport::Udp, self.turn) {
                    Outcome::Reply(length) => length,
                    Outcome::Later(later) => {
                        all.extend(self.peers[place].map(|peer| (later, SocketAddrV4::from(peer))));
                        0
                    }
                    Outcome::Silence => 0,
                };
        }
        all
    }

    async fn send(&mut self, received: usize) -> io::Result<()> {
        let ready: Vec<usize> = (0..received).filter(|place| self.lengths[*place] > 0).collect();
        let mut rest = &ready[..];
        while !rest.is_empty() {
            match self.socket.try_io(Interest::WRITABLE, || self.send_now(rest)) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.socket.writable().await?,
                // the first cannot be sent to where it came from: the others may
                Err(_) => rest = &rest[1..],
            }
        }
        Ok(())
    }

    fn send_now(&self, places: &[usize]) -> io::Result<usize> {
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(places.len(), None);
        let slices: Vec<[IoSlice<'_>; 1]> = places
            .iter()
            .map(|place| [IoSlice::new(&self.buffers[*place][..self.lengths[*place]])])
            .collect();
        let peers: Vec<Option<SockaddrIn>> = places.iter().map(|place| self.peers[*place]).collect();
        let descriptor = self.socket.as_raw_fd();
        match sendmmsg(descriptor, &mut headers, slices.iter(), &peers, [], MsgFlags::MSG_DONTWAIT) {
            Ok(sent) => Ok(sent.count()),
            Err(Errno::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn finish(&self, later: Box<Later>, peer: SocketAddrV4) {
        let (socket, responder) = (self.socket.clone(), self.responder.clone());
        self.tasks.spawn_until_drain("query", async move {
            let reply = responder.finish(later, Transport::Udp).await;
            // who asked may be gone
            let _ = socket.send_to(&reply, peer).await;
        });
    }
}
