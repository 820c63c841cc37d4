#!/bin/sh
# Prints a compose file for a container in which the page of the BuildKit integration can be followed:
#
#   script/buildkit/docker-compose-buildkit.yml.sh REPO_DIR SERVICE_NAME
set -eu
root=$(dirname -- "$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")")
exec "$root/bin/lazypull" buildkit compose "$@"
