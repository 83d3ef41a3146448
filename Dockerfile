# An image of Slipway: docker build --tag slipway .
#
# BASE is any Debian-like image with Python 3.11 or newer and its venv module, for instance python:3.13-slim, or Debian
# with python3 and python3-venv. Wheels in a folder `wheels` beside this file are used instead of a package index:
# docs/getting-started.md says how to make them.

ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# [traces] for what docs/traces.md describes.
ARG EXTRAS=
WORKDIR /build
COPY . .
# The environment gets no pip of its own: what has installed it stays in this stage.
RUN python3 -m venv --without-pip /opt/slipway \
    && python3 -m venv /opt/pip \
    && if [ -d wheels ]; then export PIP_NO_INDEX=1 PIP_FIND_LINKS=/build/wheels; fi \
    && /opt/pip/bin/pip --python /opt/slipway/bin/python install \
        --no-cache-dir --constraint deploy/constraints.txt ".${EXTRAS}"

FROM ${BASE}
COPY --from=build /opt/slipway /opt/slipway
ENV PATH=/opt/slipway/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    SLIPWAY_LISTEN=0.0.0.0:5000 SLIPWAY_DATA_DIR=/var/lib/slipway TMPDIR=/var/lib/slipway
# The embedded Postgres asks for the user's name; Kubernetes wants the number.
RUN groupadd --gid 65532 slipway \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /var/lib/slipway --shell /usr/sbin/nologin slipway \
    && install --directory --owner=slipway --group=slipway --mode=0700 /var/lib/slipway
USER 65532:65532
VOLUME /var/lib/slipway
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python3", "-c", "\
import os, urllib.request as web; \
port = os.environ['SLIPWAY_LISTEN'].rpartition(':')[2]; \
web.build_opener(web.ProxyHandler({})).open(f'http://127.0.0.1:{port}/healthz')"]
ENTRYPOINT ["slipway"]
CMD ["serve"]
