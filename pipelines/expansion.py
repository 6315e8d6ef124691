"""What a cluster does to text in a pipeline's inputs, so that a run on this machine does it too.

`[[...]]` as Kubeflow's backend/src/common/util/parameter_formatter.go, then `{{...}}` as Argo's util/template/simple_template.go,
then `$(NAME)` and `$$` as Kubernetes' third_party/forked/golang/expansion/expand.go. What names nothing stays as it is, as there.
"""

import re
from collections.abc import Mapping
from typing import Any

from fineline.kubeflow import delivery

_ARGO = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_KUBERNETES = re.compile(r"\$\$|\$\(([^)]*)\)")


def expanded(value: Any, run: str, environment: Mapping[str, str]) -> Any:
    """`value`, of JSON's types, as a pod of the run `run` with that environment is given it."""
    workflow = {"workflow.name": run, "workflow.uid": run}

    def change(text: str) -> str:
        text = text.replace("[[RunUUID]]", run)
        text = _ARGO.sub(lambda found: workflow.get(found[1].strip(), found[0]), text)
        return _KUBERNETES.sub(lambda found: "$" if found[0] == "$$" else environment.get(found[1], found[0]), text)

    return delivery.each_text(change, value)
