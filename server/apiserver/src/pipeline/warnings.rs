//! Texts for the `Warning` headers of an answer, whichever answer it is: upstream's `k8s.io/apiserver/pkg/warning`.
//!
//! They are kept beside the request, as a task-local value, because who finds something to warn of often does not know
//! what becomes of the request: one that is refused is warned all the same.

use std::future::Future;
use std::ops::Deref;

use parking_lot::Mutex;

tokio::task_local! {
    static TOLD: Mutex<Vec<String>>;
}

/// Warns whoever asked for what this task answers, once; nobody if it answers nothing.
pub(crate) fn tell(text: String) {
    let _ = TOLD.try_with(|told| {
        let mut told = told.lock();
        if !told.contains(&text) {
            told.push(text);
        }
    });
}

/// Runs what answers a request; with the answer comes what is to be warned of.
pub(super) async fn collect<T>(answer: impl Future<Output = T>) -> (T, Vec<String>) {
    let answered = async {
        let answer = answer.await;
        (answer, TOLD.with(|told| std::mem::take(&mut *told.lock())))
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
}
