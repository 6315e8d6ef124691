"""fineline COMMAND ...: what people do around the pipeline. A command is one module here, imported only when it is called.

A module offers `configure(parser)`, which adds its arguments and an example, and `run(flags)`, which gives the exit code.
"""

import argparse
import importlib
import os
import signal
import sys

from fineline import __version__
from fineline.steps.command_line import guarded, quiet_libraries, terminate

COMMANDS = {
    "new": "a project of your own: looks at your data, says what it found and chose, writes params.yaml and dvc.yaml",
    "predict": "label texts, lines or a file with a registered model or a bundle folder",
    "serve": "serve a registered model or a bundle folder over HTTP: Open Inference Protocol v2 and /predict",
    "feedback": "texts with the labels that are right: kept for monitor, and written for the next dataset",
    "compare": "a page of a model and its shadow on the same texts, from the server's sample log",
    "compile": "the pipeline as the package that Kubeflow Pipelines runs",
    "run": "the compiled pipeline on this machine, in containers or as processes",
    "submit": "start the pipeline on a Kubeflow Pipelines server, and follow it",
    "schedule": "recurring runs on a Kubeflow Pipelines server: apply, list, pause, resume, delete",
    "retrain": "train again with DVC on this machine, when there is a reason: new rows, drift, age",
    "promote": "compare a registered version with the champion now, and put it in its place if it is better",
    "approve": "let a version serve that waits for a person's word",
    "reject": "refuse a version: no pipeline promotes it any more",
    "rollback": "return to an earlier champion, once it is proven that it still works",
    "repair": "every alias against the ledger, and which of the two is right; a ledger that was deleted, made again",
    "status": "what serves, since when, on what evidence, and what waits",
    "history": "every move of an alias, from the ledger",
    "summary": "what the pipeline made: figures, times, the gate's verdict, the registered version",
    "doctor": "check this machine and this project, or the cluster, and say what is missing",
}

_BROKEN_PIPE = 141  # what a shell reports of a program that SIGPIPE ended


def main(argv: list[str] | None = None) -> int:
    """Runs the command line `argv`; gives the exit code (see fineline.process.errors)."""
    arguments = sys.argv[1:] if argv is None else argv
    called = next((argument for argument in arguments if not argument.startswith("-")), "")
    flags = _parser(called).parse_args(arguments)
    quiet_libraries()
    signal.signal(signal.SIGTERM, terminate)  # so that files half written are removed
    try:
        failed, code = guarded(lambda: importlib.import_module(f"cli.{flags.command}").run(flags), f"fineline {called}")
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads our output has seen enough (fineline predict ... | head). Nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    return failed or code


def _parser(called: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fineline",
        description="Fine-tune a pretrained transformer on your own text, and use what came out.",
        epilog="example: fineline predict --model models:/fineline@champion 'my card has not arrived'\n"
        "The pipeline itself: make run, or dvc repro. 'fineline COMMAND --help' shows the arguments of a command.\n"
        "exit codes: 0 done, 1 the run on the server failed (submit --wait), 2 wrong use, 3 data rejected,\n"
        "            4 I/O, network or machine, 143 stopped",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fineline {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == called:
            importlib.import_module(f"cli.{name}").configure(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
