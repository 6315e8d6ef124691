"""What Argo's own record of a workflow says: which step failed, for which reason, of what a real server left."""

import re

import pytest

from fineline.runs import argo
from tests import recorded


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("pod-deleted-then-retried", r"register: main: Error \(exit code 1\)"),
        ("no-service-account", r'root-driver: pods ".+" is forbidden: .+: serviceaccount "nobody" not found'),
    ],
)
def test_of_several_attempts_the_last_counts(how: str, said: str) -> None:
    nodes = argo.nodes([recorded.workflow(how)])
    assert argo.failed(nodes)
    assert re.fullmatch(said, argo.failure(nodes))


def test_what_failed_is_not_finish_that_failed_after_it() -> None:
    nodes = argo.nodes([recorded.workflow("step-failed")])
    end = next(node["startedAt"] for node in nodes if node["displayName"].endswith(".onExit"))
    for node in nodes:  # as on the server's first run, where every step failed alike and finish did too
        if node["startedAt"] > end:
            node |= {"phase": "Failed", "message": "main: Error (exit code 2)"}
    assert argo.failure(nodes) == "ingest: main: Error (exit code 1)"


def test_a_pod_that_was_lost_and_made_good_is_no_failure() -> None:
    nodes = argo.nodes([recorded.workflow("pod-deleted-then-retried")])
    before = [node for node in nodes if node["startedAt"] < "2026-11-30T10:50:00Z" and node["type"] == "Pod"]
    assert "pod deleted" in {node.get("message") for node in before}
    assert not argo.failed(before)
