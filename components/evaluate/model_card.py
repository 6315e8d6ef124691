"""MODEL_CARD.md, in the format of the Hugging Face hub (https://huggingface.co/docs/hub/model-cards)."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.evaluate.evaluation import SHIPPED, TRAINED, Evaluation
from components.evaluate.markdown import code, plain, table
from components.evaluate.page import name_of
from components.evaluate.slices import TRUNCATED
from fineline.artifacts.folders import Manifest
from fineline.sources import source_version


def render(found: Evaluation, config: Mapping[str, Any], bundle: Manifest, model: Manifest) -> str:
    """The card. `config` is bundle.json; the manifests are those of the bundle and of the trained model."""
    base = str(model.params.get("model", "")).removeprefix("bundled:") or "a pretrained transformer"
    title = f"{base}, fine-tuned: {len(found.labels)} labels, {config['precision']} ONNX"
    data = _data(bundle)
    parts = [
        f"---\n{_header(found, config, title, data)}\n---\n",
        f"# {plain(title)}\n",
        _intended_use(found, config, base),
        "## How to use\n",
        "```bash\nfineline predict --model models:/NAME@champion 'a text'\n```\n",
        "`NAME` is the name it is registered under. The bundle runs on ONNX Runtime with its own `tokenizer.json`.\n",
        "## Data\n",
        table(["made by", "kind", "digest", "figures"], data),
        *(
            f"\nVersion of {role}: {code(version)}"
            for role, version in source_version.in_lineage(bundle.ancestors).items()
        ),
        f"\nTrained on {found.train_rows:,} rows, tested on {len(found.rows):,} that were kept apart.\n",
        "## Training\n",
        table(["parameter", "value"], [[name, code(value)] for name, value in sorted(model.params.items())]),
        "\n## Results\n",
        _results(found),
        *(["\n## Results per label\n", _per_label(found)] if found.per_label else []),
        "\n## Limits\n",
        _limits(found, config),
        "## Licence\n",
        "Not stated: it follows from the base model's licence and from the data's owner.\n",
        "## Lineage\n",
        table(
            ["step", "gave", "digest", "fineline"],
            [
                [entry["step"], entry["kind"], f"`{entry['digest']}`", entry["version"]]
                for entry in [*bundle.ancestors, bundle.without_ancestors()]
            ],
        ),
    ]
    return "\n".join(parts) + "\n"


def _header(found: Evaluation, config: Mapping[str, Any], title: str, data: Sequence[Sequence[str]]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type=found.task.pipeline_tag,
            dataset_type="own",
            dataset_name="test split of the team's own data",
            dataset_revision=data[-1][2].strip("`") if data else None,
            metric_type=figure,
            metric_name=name_of(figure),
            metric_value=value,
        )
        for figure, value in found.figures[SHIPPED].items()
    ]
    header = ModelCardData(
        model_name=title,
        library_name="onnx",
        pipeline_tag=found.task.pipeline_tag,
        tags=["fineline", "onnx", config["precision"]],
        metrics=list(found.intervals[SHIPPED]),
        eval_results=results,
    )
    return header.to_yaml()


def _intended_use(found: Evaluation, config: Mapping[str, Any], base: str) -> str:
    shown = ", ".join(map(code, found.labels))
    does, does_not = found.task.describe(len(found.labels), config["max_length"])
    return (
        f"{does}\n\n"
        f"Base model: {plain(base)}. Labels: {shown}.\n\n"
        "## Intended use\n\n"
        f"Texts of the kind it was trained on: same language, same source, same labels. {does_not} It is not for decisions about "
        "people without a person who looks at them.\n"
    )


def _data(bundle: Manifest) -> list[list[str]]:
    """The data behind the bundle, oldest first: what made it, kind, digest, and its plain figures."""
    return [
        [
            entry["step"],
            entry["kind"],
            f"`{entry['digest']}`",
            ", ".join(
                f"{name} {value:,}"
                for name, value in sorted(entry["figures"].items())
                if isinstance(value, int | float) and not isinstance(value, bool)
            ),
        ]
        for entry in bundle.ancestors
        if entry["kind"] in ("dataset", "splits")
    ]


def _results(found: Evaluation) -> str:
    columns = list(found.figures[SHIPPED])
    rows = []
    for name in found.figures:
        cells = []
        for column in columns:
            ends = found.intervals[name].get(column)
            cells.append(f"{found.figures[name][column]:.4f}" + (f" ({ends[0]:.4f} to {ends[1]:.4f})" if ends else ""))
        rows.append([name, *cells])
    gate = found.gate
    rules = [
        [
            rule["rule"],
            f"{plain(rule['meaning'])} {rule['bound']:g}",
            f"{rule['figure']:.4f}",
            "yes" if rule["passed"] else "no",
        ]
        for rule in gate["rules"]
    ]
    return (
        f"Gate: {gate['summary']}.\n\n"
        + table(["model", *map(name_of, columns)], rows)
        + f"\n`{SHIPPED}` is this model, `{TRAINED}` the PyTorch model it came from, the others are baselines that learned from "
        "the same rows. In brackets: 95 % percentile bootstrap interval over the test rows.\n\n"
        + table(["rule", "meaning", "figure", "passed"], rules)
    )


def _per_label(found: Evaluation) -> str:
    rows = [
        [
            code(label),
            *(f"{figures[column]:.3f}" for column in ("precision", "recall", "f1")),
            str(int(figures["support"])),
        ]
        for label, figures in found.per_label.items()
    ]
    return table(["label", "precision", "recall", "F1", "test rows"], rows)


def _limits(found: Evaluation, config: Mapping[str, Any]) -> str:
    lines, right = [], found.task.right_figure
    for part in found.slices:
        low, high = part["intervals"][right]
        if part["mark"]:
            lines.append(
                f"- {part['mark']}: {code(part['slice'])} = {code(part['value'])}, {name_of(right)} {part['figures'][right]:.4f} "
                f"({low:.4f} to {high:.4f}) on {part['rows']:,} test rows."
            )
    if not lines:
        lines.append("- No part of the test rows that was looked at stands out as worse than the whole.")
    cut = sum(part["rows"] for part in found.slices if part["slice"] == TRUNCATED and part["value"] == "yes")
    lines.append(
        f"- Text after token {config['max_length']} is not read; that cut {cut:,} of {len(found.rows):,} test rows."
    )
    return "\n".join(lines) + "\n"
