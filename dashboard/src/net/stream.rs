//! Bodies read while they come: followed logs and the progress of a verb.

use std::rc::Rc;

use js_sys::{Reflect, Uint8Array};
use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{ReadableStreamDefaultReader, Response};

/// Hands out a body's bytes; dropping it cancels the body.
pub struct Bytes {
    reader: ReadableStreamDefaultReader,
}

impl Bytes {
    pub fn of(response: &Response) -> Option<Self> {
        let reader = response.body()?.get_reader().dyn_into().ok()?;
        Some(Self { reader })
    }

    /// Ends it: whoever waits for bytes gets none.
    pub fn cancel(&self) {
        // a body that broke before says so once more
        let ended = JsFuture::from(self.reader.cancel());
        spawn_local(async move { drop(ended.await) });
    }

    /// The next bytes; none at the end. An error means that the connection broke before it.
    pub async fn next(&self) -> Result<Option<Vec<u8>>, JsValue> {
        let read = JsFuture::from(self.reader.read()).await?;
        let value = Reflect::get(&read, &JsValue::from_str("value"))?;
        Ok((!value.is_undefined()).then(|| Uint8Array::new(&value).to_vec()))
    }
}

/// What somebody reads; it ends with them.
#[derive(Clone, Copy)]
pub struct Readings(StoredValue<Option<Vec<Rc<Bytes>>>, LocalStorage>);

impl Readings {
    pub fn new() -> Self {
        let all = StoredValue::new_local(Some(Vec::<Rc<Bytes>>::new()));
        on_cleanup(move || {
            for bytes in all.try_update_value(Option::take).flatten().into_iter().flatten() {
                bytes.cancel();
            }
        });
        Self(all)
    }

    /// Keeps one more, in place of those that have ended; false if nobody reads any more.
    pub fn add(self, bytes: Rc<Bytes>) -> bool {
        let add = |all: &mut Option<Vec<Rc<Bytes>>>| {
            all.as_mut().map(|all| {
                all.retain(|bytes| Rc::strong_count(bytes) > 1);
                all.push(bytes);
            })
        };
        self.0.try_update_value(add).flatten().is_some()
    }

    pub fn go_on(self) -> bool {
        self.0.try_with_value(Option::is_some) == Some(true)
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.cancel();
    }
}
