"""The Kubernetes API as kubectl meets it: its credentials, and one question at a time."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from fineline.process.errors import ResourceError
from pipelines import kubernetes_says
from pipelines.settings import Cluster

_SECONDS = (5, 20)  # to connect, to answer


class Unseen(Exception):
    """What cannot be seen from here, and the command with which someone may see it who has the right."""

    def __init__(self, what: str, command: str) -> None:
        super().__init__(what)
        self.what = what
        self.command = command


class View(NamedTuple):
    """What the checks look at: the API's client, the namespace of the steps, the settings of the cluster."""

    api: Any
    namespace: str
    cluster: Cluster

    def ask(self, method: str, *arguments: Any, right: str, command: str, **named: Any) -> Any:
        """What a read method gives, such as 'CoreV1Api.read_namespaced_secret'; None when there is no such thing.

        `right` is what one must be allowed for it, such as 'get secrets'. Raises Unseen without the right, or without an answer.
        """
        from kubernetes import client
        from urllib3.exceptions import HTTPError

        group, _, name = method.partition(".")
        read: Callable[..., Any] = getattr(getattr(client, group)(self.api), name)
        try:
            return read(*arguments, _request_timeout=_SECONDS, **named)
        except client.ApiException as error:
            if error.status == 404:
                return None
            why = f"you may not {right}" if error.status in (401, 403) else f"Kubernetes answers {error.status}"
        except HTTPError as error:
            why = f"Kubernetes does not answer ({_reason(error)})"
        except ValueError:  # the models refuse an answer without the fields that Kubernetes always sends
            why = f"{self.api.configuration.host} answers what Kubernetes does not: a proxy, or a page to log in?"
        raise Unseen(why, command)


def connect() -> Any:
    """A client of the API with kubectl's credentials, as `kubernetes_says` finds them. Raises ResourceError without any."""
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it announces every retry
    try:
        return kubernetes_says.connect("").api
    except kubernetes_says.Untold as error:
        raise ResourceError(f"no credentials for Kubernetes: {error}", "kubectl config get-contexts") from None


def version(view: View) -> str:
    """The version of the API server, such as v1.34.4. Raises Unseen."""
    found = view.ask("VersionApi.get_code", right="get /version", command="kubectl version")
    if found is None:
        raise Unseen(f"{view.api.configuration.host} is not Kubernetes", "kubectl cluster-info")
    return str(found.git_version)


def _reason(error: Exception) -> str:
    """The end of urllib3's message, without the name of the connection."""
    return str(getattr(error, "reason", None) or error).rpartition("): ")[2][:200]
