//! Users and groups as an image's own `/etc/passwd` and `/etc/group` tell them. Nothing of the node's.

/// What a process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn entries(passwd: &str) -> impl Iterator<Item = Entry<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        Some(Entry { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    })
}

/// Home directory of a user.
pub fn home(passwd: &str, uid: u32) -> Option<String> {
    entries(passwd)
        .find(|entry| entry.uid == uid)
        .map(|entry| entry.home.to_owned())
        .filter(|home| !home.is_empty())
}

/// Resolves `user`, `user:group`, `uid`, `uid:gid` (an image's `User`, or a name from the pod).
///
/// Ported behaviour: containerd `oci.WithUser`: a name that the image lacks is an error, a number is not.
pub fn resolve(user: &str, passwd: &str, group: &str) -> Result<Identity, String> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let found = entries(passwd).find(|entry| match user.parse::<u32>() {
        Ok(uid) => entry.uid == uid,
        Err(_) => entry.name == user,
    });
    let mut identity = match (&found, user.parse::<u32>()) {
        (Some(entry), _) => Identity { uid: entry.uid, gid: entry.gid, groups: Vec::new() },
        (None, Ok(uid)) => Identity { uid, gid: 0, groups: Vec::new() },
        (None, Err(_)) if user.is_empty() => Identity::default(),
        (None, Err(_)) => {
            return Err(format!("unable to find user {user}: no matching entries in passwd file"));
        }
    };
    if let Some(wanted) = wanted_group {
        identity.gid = group_id(wanted, group)?;
    } else if let Some(entry) = found {
        identity.groups = memberships(entry.name, group);
    }
    Ok(identity)
}

fn group_id(wanted: &str, group: &str) -> Result<u32, String> {
    if let Ok(gid) = wanted.parse() {
        return Ok(gid);
    }
    groups(group)
        .find(|(name, _, _)| *name == wanted)
        .map(|(_, gid, _)| gid)
        .ok_or_else(|| format!("unable to find group {wanted}: no matching entries in group file"))
}

fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members, ..] = fields[..] else { return None };
        Some((name, gid.parse().ok()?, members))
    })
}

/// Groups that name the user as a member.
fn memberships(user: &str, group: &str) -> Vec<u32> {
    groups(group)
        .filter(|(_, _, members)| members.split(',').any(|member| member == user))
        .map(|(_, gid, _)| gid)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/www:/bin/false\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\naudio:x:63:web,other\n";

    #[test]
    fn users_are_resolved_as_containerd_does() {
        let id = |uid, gid, groups: &[u32]| Identity { uid, gid, groups: groups.to_vec() };
        for (user, expect) in [
            ("", Ok(id(0, 0, &[]))),
            ("root", Ok(id(0, 0, &[]))),
            ("web", Ok(id(33, 34, &[63]))),
            ("33", Ok(id(33, 34, &[63]))),
            ("web:audio", Ok(id(33, 63, &[]))),
            ("1000", Ok(id(1000, 0, &[]))),
            ("1000:2000", Ok(id(1000, 2000, &[]))),
            ("nobody", Err("unable to find user nobody: no matching entries in passwd file".to_owned())),
            ("web:none", Err("unable to find group none: no matching entries in group file".to_owned())),
        ] {
            assert_eq!(resolve(user, PASSWD, GROUP), expect, "{user}");
        }
        assert_eq!(home(PASSWD, 33).as_deref(), Some("/var/www"));
        assert_eq!(home(PASSWD, 34), None);
    }
}
