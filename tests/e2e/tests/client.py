"""The Python client does create, list, watch, patch, exec, log, delete."""

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import stream

config.load_kube_config()
core = client.CoreV1Api()

pod = client.V1Pod(
    metadata=client.V1ObjectMeta(name="python", labels={"app": "python"}),
    spec=client.V1PodSpec(
        containers=[
            client.V1Container(
                name="main", image="busybox", command=["sh", "-c", "echo hello from python; sleep 1000"]
            )
        ]
    ),
)
created = core.create_namespaced_pod("default", pod)
try:
    core.create_namespaced_pod("default", pod)
    raise AssertionError("a second pod of the same name")
except ApiException as error:
    assert error.status == 409, error

phases = []
watcher = watch.Watch()
for event in watcher.stream(
    core.list_namespaced_pod,
    "default",
    label_selector="app=python",
    resource_version=created.metadata.resource_version,
    timeout_seconds=60,
):
    phases.append(event["object"].status.phase)
    if phases[-1] == "Running":
        watcher.stop()
assert phases[-1:] == ["Running"], phases

listed = core.list_namespaced_pod("default", label_selector="app=python")
assert [item.metadata.name for item in listed.items] == ["python"], listed
patched = core.patch_namespaced_pod("python", "default", {"metadata": {"annotations": {"patched": "yes"}}})
assert patched.metadata.annotations["patched"] == "yes"
said = stream(
    core.connect_get_namespaced_pod_exec,
    "python",
    "default",
    command=["echo", "through websocket"],
    stdout=True,
    stderr=True,
    stdin=False,
    tty=False,
)
assert "through websocket" in said, said
assert "hello from python" in core.read_namespaced_pod_log("python", "default")
core.delete_namespaced_pod("python", "default", grace_period_seconds=1)
for event in watch.Watch().stream(
    core.list_namespaced_pod, "default", label_selector="app=python", timeout_seconds=60
):
    if event["type"] == "DELETED":
        break
else:
    raise AssertionError("no DELETED event")
