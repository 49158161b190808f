//! Fields that an applier wants and others have.

use super::element::{PathElement, shown_path};
use super::managed::Entry;
use super::set::Set;
use crate::status::{ApiError, Reason};

/// One field, and who has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict<'v> {
    /// Upstream's identifier of the manager, to sort by.
    pub manager: String,
    /// The manager as it is shown.
    pub shown: String,
    /// The field.
    pub path: Vec<PathElement<'v>>,
}

impl<'v> Conflict<'v> {
    /// All fields of `set`, which `entry` has.
    pub(super) fn with(entry: &Entry<'_>, set: &Set<'v>) -> Vec<Self> {
        if set.is_empty() {
            return Vec::new();
        }
        let who = entry.identity();
        let (manager, shown) = (who.text(), who.shown());
        let mut out = Vec::new();
        set.each(&mut |path| {
            out.push(Self { manager: manager.clone(), shown: shown.clone(), path: path.to_vec() });
        });
        out
    }

    fn field(&self) -> String {
        shown_path(&self.path)
    }
}

/// 409 with a cause for each.
pub(super) fn error(mut conflicts: Vec<Conflict<'_>>) -> ApiError {
    conflicts.sort_by(|a, b| a.manager.cmp(&b.manager));
    let mut error = ApiError::new(Reason::Conflict, message(&conflicts));
    error.causes = conflicts
        .iter()
        .map(|one| ("FieldManagerConflict".to_owned(), format!("conflict with {}", one.shown), one.field()))
        .collect();
    error
}

fn message(conflicts: &[Conflict<'_>]) -> String {
    if let [one] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", one.shown, one.field());
    }
    let mut lines = Vec::new();
    let mut last = None;
    for conflict in conflicts {
        if last != Some(&conflict.manager) {
            lines.push(format!("conflicts with {}:", conflict.shown));
            last = Some(&conflict.manager);
        }
        lines.push(format!("- {}", conflict.field()));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}
