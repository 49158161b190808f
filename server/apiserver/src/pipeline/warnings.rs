//! Texts for the `Warning` headers of an answer, whichever answer it is: upstream's `k8s.io/apiserver/pkg/warning`.
//!
//! They are kept beside the request, as a task-local value, because who finds something to warn of often does not know
//! what becomes of the request: one that is refused is warned all the same.

use std::collections::HashSet;
use std::future::Future;
use std::ops::Deref;

use parking_lot::Mutex;

tokio::task_local! {
    static TOLD: Mutex<Told>;
}

/// Beyond so many characters in all, texts are cut, and then no more are taken (`endpoints/filters/warning.go`).
const MOST_CHARS: usize = 4096;
/// To how many each is cut.
const CUT_CHARS: usize = 256;

/// What is to be told: upstream's `recorder`.
#[derive(Default)]
struct Told {
    texts: Vec<String>,
    /// As they were told, whole.
    known: HashSet<String>,
    /// The characters of `texts`.
    chars: usize,
    cutting: bool,
}

impl Told {
    fn add(&mut self, mut text: String) {
        if text.is_empty() || self.cutting && self.chars >= MOST_CHARS || self.known.contains(&text) {
            return;
        }
        self.known.insert(text.clone());
        if self.cutting {
            cut(&mut text);
        }
        self.chars += text.chars().count();
        self.texts.push(text);
        if self.chars > MOST_CHARS && !self.cutting {
            self.cutting = true;
            self.texts.iter_mut().for_each(cut);
            self.chars = self.texts.iter().map(|text| text.chars().count()).sum();
        }
    }
}

fn cut(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(CUT_CHARS) {
        text.truncate(end);
    }
}

/// Warns whoever asked for what this task answers, once; nobody if it answers nothing.
pub(crate) fn tell(text: String) {
    let _ = TOLD.try_with(|told| told.lock().add(text));
}

/// Runs what answers a request; with the answer comes what is to be warned of.
pub(super) async fn collect<T>(answer: impl Future<Output = T>) -> (T, Vec<String>) {
    let answered = async {
        let answer = answer.await;
        (answer, TOLD.with(|told| std::mem::take(&mut told.lock().texts)))
    };
    TOLD.scope(Mutex::default(), answered).await
}

/// What one call finds to warn of. A call that is tried again may begin anew; what is there at its end is told.
#[derive(Default)]
pub struct Warnings(Mutex<Vec<String>>);

impl Deref for Warnings {
    type Target = Mutex<Vec<String>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Warnings {
    fn drop(&mut self) {
        self.0.get_mut().drain(..).for_each(tell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_calls_leave_is_told_once_and_in_order() {
        let answer = async {
            tell("first".into());
            let call = Warnings::default();
            call.lock().extend(["second".to_owned(), "first".to_owned()]);
            drop(call);
            "refused"
        };
        assert_eq!(collect(answer).await, ("refused", vec!["first".to_owned(), "second".to_owned()]));
        tell("nobody hears this".into());
        assert_eq!(collect(async {}).await, ((), vec![]));
    }

    #[test]
    fn what_is_too_much_is_cut_and_then_left_out() {
        let told = |texts: &mut dyn Iterator<Item = String>| {
            let mut told = Told::default();
            texts.for_each(|text| told.add(text));
            told.texts
        };
        let lengths = |texts: &[String]| texts.iter().map(|text| text.chars().count()).collect::<Vec<_>>();
        let long = |mark: char, length: usize| format!("{mark}{}", "é".repeat(length - 1));
        // what fits is whole
        assert_eq!(lengths(&told(&mut [long('a', 4000), long('b', 96)].into_iter())), [4000, 96]);
        // what was told before is cut, too
        let three = [long('a', 4000), long('b', 96), long('c', 300), long('d', 10), long('d', 10)];
        assert_eq!(lengths(&told(&mut three.into_iter())), [256, 96, 256, 10]);
        let many = told(&mut (0..100_000).map(|at| format!("{at:0300}")));
        assert_eq!(lengths(&many), [256; 16]);
        let many = told(&mut (0..100_000).map(|at| format!("{at:05}")));
        assert_eq!(many.len(), 820);
    }
}
