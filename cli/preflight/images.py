"""Whether the images can be pulled, as far as can be seen without asking the registry, which the nodes do and we do not."""

import base64
import json
from collections.abc import Iterator
from shlex import quote

from cli.doctor import Finding
from cli.preflight.api import View
from cli.preflight.objects import secret
from cli.preflight.room import listed
from pipelines.blocks import BLOCKS
from pipelines.site import named


def names(view: View) -> Iterator[Finding]:
    """Whether each step's image has a digest or a tag that says which it is."""
    images = _images(view)
    if loose := [image for image in images if "@" not in image and _tag(image) in ("", "latest")]:
        yield Finding(
            "missing",
            f"no fixed tag: {', '.join(loose)}: nobody can say later what ran, and Kubeflow's cache takes old for new",
            "fineline doctor --cluster --set cluster.tag=VERSION  # then in params.yaml; or digests in cluster.images",
        )
    else:
        digests = sum("@" in image for image in images)
        yield Finding("ok", f"{len(images)} images, {digests} by digest, {len(images) - digests} by a fixed tag")


def pull_secret(view: View) -> Iterator[Finding]:
    """Whether the pull secret is there, and knows the images' registries."""
    name = view.cluster.pull_secret
    if not name:
        return
    hosts = sorted({_host(image) for image in _images(view)})
    make = (
        f"kubectl --namespace {quote(view.namespace)} create secret docker-registry {quote(name)} "
        f'--docker-server={quote(hosts[0])} --docker-username="$USERNAME" --docker-password="$PASSWORD"'
    )
    content = secret(view, name)
    if content is None:
        yield Finding("missing", f"pull secret {name} is not there", make)
    elif (known := _registries(content)) is None:
        yield Finding("missing", f"secret {name} is no pull secret: it has no .dockerconfigjson", make)
    elif lacking := [host for host in hosts if host not in known]:
        yield Finding("missing", f"pull secret {name} has no password for {', '.join(lacking)}", make)
    else:
        yield Finding("ok", f"pull secret {name}: {', '.join(hosts)}")


def pullable(view: View) -> Iterator[Finding]:
    """Whether the images lie on a node already, or have a registry to come from."""
    images = _images(view)
    there = {name for node in listed(view) for image in node.status.images or [] for name in image.names or []}
    away = [image for image in images if _full(image) not in there]
    if not away:
        yield Finding("ok", f"all {len(images)} images lie on a node")
    elif local := [image for image in away if _host(image) == "docker.io" and not view.cluster.pull_secret]:
        yield Finding(
            "missing",
            f"{len(local)} images have no registry, such as {local[0]}, and lie on no node",
            f"kind load docker-image {' '.join(map(quote, local))}  # or push them and name cluster.registry",
        )
    elif view.cluster.pull_secret:
        yield Finding("ok", f"{len(away)} images come from {', '.join(sorted({_host(image) for image in away}))}")
    else:
        yield Finding(
            "cannot see",
            f"whether {_host(away[0])} gives {len(away)} images, such as {away[0]}, without a password",
            f"docker manifest inspect {quote(away[0])}",
        )


def _images(view: View) -> list[str]:
    """The image of every step of both pipelines, each once."""
    return list(dict.fromkeys(named(view.cluster, step) for step in BLOCKS))


def _tag(image: str) -> str:
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]


def _host(image: str) -> str:
    """The registry of an image, as the container engines find it: what stands before the first '/', if it looks like a host."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def _full(image: str) -> str:
    """The name under which a node lists it: with its registry."""
    if _host(image) != "docker.io" or image.startswith("docker.io/"):
        return image
    return f"docker.io/{image}" if "/" in image else f"docker.io/library/{image}"


def _registries(content: dict[str, str]) -> set[str] | None:
    """The hosts that a pull secret knows; None when it is none."""
    try:
        known = json.loads(base64.b64decode(content[".dockerconfigjson"]))["auths"]
    except (KeyError, ValueError, TypeError):
        return None
    hosts = {host.removeprefix("https://").removeprefix("http://").partition("/")[0] for host in known}
    return hosts | ({"docker.io"} if "index.docker.io" in hosts else set())
