//! Asks what is written, and compares.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use super::template::{self, Bound};
use super::{Conversation, Message, Step, compare, note, print};

/// Of an answer's headers, those that are written down.
const HEADERS: [&str; 5] = ["content-type", "warning", "retry-after", "location", "allow"];
/// How long an answer may take, and how long it may take until it is the one that is written.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who asks.
pub struct Player {
    /// Shows the administrator's certificate.
    administrator: Client,
    /// Shows none: for requests that bring a token.
    nobody: Client,
    /// What the names of the conversation stand for.
    bound: Bound,
}

impl Player {
    /// A player who knows no names yet.
    pub fn new(administrator: Client, nobody: Client) -> Self {
        Self { administrator, nobody, bound: Bound::new() }
    }

    /// Plays a conversation to its end, or to the first answer that is not the one that is written.
    pub async fn play(&mut self, conversation: &Conversation) -> Result<()> {
        for step in &conversation.steps {
            let place = || format!("{}\n> {}", step.words, step.request.line);
            let wanted = step.answer.as_ref().with_context(place).context("no answer is written")?;
            let (got, differences) = self.settle(step, wanted).await.with_context(place)?;
            ensure!(
                differences.is_empty(),
                "{}\n{}\n\n  answered was:\n\n{}",
                place(),
                differences.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"),
                shown(&got)
            );
        }
        Ok(())
    }

    /// Plays a conversation and writes down what is answered, where that is not what is written.
    pub async fn write(&mut self, conversation: &mut Conversation) -> Result<()> {
        for step in &mut conversation.steps {
            let place = format!("{}\n> {}", step.words, step.request.line);
            let known = self.bound.clone();
            let (mut got, differences) = match &step.answer {
                Some(wanted) => self.settle(step, wanted).await.context(place)?,
                None => (self.ask(&step.request).await.context(place)?, vec!["no answer".to_owned()]),
            };
            if !differences.is_empty() {
                self.bound = known;
                got.body = self.noted(&got, &step.request);
                for (_, value) in &mut got.headers {
                    *value = note::text(value, &step.request.body, &mut self.bound);
                }
                step.answer = Some(got);
            }
        }
        Ok(())
    }

    /// The answer, and how it differs from the one that is written.
    async fn settle(&mut self, step: &Step, wanted: &Message) -> Result<(Message, Vec<String>)> {
        let known = self.bound.clone();
        let got = self.ask(&step.request).await?;
        let differences = self.compare(wanted, &got)?;
        if differences.is_empty() || !step.until {
            return Ok((got, differences));
        }
        let mut last = (got, differences);
        let line = template::fill(&step.request.line, &known)?;
        let mut events = self.administrator.send(watch(&line)?).await?.into_body();
        let until = async {
            loop {
                // once before any event: what went before the watch began is told by none
                self.bound = known.clone();
                last.0 = self.ask(&step.request).await?;
                last.1 = self.compare(wanted, &last.0)?;
                if last.1.is_empty() {
                    return anyhow::Ok(());
                }
                match events.frame().await {
                    Some(frame) => drop(frame?),
                    None => return Ok(()),
                }
            }
        };
        // what differs says more than that time is up
        if let Ok(ended) = tokio::time::timeout(PATIENCE, until).await {
            ended?;
        }
        Ok(last)
    }

    async fn ask(&self, asked: &Message) -> Result<Message> {
        let line = template::fill(&asked.line, &self.bound)?;
        let (method, path) = line.split_once(' ').context("no path")?;
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in &asked.headers {
            request = request.header(name, template::fill(value, &self.bound)?);
        }
        if asked.header("User-Agent").is_none() {
            request = request.header("User-Agent", "conversation");
        }
        let body = template::fill(&asked.body, &self.bound)?.into_bytes();
        let client = if asked.header("Authorization").is_some() { &self.nobody } else { &self.administrator };
        let answered = async {
            let (head, body) = client.send(request.body(Body::from(body))?).await?.into_parts();
            anyhow::Ok((head, body.collect().await?.to_bytes()))
        };
        let (head, body) =
            tokio::time::timeout(PATIENCE, answered).await.context("no end of the answer")??;
        Ok(Message {
            line: head.status.to_string(),
            headers: mattering(&head.headers)?,
            body: String::from_utf8_lossy(&body).trim_end().to_owned(),
        })
    }

    fn compare(&mut self, wanted: &Message, got: &Message) -> Result<Vec<String>> {
        let mut differences = Vec::new();
        if wanted.line != got.line {
            differences.push(format!("status: wanted {}, got {}", wanted.line, got.line));
        }
        let lines = |message: &Message| {
            let line = |(name, value): &(String, String)| format!("{}: {value}", name.to_ascii_lowercase());
            message.headers.iter().map(line).collect::<Vec<_>>()
        };
        let (written, have) = (lines(wanted), lines(got));
        let mut same = written.len() == have.len();
        for (written, have) in written.iter().zip(&have) {
            same &= template::matches(written, have, &mut self.bound)?;
        }
        if !same {
            differences.push(format!("headers: wanted {written:?}, got {have:?}"));
        }
        match (json(&wanted.body), json(&got.body)) {
            (Some(wanted), Some(got)) => differences.extend(compare::values(&wanted, &got, &mut self.bound)?),
            _ if template::matches(&wanted.body, &got.body, &mut self.bound)? => {}
            _ => differences.push("body: another text".to_owned()),
        }
        Ok(differences)
    }

    fn noted(&mut self, got: &Message, request: &Message) -> String {
        match json(&got.body) {
            Some(value) => {
                let noted = note::value(&value, &request.body, &mut self.bound);
                printed(&noted)
            }
            None if got.body.starts_with("k8s\0") => "{{any}}".to_owned(),
            None => note::text(&got.body, &request.body, &mut self.bound),
        }
    }
}

fn mattering(headers: &HeaderMap) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for name in HEADERS {
        for value in headers.get_all(name) {
            let words = name.split('-').map(|word| word[..1].to_ascii_uppercase() + &word[1..]);
            found.push((words.collect::<Vec<_>>().join("-"), value.to_str()?.to_owned()));
        }
    }
    Ok(found)
}

/// One value or several, one after another, as a list.
fn json(body: &str) -> Option<Value> {
    let values = serde_json::Deserializer::from_str(body).into_iter::<Value>();
    let values = values.collect::<Result<Vec<_>, _>>().ok()?;
    (!values.is_empty()).then_some(values.into())
}

fn printed(values: &Value) -> String {
    let each = values.as_array().map_or(&[][..], Vec::as_slice).iter().map(print::json);
    each.collect::<Vec<_>>().join("\n\n")
}

fn shown(got: &Message) -> String {
    let body = json(&got.body).map_or_else(|| got.body.clone(), |values| printed(&values));
    let body = Message { body, ..got.clone() };
    let mut out = String::new();
    body.write("<", &mut out);
    out
}

/// What tells that an object, or something in a collection, changed.
fn watch(line: &str) -> Result<Request<Body>> {
    let Some(path) = line.strip_prefix("GET ") else { bail!("only what is read is asked again") };
    let path = path.split('?').next().unwrap_or_default();
    let (collection, name) = path.rsplit_once('/').unwrap_or_default();
    let uri = format!("{collection}?watch=1&fieldSelector=metadata.name={name}");
    Ok(Request::get(uri).body(Body::empty())?)
}
