//! Conversations with the API, written down: `conversations/NN-name.http`, whose README says how they read.
//!
//! ```text
//!  file ─► Conversation ─► play: request ─► answer ─► compare with what is written
//!                                                  └► note: what was answered, with its names for what changes
//! ```
//!
//! - `template`: texts with places for what is another each time. [`compare`](self::compare): what differs, by path.
//! - `print`: JSON that reads well. `note`: an answer as it is written down. `play`: asking.

mod compare;
mod note;
mod play;
mod print;
mod template;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result, bail};

pub use play::Player;

/// A file: what it is about, then what is asked and answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// What comes before the first step, to the letter.
    pub preface: String,
    /// In order.
    pub steps: Vec<Step>,
}

/// A request and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is said about it, to the letter.
    pub words: String,
    /// Asked again whenever something happens to it, until the answer is the one that is written.
    pub until: bool,
    /// `GET /api/v1/…`, headers, body.
    pub request: Message,
    /// `200 OK`, headers that matter, body; nothing if it was never played.
    pub answer: Option<Message>,
}

/// A first line, headers, and a body, which may be none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// The first line.
    pub line: String,
    /// Name and value, in order.
    pub headers: Vec<(String, String)>,
    /// Without the newline at its end.
    pub body: String,
}

impl Message {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn head(&mut self, text: &str) -> Result<()> {
        if self.line.is_empty() {
            self.line = text.to_owned();
            return Ok(());
        }
        let (name, value) = text.split_once(':').with_context(|| format!("no header: {text:?}"))?;
        self.headers.push((name.to_owned(), value.trim().to_owned()));
        Ok(())
    }

    fn write(&self, mark: &str, out: &mut String) {
        out.push_str(&format!("{mark} {}\n", self.line));
        for (name, value) in &self.headers {
            out.push_str(&format!("{} {name}: {value}\n", mark.trim_start_matches('?')));
        }
        if !self.body.is_empty() {
            out.push_str(&format!("\n{}\n", self.body));
        }
        out.push('\n');
    }
}

/// What lines without a mark belong to.
enum Place {
    Preface,
    Words,
    Request,
    /// After a request's head.
    Body,
    Answer,
}

impl Conversation {
    /// Reads a file's text.
    pub fn read(text: &str) -> Result<Self> {
        let mut read = Self { preface: String::new(), steps: Vec::new() };
        let mut place = Place::Preface;
        for (number, line) in text.lines().enumerate() {
            read.line(line, &mut place).with_context(|| format!("line {}", number + 1))?;
        }
        for step in &mut read.steps {
            for message in std::iter::once(&mut step.request).chain(&mut step.answer) {
                message.body = message.body.trim_matches('\n').to_owned();
            }
            step.words = step.words.trim_end().to_owned();
        }
        if read.steps.last().is_some_and(|step| step.request.line.is_empty()) {
            bail!("words at the end without a request");
        }
        read.preface = read.preface.trim_end().to_owned();
        Ok(read)
    }

    fn line(&mut self, line: &str, place: &mut Place) -> Result<()> {
        let marked = [("## ", 0), ("> ", 1), ("?> ", 2), ("< ", 3)];
        let marked = marked.into_iter().find_map(|(mark, which)| Some((which, line.strip_prefix(mark)?)));
        match marked {
            Some((0, _)) => {
                self.steps.push(Step::new(line));
                *place = Place::Words;
            }
            Some((3, text)) => {
                let step = self.steps.last_mut().context("an answer to nothing")?;
                step.answer.get_or_insert_default().head(text)?;
                *place = Place::Answer;
            }
            Some((which, text)) => {
                if !matches!(place, Place::Words | Place::Request) {
                    self.steps.push(Step::new(""));
                }
                let step = self.steps.last_mut().context("a request")?;
                step.until |= which == 2;
                step.request.head(text)?;
                *place = Place::Request;
            }
            None => {
                if matches!(place, Place::Request) {
                    *place = Place::Body;
                }
                let into = match (&place, self.steps.last_mut()) {
                    (Place::Preface, _) | (_, None) => &mut self.preface,
                    (Place::Words, Some(step)) => &mut step.words,
                    (Place::Request | Place::Body, Some(step)) => &mut step.request.body,
                    (Place::Answer, Some(step)) => &mut step.answer.get_or_insert_default().body,
                };
                if !(into.is_empty() && line.is_empty()) || matches!(place, Place::Words) {
                    into.push_str(line);
                    into.push('\n');
                }
            }
        }
        Ok(())
    }

    /// The file's text.
    pub fn write(&self) -> String {
        let mut out = format!("{}\n\n", self.preface);
        for step in &self.steps {
            if !step.words.is_empty() {
                out.push_str(&format!("{}\n\n", step.words));
            }
            step.request.write(if step.until { "?>" } else { ">" }, &mut out);
            if let Some(answer) = &step.answer {
                answer.write("<", &mut out);
            }
        }
        format!("{}\n", out.trim_end())
    }
}

impl Step {
    fn new(words: &str) -> Self {
        let words = if words.is_empty() { String::new() } else { format!("{words}\n") };
        Self { words, until: false, request: Message::default(), answer: None }
    }
}
