//! Bodies read while they come: followed logs and the progress of a verb.

use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
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
        let _ = self.reader.cancel();
    }

    /// The next bytes; none at the end or when the connection broke.
    pub async fn next(&self) -> Option<Vec<u8>> {
        let read = JsFuture::from(self.reader.read()).await.ok()?;
        let value = Reflect::get(&read, &JsValue::from_str("value")).ok()?;
        if value.is_undefined() {
            return None;
        }
        Some(Uint8Array::new(&value).to_vec())
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        let _ = self.reader.cancel();
    }
}
