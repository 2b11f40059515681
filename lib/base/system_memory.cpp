#include "base/system_memory.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <memory>
#include <string_view>

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

// The number behind `key` in a file of lines "key number"; UINT64_MAX where there is none.
uint64_t value_of(const char *path, std::string_view key) {
    TextFile file(std::fopen(path, "re"));
    char line[128], name[64];
    uint64_t value = 0;
    while (file && std::fgets(line, sizeof line, file.get()))
        if (std::sscanf(line, "%63s %" SCNu64, name, &value) == 2 && name == key) return value;
    return UINT64_MAX;
}

uint64_t system_available_bytes() {
    const uint64_t kilobytes = value_of("/proc/meminfo", "MemAvailable:");
    return kilobytes == UINT64_MAX ? kilobytes : kilobytes * 1024;
}

// Cached pages of files that nobody has used lately count as used by the control group, but come free when needed.
uint64_t group_available_bytes() {
    const uint64_t most = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
    if (most == UINT64_MAX || used == UINT64_MAX) return UINT64_MAX;
    const uint64_t cached = value_of("/sys/fs/cgroup/memory.stat", "inactive_file");
    const uint64_t taken = cached == UINT64_MAX ? used : used - std::min(used, cached);
    return most - std::min(most, taken);
}

}  // namespace

uint64_t available_memory_bytes() { return std::min(group_available_bytes(), system_available_bytes()); }

}  // namespace el
