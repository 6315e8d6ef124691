"""The namespace of the steps, the service account that they run as, and what it may do."""

from collections.abc import Iterator
from shlex import quote
from typing import NamedTuple

from cli.doctor import Finding
from cli.preflight.api import View
from cli.preflight.objects import KUBEFLOWS_SECRET, OVERLAY
from pipelines.client import INSTALLED_IN


class Right(NamedTuple):
    """Something that a run's pods ask of the Kubernetes API."""

    verb: str
    group: str
    resource: str
    name: str
    why: str
    needed: bool = True

    @property
    def text(self) -> str:
        """As `kubectl auth can-i` takes it."""
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {resource}{f'/{self.name}' if self.name else ''}"


RIGHTS = (
    Right("create", "argoproj.io", "workflowtaskresults", "", "Argo cannot learn what a step gave"),
    Right("patch", "argoproj.io", "workflowtaskresults", "", "Argo cannot learn what a step gave"),
    Right("list", "argoproj.io", "workflows", "", "MLflow never learns why a run was canceled or failed", needed=False),
    Right("get", "", "configmaps", "kfp-launcher", "Kubeflow's driver stops at its first look"),
    Right("get", "", "secrets", KUBEFLOWS_SECRET[0], "artifacts cannot be stored"),
)
"""The rules of the role in k8s/steps/service-account.yaml."""


def there(view: View) -> Iterator[Finding]:
    """The namespace itself."""
    name = quote(view.namespace)
    command = f"kubectl get namespace {name}"
    if view.ask("CoreV1Api.read_namespace", view.namespace, right="get namespaces", command=command):
        yield Finding("ok", f"namespace {view.namespace}")
    elif view.namespace == INSTALLED_IN:
        yield Finding(
            "missing",
            f"namespace {INSTALLED_IN} is not there: is Kubeflow Pipelines installed?",
            "kubectl get namespaces  # name the steps' own with --namespace",
        )
    else:
        make = "kubectl apply -f k8s/base/namespace.yaml" if name == "fineline" else f"kubectl create namespace {name}"
        yield Finding("missing", f"namespace {view.namespace} is not there", make)


def service_account(view: View) -> Iterator[Finding]:
    """The account that the pods run as."""
    account = account_of(view)
    command = f"kubectl --namespace {quote(view.namespace)} get serviceaccount {quote(account)}"
    read = "CoreV1Api.read_namespaced_service_account"
    if view.ask(read, account, view.namespace, right="get serviceaccounts", command=command):
        yield Finding("ok", f"service account {account}")
    else:
        make = f"kubectl --namespace {quote(view.namespace)} create serviceaccount {quote(account)}"
        yield Finding(
            "missing",
            f"service account {account} is not there: every pod of a run is refused",
            OVERLAY if account == "fineline-steps" else make,
        )


def account_of(view: View) -> str:
    """The service account of a run: the one of the settings, else Kubeflow's own."""
    return view.cluster.service_account or ("pipeline-runner" if view.namespace == INSTALLED_IN else "default-editor")


def rights(view: View) -> Iterator[Finding]:
    """Whether the service account may what Argo and Kubeflow do in its name."""
    account, missing = account_of(view), 0
    for right in RIGHTS:
        if not _may(view, account, right):
            missing += 1
            bind = (
                f"kubectl --namespace {quote(view.namespace)} create rolebinding {quote(f'fineline-steps-{account}')} "
                f"--role fineline-steps --serviceaccount {quote(f'{view.namespace}:{account}')}"
            )
            yield Finding(
                "missing" if right.needed else "warn",
                f"service account {account} may not {right.text}: {right.why}",
                OVERLAY if account == "fineline-steps" else bind,
            )
    if not missing:
        yield Finding("ok", f"service account {account} may {', '.join(right.text for right in RIGHTS)}")


def _may(view: View, account: str, right: Right) -> bool:
    """Asked of the API server itself, so that every role and binding counts. Whoever administers a namespace may ask this."""
    from kubernetes import client

    user = f"system:serviceaccount:{view.namespace}:{account}"
    spec = client.V1SubjectAccessReviewSpec(
        user=user,
        groups=["system:serviceaccounts", f"system:serviceaccounts:{view.namespace}", "system:authenticated"],
        resource_attributes=client.V1ResourceAttributes(
            namespace=view.namespace,
            verb=right.verb,
            group=right.group,
            resource=right.resource,
            name=right.name or None,
        ),
    )
    review = client.V1LocalSubjectAccessReview(
        api_version="authorization.k8s.io/v1",
        kind="LocalSubjectAccessReview",
        metadata=client.V1ObjectMeta(namespace=view.namespace),
        spec=spec,
    )
    answer = view.ask(
        "AuthorizationV1Api.create_namespaced_local_subject_access_review",
        view.namespace,
        review,
        right=f"ask what {account} may (create localsubjectaccessreviews)",
        command=f"kubectl auth can-i {right.text} --namespace {quote(view.namespace)} --as {quote(user)}",
    )
    return bool(answer and answer.status.allowed)
