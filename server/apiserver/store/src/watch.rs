//! The reader's end of a watch.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;

use crate::error::Lagged;
use crate::hub::Watcher;
use crate::store::Shared;
use crate::types::Event;

/// Changes of a bucket in revision order: first those replayed from the history, then live, with no gap and
/// no repeat between. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    replay: VecDeque<Arc<Event>>,
    watcher: Arc<Watcher>,
    shared: Arc<Shared>,
    /// The last revision handed out, or the one that was asked to begin after.
    last: u64,
    done: bool,
}

impl Watch {
    pub(crate) fn new(
        replay: VecDeque<Arc<Event>>,
        watcher: Arc<Watcher>,
        shared: Arc<Shared>,
        after: u64,
    ) -> Self {
        Self { replay, watcher, shared, last: after, done: false }
    }

    /// The next change; `None` once the store is closed, [`Lagged`] when this watcher was dropped for being
    /// slow, and `None` after that. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Arc<Event>, Lagged>> {
        poll_fn(|context| self.poll_event(context)).await
    }

    /// [`Watch::next`] for hand-written futures.
    pub fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Arc<Event>, Lagged>>> {
        if self.done {
            return Poll::Ready(None);
        }
        if let Some(event) = self.replay.pop_front() {
            self.last = event.revision;
            return Poll::Ready(Some(Ok(event)));
        }
        let mut queue = self.watcher.queue().lock();
        if let Some(event) = queue.events.pop_front() {
            self.last = event.revision;
            return Poll::Ready(Some(Ok(event)));
        }
        if queue.lagged || queue.closed {
            self.done = true;
            return Poll::Ready(queue.lagged.then_some(Err(Lagged)));
        }
        queue.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// The next change if it is there already.
    pub fn try_next(&mut self) -> Option<Result<Arc<Event>, Lagged>> {
        match self.poll_event(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(next) => next,
            Poll::Pending => None,
        }
    }

    /// A revision up to which this watch has handed out every change: what a bookmark may say.
    pub fn caught_up_to(&self) -> u64 {
        if let Some(event) = self.replay.front() {
            return event.revision - 1;
        }
        let hub = self.shared.hub.lock();
        let queue = self.watcher.queue().lock();
        match queue.events.front() {
            Some(event) => event.revision - 1,
            None if queue.lagged => self.last,
            None => hub.revision().max(self.last),
        }
    }
}

impl Stream for Watch {
    type Item = Result<Arc<Event>, Lagged>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_event(context)
    }
}
