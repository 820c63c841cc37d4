package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// 200 clients build chains on one base at once; nothing is lost, mixed up or left over.
func TestParallelChains(t *testing.T) {
	t.Parallel()
	const chains, depth = 200, 4
	d, ctx := serve(t), t.Context()
	must(t, prepareAndCommit(ctx, d, "base", ""))

	var all sync.WaitGroup
	for chain := range chains {
		all.Go(func() {
			parent := "base"
			for layer := range depth {
				name := fmt.Sprintf("chain-%d-%d", chain, layer)
				if err := prepareAndCommit(ctx, d, name, parent); err != nil {
					t.Error(err)
					return
				}
				parent = name
			}
			mounts, err := d.View(ctx, fmt.Sprintf("view-%d", chain), parent)
			if err != nil {
				t.Error(err)
				return
			}
			lower := lowerDirs(mounts)
			if len(lower) != depth+1 {
				t.Errorf("chain %d has the layers %q", chain, lower)
				return
			}
			for layer, dir := range lower[:depth] {
				want := fmt.Sprintf("chain-%d-%d", chain, depth-1-layer)
				if got, _ := os.ReadFile(filepath.Join(dir, "file")); string(got) != want {
					t.Errorf("layer %d of chain %d holds %q", layer, chain, got)
				}
			}
		})
	}
	all.Wait()
	if got, want := len(walk(t, d)), 1+chains*(depth+1); got != want {
		t.Errorf("%d snapshots are listed instead of %d", got, want)
	}
	checkDirectories(t, d)
}

// The daemon is killed while clients work. After a restart everything that it answered is there, and nothing that it did not begin.
func TestKillAndRestart(t *testing.T) {
	t.Parallel()
	const rounds, clients = 6, 8
	ctx, root := t.Context(), t.TempDir()
	committed, active := map[string]string{}, map[string]bool{}
	for round := range rounds {
		d, err := startDaemon(ctx, root)
		if err != nil {
			t.Fatal(err)
		}
		checkAcknowledged(t, d, committed, active)

		var all sync.WaitGroup
		var lock sync.Mutex
		for client := range clients {
			all.Go(func() {
				for i, parent := 0, ""; ; i++ {
					name := fmt.Sprintf("%d-%d-%d", round, client, i)
					mounts, err := d.Prepare(ctx, name+"-active", parent, label("n", name))
					if err != nil {
						return
					}
					lock.Lock()
					active[name+"-active"] = true
					lock.Unlock()
					if err := os.WriteFile(filepath.Join(upperDir(mounts), "file"), []byte(name), 0o600); err != nil {
						t.Error(err)
						return
					}
					if i%3 == 2 {
						continue
					}
					lock.Lock()
					delete(active, name+"-active")
					lock.Unlock()
					if err := d.Commit(ctx, name, name+"-active", label("n", name)); err != nil {
						return
					}
					lock.Lock()
					committed[name] = parent
					lock.Unlock()
					parent = name
				}
			})
		}
		time.Sleep(time.Duration(150+rand.IntN(250)) * time.Millisecond)
		must(t, d.kill())
		all.Wait()
	}
	d, err := startDaemon(ctx, root)
	if err != nil {
		t.Fatal(err)
	}
	checkAcknowledged(t, d, committed, active)
	must(t, d.Snapshotter.(snapshots.Cleaner).Cleanup(ctx))
	checkDirectories(t, d)
	must(t, d.stop())
	t.Logf("%d committed and %d active snapshots survived %d kills", len(committed), len(active), rounds)
}

func checkAcknowledged(t *testing.T, d *daemon, committed map[string]string, active map[string]bool) {
	t.Helper()
	for name, parent := range committed {
		info, err := d.Stat(t.Context(), name)
		if err != nil || info.Parent != parent || info.Kind != snapshots.KindCommitted || info.Labels["n"] != name {
			t.Fatalf("the committed snapshot %s on %q became %+v, %v", name, parent, info, err)
		}
		view := "check-" + name
		mounts, err := d.View(t.Context(), view, name)
		must(t, err)
		if got, err := os.ReadFile(filepath.Join(lowerDirs(mounts)[0], "file")); string(got) != name {
			t.Fatalf("the committed snapshot %s holds %q, %v", name, got, err)
		}
		must(t, d.Remove(t.Context(), view))
	}
	for name := range active {
		mounts, err := d.Mounts(t.Context(), name)
		must(t, err)
		if _, err := os.Stat(upperDir(mounts)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHugeLabels(t *testing.T) {
	t.Parallel()
	d, ctx := serve(t), t.Context()
	labels := map[string]string{"big": strings.Repeat("x", 4<<20), "odd \"key\"\n.ä": "odd 'value'\\ \t€"}
	for i := range 5000 {
		labels[fmt.Sprintf("containerd.io/snapshot/n%d/with.dots", i)] = strconv.Itoa(i)
	}
	_, err := d.Prepare(ctx, "a", "", snapshots.WithLabels(labels))
	must(t, err)
	info, err := d.Stat(ctx, "a")
	must(t, err)
	if !maps.Equal(info.Labels, labels) {
		t.Fatal("the labels are not those of Prepare")
	}
	delete(labels, "containerd.io/snapshot/n7/with.dots")
	labels["containerd.io/snapshot/n8/with.dots"] = "new"
	info, err = d.Update(ctx, snapshots.Info{Name: "a", Labels: map[string]string{"containerd.io/snapshot/n8/with.dots": "new"}},
		"labels.containerd.io/snapshot/n7/with.dots", "labels.containerd.io/snapshot/n8/with.dots")
	must(t, err)
	if !maps.Equal(info.Labels, labels) {
		t.Fatal("the labels are not those of Update")
	}
	if _, err := d.Prepare(ctx, "b", "", label("huge", strings.Repeat("x", 14<<20))); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Stat(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	// A snapshot must fit into a message of a list, which has 16 MiB at most.
	if _, err := d.Prepare(ctx, "c", "", label("huge", strings.Repeat("x", 15<<20))); !errdefs.IsInvalidArgument(err) {
		t.Fatalf("labels of more than 15 MiB gave %v", err)
	}
}

// BuildKit adds temporary labels to every layer before each mount and removes them after it, inside its own write transaction.
func TestTemporaryLabels(t *testing.T) {
	t.Parallel()
	const layers, rounds = 60, 10
	d, ctx := serve(t), t.Context()
	for i := range layers {
		must(t, prepareAndCommit(ctx, d, fmt.Sprint(i), ""))
	}
	started := time.Now()
	for round := range rounds {
		id := fmt.Sprintf("%025d", round)
		fields := map[string]string{
			"containerd.io/snapshot/remote/stargz.reference." + id: "localhost:5000/image",
			"containerd.io/snapshot/remote/stargz.session.0." + id: "session",
		}
		var paths []string
		for key := range fields {
			paths = append(paths, "labels."+key)
		}
		for i := range layers {
			info, err := d.Update(ctx, snapshots.Info{Name: fmt.Sprint(i), Labels: fields}, paths...)
			must(t, err)
			if len(info.Labels) != len(fields) {
				t.Fatalf("the labels are %v", info.Labels)
			}
		}
		for i := range layers {
			info, err := d.Update(ctx, snapshots.Info{Name: fmt.Sprint(i)}, paths...)
			must(t, err)
			if len(info.Labels) != 0 {
				t.Fatalf("the labels are %v", info.Labels)
			}
		}
	}
	t.Logf("one Update takes %s", time.Since(started)/(2*layers*rounds))
}

// A layer that cannot be lazy: ordinary writable mounts at once, and the target can be committed in the ordinary way.
func TestPrepareThatCannotBeLazy(t *testing.T) {
	t.Parallel()
	d, ctx := serve(t), t.Context()
	labels := map[string]string{
		"containerd.io/snapshot.ref":                     "sha256:target",
		"containerd.io/snapshot/remote/stargz.reference": "localhost:1/image:tag",
		"containerd.io/snapshot/remote/stargz.digest":    "sha256:" + strings.Repeat("0", 64),
		"containerd.io/snapshot/remote/stargz.layers":    "sha256:" + strings.Repeat("0", 64),
		"containerd.io/snapshot/stargz/toc.digest":       "",
	}
	for i, parent := range []string{"", "sha256:target"} {
		labels["containerd.io/snapshot.ref"] = fmt.Sprintf("sha256:target%s", strings.Repeat("+", i))
		key := fmt.Sprintf("extract-%d", i)
		mounts, err := d.Prepare(ctx, key, parent, snapshots.WithLabels(labels))
		must(t, err)
		if upper := upperDir(mounts); upper == "" {
			t.Fatalf("the mounts %v are not writable", mounts)
		}
		must(t, d.Commit(ctx, labels["containerd.io/snapshot.ref"], key))
	}
	if _, err := d.Prepare(ctx, "again", "", snapshots.WithLabels(map[string]string{
		"containerd.io/snapshot.ref": "sha256:target",
	})); !errdefs.IsAlreadyExists(err) {
		t.Fatalf("a Prepare of a committed target says %v", err)
	}
	if _, err := d.Stat(ctx, "again"); !errdefs.IsNotFound(err) {
		t.Fatalf("the key of a Prepare of a committed target: %v", err)
	}
	checkDirectories(t, d)
}

// Thousands of snapshots reach a reader that stops now and then, in blocks of at most 100.
func TestStreamedList(t *testing.T) {
	t.Parallel()
	const count = 2000
	d, ctx := serve(t), t.Context()
	var all sync.WaitGroup
	for worker := range 20 {
		all.Go(func() {
			for i := worker; i < count; i += 20 {
				if _, err := d.Prepare(ctx, fmt.Sprintf("k%d", i), "", label("long", strings.Repeat("x", 2000))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	stream, err := d.client.List(ctx, &snapshotsapi.ListSnapshotsRequest{})
	must(t, err)
	seen := map[string]bool{}
	for {
		block, err := stream.Recv()
		if err != nil {
			break
		}
		if len(block.Info) > 100 {
			t.Fatalf("a block has %d snapshots", len(block.Info))
		}
		for _, info := range block.Info {
			seen[info.Name] = true
		}
		time.Sleep(5 * time.Millisecond)
	}
	if len(seen) != count {
		t.Fatalf("%d snapshots are listed instead of %d", len(seen), count)
	}
	cancelled, cancel := context.WithCancel(ctx)
	stream, err = d.client.List(cancelled, &snapshotsapi.ListSnapshotsRequest{})
	must(t, err)
	_, err = stream.Recv()
	must(t, err)
	cancel()
	if _, err = d.Stat(ctx, "k1"); err != nil {
		t.Fatal(err)
	}
}

// The codes on the wire, without containerd's client between.
func TestCodes(t *testing.T) {
	t.Parallel()
	d, ctx := serve(t), t.Context()
	must(t, prepareAndCommit(ctx, d, "base", ""))
	must(t, prepareAndCommit(ctx, d, "child", "base"))
	_, err := d.Prepare(ctx, "active", "base")
	must(t, err)
	_, err = d.View(ctx, "view", "base")
	must(t, err)
	for name, test := range map[string]struct {
		code codes.Code
		call func() error
	}{
		"stat absent":         {codes.NotFound, func() error { _, err := d.client.Stat(ctx, &snapshotsapi.StatSnapshotRequest{Key: "x"}); return err }},
		"mounts of committed": {codes.FailedPrecondition, func() error { _, err := d.client.Mounts(ctx, &snapshotsapi.MountsRequest{Key: "base"}); return err }},
		"mounts of absent":    {codes.NotFound, func() error { _, err := d.client.Mounts(ctx, &snapshotsapi.MountsRequest{Key: "x"}); return err }},
		"prepare twice": {codes.AlreadyExists, func() error {
			_, err := d.client.Prepare(ctx, &snapshotsapi.PrepareSnapshotRequest{Key: "active"})
			return err
		}},
		"prepare on active": {codes.InvalidArgument, func() error {
			_, err := d.client.Prepare(ctx, &snapshotsapi.PrepareSnapshotRequest{Key: "x", Parent: "active"})
			return err
		}},
		"view on absent": {codes.NotFound, func() error {
			_, err := d.client.View(ctx, &snapshotsapi.ViewSnapshotRequest{Key: "x", Parent: "y"})
			return err
		}},
		"commit of view": {codes.FailedPrecondition, func() error {
			_, err := d.client.Commit(ctx, &snapshotsapi.CommitSnapshotRequest{Name: "x", Key: "view"})
			return err
		}},
		"commit to existing": {codes.AlreadyExists, func() error {
			_, err := d.client.Commit(ctx, &snapshotsapi.CommitSnapshotRequest{Name: "base", Key: "active"})
			return err
		}},
		"commit with new parent": {codes.InvalidArgument, func() error {
			_, err := d.client.Commit(ctx, &snapshotsapi.CommitSnapshotRequest{Name: "x", Key: "active", Parent: "child"})
			return err
		}},
		"remove with child": {codes.FailedPrecondition, func() error {
			_, err := d.client.Remove(ctx, &snapshotsapi.RemoveSnapshotRequest{Key: "base"})
			return err
		}},
		"usage of absent":   {codes.NotFound, func() error { _, err := d.client.Usage(ctx, &snapshotsapi.UsageRequest{Key: "x"}); return err }},
		"update of nothing": {codes.InvalidArgument, func() error { _, err := d.client.Update(ctx, &snapshotsapi.UpdateSnapshotRequest{}); return err }},
	} {
		if err := test.call(); status.Code(err) != test.code {
			t.Errorf("%s: %v instead of %s", name, err, test.code)
		}
	}
}

func prepareAndCommit(ctx context.Context, d *daemon, name, parent string) error {
	mounts, err := d.Prepare(ctx, name+"-active", parent)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(upperDir(mounts), "file"), []byte(name), 0o600); err != nil {
		return err
	}
	return d.Commit(ctx, name, name+"-active")
}

// upperDir is where a client writes: the upper directory of an overlay, or the source of a writable bind mount.
func upperDir(mounts []mount.Mount) string {
	last := mounts[len(mounts)-1]
	if last.Type == "bind" && slices.Contains(last.Options, "rw") {
		return last.Source
	}
	return option(last, "upperdir=")
}

// lowerDirs are the layers that a client reads, nearest first.
func lowerDirs(mounts []mount.Mount) []string {
	last := mounts[len(mounts)-1]
	if last.Type == "bind" {
		return []string{last.Source}
	}
	return strings.Split(option(last, "lowerdir="), ":")
}

func option(m mount.Mount, prefix string) string {
	for _, option := range m.Options {
		if value, found := strings.CutPrefix(option, prefix); found {
			return value
		}
	}
	return ""
}

func walk(t *testing.T, s snapshots.Snapshotter, filters ...string) map[string]snapshots.Info {
	t.Helper()
	found := map[string]snapshots.Info{}
	must(t, s.Walk(t.Context(), func(_ context.Context, info snapshots.Info) error {
		if _, twice := found[info.Name]; twice {
			return errors.New(info.Name + " is listed twice")
		}
		found[info.Name] = info
		return nil
	}, filters...))
	return found
}

// checkDirectories fails unless each snapshot has a directory, and nothing else has one.
func checkDirectories(t *testing.T, d *daemon) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(d.root, "snapshotter", "snapshots"))
	must(t, err)
	if got, want := len(entries), len(walk(t, d)); got != want {
		t.Errorf("%d snapshots have %d directories", want, got)
	}
}

func label(key, value string) snapshots.Opt {
	return snapshots.WithLabels(map[string]string{key: value})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
