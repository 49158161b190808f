//! The machine that the figures were taken on.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// What a reader needs to know of it.
pub struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    file_system: String,
    load: String,
}

impl Machine {
    /// Looks.
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let value =
                text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
            value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = memory.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: cores(),
            memory_gib: kib.div_ceil(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&std::env::temp_dir()),
            load: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
        }
    }

    /// A line of Markdown.
    pub fn text(&self) -> String {
        let Self { cpu, cores, memory_gib, kernel, file_system, load } = self;
        format!("{cpu}, {cores} cores, {memory_gib} GiB; Linux {kernel}; {file_system}; load before: {load}")
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        json!({
            "cpu": self.cpu, "cores": self.cores, "memoryGiB": self.memory_gib, "kernel": self.kernel,
            "fileSystem": self.file_system, "loadBefore": self.load,
        })
    }
}

/// How many cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// Type and device of the file system that holds `path`.
fn file_system(path: &Path) -> String {
    let output = Command::new("df").args(["--output=fstype,source"]).arg(path).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().nth(1).unwrap_or("unknown").split_whitespace().collect::<Vec<_>>().join(" on ")
}
