//! What wasm-bindgen leaves in the module that nobody needs: long names of the functions the page lends it, and exports of
//! a dependency (wasm-streams) that the app never makes use of, which hold on to code.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};

/// Exports of types that the app never makes.
const UNUSED: [&str; 2] = ["intounderlying", "__wbg_intounderlying"];
const IMPORTS: u8 = 2;
const EXPORTS: u8 = 7;

/// The module with short names, and the script that goes with it.
pub fn slim(wasm: &[u8], script: &str) -> Result<(Vec<u8>, String)> {
    let mut names = HashMap::new();
    let (head, mut rest) = wasm.split_at_checked(8).context("no module")?;
    let mut slim = head.to_vec();
    while let Some((id, after)) = rest.split_first() {
        let mut reader = Reader(after);
        let body = reader.bytes()?;
        rest = reader.0;
        let body = match *id {
            IMPORTS => imports(body, &mut names)?,
            EXPORTS => exports(body)?,
            _ => body.to_vec(),
        };
        slim.push(*id);
        number(body.len(), &mut slim);
        slim.extend(body);
    }
    Ok((slim, renamed(script, &names)?))
}

/// Only functions are lent.
fn imports(body: &[u8], names: &mut HashMap<String, String>) -> Result<Vec<u8>> {
    let mut reader = Reader(body);
    let count = reader.number()?;
    let mut out = Vec::new();
    number(count, &mut out);
    for at in 0..count {
        let module = reader.bytes()?;
        let name = std::str::from_utf8(reader.bytes()?)?;
        ensure!(reader.byte()? == 0, "{name} is no function");
        let kind = reader.number()?;
        let short = format!("_{at}");
        for text in [module, short.as_bytes()] {
            number(text.len(), &mut out);
            out.extend(text);
        }
        out.push(0);
        number(kind, &mut out);
        names.insert(name.to_owned(), short);
    }
    Ok(out)
}

fn exports(body: &[u8]) -> Result<Vec<u8>> {
    let mut reader = Reader(body);
    let mut kept = Vec::new();
    let mut count = 0;
    for _ in 0..reader.number()? {
        let name = reader.bytes()?;
        let kind = reader.byte()?;
        let index = reader.number()?;
        if UNUSED.iter().any(|unused| name.starts_with(unused.as_bytes())) {
            continue;
        }
        count += 1;
        number(name.len(), &mut kept);
        kept.extend(name);
        kept.push(kind);
        number(index, &mut kept);
    }
    let mut out = Vec::new();
    number(count, &mut out);
    out.extend(kept);
    Ok(out)
}

/// The script with each of the names, where it stands as a whole word, in its short form.
fn renamed(script: &str, names: &HashMap<String, String>) -> Result<String> {
    let part = |letter: char| letter.is_ascii_alphanumeric() || "_$".contains(letter);
    let mut out = String::with_capacity(script.len());
    let mut rest = script;
    while let Some(start) = rest.find(part) {
        let (before, word) = rest.split_at(start);
        let (word, after) = word.split_at(word.find(|letter| !part(letter)).unwrap_or(word.len()));
        out.push_str(before);
        match names.get(word) {
            Some(_) if before.ends_with('.') => bail!("{word} is lent and exported"),
            Some(short) => out.push_str(short),
            None => out.push_str(word),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.0.split_first().context("the module ends early")?;
        self.0 = rest;
        Ok(*first)
    }

    /// A number in LEB128.
    fn number(&mut self) -> Result<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        bail!("a number without end")
    }

    /// So many bytes as the number before them says.
    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.number()?;
        let (bytes, rest) = self.0.split_at_checked(length).context("the module ends early")?;
        self.0 = rest;
        Ok(bytes)
    }
}

fn number(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened_on_both_sides() {
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        let import = b"\x01\x01m\x0a__wbg_some\0\x03";
        wasm.extend([&[IMPORTS, import.len() as u8][..], import].concat());
        let export = b"\x02\x03run\0\x07\x0fintounderlyings\0\x09";
        wasm.extend([&[EXPORTS, export.len() as u8][..], export].concat());
        let script = "const import0 = { __wbg_some: function() {}, __wbg_somewhat: 1 }; wasm.run();";
        let (slim, script) = slim(&wasm, script).expect("a module");
        assert_eq!(script, "const import0 = { _0: function() {}, __wbg_somewhat: 1 }; wasm.run();");
        let mut wanted = b"\0asm\x01\0\0\0\x02\x08\x01\x01m\x02_0\0\x03".to_vec();
        wanted.extend(b"\x07\x07\x01\x03run\0\x07");
        assert_eq!(slim, wanted);
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert!(slim(b"", "").is_err());
        assert!(slim(b"\0asm\x01\0\0\0\x02\x05\x01", "").is_err());
    }
}
