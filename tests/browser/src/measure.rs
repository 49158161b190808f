//! What a browser measures of itself: frames, times from an act to its picture, memory. Times are milliseconds.

use anyhow::{Context, Result};
use sampan_view::feed::{Ask, POSTCARD, Tell};
use serde_json::{Value, json};

use crate::Browser;

/// Answers when a page that was just opened could be used: the first time that its heading is there.
const USABLE: &str = "window.usable = new Promise(done => {
    const look = () => document.querySelector('main h1') && (seen.disconnect(), requestAnimationFrame(() => done(performance.now())));
    const seen = new MutationObserver(look);
    seen.observe(document, {childList: true, subtree: true});
});";

/// Does something and answers how long it took until what changed was painted.
const PAINTED: &str = "const [selector, act, argument, done] = arguments;
    const began = performance.now();
    const painted = () => { const channel = new MessageChannel(); channel.port1.onmessage = () => done(performance.now() - began); channel.port2.postMessage(0); };
    const seen = new MutationObserver(() => { seen.disconnect(); requestAnimationFrame(painted); });
    seen.observe(document.querySelector(selector), {childList: true, subtree: true, characterData: true});
    new Function('argument', act)(argument);";

/// Scrolls by so many pixels in each of so many frames; the frames' lengths, and in how many looks no row was seen.
const SCROLL: &str = "const [step, count, done] = arguments;
    const rows = document.querySelector('.rows'), frames = [];
    rows.scrollTop = 0;
    let last, blank = 0;
    const frame = now => {
        if (last) frames.push(now - last);
        last = now;
        rows.scrollTop += step;
        if (frames.length % 20 == 19 && !document.elementFromPoint(500, 400)?.closest('tr:not(.room)')) blank++;
        if (frames.length < count) return requestAnimationFrame(frame);
        done({frames, blank, rows: rows.querySelectorAll('tr').length});
    };
    requestAnimationFrame(frame);";

/// Asks a feed of its own for a list; how long until the whole of it is there. A message's first byte says what it is.
const SNAPSHOT: &str = "const [protocol, ask, hello, live, done] = arguments;
    const socket = new WebSocket(new URL('sampan/v1/feed', document.baseURI).href.replace(/^http/, 'ws'), protocol);
    socket.binaryType = 'arraybuffer';
    let began;
    socket.onclose = () => done('the feed was closed');
    socket.onmessage = ({data}) => {
        const kind = new Uint8Array(data)[0];
        if (kind == hello) { began = performance.now(); socket.send(ask); }
        if (kind == live) { socket.onclose = null; done(performance.now() - began); socket.close(); }
    };";

/// What scrolling was like.
#[derive(Clone, Debug)]
pub struct Scrolled {
    /// How long each frame took.
    pub frames: Vec<f64>,
    /// How often no row was where one had to be.
    pub blank: u64,
    /// Rows in the page.
    pub rows: u64,
}

/// The value that so many of a hundred do not exceed.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
        .get((values.len() * percent / 100).min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

impl Browser {
    /// Has every page that is opened from now on tell when it could be used.
    pub async fn watch_starts(&self) -> Result<()> {
        let script = json!({"source": USABLE});
        self.devtools("Page.addScriptToEvaluateOnNewDocument", script).await.map(drop)
    }

    /// Opens the page anew, with an empty cache if `cold`; how long until it could be used.
    pub async fn time_to_use(&self, cold: bool) -> Result<f64> {
        if cold {
            self.devtools("Network.clearBrowserCache", json!({})).await?;
        }
        self.client.refresh().await?;
        let script = "const done = arguments[arguments.length - 1]; window.usable.then(done)";
        self.client.execute_async(script, Vec::new()).await?.as_f64().context("a time")
    }

    /// Sorts the list by the column of that title.
    pub async fn time_of_sort(&self, title: &str) -> Result<f64> {
        let act = "[...document.querySelectorAll('.rows .sort')].find(one => one.innerText.trim() == argument).click()";
        self.time_of(".rows", act, title).await
    }

    /// Types a filter in place of the last; some of the rows shown have to change by it.
    pub async fn time_of_filter(&self, line: &str) -> Result<f64> {
        let act = "const field = document.querySelector('.filter input'); field.value = argument; field.dispatchEvent(new InputEvent('input', {bubbles: true}))";
        self.time_of(".tools .count", act, line).await
    }

    /// A list's snapshot over the feed, without what the page does with it.
    pub async fn time_of_snapshot(&self, ask: &Ask) -> Result<f64> {
        let none = String::new;
        let hello = Tell::Hello { user: none(), version: none(), boot: none(), now: 0 };
        let live = Tell::Live { view: 0, revision: none() };
        let first = |tell: &Tell| postcard::to_allocvec(tell).map(|bytes| json!(bytes.first()));
        let arguments =
            vec![json!(POSTCARD), json!(serde_json::to_string(ask)?), first(&hello)?, first(&live)?];
        let told = self.client.execute_async(SNAPSHOT, arguments).await?;
        told.as_f64().with_context(|| told.to_string())
    }

    async fn time_of(&self, watched: &str, act: &str, argument: &str) -> Result<f64> {
        let arguments = vec![json!(watched), json!(act), json!(argument)];
        self.client.execute_async(PAINTED, arguments).await?.as_f64().context("a time")
    }

    /// Scrolls the list.
    pub async fn scroll(&self, pixels_per_frame: u32, frames: usize) -> Result<Scrolled> {
        let told = self.client.execute_async(SCROLL, vec![json!(pixels_per_frame), json!(frames)]).await?;
        let frames = told["frames"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let count = |name: &str| told[name].as_u64().context("a count");
        Ok(Scrolled { frames, blank: count("blank")?, rows: count("rows")? })
    }

    /// Bytes in use after a collection: of JavaScript, and of the WebAssembly's memory.
    pub async fn heap(&self) -> Result<(f64, f64)> {
        self.devtools("HeapProfiler.collectGarbage", json!({})).await?;
        let usage = self.devtools("Runtime.getHeapUsage", json!({})).await?;
        let memory = self.run("return sampanMemory.buffer.byteLength", json!([])).await?;
        Ok((usage["usedSize"].as_f64().context("usedSize")?, memory.as_f64().context("memory")?))
    }
}
