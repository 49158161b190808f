//! The conversations of `conversations/`, played against the built binary: each answer is whole and the one that is
//! written. `SAMPAN_CONVERSATIONS=write` writes down what is answered instead (`make conversations`).
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::PostParams;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use sampan_test_api::{Conversation, Player};
use sampan_testkit::Cluster;
use serde_json::json;

fn files() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conversations");
    let files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut files: Vec<_> =
        files.into_iter().filter(|file| file.extension().is_some_and(|e| e == "http")).collect();
    files.sort();
    Ok(files)
}

/// A client that asks once, also when it is told to ask again: with the administrator's certificate, or with none.
async fn client(cluster: &Cluster, certificate: bool) -> Result<Client> {
    let file = kube::config::Kubeconfig::read_from(cluster.kubeconfig())?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await?;
    config.default_retry = false;
    if !certificate {
        config.auth_info = Default::default();
    }
    Ok(Client::try_from(config)?)
}

/// A namespace of the conversation's name, once it has what every namespace has.
async fn namespace(client: &Client, name: &str) -> Result<()> {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    let by = PostParams { field_manager: Some("conversation".to_owned()), ..PostParams::default() };
    Api::all(client.clone()).create(&by, &namespace).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
    let there = await_condition(accounts, "default", |account: Option<&ServiceAccount>| account.is_some());
    tokio::time::timeout(Duration::from_secs(30), there).await.context("no service account came")??;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), name);
    let there = await_condition(maps, "kube-root-ca.crt", |map: Option<&ConfigMap>| map.is_some());
    tokio::time::timeout(Duration::from_secs(30), there).await.context("no root CA came")??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_conversation_goes_as_it_is_written() -> Result<()> {
    let write = std::env::var("SAMPAN_CONVERSATIONS").is_ok_and(|mode| mode == "write");
    let only = std::env::var("SAMPAN_CONVERSATION").unwrap_or_default();
    let cluster = Cluster::start()?;
    // it sets up TLS for the process
    drop(cluster.client().await?);
    let (client, nobody) = (client(&cluster, true).await?, client(&cluster, false).await?);
    let mut failed = Vec::new();
    let mut steps = 0;
    for file in files()?.iter().filter(|file| file.to_string_lossy().contains(&only)) {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).context("a file without a name")?;
        let (_, name) = stem.split_once('-').with_context(|| format!("{stem}: no number"))?;
        namespace(&client, name).await.with_context(|| name.to_owned())?;
        let text = std::fs::read_to_string(file)?;
        let mut conversation = Conversation::read(&text).with_context(|| stem.to_owned())?;
        let mut player = Player::new(client.clone(), nobody.clone());
        let played =
            if write { player.write(&mut conversation).await } else { player.play(&conversation).await };
        if write {
            std::fs::write(file, conversation.write())?;
        } else if played.is_ok() {
            ensure!(text == conversation.write(), "{stem}: not as the runner writes it; make conversations");
        }
        match played {
            Ok(()) => println!("{stem}: {} steps", conversation.steps.len()),
            Err(error) => failed.push(format!("{stem}: {error:#}")),
        }
        steps += conversation.steps.len();
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    ensure!(steps > 0, "no conversation is called {only:?}");
    println!("{steps} steps");
    Ok(())
}
