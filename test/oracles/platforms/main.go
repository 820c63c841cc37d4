// Command platforms prints what github.com/containerd/platforms says of many platforms, as JSON: which of them each machine runs, and in which order
// it likes them. platforms.json beside it is its output: go run . > platforms.json
package main

import (
	"encoding/json"
	"math/rand"
	"os"
	"sort"

	"github.com/containerd/platforms"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

type answer struct {
	// What was asked for; what Parse made of it; its text again. No platform: Parse refuses it.
	Asked    string          `json:"asked"`
	Platform *specs.Platform `json:"platform,omitempty"`
	Text     string          `json:"text,omitempty"`
	// The candidates that match, in the order of a stable sort of all candidates that match.
	Matching []int `json:"matching"`
	// Of pairs of candidates, whether the first is less than the second: "1" or "0".
	Less string `json:"less,omitempty"`
}

type table struct {
	Candidates []specs.Platform `json:"candidates"`
	Pairs      [][2]int         `json:"pairs"`
	Answers    []answer         `json:"answers"`
}

func candidates() []specs.Platform {
	var all []specs.Platform
	add := func(os, arch string, variants ...string) {
		for _, variant := range variants {
			all = append(all, specs.Platform{OS: os, Architecture: arch, Variant: variant})
		}
	}
	add("linux", "amd64", "v2", "", "v1", "v3", "v4", "V2", "2", "v5", "v0")
	add("Linux", "x86_64", "", "v2")
	add("linux", "x86-64", "v3")
	add("", "amd64", "")
	add("linux", "386", "", "sse2")
	add("linux", "i386", "", "x")
	add("linux", "arm64", "v9.2", "v8", "", "8", "v8.0", "v8.1", "v8.5", "v8.9", "v9", "9", "v9.0", "9.0", "v9.7", "v9.8", "v8.10", "v10", "V8")
	add("linux", "aarch64", "", "v8", "v9")
	add("linux", "arm", "v6", "v7", "", "7", "v5", "5", "v8", "8", "6", "v4", "v9")
	add("linux", "armhf", "", "v6")
	add("linux", "armel", "", "v7")
	add("linux", "ppc64le", "", "power9")
	add("linux", "s390x", "", "v1")
	add("linux", "riscv64", "", "rva20u64")
	add("linux", "mips64le", "softfloat", "")
	add("linux", "", "")
	add("macos", "arm64", "")
	add("darwin", "arm64", "v8")
	add("unknown", "unknown", "")
	add("windows", "amd64", "", "v2")
	for _, version := range []string{"10.0.17763.1", "10.0.17763", "10.0.20348.169", "10.0.25398", "10.0.26100.1", "10.0.26101", "10.0.14393", "6.3.20348", "10.0", "10.x.1", "10.0.20348.1.2", "300.0.20348"} {
		all = append(all, specs.Platform{OS: "windows", Architecture: "amd64", OSVersion: version})
	}
	all = append(all,
		specs.Platform{OS: "Windows", Architecture: "amd64", OSVersion: "10.0.17763"},
		specs.Platform{OS: "windows", Architecture: "amd64", OSVersion: "10.0.17763", OSFeatures: []string{"win32k"}},
		specs.Platform{OS: "windows", Architecture: "amd64", OSFeatures: []string{"win32k", "win32k"}},
		specs.Platform{OS: "windows", Architecture: "amd64", OSFeatures: []string{"win32k", "other"}},
		specs.Platform{OS: "linux", Architecture: "amd64", OSVersion: "6.12"},
		specs.Platform{OS: "linux", Architecture: "amd64", OSFeatures: []string{"gpu"}},
		specs.Platform{OS: "linux", Architecture: "amd64", OSFeatures: []string{"gpu", "gpu"}},
		specs.Platform{OS: "linux", Architecture: "amd64", OSFeatures: []string{"erofs", "gpu"}},
		specs.Platform{OS: "linux", Architecture: "amd64", OSFeatures: []string{"gpu", "erofs", "simd"}},
		specs.Platform{OS: "linux", Architecture: "amd64", OSFeatures: []string{"sse4"}},
		specs.Platform{OS: "linux", Architecture: "amd64", Variant: "v2", OSFeatures: []string{"gpu"}},
		specs.Platform{OS: "linux", Architecture: "386", OSFeatures: []string{"gpu"}},
		specs.Platform{OS: "linux", Architecture: "arm64", OSFeatures: []string{"gpu"}},
	)
	random := rand.New(rand.NewSource(1))
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

var asked = []string{
	"linux/amd64", "linux/amd64/v1", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4", "linux/amd64/2", "Linux/x86_64", "linux/x86-64/v2", "amd64", "x86_64", "linux",
	"linux/386", "i386", "linux/i386/x",
	"linux/arm64", "linux/arm64/v8", "linux/arm64/8", "linux/arm64/v8.1", "linux/arm64/v8.9", "linux/arm64/v8.10", "linux/arm64/v9", "linux/arm64/9.0", "linux/arm64/v9.2", "linux/arm64/v9.7", "linux/arm64/v9.8", "linux/arm64/v10", "aarch64", "arm64", "linux/aarch64/v8",
	"linux/arm", "linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm/7", "linux/arm/v8", "linux/arm/v9", "linux/arm/v4", "linux/armhf", "linux/armel", "armhf", "armel", "arm",
	"linux/ppc64le", "linux/s390x", "s390x", "linux/riscv64", "linux/mips64le", "linux/mips64le/softfloat", "linux/unknown", "unknown/unknown", "darwin/arm64", "macOS/arm64", "macos",
	"windows/amd64", "Windows/amd64", "windows(10.0.17763)/amd64", "windows(10.0.20348)/amd64", "windows(10.0.25398)/amd64", "windows(10.0.26100)/amd64", "windows(10.0.26200)/amd64", "windows(10.0)/amd64", "windows(10.0.20348+win32k)/amd64", "windows(10.0.17763%2Bbuild.42)/amd64", "windows()/amd64",
	"linux(+gpu)/amd64", "linux(+gpu+erofs)/amd64", "linux(+simd+gpu+erofs)/amd64", "linux(6.12+gpu)/amd64", "linux(+gpu)/arm64", "linux(+gpu)/amd64/v3", "linux(+gpu)", "linux(+feat%2Bv2)/amd64", "linux(50%25)/amd64",
	"", "/", "/linux", "linux/", "linux//v8", "linux/arm/", "linux /arm", "linux/&arm", "linux/arm/foo/bar", "linux/*", "*", "nonsense", "linux(/amd64", "linux(+)/amd64", "linux(%)/amd64", "linux(%zz)/amd64", "linux/amd_64/v.1-x",
}

func main() {
	all := candidates()
	random := rand.New(rand.NewSource(2))
	var pairs [][2]int
	for range 500 {
		pairs = append(pairs, [2]int{random.Intn(len(all)), random.Intn(len(all))})
	}
	var answers []answer
	for _, text := range asked {
		result := answer{Asked: text, Matching: []int{}}
		if platform, err := platforms.Parse(text); err == nil {
			only := platforms.Only(platform)
			result.Platform = &platform
			result.Text = platforms.FormatAll(platform)
			for i := range all {
				if only.Match(all[i]) {
					result.Matching = append(result.Matching, i)
				}
			}
			sort.SliceStable(result.Matching, func(i, j int) bool {
				return only.Less(all[result.Matching[i]], all[result.Matching[j]])
			})
			for _, pair := range pairs {
				if only.Less(all[pair[0]], all[pair[1]]) {
					result.Less += "1"
				} else {
					result.Less += "0"
				}
			}
		}
		answers = append(answers, result)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	if err := out.Encode(table{Candidates: all, Pairs: pairs, Answers: answers}); err != nil {
		panic(err)
	}
}
