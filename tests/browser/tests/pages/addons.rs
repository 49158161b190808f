//! The page of addons: it follows what others do, says what is wrong and what to do, and offers what may be done.

use anyhow::{Result, ensure};
use sampan_test_browser::{Browser, PLAIN, address};
use sampan_testkit::Cluster;
use serde_json::json;

/// `card` is the addon of a name.
const CARD: &str = "const card = document.querySelector(`.addon[aria-label=\"${arguments[0]}\"]`);";

async fn card(browser: &Browser, addon: &str, what: &str, wanted: &str) -> Result<()> {
    browser.until(what, &format!("{CARD} return Boolean(card) && {wanted}"), json!([addon])).await.map(drop)
}

/// What the command line does is seen on the open page, and a form that is open stays open.
pub async fn lives(cluster: &Cluster, browser: &Browser) -> Result<()> {
    const OPENED: &str = "card.querySelector('form.settings input')";
    browser.go("addons").await?;
    let open = format!("{CARD} card?.querySelector('button[aria-expanded]')?.click(); return Boolean(card)");
    browser.until("the form of dns", &open, json!(["dns"])).await?;
    card(browser, "dns", "its fields", &format!("{OPENED} != null")).await?;
    browser.run(&format!("{CARD} globalThis.field = {OPENED}"), json!(["dns"])).await?;
    let port = sampan_testkit::free_port();
    cluster.sampan(&["addons", "enable", "registry", "--set", &format!("listen=127.0.0.1:{port}")])?;
    card(
        browser,
        "registry",
        "enabled by another",
        "card.innerText.includes('Disable') && card.querySelector('.status.healthy')?.innerText == 'Healthy'",
    )
    .await?;
    cluster.sampan(&["addons", "disable", "registry"])?;
    card(browser, "registry", "disabled by another", "card.querySelector('.status')?.innerText == 'Off'")
        .await?;
    card(browser, "dns", "the form that was open", &format!("{OPENED} == globalThis.field")).await?;
    // a resolver that does not answer, by the form
    let set = format!("{CARD} const one = [...card.querySelectorAll('label.field')].find(one => one.innerText.startsWith('upstreams'))?.querySelector('textarea');
        if (!one) return false; one.value = arguments[1]; one.dispatchEvent(new Event('change')); return true");
    browser.until("its field", &set, json!(["dns", "no address"])).await?;
    let save = format!(
        "{CARD} const one = card.querySelector('form.settings button.primary'); if (one.disabled) return false; one.click(); return true"
    );
    browser.until("to save", &save, json!(["dns"])).await?;
    card(browser, "dns", "what is refused, at its field", "[...card.querySelectorAll('label.field')].find(one => one.innerText.startsWith('upstreams'))?.querySelector('.error').innerText.includes('upstreams')").await?;
    browser.is_accessible("a field that is refused").await?;
    browser.picture("addon-refused").await?;
    browser.until("its field", &set, json!(["dns", "127.0.0.1:9"])).await?;
    browser.until("to save", &save, json!(["dns"])).await?;
    browser.read(".toast", "Saved").await?;
    card(browser, "dns", "degraded, why and what next", "card.querySelector('.status.warning')?.innerText == 'Degraded' && [...card.querySelectorAll('p:not([hidden])')].some(one => one.innerText.startsWith('Why:') && one.innerText.includes('127.0.0.1:9')) && [...card.querySelectorAll('p:not([hidden])')].some(one => one.innerText.startsWith('Next:'))").await?;
    card(browser, "dns", "the form is done", "card.querySelector('form.settings') == null").await?;
    browser.is_accessible("an addon that is degraded").await?;
    browser.picture("addons").await?;
    browser.click_text("header.top button", "中文").await?;
    card(browser, "dns", "in Chinese", "card.querySelector('.status.warning')?.innerText == '部分可用' && card.querySelector('p:not([hidden]) [lang=en]') != null").await?;
    browser.picture("addons-zh").await?;
    browser.click_text("header.top button", "English").await?;
    browser.see("html[lang=en]").await?;
    cluster.sampan(&["addons", "configure", "dns", "--unset", "upstreams"])?;
    Ok(())
}

/// Who may only look sees everything, and each button says what is missing.
pub async fn read_only(cluster: &Cluster) -> Result<()> {
    let token = cluster.sampan(&["token", "create", "looks", "--scope", "read"])?;
    let browser = Browser::start(PLAIN).await?;
    browser.client.goto(&address(cluster)?).await?;
    browser.fill(".sign-in input", token.trim()).await?;
    browser.click(".sign-in button").await?;
    browser.see("header.top").await?;
    browser.go("addons").await?;
    for (addon, verb) in [("dns", "disable"), ("registry", "enable")] {
        let said = format!(
            "[...card.querySelectorAll(':scope > .line button')].some(one => one.disabled && one.title.includes('post /sampan/v1/addons/{addon}/{verb}'))"
        );
        card(&browser, addon, "the button says what is missing", &said).await?;
    }
    let open = format!("{CARD} card?.querySelector('button[aria-expanded]')?.click(); return Boolean(card)");
    browser.until("the form of dns", &open, json!(["dns"])).await?;
    card(&browser, "dns", "saving says what is missing", "card.querySelector('form.settings button.primary')?.title.includes('post /sampan/v1/addons/dns/configure') && card.querySelector('form.settings button.primary').disabled").await?;
    ensure!(cluster.sampan(&["addons", "list"])?.contains("dns"));
    cluster.sampan(&["token", "rm", "looks"]).map(drop)
}
