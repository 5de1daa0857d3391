# The image of one service, or of the command line (SERVICE=cli):
#   docker build --build-arg SERVICE=auth --tag signalbox-auth .
#
# Layers go from what changes rarely to what changes often; the large one is the same layer in all images.
ARG SERVICE=gateway

# uv, and what all services need
FROM python:3.11-slim-bookworm AS builder
RUN pip install --no-cache-dir --root-user-action=ignore uv==0.13.8
ENV UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/app/.venv UV_PYTHON_DOWNLOADS=never
# --frozen where only the lock file is there; the last sync compares it with all members (--locked)
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=bind,source=uv.lock,target=/src/uv.lock \
    uv --project /src sync --frozen --no-dev --no-install-workspace --package signalbox-common

FROM python:3.11-slim-bookworm AS runtime
# The standard library comes without bytecode, and a container that cannot write would compile it at each start.
# /credentials is where `signalbox credentials` writes, /secrets where services keep the keys of their secrets,
# /sandboxes and /git where those are kept: a new volume there takes over its owner.
RUN python -m compileall -q -x '/(site-packages|tests?)/' /usr/local/lib/python3.11 \
    && groupadd --gid 10001 signalbox \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin signalbox \
    && install --directory --owner 10001 --group 10001 /credentials \
    && install --directory --owner 10001 --group 10001 --mode 0700 /secrets \
    && install --directory --owner 10001 --group 10001 --mode 0700 /git \
    && install --directory --owner 10001 --group 10001 --mode 0711 /sandboxes
COPY --from=builder /app/.venv /app/.venv
ARG SERVICE
# Arguments, not environment: they are for the two steps below. uv itself stays behind in the builder.
ARG UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/app/.venv UV_PYTHON_DOWNLOADS=never
# What this service needs on top; of the command line also the extra `stack`, whose migrations it runs
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,from=builder,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=bind,source=uv.lock,target=/src/uv.lock \
    uv --project /src sync --frozen --no-dev --no-install-workspace --package "signalbox-$SERVICE" --all-extras
# Our own packages; not from the cache, which knows them by their pyproject.toml and would miss a change of code
RUN --mount=type=bind,from=builder,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,target=/src \
    uv --project /src sync --no-cache --locked --no-dev --no-editable --package "signalbox-$SERVICE" --all-extras
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ENV SIGNALBOX_HEALTH_HOST=0.0.0.0 SIGNALBOX_HEALTH_PORT=9000
# Whatever is a service says here how it is; the command line, which is none, has no such port.
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=60s --start-interval=1s CMD ["python", "-c", "\
import os; from http.client import HTTPConnection; \
connection = HTTPConnection('127.0.0.1', int(os.environ['SIGNALBOX_HEALTH_PORT']), timeout=4); \
connection.request('GET', '/health/ready'); \
raise SystemExit(connection.getresponse().status != 200)"]
WORKDIR /app
USER 10001:10001

# What a container runs. One stage each, because the exec form knows no variables and a shell is not wanted.
FROM runtime AS run-gateway
CMD ["python", "-m", "signalbox_common.start", "signalbox_gateway.app"]
FROM runtime AS run-auth
CMD ["python", "-m", "signalbox_common.start", "signalbox_auth.app"]
FROM runtime AS run-catalog
CMD ["python", "-m", "signalbox_common.start", "signalbox_catalog.app"]
FROM runtime AS run-tasks
CMD ["python", "-m", "signalbox_common.start", "signalbox_tasks.app"]
FROM runtime AS run-sandbox
CMD ["python", "-m", "signalbox_common.start", "signalbox_sandbox.app"]
FROM runtime AS run-git
USER root
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends git openssh-client \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
CMD ["python", "-m", "signalbox_common.start", "signalbox_git.app"]
FROM runtime AS run-cli
HEALTHCHECK NONE
ENTRYPOINT ["signalbox"]
CMD ["--help"]

FROM run-${SERVICE}
