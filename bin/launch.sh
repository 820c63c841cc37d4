# Sourced by the launchers beside it, which set `main` to a file of dist/bin. Runs that main, of a checkout or of an installed
# package, with Node 24 or later and with memory settings for a daemon; exec, so that signals and the exit code are those of the program.

root=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
name=$(basename -- "$0")

fail() {
  printf '%s: %s\n' "$name" "$1" >&2
  exit 1
}

# How to get Node. A package has no setup, and its dependencies and its dist come with it.
advice="put Node 24 or later in PATH"
[ ! -e "$root/script/setup" ] || advice="run \"$root/script/setup\", or $advice"

node=$root/node_modules/.bin/node
case $root in */node_modules/*) [ -x "$node" ] || node=$(dirname -- "$root")/.bin/node ;; esac
if [ ! -x "$node" ]; then
  node=$(command -v node) || fail "Cannot find node: $advice"
  major=$("$node" -p 'process.versions.node.split(".")[0]')
  [ "$major" -ge 24 ] || fail "Cannot use $node: it is Node $major, and 24 or later is needed; $advice"
fi
if [ -e "$root/script/setup" ]; then
  [ -d "$root/node_modules/pino" ] || fail "Cannot find the dependencies in $root/node_modules: run \"$root/script/setup\""
  [ -f "$root/dist/bin/$main" ] || fail "Cannot find $root/dist/bin/$main: run \"$root/script/setup\""
fi

# Two malloc arenas instead of eight per core: the threads hand buffers to each other, and every arena keeps its own free list.
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-2}"
# A fixed threshold, so that large buffers always come from the kernel and go back to it when they are freed.
export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-65536}"
export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-131072}"
# Inflate, hash, mount(2) and file writes share libuv's threads; four are too few when some of them wait for the kernel.
export UV_THREADPOOL_SIZE="${UV_THREADPOOL_SIZE:-8}"

# Under nohup(1) SIGHUP is ignored, which a shell cannot change, and Node does. So the program is told.
hangs_up=
trap 'hangs_up=1' HUP
kill -HUP $$
trap - HUP
[ -n "$hangs_up" ] || export LAZYPULL_NOHUP=1

run() {
  exec "$node" "$root/dist/bin/$main" "$@"
}

# A small young generation that the daemon may collect by itself: buffers live outside the heap, and V8 does not hurry for them. It collects all of its small
# heap when it rests, so V8 need not do so in the midst of a build, as soon as the heap has grown a little.
run_daemon() {
  exec "$node" --max-semi-space-size=2 --heap-growing-percent=200 --expose-gc "$root/dist/bin/$main" "$@"
}
