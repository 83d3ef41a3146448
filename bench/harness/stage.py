"""A stage for one case: fresh servers in a fresh folder in memory, all of them gone afterwards."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import programs
from bench.harness.processes import ProcessTree
from support.seaweed import start_seaweedfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.harness.options import Options
    from bench.harness.programs import Subject
    from bench.harness.report import Figures
    from support.seaweed import SeaweedFS

_IN_MEMORY = Path("/dev/shm")


@dataclass(slots=True)
class Stage:
    """Servers that run: what is measured, and the S3 server if there is one."""

    folder: Path
    subjects: list[Subject] = field(default_factory=list)
    s3: SeaweedFS | None = None

    @property
    def data_dir(self) -> Path:
        """Slipway's data directory."""
        return self.folder / "slipway"

    def contestants(self, measure: Callable[[Subject], Figures]) -> dict[str, Callable[[], Figures]]:
        """Return a measurement of each subject, by its name."""
        return {subject.name: partial(measure, subject) for subject in self.subjects}


@contextmanager
def staged(options: Options, storage: str, *, redirects: bool = False, peer: bool = True) -> Iterator[Stage]:
    """Start what the options ask for on one storage."""
    with ExitStack() as stack:
        stage = Stage(stack.enter_context(scratch_folder()))
        if storage == "s3":
            stage.s3 = stack.enter_context(s3_server(stage.folder / "weed"))
        stage.subjects.append(_subject(stack, options, stage, redirects=redirects))
        if peer and options.peer and programs.peer_is_installed():
            stage.subjects.append(_peer(stack, stage, redirects=redirects))
        yield stage


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder in memory that the user of the embedded Postgres can pass through."""
    place = _IN_MEMORY if _IN_MEMORY.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench-", dir=place))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def s3_server(folder: Path) -> Iterator[SeaweedFS]:
    """Run an S3 server that has the buckets of all subjects."""
    server = start_seaweedfs(folder)
    try:
        for bucket in (programs.BUCKET_OF_SLIPWAY, programs.BUCKET_OF_PEER):
            server.create_bucket(bucket)
        yield server
    finally:
        server.stop()


def _subject(stack: ExitStack, options: Options, stage: Stage, *, redirects: bool) -> Subject:
    if options.url is not None:
        tree = ProcessTree(options.pid) if options.pid is not None else None
        return programs.Subject(options.url.removeprefix("http://"), options.url.rstrip("/"), tree)
    settings = {"blob_delivery": "redirect" if redirects else "proxy"}
    if stage.s3 is not None:
        settings |= programs.s3_settings(stage.s3.endpoint_url, stage.s3)
    settings |= options.slipway_settings()
    return stack.enter_context(programs.slipway(stage.data_dir, options.workers, settings, accounts=options.accounts))


def _peer(stack: ExitStack, stage: Stage, *, redirects: bool) -> Subject:
    folder = stage.folder / "peer"
    if stage.s3 is not None:
        return stack.enter_context(programs.docker_registry(folder, programs.peer_on_s3(stage.s3, redirects=redirects)))
    return stack.enter_context(programs.docker_registry(folder, programs.peer_on_files(folder / "blobs")))
