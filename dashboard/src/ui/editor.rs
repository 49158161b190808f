//! A field of YAML: CodeMirror, loaded when first needed; where it cannot be loaded, a plain text field.

use js_sys::{Function, JSON, Reflect};
use leptos::{html, prelude::*, task::spawn_local};
use serde_json::{Map, Value, json};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};

use crate::{app::app, net::part};

/// What is written with: asks for the text only when somebody wants it, for it may be large.
#[derive(Clone, Copy)]
pub struct Pen {
    view: StoredValue<Option<JsValue>, LocalStorage>,
    plain: NodeRef<html::Textarea>,
}

impl Pen {
    pub fn new() -> Self {
        Self { view: StoredValue::new_local(None), plain: NodeRef::new() }
    }

    /// What is written; none until the editor has come.
    pub fn text(self) -> Option<String> {
        match self.plain.get_untracked() {
            Some(area) => Some(area.value()),
            None => self.call("text", &JsValue::UNDEFINED)?.as_string(),
        }
    }

    pub fn replace(self, text: &str) {
        match self.plain.get_untracked() {
            Some(area) => area.set_value(text),
            None => drop(self.call("replace", &text.into())),
        }
    }

    fn call(self, name: &str, argument: &JsValue) -> Option<JsValue> {
        let view = self.view.try_get_value().flatten()?;
        let function: Function = Reflect::get(&view, &name.into()).ok()?.dyn_into().ok()?;
        function.call1(&view, argument).ok()
    }
}

/// `changed` is told after each change, not what it was.
#[component]
pub fn Editor(
    pen: Pen,
    text: String,
    /// apiVersion, kind and whether it has a namespace: what an empty text begins as.
    #[prop(optional)]
    template: Value,
    #[prop(optional)] read_only: bool,
    #[prop(optional)] changed: Option<Callback<()>>,
) -> impl IntoView {
    let node = NodeRef::<html::Div>::new();
    let plain = RwSignal::new(false);
    let text = StoredValue::new(text);
    let tell = move || changed.into_iter().for_each(|changed| changed.run(()));
    Effect::new(move |_| {
        let Some(node) = node.get() else { return };
        let template = template.clone();
        spawn_local(async move {
            let Ok(opener) = part::opener("editor").await else {
                plain.try_set(true);
                return;
            };
            // the page may have gone meanwhile
            let Some(start) = text.try_get_value() else { return };
            let options = options(&start, &template, read_only, tell);
            match options.and_then(|options| opener.call2(&JsValue::NULL, &node, &options)) {
                Ok(view) => drop(pen.view.try_set_value(Some(view))),
                Err(_) => {
                    plain.try_set(true);
                }
            }
        });
    });
    on_cleanup(move || drop(pen.call("close", &JsValue::UNDEFINED)));
    view! {
        {move || match plain.get() {
            false => view! { <div class="editor" class:reading=read_only node_ref=node></div> }.into_any(),
            true => view! {
                <p class="soft" role="status">{tr!(editor.plain)}</p>
                <textarea class="code" spellcheck="false" aria-label=tr!(editor.label) readonly=read_only node_ref=pen.plain
                    prop:value=text.get_value() on:input=move |_| tell()></textarea>
            }.into_any(),
        }}
        {(!read_only).then(|| view! { <p class="soft">{tr!(editor.keys)}</p> })}
    }
}

fn options(
    text: &str,
    template: &Value,
    read_only: bool,
    changed: impl Fn() + 'static,
) -> Result<JsValue, JsValue> {
    let phrases: Map<String, Value> = tr!(editor.phrases)
        .split(';')
        .filter_map(|pair| pair.split_once('='))
        .map(|(own, said)| (own.to_owned(), said.into()))
        .collect();
    let (name, wanted) = ("{name}", "{wanted}");
    let kinds = app().kinds.get_untracked();
    let kinds: Vec<_> = kinds.all.iter().map(|kind| json!([kind.api_version(), kind.kind])).collect();
    let options = json!({"label": tr!(editor.label), "readOnly": read_only, "kinds": kinds, "template": template, "words": {
        "unknown": tr!(editor.unknown, name = name), "type": tr!(editor.wrong_type, name = name, wanted = wanted),
        "value": tr!(editor.value, name = name, wanted = wanted), "missing": tr!(editor.missing, name = name),
        "twice": tr!(editor.twice, name = name), "syntax": tr!(editor.syntax), "phrases": phrases}});
    let options = JSON::parse(&options.to_string())?;
    Reflect::set(&options, &"text".into(), &text.into())?;
    Reflect::set(&options, &"changed".into(), &Closure::<dyn FnMut()>::new(changed).into_js_value())?;
    Ok(options)
}
