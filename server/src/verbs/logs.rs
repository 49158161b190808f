//! `sampan logs`: the components' log files, also of a daemon that is gone.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use sampan_process::Component;

use super::{Context, Outcome};
use crate::failure::{Failure, Kind};
use crate::profile::Profile;

/// Whose logs there can be; one that has said nothing yet has no file.
const COMPONENTS: [Component; 7] = [
    Component::Store,
    Component::ApiServer,
    Component::ControllerManager,
    Component::Scheduler,
    Component::Kubelet,
    Component::Simulator,
    Component::Daemon,
];

/// Runs the verb.
pub async fn run(context: Context, component: Option<String>, follow: bool, tail: usize) -> Outcome {
    let profile = &context.profile;
    if !profile.exists()? && !profile.logs().exists() {
        let message = format!("there is no cluster {:?}", profile.name);
        return Err(Failure::new(Kind::NotFound, message));
    }
    // before anything is read, so that nothing is missed between
    let notify = follow.then(|| watch(&profile.logs())).transpose()?;
    let mut seen = Seen::default();
    for path in files(profile, component.as_deref())? {
        let text = seen.news(&path)?;
        if component.is_none() && !text.is_empty() {
            print(&seen.heading(&path));
        }
        print(last_lines(&text, tail));
    }
    match notify {
        Some(notify) => {
            let all = || files(profile, component.as_deref());
            tokio::task::block_in_place(|| go_on(&notify, seen, component.is_none(), all)).map(|()| 0)
        }
        None => Ok(0),
    }
}

/// The file of the component asked for, which may not be there yet, or all that there are.
fn files(profile: &Profile, component: Option<&str>) -> Result<Vec<PathBuf>, Failure> {
    match component {
        Some(name) => Ok(vec![one(profile, name)?]),
        None => all(profile),
    }
}

fn one(profile: &Profile, name: &str) -> Result<PathBuf, Failure> {
    let path = profile.logs().join(format!("{name}.log"));
    let known = COMPONENTS.iter().any(|component| component.name() == name)
        || sampan_addons::natives().iter().any(|addon| addon.about().name == name);
    if known || (!name.contains('/') && path.exists()) {
        return Ok(path);
    }
    let names = COMPONENTS.map(Component::name).join(", ");
    Err(Failure::new(Kind::NotFound, format!("no log of {name:?}; there are: {names}")))
}

fn all(profile: &Profile) -> Result<Vec<PathBuf>, Failure> {
    let directory = profile.logs();
    let entries = std::fs::read_dir(&directory).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => profile.not_for_you(),
        _ => Failure::new(Kind::NotFound, format!("no logs in {}", directory.display())),
    })?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log" || extension == "err"));
    files.sort();
    Ok(files)
}

/// How much of each file was shown, and whose lines came last.
#[derive(Default)]
struct Seen {
    lengths: BTreeMap<PathBuf, u64>,
    last: Option<PathBuf>,
}

impl Seen {
    /// What was appended since the last look; a rotated file is read from its beginning.
    fn news(&mut self, path: &Path) -> Result<String, Failure> {
        let mut file = match std::fs::File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
            opened => opened?,
        };
        let at = self.lengths.entry(path.to_owned()).or_default();
        if file.metadata()?.len() < *at {
            *at = 0;
        }
        file.seek(SeekFrom::Start(*at))?;
        let mut bytes = Vec::new();
        *at += file.read_to_end(&mut bytes)? as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Says whose lines follow, unless they follow their own.
    fn heading(&mut self, path: &Path) -> String {
        if self.last.as_deref() == Some(path) {
            return String::new();
        }
        self.last = Some(path.to_owned());
        format!("==> {} <==\n", path.file_stem().unwrap_or_default().to_string_lossy())
    }
}

fn watch(directory: &Path) -> Result<Inotify, Failure> {
    let notify = Inotify::init(InitFlags::IN_CLOEXEC).map_err(std::io::Error::from)?;
    let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
    notify.add_watch(directory, flags).map_err(std::io::Error::from)?;
    Ok(notify)
}

/// Prints what is appended, woken by inotify, until interrupted.
fn go_on(
    notify: &Inotify,
    mut seen: Seen,
    headings: bool,
    files: impl Fn() -> Result<Vec<PathBuf>, Failure>,
) -> Result<(), Failure> {
    loop {
        notify.read_events().map_err(std::io::Error::from)?;
        for path in files()? {
            let text = seen.news(&path)?;
            if headings && !text.is_empty() {
                print(&seen.heading(&path));
            }
            print(&text);
        }
    }
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

    #[test]
    fn only_news_is_shown_and_each_source_is_named_once() {
        let path = std::env::temp_dir().join(format!("sampan-news-{}.log", std::process::id()));
        let mut seen = Seen::default();
        assert_eq!(seen.news(&path).expect("no file yet"), "");
        std::fs::write(&path, "a\nb\n").expect("written");
        assert_eq!(seen.news(&path).expect("read"), "a\nb\n");
        std::fs::write(&path, "a\nb\nc\n").expect("written");
        assert_eq!(seen.news(&path).expect("read"), "c\n");
        std::fs::write(&path, "d\n").expect("rotated");
        assert_eq!(seen.news(&path).expect("read"), "d\n");
        assert!(seen.heading(&path).starts_with("==> sampan-news"));
        assert_eq!(seen.heading(&path), "");
        std::fs::remove_file(&path).expect("removed");
    }
}
