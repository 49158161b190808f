//! `sampan addons`: what the cluster can do besides, as minikube's users know it.
//!
//! The platform in the daemon does the work; this fetches packages with the caller's own rights and keys, and says what
//! happens. What a package's pods said is asked of the API, as `kubectl logs` does.

mod logs;

use std::io::{IsTerminal, Write};

use base64::Engine;
use sampan_addons::package::Source;
use sampan_addons::{Details, Field, Request, State, Status, Step};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::cli::Addons;
use crate::control;
use crate::failure::{Failure, Kind};
use crate::messages::{Locale, Message};
use crate::ui::Format;

/// Runs the verb.
pub async fn run(context: Context, verb: Addons) -> Outcome {
    match verb {
        Addons::List => list(&context).await,
        Addons::Enable { name, set, wait_timeout } => enable(context, name, set, wait_timeout).await,
        Addons::Disable { name } => disable(context, name).await,
        Addons::Configure { name, set, unset } => configure(context, name, set, unset).await,
        Addons::Open { name, url } => open(context, name, url).await,
        Addons::Images { name } => images(&context, name).await,
        Addons::Add { source, name } => add(context, source, name).await,
        Addons::Remove { name } => remove(context, name).await,
        Addons::Logs { name, follow, tail } => logs::run(context, name, follow, tail).await,
    }
}

/// Asks the daemon; what it does meanwhile is said.
async fn ask<T: DeserializeOwned>(context: &Context, request: Request) -> Result<T, Failure> {
    let mut ui = context.ui.clone();
    let said = |step: Value| {
        if let Ok(step) = serde_json::from_value(step) {
            ui.step(&message(step));
        }
    };
    let request = control::Request::Addons(request);
    let answer = control::ask(&context.profile.socket(), &request, said).await?;
    Ok(serde_json::from_value(answer).map_err(anyhow::Error::from)?)
}

fn message(step: Step) -> Message {
    match step {
        Step::Applying => Message::AddonApplying,
        Step::Waiting { reason } => Message::AddonWaiting { reason },
        Step::Checking { check } => Message::AddonChecking { check },
        Step::RollingBack { reason } => Message::AddonRollingBack { reason },
        Step::Pruning => Message::AddonPruning,
    }
}

async fn list(context: &Context) -> Outcome {
    let addons: Vec<Status> = ask(context, Request::List).await?;
    if context.ui.format() == Format::Json {
        context.ui.value(&addons.iter().map(tool).collect());
        return Ok(0);
    }
    let heads = ["ADDON", "STATUS", "HEALTH", "VERSION", "MAINTAINER", "SUMMARY"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(heads).chain(addons.iter().map(row)).collect();
    context.ui.plain(&table(&rows));
    addons.iter().for_each(|addon| unwell(context, addon));
    Ok(0)
}

/// An addon for tools: with the word that the table shows, too.
fn tool(addon: &Status) -> Value {
    let mut value = serde_json::to_value(addon).unwrap_or_default();
    value["status"] = status(addon).into();
    value
}

fn status(addon: &Status) -> &'static str {
    if addon.enabled { "enabled" } else { "disabled" }
}

fn row(addon: &Status) -> [String; 6] {
    let health = match addon.health.state {
        State::Off => "-",
        State::Healthy => "healthy",
        State::Starting => "starting",
        State::Degraded => "degraded",
        State::Failed => "failed",
    };
    let summary = match Locale::detect() {
        Locale::Chinese if !addon.summary.zh.is_empty() => &addon.summary.zh,
        _ => &addon.summary.en,
    };
    let Status { name, version, maintainer, .. } = addon;
    [name, status(addon), health, version, maintainer, summary].map(|text: &str| text.to_owned())
}

/// Rows in columns as wide as their widest text; the last is not padded.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let padded = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Says what is wrong with an addon that is not well.
fn unwell(context: &Context, addon: &Status) {
    let health = &addon.health;
    if !health.reason.is_empty() && context.ui.format() == Format::Text {
        let (name, reason, next) = (addon.name.clone(), health.reason.clone(), health.next.clone());
        context.ui.warn(&Message::AddonUnwell { name, reason, next });
    }
}

async fn enable(
    mut context: Context,
    name: String,
    set: Vec<String>,
    timeout_seconds: Option<u64>,
) -> Outcome {
    context.ui.step(&Message::AddonEnabling { name: name.clone() });
    let request = Request::Enable { name: name.clone(), set, timeout_seconds };
    let addon: Status = ask(&context, request).await?;
    unwell(&context, &addon);
    context.ui.step(&Message::AddonEnabled { name });
    context.ui.result(tool(&addon));
    Ok(0)
}

async fn disable(mut context: Context, name: String) -> Outcome {
    context.ui.step(&Message::AddonDisabling { name: name.clone() });
    let addon: Status = ask(&context, Request::Disable { name: name.clone() }).await?;
    context.ui.step(&Message::AddonDisabled { name });
    context.ui.result(tool(&addon));
    Ok(0)
}

async fn configure(mut context: Context, name: String, mut set: Vec<String>, unset: Vec<String>) -> Outcome {
    if set.is_empty() && unset.is_empty() {
        let details: Details = ask(&context, Request::Show { name: name.clone() }).await?;
        show(&context, &details);
        if context.ui.format() == Format::Json || !std::io::stdin().is_terminal() {
            return Ok(0);
        }
        set = prompt(&mut context, &fields(&details))?;
        if set.is_empty() {
            return Ok(0);
        }
    }
    let details: Details = ask(&context, Request::Configure { name: name.clone(), set, unset }).await?;
    match context.ui.format() {
        Format::Json => show(&context, &details),
        Format::Text => context.ui.step(&Message::AddonConfigured { name }),
    }
    unwell(&context, &details.status);
    Ok(0)
}

fn fields(details: &Details) -> Vec<Field> {
    sampan_addons::fields(&details.schema, &details.configuration)
}

fn show(context: &Context, details: &Details) {
    if context.ui.format() == Format::Json {
        context.ui.value(&serde_json::to_value(details).unwrap_or_default());
        return;
    }
    let heads = ["KEY", "TYPE", "VALUE", "MEANING"].map(str::to_owned);
    let row = |field: Field| [field.path, field.kind, field.value.to_string(), field.description];
    let rows: Vec<_> = std::iter::once(heads).chain(fields(details).into_iter().map(row)).collect();
    context.ui.plain(&table(&rows));
}

/// Asks for each field in turn; what was typed, as `--set` takes it.
fn prompt(context: &mut Context, fields: &[Field]) -> Result<Vec<String>, Failure> {
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    context.ui.step(&Message::AddonAsk);
    let mut set = Vec::new();
    for field in fields {
        print!("    {} ({}) [{}]: ", field.path, field.kind, field.value);
        std::io::stdout().flush()?;
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line)? == 0 {
            break;
        }
        let typed = line.trim();
        if !typed.is_empty() {
            set.push(format!("{}={typed}", field.path));
        }
    }
    Ok(set)
}

async fn open(mut context: Context, name: String, only_url: bool) -> Outcome {
    let url: String = ask(&context, Request::Page { name: name.clone() }).await?;
    if context.ui.format() == Format::Json {
        context.ui.value(&json!({"name": name, "url": url}));
        return Ok(0);
    }
    // the address may come from a package: a program must not take it for anything but one
    let address = url.starts_with("http://") || url.starts_with("https://");
    match !only_url && address && super::dashboard::opened(&url) {
        true => context.ui.step(&Message::AddonPage { name, url }),
        false => context.ui.plain(&url),
    }
    Ok(0)
}

async fn images(context: &Context, name: String) -> Outcome {
    let images: serde_json::Map<String, Value> = ask(context, Request::Images { name }).await?;
    if context.ui.format() == Format::Json {
        context.ui.value(&images.into());
        return Ok(0);
    }
    let heads = ["NAME", "IMAGE"].map(str::to_owned);
    let row = |(name, image): (String, Value)| [name, image.as_str().unwrap_or_default().to_owned()];
    let rows: Vec<_> = std::iter::once(heads).chain(images.into_iter().map(row)).collect();
    context.ui.plain(&table(&rows));
    Ok(0)
}

async fn add(mut context: Context, source: String, name: Option<String>) -> Outcome {
    context.ui.step(&Message::AddonFetching { source: source.clone() });
    let insecure = context.profile.settings()?.insecure_registries;
    let package = |error: sampan_addons::Error| Failure::new(Kind::AddonPackage, error.to_string());
    let files = Source::parse(&source).fetch(&insecure).await.map_err(package)?;
    let files = base64::engine::general_purpose::STANDARD.encode(files.pack().map_err(package)?);
    let details: Details = ask(&context, Request::Add { files, name }).await?;
    let result = tool(&details.status);
    let Status { name, version, .. } = details.status;
    context.ui.step(&Message::AddonAdded { name, version });
    context.ui.result(result);
    Ok(0)
}

async fn remove(mut context: Context, name: String) -> Outcome {
    let addon: Status = ask(&context, Request::Remove { name: name.clone() }).await?;
    context.ui.step(&Message::AddonRemoved { name });
    context.ui.result(tool(&addon));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest() {
        let rows = [["A", "B", "C"], ["long", "b", ""], ["x", "yy", "z"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "A      B    C\nlong   b\nx      yy   z");
    }

    #[test]
    fn an_addon_for_tools_has_the_word_of_the_table() {
        let json = json!({"name": "dns", "enabled": true, "health": {"state": "failed", "reason": "port 53 is taken"}, "version": "1",
            "maintainer": "us", "summary": {"en": "Names", "zh": ""}, "sort": "native", "defaultOn": true});
        let addon: Status = serde_json::from_value(json).expect("a status");
        assert_eq!(tool(&addon)["status"], "enabled");
        assert_eq!(row(&addon)[..3], ["dns", "enabled", "failed"]);
        assert_eq!(row(&addon)[5], "Names");
    }
}
