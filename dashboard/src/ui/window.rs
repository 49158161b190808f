//! Which rows of a long list are in the DOM: the ones seen and a few around them. Rows are of one height, so that the
//! place of each is known without measuring.

use leptos::{html, prelude::*};

/// Rows above and below the ones seen.
const AROUND: usize = 12;

/// The seen part of a list in an element that scrolls.
#[derive(Clone, Copy)]
pub struct Window {
    pub node: NodeRef<html::Div>,
    height: f64,
    top: RwSignal<f64>,
    seen: RwSignal<f64>,
    /// How wide it is, in pixels; 0 before that is known.
    pub wide: RwSignal<f64>,
    /// The end was in sight when somebody scrolled last: what comes keeps it there.
    at_end: StoredValue<bool>,
}

impl Window {
    pub fn new(height: f64) -> Self {
        let window = Self {
            node: NodeRef::new(),
            height,
            top: RwSignal::new(0.0),
            seen: RwSignal::new(800.0),
            wide: RwSignal::new(0.0),
            at_end: StoredValue::new(true),
        };
        Effect::new(move |_| {
            if window.node.get().is_some() {
                window.measure();
            }
        });
        let resized = window_event_listener(leptos::ev::resize, move |_| window.measure());
        on_cleanup(move || resized.remove());
        window
    }

    pub fn measure(&self) {
        let Some(node) = self.node.get_untracked() else { return };
        let below = node.scroll_height() - node.scroll_top() - node.client_height();
        self.at_end.set_value(f64::from(below) < self.height * 2.0);
        let wide = f64::from(node.client_width());
        if wide > 0.0 && self.wide.get_untracked() != wide {
            self.wide.set(wide);
        }
        let seen = f64::from(node.client_height()).clamp(200.0, 2200.0);
        if (self.seen.get_untracked() - seen).abs() > 1.0 {
            self.seen.set(seen);
        }
        // steps of a few rows: a scroll within them draws nothing
        let step = self.height * 4.0;
        let top = (f64::from(node.scroll_top()) / step).floor() * step;
        if self.top.get_untracked() != top {
            self.top.set(top);
        }
    }

    /// The rows to draw, of so many.
    pub fn range(&self, count: usize) -> (usize, usize) {
        let first = (self.top.get() / self.height) as usize;
        let rows = (self.seen.get() / self.height).ceil() as usize + 4;
        let last = (first + rows + AROUND).min(count);
        (first.saturating_sub(AROUND).min(last), last)
    }

    /// The pixels of so many rows, for the room above and below the ones drawn.
    pub fn room(&self, rows: usize) -> String {
        format!("{}px", (rows as f64 * self.height) as u64)
    }

    /// Scrolls as little as is needed to see a row below a head of so many pixels.
    pub fn reveal(&self, row: usize, head: f64) {
        let Some(node) = self.node.get_untracked() else { return };
        let (top, seen) = (f64::from(node.scroll_top()), f64::from(node.client_height()) - head);
        let at = row as f64 * self.height;
        if at < top {
            node.set_scroll_top(at as i32);
        } else if at + self.height > top + seen {
            node.set_scroll_top((at + self.height - seen) as i32);
        }
    }

    /// Puts a row into the middle; what comes at the end does not move it.
    pub fn centre(&self, row: usize) {
        let Some(node) = self.node.get_untracked() else { return };
        let above = (f64::from(node.client_height()) - self.height) / 2.0;
        node.set_scroll_top((row as f64 * self.height - above).max(0.0) as i32);
        self.measure();
        self.at_end.set_value(false);
    }

    /// The last row that is seen, of so many.
    pub fn last_seen(&self, count: usize) -> Option<usize> {
        let node = self.node.get_untracked()?;
        let end = f64::from(node.scroll_top() + node.client_height()) / self.height;
        (end as usize).min(count).checked_sub(1)
    }

    /// Keeps the end in sight if it was.
    pub fn follow(&self) {
        if self.at_end.try_get_value() == Some(true)
            && let Some(node) = self.node.get_untracked()
        {
            node.set_scroll_top(node.scroll_height());
        }
    }
}
