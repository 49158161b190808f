//! Elements over netlink: what changes often goes to the kernel in one message of some hundred bytes, without a program
//! started and without anything read (nft 1.0.6 looks at the whole table for each call).
//!
//! The words are those of `include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h`. Structure goes through `nft`.

use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};

use crate::element::{Element, Value};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CREATE: u16 = 0x400;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM_NFTABLES: u16 = 10;
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;
const NESTED: u16 = 0x8000;
const FAMILY_IPV4: u8 = 2;

const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const DROP: i32 = 0;
const JUMP: i32 = -3;
const GOTO: i32 = -4;

/// An attribute's length is 16 bits: a list of elements is cut well before.
const LIST_BYTES: usize = 32 << 10;

/// Messages of netlink, one behind the other.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Messages {
    /// Adds a message of a netfilter subsystem; `fill` writes its attributes.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend(0u32.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend(0u32.to_ne_bytes());
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        fill(&mut self.bytes);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.sequence += 1;
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Writes an attribute, filled up to four bytes.
pub fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    nested(bytes, kind, |bytes| bytes.extend(value));
}

/// Writes an attribute whose value `fill` writes.
pub fn nested(bytes: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend([0; 2]);
    bytes.extend(kind.to_ne_bytes());
    fill(bytes);
    let length = (bytes.len() - start) as u16;
    bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn text(bytes: &mut Vec<u8>, kind: u16, text: &str) {
    nested(bytes, kind, |bytes| {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    });
}

fn verdict(bytes: &mut Vec<u8>, code: i32, chain: Option<&str>) {
    nested(bytes, DATA_VERDICT | NESTED, |bytes| {
        attribute(bytes, VERDICT_CODE, &code.to_be_bytes());
        if let Some(chain) = chain {
            text(bytes, VERDICT_CHAIN, chain);
        }
    });
}

fn put_element(bytes: &mut Vec<u8>, element: &Element, with_value: bool) {
    nested(bytes, LIST_ELEMENT | NESTED, |bytes| {
        nested(bytes, ELEMENT_KEY | NESTED, |bytes| attribute(bytes, DATA_VALUE, &element.key.bytes()));
        if !with_value || element.value == Value::Present {
            return;
        }
        nested(bytes, ELEMENT_DATA | NESTED, |bytes| match &element.value {
            Value::Present => {}
            Value::Drop => verdict(bytes, DROP, None),
            Value::Goto(chain) => verdict(bytes, GOTO, Some(&chain.name())),
            Value::Jump(chain) => verdict(bytes, JUMP, Some(&chain.name())),
            Value::Endpoint(endpoint) => attribute(bytes, DATA_VALUE, &endpoint.bytes()),
            Value::Number(number) => attribute(bytes, DATA_VALUE, &number.to_ne_bytes()),
        });
    });
}

fn put_elements(messages: &mut Messages, table: &str, elements: &[Element], add: bool) {
    let (kind, flags) = if add { (NEW_ELEMENT, NLM_F_CREATE) } else { (DELETE_ELEMENT, 0) };
    let mut rest = elements.iter().peekable();
    while let Some(first) = rest.peek() {
        let map = first.map_name();
        messages.message(SUBSYSTEM_NFTABLES << 8 | kind, flags | NLM_F_ACK, FAMILY_IPV4, 0, |bytes| {
            text(bytes, LIST_TABLE, table);
            text(bytes, LIST_SET, &map);
            nested(bytes, LIST_ELEMENTS | NESTED, |bytes| {
                let limit = bytes.len() + LIST_BYTES;
                while let Some(element) = rest.next_if(|one| bytes.len() < limit && one.map_name() == map) {
                    put_element(bytes, element, add);
                }
            });
        });
    }
}

/// One transaction: elements that go, then elements that come.
pub fn batch(table: &str, removed: &[Element], added: &[Element]) -> Messages {
    let mut messages = Messages::default();
    messages.message(BATCH_BEGIN, 0, 0, SUBSYSTEM_NFTABLES, |_| {});
    put_elements(&mut messages, table, removed, false);
    put_elements(&mut messages, table, added, true);
    messages.message(BATCH_END, 0, 0, SUBSYSTEM_NFTABLES, |_| {});
    messages
}

/// One message of an answer.
pub struct Answer<'a> {
    /// Its type.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// What follows the header.
    pub body: &'a [u8],
}

/// The messages in a buffer.
pub fn answers(mut bytes: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let flags = u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?);
        let body = bytes.get(16..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Answer { kind, flags, body })
    })
}

/// The attributes in a buffer: type without flags, and value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind & 0x3fff, value))
    })
}

/// Sends messages to the netfilter subsystems and gives every answer to `hear` until `dump` is done or, without `dump`,
/// nothing is left. The kernel acts while it is being sent to, so that answers wait already. Blocking, briefly.
///
/// # Errors
/// The first that the kernel says; `EINTR` if what it lists changed below it, so that some may be missing.
pub fn talk(messages: &Messages, dump: bool, mut hear: impl FnMut(&Answer<'_>)) -> nix::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?;
    if messages.bytes().len() > 64 << 10 {
        setsockopt(&socket, sockopt::SndBufForce, &(messages.bytes().len() * 2))?;
    }
    setsockopt(&socket, sockopt::RcvBufForce, &(1 << 20))?;
    sendto(socket.as_raw_fd(), messages.bytes(), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut buffer = vec![0; 64 << 10];
    let mut first: Option<Errno> = None;
    loop {
        let flags = if dump { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
        let length = match recv(socket.as_raw_fd(), &mut buffer, flags) {
            Ok(length) => length,
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => return first.map_or(Ok(()), Err),
            Err(errno) => return Err(errno),
        };
        for answer in answers(&buffer[..length]) {
            if dump && answer.flags & NLM_F_DUMP_INTR != 0 {
                first.get_or_insert(Errno::EINTR);
            }
            match answer.kind {
                NLMSG_DONE => return first.map_or(Ok(()), Err),
                NLMSG_ERROR => {
                    let code = answer
                        .body
                        .get(..4)
                        .and_then(|four| four.try_into().ok())
                        .map_or(0, i32::from_ne_bytes);
                    if code != 0 {
                        first.get_or_insert(Errno::from_raw(-code));
                        if dump {
                            return Err(Errno::from_raw(-code));
                        }
                    }
                }
                _ => hear(&answer),
            }
        }
    }
}
