"""Lists pods with the mounted service account, and is refused what it may not see."""
from kubernetes import client, config

config.load_incluster_config()
core = client.CoreV1Api()
print("host", core.api_client.configuration.host)
print("pods", sorted(pod.metadata.name for pod in core.list_namespaced_pod("default").items))
for name, call in [
    ("secrets", lambda: core.list_namespaced_secret("default")),
    ("elsewhere", lambda: core.list_namespaced_pod("kube-system")),
]:
    try:
        call()
        print(name, "allowed")
    except client.ApiException as refused:
        print(name, refused.status)
