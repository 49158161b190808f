//! A timer for deadlines that mostly move on: it is set anew only to fire earlier, and looked at when it fires.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::Sleep;

/// Waits for whatever moment it is asked about; made when it is first asked.
#[derive(Default)]
pub struct Deadline(Option<(Instant, Pin<Box<Sleep>>)>);

impl Deadline {
    /// Whether `due` has passed; wakes when it does.
    pub fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let (set, timer) =
            self.0.get_or_insert_with(|| (due, Box::pin(tokio::time::sleep_until(due.into()))));
        if due < *set {
            *set = due;
            timer.as_mut().reset(due.into());
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            *set = due;
            timer.as_mut().reset(due.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_fires_at_the_moment_last_asked_about() {
        let (mut deadline, began) = (Deadline::default(), Instant::now());
        let soon = began + Duration::from_millis(20);
        let later = began + Duration::from_millis(60);
        poll_fn(|cx| {
            assert!(deadline.poll(cx, began + Duration::from_secs(60)).is_pending());
            assert!(deadline.poll(cx, soon).is_pending());
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| deadline.poll(cx, later)).await;
        assert!(began.elapsed() >= Duration::from_millis(60));
        // one that has fired can be asked again
        let last = Instant::now() + Duration::from_millis(20);
        poll_fn(|cx| deadline.poll(cx, last)).await;
        assert!(Instant::now() >= last);
    }
}
