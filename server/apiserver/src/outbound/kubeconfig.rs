//! The one server that a kubeconfig's current context names: upstream's form of a webhook's address.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use sampan_api::go::Quote as _;
use serde_json::Value;

use super::{Destination, Identity, Trust, client_config};
use crate::value::{at, items, text};

/// Where to, and with which credentials.
pub(crate) struct Target {
    pub destination: Destination,
    /// Path and query.
    pub path: String,
    pub authorization: Option<HeaderValue>,
}

/// Reads the file and those that it names. Errors name the field.
pub(crate) fn read(file: &Path) -> Result<Target, String> {
    let content = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let config: Value = serde_yaml_ng::from_str(&content).map_err(|error| error.to_string())?;
    let here = Folder(file.parent().unwrap_or(Path::new("/")));
    let named = |list: &str, name: &str| {
        let found = items(at(&config, &[list])).iter().find(|one| text(one, &["name"]) == name);
        found.cloned().ok_or_else(|| format!("{list}: there is no {name:?}"))
    };
    let context = match (text(&config, &["current-context"]), items(at(&config, &["contexts"]))) {
        ("", [only]) => only.clone(),
        ("", _) => return Err("current-context: Required value".to_owned()),
        (name, _) => named("contexts", name)?,
    };
    let cluster = named("clusters", text(&context, &["context", "cluster"]))?;
    let user = match text(&context, &["context", "user"]) {
        "" => Value::Null,
        name => named("users", name)?,
    };
    let (cluster, user) = (at(&cluster, &["cluster"]), at(&user, &["user"]));
    let server = text(cluster, &["server"]);
    let uri: Uri =
        server.parse().map_err(|error| format!("clusters[].cluster.server: {}: {error}", server.quoted()))?;
    let host =
        uri.host().ok_or_else(|| format!("clusters[].cluster.server: {}: no host", server.quoted()))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let destination = match uri.scheme_str() {
        Some("http") => Destination::plain(host, uri.port_u16().unwrap_or(80)),
        Some("https") => {
            let config = client_config(&trust(cluster, &here)?, identity(user, &here)?)?;
            let name = Some(text(cluster, &["tls-server-name"])).filter(|name| !name.is_empty());
            Destination::tls(host, uri.port_u16().unwrap_or(443), name.unwrap_or(host), Arc::new(config))?
        }
        _ => return Err(format!("clusters[].cluster.server: {}: http or https is wanted", server.quoted())),
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    Ok(Target { destination, path, authorization: authorization(user, &here)? })
}

/// Files are named from the kubeconfig's folder.
struct Folder<'a>(&'a Path);

impl Folder<'_> {
    fn read(&self, name: &str, field: &str) -> Result<Vec<u8>, String> {
        let path: PathBuf = self.0.join(name);
        std::fs::read(&path).map_err(|error| format!("{field}: {}: {error}", path.display()))
    }

    /// `field-data`, else the file that `field` names.
    fn data(&self, of: &Value, field: &str) -> Result<Option<Vec<u8>>, String> {
        let inline = text(of, &[&format!("{field}-data")]);
        match (inline, text(of, &[field])) {
            ("", "") => Ok(None),
            ("", name) => self.read(name, field).map(Some),
            (inline, _) => {
                STANDARD.decode(inline).map(Some).map_err(|error| format!("{field}-data: {error}"))
            }
        }
    }
}

fn trust(cluster: &Value, folder: &Folder<'_>) -> Result<Trust, String> {
    if at(cluster, &["insecure-skip-tls-verify"]).as_bool() == Some(true) {
        return Ok(Trust::Anyone);
    }
    Ok(folder.data(cluster, "certificate-authority")?.map_or(Trust::System, Trust::Bundle))
}

fn identity(user: &Value, folder: &Folder<'_>) -> Result<Option<Identity>, String> {
    match (folder.data(user, "client-certificate")?, folder.data(user, "client-key")?) {
        (None, None) => Ok(None),
        (Some(chain), Some(key)) => Identity::from_pem(&chain, &key).map(Some),
        (Some(_), None) => Err("users[].user.client-key: Required value".to_owned()),
        (None, Some(_)) => Err("users[].user.client-certificate: Required value".to_owned()),
    }
}

fn authorization(user: &Value, folder: &Folder<'_>) -> Result<Option<HeaderValue>, String> {
    let token = match (text(user, &["token"]), text(user, &["tokenFile"])) {
        ("", "") => String::new(),
        ("", file) => String::from_utf8_lossy(&folder.read(file, "tokenFile")?).trim().to_owned(),
        (token, _) => token.to_owned(),
    };
    let name = text(user, &["username"]);
    let said = match (token.as_str(), name) {
        ("", "") => return Ok(None),
        ("", name) => format!("Basic {}", STANDARD.encode(format!("{name}:{}", text(user, &["password"])))),
        (token, _) => format!("Bearer {token}"),
    };
    let mut value = HeaderValue::from_str(&said).map_err(|error| format!("users[].user.token: {error}"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(cluster: &str, user: &str) -> Result<Target, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "from-file\n").unwrap();
        let file = folder.path().join("config");
        let text = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\nclusters: [{{name: k, cluster: {cluster}}}]\nusers: [{{name: u, user: {user}}}]\n"
        );
        std::fs::write(&file, text).unwrap();
        read(&file)
    }

    #[test]
    fn a_server_is_found() {
        let plain = config("{server: 'http://127.0.0.1:9/audit?x=y'}", "{token: secret}").unwrap();
        assert_eq!(
            (plain.destination.authority().as_str(), plain.path.as_str()),
            ("127.0.0.1:9", "/audit?x=y")
        );
        assert_eq!(plain.authorization.unwrap(), "Bearer secret");
        let tls = "{server: 'https://hook', insecure-skip-tls-verify: true}";
        assert_eq!(config(tls, "{}").unwrap().destination.authority(), "hook:443");
        assert_eq!(config(tls, "{tokenFile: token}").unwrap().authorization.unwrap(), "Bearer from-file");
        assert_eq!(config(tls, "{username: a, password: b}").unwrap().authorization.unwrap(), "Basic YTpi");
    }

    #[test]
    fn what_is_wrong_is_said_by_its_field() {
        #[rustfmt::skip]
        let cases = [
            ("{server: 'ftp://a'}", "{}", "clusters[].cluster.server"),
            ("{}", "{}", "clusters[].cluster.server"),
            ("{server: 'https://a', certificate-authority: none}", "{}", "certificate-authority: "),
            ("{server: 'https://a', certificate-authority-data: bm9uZQ==}", "{}", "unable to load root certificates"),
            ("{server: 'https://a', insecure-skip-tls-verify: true}", "{client-key-data: YQ==}", "users[].user.client-certificate"),
        ];
        for (cluster, user, wanted) in cases {
            let why = config(cluster, user).err().unwrap();
            assert!(why.starts_with(wanted), "{cluster}: {why}");
        }
    }
}
