//! The whole page: what all of it shares, and the redraw when the language changes.

use std::{cell::OnceCell, sync::Arc};

use leptos::{prelude::*, task::spawn_local};

use crate::{
    kinds::Kinds,
    net::{api::Failure, feed},
    pages,
    session::{self, Session},
    settings::{self, Theme},
    text::{self, Locale},
    ui::{dialog, dock, focus, go, keys, leave, palette, shell::Shell, toast},
};

/// How the feed's connection is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    Connecting,
    Live,
    /// Nothing is new since then; the next attempt is at `until`. Milliseconds since 1970.
    Waiting {
        since: f64,
        until: f64,
    },
}

/// What every part of the page may look at.
#[derive(Clone, Copy)]
pub struct App {
    pub language: RwSignal<Locale>,
    pub theme: RwSignal<Theme>,
    /// The daemon was asked who is signed in.
    pub asked: RwSignal<bool>,
    pub session: RwSignal<Option<Session>>,
    /// How one signs in, by the daemon's word.
    pub command: RwSignal<String>,
    /// A text was written that is nowhere else yet.
    pub unsaved: RwSignal<bool>,
    pub link: RwSignal<Link>,
    pub kinds: RwSignal<Arc<Kinds>>,
    /// Seconds since 1970 by the daemon's clock, told once a second.
    pub now: RwSignal<i64>,
    /// What the daemon's clock is ahead of the browser's, milliseconds.
    pub skew: RwSignal<f64>,
    pub toasts: RwSignal<Vec<toast::Toast>>,
    pub dialog: RwSignal<Option<dialog::Dialog>>,
    pub address: RwSignal<go::Address>,
    pub palette: RwSignal<bool>,
    pub dock: dock::Dock,
    pub help: RwSignal<bool>,
}

thread_local! {
    static APP: OnceCell<App> = const { OnceCell::new() };
}

/// The one page of this tab.
pub fn app() -> App {
    APP.with(|app| *app.get_or_init(App::new))
}

impl App {
    fn new() -> Self {
        Self {
            language: RwSignal::new(settings::language()),
            theme: RwSignal::new(settings::theme()),
            asked: RwSignal::new(false),
            session: RwSignal::new(None),
            command: RwSignal::new("sampan dashboard".to_owned()),
            unsaved: RwSignal::new(false),
            link: RwSignal::new(Link::Connecting),
            kinds: RwSignal::new(Arc::default()),
            now: RwSignal::new(seconds(0.0)),
            skew: RwSignal::new(0.0),
            toasts: RwSignal::new(Vec::new()),
            dialog: RwSignal::new(None),
            address: RwSignal::new(go::Address::now()),
            palette: RwSignal::new(false),
            dock: dock::Dock::new(),
            help: RwSignal::new(false),
        }
    }

    pub fn speak(self, locale: Locale) {
        // the page is drawn anew
        if !leave::may() {
            return;
        }
        spawn_local(async move {
            match text::speak(locale).await {
                Ok(()) => {
                    settings::set_language(locale);
                    self.language.set(locale);
                    focus::rest("#page");
                }
                Err(error) => toast::bad(&Failure::unreached(&error)),
            }
        });
    }

    pub fn paint(self, theme: Theme) {
        settings::set_theme(theme);
        self.theme.set(theme);
    }
}

fn seconds(skew: f64) -> i64 {
    ((js_sys::Date::now() + skew) / 1000.0) as i64
}

/// The path of `<base href>`, without the slash at its end: where nginx put the daemon.
pub fn base() -> String {
    let base = document().base_uri().ok().flatten().unwrap_or_default();
    let path = web_sys::Url::new(&base).map(|url| url.pathname()).unwrap_or_default();
    path.trim_end_matches('/').to_owned()
}

#[component]
pub fn Dashboard() -> impl IntoView {
    let app = app();
    set_interval(move || app.now.set(seconds(app.skew.get_untracked())), std::time::Duration::from_secs(1));
    let _ = window_event_listener_untyped("visibilitychange", |_| feed::pace(document().hidden()));
    spawn_local(async {
        let _ = session::resume().await;
    });
    keys::listen();
    leave::listen();
    go::listen();
    view! {
        {move || {
            app.language.track();
            match (app.asked.get(), app.session.with(Option::is_some)) {
                (false, _) => ().into_any(),
                (true, false) => view! { <pages::sign_in::SignIn /> }.into_any(),
                (true, true) => view! { <Signed /> }.into_any(),
            }
        }}
        <dock::DockBar />
        <toast::Toasts />
    }
}

#[component]
fn Signed() -> impl IntoView {
    view! {
        <Shell>
            <pages::Page />
        </Shell>
        <dialog::Dialogs />
        <palette::Palette />
        <keys::Help />
    }
}
