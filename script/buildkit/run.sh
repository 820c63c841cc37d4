#!/bin/sh
# Starts lazypull (and, for --containerd-worker=true, containerd) unless they serve already, then runs buildkitd with the flags
# given. buildkitd is that of BUILDKIT_BIN_PATH (a directory), else of PATH, else the one that script/setup built.
set -eu
root=$(dirname -- "$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")")
exec "$root/bin/lazypull" buildkit run "$@"
