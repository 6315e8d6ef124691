"""The rules that the manifests below k8s/ keep beyond Kubernetes' own schemas: each gives complaints about a build."""

import json
from collections.abc import Callable, Iterator
from functools import cache

import kubernetes_validate
from croniter import croniter

from fineline import __version__
from tests.k8s.build import Build, Object, Pod, containers, matches, name_of, pods, ports

# Kinds that Kubernetes does not define, which kubernetes-validate would wave through.
CUSTOM_KINDS = {"InferenceService": "KServe's; no schema here, its pod keeps the rules of every other"}

CLUSTER_WIDE = {"Namespace", "PriorityClass", "ClusterRole", "ClusterRoleBinding"}
LONG_RUNNING = {"Deployment", "StatefulSet", "DaemonSet", "InferenceService"}

# Pods that no manifest here makes, and a selector may mean: (namespace, labels, whose).
OTHERS_PODS = [
    ("fineline", {"workflows.argoproj.io/workflow": "x"}, "a step: Argo labels every pod of a workflow"),
    ("kubeflow", {"workflows.argoproj.io/workflow": "x"}, "the same, in standalone mode"),
    ("fineline", {"app": "ml-pipeline-ui-artifact"}, "Kubeflow's profile controller puts it into a profile"),
    ("kubeflow", {"app": "ml-pipeline"}, "Kubeflow Pipelines itself"),
    ("kube-system", {"k8s-app": "kube-dns"}, "the cluster's DNS"),
]
# Objects that Kubeflow brings into the namespaces where it runs pipelines.
OTHERS_NAMESPACES = {"kubeflow"}


def complaints(build: Build) -> list[str]:
    """All that is wrong with a build, as 'Kind namespace/name: what'."""
    return [complaint for rule in RULES for complaint in rule(build)]


def schema(build: Build) -> Iterator[str]:
    for thing in build.objects:
        if thing["kind"] not in CUSTOM_KINDS and (wrong := invalid(json.dumps(thing))):
            yield f"{name_of(thing)}: {wrong}"


@cache
def invalid(thing: str) -> str:
    """What Kubernetes' schema says against an object, as JSON; '' when nothing. Slow, so that it is asked once."""
    what = json.loads(thing)
    try:
        kubernetes_validate.validate(what, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        return f"Kubernetes has no {what['apiVersion']} {what['kind']}"
    except kubernetes_validate.ValidationError as error:
        return f"{error.json_path} {error.message}"
    return ""


def images(build: Build) -> Iterator[str]:
    for pod in pods(build.objects):
        for name, container in containers(pod):
            repository, _, digest = container["image"].partition("@")
            _, _, tag = repository.rpartition("/")[2].partition(":")
            if not digest and tag in ("", "latest"):
                yield f"{name}: image {container['image']} has no fixed tag"
            elif not digest and "fineline/" in repository and tag != __version__:
                yield f"{name}: image {container['image']} is not of version {__version__}"
            if repository.startswith("fineline/"):
                yield f"{name}: image {container['image']} has no registry: k8s/images does not name it"


def confinement(build: Build) -> Iterator[str]:
    for pod in pods(build.objects):
        whole = pod.spec.get("securityContext", {})
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{name_of(pod.owner)}: mounts a token of the Kubernetes API"
        for name, container in containers(pod):
            context = whole | container.get("securityContext", {})
            if not context.get("runAsNonRoot") or context.get("runAsUser") == 0:
                yield f"{name}: may run as root"
            if not context.get("readOnlyRootFilesystem"):
                yield f"{name}: may write to its root file system"
            if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
                yield f"{name}: may gain privileges"
            if context.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{name}: keeps capabilities"
            if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
                yield f"{name}: has no seccomp profile"
        if any(pod.spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name_of(pod.owner)}: shares a namespace of the host"


def resources(build: Build) -> Iterator[str]:
    for pod in pods(build.objects):
        for name, container in containers(pod):
            for kind in ("requests", "limits"):
                missing = {"cpu", "memory"} - set(container.get("resources", {}).get(kind, {}))
                if missing:
                    yield f"{name}: no {kind} for {', '.join(sorted(missing))}"


def probes(build: Build) -> Iterator[str]:
    for pod in pods(build.objects):
        for container in pod.spec["containers"] if pod.owner["kind"] in LONG_RUNNING else []:
            for probe in ("livenessProbe", "readinessProbe"):
                if probe not in container:
                    yield f"{name_of(pod.owner)} container {container['name']}: no {probe}"
                elif (port := container[probe].get("httpGet", {}).get("port")) and port not in ports(container):
                    yield f"{name_of(pod.owner)} container {container['name']}: {probe} asks port {port}"


def selectors(build: Build) -> Iterator[str]:
    made = list(pods(build.objects + build.around))
    for thing in build.objects:
        here, spec = thing["metadata"].get("namespace"), thing.get("spec", {})
        if thing["kind"] in ("Service", "PodDisruptionBudget"):
            selector = {"matchLabels": spec["selector"]} if thing["kind"] == "Service" else spec["selector"]
            taken = [p for p in made if p.owner["metadata"]["namespace"] == here and matches(selector, p.labels)]
            if not taken:
                yield f"{name_of(thing)}: selects no pod"
            for target in (port.get("targetPort", port["port"]) for port in spec.get("ports", [])):
                if any(target not in {p for c in pod.spec["containers"] for p in ports(c)} for pod in taken):
                    yield f"{name_of(thing)}: its pods have no port {target}"
        elif thing["kind"] == "HorizontalPodAutoscaler":
            target = spec["scaleTargetRef"]
            if not any((t["kind"], t["metadata"]["name"]) == (target["kind"], target["name"]) for t in build.objects):
                yield f"{name_of(thing)}: scales {target['kind']} {target['name']}, which is not there"
    for pod in pods(build.objects):
        own = pod.owner["spec"].get("selector")
        if own is not None and not matches(own, pod.labels):
            yield f"{name_of(pod.owner)}: does not select its own pods"


def policies(build: Build) -> Iterator[str]:
    everyone = [(p.owner["metadata"]["namespace"], p.labels) for p in pods(build.objects + build.around)]
    everyone += [(space, labels) for space, labels, _ in OTHERS_PODS]

    def met(peer: Object, here: str) -> bool:
        spaces = peer.get("namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": here}})
        return any(
            matches(spaces, {"kubernetes.io/metadata.name": space}) and matches(peer.get("podSelector", {}), labels)
            for space, labels in everyone
        )

    for thing in build.objects:
        if thing["kind"] != "NetworkPolicy":
            continue
        here, spec = thing["metadata"]["namespace"], thing["spec"]
        if spec["podSelector"] and not met({"podSelector": spec["podSelector"]}, here):
            yield f"{name_of(thing)}: selects no pod"
        sides = [rule.get("from", []) for rule in spec.get("ingress", [])]
        sides += [rule.get("to", []) for rule in spec.get("egress", [])]
        for peer in (peer for side in sides for peer in side if "ipBlock" not in peer):
            if not met(peer, here):
                yield f"{name_of(thing)}: its peer {peer} is no pod"


def references(build: Build) -> Iterator[str]:
    there = {
        (t["kind"], t["metadata"].get("namespace"), t["metadata"]["name"]): t for t in build.objects + build.around
    }
    for pod in pods(build.objects):
        for kind, wanted, keys in needs(pod):
            if kind == "Secret":
                has = build.secrets.get(wanted)
            else:
                thing = there.get((kind, pod.owner["metadata"]["namespace"], wanted))
                has = None if thing is None else set(thing.get("data", {}))
            if has is None:
                yield f"{name_of(pod.owner)}: {kind} {wanted} is not there"
            elif keys - has:
                yield f"{name_of(pod.owner)}: {kind} {wanted} has no key {', '.join(sorted(keys - has))}"
        claims = pod.owner["spec"].get("volumeClaimTemplates", [])
        volumes = {claim["metadata"]["name"] for claim in claims} | {v["name"] for v in pod.spec.get("volumes", [])}
        for name, container in containers(pod):
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield f"{name}: mounts volume {mount['name']}, which its pod does not have"


def needs(pod: Pod) -> Iterator[tuple[str, str, set[str]]]:
    """What a pod cannot start without, as (kind, name, keys)."""
    if "serviceAccountName" in pod.spec:
        yield "ServiceAccount", pod.spec["serviceAccountName"], set()
    if pod.owner["kind"] == "StatefulSet":
        yield "Service", pod.owner["spec"]["serviceName"], set()
    for volume in pod.spec.get("volumes", []):
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], set()
        for kind, key, name in (("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")):
            if key in volume:
                yield kind, volume[key][name], {item["key"] for item in volume[key].get("items", [])}
    for _, container in containers(pod):
        for source in container.get("envFrom", []):
            for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                if key in source:
                    yield kind, source[key]["name"], set()
        for source in (variable.get("valueFrom", {}) for variable in container.get("env", [])):
            for kind, key in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
                if key in source:
                    yield kind, source[key]["name"], {source[key]["key"]}


def rights(build: Build) -> Iterator[str]:
    there = {(t["kind"], t["metadata"].get("namespace"), t["metadata"]["name"]) for t in build.objects}
    for thing in build.objects:
        if thing["kind"].startswith("Cluster"):
            yield f"{name_of(thing)}: rights in every namespace"
        for rule in thing.get("rules", []) if thing["kind"] == "Role" else []:
            if "*" in rule["apiGroups"] + rule["resources"] + rule["verbs"]:
                yield f"{name_of(thing)}: a wildcard in {rule}"
        if thing["kind"] == "RoleBinding":
            space = thing["metadata"]["namespace"]
            bound = [(thing["roleRef"]["kind"], space, thing["roleRef"]["name"])]
            bound += [(who["kind"], who.get("namespace"), who["name"]) for who in thing["subjects"]]
            yield from (f"{name_of(thing)}: {what} is not there" for what in bound if what not in there)


def namespaces(build: Build) -> Iterator[str]:
    made = {t["metadata"]["name"]: t for t in build.objects + build.around if t["kind"] == "Namespace"}
    for thing in build.objects:
        space = thing["metadata"].get("namespace")
        if (space is None) != (thing["kind"] in CLUSTER_WIDE):
            yield f"{name_of(thing)}: namespace {space}"
        elif space and space not in OTHERS_NAMESPACES | {"fineline"}:
            yield f"{name_of(thing)}: nobody makes the namespace {space}"
    for name, space in made.items():
        labels = space["metadata"].get("labels", {})
        if any(
            labels.get(f"pod-security.kubernetes.io/{mode}") != "restricted" for mode in ("enforce", "audit", "warn")
        ):
            yield f"Namespace {name}: Pod Security is not restricted"
        closed = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        inside = [t.get("spec") for t in build.objects + build.around if t["metadata"].get("namespace") == name]
        if closed not in inside:
            yield f"Namespace {name}: no policy that denies everything by default"


def crons(build: Build) -> Iterator[str]:
    for thing in build.objects:
        if thing["kind"] == "CronJob" and not croniter.is_valid(thing["spec"]["schedule"]):
            yield f"{name_of(thing)}: schedule {thing['spec']['schedule']} is no cron"


RULES: list[Callable[[Build], Iterator[str]]] = [
    schema, images, confinement, resources, probes, selectors, policies, references, rights, namespaces, crons,
]  # fmt: skip
