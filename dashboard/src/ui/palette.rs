//! The command palette: kinds, objects, pages, actions and settings by a few letters. `scale web`, `logs deploy web`: an
//! action and what it is done to; an action alone is for the object that is open.

use std::time::Duration;

use leptos::{html, prelude::*};
use sampan_view::{feed::Kind, lower_case, place};

use super::{dialog, go};
use crate::{
    app::app,
    kinds::{Kinds, Resource},
    net::feed::{self, View},
    pages::detail::verbs::Verb,
    settings::Theme,
    text::Locale,
};

/// Kinds whose objects are found by their names; of any other with the kind before: `lease kubelet`.
const SOUGHT: [&str; 13] = [
    "pods",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "services",
    "ingresses.networking.k8s.io",
    "jobs.batch",
    "cronjobs.batch",
    "configmaps",
    "secrets",
    "persistentvolumeclaims",
    "namespaces",
    "nodes",
];
/// Entries shown, and how many of them are objects.
const SHOWN: usize = 14;
const OBJECTS: usize = 9;
/// Letters before objects are looked for, and the pause after the last of them.
const LETTERS: usize = 2;
const PAUSE: Duration = Duration::from_millis(150);

#[derive(Clone)]
struct Entry {
    title: String,
    hint: String,
    command: Command,
}

#[derive(Clone)]
enum Command {
    Go(String),
    /// Something done to an object: its kind, namespace and name.
    Do(Verb, Resource, String, String),
    Paint(Theme),
    Speak(Locale),
    Help,
}

#[component]
pub fn Palette() -> impl IntoView {
    let open = app().palette;
    move || open.get().then(|| view! { <PaletteDialog /> })
}

fn entries() -> Vec<Entry> {
    let entry =
        |title: &str, hint: &str, command| Entry { title: title.to_owned(), hint: hint.to_owned(), command };
    let page = |title: &str, path: &str| entry(title, tr!(palette.page), Command::Go(path.to_owned()));
    let mut all = vec![
        page(tr!(nav.overview), ""),
        page(tr!(nav.addons), "addons"),
        page(tr!(nav.who), "access"),
        page(tr!(nav.topology), "topology"),
        page(tr!(action.create), "create"),
    ];
    let kinds = app().kinds.read_untracked();
    // a page of what cannot be watched would be old at once
    all.extend(kinds.all.iter().filter(|kind| kind.can("watch")).map(kind_entry));
    all.extend(Theme::ALL.map(|theme| entry(theme.label(), tr!(theme.title), Command::Paint(theme))));
    let language = |locale: Locale| entry(locale.own_name(), tr!(palette.language), Command::Speak(locale));
    all.extend(Locale::ALL.map(language));
    all.push(entry(tr!(keys.title), "?", Command::Help));
    all
}

fn kind_entry(kind: &Resource) -> Entry {
    let title = format!("{} {}", kind.kind, kind.short.join(" "));
    Entry { title, hint: kind.path(), command: Command::Go(kind.path()) }
}

/// Letters of the question in their order; the earlier and closer, the better.
fn score(text: &str, question: &str) -> Option<usize> {
    let text = lower_case(text);
    if let Some(at) = text.find(question) {
        return Some(at);
    }
    let mut from = 0;
    for letter in question.chars() {
        from += text[from..].find(letter)? + letter.len_utf8();
    }
    Some(100 + from)
}

type Rated = Vec<(usize, Entry)>;

/// What the letters ask to be done, and the rest of them. Kinds come first: `ev web` looks for Events.
fn verbs(question: &str) -> (Option<&str>, &str) {
    let kinds = app().kinds.read_untracked();
    let known = |letters: &str| {
        let verbs = || kinds.all.iter().flat_map(Verb::of);
        letters.len() > 1 && verbs().any(|verb| verb.begins(letters))
    };
    // labels may have two words: `roll back web`
    let ends = question.match_indices(' ').map(|(at, _)| at).take(2);
    match ends.filter(|at| kind_of(&kinds, &question[..*at]).is_none() && known(&question[..*at])).last() {
        Some(at) => (Some(&question[..at]), question[at..].trim()),
        None => (None, question),
    }
}

/// The object that is open, if one is.
fn opened(path: &str, drawer: &str) -> Option<(Resource, String, String)> {
    let full = if drawer.is_empty() { path.to_owned() } else { format!("{path}/{drawer}") };
    let parts: Vec<String> = full.split('/').map(place::decode).collect();
    let (kind, namespace, name) = match parts.as_slice() {
        [kind, name] => (kind, "", name),
        [kind, namespace, name] => (kind, if namespace == "-" { "" } else { namespace.as_str() }, name),
        _ => return None,
    };
    let resource = app().kinds.read_untracked().of_path(kind)?.clone();
    Some((resource, namespace.to_owned(), name.clone()))
}

fn done(verb: Verb, resource: &Resource, namespace: &str, name: &str) -> Entry {
    let place = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
    let command = Command::Do(verb, resource.clone(), namespace.to_owned(), name.to_owned());
    Entry { title: format!("{} {place}", verb.label()), hint: resource.kind.clone(), command }
}

fn found(
    question: &str,
    sought: &[(Resource, View)],
    open: Option<&(Resource, String, String)>,
) -> Vec<Entry> {
    let question = lower_case(question.trim());
    let rate = |entry: &Entry| {
        score(&entry.title, &question).or_else(|| score(&entry.hint, &question).map(|score| score + 50))
    };
    let mut rated = Rated::new();
    if let Some((resource, namespace, name)) = open {
        let here = Verb::of(resource).into_iter().filter(|verb| verb.begins(&question));
        rated.extend(here.map(|verb| (0, done(verb, resource, namespace, name))));
    }
    // a kind's own name comes before all that has its letters
    let named = kind_of(&app().kinds.read_untracked(), &question).map(kind_entry);
    let hint = named.as_ref().map(|entry| entry.hint.clone());
    rated.extend(named.map(|entry| (0, entry)));
    let others = entries().into_iter().filter(|entry| Some(&entry.hint) != hint.as_ref());
    rated.extend(others.filter_map(|entry| Some((rate(&entry)?, entry))));
    let (verb, rest) = verbs(&question);
    let (_, name) = wanted(rest);
    rated.extend(objects(&name, sought, verb));
    sampan_dashboard_logic::sort::by_key(&mut rated, |(score, _)| *score);
    rated.into_iter().map(|(_, entry)| entry).take(SHOWN).collect()
}

/// The objects that were found, those that fit best, or what is asked to be done to them.
fn objects(name: &str, sought: &[(Resource, View)], verb: Option<&str>) -> Rated {
    let mut rated = Rated::new();
    for (resource, view) in sought {
        let asked = |letters| Verb::of(resource).into_iter().filter(|verb| verb.begins(letters)).collect();
        let verbs: Option<Vec<Verb>> = verb.map(asked);
        for row in view.live().read().rows.values() {
            let Some(score) = row.name.find(name) else { continue };
            if let Some(verbs) = &verbs {
                let entry = |verb: &Verb| (score, done(*verb, resource, &row.namespace, &row.name));
                rated.extend(verbs.iter().map(entry));
                continue;
            }
            let title = if row.namespace.is_empty() {
                row.name.clone()
            } else {
                format!("{}/{}", row.namespace, row.name)
            };
            let command = Command::Go(resource.page(&row.namespace, &row.name));
            rated.push((score, Entry { title, hint: resource.kind.clone(), command }));
        }
    }
    sampan_dashboard_logic::sort::by(&mut rated, |(a, one), (b, other)| {
        (a, &one.title).cmp(&(b, &other.title))
    });
    rated.truncate(OBJECTS);
    rated
}

/// The kind that a word names: `po`, `pods`, `Pod`.
fn kind_of<'a>(kinds: &'a Kinds, word: &str) -> Option<&'a Resource> {
    let own = |kind: &&Resource| {
        let short = kind.short.iter().any(|short| short == word);
        short || kind.plural == word || kind.kind.eq_ignore_ascii_case(word)
    };
    kinds.all.iter().find(own)
}

/// The kinds to look in and the name to look for: `po web` looks for `web` in pods alone.
fn wanted(question: &str) -> (Vec<Resource>, String) {
    let kinds = app().kinds.read_untracked();
    if let Some((first, rest)) = question.split_once(' ')
        && let Some(kind) = kind_of(&kinds, first)
    {
        return (vec![kind.clone()], rest.trim().to_owned());
    }
    (SOUGHT.iter().filter_map(|path| kinds.of_path(path).cloned()).collect(), question.to_owned())
}

/// Looks for objects whose rows have the name; the daemon filters them.
fn seek(question: &str, namespaces: Vec<String>) -> Vec<(Resource, View)> {
    let question = lower_case(question.trim());
    let (_, rest) = verbs(&question);
    let (kinds, name) = wanted(rest);
    if name.chars().count() < LETTERS
        || name.contains(|letter: char| {
            letter.is_ascii() && !letter.is_ascii_alphanumeric() && !"-.".contains(letter)
        })
    {
        return Vec::new();
    }
    let open = |resource: Resource| {
        let namespaces = if resource.namespaced { namespaces.clone() } else { Vec::new() };
        let kind: Kind = resource.feed();
        let view = feed::list(feed::List { kind, namespaces, filter: name.clone(), ..Default::default() });
        (resource, view)
    };
    kinds.into_iter().map(open).collect()
}

#[component]
fn PaletteDialog() -> impl IntoView {
    let node = NodeRef::<html::Dialog>::new();
    let question = RwSignal::new(String::new());
    let at = RwSignal::new(0usize);
    let namespaces = go::namespaces();
    let open = opened(&go::path().get_untracked(), &go::word("open").get_untracked());
    let sought = RwSignal::new(Vec::<(Resource, View)>::new());
    Effect::new(move |_| {
        let question = question.get();
        let look = move || {
            // the palette may be closed by now
            if let Some(namespaces) = namespaces.try_get_untracked() {
                sought.try_set(seek(&question, namespaces));
            }
        };
        let timer = set_timeout_with_handle(look, PAUSE);
        on_cleanup(move || {
            if let Ok(timer) = timer {
                timer.clear();
            }
        });
    });
    let close = move || {
        dialog::shut(node);
        app().palette.set(false);
    };
    Effect::new(move |_| {
        if let Some(node) = node.get() {
            let _ = node.show_modal();
        }
    });
    let all =
        Memo::new_with_compare(move |_| found(&question.read(), &sought.read(), open.as_ref()), |_, _| true);
    let run = move |entry: &Entry| {
        close();
        match &entry.command {
            Command::Go(path) => go::to(path),
            Command::Do(verb, resource, namespace, name) => verb.run(resource, namespace, name),
            Command::Paint(theme) => app().paint(*theme),
            Command::Speak(locale) => app().speak(*locale),
            Command::Help => app().help.set(true),
        }
    };
    let submit = {
        let run = run.clone();
        move |event: leptos::ev::SubmitEvent| {
            event.prevent_default();
            if let Some(entry) = all.read_untracked().get(at.get_untracked()) {
                run(entry);
            }
        }
    };
    let walk = move |event: leptos::ev::KeyboardEvent| {
        let last = all.read_untracked().len().saturating_sub(1);
        match event.key().as_str() {
            "ArrowDown" => at.update(|at| *at = (*at + 1).min(last)),
            "ArrowUp" => at.update(|at| *at = at.saturating_sub(1)),
            _ => return,
        }
        event.prevent_default();
    };
    view! {
        <dialog class="palette" node_ref=node on:close=|event| if dialog::closed(&event) { app().palette.set(false) } aria-label=tr!(palette.title)>
            <form method="dialog" on:submit=submit>
                <input type="text" role="combobox" aria-expanded="true" aria-controls="palette-list" autofocus="true"
                    aria-activedescendant=move || format!("palette-{}", at.get()) placeholder=tr!(palette.ask) autocomplete="off"
                    on:keydown=walk on:input=move |event| { at.set(0); question.set(event_target_value(&event)); } />
                <ul id="palette-list" role="listbox" aria-label=tr!(palette.title)>
                    {move || all.get().into_iter().enumerate().map(|(index, entry)| {
                        let run = run.clone();
                        let (title, hint) = (entry.title.clone(), entry.hint.clone());
                        view! {
                            <li role="option" id=format!("palette-{index}") aria-selected=move || (at.get() == index).to_string()
                                on:click=move |_| run(&entry)>
                                <span>{title}</span><span class="soft">{hint}</span>
                            </li>
                        }
                    }).collect_view()}
                </ul>
            </form>
        </dialog>
    }
}
