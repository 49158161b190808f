//! The conditions of an autoscaler. Pure.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Conditions in the making.
#[derive(Debug)]
pub(super) struct Conditions {
    pub list: Vec<HorizontalPodAutoscalerCondition>,
    pub now: Timestamp,
}

impl Conditions {
    pub fn new(list: Vec<HorizontalPodAutoscalerCondition>, now: Timestamp) -> Self {
        Self { list, now }
    }

    /// Sets a condition; its transition time moves with its status.
    pub fn set(&mut self, kind: &str, yes: bool, reason: &str, message: &str) {
        let status = if yes { "True" } else { "False" };
        let position = self.list.iter().position(|condition| condition.type_ == kind);
        let old = position.map(|i| &self.list[i]).filter(|old| old.status == status);
        let since = old.and_then(|old| old.last_transition_time.clone());
        let condition = HorizontalPodAutoscalerCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: since.or(Some(Time(self.now))),
        };
        match position {
            Some(i) => self.list[i] = condition,
            None => self.list.push(condition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transition_is_a_change_of_status() {
        let (first, later) =
            (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(9));
        let mut conditions = Conditions::new(Vec::new(), first);
        conditions.set("AbleToScale", true, "SucceededGetScale", "a");
        conditions.now = later;
        conditions.set("AbleToScale", true, "ReadyForNewScale", "b");
        assert_eq!(conditions.list[0].last_transition_time, Some(Time(first)));
        assert_eq!(conditions.list[0].reason.as_deref(), Some("ReadyForNewScale"));
        conditions.set("AbleToScale", false, "FailedGetScale", "c");
        assert_eq!(
            (conditions.list.len(), conditions.list[0].last_transition_time.clone()),
            (1, Some(Time(later)))
        );
    }
}
