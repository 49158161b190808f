//! Frames of SPDY/3.1 and its compressed header blocks.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Name and value pairs.
pub type Headers = Vec<(String, String)>;

/// A frame that was read.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs)] // names are the specification's
pub enum Frame {
    SynStream { id: u32, fin: bool, block: Bytes },
    Headers { block: Bytes },
    Data { id: u32, fin: bool, data: Bytes },
    Reset { id: u32 },
    Ping { id: u32 },
    GoAway,
    Other,
}

const FIN: u8 = 1;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
/// RST_STREAM status REFUSED_STREAM.
const REFUSED: u32 = 3;

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// Reads one frame; `None` at a clean end.
pub async fn read_frame(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; 8];
    match reader.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => _ = result?,
    }
    let flags = head[4];
    let length = (word(&head, 4) & 0x00ff_ffff) as usize;
    let mut body = BytesMut::zeroed(length);
    reader.read_exact(&mut body).await?;
    let body = body.freeze();
    let first = word(&head, 0);
    if first & 0x8000_0000 == 0 {
        return Ok(Some(Frame::Data { id: first, fin: flags & FIN != 0, data: body }));
    }
    let id = word(&body, 0) & 0x7fff_ffff;
    Ok(Some(match (first & 0xffff) as u16 {
        SYN_STREAM if length >= 10 => Frame::SynStream { id, fin: flags & FIN != 0, block: body.slice(10..) },
        SYN_REPLY | HEADERS if length >= 4 => Frame::Headers { block: body.slice(4..) },
        RST_STREAM => Frame::Reset { id },
        PING => Frame::Ping { id: word(&body, 0) },
        GOAWAY => Frame::GoAway,
        _ => Frame::Other,
    }))
}

fn control(kind: u16, flags: u8, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(8 + body.len());
    bytes.put_u16(0x8003);
    bytes.put_u16(kind);
    bytes.put_u32(u32::from(flags) << 24 | body.len() as u32);
    bytes.put_slice(body);
    bytes.freeze()
}

/// Accepts a stream.
pub fn syn_reply(id: u32, headers: &mut HeaderWriter) -> Bytes {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(headers.write(&[]));
    control(SYN_REPLY, 0, &body)
}

/// Opens a stream.
#[cfg(test)]
pub fn syn_stream(id: u32, pairs: &[(&str, &str)], headers: &mut HeaderWriter) -> Bytes {
    let mut body = id.to_be_bytes().to_vec();
    body.extend([0; 6]);
    body.extend(headers.write(pairs));
    control(SYN_STREAM, 0, &body)
}

/// Data of a stream.
pub fn data(id: u32, data: &[u8], fin: bool) -> Bytes {
    let mut bytes = BytesMut::with_capacity(8 + data.len());
    bytes.put_u32(id);
    bytes.put_u32(u32::from(fin) << 24 | data.len() as u32);
    bytes.put_slice(data);
    bytes.freeze()
}

/// Answers a ping.
pub fn ping(id: u32) -> Bytes {
    control(PING, 0, &id.to_be_bytes())
}

/// Refuses a stream.
pub fn reset(id: u32) -> Bytes {
    control(RST_STREAM, 0, &[id.to_be_bytes(), REFUSED.to_be_bytes()].concat())
}

/// Ends the connection.
pub fn go_away() -> Bytes {
    control(GOAWAY, 0, &[0; 8])
}

const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
content-length content-location content-md5 content-range content-type date etag expect expires from host \
if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards \
pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding \
upgrade user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public \
set-cookie keep-alive origin";
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized\
403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,\
text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// The dictionary of section 2.6.10.1: words with their lengths, then plain text.
fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1423);
    for word in WORDS.split_whitespace() {
        bytes.extend((word.len() as u32).to_be_bytes());
        bytes.extend(word.replace('_', " ").bytes());
    }
    bytes.extend(TAIL.bytes());
    bytes
}

/// Compresses header blocks; one for a connection's life.
pub struct HeaderWriter(Compress);

impl HeaderWriter {
    /// A writer at the start of its stream.
    pub fn new() -> Self {
        let mut compress = Compress::new(Compression::default(), true);
        // fails only after data was written
        let _ = compress.set_dictionary(&dictionary());
        Self(compress)
    }

    /// A block.
    pub fn write(&mut self, pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = (pairs.len() as u32).to_be_bytes().to_vec();
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend((text.len() as u32).to_be_bytes());
            plain.extend(text.bytes());
        }
        let mut block = Vec::with_capacity(plain.len() + 64);
        let begin = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - begin).unwrap_or(plain.len());
            block.reserve(64);
            let result = self.0.compress_vec(&plain[done..], &mut block, FlushCompress::Sync);
            let all_in = self.0.total_in() - begin == plain.len() as u64;
            if result.is_err() || (all_in && block.len() < block.capacity()) {
                return block;
            }
        }
    }
}

/// Decompresses header blocks; one for a connection's life.
pub struct HeaderReader(Decompress);

/// Most bytes of one block, decompressed.
const BLOCK_MAX: usize = 256 << 10;

impl HeaderReader {
    /// A reader at the start of its stream.
    pub fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// The pairs of a block.
    pub fn read(&mut self, block: &[u8]) -> Result<Headers, String> {
        let plain = self.inflate(block)?;
        let mut at = 4;
        let mut text = || -> Result<String, String> {
            let length = word(&plain, at) as usize;
            let bytes = plain.get(at + 4..at + 4 + length).ok_or("header block is cut short")?;
            at += 4 + length;
            Ok(String::from_utf8_lossy(bytes).into_owned())
        };
        let count = word(&plain, 0).min(1024);
        (0..count).map(|_| Ok((text()?.to_lowercase(), text()?))).collect()
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, String> {
        let mut plain = Vec::with_capacity(1024);
        let begin = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - begin).map_err(|e| e.to_string())?;
            plain.reserve(1024);
            let before = plain.len();
            match self.0.decompress_vec(&block[done..], &mut plain, FlushDecompress::Sync) {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(|e| e.to_string())?;
                    continue;
                }
                Err(error) => return Err(error.to_string()),
                Ok(Status::StreamEnd) => return Ok(plain),
                Ok(Status::Ok | Status::BufError) => {}
            }
            let all_in = self.0.total_in() - begin == block.len() as u64;
            if plain.len() > BLOCK_MAX {
                return Err("header block is too large".to_owned());
            }
            if all_in && (plain.len() == before || plain.len() < plain.capacity()) {
                return Ok(plain);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Adler-32, as zlib identifies a dictionary by.
    fn adler(bytes: &[u8]) -> u32 {
        let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (b + a) % 65521)
        });
        b << 16 | a
    }

    #[test]
    fn the_dictionary_is_spdys() {
        let dictionary = dictionary();
        assert_eq!((dictionary.len(), adler(&dictionary)), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn header_blocks_share_one_stream() {
        let (mut writer, mut reader) = (HeaderWriter::new(), HeaderReader::new());
        for _ in 0..3 {
            let block = writer.write(&[("streamtype", "stdin"), ("port", "80")]);
            let want = [("streamtype".to_owned(), "stdin".to_owned()), ("port".to_owned(), "80".to_owned())];
            assert_eq!(reader.read(&block).unwrap(), want);
        }
        assert_eq!(reader.read(&writer.write(&[])).unwrap(), []);
    }

    #[tokio::test]
    async fn frames_read_as_written() {
        let bytes = [data(5, b"hello", true), ping(3), go_away()].concat();
        let mut reader = bytes.as_slice();
        let data = Frame::Data { id: 5, fin: true, data: Bytes::from_static(b"hello") };
        assert_eq!(read_frame(&mut reader).await.unwrap(), Some(data));
        assert_eq!(read_frame(&mut reader).await.unwrap(), Some(Frame::Ping { id: 3 }));
        assert_eq!(read_frame(&mut reader).await.unwrap(), Some(Frame::GoAway));
        assert_eq!(read_frame(&mut reader).await.unwrap(), None);
    }
}
