"""Container images made of nothing but Debian packages and wheels, since no other registry can be reached from here."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.processes import find_program, run
from support.repository import ROOT, git
from support.seaweed import seaweedfs_binary

if TYPE_CHECKING:
    from e2e.engines import Docker

BUILD_SECONDS = 900.0
# What the Dockerfile asks of its base, and what stands in for other images in docker-compose.yml.
_PACKAGES = "python3,python3-venv,postgresql,haproxy,prometheus"
# In a namespace of its own, where whatever is mounted ends with it, and in memory, since dpkg syncs each file.
_MAKE_DEBIAN = """
export PATH="$PATH:/usr/sbin:/sbin"
mount -t tmpfs tmpfs "$1"
debootstrap --variant=minbase --include="$3" "$4" "$1" "$5"
cd "$1"
rm -rf var/cache/apt/archives/* var/lib/apt/lists/* usr/share/doc/* usr/share/man/* usr/share/locale/*
tar --create --one-file-system --file=- . > "$2"
"""

# The few things of the official image of Postgres that docker-compose.yml uses.
_POSTGRES_ENTRYPOINT = """\
#!/bin/sh
set -eu
export PATH="$(echo /usr/lib/postgresql/*/bin):$PATH"
data=/var/lib/postgresql/data
chown postgres "$data"
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
if [ ! -e "$data/PG_VERSION" ]; then
    echo "$POSTGRES_PASSWORD" > /tmp/password
    as initdb --pgdata="$data" --username="$POSTGRES_USER" --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8
    echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | as postgres --single -D "$data" postgres
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups postgres -D "$data" -c listen_addresses='*'
"""

_POSTGRES = """\
FROM {base}
COPY entrypoint /entrypoint
RUN ln -s /usr/lib/postgresql/*/bin/pg_isready /usr/local/bin/ && mkdir /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/sh", "/entrypoint"]
"""

_HAPROXY = """\
FROM {base}
STOPSIGNAL SIGUSR1
USER haproxy
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
"""

_PROMETHEUS = """\
FROM {base}
RUN install --directory --owner=nobody /prometheus
USER nobody
ENTRYPOINT ["prometheus"]
"""

_SEAWEEDFS = """\
FROM {base}
COPY weed /usr/bin/weed
"""


def import_debian(docker: Docker, folder: Path, reference: str) -> None:
    """Make an image of the machine's own Debian release, from the place that apt has its packages from."""
    release = _release()
    root, archive = folder / "debian", folder / "debian.tar"
    root.mkdir()
    programs = [find_program("unshare", "util-linux"), "--mount", "sh", "-euc", _MAKE_DEBIAN]
    find_program("debootstrap", "debootstrap")
    # With this machine's proxies, if it has any: this is no client of the registry under test.
    run([*programs, "sh", str(root), str(archive), _PACKAGES, release, _mirror(release)], os.environ, BUILD_SECONDS)
    docker("import", str(archive), reference)
    archive.unlink()


def build_slipway(docker: Docker, folder: Path, base: str, reference: str) -> None:
    """Build this repository's Dockerfile, with wheels that pip fetches here, as it is set up on this machine."""
    context = folder / "context"
    _copy_sources(context)
    python = docker(
        "run", "--rm", "--network=none", base, "python3", "-c", "import platform as p; print(p.python_version())"
    )
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    options = [
        f"--python-version={python.strip()}",
        f"--dest={context}/wheels",
        f"--constraint={context}/deploy/constraints.txt",
    ]
    run([*download, *options, str(context), "hatchling==1.27.0"], os.environ, BUILD_SECONDS)
    docker(
        "build", "--network=host", f"--build-arg=BASE={base}", f"--tag={reference}", str(context), seconds=BUILD_SECONDS
    )


def build_postgres(docker: Docker, folder: Path, base: str, reference: str) -> None:
    """Build what takes the place of the official image of Postgres."""
    _build(docker, folder / "postgres", _POSTGRES.format(base=base), reference, entrypoint=_POSTGRES_ENTRYPOINT)


def build_haproxy(docker: Docker, folder: Path, base: str, reference: str) -> None:
    """Build what takes the place of the official image of HAProxy."""
    _build(docker, folder / "haproxy", _HAPROXY.format(base=base), reference)


def build_prometheus(docker: Docker, folder: Path, base: str, reference: str) -> None:
    """Build what takes the place of the official image of Prometheus."""
    _build(docker, folder / "prometheus", _PROMETHEUS.format(base=base), reference)


def build_seaweedfs(docker: Docker, folder: Path, base: str, reference: str) -> None:
    """Build what takes the place of the official image of SeaweedFS."""
    context = folder / "seaweedfs"
    context.mkdir()
    shutil.copy(seaweedfs_binary(), context / "weed")
    _build(docker, context, _SEAWEEDFS.format(base=base), reference)


def _build(docker: Docker, context: Path, dockerfile: str, reference: str, **files: str) -> None:
    context.mkdir(exist_ok=True)
    for name, content in {"Dockerfile": dockerfile, **files}.items():
        (context / name).write_text(content)
    docker("build", "--network=none", f"--tag={reference}", str(context))
    shutil.rmtree(context)


def _copy_sources(context: Path) -> None:
    """Copy what git would commit, and nothing that lies about."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in listed.decode().split("\0")[:-1]:
        target = context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)


def _release() -> str:
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    return next(line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME="))


def _mirror(release: str) -> str:
    """Ask apt where it has the packages of a release from."""
    apt = find_program("apt-get", "apt")
    targets = run([apt, "indextargets", "--format=$(CODENAME) $(REPO_URI)", "Created-By: Packages"], os.environ)
    found = [line.split()[1] for line in targets.splitlines() if line.split()[0] == release]
    assert found, f"apt knows no packages of {release}: run apt-get update"
    return found[0]
