#include "engine/backends.h"

#include <atomic>

namespace el {
namespace {
std::atomic<const BackendEntry *> first{nullptr};
std::atomic<size_t> count{0};
}  // namespace

void set_backends(std::span<const BackendEntry> entries) {
    first.store(entries.data());
    count.store(entries.size());
}

std::span<const BackendEntry> backends() { return {first.load(), count.load()}; }

}  // namespace el
