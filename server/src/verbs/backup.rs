//! `sampan backup FILE`: the database of the running cluster, as of one revision.

use std::path::Path;

use super::{Context, Outcome};
use crate::control::{self, Request};
use crate::failure::{Failure, Kind};
use crate::messages::Message;
use crate::ui::Format;

/// Runs the verb.
pub async fn run(mut context: Context, file: &Path) -> Outcome {
    let absolute = std::path::absolute(file).map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
    let request = Request::Backup { file: absolute.clone() };
    let done = control::ask(&context.profile.socket(), &request, drop).await?;
    match context.ui.format() {
        Format::Json => context.ui.value(&done),
        Format::Text => context.ui.step(&Message::Saved { path: absolute.display().to_string() }),
    }
    Ok(0)
}
