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
uint64_t number_in(const std::string &path) {
    uint64_t value = 0;
    TextFile file(std::fopen(path.c_str(), "re"));
    return file && std::fscanf(file.get(), "%" SCNu64, &value) == 1 ? value : UINT64_MAX;
}

// The number behind `key` in a file of lines "key number"; UINT64_MAX where there is none.
uint64_t value_of(const std::string &path, std::string_view key) {
    TextFile file(std::fopen(path.c_str(), "re"));
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

// Of one group. Cached pages of files that nobody has used lately count as used, but come free when needed.
uint64_t available_in(const std::string &folder) {
    const uint64_t most = number_in(folder + "/memory.max"), used = number_in(folder + "/memory.current");
    if (most == UINT64_MAX || used == UINT64_MAX) return UINT64_MAX;
    const uint64_t cached = value_of(folder + "/memory.stat", "inactive_file");
    const uint64_t taken = cached == UINT64_MAX ? used : used - std::min(used, cached);
    return most - std::min(most, taken);
}

// The path of the process's group; in a container this is the root that it sees.
std::string own_group() {
    TextFile file(std::fopen("/proc/self/cgroup", "re"));
    char line[4096];
    while (file && std::fgets(line, sizeof line, file.get())) {
        std::string_view text = line;
        if (!text.starts_with("0::")) continue;  // of a hierarchy of v1
        text.remove_prefix(3);
        return std::string(text.substr(0, text.find('\n')));
    }
    return {};
}

}  // namespace

uint64_t available_in_groups(const std::string &root, std::string group) {
    for (uint64_t least = UINT64_MAX;;) {
        least = std::min(least, available_in(root + group));
        const size_t slash = group.rfind('/');
        if (slash == group.npos) return least;
        group.resize(slash);
    }
}

uint64_t available_memory_bytes() {
    return std::min(available_in_groups("/sys/fs/cgroup", own_group()), system_available_bytes());
}

}  // namespace el
