//! CREATE through the whole chain over TLS, beside raw puts into etcd and beside an fdatasync of the same disk.
//!
//! A ConfigMap of 1 KiB, by a user whose certificate the cluster signed and whose rights come from a RoleBinding: so the
//! chain has authentication, fairness, RBAC, decoding, admission, validation and a durable commit in it, none of which
//! etcd has. etcd gets the same 1 KiB as in `store`: gRPC without TLS, prepared frames, four connections. The loader
//! is one thread on the last core, both servers have the others; rounds alternate. Pods of 2 kB are told beside it.
//!
//! One client has one connection. Its peer overwrites 4 KiB of a file that has its length already, which is the least that
//! this disk can be asked to make durable.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use sampan_testkit::Cluster;
use serde_json::json;

use crate::figure::{Figure, Goal, Unit};
use crate::peers::Etcd;
use crate::tls::{Target, leave_last_core, on_last_core};
use crate::{idle, pods, store};

const CLIENTS: usize = 64;
const VALUE: usize = 1024;
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const USER: &str = "bench";
/// Syncs of one round.
const SYNCS: u64 = 1000;
/// Bytes of one, and of the file.
const PAGE: usize = 4096;
const FILE: u64 = 1 << 20;

/// Numbers the names of all rounds.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Measures many clients, then one.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let cluster = Cluster::start()?;
    let config = user(&cluster).await?;
    let (maps, pods) = (Target::of(&config, CONFIG_MAPS)?, Target::of(&config, PODS)?);
    let folder = tempfile::tempdir_in(cluster.directory())?;
    let etcd = Etcd::start(&folder.path().join("etcd"))?;
    etcd.healthy()?;
    let daemon = cluster.pid()?;
    leave_last_core(daemon)?;
    leave_last_core(etcd.pid()?)?;
    let (rounds, time) = if short { (3, 1) } else { (7, 3) };
    let time = Duration::from_secs(time);
    let (mut ours, mut theirs, mut of_pods) = (Vec::new(), Vec::new(), Vec::new());
    let (mut one, mut syncs) = (Vec::new(), Vec::new());
    let middle = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    for _ in 0..rounds {
        theirs.push(puts(&etcd, time)?);
        let spent = idle::processor_time(&[daemon])?;
        let mut times = creates(&maps, map, CLIENTS, time)?;
        let spent = (idle::processor_time(&[daemon])? - spent) * 1e6 / times.len() as f64;
        ours.push(times.len() as f64 / time.as_secs_f64());
        eprintln!("64 clients: p50 {:.2} ms, the daemon's processor {spent:.0} µs each", middle(&mut times));
        of_pods.push(creates(&pods, pod, CLIENTS, time)?.len() as f64 / time.as_secs_f64());
        syncs.push(middle(&mut fdatasync(folder.path())?));
        one.push(middle(&mut creates(&maps, map, 1, time)?));
    }
    let unit = Unit::PerSecond("objects");
    let etcd = ("etcd, raw puts", &theirs[..]);
    let sync = ("fdatasync", &syncs[..]);
    let name = "CREATE of a ConfigMap of 1 KiB over TLS";
    Ok(vec![
        Figure::beside(format!("{name}, 64 clients"), unit, &ours, etcd, Goal::RatioAtLeast(3.0)),
        Figure::beside("CREATE of a pod of 2 kB over TLS, 64 clients", unit, &of_pods, etcd, Goal::Report),
        Figure::beside(
            format!("{name}, one client, p50"),
            Unit::Milliseconds,
            &one,
            sync,
            Goal::RatioAtMost(3.0),
        ),
    ])
}

/// A user with rights in one namespace, and the certificate by which it is known.
async fn user(cluster: &Cluster) -> Result<kube::Config> {
    let client = cluster.client().await?;
    let bindings: Api<RoleBinding> = Api::default_namespaced(client.clone());
    let binding = serde_json::from_value(json!({
        "metadata": {"name": USER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
    }))?;
    bindings.create(&PostParams::default(), &binding).await?;
    let key = rcgen::KeyPair::generate()?;
    let [certificate, key_file] = ["bench.crt", "bench.key"].map(|name| cluster.directory().join(name));
    std::fs::write(&certificate, signed(client, &key).await?.0)?;
    std::fs::write(&key_file, key.serialize_pem())?;
    let mut file = kube::config::Kubeconfig::read_from(cluster.kubeconfig())?;
    for user in &mut file.auth_infos {
        user.auth_info = Some(kube::config::AuthInfo {
            client_certificate: Some(certificate.to_string_lossy().into_owned()),
            client_key: Some(key_file.to_string_lossy().into_owned()),
            ..Default::default()
        });
    }
    Ok(kube::Config::from_custom_kubeconfig(file, &Default::default()).await?)
}

/// A certificate for the user, as an administrator has the cluster sign it.
async fn signed(client: Client, key: &rcgen::KeyPair) -> Result<ByteString> {
    let api: Api<CertificateSigningRequest> = Api::all(client);
    let mut request = rcgen::CertificateParams::default();
    request.distinguished_name = rcgen::DistinguishedName::new();
    request.distinguished_name.push(rcgen::DnType::CommonName, USER);
    let spec = CertificateSigningRequestSpec {
        request: ByteString(request.serialize_request(key)?.pem()?.into_bytes()),
        signer_name: "kubernetes.io/kube-apiserver-client".into(),
        usages: Some(vec!["client auth".into()]),
        ..Default::default()
    };
    let metadata = kube::api::ObjectMeta { name: Some(USER.into()), ..Default::default() };
    let request = CertificateSigningRequest { metadata, spec, status: None };
    api.create(&PostParams::default(), &request).await?;
    let approved =
        json!({"type": "Approved", "status": "True", "reason": "Bench", "message": "for the bench"});
    let approval = Patch::Merge(json!({"status": {"conditions": [approved]}}));
    api.patch_approval(USER, &PatchParams::default(), &approval).await?;
    let certificate = |request: &CertificateSigningRequest| request.status.as_ref()?.certificate.clone();
    let has_one = |request: Option<&CertificateSigningRequest>| request.and_then(certificate).is_some();
    let signing = kube::runtime::wait::await_condition(api, USER, has_one);
    let signed = tokio::time::timeout(Duration::from_secs(20), signing).await??;
    signed.as_ref().and_then(certificate).context("no certificate")
}

/// How long each create took, in milliseconds, of so many closed loops for `time`.
fn creates(
    target: &Target,
    body: fn(u64) -> Result<Bytes>,
    clients: usize,
    time: Duration,
) -> Result<Vec<f64>> {
    on_last_core(async {
        let mut connections = Vec::new();
        for _ in 0..clients {
            connections.push(target.connect().await?);
        }
        let deadline = Instant::now() + time;
        let loops = connections.into_iter().map(|mut connection| async move {
            let mut times = Vec::new();
            while Instant::now() < deadline {
                let body = body(NEXT.fetch_add(1, Ordering::Relaxed))?;
                let asked = Instant::now();
                target.send(&mut connection, "POST", "application/json", body).await?;
                times.push(asked.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok(times)
        });
        Ok(futures::future::try_join_all(loops).await?.concat())
    })
}

fn map(number: u64) -> Result<Bytes> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("map-{number}")},
        "data": {"value": "x".repeat(VALUE)},
    });
    Ok(serde_json::to_vec(&object)?.into())
}

fn pod(number: u64) -> Result<Bytes> {
    let mut pod = serde_json::to_value(pods::typical_pod(usize::try_from(number)?)?)?;
    // for nobody to place: what a node does with it is no part of this
    pod["spec"]["schedulerName"] = "nobody".into();
    Ok(serde_json::to_vec(&pod)?.into())
}

/// Puts a second into etcd by as many closed loops.
fn puts(etcd: &Etcd, time: Duration) -> Result<f64> {
    on_last_core(async {
        let connections = store::connect(etcd).await?;
        let deadline = Instant::now() + time;
        let loops = (0..CLIENTS).map(|client| {
            let mut connection = connections[client % connections.len()].clone();
            async move {
                let mut count = 0_u64;
                while Instant::now() < deadline {
                    let key = format!("default/map-{}", NEXT.fetch_add(1, Ordering::Relaxed));
                    store::put_etcd(&mut connection, &key).await?;
                    count += 1;
                }
                anyhow::Ok(count)
            }
        });
        let counts = futures::future::try_join_all(loops).await?;
        Ok(counts.iter().sum::<u64>() as f64 / time.as_secs_f64())
    })
}

/// How long each fdatasync took, the write before it included, in milliseconds.
fn fdatasync(folder: &Path) -> Result<Vec<f64>> {
    let file = File::create(folder.join("synced"))?;
    file.write_all_at(&vec![0; usize::try_from(FILE)?], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for number in 0..SYNCS {
        let began = Instant::now();
        file.write_all_at(&[1; PAGE], number * PAGE as u64 % FILE)?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    ensure!(times.iter().all(|time| *time > 0.0), "a sync of no time");
    Ok(times)
}
