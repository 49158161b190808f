//! The audit log: JSON lines in a file of mode 0600, rotated as upstream's (by lumberjack): a full file is renamed to
//! `audit-2026-01-02T03-04-05.000.log`, and rotated files go by number and age.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::{Timestamp, ToSpan};
use sampan_process::Drain;
use tokio::sync::mpsc;

use super::{Options, metrics, next};

/// Events that go down in one write.
const BATCH: usize = 400;
/// lumberjack's default.
const MEGABYTES: u64 = 100;
const STAMP: &str = "%Y-%m-%dT%H-%M-%S%.3f";

/// A file that is renamed when it is full.
pub(super) struct Rotated {
    path: PathBuf,
    file: File,
    size: u64,
    limits: Limits,
    compress: bool,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    bytes: u64,
    days: u64,
    backups: usize,
}

impl Rotated {
    pub(super) fn open(path: &Path, options: &Options) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let megabytes = if options.log_max_size == 0 { MEGABYTES } else { options.log_max_size };
        let limits = Limits {
            bytes: megabytes * 1024 * 1024,
            days: options.log_max_age,
            backups: options.log_max_backup,
        };
        let (file, size) = open(path)?;
        Ok(Self { path: path.to_owned(), file, size, limits, compress: options.log_compress })
    }

    /// Writes whole lines; returns how many could not be.
    fn write(&mut self, lines: &[Bytes]) -> u64 {
        let mut lost = 0;
        let mut text = Vec::new();
        let mut waiting = 0;
        for line in lines {
            let full = self.size + text.len() as u64 + line.len() as u64 + 1 > self.limits.bytes;
            if full && self.size + text.len() as u64 > 0 {
                lost += self.append(&mut text, &mut waiting);
                if let Err(error) = self.rotate(Timestamp::now()) {
                    tracing::error!(%error, path = %self.path.display(), "the audit log was not rotated");
                }
            }
            text.extend_from_slice(line);
            text.push(b'\n');
            waiting += 1;
        }
        lost + self.append(&mut text, &mut waiting)
    }

    fn append(&mut self, text: &mut Vec<u8>, waiting: &mut u64) -> u64 {
        let lines = std::mem::take(waiting);
        let lost = match self.file.write_all(text) {
            Ok(()) => 0,
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), events = lines, "audit events were lost");
                lines
            }
        };
        self.size += text.len() as u64;
        text.clear();
        lost
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let (prefix, suffix) = parts(&self.path);
        let folder = self.path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
        // several in one millisecond
        let name = (0..)
            .map(|i| now.saturating_add((i as i64).milliseconds()).unwrap_or(now))
            .map(|time| folder.join(format!("{prefix}{}{suffix}", time.strftime(STAMP))))
            .find(|name| !name.exists() && !packed(name).exists())
            .unwrap_or_else(|| folder.join(format!("{prefix}{suffix}")));
        std::fs::rename(&self.path, name)?;
        (self.file, self.size) = open(&self.path)?;
        self.prune(&folder, now)
    }

    fn prune(&self, folder: &Path, now: Timestamp) -> io::Result<()> {
        let names = std::fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let (prefix, suffix) = parts(&self.path);
        let (kept, gone) = sorted(names.collect(), &prefix, &suffix, self.limits, now);
        for name in gone {
            std::fs::remove_file(folder.join(name))?;
        }
        for name in kept.iter().filter(|name| self.compress && !name.ends_with(".gz")) {
            compress(&folder.join(name))?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// What comes before and after the time in a rotated file's name.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned());
    let stem = text(path.file_stem()).unwrap_or_default();
    let suffix = text(path.extension()).map_or(String::new(), |extension| format!(".{extension}"));
    (format!("{stem}-"), suffix)
}

/// Which of a folder's files are rotated logs to keep, newest first, and which are too many or too old.
fn sorted(
    names: Vec<String>,
    prefix: &str,
    suffix: &str,
    limits: Limits,
    now: Timestamp,
) -> (Vec<String>, Vec<String>) {
    let time = |name: &str| {
        let plain = name.strip_suffix(".gz").unwrap_or(name);
        let stamp = plain.strip_prefix(prefix)?.strip_suffix(suffix)?;
        let parsed = jiff::fmt::strtime::parse(STAMP, stamp).ok()?.to_datetime().ok()?;
        parsed.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    let mut dated: Vec<(Timestamp, String)> =
        names.into_iter().filter_map(|name| Some((time(&name)?, name))).collect();
    dated.sort_by(|a, b| b.cmp(a));
    let hours = i64::try_from(limits.days.saturating_mul(24)).unwrap_or(i64::MAX);
    let oldest = match limits.days {
        0 => Timestamp::MIN,
        _ => now.saturating_sub(hours.hours()).unwrap_or(Timestamp::MIN),
    };
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for (time, name) in dated {
        let fits = (limits.backups == 0 || kept.len() < limits.backups) && time >= oldest;
        if fits { kept.push(name) } else { gone.push(name) }
    }
    (kept, gone)
}

/// What a rotated file is called once it is compressed.
fn packed(path: &Path) -> PathBuf {
    let mut packed = path.as_os_str().to_owned();
    packed.push(".gz");
    packed.into()
}

fn compress(path: &Path) -> io::Result<()> {
    let target = OpenOptions::new().create_new(true).write(true).mode(0o600).open(packed(path))?;
    let mut encoder = flate2::write::GzEncoder::new(target, flate2::Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    std::fs::remove_file(path)
}

/// Writes what comes until `closing`, and what waits then.
pub(super) async fn run(mut file: Rotated, mut queue: mpsc::Receiver<Bytes>, closing: Drain) {
    loop {
        let batch = next(&mut queue, BATCH, &closing).await;
        if batch.is_empty() {
            return;
        }
        let written = tokio::task::spawn_blocking(move || {
            let lost = file.write(&batch);
            (file, lost)
        });
        let Ok((back, lost)) = written.await else { return };
        file = back;
        if lost > 0 {
            metrics::lost("log", lost);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_newest_stay() {
        let limits = Limits { bytes: 1, days: 2, backups: 2 };
        let names = [
            "audit-2026-01-09T00-00-00.000.log",
            "audit-2026-01-09T12-00-00.000.log.gz",
            "audit-2026-01-01T00-00-00.000.log",
            "audit-2026-01-09T13-00-00.000.log",
            "audit.log",
            "audit-notes.log",
        ];
        let now = "2026-01-10T00:00:00Z".parse().unwrap();
        let all = || names.map(str::to_owned).to_vec();
        let (kept, gone) = sorted(all(), "audit-", ".log", limits, now);
        assert_eq!(kept, [names[3], names[1]]);
        assert_eq!(gone, [names[0], names[2]]);
        let (kept, gone) = sorted(all(), "audit-", ".log", Limits { days: 0, backups: 0, ..limits }, now);
        assert_eq!((kept.len(), gone.len()), (4, 0));
    }

    #[test]
    fn a_full_file_is_rotated_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/audit.log");
        for compress in [false, true] {
            let options = Options { log_compress: compress, log_max_backup: 3, ..Options::default() };
            let mut file = Rotated::open(&path, &options).unwrap();
            file.limits.bytes = 25;
            let lines: Vec<Bytes> = (0..6).map(|i| format!("line {i} abc").into()).collect();
            assert_eq!(file.write(&lines), 0);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let mut names: Vec<String> = std::fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 4 abc\nline 5 abc\n");
        assert!(
            names[..3].iter().all(|name| name.starts_with("audit-") && name.ends_with(".log.gz")),
            "{names:?}"
        );
    }
}
