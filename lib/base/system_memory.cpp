#include "base/system_memory.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <memory>

namespace el {
namespace {

struct Close {
    void operator()(FILE *file) const { std::fclose(file); }
};
using TextFile = std::unique_ptr<FILE, Close>;

// The number in a file that holds one; UINT64_MAX for "max" and for a file that is not there.
uint64_t number_in(const char *path) {
    uint64_t value = 0;
    TextFile file(std::fopen(path, "re"));
    return file && std::fscanf(file.get(), "%" SCNu64, &value) == 1 ? value : UINT64_MAX;
}

uint64_t system_available_bytes() {
    TextFile file(std::fopen("/proc/meminfo", "re"));
    char line[128];
    uint64_t kilobytes = 0;
    while (file && std::fgets(line, sizeof line, file.get()))
        if (std::sscanf(line, "MemAvailable: %" SCNu64, &kilobytes) == 1) return kilobytes * 1024;
    return UINT64_MAX;
}

}  // namespace

uint64_t available_memory_bytes() {
    uint64_t most = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
    uint64_t of_group = most == UINT64_MAX || used == UINT64_MAX ? UINT64_MAX : most - std::min(most, used);
    return std::min(of_group, system_available_bytes());
}

}  // namespace el
