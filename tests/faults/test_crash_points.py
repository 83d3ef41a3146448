"""The registry is killed before and after everything it does to database and storage, and started again.

What each scenario comes to is recorded in a first run, so that what is added to the program is killed as well. After
each kill: what was acknowledged is there with the right bytes, what was not is there whole or not at all, the client's
next try succeeds, and nothing lies in the bucket that no row names.
"""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from itertools import count
from typing import TYPE_CHECKING

import pytest

from e2e.images import index_of, noise, small_image
from faults.crashing import COMMIT, PART, UNCOMMITTED, Died, Fatal, Mortal, mortal
from faults.installations import Installation, let_time_pass, new_installation
from faults.steps import (
    Abandon,
    Delete,
    DeleteImage,
    Facts,
    GiveUp,
    Mount,
    Order,
    PushInChunks,
    PushTwice,
    PushWhole,
    PutManifest,
    Restore,
    Step,
    Wait,
    blob_at,
    clean,
    look,
    needed,
)
from gateway.db.statements import all_statements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from support.databases import Server
    from support.seaweed import SeaweedFS

    NewInstallation = Callable[[], AbstractContextManager[Installation]]

pytestmark = pytest.mark.timeout(7200)  # a soak tries every moment; each wait for one is bounded by itself

_AT_ONCE = 4
_LARGE = noise("large", 2 * PART + 3000)
_SMALL = noise("small", 3000)
_IMAGE = small_image("crash")
_INDEX = index_of("crash", ("amd64", "arm64"))
# What goes on beside the requests, now and then: it need not happen while a scenario runs.
_NOW_AND_THEN = frozenset({"renew_leases"})
_SELECT = re.compile(r"(?:--.*\n)*SELECT")
_READING = (
    "Get",
    "Head",
    "List",
    "LocalFile.size",
    "LocalFile.close",
    "FilesystemStorage.stat",
    "FileBuckets.read",
    "FilesystemStorage.list",
)

Scenario = tuple[list[Step], list[Step]]
"""What is done before, and the steps in which the registry dies."""


def chunks() -> Scenario:
    """Uploads in several requests: parts, tails, and one that is given up."""
    ends = (PART + 1000, 2 * PART + 1000, 2 * PART + 2000)
    return [], [PushInChunks("crash/a", _LARGE, ends), GiveUp("crash/a", noise("given up", 1000))]


def whole() -> Scenario:
    """Uploads in one request, and a whole blob sent twice."""
    return [], [
        PushWhole("crash/a", _SMALL),
        PushWhole("crash/a", _LARGE[: PART + 3000]),
        PushTwice("crash/a", noise("twice", 2000)),
    ]


def known() -> Scenario:
    """A blob that another repository has: uploaded again, and mounted."""
    again = PushInChunks("crash/b", _SMALL, (1000,))
    return [PushWhole("crash/a", _SMALL)], [again, Mount("crash/c", _SMALL, "crash/a")]


def manifests() -> Scenario:
    """An image and an index under tags, and a tag that is moved."""
    before: list[Step] = [PushWhole("crash/a", blob) for blob in _IMAGE.blobs()[1:]]
    for child in _INDEX.images:
        before += [PushWhole("crash/a", blob) for blob in child.blobs()[1:]]
        before.append(PutManifest("crash/a", child, f"for-{child.architecture}"))
    return before, [
        PutManifest("crash/a", _IMAGE, "v1"),
        PutManifest("crash/a", _INDEX, "multi"),
        PutManifest("crash/a", _INDEX, "v1"),
    ]


def deletions() -> Scenario:
    """A tag, a manifest, a blob and an image are deleted, and the image is restored."""
    other = small_image("other")
    base = "/v2/crash/a/manifests"
    before: list[Step] = []
    for image in (_IMAGE, other):
        before += [PushWhole("crash/a", blob) for blob in image.blobs()[1:]]
        before += [PutManifest("crash/a", image, tag) for tag in ("first", "second")]
    kept = [(f"{base}/{other.digest}", other.manifest), (f"{base}/second", other.manifest)]
    layers = [(blob_at("crash/a", blob), blob) for image in (_IMAGE, other) for blob in image.blobs()[1:]]
    return [*before, PushWhole("crash/a", _SMALL)], [
        Delete([blob_at("crash/a", _SMALL)]),
        Delete([f"{base}/first"]),
        Delete([f"{base}/{_IMAGE.digest}"]),
        DeleteImage("crash/a", dict.fromkeys(address for address, _ in (*kept, *layers))),
        Restore(dict([*kept, *layers])),
    ]


def sweep() -> Scenario:
    """Uploads that nobody goes on with have expired."""
    before: list[Step] = [Abandon("crash/a", _LARGE, (PART + 1000, PART + 2000)), Abandon("crash/a", _SMALL, (1000,))]
    return before, [Order("sweep"), Order("remove")]


def collect() -> Scenario:
    """What nothing needs any more goes, and what somebody needs stays."""
    gone = small_image("gone")
    before: list[Step] = []
    for image in (_IMAGE, gone):
        before += [PushWhole("crash/a", blob) for blob in image.blobs()[1:]]
        before.append(PutManifest("crash/a", image, image.id.removeprefix("sha256:")))
    before += [
        PushWhole("crash/b", _SMALL),
        *(Mount("crash/b", blob, "crash/a") for blob in _IMAGE.blobs()[1:]),
        Delete([f"/v2/crash/a/manifests/{gone.digest}", f"/v2/crash/a/manifests/{gone.id.removeprefix('sha256:')}"]),
    ]
    lost = [("crash/b", blob) for blob in (_SMALL, *_IMAGE.blobs()[1:])]
    return before, [
        Order("collect", dict.fromkeys(blob_at(*each) for each in lost)),
        Wait(),
        Order("collect", dict.fromkeys(blob_at("crash/a", blob) for blob in gone.blobs()[1:])),
        Order("remove"),
    ]


def catalogue() -> Scenario:
    """What has changed is written to the bucket."""
    before: list[Step] = [PushWhole("crash/a", blob) for blob in _IMAGE.blobs()[1:]]
    return [*before, PutManifest("crash/a", _IMAGE, "v1")], [Order("catalogue")]


_numbers = count(1)


@pytest.fixture(params=["filesystem", "s3"])
def install(request: pytest.FixtureRequest, embedded_server: Server, tmp_path: Path) -> NewInstallation:
    """Make installations, each with a database, a folder and a bucket of its own."""
    seaweed: SeaweedFS | None = request.getfixturevalue("seaweed") if request.param == "s3" else None

    def make() -> AbstractContextManager[Installation]:
        return new_installation(embedded_server, tmp_path / str(next(_numbers)), seaweed)

    return make


@pytest.fixture
def idle(install: NewInstallation) -> frozenset[str]:
    """What a registry asks the database by itself, as soon as it is there; it need not do so again."""
    with install() as installation, mortal(installation.settings, is_armed=True) as registry:
        registry.order("disarm")
        registry.stop()
    return frozenset(each for each in registry.moments if is_of_database(each))


@pytest.mark.parametrize("scenario", [chunks, whole, known, manifests, deletions, sweep, collect, catalogue])
def test_killed_at_every_step(
    install: NewInstallation, idle: frozenset[str], soak: float, scenario: Callable[[], Scenario]
) -> None:
    """Wherever the registry dies, nothing acknowledged is lost, and nothing stays that nobody can explain."""
    with install() as installation:
        every = [each for each in record(installation, scenario()) if each.moment not in idle]
    if not soak:
        every = [each for each in every if each.number == 1 and is_telling(each.moment)]
    assert any(COMMIT in each.moment for each in every)

    def die(fatal: Fatal) -> None:
        with install() as installation:
            try:
                die_at(installation, scenario(), fatal)
            except BaseException as error:
                error.add_note(f"the registry was killed {fatal.moment}, when it came to it for time {fatal.number}")
                raise

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for _ in threads.map(die, every):
            pass


def is_of_database(moment: str) -> bool:
    """Tell whether a moment belongs to a statement or a commit."""
    step = moment.partition(" ")[2].removesuffix(UNCOMMITTED)
    return step.startswith(COMMIT) or step in all_statements()


def is_telling(moment: str) -> bool:
    """Tell whether a kill at this moment leaves something else behind than one at its neighbours.

    All moments of a transaction are alike until its commit, what comes before a step comes after another one, and
    what only reads leaves nothing.
    """
    when, _, step = moment.partition(" ")
    if step.startswith(COMMIT):
        return True
    reads = _SELECT.match(all_statements().get(step, "")) or step.startswith(_READING)
    return when == "after" and not step.endswith(UNCOMMITTED) and not reads


def record(installation: Installation, scenario: Scenario) -> list[Fatal]:
    """Return all moments of a scenario, each as often as it came."""
    before, steps = scenario
    with mortal(installation.settings) as registry:
        begin(installation, registry, before)
        take(registry, steps)
        installation.await_removals()
        registry.order("disarm")
        registry.stop()
    times: Counter[str] = Counter()
    found = []
    for moment in registry.moments:
        if moment.partition(" ")[2] not in _NOW_AND_THEN:
            times[moment] += 1
            found.append(Fatal(moment, times[moment]))
    return found


def die_at(installation: Installation, scenario: Scenario, fatal: Fatal) -> None:
    """Kill the registry at a moment of a scenario and see what is left, and that the client can go on."""
    before, steps = scenario
    with mortal(installation.settings, fatal) as registry:
        facts = begin(installation, registry, before)
        done = take_until_death(registry, steps)
        if fatal.number == 1:
            registry.await_death()
        else:
            registry.end()
    for step in steps[:done]:
        facts |= step.changes
    with mortal(installation.settings) as registry:
        check(registry, facts, steps[done].changes if done < len(steps) else {})
        facts |= take(registry, steps[done:])
        check(registry, facts, {})
        clean(registry)
        check(registry, needed(facts), {})
        registry.stop()
    installation.check_remains()


def begin(installation: Installation, registry: Mortal, before: Sequence[Step]) -> Facts:
    """Take the steps before those in which the registry dies."""
    facts = take(registry, before)
    installation.await_removals()
    let_time_pass(registry.database_url)
    registry.arm()
    return facts


def take(registry: Mortal, steps: Sequence[Step]) -> Facts:
    """Take steps one after another; return what is so afterwards."""
    facts: Facts = {}
    for step in steps:
        step.take(registry)
        facts |= step.changes
    return facts


def take_until_death(registry: Mortal, steps: Sequence[Step]) -> int:
    """Take steps until the registry dies; return how many were answered to their end."""
    for number, step in enumerate(steps):
        try:
            step.take(registry)
        except (OSError, HTTPException, Died):
            return number
    return len(steps)


def check(registry: Mortal, facts: Facts, doubtful: Facts) -> None:
    """See that everything is as it was acknowledged; what is doubtful may have happened, or not."""
    for address in {**facts, **doubtful}:
        allowed = [facts.get(address)]
        if address in doubtful:
            allowed.append(doubtful[address])
        assert look(registry.wire, address) in allowed, address
