//! What every committed file has to be: modules that say what they are for, no ignored tests, unsafe code in one
//! room, nothing from elsewhere.

use std::path::PathBuf;
use std::process::Command;

fn committed() -> Vec<(PathBuf, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let listed = Command::new("git").args(["ls-files"]).current_dir(&root).output().expect("git ls-files");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("UTF-8 names");
    let read = |name: &str| Some((PathBuf::from(name), std::fs::read_to_string(root.join(name)).ok()?));
    names.lines().filter_map(read).collect()
}

fn rust() -> impl Iterator<Item = (PathBuf, String)> {
    committed().into_iter().filter(|(path, _)| path.extension().is_some_and(|extension| extension == "rs"))
}

#[test]
fn every_module_opens_with_its_purpose() {
    // a module's `tests.rs` is told by the module beside it
    let told = |path: &PathBuf| path.file_name().is_some_and(|name| name == "tests.rs");
    let silent: Vec<_> =
        rust().filter(|(path, text)| !text.starts_with("//!") && !told(path)).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "modules without //!: {silent:?}");
}

#[test]
fn no_test_is_ignored_and_nothing_is_left_to_do() {
    let words = [concat!("#[ig", "nore"), concat!("todo", "!("), concat!("unimple", "mented!(")];
    let wrong: Vec<_> = rust()
        .filter(|(_, text)| words.iter().any(|word| text.contains(word)))
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "ignored tests or unfinished code: {wrong:?}");
}

#[test]
fn unsafe_code_lives_in_the_embedded_runtime_alone() {
    let word = concat!("unsafe", " {");
    let allowed = ["server/kubelet/cri-oci/", "assets/demo/server.rs"];
    let wrong: Vec<_> = rust()
        .filter(|(path, text)| text.contains(word) && !allowed.iter().any(|start| path.starts_with(start)))
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "unsafe outside the embedded runtime: {wrong:?}");
}

#[test]
fn files_stay_rooms_that_can_be_read() {
    let long: Vec<_> = rust()
        .filter(|(_, text)| text.lines().count() > 900)
        .map(|(path, text)| (path, text.lines().count()))
        .collect();
    assert!(long.is_empty(), "files with a second room in them: {long:?}");
}

#[test]
fn examples_in_documentation_are_where_they_are_run() {
    let run = ["server/api/src/", "dashboard/view/src/"];
    let opens = |line: &str| {
        line.trim_start().trim_start_matches(['/', '!']).trim().strip_prefix("```").map(str::to_owned)
    };
    let has_example = |text: &str| {
        let doc =
            text.lines().filter(|line| ["///", "//!"].iter().any(|mark| line.trim_start().starts_with(mark)));
        doc.filter_map(opens).step_by(2).any(|language| language.is_empty() || language.starts_with("rust"))
    };
    let wrong: Vec<_> = rust()
        .filter(|(path, text)| !run.iter().any(|start| path.starts_with(start)) && has_example(text))
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "examples that .ci/test does not run: {wrong:?}");
}
