//! How an object is: always colour and icon and word, since not everybody sees colours.

use leptos::prelude::*;
use sampan_view::Health;

use super::icon::{Icon, Shape};
use crate::text;

pub fn shape(health: Health) -> Shape {
    match health {
        Health::Failed => Shape::Failed,
        Health::Warning => Shape::Warning,
        Health::Progressing => Shape::Progress,
        Health::Healthy => Shape::Check,
        Health::Done => Shape::Done,
        Health::None => Shape::Dot,
    }
}

/// An icon in its colour with the API's own word, or ours where it has none.
#[component]
pub fn Status(health: Health, #[prop(into, optional)] reason: String) -> impl IntoView {
    let word = if reason.is_empty() { text::health(health).to_owned() } else { reason };
    view! {
        <span class=format!("status {}", health.word()) title=text::health(health)>
            <Icon shape=shape(health) />
            <span>{word}</span>
        </span>
    }
}
