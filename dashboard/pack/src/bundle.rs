//! The folder the daemon embeds: hashed names (so that a browser may keep them for ever), one manifest.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::squeeze;

/// Where everything but the page lies, so that no route of the dashboard is shadowed by a file.
pub const FOLDER: &str = "ui/";

pub struct Bundle {
    root: PathBuf,
    /// plain name -> hashed name
    names: BTreeMap<String, String>,
    /// path below the root -> hash of its content
    manifest: BTreeMap<String, String>,
}

impl Bundle {
    pub fn new(root: &Path) -> Result<Self> {
        let _ = fs::remove_dir_all(root);
        fs::create_dir_all(root.join(FOLDER)).with_context(|| format!("create {}", root.display()))?;
        Ok(Self { root: root.to_path_buf(), names: BTreeMap::new(), manifest: BTreeMap::new() })
    }

    pub fn add(&mut self, name: &str, content: Vec<u8>) -> Result<()> {
        let (stem, extension) = name.rsplit_once('.').context("a file without extension")?;
        let hash = hash(&content);
        let hashed = format!("{stem}.{}.{extension}", &hash[..12]);
        self.write(&format!("{FOLDER}{hashed}"), &content, hash)?;
        self.names.insert(name.to_owned(), hashed);
        Ok(())
    }

    pub fn page(&mut self, content: Vec<u8>) -> Result<()> {
        let hash = hash(&content);
        self.write("index.html", &content, hash)
    }

    /// `text` with every `{{name}}` replaced by the hashed name below `folder`.
    pub fn named(&self, text: &str, folder: &str) -> Result<String> {
        let mut whole = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").context("an unclosed {{")?;
            let Some(hashed) = self.names.get(name) else { bail!("nothing is named {name}") };
            whole.extend([before, folder, hashed]);
            rest = after;
        }
        whole.push_str(rest);
        Ok(whole)
    }

    pub fn finish(self) -> Result<()> {
        fs::write(self.root.join("manifest.json"), serde_json::to_vec_pretty(&self.manifest)?)?;
        Ok(())
    }

    fn write(&mut self, path: &str, content: &[u8], hash: String) -> Result<()> {
        let target = self.root.join(path);
        let (gzip, brotli) = (squeeze::gzip(content)?, squeeze::brotli(content)?);
        println!(
            "pack: {path:<34} {:>9} B  gzip {:>8}  brotli {:>8}",
            content.len(),
            gzip.len(),
            brotli.len()
        );
        fs::write(&target, content).with_context(|| format!("write {}", target.display()))?;
        fs::write(target.with_added_extension("gz"), gzip)?;
        fs::write(target.with_added_extension("br"), brotli)?;
        self.manifest.insert(path.to_owned(), hash);
        Ok(())
    }
}

fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
