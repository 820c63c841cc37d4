package conformance

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
)

// Random calls to the daemon and to containerd's own overlay snapshotter have the same results: answers, classes of errors, and every listing.
func TestAgainstContainerdsOverlay(t *testing.T) {
	t.Parallel()
	const calls, seed = 3000, 20261124
	d, ctx, random := serve(t), t.Context(), rand.New(rand.NewPCG(seed, 1))
	oracle, err := overlay.NewSnapshotter(t.TempDir(), overlay.AsynchronousRemove)
	must(t, err)
	t.Cleanup(func() { oracle.Close() })

	pool := []string{"a", "b", "c", "n/1/x y", "pa", "pb", "pc", "pn/1/x y", "psha256:1", ""}
	name := func() string { return pool[random.IntN(len(pool))] }
	labels := func() map[string]string {
		given := map[string]string{}
		for range random.IntN(3) {
			given[[]string{"l", "m", "a.b/c", "labels.x"}[random.IntN(4)]] = []string{"1", "2", "", "x y"}[random.IntN(4)]
		}
		return given
	}
	var succeeded [9]int
	for i := range calls {
		method, key, other, given := random.IntN(9), name(), name(), labels()
		paths := [][]string{nil, {"labels"}, {"labels.l", "labels.a.b/c"}, {"labels.labels.x"}, {"parent"}, {"labels", "kind"}}[random.IntN(6)]
		rebase, parent := random.IntN(3) == 0, name()
		if key == "" && method < 3 {
			continue // containerd answers Unknown for an empty key, the daemon InvalidArgument
		}
		call := func(s snapshots.Snapshotter) string {
			options := snapshots.WithLabels(maps.Clone(given))
			switch method {
			case 0, 1:
				mounts, err := s.Prepare(ctx, key, other, options)
				return outcome(shape(mounts), err)
			case 2:
				mounts, err := s.View(ctx, key, other, options)
				return outcome(shape(mounts), err)
			case 3, 4:
				if rebase {
					return outcome("", s.Commit(ctx, "p"+strings.TrimPrefix(other, "p"), key, options, snapshots.WithParent(parent)))
				}
				return outcome("", s.Commit(ctx, "p"+strings.TrimPrefix(other, "p"), key, options))
			case 5:
				return outcome("", s.Remove(ctx, key))
			case 6:
				mounts, err := s.Mounts(ctx, key)
				return outcome(shape(mounts), err)
			case 7:
				info, err := s.Update(ctx, snapshots.Info{Name: key, Labels: maps.Clone(given)}, paths...)
				return outcome(text(info), err)
			default:
				info, err := s.Stat(ctx, key)
				return outcome(text(info), err)
			}
		}
		got, want := call(d), call(oracle)
		if strings.HasPrefix(got, "ok") {
			succeeded[method]++
		}
		if got != want {
			t.Fatalf("call %d: method %d of %q, %q with %v, %v\n gives %s\nnot   %s", i, method, key, other, given, paths, got, want)
		}
		if i%20 == 0 {
			if got, want := listing(t, d), listing(t, oracle); !slices.Equal(got, want) {
				t.Fatalf("after call %d there are\n%q\nnot\n%q", i, got, want)
			}
		}
	}
	t.Logf("of each method succeeded %v of %d calls", succeeded, calls)
}

// Random filters select what containerd's own filters select, and those that containerd refuses are refused.
func TestFiltersAgainstContainerd(t *testing.T) {
	t.Parallel()
	const filters, seed = 4000, 20261124
	d, ctx, random := serve(t), t.Context(), rand.New(rand.NewPCG(seed, 2))
	oracle, err := overlay.NewSnapshotter(t.TempDir())
	must(t, err)
	t.Cleanup(func() { oracle.Close() })
	for _, s := range []snapshots.Snapshotter{d, oracle} {
		for i, labels := range []map[string]string{
			nil, {"l": "1"}, {"l": "2", "a.b/c": "x y"}, {"containerd.io/snapshot.ref": "c1"}, {"l": "é€𝄞,\"'\\", "m": "==a"},
		} {
			_, err := s.Prepare(ctx, fmt.Sprint("k", i), "")
			must(t, err)
			must(t, s.Commit(ctx, fmt.Sprint("c", i), fmt.Sprint("k", i), snapshots.WithLabels(labels)))
			_, err = s.Prepare(ctx, fmt.Sprint("a/", i), fmt.Sprint("c", i), snapshots.WithLabels(labels))
			must(t, err)
			_, err = s.View(ctx, fmt.Sprint("v ", i), fmt.Sprint("c", i))
			must(t, err)
		}
	}
	pieces := strings.Split("name|parent|kind|labels|l|m|labels.l|labels.\"a.b/c\"|labels.\"containerd.io/snapshot.ref\"|.|.|,|,|==|==|==|!=|~=|~=|=|!|~|c1|c2|"+
		"active|view|committed|1|2|\"x y\"|\"\"|\"é€𝄞,\\\"'\\\\\"|\"\\u00e9\\U000020ac\\xf0\\x9d\\x84\\x9e\"|\"\\101\"|\"\\q\"|\"\\x4\"|/c[12]/|/a\\/1/|\"unclosed|'|\\|é| |\t|\n|a/1|"+
		"^c|\"^c[0-9]$\"|\"(?i)^C1\"|(|[a|\"[[:alpha:]]2\"|_x9|-|$", "|")
	wellFormed := []func() string{
		func() string { return pieces[random.IntN(9)] + pieces[13+random.IntN(6)] + pieces[22+random.IntN(13)] },
	}
	for i := range filters {
		var given []string
		for range 1 + random.IntN(2) {
			var filter strings.Builder
			if random.IntN(3) == 0 {
				filter.WriteString(wellFormed[0]())
				if random.IntN(2) == 0 {
					filter.WriteString("," + wellFormed[0]())
				}
			} else {
				for range random.IntN(7) {
					filter.WriteString(pieces[random.IntN(len(pieces))])
				}
			}
			given = append(given, filter.String())
		}
		got, want := selected(ctx, d, given), selected(ctx, oracle, given)
		if got != want {
			t.Errorf("filter %d: %q selects %s, not %s", i, given, got, want)
		}
	}
}

func selected(ctx context.Context, s snapshots.Snapshotter, filters []string) string {
	var names []string
	err := s.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		names = append(names, info.Name)
		return nil
	}, filters...)
	slices.Sort(names)
	return outcome(fmt.Sprintf("%q", names), err)
}

func outcome(result string, err error) string {
	if err != nil {
		return errdefs.Resolve(err).Error()
	}
	return "ok " + result
}

func text(info snapshots.Info) string {
	labels := maps.Clone(info.Labels)
	maps.DeleteFunc(labels, func(_, value string) bool { return value == "" })
	return fmt.Sprintf("%s %q on %q %q", info.Kind, info.Name, info.Parent, labels)
}

// shape is what mounts are apart from the directories and from index=off, which stargz-snapshotter does not give.
func shape(mounts []mount.Mount) string {
	var shapes []string
	for _, m := range mounts {
		parts := []string{m.Type, filepath.Base(m.Source)}
		for _, option := range m.Options {
			key, value, _ := strings.Cut(option, "=")
			if key != "index" {
				parts = append(parts, fmt.Sprintf("%s %d", key, strings.Count(value, ":")))
			}
		}
		shapes = append(shapes, strings.Join(parts, " "))
	}
	return fmt.Sprint(shapes)
}

func listing(t *testing.T, s snapshots.Snapshotter) []string {
	var lines []string
	for _, info := range walk(t, s) {
		lines = append(lines, text(info))
	}
	slices.Sort(lines)
	return lines
}
