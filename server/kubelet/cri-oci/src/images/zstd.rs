//! Layers in zstd: one frame after another, between them such as carry something else (as `zstd:chunked` layers do).

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// What the frames of `source` have in them, to its end.
pub struct Frames<R> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    /// Whether a frame has begun.
    inside: bool,
}

impl<R: Read> Frames<R> {
    /// Nothing is read yet.
    pub fn new(source: R) -> Self {
        Self {
            source: BufReader::with_capacity(1 << 16, source),
            decoder: FrameDecoder::new(),
            inside: false,
        }
    }

    /// Reads the head of the next frame that has content; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    if io::copy(&mut self.source.by_ref().take(length), &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(false)
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.inside && !self.begin()? {
                return Ok(0);
            }
            self.inside = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(broken)?;
            }
            match self.decoder.can_collect() {
                0 => self.inside = false,
                _ => return self.decoder.read(buffer),
            }
        }
    }
}

fn broken(error: FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {error}"))
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Frames::new(bytes).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn frames_follow_each_other_and_others_are_passed_over() {
        let long: Vec<u8> = (0..400_000u32).map(|n| (n / 7 % 251) as u8).collect();
        let frame = |bytes: &[u8]| compress_to_vec(bytes, CompressionLevel::Fastest);
        let other = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"toc"].concat();
        let whole = [frame(&long), other.clone(), frame(b""), frame(b"end"), other.clone()].concat();
        assert_eq!(read(&whole).unwrap(), [&long[..], b"end"].concat());
        assert_eq!(read(&[]).unwrap(), b"");
        assert!(read(&other[..9]).is_err(), "cut in what is passed over");
        let cut = frame(&long);
        for length in [2, 5, 20, cut.len() - 1] {
            assert!(read(&cut[..length]).is_err(), "cut after {length} bytes");
        }
    }
}
