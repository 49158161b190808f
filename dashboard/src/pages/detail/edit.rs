//! An object's YAML, read and edited. Before anything is saved the API server is asked what would come of it (dry run), and
//! the difference is shown; the object's `resourceVersion` goes along, so nobody's change is overwritten unseen.

use std::sync::Arc;

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::{
    cover,
    difference::{self, Line},
    merge, yaml,
};
use serde_json::Value;

use super::Object;
use crate::{
    app::app,
    kinds::{Resource, word},
    net::api::{self, Call, Failure, May, Wish},
    ui::{
        editor::{Editor, Pen},
        focus,
        icon::{Icon, Shape},
        leave, toast,
    },
};

const YAML: &str = "application/yaml";

/// A longer text is read in the editor, which draws what is seen of it.
const LONG: usize = 100_000;

#[component]
pub fn Edit(resource: Resource, namespace: String, name: String, object: Object) -> impl IntoView {
    // the object as it was when editing began
    let began = RwSignal::new(None::<Arc<Value>>);
    let pen = Pen::new();
    let difference = RwSignal::new(None::<Vec<Line>>);
    // what the text is compared with: that, or what others made of it since
    let base = RwSignal::new(None::<Arc<Value>>);
    // what others made of it, if it clashes with the text
    let theirs = RwSignal::new(None::<Arc<Value>>);
    let error = RwSignal::new(String::new());
    let path = StoredValue::new(resource.object(&namespace, &name));
    // a Secret's values are shown when asked for
    let secret = resource.plural == "secrets" && resource.group.is_empty();
    let cover = RwSignal::new(secret);
    let send = move |dry: bool| {
        let before = base.get_untracked().or_else(|| began.get_untracked());
        let (Some(text), Some(before)) = (pen.text(), before) else { return };
        let cover = cover.get_untracked();
        let typed = text.clone();
        let text = if cover { cover::uncovered(&text, &before) } else { Ok(text) };
        let text = match text {
            Ok(text) => text,
            Err(line) => return error.set(tr!(editor.still_covered, line = line)),
        };
        let path = path.get_value();
        spawn_local(async move {
            let sent = send_on(path, text, before, dry).await;
            // the page may have gone meanwhile
            if error.try_set(String::new()).is_some() {
                return;
            }
            theirs.set(None);
            difference.set(None);
            match sent.result {
                _ if !sent.clash.is_empty() => {
                    error.set(sent.clash);
                    theirs.set(Some(sent.before));
                }
                Ok(answer) if dry => difference.set(Some(would(&sent.before, &answer, cover))),
                Ok(answer) => {
                    toast::good(tr!(edit.saved));
                    let Some(now) = pen.text().filter(|now| *now != typed) else {
                        app().unsaved.set(false);
                        return began.set(None);
                    };
                    // somebody typed on meanwhile: that is a change of what is saved now
                    if let Some(now) = merge::at_version(&now, &word(&answer["metadata"]["resourceVersion"]))
                    {
                        pen.replace(&now);
                    }
                    base.set(Some(Arc::new(answer)));
                }
                Err(failure) => error.set(toast::explain(&failure)),
            }
        });
    };
    // the user's text stays, on what the others made: what it would undo is seen at the next check
    let rebase = move |_| {
        let (Some(text), Some(found)) = (pen.text(), theirs.get_untracked()) else { return };
        let version = word(&found["metadata"]["resourceVersion"]);
        if let Some(text) = merge::at_version(&text, &version) {
            pen.replace(&text);
        }
        base.set(Some(found));
        send(true);
    };
    let may = api::allowed(Wish {
        verb: "update",
        group: resource.group.clone(),
        resource: resource.plural.clone(),
        subresource: "",
        namespace: namespace.clone(),
        name: name.clone(),
    });
    let stop = move |_| {
        if !leave::may() {
            return;
        }
        theirs.set(None);
        began.set(None);
        difference.set(None);
        error.set(String::new());
        focus::rest(".yaml button");
    };
    let toggle = move |_| {
        if let Some(before) = began.get_untracked() {
            let Some(text) = pen.text() else { return };
            match cover::uncovered(&text, &before) {
                Ok(text) => {
                    let unsaved = app().unsaved.get_untracked();
                    pen.replace(&text);
                    app().unsaved.set(unsaved);
                }
                Err(line) => return error.set(tr!(editor.still_covered, line = line)),
            }
        }
        cover.update(|on| *on = !*on);
    };
    let editing = Memo::new(move |_| began.with(Option::is_some));
    // what was shown cannot be told from what was typed: it is not covered again
    let may_toggle = move || secret && (cover.get() || !editing.get());
    let changed = Callback::new(move |()| {
        difference.set(None);
        app().unsaved.set(true);
    });
    on_cleanup(|| app().unsaved.set(false));
    view! {
        <section class="yaml">
            <div class="line">
                {move || match editing.get() {
                    false => view! { <button disabled=move || *may.read() != May::Yes title=move || may.read().why_not() on:click=move |_| { base.set(None); began.set(object.get_untracked()) }><Icon shape=Shape::Edit />{tr!(edit.edit)}</button> }.into_any(),
                    true => view! {
                        <button on:click=move |_| send(true)>{tr!(edit.check)}</button>
                        <button class="primary" disabled=move || difference.with(Option::is_none) on:click=move |_| send(false)>{tr!(edit.save)}</button>
                        <button on:click=stop>{tr!(action.cancel)}</button>
                        <span class="soft">{tr!(edit.help)}</span>
                    }.into_any(),
                }}
                {move || may_toggle().then(|| view! {
                    <button on:click=toggle><Icon shape=Shape::Eye />{move || if cover.get() { tr!(editor.show_values) } else { tr!(editor.hide_values) }}</button>
                })}
            </div>
            {move || (editing.get() && cover.get()).then(|| view! { <p class="soft">{tr!(editor.covered)}</p> })}
            {move || theirs.get().map(|_| view! { <p>{tr!(edit.clash)}</p> })}
            <p class="error" role="alert">{error}</p>
            {move || theirs.get().map(|theirs| {
                let old = base.get_untracked().or_else(|| began.get_untracked()).unwrap_or_default();
                let lines = would(&old, &theirs, cover.get_untracked());
                view! {
                    <div class="clash">
                        <p>{tr!(edit.theirs)}</p>
                        <Difference lines />
                        <div class="line">
                            <button on:click=rebase>{tr!(edit.rebase)}</button>
                            <button on:click=move |_| send(true)>{tr!(edit.again)}</button>
                        </div>
                    </div>
                }
            })}
            {move || difference.get().map(|lines| view! { <Difference lines /> })}
            {move || match began.get() {
                Some(before) => {
                    let text = cover::shown(&before, cover.get_untracked());
                    view! { <Editor pen text changed /> }.into_any()
                }
                None => view! { <Reading object cover /> }.into_any(),
            }}
        </section>
    }
}

#[component]
fn Reading(object: Object, cover: RwSignal<bool>) -> impl IntoView {
    move || {
        object.get().map(|object| {
            let text = cover::shown(&object, cover.get());
            match text.len() > LONG {
                true => view! { <Editor pen=Pen::new() text read_only=true /> }.into_any(),
                false => view! { <pre class="code" tabindex="0">{text}</pre> }.into_any(),
            }
        })
    }
}

/// What the server would make of it.
fn would(before: &Value, answer: &Value, cover: bool) -> Vec<Line> {
    let (old, new) = (yaml::clean(before), yaml::clean(answer));
    let new = yaml::print(&if cover { cover::covered_beside(&new, &old) } else { new });
    difference::lines(&cover::shown(before, cover), &new)
}

/// What came of a text that was sent.
struct Sent {
    /// The object as it was before: as it was shown, or as others made it since.
    before: Arc<Value>,
    /// The answer; why there is none; or what others changed as well, where nothing was sent.
    result: Result<Value, Failure>,
    clash: String,
}

/// Calls at most, if the object changes all the time.
const LOOKS: usize = 12;

/// Sends a text; if the object has changed since, with what others changed, unless that is the same.
async fn send_on(path: String, text: String, base: Arc<Value>, dry: bool) -> Sent {
    let (mut before, mut body, mut kind) = (base.clone(), text.clone(), YAML);
    // what is sent only to be read: what the text makes of the object as it is now
    let mut reading = false;
    let mut clash = String::new();
    let mut left = LOOKS;
    let result = loop {
        if left == 0 {
            break Err(Failure { code: 409, reason: "Conflict".to_owned(), message: String::new() });
        }
        left -= 1;
        let newer = match put(&path, body, kind, dry || reading).await {
            Err(failure) if failure.code == 409 => match api::get(&path).await {
                Ok(found) => {
                    before = Arc::new(found);
                    let version = word(&before["metadata"]["resourceVersion"]);
                    let same = before["metadata"]["uid"] == base["metadata"]["uid"];
                    (reading, kind) = (true, YAML);
                    merge::at_version(&text, &version).filter(|_| same).ok_or(failure)
                }
                Err(failure) => Err(failure),
            },
            Ok(mine) if reading => match merge::merge(&base, &mine, &before) {
                Ok(merged) => {
                    (reading, kind) = (false, "application/json");
                    Ok(merged.to_string())
                }
                Err(paths) => {
                    clash = paths.join(", ");
                    break Ok(mine);
                }
            },
            Err(failure) if reading => {
                clash = toast::explain(&failure);
                break Err(failure);
            }
            result => break result,
        };
        match newer {
            Ok(newer) => body = newer,
            Err(failure) => break Err(failure),
        }
    };
    Sent { before, result, clash }
}

async fn put(path: &str, text: String, kind: &str, dry: bool) -> Result<Value, Failure> {
    let dry = if dry { "&dryRun=All" } else { "" };
    let path = format!("{path}?fieldManager=sampan-dashboard&fieldValidation=Strict{dry}");
    Call::new("PUT", &path).body(kind, text).value().await
}

/// What would change, with a few lines around.
#[component]
pub fn Difference(lines: Vec<Line>) -> impl IntoView {
    const AROUND: usize = 3;
    // a line may be a whole file
    const LETTERS: usize = 2_000;
    let changed: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !matches!(line, Line::Same(_)))
        .map(|(at, _)| at)
        .collect();
    if changed.is_empty() {
        return view! { <p class="soft" role="status">{tr!(edit.same)}</p> }.into_any();
    }
    let near = |at: usize| {
        let after = changed.partition_point(|own| *own + AROUND < at);
        changed.get(after).is_some_and(|own| own.abs_diff(at) <= AROUND)
    };
    let shown: Vec<usize> = (0..lines.len()).filter(|at| near(*at)).collect();
    let one = |line: &Line| match line {
        Line::Same(text) => view! { <div>{format!("  {}", cut(text.clone(), LETTERS))}</div> }.into_any(),
        Line::Gone(text) => {
            view! { <div class="gone">{format!("- {}", cut(text.clone(), LETTERS))}</div> }.into_any()
        }
        Line::New(text) => {
            view! { <div class="new">{format!("+ {}", cut(text.clone(), LETTERS))}</div> }.into_any()
        }
    };
    let mut views = Vec::new();
    let mut next = 0;
    for at in shown {
        if at != next {
            views.push(view! { <div class="gap">"⋯"</div> }.into_any());
        }
        next = at + 1;
        views.push(one(&lines[at]));
    }
    view! { <pre class="difference" role="status" aria-label=tr!(edit.difference)>{views}</pre> }.into_any()
}

/// At most so many letters, and how many more there are.
pub fn cut(text: String, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        None => text,
        Some((at, _)) => {
            format!("{}{}", &text[..at], tr!(editor.cut, count = text[at..].chars().count()))
        }
    }
}
