"""The command in processes of its own, forked from one that has imported it: importing is most of what it does."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORKING = """
import json, os, sys
from gateway.cli import main

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor, path in enumerate(asked["outputs"], 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
        sys.argv = ["slipway", *asked["arguments"]]
        main()
        sys.exit()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def run_prepared(
    arguments: tuple[str, ...], environment: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; one that takes too long is killed."""
    with TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("out", "err")]
        asked = {"arguments": arguments, "environment": dict(environment), "outputs": [str(path) for path in outputs]}
        forking = _forking()
        assert forking.stdin is not None
        assert forking.stdout is not None
        forking.stdin.write(json.dumps(asked).encode() + b"\n")
        pid = int(forking.stdout.readline())
        has_ended = bool(select.select([forking.stdout], [], [], seconds)[0])
        if not has_ended:
            os.kill(pid, signal.SIGKILL)
        code = int(forking.stdout.readline())
        out, err = (path.read_text() for path in outputs)
        assert has_ended, f"{' '.join(arguments)} takes longer than {seconds:.0f} s:\n{out}{err}"
        return subprocess.CompletedProcess(arguments, code, out, err)


@cache
def _forking() -> subprocess.Popen[bytes]:
    """Start the process that forks; it ends with this one, whose end of the pipe it reads."""
    return subprocess.Popen([sys.executable, "-c", _FORKING], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
