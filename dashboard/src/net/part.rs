//! Scripts too large for everyone, loaded when first needed. `page/boot.js` names them.

use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// The function `open` of a part.
pub async fn opener(name: &str) -> Result<Function, JsValue> {
    let parts = Reflect::get(&js_sys::global(), &"sampanParts".into())?;
    let load: Function = Reflect::get(&parts, &name.into())?.dyn_into()?;
    let module = JsFuture::from(load.call0(&parts)?.dyn_into::<Promise>()?).await?;
    Reflect::get(&module, &"open".into())?.dyn_into()
}
