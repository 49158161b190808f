//! A CronJob from its page: run now, suspended, resumed.

use std::time::Duration;

use anyhow::Result;
use sampan_test_browser::Browser;
use sampan_test_e2e::{apply, eventually};
use sampan_testkit::Cluster;

const YEARLY: &str = r#"
apiVersion: batch/v1
kind: CronJob
metadata: {name: yearly}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: main, image: busybox, command: [sh, -c, "echo a year"]}]
"#;

pub async fn cron(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let ask = |what: &'static str| async move {
        browser.click_text(".actions button", what).await?;
        browser.read("dialog[open] h2", "default/yearly").await?;
        browser.click("dialog[open] button.primary").await
    };
    let suspended = |wanted: &str| {
        eventually(&format!("suspend: {wanted}"), Duration::from_secs(10), || {
            let said = cluster.kubectl(&["get", "cronjob", "yearly", "-o", "jsonpath={.spec.suspend}"])?;
            Ok((said == wanted).then_some(()))
        })
    };
    apply(cluster, YEARLY)?;
    browser.go("cronjobs.batch/default/yearly").await?;
    ask("Run now").await?;
    let job = eventually("a Job of it", Duration::from_secs(20), || {
        let owned = r#"jsonpath={.items[?(@.metadata.ownerReferences[0].name=="yearly")].metadata.name}"#;
        let name = cluster.kubectl(&["get", "jobs", "-o", owned])?;
        Ok((!name.is_empty()).then_some(name))
    })?;
    cluster.kubectl(&["wait", &format!("job/{job}"), "--for=condition=Complete", "--timeout=60s"])?;
    ask("Suspend").await?;
    suspended("true")?;
    ask("Resume").await?;
    suspended("false")?;
    cluster.kubectl(&["delete", "cronjob", "yearly"]).map(drop)
}
