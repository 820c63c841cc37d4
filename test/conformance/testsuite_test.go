// Package conformance runs containerd's own snapshotter suite, and harder cases of the same kind, against a real daemon on a real socket.
package conformance

import (
	"context"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"github.com/containerd/containerd/v2/pkg/testutil"
)

// The suite's Rename case expects redirect_dir of any name but overlayfs.
const suiteName = "overlayfs"

func TestContainerdSuite(t *testing.T) {
	testutil.RequiresRoot(t)
	testsuite.SnapshotterSuite(t, suiteName, func(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		d, err := startDaemon(ctx, root)
		if err != nil {
			return nil, nil, err
		}
		return d, d.stop, nil
	})
}
