//! Subresources: which part of the registry answers each.

use http::Method;

use super::negotiate::Offer;
use super::resource::{Answer, decode_as, not_allowed};
use super::{Context, respond};
use crate::ApiServer;
use crate::registry::{Call, Target, WriteOptions};
use sampan_api::defaults::fill_object;
use sampan_api::status::ApiError;
use sampan_api::strict::Expected;

const TOKEN_REQUEST: &str = "io.k8s.api.authentication.v1.TokenRequest";

impl ApiServer {
    pub(super) async fn subresource(&self, context: Context, target: Target) -> Answer {
        let unknown = || match target.kind.custom {
            // to the handler of custom resources every subresource is an object that may be there
            Some(_) => target.not_found(),
            None => ApiError::unknown_resource(),
        };
        let sub = target.kind.subresource(&target.subresource).ok_or_else(unknown)?;
        let verb = context.info.verb.clone();
        // of all there is, only what is behind a proxy is asked with OPTIONS
        let options = sub.name == "proxy" && context.head.method == Method::OPTIONS;
        if !options && !sub.allows(&verb) {
            return Err(not_allowed());
        }
        match (sub.name, verb.as_str()) {
            ("proxy" | "exec" | "attach" | "portforward" | "log", _) => self.connect(context, target).await,
            ("scale", _) => self.scale(&context, &target).await,
            ("binding", _) => self.bind(&context, &target).await,
            ("eviction", _) => self.evict(&context, &target).await,
            ("token", _) => self.token(&context, &target).await,
            (_, "get") => self.get(&context, &target).await,
            (_, "update") => self.update(&context, &target).await,
            (_, "patch") => self.patch(&context, &target).await,
            _ => Err(not_allowed()),
        }
    }

    /// Creates of kinds that are answered, never stored.
    pub(super) async fn virtual_resource(&self, context: Context, target: Target) -> Answer {
        let format = context.format(Offer::OBJECT)?;
        match (target.kind.kind, context.info.verb.as_str()) {
            ("Binding", "create") => self.bind(&context, &target).await,
            ("ComponentStatus", _) => {
                let format = context.format(Offer::of(target.kind))?;
                self.component_status(&context, &target, format)
            }
            (_, "create") => {
                let call = Call::new(&context.user, WriteOptions::parse(&context.query, "CreateOptions")?);
                let mut body = super::resource::decode(&context, &target, &call)?;
                self.registry().admit_creation(&call, &target, &mut body).await?;
                let gate = self.gate();
                let mut answer = gate.review(&context.user, target.kind, &target.namespace, body).await?;
                fill_object(&mut answer, target.kind.schema);
                Ok(respond::value(201, &answer, format, &context.head.headers))
            }
            _ => Err(not_allowed()),
        }
    }

    async fn token(&self, context: &Context, target: &Target) -> Answer {
        let format = context.format(Offer::OBJECT)?;
        let call = Call::new(&context.user, WriteOptions::parse(&context.query, "CreateOptions")?);
        let expected = Expected { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" };
        let mut body = decode_as(context, TOKEN_REQUEST, expected, &call)?;
        self.registry().admit_creation(&call, target, &mut body).await?;
        let mut answer = self.gate().token(&context.user, target, body).await?;
        fill_object(&mut answer, TOKEN_REQUEST);
        Ok(respond::value(201, &answer, format, &context.head.headers))
    }
}
