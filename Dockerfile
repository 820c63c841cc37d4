# The image of lazypull. Its entry point is lazypull, and without arguments it runs the daemon:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --tag registry.example/lazypull --push .
#
# --target builder gives a builder instead: a buildkitd that is lazy, for what starts moby/buildkit's image.
#
# Nothing of the target platform runs here, so that any machine builds it for all; in the builder apt-get does, unless PACKAGES is
# empty. NODE has npm, and the node that is taken over; BASE needs a shell, coreutils, and mount where the kernel is older than
# Linux 6.12. BUILDKIT has static programs.
ARG NODE=node:24-trixie-slim
ARG BASE=debian:trixie-slim
ARG BUILDKIT=moby/buildkit:v0.32.2

# --force: the Node that the tests use is there for x86-64 only, and not needed here.
FROM --platform=$BUILDPLATFORM ${NODE} AS build
WORKDIR /lazypull
COPY package.json package-lock.json ./
RUN npm ci --force --ignore-scripts --no-audit --no-fund --loglevel=error
COPY . .
ARG TARGETARCH
RUN script/package /package "$TARGETARCH"

# A directory for each architecture. --build-context package=DIR takes what script/package made before, without npm.
FROM scratch AS package
COPY --from=build /package /

FROM ${NODE} AS node

FROM ${BUILDKIT} AS buildkit

FROM ${BASE} AS lazypull
LABEL org.opencontainers.image.title="lazypull" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=node /usr/local/bin/node /usr/local/bin/
ARG TARGETARCH
COPY --from=package /$TARGETARCH /usr/local

FROM lazypull AS builder
LABEL org.opencontainers.image.title="lazypull-builder"
# What buildkitd calls for contexts in Git, and the certificates of registries.
ARG PACKAGES="ca-certificates git openssh-client"
RUN [ -z "$PACKAGES" ] || { apt-get update && apt-get install -y --no-install-recommends $PACKAGES && rm -rf /var/lib/apt/lists/*; }
COPY --from=buildkit /usr/bin/buildkitd /usr/bin/buildctl /usr/bin/buildkit-runc /usr/local/bin/
COPY share/builder/lazypull-builder /usr/local/bin/
# Also for commands that run beside the entry point: `docker exec BUILDER lazypull status`.
ENV LAZYPULL_HOME=/var/lib/buildkit/lazypull
VOLUME /var/lib/buildkit
ENTRYPOINT ["lazypull-builder"]

FROM lazypull
ENTRYPOINT ["lazypull"]
CMD ["daemon"]
