//! Volumes that are made on the node: empty directories, directories of the host, images.

use super::*;

pub(super) fn empty_directories(cluster: &World) -> Result<()> {
    let mounts = json!({"volumeMounts": [{"name": "d", "mountPath": "/d"}, {"name": "m", "mountPath": "/m"}, {"name": "d", "mountPath": "/sub", "subPath": "a/b"}]});
    let volumes = json!([{"name": "d", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]);
    apply(cluster, &[pod("empty", json!({"containers": [with(sh(FOREVER), mounts)], "volumes": volumes}))])?;
    phase(cluster, "empty", "Running")?;
    ensure!(exec(cluster, "empty", "stat -c %a /d")?.trim() == "777");
    ensure!(exec(cluster, "empty", "grep ' /m ' /proc/mounts")?.contains("tmpfs"));
    let full =
        exec(cluster, "empty", "dd if=/dev/zero of=/m/f bs=1k count=2000 2>&1; ls -l /m/f | head -1; true")?;
    ensure!(full.contains("No space left on device") && full.contains("1048576"), "{full}");
    exec(cluster, "empty", "echo x > /sub/f; test -f /d/a/b/f").map(drop)
}

pub(super) fn host_paths(cluster: &World) -> Result<()> {
    let directory = cluster.directory().join("host");
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("there"), "from the host\n")?;
    let at = |name: &str| directory.join(name);
    let volumes = json!([
        {"name": "file", "hostPath": {"path": at("there"), "type": "File"}},
        {"name": "made", "hostPath": {"path": at("made"), "type": "FileOrCreate"}},
        {"name": "dir", "hostPath": {"path": at("dir"), "type": "DirectoryOrCreate"}},
    ]);
    let mounts = json!({"volumeMounts": [{"name": "file", "mountPath": "/there", "readOnly": true}, {"name": "made", "mountPath": "/made"}, {"name": "dir", "mountPath": "/dir"}]});
    let missing = json!([{"name": "v", "hostPath": {"path": at("missing"), "type": "Directory"}}]);
    apply(
        cluster,
        &[
            pod(
                "host-path",
                json!({"containers": [with(sh("cat /there; echo x > /made; echo y > /dir/f; echo no > /there"), mounts)], "volumes": volumes, "restartPolicy": "Never"}),
            ),
            pod(
                "host-missing",
                json!({"containers": [with(sh("true"), json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}))], "volumes": missing}),
            ),
        ],
    )?;
    phase(cluster, "host-path", "Failed")?;
    let said = log(cluster, "host-path", "c0")?;
    ensure!(said.contains("from the host") && said.contains("Read-only file system"), "{said}");
    ensure!(
        std::fs::read_to_string(at("made"))? == "x\n"
            && std::fs::read_to_string(at("dir").join("f"))? == "y\n"
    );
    let text = format!(
        "MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: {} is not a directory",
        at("missing").display()
    );
    event(cluster, "host-missing", "FailedMount", &text)?;
    status_column(cluster, "host-missing", "ContainerCreating")
}

pub(super) fn image_volumes(cluster: &World) -> Result<()> {
    let mounts = json!({"volumeMounts": [
        {"name": "site", "mountPath": "/site"},
        {"name": "site", "mountPath": "/page", "subPath": "usr/share/nginx/html"},
    ]});
    let volume =
        |image: &str| json!([{"name": "site", "image": {"reference": image, "pullPolicy": "IfNotPresent"}}]);
    let shows = |name: &str, image: &str| {
        pod(name, json!({"containers": [with(sh(FOREVER), mounts.clone())], "volumes": volume(image)}))
    };
    apply(cluster, &[shows("image-volume", "nginx:1.0"), shows("image-missing", "nginx:none")])?;
    phase(cluster, "image-volume", "Running")?;
    let page =
        exec(cluster, "image-volume", "cat /site/usr/share/nginx/html/index.html; cat /page/index.html")?;
    ensure!(page.trim() == "Welcome to nginx 1.0\n".repeat(2).trim(), "{page:?}");
    let refused = exec(cluster, "image-volume", "echo x 2>&1 > /site/x; echo x 2>&1 > /page/x; true")?;
    ensure!(refused.matches("Read-only file system").count() == 2, "{refused}");
    // what is shown stays on the node
    let removed = cluster.sampan(&["image", "rm", "nginx:1.0"]);
    ensure!(removed.is_err_and(|error| format!("{error:#}").contains("is in use by the volume at ")));
    status_column(cluster, "image-missing", "ImagePullBackOff")
}
