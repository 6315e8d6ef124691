"""What a run on this machine does to text, as a cluster does; the model of the tests follows the same sources."""

import pytest

from pipelines.expansion import expanded

ENVIRONMENT = {"KFP_POD_NAME": "a-pod"}


@pytest.mark.parametrize(
    ("text", "arrives"),
    [
        ("no$$such$(KFP_POD_NAME)-{{workflow.name}}.csv", "no$sucha-pod-a-run.csv"),  # tests/recorded/README.md
        ("$$(KFP_POD_NAME) $$$$ $HOME $(NOBODY) $( $", "$(KFP_POD_NAME) $$ $HOME $(NOBODY) $( $"),
        ("{{ workflow.uid }} {{nobody}} {{$.x}} {{", "a-run {{nobody}} {{$.x}} {{"),
        ("[[RunUUID]] [[Index]] [[a]]", "a-run [[Index]] [[a]]"),
        ("data/sample/messages.csv 100 %", "data/sample/messages.csv 100 %"),
    ],
)
def test_expanded(text: str, arrives: str) -> None:
    assert expanded({text: [text, 5, True]}, "a-run", ENVIRONMENT) == {arrives: [arrives, 5, True]}
