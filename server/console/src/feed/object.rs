//! One object, whole, as it changes.

use sampan_view::feed::{Kind, Tell};
use sampan_view::place::encode;
use serde_json::Value;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::desk::Desk;
use super::list::{SETTLING, base, segment};
use super::source::{Failure, Source, Wanted};

/// States that follow each other within this time are told as the last one.
const WINDOW: Duration = Duration::from_millis(30);

/// Follows an object until nobody listens; one that is made again under its name is told again.
pub async fn run(mut desk: Desk, view: u32, kind: Kind, namespace: String, name: String) {
    let target = target(&kind, &namespace, &name);
    loop {
        desk.rights.mark_unchanged();
        let mut source = Source::new(desk.api.clone(), desk.user.clone(), target.clone(), Wanted::Object);
        let failure = {
            let mut rights = desk.rights.clone();
            tokio::select! {
                failure = follow(&desk, view, &mut source) => failure,
                changed = rights.changed() => match changed {
                    Ok(()) => Some(Failure::Expired),
                    Err(_) => None,
                },
            }
        };
        match failure {
            None => return,
            Some(Failure::Refused(code, reason, message)) => {
                let refused = Tell::Refused { view, code, reason, message };
                let over = desk.tell.send(refused).await.is_err() || code != 403;
                if over || desk.rights.changed().await.is_err() {
                    return;
                }
                sleep(SETTLING).await;
            }
            Some(Failure::Expired) => sleep(SETTLING).await,
            Some(Failure::Broken) => source.pause().await,
        }
    }
}

fn target(kind: &Kind, namespace: &str, name: &str) -> String {
    let place = match namespace {
        "" => String::new(),
        namespace => format!("/namespaces/{}", segment(namespace)),
    };
    // as upstream's fields.EscapeValue
    let value = name.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
    let selector = encode(&format!("metadata.name={value}"));
    format!("{}{place}/{}?fieldSelector={selector}", base(kind), segment(&kind.resource))
}

/// Tells the object and what becomes of it; `None` when nobody listens.
async fn follow(desk: &Desk, view: u32, source: &mut Source) -> Option<Failure> {
    let page = match source.list_page::<Value>(1, None).await {
        Ok(page) => page,
        Err(failure) => return Some(failure),
    };
    let mut list = page.list;
    let first = match list["items"].as_array_mut().filter(|items| !items.is_empty()) {
        Some(items) => {
            let item = items.remove(0);
            told(view, whole(item, &list))
        }
        None => Tell::Gone { view },
    };
    desk.tell.send(first).await.ok()?;
    let mut revision = page.revision;
    loop {
        let mut event = match source.next(&mut revision).await {
            Ok(event) => event,
            Err(failure) => return Some(failure),
        };
        // a cut-off wait loses nothing that the next watch would not bring: it begins where this one is
        let until = Instant::now() + WINDOW;
        while let Ok(next) = timeout_at(until, source.next(&mut revision)).await {
            match next {
                Ok(next) if next.is_change() => event = next,
                Ok(_) => {}
                Err(failure) => return Some(failure),
            }
        }
        if !event.is_change() {
            continue;
        }
        let tell = match event.kind.as_str() {
            "DELETED" => Tell::Gone { view },
            _ => told(view, serde_json::from_str(event.object.get()).unwrap_or_default()),
        };
        desk.tell.send(tell).await.ok()?;
    }
}

/// An item of a list with what the list says of all of them, where people look for it: at the beginning.
fn whole(item: Value, list: &Value) -> Value {
    let Value::Object(item) = item else { return item };
    if item.contains_key("kind") {
        return item.into();
    }
    let kind = list["kind"].as_str().map(|kind| kind.trim_end_matches("List"));
    let said = [("kind".to_owned(), kind.into()), ("apiVersion".to_owned(), list["apiVersion"].clone())];
    Value::Object(said.into_iter().chain(item).collect())
}

fn told(view: u32, mut object: Value) -> Tell {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.shift_remove("managedFields");
    }
    Tell::Object { view, json: object.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_item_of_a_list_says_first_what_it_is() {
        let list = json!({"kind": "ConfigMapList", "apiVersion": "v1"});
        let shown = |item| whole(item, &list).to_string();
        let bare = shown(json!({"metadata": {"name": "a"}, "data": {}}));
        assert_eq!(bare, r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{}}"#);
        let custom = json!({"apiVersion": "x/v1", "kind": "X"});
        assert_eq!(whole(custom.clone(), &list), custom);
    }

    #[test]
    fn an_object_is_asked_for_by_its_name() {
        let kind = Kind { group: "apps".into(), version: "v1".into(), resource: "deployments".into() };
        let expected = "/apis/apps/v1/namespaces/a/deployments?fieldSelector=metadata.name%3Dweb";
        assert_eq!(target(&kind, "a", "web"), expected);
        let hostile = target(&kind, "a", r"a=b,c\d");
        assert!(hostile.ends_with("metadata.name%3Da%5C%3Db%5C,c%5C%5Cd"), "{hostile}");
    }
}
