# The image of lazypull. Its entry point is lazypull, and without arguments it runs the daemon:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --tag registry.example/lazypull --push .
#
# Nothing of the target platform runs here, so that any machine builds it for all. NODE has npm, and the node that is taken over;
# BASE needs a shell, coreutils, and mount where the kernel is older than Linux 6.12.
ARG NODE=node:24-trixie-slim
ARG BASE=debian:trixie-slim

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

FROM ${BASE}
LABEL org.opencontainers.image.title="lazypull" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=node /usr/local/bin/node /usr/local/bin/
ARG TARGETARCH
COPY --from=package /$TARGETARCH /usr/local
ENTRYPOINT ["lazypull"]
CMD ["daemon"]
