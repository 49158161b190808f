//! The binary, stripped: what `strip` leaves of a copy, in bytes on disk.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::figure::{Figure, Goal, Unit};

/// The limit, in millions of bytes.
const LIMIT: f64 = 40.0;

/// Strips a copy and looks at its length.
pub fn measure() -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("sampan");
    let status = Command::new("strip").arg("-o").arg(&copy).arg(sampan_testkit::binary()).status();
    ensure!(status.context("strip (package binutils)")?.success(), "strip failed");
    let megabytes = std::fs::metadata(copy)?.len() as f64 / 1e6;
    Ok(vec![Figure::alone("binary, stripped", Unit::Megabytes, vec![megabytes], Goal::Below(LIMIT))])
}
