//! Turns the dashboard's wasm into the files the daemon embeds: runs wasm-bindgen (as a library, so that its
//! version is the one the lock file names), shrinks the result if wasm-opt is there, joins the styles, names
//! every file by its content and lays a brotli and a gzip copy beside it.
//!
//! Usage: sampan-dashboard-pack WASM SOURCE OUT VENDOR [WASM_OPT...]
mod bundle;
#[path = "../../locales/flat.rs"]
mod flat;
mod slim;
mod squeeze;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use bundle::Bundle;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [wasm, source, out, vendor, optimiser @ ..] = arguments.as_slice() else {
        bail!("usage: sampan-dashboard-pack WASM SOURCE OUT VENDOR [WASM_OPT...]");
    };
    let work = PathBuf::from(wasm).with_extension("pack");
    let (script, wasm) = bind(Path::new(wasm), &work, optimiser)?;
    let mut bundle = Bundle::new(Path::new(out))?;
    bundle.add("app.wasm", wasm)?;
    bundle.add("app.js", script)?;
    pages(&mut bundle, Path::new(source), Path::new(vendor))?;
    bundle.finish()
}

/// wasm-bindgen's glue and the wasm behind it, optimised if there is something to optimise with.
fn bind(wasm: &Path, work: &Path, optimiser: &[String]) -> Result<(Vec<u8>, Vec<u8>)> {
    let _ = fs::remove_dir_all(work);
    let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
    bindgen.input_path(wasm).out_name("app").typescript(false).omit_default_module_path(true);
    bindgen.remove_name_section(optimiser.is_empty()).remove_producers_section(true);
    bindgen.web(true)?.generate(work).context("wasm-bindgen")?;
    ensure!(!work.join("snippets").exists(), "a dependency brings scripts of its own: pack them too");
    let bound = work.join("app_bg.wasm");
    let (slim, script) = slim::slim(&fs::read(&bound)?, &fs::read_to_string(work.join("app.js"))?)?;
    fs::write(&bound, slim)?;
    if let [program, leading @ ..] = optimiser {
        shrink(program, leading, &bound)?;
    }
    Ok((script.into_bytes(), fs::read(bound)?))
}

/// What browsers of the last years read and rustc writes: `--all-features` would use what none reads yet.
const FEATURES: [&str; 7] = [
    "--enable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-reference-types",
    "--enable-multivalue",
];

fn shrink(program: &str, leading: &[String], wasm: &Path) -> Result<()> {
    println!("pack: wasm-opt");
    let status = Command::new(program)
        .args(leading)
        .args(FEATURES)
        // the first kilobyte is the end of the stack, which nothing has the address of
        // functions of the same generic one stand beside one another, where a compressor finds them alike
        .args(["-Oz", "--low-memory-unused", "--reorder-functions-by-name", "--strip-debug", "-o"])
        .arg(wasm)
        .arg(wasm)
        .status()
        .with_context(|| format!("run {program}"))?;
    ensure!(status.success(), "wasm-opt failed: {status}");
    Ok(())
}

/// Styles, icons, vendored scripts, each language's texts, the boot script (which names the others) and the page (which names it).
fn pages(bundle: &mut Bundle, source: &Path, vendor: &Path) -> Result<()> {
    let mut styles = Vec::new();
    for path in sorted(&source.join("style"))?.into_iter().chain(sorted(vendor)?) {
        if path.extension().is_some_and(|extension| extension == "css") {
            styles.extend(fs::read(path)?);
        }
    }
    bundle.add("style.css", styles)?;
    bundle.add("icon.svg", fs::read(source.join("page/icon.svg"))?)?;
    for path in sorted(vendor)? {
        let name = path.file_name().and_then(|name| name.to_str()).context("a vendored file's name")?;
        if name.ends_with(".js") {
            bundle.add(name, fs::read(&path)?)?;
        }
    }
    for language in ["en", "zh-CN"] {
        let messages = flat::read(&source.join(format!("locales/{language}.json")))
            .map_err(anyhow::Error::from_boxed)?;
        let texts: Vec<&String> = messages.values().collect();
        bundle.add(&format!("text.{language}.json"), serde_json::to_vec(&texts)?)?;
    }
    let boot = fs::read_to_string(source.join("page/boot.js"))?;
    bundle.add("boot.js", bundle.named(&boot, "")?.into_bytes())?;
    let page = fs::read_to_string(source.join("page/index.html"))?;
    let page = bundle.named(&page, bundle::FOLDER)?;
    bundle.page(page.into_bytes())
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.is_file());
    paths.sort();
    Ok(paths)
}
