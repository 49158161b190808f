//! Generates the tables of `sampan-api`.
//!
//! Run by hand (`cargo run` in this folder) when a crate it reads moves; its output is committed.

mod fields;
mod kinds;
mod merges;
mod newer;
mod protos;
mod roots;

use std::path::Path;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    write(&source.join("kinds/rows.rs"), kinds::generate()?.as_bytes())?;
    let mut generator = schemars::SchemaGenerator::default();
    roots::collect(&mut generator);
    let output = fields::generate(generator.take_definitions(true), &kinds::schemas()?)?;
    write(&source.join("fields/fields.txt"), output.fields.as_bytes())?;
    write(&source.join("fields/docs.bin"), &output.docs)?;
    for note in output.notes {
        println!("{note}");
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}: {} bytes", path.display(), bytes.len());
    Ok(())
}
