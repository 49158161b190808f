//! The columns of a list as the user left them: which, in what order, how wide.

use serde_json::{Value, json};

/// Narrowest and widest, in pixels.
pub const WIDTHS: (u32, u32) = (48, 960);

/// What is kept of one kind's list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Keys of the columns in their order; empty for the usual ones.
    pub shown: Vec<String>,
    /// Pixels of those that were given a width.
    pub widths: Vec<(String, u32)>,
}

impl Kept {
    /// Reads what [`Self::text`] wrote; what it does not know it passes over.
    pub fn parse(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let shown = value["shown"].as_array().into_iter().flatten();
        let widths = value["widths"].as_object().into_iter().flatten();
        let pixels = |width: &Value| u32::try_from(width.as_u64()?).ok();
        Self {
            shown: shown.filter_map(|key| Some(key.as_str()?.to_owned())).collect(),
            widths: widths.filter_map(|(key, width)| Some((key.clone(), bounded(pixels(width)?)))).collect(),
        }
    }

    /// For the browser's store.
    pub fn text(&self) -> String {
        let widths: serde_json::Map<_, _> =
            self.widths.iter().map(|(key, width)| (key.clone(), json!(width))).collect();
        json!({"shown": self.shown, "widths": widths}).to_string()
    }

    /// The width that a column was given.
    pub fn width(&self, key: &str) -> Option<u32> {
        self.widths.iter().find(|(own, _)| own == key).map(|(_, width)| *width)
    }

    /// Gives a column a width; none takes it back.
    pub fn set_width(&mut self, key: &str, width: Option<u32>) {
        self.widths.retain(|(own, _)| own != key);
        self.widths.extend(width.map(|width| (key.to_owned(), bounded(width))));
    }
}

fn bounded(width: u32) -> u32 {
    width.clamp(WIDTHS.0, WIDTHS.1)
}

/// `shown` with `key` so many places further.
pub fn moved(shown: &[String], key: &str, by: isize) -> Vec<String> {
    let mut shown = shown.to_vec();
    if let Some(from) = shown.iter().position(|own| own == key) {
        let to = from.saturating_add_signed(by).min(shown.len() - 1);
        let key = shown.remove(from);
        shown.insert(to, key);
    }
    shown
}

/// `shown` with `key`, if it was without, at its end; else without.
pub fn toggled(shown: &[String], key: &str) -> Vec<String> {
    let mut others: Vec<String> = shown.iter().filter(|own| *own != key).cloned().collect();
    if others.len() == shown.len() {
        others.push(key.to_owned());
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(all: &str) -> Vec<String> {
        all.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let mut kept = Kept { shown: keys("Name Age a,b"), ..Kept::default() };
        kept.set_width("Age", Some(120));
        kept.set_width("Name", Some(7));
        assert_eq!(Kept::parse(&kept.text()), kept);
        assert_eq!((kept.width("Age"), kept.width("Name"), kept.width("IP")), (Some(120), Some(48), None));
        kept.set_width("Age", None);
        assert_eq!(kept.width("Age"), None);
        for strange in ["", "[]", "{\"shown\": 3, \"widths\": {\"a\": -1, \"b\": \"x\"}}"] {
            assert_eq!(Kept::parse(strange), Kept::default(), "{strange}");
        }
    }

    #[test]
    fn columns_move_and_go() {
        let shown = keys("a b c");
        assert_eq!(moved(&shown, "a", 1), keys("b a c"));
        assert_eq!(moved(&shown, "a", -1), shown);
        assert_eq!(moved(&shown, "c", 5), shown);
        assert_eq!(moved(&shown, "x", 1), shown);
        assert_eq!(toggled(&shown, "b"), keys("a c"));
        assert_eq!(toggled(&shown, "d"), keys("a b c d"));
    }
}
