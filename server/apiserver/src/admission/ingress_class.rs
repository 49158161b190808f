//! `DefaultIngressClass`: an Ingress without a class gets the default one; `plugin/pkg/admission/network`.

use sampan_api::status::ApiError;
use serde_json::Value;

use super::{default_of, of};
use crate::registry::{Operation, Plugin, Review};
use crate::value::{at, set};

const CLASSES: &str = "ingressclasses.networking.k8s.io";
const DEFAULT: &[&str] = &["ingressclass.kubernetes.io/is-default-class"];

pub(super) struct DefaultIngressClass;

impl Plugin for DefaultIngressClass {
    fn admit(&self, review: &Review<'_>, ingress: &mut Value) -> Result<(), ApiError> {
        // the annotation came before the field
        let unsaid = at(ingress, &["spec", "ingressClassName"]).is_null()
            && at(ingress, &["metadata", "annotations", "kubernetes.io/ingress.class"]).is_null();
        if review.operation == Operation::Create
            && of(review, "networking.k8s.io", "ingresses")
            && unsaid
            && let Some(class) = default_of(review.store, CLASSES, DEFAULT)
        {
            set(ingress, &["spec", "ingressClassName"], class);
        }
        Ok(())
    }
}
