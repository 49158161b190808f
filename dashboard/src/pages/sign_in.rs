//! Signing in with a token, for whoever did not come by `sampan dashboard`. The token goes to the daemon once and is kept
//! by no script.

use leptos::{prelude::*, task::spawn_local};

use crate::{app::app, session, ui::toast};

#[component]
pub fn SignIn() -> impl IntoView {
    let token = RwSignal::new(String::new());
    let error = RwSignal::new(String::new());
    let busy = RwSignal::new(false);
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        busy.set(true);
        spawn_local(async move {
            if let Err(failure) = session::sign_in(token.get_untracked()).await {
                error.set(toast::explain(&failure));
            }
            busy.set(false);
        });
    };
    view! {
        <main class="sign-in">
            <form on:submit=submit>
                <h1>"sampan"</h1>
                <p>{tr!(sign_in.how)}</p>
                <pre><code>{app().command}</code></pre>
                <label class="field">
                    {tr!(sign_in.token)}
                    <input type="password" autocomplete="off" spellcheck="false" required=true autofocus=true
                        prop:value=token on:input=move |event| token.set(event_target_value(&event)) />
                </label>
                <p class="error" role="alert">{error}</p>
                <button class="primary" disabled=busy>{tr!(sign_in.go)}</button>
            </form>
        </main>
    }
}
