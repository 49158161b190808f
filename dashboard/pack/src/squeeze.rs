//! The two encodings browsers ask for, at their best: compressed once, sent often.

use anyhow::Result;

/// Gzip by zopfli, which finds a twentieth more than the best level of zlib.
pub fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    // a large file is of many sorts, each with a code of its own
    let options = zopfli::Options { maximum_block_splits: 80, ..Default::default() };
    zopfli::compress(options, zopfli::Format::Gzip, content, &mut out)?;
    Ok(out)
}

pub fn brotli(content: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    brotli::BrotliCompress(&mut &content[..], &mut out, &parameters)?;
    Ok(out)
}
