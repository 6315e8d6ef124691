"""fineline serve: a registered model or a bundle folder over HTTP, with ONNX Runtime. No torch."""

import argparse
import dataclasses
from pathlib import Path

from fineline.serving.settings import Settings, flag, ranged


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "--model",
        help="models:/NAME@ALIAS, models:/NAME/VERSION, or a bundle folder (default: what serves of the project here, "
        "models:/NAME@champion with register.name of its params.yaml)",
    )
    parser.add_argument("--name", default="", help="what the model is called in URLs (default: its registered name)")
    parser.add_argument("--host", default=Settings.host, help="the address to listen at (%(default)s; 0.0.0.0: every)")
    parser.add_argument("--log-texts", action="store_true", help="log the texts and their labels too")
    parser.add_argument("--log-folder", type=Path, metavar="DIR", help="where --log-sample goes, as Parquet files")
    parser.add_argument(
        "--feedback-folder",
        type=Path,
        metavar="DIR",
        help="where POST /feedback, texts with the labels that are right, goes as JSON Lines (default: none is taken)",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="answer only who sends 'Authorization: Bearer TOKEN' with a line of this file (all but /v2/health)",
    )
    parser.add_argument(
        "--shadow",
        default="",
        metavar="MODEL",
        help="a second model, such as models:/NAME@challenger, that labels what --model answers too, when there is time",
    )
    for field in ranged():
        parser.add_argument(
            flag(field),
            type=field.metadata["kind"],
            default=field.default,
            metavar="N" if isinstance(field.default, int) else "X",
            help=f"{field.metadata['help']} (default: {field.default})",
        )
    parser.epilog = (
        "examples: fineline serve --model artifacts/bundle\n"
        "          fineline serve --model models:/fineline@champion --host 0.0.0.0 --log-sample 10% --log-folder log\n"
        "          fineline serve --model models:/fineline@champion --shadow models:/fineline@challenger --canary 5%\n"
        '          curl -d \'{"texts": ["my card has not arrived"]}\' -H content-type:application/json localhost:8080/predict\n\n'
        "Open Inference Protocol v2 at /v2, Prometheus metrics at /metrics, logs as JSON lines on stdout. SIGTERM ends it with\n"
        "exit code 0 after every accepted request is answered. docs/serving.md says more."
    )


def settings_of(flags: argparse.Namespace) -> Settings:
    """The settings that the flags say. Raises UsageError naming every wrong one."""
    given = {field.name: getattr(flags, field.name) for field in dataclasses.fields(Settings)}
    return Settings(**{**given, "model": flags.model or default_model()})


def default_model(params: Path = Path("params.yaml")) -> str:
    """models:/NAME@champion: NAME is register.name of the project here, fineline where no parameters file is or names none.

    Raises UsageError for a file that has no such block.
    """
    from fineline.steps.params import block_of

    named = block_of(params, "register") if params.is_file() else {}
    return f"models:/{named.get('name', 'fineline')}@champion"


def run(flags: argparse.Namespace) -> int:
    """Serves until it is told to stop."""
    settings = settings_of(flags)
    from fineline.serving.server import serve

    serve(settings)
    return 0
