//! JSON text into protobuf, in one pass and without a tree of values between.
//!
//! What JSON leaves out is left out: Go reads a missing field as its zero. Fields that the table does not know, or
//! whose tag it does not know, are left out too.

use std::fmt;

use base64::Engine as _;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::MAGIC;
use super::wire::Writer;
use crate::fields::{self, Field, FieldType, Type};
use crate::go::parse_duration;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// A whole body: JSON of an object (or list) of `schema` in its envelope. Errors say what in the JSON does not fit.
pub fn encode(json: &[u8], schema: &str, api_version: &str, kind: &str) -> Result<Vec<u8>, String> {
    let ty = fields::type_of(schema).ok_or_else(|| format!("no schema {schema}"))?;
    let mut raw = Writer::with_capacity(json.len());
    run(json, FieldType::Object(ty.reference()), &[], &mut raw)?;
    Ok(envelope(api_version, kind, &raw.0))
}

/// `PartialObjectMetadata`, of a version of `meta.k8s.io`: of an object's JSON its `metadata` alone.
pub fn encode_metadata(json: &[u8], api_version: &str) -> Result<Vec<u8>, String> {
    let mut raw = Writer::with_capacity(1024);
    run_metadata(json, &mut raw)?;
    Ok(envelope(api_version, "PartialObjectMetadata", &raw.0))
}

/// A list of which the items lie apart: `metadata` is ListMeta's JSON. Items of `PartialObjectMetadataList` have no
/// `schema`: of each its metadata is taken.
pub fn list_of<'a>(
    items: impl Iterator<Item = &'a [u8]>,
    metadata: &[u8],
    schema: Option<&str>,
    api_version: &str,
    kind: &str,
) -> Result<Vec<u8>, String> {
    let meta = fields::type_of(&format!("{META}.ListMeta")).ok_or("no schema of lists")?;
    let of = schema.map(|schema| fields::type_of(schema).ok_or_else(|| format!("no schema {schema}")));
    let of = of.transpose()?;
    let mut raw = Writer::with_capacity(4096);
    run(metadata, FieldType::Object(meta.reference()), &[1], &mut raw)?;
    for item in items {
        match of {
            Some(ty) => run(item, FieldType::Object(ty.reference()), &[2], &mut raw)?,
            None => raw.message(&[2], |raw| run_metadata(item, raw))?,
        }
    }
    Ok(envelope(api_version, kind, &raw.0))
}

/// A frame of a watch: four bytes of length, and a `WatchEvent` around a whole body.
pub fn watch_event(event: &str, body: &[u8]) -> Vec<u8> {
    let mut message = Writer::with_capacity(body.len() + 64);
    message.bytes(1, event.as_bytes());
    let written: Result<(), ()> = message.message(&[2], |object| {
        object.bytes(1, body);
        Ok(())
    });
    debug_assert!(written.is_ok());
    let length = u32::try_from(message.0.len()).unwrap_or(u32::MAX);
    let mut frame = length.to_be_bytes().to_vec();
    frame.append(&mut message.0);
    frame
}

/// `runtime.Unknown`.
fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Writer(MAGIC.to_vec());
    out.0.reserve(raw.len() + 64);
    let mut meta = Writer(Vec::new());
    meta.bytes(1, api_version.as_bytes());
    meta.bytes(2, kind.as_bytes());
    out.bytes(1, &meta.0);
    out.bytes(2, raw);
    out.bytes(3, b"");
    out.bytes(4, b"");
    out.0
}

fn run(json: &[u8], ty: FieldType, tags: &[u32], out: &mut Writer) -> Result<(), String> {
    let mut parser = serde_json::Deserializer::from_slice(json);
    Node { ty, tags, out }.deserialize(&mut parser).map_err(|why| why.to_string())
}

fn run_metadata(json: &[u8], out: &mut Writer) -> Result<(), String> {
    let meta = fields::type_of(&format!("{META}.ObjectMeta")).ok_or("no schema of metadata")?;
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let head: Head<'_> = serde_json::from_slice(json).map_err(|why| why.to_string())?;
    run(head.metadata.get().as_bytes(), FieldType::Object(meta.reference()), &[1], out)
}

/// A value on its way to the field that `tags` lead to; without tags, to the message itself.
struct Node<'o> {
    ty: FieldType,
    tags: &'o [u32],
    out: &'o mut Writer,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.ty {
            FieldType::RawExtension | FieldType::FieldsV1 | FieldType::Json => {
                let raw = <&RawValue>::deserialize(deserializer)?.get();
                match raw {
                    "null" => Ok(()),
                    raw => self.out.message(self.tags, |out| {
                        out.bytes(1, raw.as_bytes());
                        Ok(())
                    }),
                }
            }
            FieldType::Object(reference) if reference.get().scalar.is_some() => {
                let ty = reference.get().scalar.unwrap_or(FieldType::Json);
                Node { ty, ..self }.deserialize(deserializer)
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl Node<'_> {
    fn number<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        match self.ty {
            FieldType::Int32 | FieldType::Int64 => self.scalar(|out, tag| out.number(tag, number)),
            #[allow(clippy::cast_precision_loss)]
            FieldType::Float => self.scalar(|out, tag| out.float(tag, number as f64)),
            FieldType::Quantity => self.out.message(self.tags, |out| {
                out.bytes(1, number.to_string().as_bytes());
                Ok(())
            }),
            FieldType::IntOrString => self.out.message(self.tags, |out| {
                out.number(1, 0);
                out.number(2, number);
                Ok(())
            }),
            other => Err(E::custom(format_args!("{number} is no {other:?}"))),
        }
    }

    /// Writes to the last tag, within the messages that the others open.
    fn scalar<E>(self, write: impl FnOnce(&mut Writer, u32)) -> Result<(), E> {
        let Some((last, path)) = self.tags.split_last() else { return Ok(()) };
        self.out.message(path, |out| {
            write(out, *last);
            Ok(())
        })
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.ty)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        match self.ty {
            FieldType::Bool => self.scalar(|out, tag| out.number(tag, value.into())),
            FieldType::SchemaOrBool => self.out.message(self.tags, |out| {
                out.number(1, value.into());
                Ok(())
            }),
            other => Err(E::custom(format_args!("{value} is no {other:?}"))),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.number(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.number(value.cast_signed())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        match self.ty {
            FieldType::Quantity => self.out.message(self.tags, |out| {
                out.bytes(1, value.to_string().as_bytes());
                Ok(())
            }),
            FieldType::Float => self.scalar(|out, tag| out.float(tag, value)),
            other => Err(E::custom(format_args!("{value} is no {other:?}"))),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        match self.ty {
            FieldType::String => self.scalar(|out, tag| out.bytes(tag, text.as_bytes())),
            FieldType::Bytes => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(E::custom)?;
                self.scalar(|out, tag| out.bytes(tag, &bytes))
            }
            FieldType::Time | FieldType::MicroTime => {
                let time: jiff::Timestamp = text.parse().map_err(E::custom)?;
                self.out.message(self.tags, |out| {
                    out.number(1, time.as_second());
                    out.number(2, time.subsec_nanosecond().into());
                    Ok(())
                })
            }
            FieldType::Duration => {
                let nanos = parse_duration(text).map_err(E::custom)?;
                self.out.message(self.tags, |out| {
                    out.number(1, nanos);
                    Ok(())
                })
            }
            FieldType::Quantity => self.out.message(self.tags, |out| {
                out.bytes(1, text.as_bytes());
                Ok(())
            }),
            FieldType::IntOrString => self.out.message(self.tags, |out| {
                out.number(1, 1);
                out.number(2, 0);
                out.bytes(3, text.as_bytes());
                Ok(())
            }),
            other => Err(E::custom(format_args!("{text:?} is no {other:?}"))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        match self.ty {
            FieldType::List(item) => {
                while items.next_element_seed(Node { ty: *item, tags: self.tags, out: self.out })?.is_some() {
                }
                Ok(())
            }
            FieldType::SchemaOrArray => self.out.message(self.tags, |out| {
                while items.next_element_seed(Node { ty: schema()?, tags: &[2], out })?.is_some() {}
                Ok(())
            }),
            FieldType::SchemaOrStrings => self.out.message(self.tags, |out| {
                while items.next_element_seed(Node { ty: FieldType::String, tags: &[2], out })?.is_some() {}
                Ok(())
            }),
            other => Err(A::Error::custom(format_args!("a list is no {other:?}"))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match self.ty {
            FieldType::Object(reference) => {
                self.out.message(self.tags, |out| object(reference.get(), map, out))
            }
            FieldType::Map(item) => {
                let Some((last, path)) = self.tags.split_last() else { return Ok(()) };
                self.out.message(path, |out| {
                    loop {
                        let at = out.open(*last);
                        if map.next_key_seed(Key(out))?.is_none() {
                            out.undo(at);
                            return Ok(());
                        }
                        match item {
                            // a list inside a map (`ExtraValue`) is a message of items
                            FieldType::List(_) => out.message(&[2], |out| {
                                map.next_value_seed(Node { ty: *item, tags: &[1], out })
                            })?,
                            item => map.next_value_seed(Node { ty: *item, tags: &[2], out })?,
                        }
                        out.close(at);
                    }
                })
            }
            FieldType::SchemaOrBool => self.out.message(self.tags, |out| {
                out.number(1, 1);
                let FieldType::Object(reference) = schema::<A::Error>()? else { return Ok(()) };
                out.message(&[2], |out| object(reference.get(), map, out))
            }),
            FieldType::SchemaOrArray | FieldType::SchemaOrStrings => self.out.message(self.tags, |out| {
                let FieldType::Object(reference) = schema::<A::Error>()? else { return Ok(()) };
                out.message(&[1], |out| object(reference.get(), map, out))
            }),
            other => Err(A::Error::custom(format_args!("an object is no {other:?}"))),
        }
    }
}

fn schema<E: serde::de::Error>() -> Result<FieldType, E> {
    let ty = fields::type_of(SCHEMA).ok_or_else(|| E::custom("no schema of schemas"))?;
    Ok(FieldType::Object(ty.reference()))
}

fn object<'de, A: MapAccess<'de>>(ty: &'static Type, mut map: A, out: &mut Writer) -> Result<(), A::Error> {
    while let Some(field) = map.next_key_seed(Name(ty))? {
        match field {
            Some(field) if !field.tags.is_empty() => {
                map.next_value_seed(Node { ty: field.ty, tags: field.tags, out })?;
            }
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
    }
    Ok(())
}

/// A key that names a field.
struct Name(&'static Type);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.field(text))
    }
}

/// A key that is written: the first field of a map's entry.
struct Key<'o>(&'o mut Writer);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.bytes(1, text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::proto::decode;

    fn round(schema: &str, object: &Value) -> Value {
        let body = encode(object.to_string().as_bytes(), schema, "v1", "K").expect("encodes");
        let mut back = decode(&body, schema).expect("decodes");
        for field in ["apiVersion", "kind"] {
            back.as_object_mut().expect("an object").shift_remove(field);
        }
        back
    }

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let pod = json!({
            "metadata": {"name": "p", "labels": {"a": "b", "": ""}, "creationTimestamp": "2026-01-02T03:04:05Z",
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {"f:x": {}}}}]},
            "spec": {
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x", "defaultMode": 0}}],
                "containers": [{
                    "name": "c", "image": "i", "args": ["a\nb", ""],
                    "resources": {"limits": {"cpu": "500m"}},
                    "livenessProbe": {"httpGet": {"path": "/", "port": "web"}, "initialDelaySeconds": 3},
                    "readinessProbe": {"tcpSocket": {"port": 8080}},
                    "securityContext": {"runAsUser": 0, "privileged": false},
                }],
                "ephemeralContainers": [{"name": "e", "image": "j", "targetContainerName": "c", "tty": true}],
                "terminationGracePeriodSeconds": 0,
                "schedulingGroup": {"podGroupName": "g"},
            },
            "status": {"conditions": [{"type": "Ready", "status": "False", "lastProbeTime": "2026-01-02T03:04:05Z"}]},
        });
        assert_eq!(round("io.k8s.api.core.v1.Pod", &pod), pod);
        let lease = json!({"metadata": {"name": "l"}, "spec": {"renewTime": "2026-01-02T03:04:05.123456Z", "leaseDurationSeconds": 40}});
        assert_eq!(round("io.k8s.api.coordination.v1.Lease", &lease), lease);
        let review = json!({"metadata": {}, "spec": {"extra": {"k": ["a", "b"]}, "user": "u"}, "status": {"allowed": false}});
        assert_eq!(round("io.k8s.api.authorization.v1.SubjectAccessReview", &review), review);
        let hpa = json!({"metadata": {}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "D", "name": "n"}, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Value", "value": "1500m"}}}]}});
        assert_eq!(round("io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler", &hpa), hpa);
    }

    #[test]
    fn schemas_are_several_things() {
        let schema = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
        let props = json!({
            "type": "object", "default": {"a": [1, 2.5, null]}, "maximum": 1.5,
            "properties": {"free": {"additionalProperties": true}, "of": {"additionalProperties": {"type": "string"}},
                "list": {"items": {"type": "integer"}}, "none": {"additionalProperties": false, "default": false}},
        });
        assert_eq!(round(schema, &props), props);
    }

    #[test]
    fn lists_and_long_messages() {
        let long = "x".repeat(20_000);
        let items: Vec<Vec<u8>> = (0..3)
            .map(|n| {
                json!({"metadata": {"name": format!("c{n}")}, "data": {"k": long}}).to_string().into_bytes()
            })
            .collect();
        let slices = || items.iter().map(Vec::as_slice);
        let schema = "io.k8s.api.core.v1.ConfigMap";
        let body = list_of(
            slices(),
            br#"{"resourceVersion":"7","remainingItemCount":2}"#,
            Some(schema),
            "v1",
            "ConfigMapList",
        );
        let list = decode(&body.expect("encodes"), "io.k8s.api.core.v1.ConfigMapList").expect("decodes");
        assert_eq!(list["kind"], "ConfigMapList");
        assert_eq!(list["metadata"], json!({"resourceVersion": "7", "remainingItemCount": 2}));
        assert_eq!(list["items"][2]["metadata"]["name"], "c2");
        assert_eq!(list["items"][0]["data"]["k"], long);
        let body =
            list_of(slices(), b"{}", None, "meta.k8s.io/v1", "PartialObjectMetadataList").expect("encodes");
        assert!(body.len() < 200);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for broken in [
            json!({"spec": {"replicas": "three"}}),
            json!({"spec": []}),
            json!({"metadata": {"creationTimestamp": "x"}}),
        ] {
            assert!(
                encode(
                    broken.to_string().as_bytes(),
                    "io.k8s.api.apps.v1.Deployment",
                    "apps/v1",
                    "Deployment"
                )
                .is_err(),
                "{broken}"
            );
        }
    }
}
