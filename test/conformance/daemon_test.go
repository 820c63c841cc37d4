package conformance

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 20 * time.Second
	maxMessage   = 16 << 20
)

// daemon is one running LAZYPULL_DAEMON with a root of its own.
type daemon struct {
	snapshots.Snapshotter
	client snapshotsapi.SnapshotsClient

	root, address string
	cmd           *exec.Cmd
	exited        chan error
	conn          *grpc.ClientConn
	log           *bytes.Buffer
}

// startDaemon starts the daemon on root, which may hold the state of an earlier one, and waits until it answers.
func startDaemon(ctx context.Context, root string) (*daemon, error) {
	program := os.Getenv("LAZYPULL_DAEMON")
	if program == "" {
		return nil, fmt.Errorf("LAZYPULL_DAEMON is not set: it names the daemon to test, see test/conformance/run")
	}
	d := &daemon{root: root, log: &bytes.Buffer{}, exited: make(chan error, 1)}
	// A socket path has at most 107 bytes, and a test's root may be longer.
	sockets, err := os.MkdirTemp("", "lp-")
	if err != nil {
		return nil, err
	}
	d.address = filepath.Join(sockets, "s.sock")
	d.cmd = exec.Command(program, "--log-level", "debug", "--address", d.address, "--root", root)
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { d.exited <- d.cmd.Wait() }()

	d.conn, err = grpc.NewClient("unix://"+d.address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		return nil, err
	}
	d.client = snapshotsapi.NewSnapshotsClient(d.conn)
	d.Snapshotter = proxy.NewSnapshotter(d.client, "overlayfs")
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-d.exited:
			os.RemoveAll(sockets)
			return nil, fmt.Errorf("the daemon ended before it served: %v\n%s", err, d.log)
		default:
		}
		if _, err := os.Stat(d.address); err == nil {
			if err = d.Walk(ctx, func(context.Context, snapshots.Info) error { return nil }, "name==none"); err == nil {
				return d, nil
			}
		}
		if time.Now().After(deadline) {
			_ = d.kill()
			return nil, fmt.Errorf("the daemon does not serve after %s:\n%s", startTimeout, d.log)
		}
	}
}

// stop ends the daemon with SIGTERM, and fails unless it ends well and leaves nothing mounted below its root.
func (d *daemon) stop() error {
	defer d.conn.Close()
	defer os.RemoveAll(filepath.Dir(d.address))
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-d.exited:
		if err != nil {
			return fmt.Errorf("the daemon ended with %v after SIGTERM:\n%s", err, d.log)
		}
	case <-time.After(stopTimeout):
		_ = d.kill()
		return fmt.Errorf("the daemon does not end within %s of SIGTERM:\n%s", stopTimeout, d.log)
	}
	mounted, err := mountsBelow(d.root)
	if err == nil && len(mounted) > 0 {
		err = fmt.Errorf("still mounted after the daemon's end: %q", mounted)
	}
	return err
}

// kill ends the daemon with SIGKILL.
func (d *daemon) kill() error {
	defer d.conn.Close()
	defer os.RemoveAll(filepath.Dir(d.address))
	err := d.cmd.Process.Kill()
	<-d.exited
	return err
}

// serve starts a daemon for one test and stops it at its end.
func serve(t *testing.T) *daemon {
	t.Helper()
	d, err := startDaemon(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", d.log)
		}
	})
	return d
}

func mountsBelow(root string) ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], root+"/") {
			found = append(found, fields[4])
		}
	}
	return found, nil
}
