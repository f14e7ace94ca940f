package main

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestTheLimitOfMemoryIsTheLowestOfTheGroupAndThoseAboveIt(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control groups":           {nil, math.MaxInt64},
		"version 1":                   {map[string]string{"proc/self/cgroup": "3:memory:/a\n"}, math.MaxInt64},
		"no limit":                    {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, math.MaxInt64},
		"a container's":               {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1073741824\n"}, 1 << 30},
		"a service's":                 {map[string]string{"proc/self/cgroup": "1:x:/\n0::/system.slice/u.service\n", "sys/fs/cgroup/system.slice/u.service/memory.max": "2048\n"}, 2048},
		"that of the group above":     {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "4096\n", "sys/fs/cgroup/a/memory.max": "1024\n"}, 1024},
		"a group outside of the tree": {map[string]string{"proc/self/cgroup": "0::/../x\n", "sys/fs/cgroup/memory.max": "max\n"}, math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{}
			for path, text := range c.files {
				files[path] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := cgroupLimit(files); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}
