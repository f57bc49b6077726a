"""`sweeplab pack`: put a sweep into one file, to hand it on."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from sweeplab import config, console
from sweeplab.commands.compare import named_sweep
from sweeplab.commands.listing import size
from sweeplab.config import Config
from sweeplab.errors import UserError
from sweeplab.replay.pack import Packed, pack
from sweeplab.store import Store

SUFFIX = ".sweep.tar.gz"


def add_options(parser: ArgumentParser) -> None:
    """Add the sweep, and what of it is written where."""
    parser.add_argument("SWEEP", help="the beginning of its id, or its experiment")
    parser.add_argument("--weights", action="store_true", help="the trained weights, too")
    output = "the file; else named after the sweep's id"
    parser.add_argument("--output", metavar="FILE", help=output)


def main(arguments: Namespace, settings: Config) -> None:
    """Write a sweep to a file, and say what of it does not come along."""
    home = Store(settings.store.root)
    sweep = named_sweep(home, arguments.SWEEP, settings)
    file = Path(f"{sweep['id'][:12]}{SUFFIX}")
    if arguments.output is not None:
        file = config.expand_home(arguments.output)
    is_other = file.exists() and not file.is_file()  # a folder, or a device
    if is_other or not file.absolute().parent.is_dir():
        raise UserError(f"--output={file}: name a file in a folder that is there")
    if not os.access(file.absolute().parent, os.W_OK | os.X_OK):
        problem = f"{file.absolute().parent} cannot be written"
        raise UserError(f"{problem}; name a file elsewhere, as in --output $HOME/{file.name}")
    packed = pack(home, sweep, file, with_weights=arguments.weights)
    _say(packed)


def _say(packed: Packed) -> None:
    parts = [console.counted(packed.runs, "run")]
    if packed.modules:
        parts.append(f"the code of {', '.join(packed.modules)}")
    if packed.with_weights:
        parts.append(f"the weights of {console.counted(packed.with_weights, 'run')}")
    for what, why in packed.left_out.items():
        console.say(f"left out: {what}: {why}")
    if packed.paths:
        reason = "handed on as they are, since they are a part of what was asked"
        console.say(f"{', '.join(sorted(packed.paths))}: {reason}")
    held = f"{', '.join(parts)}, {size(packed.file.stat().st_size)}"
    console.say(f"packed: {packed.file.resolve()} ({held})")
    console.say(f"elsewhere: sweeplab unpack {packed.file.name}")
