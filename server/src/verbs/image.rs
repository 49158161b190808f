//! `sampan image`: what pods start from.

use serde_json::Value;

use super::{Context, Outcome};
use crate::cli::Image;
use crate::control::{self, Request};
use crate::messages::Message;
use crate::ui::Format;

/// Runs the verb.
pub async fn run(mut context: Context, verb: Image) -> Outcome {
    match verb {
        Image::Ls => list(&context).await,
        Image::Pull { image } => pull(&mut context, image).await,
        Image::Load { archive } => load(&mut context, &archive).await,
        Image::Rm { images } => {
            for image in images {
                ask(&context, Request::ImageRemove { image: image.clone() }).await?;
                context.ui.step(&Message::Removed { image });
            }
            Ok(0)
        }
    }
}

async fn ask(context: &Context, request: Request) -> Result<Value, crate::failure::Failure> {
    control::ask(&context.profile.socket(), &request, drop).await
}

async fn list(context: &Context) -> Outcome {
    let images = ask(context, Request::ImageList).await?;
    if context.ui.format() == Format::Json {
        context.ui.value(&images);
        return Ok(0);
    }
    context.ui.plain(&format!("{:<60} {:<14} {:>10}", "IMAGE", "ID", "SIZE"));
    for image in images.as_array().into_iter().flatten() {
        let id = image["id"].as_str().unwrap_or_default().trim_start_matches("sha256:");
        let size = size(image["sizeBytes"].as_u64().unwrap_or(0));
        let names =
            image["repoTags"].as_array().filter(|tags| !tags.is_empty()).or(image["repoDigests"].as_array());
        for name in names.into_iter().flatten().filter_map(Value::as_str) {
            context.ui.plain(&format!("{name:<60} {:<14} {size:>10}", id.get(..12).unwrap_or(id)));
        }
    }
    Ok(0)
}

/// `12.3MB`, or `4.6kB` of what is smaller, as docker and minikube print sizes.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{}.{}kB", bytes / 1_000, bytes / 100 % 10),
        _ => format!("{}.{}MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

async fn pull(context: &mut Context, image: String) -> Outcome {
    context.ui.step(&Message::Pulling { image: image.clone() });
    ask(context, Request::ImagePull { image: image.clone() }).await?;
    context.ui.step(&Message::Pulled { image });
    Ok(0)
}

async fn load(context: &mut Context, archive: &std::path::Path) -> Outcome {
    let archive = std::fs::canonicalize(archive).map_err(|error| {
        let message = format!("archive {}: {error}", archive.display());
        crate::failure::Failure::new(crate::failure::Kind::NotFound, message)
    })?;
    context.ui.step(&Message::Loading { path: archive.display().to_string() });
    let images = ask(context, Request::ImageLoad { archive }).await?;
    for image in images.as_array().into_iter().flatten().flat_map(loaded) {
        context.ui.step(&Message::Loaded { image });
    }
    Ok(0)
}

/// What to call an image that was loaded: each name that the archive gave it, or its id.
fn loaded(image: &Value) -> Vec<String> {
    let names = image["loaded"].as_array().filter(|names| !names.is_empty());
    let names = names.map_or(std::slice::from_ref(&image["id"]), Vec::as_slice);
    names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn each_name_of_the_archive_is_told() {
        let image = |loaded: &[&str]| json!({"id": "sha256:1", "repoTags": ["old:1"], "loaded": loaded});
        assert_eq!(super::loaded(&image(&["bb:1", "bb:2"])), ["bb:1", "bb:2"]);
        assert_eq!(super::loaded(&image(&[])), ["sha256:1"]);
    }

    #[test]
    fn sizes_have_one_decimal() {
        assert_eq!(super::size(12_345_678), "12.3MB");
        assert_eq!(super::size(1_000_000), "1.0MB");
        assert_eq!(super::size(4_609), "4.6kB");
    }
}
