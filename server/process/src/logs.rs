//! What each component said.
//!
//! A `tracing` layer sorts events by the `component` field of the nearest span (see
//! [`crate::Tasks::spawn`]) into one file per component, `<directory>/<component>.log`, rotated once at
//! [`MAX_FILE_BYTES`], and into a channel that followers read. A line is klog-like:
//! `I1122 20:43:01.123456 scheduler.rs] message key=value`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// A component's log file is moved to `<component>.log.1` when it reaches this size.
pub const MAX_FILE_BYTES: u64 = 4 << 20;

/// One line of a component's log, newline included, with the time it was written.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was said.
    pub time: SystemTime,
    /// The text, ending in a newline.
    pub text: Bytes,
}

struct Sink {
    path: PathBuf,
    file: Option<File>,
    written: u64,
    follow: broadcast::Sender<Line>,
}

impl Sink {
    fn open(directory: &Path, component: &str) -> Self {
        let path = directory.join(format!("{component}.log"));
        let file = OpenOptions::new().create(true).append(true).open(&path).ok();
        let written = file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.len());
        Self { path, file, written, follow: broadcast::Sender::new(1024) }
    }

    fn write(&mut self, line: Line) {
        if self.written >= MAX_FILE_BYTES {
            let _ = std::fs::rename(&self.path, self.path.with_extension("log.1"));
            self.file = OpenOptions::new().create(true).append(true).open(&self.path).ok();
            self.written = 0;
        }
        if let Some(file) = &mut self.file {
            // a log that cannot be written must not stop the component that writes it
            let _ = file.write_all(&line.text);
            self.written += line.text.len() as u64;
        }
        let _ = self.follow.send(line);
    }
}

/// The logs of all components of this process.
#[derive(Clone)]
pub struct Logs {
    directory: Arc<Path>,
    sinks: Arc<Mutex<HashMap<String, Sink>>>,
}

impl Logs {
    /// Logs under `directory`, which is created if need be.
    pub fn new(directory: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.into(), sinks: Arc::default() })
    }

    /// The layer to install in the subscriber.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        ByComponent(self.clone())
    }

    /// The file of one component.
    pub fn path(&self, component: &str) -> PathBuf {
        self.directory.join(format!("{component}.log"))
    }

    /// What the component has said so far (the rotated file first) and a receiver of all that follows, with
    /// no line lost or doubled between the two.
    pub fn read(&self, component: &str) -> (Vec<u8>, broadcast::Receiver<Line>) {
        let mut sinks = self.sinks.lock();
        let sink = self.sink(&mut sinks, component);
        let follow = sink.follow.subscribe();
        let mut text = std::fs::read(sink.path.with_extension("log.1")).unwrap_or_default();
        text.extend(std::fs::read(&sink.path).unwrap_or_default());
        (text, follow)
    }

    fn write(&self, component: &str, line: Line) {
        self.sink(&mut self.sinks.lock(), component).write(line);
    }

    fn sink<'a>(&self, sinks: &'a mut HashMap<String, Sink>, component: &str) -> &'a mut Sink {
        if !sinks.contains_key(component) {
            sinks.insert(component.to_owned(), Sink::open(&self.directory, component));
        }
        // inserted just above
        #[allow(clippy::unwrap_used)]
        sinks.get_mut(component).unwrap()
    }
}

static GLOBAL: OnceLock<Logs> = OnceLock::new();

/// Makes `logs` the process's logs, which [`global`] returns. The first call wins.
pub fn set_global(logs: Logs) {
    let _ = GLOBAL.set(logs);
}

/// The process's logs, once [`set_global`] was called.
pub fn global() -> Option<&'static Logs> {
    GLOBAL.get()
}

struct ByComponent(Logs);

/// Span extension: the component named by the span's own field.
struct Named(String);

struct Fields {
    component: Option<String>,
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "component" => self.component = Some(value.to_owned()),
            "message" => self.message.push_str(value),
            name => _ = write!(self.rest, " {name}={value:?}"),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "component" => self.component = Some(format!("{value:?}")),
            "message" => _ = write!(self.message, "{value:?}"),
            name => _ = write!(self.rest, " {name}={value:?}"),
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ByComponent {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields { component: None, message: String::new(), rest: String::new() };
        attributes.record(&mut fields);
        if let (Some(component), Some(span)) = (fields.component, context.span(id)) {
            span.extensions_mut().insert(Named(component));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields { component: None, message: String::new(), rest: String::new() };
        event.record(&mut fields);
        let component = fields.component.take().or_else(|| {
            context.event_scope(event)?.find_map(|span| span.extensions().get::<Named>().map(|n| n.0.clone()))
        });
        let component = component.unwrap_or_else(|| "sampan".to_owned());
        let time = SystemTime::now();
        let text = format_line(event, &fields, time);
        self.0.write(&component, Line { time, text: text.into() });
    }
}

fn format_line(event: &Event<'_>, fields: &Fields, time: SystemTime) -> String {
    let level = match *event.metadata().level() {
        Level::ERROR => 'E',
        Level::WARN => 'W',
        Level::INFO => 'I',
        Level::DEBUG | Level::TRACE => 'D',
    };
    let file = event.metadata().file().map_or("-", |f| f.rsplit('/').next().unwrap_or(f));
    let line = event.metadata().line().unwrap_or(0);
    format!("{level}{} {file}:{line}] {}{}\n", klog_time(time), fields.message, fields.rest)
}

/// `mmdd hh:mm:ss.uuuuuu` in UTC, as klog writes it.
fn klog_time(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (month, day) = month_and_day(days);
    format!(
        "{month:02}{day:02} {:02}:{:02}:{:02}.{:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_micros()
    )
}

/// Civil month and day of a day count since 1970-01-01 (Hinnant's `civil_from_days`).
fn month_and_day(days: u64) -> (u64, u64) {
    let z = days + 719_468;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    (if shifted < 10 { shifted + 3 } else { shifted - 9 }, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;
    use tracing_subscriber::prelude::*;

    #[test]
    fn klog_time_is_utc() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_380_181_000_123);
        assert_eq!(klog_time(time), "1122 20:43:01.000123");
    }

    #[test]
    fn events_go_to_the_component_of_their_span() {
        let directory = std::env::temp_dir().join(format!("sampan-logs-{}", std::process::id()));
        let logs = Logs::new(&directory).unwrap();
        let subscriber = tracing_subscriber::registry().with(logs.layer());
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("task", component = "kube-scheduler", task = "run");
            span.in_scope(|| tracing::info!(pod = "default/a", "bound"));
            tracing::warn!("nobody's");
        });
        let (text, _) = logs.read("kube-scheduler");
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with('I') && text.ends_with("] bound pod=\"default/a\"\n"), "{text}");
        assert!(String::from_utf8(logs.read("sampan").0).unwrap().contains("nobody's"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
