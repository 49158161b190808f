//! `sampan logs`: the components' log files, also of a daemon that is gone.

use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::{Context, Outcome};
use crate::failure::{Failure, Kind};

/// Runs the verb.
pub async fn run(context: Context, component: Option<String>, follow: bool, tail: usize) -> Outcome {
    let directory = context.profile.logs();
    let files = match &component {
        Some(name) => vec![one(&directory, name)?],
        None => all(&directory)?,
    };
    for path in &files {
        let text = std::fs::read_to_string(path)?;
        if files.len() > 1 && !text.is_empty() {
            context.ui.plain(&format!("==> {} <==", path.file_stem().unwrap_or_default().to_string_lossy()));
        }
        print(last_lines(&text, tail));
    }
    match (follow, files.as_slice()) {
        (true, [path]) => tokio::task::block_in_place(|| follow_file(path)).map(|()| 0),
        (true, _) => Err(Failure::new(Kind::Usage, "--follow needs one component, such as kube-apiserver")),
        (false, _) => Ok(0),
    }
}

fn one(directory: &Path, name: &str) -> Result<PathBuf, Failure> {
    let path = directory.join(format!("{name}.log"));
    if name.contains('/') || !path.exists() {
        let known: Vec<String> = all(directory)?
            .iter()
            .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
            .collect();
        let message = format!("no log of {name:?}; there are: {}", known.join(", "));
        return Err(Failure::new(Kind::NotFound, message));
    }
    Ok(path)
}

fn all(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(directory)
        .map_err(|_| Failure::new(Kind::NotFound, format!("no logs in {}", directory.display())))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log" || extension == "err"));
    files.sort();
    Ok(files)
}

/// The last `count` lines of a text.
fn last_lines(text: &str, count: usize) -> &str {
    let newlines = text.trim_end_matches('\n').rmatch_indices('\n');
    count.checked_sub(1).and_then(|n| newlines.into_iter().nth(n)).map_or(text, |(at, _)| &text[at + 1..])
}

fn print(text: &str) {
    // a closed pipe on the other end is no reason to fail
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Prints what is appended, woken by inotify, until interrupted; a rotated file is opened again.
fn follow_file(path: &Path) -> Result<(), Failure> {
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    let notify = Inotify::init(InitFlags::IN_CLOEXEC).map_err(std::io::Error::from)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
    notify.add_watch(directory, flags).map_err(std::io::Error::from)?;
    let mut file = std::fs::File::open(path)?;
    let mut at = file.seek(std::io::SeekFrom::End(0))?;
    loop {
        notify.read_events().map_err(std::io::Error::from)?;
        if std::fs::metadata(path).map_or(0, |metadata| metadata.len()) < at {
            (file, at) = (std::fs::File::open(path)?, 0);
        }
        let mut text = String::new();
        at += file.read_to_string(&mut text)? as u64;
        print(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_whole_lines() {
        for (text, count, tail) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\n", 5, "a\nb\n"),
            ("a\nb", 1, "b"),
            ("", 3, ""),
            ("a\nb\n", 2, "a\nb\n"),
        ] {
            assert_eq!(last_lines(text, count), tail, "{text:?} {count}");
        }
    }
}
