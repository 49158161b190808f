//! A websocket whose handlers live as long as it does. Dropping it closes the connection.

use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{BinaryType, CloseEvent, MessageEvent, WebSocket};

/// What happens on a socket.
pub enum Event {
    Open,
    Binary(Vec<u8>),
    Closed,
}

pub struct Socket {
    socket: WebSocket,
    _open: Closure<dyn FnMut()>,
    _message: Closure<dyn FnMut(MessageEvent)>,
    _close: Closure<dyn FnMut(CloseEvent)>,
}

impl Socket {
    /// Opens `path` below the page's `<base>` with a sub-protocol.
    pub fn open(path: &str, protocol: &str, on: impl Fn(Event) + Clone + 'static) -> Result<Self, JsValue> {
        let socket = WebSocket::new_with_str(&address(path)?, protocol)?;
        socket.set_binary_type(BinaryType::Arraybuffer);
        let heard = on.clone();
        let open = Closure::<dyn FnMut()>::new(move || heard(Event::Open));
        let heard = on.clone();
        let message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            // texts are of a sub-protocol that is not asked for
            if let Ok(buffer) = event.data().dyn_into::<ArrayBuffer>() {
                heard(Event::Binary(Uint8Array::new(&buffer).to_vec()));
            }
        });
        let close = Closure::<dyn FnMut(CloseEvent)>::new(move |_| on(Event::Closed));
        socket.set_onopen(Some(open.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(close.as_ref().unchecked_ref()));
        Ok(Self { socket, _open: open, _message: message, _close: close })
    }

    pub fn text(&self, text: &str) -> bool {
        self.socket.send_with_str(text).is_ok()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        let _ = self.socket.close();
    }
}

fn address(path: &str) -> Result<String, JsValue> {
    let base = web_sys::window()
        .and_then(|window| window.document())
        .and_then(|document| document.base_uri().ok()?);
    let url = web_sys::Url::new_with_base(path, &base.unwrap_or_default())?;
    url.set_protocol(if url.protocol() == "https:" { "wss:" } else { "ws:" });
    Ok(url.href())
}
