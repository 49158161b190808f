//! How a command speaks: lines with an emoji on a terminal, plain marks elsewhere, CloudEvents with `-o json`.

use std::io::{IsTerminal, Write};

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::messages::{Locale, Message};

/// The form of a command's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For tools: one JSON value, or one CloudEvent per line while work goes on.
    Json,
}

/// Where a command's words go.
#[derive(Clone, Debug)]
pub struct Ui {
    format: Format,
    locale: Locale,
    fancy: bool,
    step: usize,
    total: usize,
}

impl Ui {
    /// Speaks on standard output in the user's language.
    pub fn new(format: Format) -> Self {
        let fancy = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { format, locale: Locale::detect(), fancy, step: 0, total: 0 }
    }

    /// The form chosen by `-o`.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Announces how many steps will follow, for tools that draw a bar.
    pub fn expect_steps(&mut self, total: usize) {
        (self.step, self.total) = (0, total);
    }

    /// Says a step.
    pub fn step(&mut self, message: &Message) {
        self.step += 1;
        let text = message.text(self.locale);
        let line = match self.format {
            Format::Json => event(
                "step",
                json!({
                    "currentstep": self.step.to_string(), "totalsteps": self.total.max(self.step).to_string(),
                    "name": message.name(), "message": text,
                }),
            )
            .to_string(),
            Format::Text => self.line(message, &text),
        };
        say(&line);
    }

    /// Says what deserves attention and is no step; to standard error for people.
    pub fn warn(&self, message: &Message) {
        let text = message.text(self.locale);
        match self.format {
            Format::Json => {
                say(&event("warning", json!({"name": message.name(), "message": text})).to_string());
            }
            Format::Text => {
                let mark = if self.fancy { message.emoji() } else { "!" };
                let _ = writeln!(std::io::stderr().lock(), "{mark}  {text}");
            }
        }
    }

    fn line(&self, message: &Message, text: &str) -> String {
        match (self.fancy, message.is_detail()) {
            (_, true) => format!("    {} {text}", if self.fancy { "▪" } else { "-" }),
            (true, false) => format!("{}  {text}", message.emoji()),
            (false, false) => format!("* {text}"),
        }
    }

    /// Prints lines that are content, not progress: nothing in JSON mode.
    pub fn plain(&self, text: &str) {
        if self.format == Format::Text {
            say(text);
        }
    }

    /// Prints a command's result for tools.
    pub fn value(&self, value: &Value) {
        say(&value.to_string());
    }

    /// Says for tools what came of the steps, as the last of the events; for people the last step has said it.
    pub fn result(&self, value: Value) {
        if self.format == Format::Json {
            say(&event("result", value).to_string());
        }
    }

    /// Says why the command ends; to standard error for people.
    pub fn failure(&self, failure: &Failure) {
        let (id, advice) = (failure.kind.id(), failure.kind.advice(self.locale));
        match self.format {
            Format::Json => say(&event(
                "error",
                json!({
                    "name": id, "message": failure.message, "advice": advice,
                    "exitcode": failure.kind.exit_code().to_string(),
                }),
            )
            .to_string()),
            Format::Text => {
                let (cross, bulb) = if self.fancy { ("❌", "💡") } else { ("X", "*") };
                let (because, suggestion) = match self.locale {
                    Locale::English => ("Exiting due to", "Suggestion:"),
                    Locale::Chinese => ("因以下原因退出", "建议："),
                };
                let text =
                    format!("{cross}  {because} {id}: {}\n{bulb}  {suggestion} {advice}\n", failure.message);
                let _ = std::io::stderr().lock().write_all(text.as_bytes());
            }
        }
    }
}

/// A closed pipe on the other end is no reason to fail.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn event(kind: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0", "type": format!("dev.sampan.{kind}"), "source": "https://sampan.dev/",
        "id": format!("{:x}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos()),
        "datacontenttype": "application/json", "data": data,
    })
}
