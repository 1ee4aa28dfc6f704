# One image for each service, from one file: `docker build --target edge --tag conclave/edge .`
#
# Each target holds Python, the packages of its own lock file (requirements/SERVICE.lock, checked by hash), the contracts,
# services/runtime and its own folder; nothing of another service. Those packages that all have are one layer that all
# share. `tools` is for the one-time work of an installation: secrets, users, backups.
# Needs BuildKit, which is Docker's builder since 23 (before: DOCKER_BUILDKIT=1).
#
# Build arguments: BASE_IMAGE, an image with Python 3.11 or later and its venv; PIP_INDEX_URL, a package index of your own
# (one with a password goes into the secret pip_conf, a pip.conf that no layer keeps); VERSION, REVISION and CREATED,
# which become labels; SOURCES_OWNER, who owns the sources: Tilt makes it the user that runs them, to update them in place.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# ---- packages, at the path where they will be used: those of all, and beside them what each service adds, without the
# tests that some of them bring (a quarter of decision_agent's)

FROM ${BASE_IMAGE} AS packages
# Given and empty, as Compose gives it where it is not set, is then the same to the builder as not given.
ARG PIP_INDEX_URL=""
ENV PIP_CACHE_DIR=/var/cache/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_INPUT=1 \
    PIP_PROGRESS_BAR=off \
    PIP_PYTHON=/opt/conclave/bin/python \
    PIP_REQUIRE_HASHES=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# pip has an environment of its own, so that no image has pip.
RUN python3 -m venv --without-pip /opt/conclave && python3 -m venv /opt/pip && mkdir /added
COPY requirements/image.lock ./
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --quiet --requirement image.lock && touch common

FROM packages AS access_packages
COPY requirements/access.lock requirements.lock
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --quiet --requirement requirements.lock \
    && cd /opt/conclave \
    && find . ! -type d -newer /build/common ! -path '*/tests/*' -exec cp --archive --parents -t /added {} +

FROM packages AS auditor_packages
COPY requirements/auditor.lock requirements.lock
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --quiet --requirement requirements.lock \
    && cd /opt/conclave \
    && find . ! -type d -newer /build/common ! -path '*/tests/*' -exec cp --archive --parents -t /added {} +

FROM packages AS coordinator_agent_packages
COPY requirements/coordinator_agent.lock requirements.lock
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --quiet --requirement requirements.lock \
    && cd /opt/conclave \
    && find . ! -type d -newer /build/common ! -path '*/tests/*' -exec cp --archive --parents -t /added {} +

FROM packages AS data_agent_packages
COPY requirements/data_agent.lock requirements.lock
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --quiet --requirement requirements.lock \
    && cd /opt/conclave \
    && find . ! -type d -newer /build/common ! -path '*/tests/*' -exec cp --archive --parents -t /added {} +

FROM packages AS dead_letters_packages
COPY requirements/dead_letters.lock requirements.lock
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --quiet --requirement requirements.lock \
    && cd /opt/conclave \
    && find . ! -type d -newer /build/common ! -path '*/tests/*' -exec cp --archive --parents -t /added {} +

FROM packages AS decision_agent_packages
COPY requirements/decision_agent.lock requirements.lock
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --quiet --requirement requirements.lock \
    && cd /opt/conclave \
    && find . ! -type d -newer /build/common ! -path '*/tests/*' -exec cp --archive --parents -t /added {} +

FROM packages AS edge_packages
COPY requirements/edge.lock requirements.lock
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --quiet --requirement requirements.lock \
    && cd /opt/conclave \
    && find . ! -type d -newer /build/common ! -path '*/tests/*' -exec cp --archive --parents -t /added {} +

FROM packages AS monitor_packages
COPY requirements/monitor.lock requirements.lock
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --quiet --requirement requirements.lock \
    && cd /opt/conclave \
    && find . ! -type d -newer /build/common ! -path '*/tests/*' -exec cp --archive --parents -t /added {} +

FROM packages AS orchestrator_packages
COPY requirements/orchestrator.lock requirements.lock
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --quiet --requirement requirements.lock \
    && cd /opt/conclave \
    && find . ! -type d -newer /build/common ! -path '*/tests/*' -exec cp --archive --parents -t /added {} +

FROM packages AS plugin_agent_packages
COPY requirements/plugin_agent.lock requirements.lock
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --quiet --requirement requirements.lock \
    && cd /opt/conclave \
    && find . ! -type d -newer /build/common ! -path '*/tests/*' -exec cp --archive --parents -t /added {} +

FROM packages AS registry_packages
COPY requirements/registry.lock requirements.lock
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --quiet --requirement requirements.lock \
    && cd /opt/conclave \
    && find . ! -type d -newer /build/common ! -path '*/tests/*' -exec cp --archive --parents -t /added {} +

# ---- what all images have

FROM ${BASE_IMAGE} AS base
RUN groupadd --gid 10001 conclave \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin conclave
COPY --from=packages /opt/conclave /opt/conclave
ENV PATH=/opt/conclave/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
ARG VERSION=unknown REVISION=unknown CREATED=unknown
LABEL org.opencontainers.image.vendor="Conclave" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
USER 10001:10001
STOPSIGNAL SIGTERM

FROM base AS service
ARG SOURCES_OWNER=root
COPY --chown=${SOURCES_OWNER} pyproject.toml ./
COPY --chown=${SOURCES_OWNER} contracts contracts
COPY --chown=${SOURCES_OWNER} services/__init__.py services/__main__.py services/
COPY --chown=${SOURCES_OWNER} services/runtime services/runtime
COPY scripts/health_check.py /usr/local/lib/conclave/
# Of the host, but not of this container: whoever may reach it decides that outside, with ports and network policies.
ENV API_HOST=0.0.0.0 \
    METRICS_HOST=0.0.0.0 \
    METRICS_PORT=9090
EXPOSE 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/usr/local/lib/conclave/health_check.py"]
# Process 1 gets signals only if it asks for them, and is the parent of every orphan: that is dumb-init's work. It hands
# them to the service alone, which decides what becomes of its own children.
ENTRYPOINT ["dumb-init", "--single-child", "--", "python", "-m", "services"]

# ---- the services

FROM service AS access
LABEL org.opencontainers.image.title="conclave/access" org.opencontainers.image.description="Keeps API keys"
COPY --from=access_packages /added /opt/conclave
ARG SOURCES_OWNER=root
COPY --chown=${SOURCES_OWNER} services/access services/access
CMD ["access"]

FROM service AS auditor
LABEL org.opencontainers.image.title="conclave/auditor" org.opencontainers.image.description="Appends who did what to a hash chain"
COPY --from=auditor_packages /added /opt/conclave
ARG SOURCES_OWNER=root
COPY --chown=${SOURCES_OWNER} services/auditor services/auditor
CMD ["auditor"]

FROM service AS coordinator_agent
LABEL org.opencontainers.image.title="conclave/coordinator_agent" org.opencontainers.image.description="Votes, consensus, contract nets"
COPY --from=coordinator_agent_packages /added /opt/conclave
ARG SOURCES_OWNER=root
COPY --chown=${SOURCES_OWNER} services/coordinator_agent services/coordinator_agent
CMD ["coordinator_agent"]

FROM service AS data_agent
LABEL org.opencontainers.image.title="conclave/data_agent" org.opencontainers.image.description="Reads, cleans and queries data"
COPY --from=data_agent_packages /added /opt/conclave
ARG SOURCES_OWNER=root
COPY --chown=${SOURCES_OWNER} services/data_agent services/data_agent
# The examples' data; mount a folder of your own there.
COPY examples/data /data
ENV DATA_FOLDER=/data
CMD ["data_agent"]

FROM service AS dead_letters
LABEL org.opencontainers.image.title="conclave/dead_letters" org.opencontainers.image.description="Keeps what could not be handled"
COPY --from=dead_letters_packages /added /opt/conclave
ARG SOURCES_OWNER=root
COPY --chown=${SOURCES_OWNER} services/dead_letters services/dead_letters
CMD ["dead_letters"]

FROM service AS decision_agent
LABEL org.opencontainers.image.title="conclave/decision_agent" org.opencontainers.image.description="Decision tables and multi-criteria decisions"
COPY --from=decision_agent_packages /added /opt/conclave
ARG SOURCES_OWNER=root
COPY --chown=${SOURCES_OWNER} services/decision_agent services/decision_agent
CMD ["decision_agent"]

FROM service AS edge
LABEL org.opencontainers.image.title="conclave/edge" org.opencontainers.image.description="The HTTP API"
COPY --from=edge_packages /added /opt/conclave
ARG SOURCES_OWNER=root
COPY --chown=${SOURCES_OWNER} services/edge services/edge
EXPOSE 8000
CMD ["edge"]

FROM service AS monitor
LABEL org.opencontainers.image.title="conclave/monitor" org.opencontainers.image.description="Says how every process does"
COPY --from=monitor_packages /added /opt/conclave
ARG SOURCES_OWNER=root
COPY --chown=${SOURCES_OWNER} services/monitor services/monitor
CMD ["monitor"]

FROM service AS orchestrator
LABEL org.opencontainers.image.title="conclave/orchestrator" org.opencontainers.image.description="Moves executions forward"
COPY --from=orchestrator_packages /added /opt/conclave
ARG SOURCES_OWNER=root
COPY --chown=${SOURCES_OWNER} services/orchestrator services/orchestrator
CMD ["orchestrator"]

FROM service AS plugin_agent
LABEL org.opencontainers.image.title="conclave/plugin_agent" org.opencontainers.image.description="Hosts agent types of your own"
COPY --from=plugin_agent_packages /added /opt/conclave
ARG SOURCES_OWNER=root
COPY --chown=${SOURCES_OWNER} services/plugin_agent services/plugin_agent
CMD ["plugin_agent"]

FROM service AS registry
LABEL org.opencontainers.image.title="conclave/registry" org.opencontainers.image.description="Knows hosts and agents"
COPY --from=registry_packages /added /opt/conclave
ARG SOURCES_OWNER=root
COPY --chown=${SOURCES_OWNER} services/registry services/registry
CMD ["registry"]

# ---- the work of an installation

FROM base AS tools
LABEL org.opencontainers.image.title="conclave/tools" org.opencontainers.image.description="Secrets, users, backups"
COPY --from=access_packages /added /opt/conclave
COPY pyproject.toml ./
COPY contracts contracts
COPY services services
COPY scripts scripts
COPY examples examples
ENTRYPOINT ["dumb-init", "--single-child", "--", "python"]
CMD ["-m", "services", "--help"]
