//! Quotas through the front door: charged with the write, never exceeded.

use futures::future::join_all;

use super::*;

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

impl World {
    /// A quota whose status the controller has filled in.
    async fn quota(&self, hard: Value, used: Value) {
        let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
        assert_eq!(self.json("POST", QUOTAS, &quota).await.code, 201);
        let status = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}});
        assert_eq!(self.json("PUT", &format!("{QUOTAS}/q/status"), &status).await.code, 200);
    }

    async fn json(&self, method: &str, uri: &str, body: &Value) -> Got {
        self.call(method, uri, "application/json", &body.to_string()).await
    }

    async fn used(&self) -> Value {
        self.get(&format!("{QUOTAS}/q")).await.body["status"]["used"].clone()
    }
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

#[tokio::test]
async fn a_storm_of_creations_never_exceeds_a_quota() {
    let w = world().await;
    w.quota(json!({"count/configmaps": "10"}), json!({"count/configmaps": "0"})).await;
    let names: Vec<Value> = (0..60).map(|n| map(&format!("m{n}"))).collect();
    let answers = join_all(names.iter().map(|body| w.json("POST", MAPS, body))).await;
    let made = answers.iter().filter(|got| got.code == 201).count();
    assert_eq!(made, 10);
    let refused: Vec<&Got> = answers.iter().filter(|got| got.code != 201).collect();
    for got in &refused {
        assert_eq!(got.code, 403);
        let message = got.body["message"].as_str().unwrap();
        let want = "exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=10, limited: count/configmaps=10";
        assert!(message.ends_with(want), "{message}");
    }
    assert_eq!(w.used().await, json!({"count/configmaps": "10"}));
    assert_eq!(w.get(MAPS).await.body["items"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn what_is_not_written_costs_nothing() {
    let w = world().await;
    w.quota(json!({"configmaps": "2"}), json!({"configmaps": "0"})).await;
    assert_eq!(w.json("POST", MAPS, &map("a")).await.code, 201);
    assert_eq!(w.json("POST", MAPS, &map("a")).await.code, 409);
    assert_eq!(w.json("POST", &format!("{MAPS}?dryRun=All"), &map("b")).await.code, 201);
    assert_eq!(w.used().await, json!({"configmaps": "1"}));
    assert_eq!(w.json("POST", MAPS, &map("b")).await.code, 201);
    let got = w.json("POST", &format!("{MAPS}?dryRun=All"), &map("c")).await;
    assert_eq!(got.code, 403);
    assert_eq!(
        got.body["message"],
        "configmaps \"c\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=2, limited: configmaps=2"
    );
}

#[tokio::test]
async fn a_service_that_becomes_more_costs_more() {
    let w = world().await;
    w.quota(json!({"services.nodeports": "1"}), json!({"services.nodeports": "0"})).await;
    let services = "/api/v1/namespaces/default/services";
    let service = |kind: &str, ports: &[u16]| {
        let ports: Vec<Value> =
            ports.iter().map(|port| json!({"name": format!("p{port}"), "port": port})).collect();
        json!({"metadata": {"name": "s"}, "spec": {"type": kind, "ports": ports}})
    };
    assert_eq!(w.json("POST", services, &service("ClusterIP", &[1, 2])).await.code, 201);
    assert_eq!(w.used().await, json!({"services.nodeports": "0"}));
    let patch = |kind: &str, ports: &[u16]| json!({"spec": service(kind, ports)["spec"]});
    let uri = format!("{services}/s");
    let update = |body: Value| async {
        let body = body;
        w.call("PATCH", &uri, "application/merge-patch+json", &body.to_string()).await
    };
    let got = update(patch("NodePort", &[1, 2])).await;
    assert_eq!(
        got.body["message"],
        "services \"s\" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, \
         limited: services.nodeports=1"
    );
    assert_eq!(update(patch("NodePort", &[1])).await.code, 200);
    assert_eq!(w.used().await, json!({"services.nodeports": "1"}));
}

#[tokio::test]
async fn a_quota_nobody_has_counted_yet_refuses() {
    let w = world().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "2"}}});
    assert_eq!(w.json("POST", QUOTAS, &quota).await.code, 201);
    assert_eq!(
        w.json("POST", MAPS, &map("a")).await.code,
        201,
        "a quota without a status limits nothing yet"
    );
    let status =
        json!({"metadata": {"name": "q"}, "spec": quota["spec"], "status": {"hard": {"configmaps": "2"}}});
    assert_eq!(w.json("PUT", &format!("{QUOTAS}/q/status"), &status).await.code, 200);
    let got = w.json("POST", MAPS, &map("b")).await;
    assert_eq!(
        got.body["message"],
        "configmaps \"b\" is forbidden: status unknown for quota: q, resources: configmaps"
    );
}
