"""Whether there is room for the pods: the quota of the namespace, and nodes that fit."""

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from shlex import quote
from typing import Any

from cli.doctor import Finding
from cli.preflight.api import View
from pipelines.settings import Toleration

LIMIT_RANGE = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "fineline"},
    "spec": {
        "limits": [
            {
                "type": "Container",
                "default": {"cpu": "1", "memory": "1Gi"},
                "defaultRequest": {"cpu": "50m", "memory": "128Mi"},
            }
        ]
    },
}
"""That of k8s/base/limits.yaml, for a namespace that this file is not for."""


def quota(view: View) -> Iterator[Finding]:
    """Whether the quota of the namespace has room for the training pod."""
    from kubernetes.utils import parse_quantity

    quotas = _quotas(view)
    for one in quotas:
        hard, used = one.status.hard or {}, one.status.used or {}
        name, short = one.metadata.name, False
        for resource, wanted in _needs(view).items():
            if resource not in hard:
                continue
            whole = parse_quantity(hard[resource])
            free = whole - parse_quantity(used.get(resource, "0"))
            if parse_quantity(wanted) > whole:
                short = True
                what = f"quota {name} allows {hard[resource]} {resource}, train wants {wanted}: its pod is never made"
                yield Finding("missing", what, f"kubectl --namespace {quote(view.namespace)} edit quota {quote(name)}")
            elif parse_quantity(wanted) > free:
                short = True
                what = f"quota {name}: {used[resource]} of {hard[resource]} {resource} are used, train wants {wanted}"
                yield Finding(
                    "warn", f"{what}: it waits", f"kubectl --namespace {quote(view.namespace)} describe quota"
                )
        if not short:
            yield Finding("ok", f"quota {name} has room for train")
    if not quotas:
        yield Finding("ok", f"no quota in namespace {view.namespace}")


def _needs(view: View) -> dict[str, str]:
    """What the training pod asks for, by the names of a quota."""
    cluster = view.cluster
    needs = {"pods": "1"}
    for kind in ("requests.", "limits.", ""):
        needs |= {f"{kind}cpu": cluster.train_cpu, f"{kind}memory": cluster.train_memory}
    return needs | {f"requests.{cluster.gpu_type}": str(cluster.gpu_count)}


def limits(view: View) -> Iterator[Finding]:
    """Whether Argo's helpers get the limits that a quota asks of all.

    Its containers `wait` and `init` name none (tests/recorded/pods/train.json), and under a quota of cpu or memory a pod
    is refused whose containers do not all name theirs, unless a limit range does it for them.
    """
    names = {resource for one in _quotas(view) for resource in one.status.hard or {}}
    if not names & {f"{kind}{what}" for kind in ("", "requests.", "limits.") for what in ("cpu", "memory")}:
        return
    namespace = quote(view.namespace)
    command = f"kubectl --namespace {namespace} get limitrange -o yaml"
    read = "CoreV1Api.list_namespaced_limit_range"
    found = view.ask(read, view.namespace, right="list limitranges", command=command)
    all_limits = [limit for one in (found.items if found else []) for limit in one.spec.limits]
    if any(limit.type == "Container" and {"cpu", "memory"} <= set(limit.default or {}) for limit in all_limits):
        yield Finding("ok", "a limit range gives Argo's helpers their limits")
    else:
        yield Finding(
            "missing",
            "the quota wants limits of every container, and no limit range gives Argo's theirs: all pods are refused",
            f"echo {quote(json.dumps(LIMIT_RANGE))} | kubectl --namespace {namespace} apply -f -",
        )


def _quotas(view: View) -> list[Any]:
    look = f"kubectl --namespace {quote(view.namespace)} describe quota"
    read = "CoreV1Api.list_namespaced_resource_quota"
    found = view.ask(read, view.namespace, right="list resourcequotas", command=look)
    return found.items if found else []


def nodes(view: View) -> Iterator[Finding]:
    """Whether some node can take the training pod: selector, taints, GPUs, cpu and memory; what others use is not counted."""
    from kubernetes.utils import parse_quantity

    cluster, why = view.cluster, Counter[str]()
    wanted = {"cpu": cluster.train_cpu, "memory": cluster.train_memory}
    if cluster.gpu_count:
        wanted[cluster.gpu_type] = str(cluster.gpu_count)
    fitting: list[Decimal] = []
    everyone = listed(view)
    for node in everyone:
        allocatable = node.status.allocatable or {}
        if reason := _refuses(node, cluster.node_selector, cluster.tolerations):
            why[reason] += 1
        elif short := [
            name for name in wanted if parse_quantity(allocatable.get(name, "0")) < parse_quantity(wanted[name])
        ]:
            why[f"{allocatable.get(short[0], '0')} {short[0]}"] += 1
        else:
            fitting.append(parse_quantity(allocatable.get(cluster.gpu_type, "0")))
    asked = ", ".join(f"{amount} {name}" for name, amount in reversed(wanted.items()))
    if fitting:
        gpus = f", which have {sum(fitting)} GPUs together" if cluster.gpu_count else ""
        yield Finding("ok", f"train ({asked}) fits on {len(fitting)} of {len(everyone)} nodes{gpus}")
    else:
        reasons = "; ".join(f"{count} with {reason}" for reason, count in why.most_common(5)) or "there is no node"
        yield Finding(
            "missing",
            f"train ({asked}) fits on none of {len(everyone)} nodes, it waits for ever: {reasons}",
            "kubectl describe nodes  # then cluster.gpu_type, gpu_count, node_selector and tolerations of params.yaml",
        )


def listed(view: View) -> list[Any]:
    """All nodes. Raises Unseen."""
    found = view.ask("CoreV1Api.list_node", right="list nodes", command="kubectl describe nodes")
    return found.items if found else []


def _refuses(node: Any, selector: dict[str, str], tolerations: list[Toleration]) -> str:
    """Why a node takes no pod with this selector and these tolerations; '' when it does."""
    labels = node.metadata.labels or {}
    for label, value in selector.items():
        if labels.get(label) != value:
            return f"the label {label}={labels[label]}" if label in labels else f"no label {label}"
    for taint in node.spec.taints or []:
        if taint.effect != "PreferNoSchedule" and not any(_tolerates(each, taint) for each in tolerations):
            return f"the taint {taint.key}{f'={taint.value}' if taint.value else ''}:{taint.effect}"
    ready = [condition.status for condition in node.status.conditions or [] if condition.type == "Ready"]
    return "" if ready == ["True"] else "the state NotReady"


def _tolerates(toleration: Toleration, taint: Any) -> bool:
    """By the rules of Kubernetes: no effect tolerates all, Exists any value, and Exists without a key everything."""
    if toleration.effect not in ("", taint.effect):
        return False
    if toleration.operator == "Exists":
        return toleration.key in ("", taint.key)
    return toleration.key == taint.key and toleration.value == (taint.value or "")
