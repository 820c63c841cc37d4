// Command xattrs prints what containerd sets of the extended attributes in a layer, for each type of file, as JSON. xattrs.json beside it is its output,
// made as root in a directory of ext4: go run . DIRECTORY > xattrs.json
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/pkg/archive"
	"golang.org/x/sys/unix"
)

type row struct {
	Type string `json:"type"`
	Mode int64  `json:"mode"`
	// Base64, as all names and values.
	Name  string `json:"name"`
	Value string `json:"value"`
	// The attributes of the file afterwards; null where unpacking fails.
	After map[string]string `json:"after"`
}

var types = []struct {
	name string
	flag byte
}{
	{"reg", tar.TypeReg}, {"dir", tar.TypeDir}, {"symlink", tar.TypeSymlink}, {"fifo", tar.TypeFifo}, {"char", tar.TypeChar}, {"block", tar.TypeBlock},
}

// Access control lists as attributes: tag, permissions and id of each entry.
func list(version uint32, entries ...[3]uint32) string {
	var out bytes.Buffer
	put := func(value uint32, size int) {
		for range size {
			out.WriteByte(byte(value))
			value >>= 8
		}
	}
	put(version, 4)
	for _, entry := range entries {
		put(entry[0], 2)
		put(entry[1], 2)
		put(entry[2], 4)
	}
	return out.String()
}

const none = 0xffffffff

func attributes() [][2]string {
	capability := func(hexText string) string {
		value, err := hex.DecodeString(hexText)
		if err != nil {
			panic(err)
		}
		return string(value)
	}
	all := [][2]string{
		{"user.a", "1"}, {"user.a", ""}, {"user.", "1"}, {"user.overlay.opaque", "y"}, {"user.\xff\n", "1"},
		{"trusted.a", "1"}, {"trusted.", "1"}, {"trusted.overlay.opaque", "y"}, {"trusted.overlay.redirect", "/etc"},
		{"security.a", "1"}, {"security.a", ""}, {"security.", "1"}, {"security.\n", "1"},
		{"security.capability", capability("0100000200200000000000000000000000000000")},
		{"security.capability", capability("010000030020000000000000000000000000000000000000")},
		{"security.capability", capability("000000020000000000000000000000000000000000000000")},
		{"security.capability", capability("010000010020000000000000")},
		{"security.capability", "x"}, {"security.capability", ""},
		{"system.a", "1"}, {"system.nfs4_acl", "1"}, {"system.posix_acl_access", ""}, {"system.posix_acl_access", "x"},
		{"com.apple.quarantine", "1"}, {"other", "1"}, {"os2.a", "1"},
	}
	lists := []string{
		list(2, [3]uint32{1, 6, none}, [3]uint32{4, 4, none}, [3]uint32{32, 0, none}),
		list(2, [3]uint32{1, 7, none}, [3]uint32{2, 5, 1000}, [3]uint32{4, 5, none}, [3]uint32{16, 7, none}, [3]uint32{32, 4, none}),
		list(2, [3]uint32{1, 7, none}, [3]uint32{2, 5, 1000}, [3]uint32{2, 4, 1001}, [3]uint32{4, 5, none}, [3]uint32{8, 1, 7}, [3]uint32{16, 3, none}, [3]uint32{32, 4, none}),
		list(2, [3]uint32{1, 7, none}, [3]uint32{4, 5, none}, [3]uint32{8, 1, 7}, [3]uint32{16, 3, none}, [3]uint32{32, 4, none}),
		list(2, [3]uint32{1, 7, none}, [3]uint32{4, 5, none}, [3]uint32{16, 5, none}, [3]uint32{32, 4, none}),
		list(2, [3]uint32{1, 7, none}, [3]uint32{2, 5, 1000}, [3]uint32{4, 5, none}, [3]uint32{32, 4, none}),
		list(2, [3]uint32{4, 5, none}, [3]uint32{1, 7, none}, [3]uint32{32, 4, none}),
		list(2, [3]uint32{1, 7, none}, [3]uint32{4, 5, none}, [3]uint32{4, 5, none}),
		list(2, [3]uint32{1, 9, none}, [3]uint32{4, 5, none}, [3]uint32{32, 4, none}),
		list(2, [3]uint32{1, 7, none}, [3]uint32{64, 5, none}, [3]uint32{32, 4, none}),
		list(2), list(1, [3]uint32{1, 6, none}, [3]uint32{4, 4, none}, [3]uint32{32, 0, none}),
	}
	for _, value := range lists {
		all = append(all, [2]string{"system.posix_acl_access", value}, [2]string{"system.posix_acl_default", value})
	}
	return all
}

func main() {
	var rows []row
	for _, kind := range types {
		for _, attribute := range attributes() {
			modes := []int64{0o644}
			if strings.HasPrefix(attribute[0], "system.posix") {
				modes = []int64{0o644, 0o750, 0o1777}
			}
			for _, mode := range modes {
				rows = append(rows, row{kind.name, mode, encode(attribute[0]), encode(attribute[1]), unpack(kind.flag, mode, attribute)})
			}
		}
	}
	for i, row := range rows {
		separator := ",\n"
		if i == 0 {
			separator = "[\n"
		}
		line, err := json.Marshal(row)
		check(err)
		os.Stdout.WriteString(separator + string(line))
	}
	os.Stdout.WriteString("\n]\n")
}

func unpack(flag byte, mode int64, attribute [2]string) map[string]string {
	var archived bytes.Buffer
	// PAX records are written by hand: Go's writer refuses some that its reader takes.
	record := "SCHILY.xattr." + attribute[0] + "=" + attribute[1] + "\n"
	writer := tar.NewWriter(&archived)
	header := &tar.Header{Name: "PaxHeaders.0/f", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(sized(record))), Format: tar.FormatUSTAR}
	check(writer.WriteHeader(header))
	_, err := writer.Write([]byte(sized(record)))
	check(err)
	header = &tar.Header{Name: "f", Typeflag: flag, Mode: mode, Uid: 7, Gid: 8, Devmajor: 1, Devminor: 3, Format: tar.FormatUSTAR}
	if flag == tar.TypeSymlink {
		header.Linkname = "target"
	}
	check(writer.WriteHeader(header))
	check(writer.Close())
	bytesOf := archived.Bytes()
	bytesOf[156] = 'x'
	checksum(bytesOf[:512])

	directory, err := os.MkdirTemp(os.Args[1], "xattrs-")
	check(err)
	defer os.RemoveAll(directory)
	if _, err := archive.Apply(context.Background(), directory, bytes.NewReader(bytesOf), archive.WithConvertWhiteout(archive.OverlayConvertWhiteout)); err != nil {
		return nil
	}
	return read(filepath.Join(directory, "f"))
}

func sized(record string) string {
	length := len(record) + 2
	for {
		text := json.Number(itoa(length)).String() + " " + record
		if len(text) == length {
			return text
		}
		length = len(text)
	}
}

func itoa(n int) string {
	text, err := json.Marshal(n)
	check(err)
	return string(text)
}

func checksum(block []byte) {
	copy(block[148:156], "        ")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	octal := "000000"
	digits := []byte(octal)
	for i := 5; i >= 0; i-- {
		digits[i] = byte('0' + sum%8)
		sum /= 8
	}
	copy(block[148:156], string(digits)+"\x00 ")
}

func read(path string) map[string]string {
	names := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, names)
	check(err)
	found := map[string]string{}
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 1<<16)
		if size, err := unix.Lgetxattr(path, name, value); err != nil {
			found[encode(name)] = "unreadable"
		} else {
			found[encode(name)] = encode(string(value[:size]))
		}
	}
	return found
}

func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func check(err error) {
	if err != nil {
		panic(err)
	}
}
