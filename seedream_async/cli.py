"""
The command `seedream`: what it takes, and what its exit codes mean.

Only what the help needs is imported here; a command imports the rest when it runs.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys

from ._version import __version__

TYPE_CHECKING = False  # `typing` has it too, and takes as long to load as the rest
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

EXIT_CODES = """\
exit codes:
  0    every image was made and saved
  1    several things failed, for different reasons; or something not listed here
  2    the command or a request is wrong; nothing was sent
  3    the key, its rights, or the balance
  4    the service cannot be reached, or is busy; nothing was billed
  5    the outcome of a request is unknown; it may have been billed
  6    the service refused a request; nothing was billed
  7    an image was made, but could not be downloaded
  8    an image was made, but could not be written to the disk
  130  interrupted
"""
_EPILOG = f"Paths are printed on standard output, all else on standard error.\n\n{EXIT_CODES}"
_LEDGER_COMMANDS = {
    "status": "Say how many rows of a batch are where.",
    "export": "Print all rows of a ledger as JSONL, without links.",
    "failed": "Print the rows that failed as JSONL, to be corrected and fed back in.",
}
_BATCH_EPILOG = "`seedream batch status|export|failed LEDGER` tells what is where.\n\n"


class _Parser(argparse.ArgumentParser):
    """A parser that answers a mistake with one line, not with its whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"seedream: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    _open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _obey(words)
    except OSError as error:
        # Standard output is gone or full: nothing more may be written to it, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"seedream: standard output: {error.strerror}", file=sys.stderr)
        return 1


def _obey(words: list[str]) -> int:
    """Do what *words* say; what this prints is out when it ends, or the reason is raised."""
    try:
        return _interruptible(_options(words))
    finally:
        sys.stdout.flush()


def _options(words: list[str]) -> argparse.Namespace:
    parser = _parser()
    options, unknown = parser.parse_known_args(_joined(words), argparse.Namespace(words=words))
    if unknown:
        parser.prog += f" {options.command}"  # its help is the one to look into
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


def _interruptible(options: argparse.Namespace) -> int:
    try:
        return _run(options)
    except KeyboardInterrupt:
        free = options.command != "generate" or options.emulator
        cost = "" if free else "; what was in flight may be billed"
        print(f"\nseedream: interrupted{cost}", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415  more than half of what --help would wait for

    if options.command == "doctor":  # it is there to tell why the rest does not even load
        from . import _doctor  # noqa: PLC0415

        return asyncio.run(_doctor.run(options))
    from . import _commands  # noqa: PLC0415  the heavy part

    return asyncio.run(_commands.run(options))


def _open_streams() -> None:
    """Stand in for streams that the caller closed, and let any path through as it is."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="seedream",
        description="Make images with ByteDance's Seedream models through CometAPI.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"seedream-async {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_generate(commands)
    _add_batch(commands)
    _add_ledger_commands(commands)
    _add_emulator(commands)
    _add_doctor(commands)
    return parser


def _joined(words: list[str]) -> list[str]:
    """*words*, with what `batch` does to a ledger as one word: an input of that name has a path."""
    if words[:1] == ["batch"] and words[1:2] and words[1] in _LEDGER_COMMANDS:
        return [" ".join(words[:2]), *words[2:]]
    return words


def _add_demo(commands: argparse._SubParsersAction[_Parser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="see it work, with no key and no network",
        epilog=EXIT_CODES,
        description="Make the images of a dozen prompts with the emulator. Costs nothing.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument("--out", default="seedream-demo", metavar="DIR", help="default: %(default)s")
    demo.add_argument("-n", type=_positive, default=12, metavar="N", help="how many prompts")


def _add_generate(commands: argparse._SubParsersAction[_Parser]) -> None:
    generate = commands.add_parser(
        "generate",
        help="make images of prompts",
        epilog=EXIT_CODES,
        description="Make images of prompts and save them. Needs COMETAPI_KEY.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = generate.add_argument
    add("prompt", nargs="+", metavar="PROMPT")
    add("-n", type=_positive, default=1, metavar="N", help="how often to send each prompt")
    add("--out", default="seedream-images", metavar="DIR", help="default: %(default)s")
    add("--model", help="default: doubao-seedream-5-0-260128")
    add("--size", help="such as 2K or 2048x2048")
    add("--image", action="append", metavar="FILE|URL", help="a reference; may be repeated")
    add("--output-format", choices=("png", "jpeg"))
    add("--max-images", type=_positive, metavar="N", help="let the model make a group, at most N")
    add("--seed", type=int)
    add("--no-watermark", dest="watermark", action="store_const", const=False)
    add("--concurrency", type=_positive, metavar="N", help="how many requests at once")
    add("--emulator", action="store_true", help="send it to the emulator: no key, no cost")


def _add_batch(commands: argparse._SubParsersAction[_Parser]) -> None:
    batch = commands.add_parser(
        "batch",
        help="make images of a file of prompts; the same command goes on where it ended",
        epilog=_BATCH_EPILOG + EXIT_CODES,
        description="Make images of every row of a file, or go on where the last run ended.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = batch.add_argument
    add("input", metavar="INPUT", help="JSONL, CSV, or a prompt a line; - is standard input")
    add("--out", default="seedream-batch", metavar="DIR", help="default: %(default)s")
    add("--ledger", metavar="FILE", help="default: ledger.sqlite3 in DIR")
    add("--format", choices=("jsonl", "csv", "text"), help="default: told by the name")
    add("--name", metavar="TEMPLATE", help="such as {model}/{id}.{ext}; default: {id}.{ext}")
    add("--sidecar", action="store_true", help="a .json beside each image")
    _add_defaults(batch.add_argument_group("for rows that do not say"))
    _add_bounds(batch.add_argument_group("how much"))
    _add_wishes(batch.add_argument_group("what to do"))


def _add_defaults(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--model", help="default: doubao-seedream-5-0-260128")
    add("--size", help="such as 2K or 2048x2048")
    add("--image", action="append", metavar="FILE|URL", help="a reference; may be repeated")
    add("--output-format", choices=("png", "jpeg"))
    add("--response-format", choices=("url", "b64_json"))
    add("--seed", type=int)
    add("--no-watermark", dest="watermark", action="store_const", const=False)


def _add_bounds(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--concurrency", type=_positive, metavar="N", help="how many requests at once")
    add("--images-per-minute", type=_positive, metavar="N", help="a rate not to exceed")
    add("--max-cost", type=_amount, metavar="AMOUNT", help="end before all runs cost more")
    add("--max-images", type=_positive, metavar="N", help="end before all runs make more")
    add("--price", type=_price, metavar="AMOUNT[CURRENCY]", help="of an image, such as 0.03USD")
    add("--limit", type=_positive, metavar="N", help="send at most N rows in this run")


def _add_wishes(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--dry-run", action="store_true", help="check every row and say what it may cost")
    add("--strict", action="store_true", help="send nothing if any row is wrong")
    add("--resend-unknown", action="store_true", help="send again what may be billed; may bill it")
    add("--retry-failed", action="store_true", help="send again what was refused for its content")
    add("--ray", nargs="?", const="", metavar="ADDRESS", help="send from the workers of a cluster")
    add("--workers", type=_positive, metavar="N", help="of --ray; default: one a node, at least 2")
    add("--other-input", action="store_true", help="go on with another file in the same folder")
    add("--emulator", action="store_true", help="send it to the emulator: no key, no cost")


def _add_ledger_commands(commands: argparse._SubParsersAction[_Parser]) -> None:
    for name, does in _LEDGER_COMMANDS.items():
        command = commands.add_parser(f"batch {name}", description=does)
        command.add_argument("ledger", metavar="LEDGER", help="a ledger, or the folder of a batch")
        if name == "status":
            command.add_argument("--json", action="store_true", help="as one line of JSON")


def _add_emulator(commands: argparse._SubParsersAction[_Parser]) -> None:
    emulator = commands.add_parser(
        "emulator",
        help="keep the emulator running for other programs",
        description="Run the emulator of the API and its object store until Ctrl-C.",
    )
    add = emulator.add_argument
    add("--port", type=_port, default=0, help="default: any free one")
    add("--latency", type=_seconds, default=0.0, metavar="S", help="seconds per generation")


def _add_doctor(commands: argparse._SubParsersAction[_Parser]) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="find out why calls fail here, at no cost",
        epilog="exit codes:\n  0    nothing failed\n  1    a check failed",
        description="Check the installation, the settings and the way to the service. "
        "Sends nothing that costs, and prints no key.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = doctor.add_argument
    add("--link", metavar="URL", help="also ask a store for this link, but not for its image")
    add("--out", metavar="DIR", help="also check that images can be written there")
    add("--timeout", type=_limit, default=10.0, metavar="S", help="seconds per check; default: 10")
    add("--json", action="store_true", help="print one JSON object per check")
    add("--emulator", action="store_true", help="check the emulator instead of the service")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text!r}")
    return int(text)


def _price(text: str) -> tuple[float, str]:
    amount = text.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return _amount(amount.strip()), text[len(amount) :] or "USD"


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a port from 0 to 65535, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    return _number(text, "a number of seconds")


def _amount(text: str) -> float:
    return _number(text, "an amount of money")


def _number(text: str, kind: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be {kind}, not {text!r}")
    return value


def _limit(text: str) -> float:
    if (value := _seconds(text)) == 0:
        raise argparse.ArgumentTypeError("must be more than 0 seconds")
    return value
