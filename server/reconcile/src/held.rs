//! One object as an informer holds it: its text, and its decoded form as long as somebody asks for it now and then.
//!
//! A decoded Pod takes eight times the memory of its text. Most objects of a cluster are at rest most of the time, so their
//! decoded form goes when nobody has asked for it for a while, and is made again for who does. In this process the text is the
//! store's own: it costs nothing.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::de::Error as _;

use crate::decode::without_managed_fields;
use crate::key::{Key, Object};

/// An object's text as it comes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Text<'a> {
    /// In a buffer that is about to go.
    Passing(&'a str),
    /// In one that the API server of this process keeps anyway, as long as the object is as it is.
    Shared(&'a Bytes),
}

impl<'a> Text<'a> {
    /// The text.
    pub fn read(self) -> serde_json::Result<&'a str> {
        match self {
            Self::Passing(text) => Ok(text),
            Self::Shared(bytes) => std::str::from_utf8(bytes).map_err(serde_json::Error::custom),
        }
    }

    /// The object, and what is kept of its text in its place.
    pub fn decode<K: Object>(self) -> serde_json::Result<(K, Option<Kept>)> {
        let text = self.read()?;
        let object = K::decode(text)?;
        let kept = || match self {
            Self::Passing(text) => Kept::Own(without_managed_fields(text).into()),
            Self::Shared(bytes) => Kept::Shared(bytes.clone()),
        };
        Ok((object, K::AS_TEXT.then(kept)))
    }
}

/// An object's text as it is kept.
pub(crate) enum Kept {
    /// Without managed fields.
    Own(Box<str>),
    /// See [`Text::Shared`].
    Shared(Bytes),
}

impl Kept {
    fn text(&self) -> Text<'_> {
        match self {
            Self::Own(text) => Text::Passing(text),
            Self::Shared(bytes) => Text::Shared(bytes),
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Own(text) => text.len(),
            Self::Shared(bytes) => bytes.len(),
        }
    }
}

/// An object in both forms.
pub(crate) struct Held<K> {
    /// Which one it is of those that a store has held.
    pub number: u64,
    key: Key,
    version: u64,
    /// `None` for objects that stay decoded.
    text: Option<Kept>,
    warm: Mutex<Warm<K>>,
}

struct Warm<K> {
    form: Form<K>,
    /// Whether anybody has asked since [`Held::cool`] came by.
    asked: bool,
}

enum Form<K> {
    Text,
    Decoded(Arc<K>),
    /// As long as somebody else keeps it.
    Elsewhere(Weak<K>),
}

impl<K> Held<K> {
    /// Namespace and name.
    pub fn key(&self) -> &Key {
        &self.key
    }
}

impl<K: Object> Held<K> {
    /// An object, and the text that it was read from if that is to be kept in its place.
    pub fn new(mut object: K, text: Option<Kept>) -> Self {
        object.trim();
        let (key, version) = (object.key(), object.version());
        let form = Form::Decoded(Arc::new(object));
        Self { number: 0, key, version, text, warm: Mutex::new(Warm { form, asked: true }) }
    }

    /// The object's resourceVersion.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The object. `None` never happens to a text that was read before.
    pub fn get(&self) -> Option<Arc<K>> {
        let mut warm = self.warm.lock();
        warm.asked = true;
        let there = match &warm.form {
            Form::Text => None,
            Form::Decoded(object) => return Some(object.clone()),
            Form::Elsewhere(object) => object.upgrade(),
        };
        if let Some(object) = there {
            warm.form = Form::Decoded(object.clone());
            return Some(object);
        }
        let text = self.text.as_ref()?.text();
        let mut object = text
            .read()
            .and_then(K::decode)
            .inspect_err(
                |error| tracing::error!(%error, "an object that was read before cannot be read again"),
            )
            .ok()?;
        object.trim();
        let object = Arc::new(object);
        warm.form = Form::Decoded(object.clone());
        Some(object)
    }

    /// Lets go of the decoded form if nobody has asked for it since the last time; how many bytes its text has then.
    pub fn cool(&self) -> Cooled {
        let Some(text) = &self.text else { return Cooled::Never };
        let mut warm = self.warm.lock();
        if std::mem::take(&mut warm.asked) {
            return Cooled::Later;
        }
        match &warm.form {
            Form::Decoded(object) if Arc::strong_count(object) > 1 => {
                warm.form = Form::Elsewhere(Arc::downgrade(object));
                Cooled::Never
            }
            Form::Decoded(_) => {
                warm.form = Form::Text;
                Cooled::Now(text.length())
            }
            Form::Text | Form::Elsewhere(_) => Cooled::Never,
        }
    }
}

/// What became of a decoded form.
pub(crate) enum Cooled {
    /// There is nothing to let go of.
    Never,
    /// Somebody asked for it: it may go the next time.
    Later,
    /// It went; so many bytes its text has.
    Now(usize),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    #[test]
    fn what_nobody_asks_for_is_kept_as_text() {
        let text = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","managedFields":[{"manager":"x"}],"resourceVersion":"7"},"data":{"k":"v"}}"#;
        let (object, kept) = Text::Passing(text).decode::<ConfigMap>().unwrap();
        assert!(matches!(&kept, Some(Kept::Own(kept)) if !kept.contains("managedFields")));
        let held = Held::new(object, kept);
        assert!(matches!(held.cool(), Cooled::Later));
        let first = held.get().unwrap();
        assert!(matches!(held.cool(), Cooled::Later));
        assert!(matches!(held.cool(), Cooled::Never), "somebody keeps it");
        assert!(Arc::ptr_eq(&first, &held.get().unwrap()), "it is not decoded twice");
        held.cool();
        let first = (*first).clone();
        held.cool();
        assert!(matches!(held.cool(), Cooled::Never));
        let second = held.get().unwrap();
        assert_eq!((&first, held.version(), held.key().name.as_str()), (&*second, 7, "a"));
        assert!(first.metadata.managed_fields.is_none());

        let bytes = Bytes::from_static(text.as_bytes());
        let (object, kept) = Text::Shared(&bytes).decode::<ConfigMap>().unwrap();
        assert!(matches!(&kept, Some(Kept::Shared(kept)) if kept.as_ptr() == bytes.as_ptr()));
        let shared = Held::new(object, kept);
        shared.cool();
        assert!(matches!(shared.cool(), Cooled::Now(bytes) if bytes > 50));
        assert_eq!(*shared.get().unwrap(), first);

        let whole = Held::new(first.clone(), None);
        whole.cool();
        assert!(matches!(whole.cool(), Cooled::Never));
        assert!(whole.get().is_some());
    }
}
