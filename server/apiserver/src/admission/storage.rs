//! `DefaultStorageClass`, `StorageObjectInUseProtection` and `PersistentVolumeClaimResize`; `plugin/pkg/admission/storage`.

use sampan_api::quantity::Quantity;
use sampan_api::status::ApiError;
use serde_json::Value;

use super::{default_of, look_up, of, push};
use crate::registry::{Operation, Plugin, Review};
use crate::value::{at, meta, set, strings, text};

const CLASSES: &str = "storageclasses.storage.k8s.io";
const DEFAULT: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
/// What came before the field.
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn creates(review: &Review<'_>, plural: &str) -> bool {
    review.operation == Operation::Create && of(review, "", plural)
}

/// `PersistentVolumeClaimHasClass`: an empty class is one, too.
fn has_class(claim: &Value) -> bool {
    !at(claim, &["metadata", "annotations", BETA_CLASS]).is_null()
        || !at(claim, &["spec", "storageClassName"]).is_null()
}

/// A claim without a class gets the default one.
pub(super) struct DefaultStorageClass;

impl Plugin for DefaultStorageClass {
    fn admit(&self, review: &Review<'_>, claim: &mut Value) -> Result<(), ApiError> {
        if creates(review, "persistentvolumeclaims")
            && !has_class(claim)
            && let Some(class) = default_of(review.store, CLASSES, DEFAULT)
        {
            set(claim, &["spec", "storageClassName"], class);
        }
        Ok(())
    }
}

/// Claims and volumes stay as long as they are in use: whoever knows that takes the finalizer off.
pub(super) struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn admit(&self, review: &Review<'_>, object: &mut Value) -> Result<(), ApiError> {
        let finalizer = match () {
            () if creates(review, "persistentvolumes") => "kubernetes.io/pv-protection",
            () if creates(review, "persistentvolumeclaims") => "kubernetes.io/pvc-protection",
            () => return Ok(()),
        };
        let path = &["metadata", "finalizers"];
        if !strings(at(object, path)).iter().any(|one| one == finalizer) {
            push(object, path, finalizer.into());
        }
        Ok(())
    }
}

/// A claim grows only if it is bound and its class lets it.
pub(super) struct PersistentVolumeClaimResize;

impl Plugin for PersistentVolumeClaimResize {
    fn validate(&self, review: &Review<'_>, claim: &Value) -> Result<(), ApiError> {
        let Some(old) = review
            .old
            .filter(|_| review.operation == Operation::Update && of(review, "", "persistentvolumeclaims"))
        else {
            return Ok(());
        };
        if size(claim) <= size(old) {
            return Ok(());
        }
        let why = match () {
            () if text(old, &["status", "phase"]) != "Bound" => {
                "Only bound persistent volume claims can be expanded"
            }
            () if !grows(review, claim, old) => {
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
            }
            () => return Ok(()),
        };
        Err(ApiError::forbidden("", "persistentvolumeclaims", meta(claim, "name"), why))
    }
}

fn size(claim: &Value) -> i128 {
    let amount = at(claim, &["spec", "resources", "requests", "storage"]);
    Quantity::from_value(amount).map_or(0, |amount| amount.nanos())
}

fn class_of(claim: &Value) -> &str {
    let beta = text(claim, &["metadata", "annotations", BETA_CLASS]);
    if beta.is_empty() { text(claim, &["spec", "storageClassName"]) } else { beta }
}

fn grows(review: &Review<'_>, claim: &Value, old: &Value) -> bool {
    let (name, was) = (class_of(claim), class_of(old));
    let class = look_up(review.store, CLASSES, name).filter(|_| !name.is_empty() && name == was);
    class.is_some_and(|class| at(&class, &["allowVolumeExpansion"]).as_bool() == Some(true))
}
