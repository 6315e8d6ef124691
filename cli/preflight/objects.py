"""What the steps mount and read in their namespace: secrets, the config map, volumes."""

from collections.abc import Iterator
from shlex import quote

from cli.doctor import Finding
from cli.preflight.api import View
from pipelines.site import CREDENTIALS, OBJECT_STORE

OVERLAY = "kubectl apply -k k8s/overlays/gpu  # or the overlay that is yours"
KUBEFLOWS_SECRET = ("mlpipeline-minio-artifact", ("accesskey", "secretkey"))
"""The secret of Kubeflow's own object store, which it puts into every namespace where pipelines run."""


def tracking_secret(view: View) -> Iterator[Finding]:
    """What the steps log in to MLflow with."""
    if view.cluster.tracking_secret:
        yield _secret(view, view.cluster.tracking_secret, CREDENTIALS)


def source_secret(view: View) -> Iterator[Finding]:
    """What ingest reads the object store with."""
    if view.cluster.source_secret:
        yield _secret(view, view.cluster.source_secret, OBJECT_STORE)


def kubeflows_secret(view: View) -> Iterator[Finding]:
    """What Argo and Kubeflow store artifacts with."""
    yield _secret(view, *KUBEFLOWS_SECRET)


def secret(view: View, name: str) -> dict[str, str] | None:
    """The content of a secret, base64; None when there is none of that name. Raises Unseen."""
    command = f"kubectl --namespace {quote(view.namespace)} describe secret {quote(name)}"
    found = view.ask(
        "CoreV1Api.read_namespaced_secret", name, view.namespace, right=f"get secret {name}", command=command
    )
    return None if found is None else dict(found.data or {})


def _secret(view: View, name: str, keys: tuple[str, ...]) -> Finding:
    literals = " ".join(f'--from-literal={key}="${key}"' for key in keys)
    make = f"kubectl --namespace {quote(view.namespace)} create secret generic {quote(name)} {literals}"
    content = secret(view, name)
    if content is None:
        return Finding("missing", f"secret {name} is not there: pods that want it wait for ever", make)
    if lacking := [key for key in keys if not content.get(key)]:
        return Finding(
            "missing",
            f"secret {name} has no {' and no '.join(lacking)}: pods that want it wait for ever",
            f"{make} --dry-run=client -o yaml | kubectl apply -f -",
        )
    return Finding("ok", f"secret {name}: {', '.join(keys)}")


def config_map(view: View) -> Iterator[Finding]:
    """The config map that says where the object store of the source is."""
    if not (name := view.cluster.config_map):
        return
    command = f"kubectl --namespace {quote(view.namespace)} get configmap {quote(name)} -o yaml"
    found = view.ask(
        "CoreV1Api.read_namespaced_config_map", name, view.namespace, right="get configmaps", command=command
    )
    if found:
        yield Finding("ok", f"config map {name}: {', '.join(sorted(found.data or {})) or 'empty'}")
    else:
        make = f"kubectl --namespace {quote(view.namespace)} create configmap {quote(name)}"
        make += ' --from-literal=AWS_ENDPOINT_URL="$AWS_ENDPOINT_URL"'
        yield Finding(
            "missing",
            f"config map {name} is not there: ingest looks for s3:// sources at Amazon",
            OVERLAY if name == "fineline" else make,
        )


def checkpoints_claim(view: View) -> Iterator[Finding]:
    """The volume of the checkpoints."""
    if view.cluster.checkpoints_claim:
        yield _claim(view, view.cluster.checkpoints_claim)


def hub_cache_claim(view: View) -> Iterator[Finding]:
    """The volume of the models of the hub."""
    if view.cluster.hub_cache_claim:
        yield _claim(view, view.cluster.hub_cache_claim)


def _claim(view: View, name: str) -> Finding:
    look = f"kubectl --namespace {quote(view.namespace)} describe persistentvolumeclaim {quote(name)}"
    found = view.ask(
        "CoreV1Api.read_namespaced_persistent_volume_claim",
        name,
        view.namespace,
        right="get persistentvolumeclaims",
        command=look,
    )
    if found is None:
        return Finding("missing", f"volume claim {name} is not there: pods that mount it wait for ever", OVERLAY)
    if found.status.phase != "Bound":
        return Finding("missing", f"volume claim {name} is {found.status.phase}, not Bound", look)
    size = (found.status.capacity or {}).get("storage", "?")
    return Finding("ok", f"volume claim {name}: {size}, {', '.join(found.status.access_modes or [])}")
