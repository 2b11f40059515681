#include "engine/budget.h"
#include "base/status.h"
#include "base/system_memory.h"

#include <algorithm>

namespace el {
namespace {

// What is left to the rest of the system where nobody has set a budget.
constexpr uint64_t kLeastReserve = 64 << 20, kMostReserve = 512 << 20, kReserveShare = 16;

// The sum; UINT64_MAX where it overflows.
template <typename Counts> uint64_t sum(std::span<const PlannedRegion> regions, Counts counts) {
    uint64_t bytes = 0;
    for (const PlannedRegion &region : regions)
        if (counts(region) && __builtin_add_overflow(bytes, region.bytes, &bytes)) return UINT64_MAX;
    return bytes;
}

double megabytes(uint64_t bytes) { return double(bytes) / 1e6; }

}  // namespace

uint64_t all_bytes(std::span<const PlannedRegion> regions) {
    return sum(regions, [](const PlannedRegion &) { return true; });
}

uint64_t peak_bytes(std::span<const PlannedRegion> regions, bool own) {
    return sum(regions, [own](const PlannedRegion &region) { return region.own_memory == own; });
}

uint64_t resident_bytes(std::span<const PlannedRegion> regions, bool own) {
    return sum(regions, [own](const PlannedRegion &region) { return region.own_memory == own && !region.load_only; });
}

uint64_t Budget::available_besides(uint64_t own_claim) const {
    const uint64_t system = available_memory_bytes();
    if (limit_ != kBudgetAvailable) return std::min(limit_ - std::min(limit_, claimed_.load() - own_claim), system);
    if (system == UINT64_MAX) return system;
    return system - std::min(system, std::clamp(system / kReserveShare, kLeastReserve, kMostReserve));
}

void refuse(std::span<const PlannedRegion> regions, const Room &room, std::string_view what, std::string_view advice) {
    const bool own = peak_bytes(regions) <= room.budget;  // what is too small
    const uint64_t available = own ? room.device : room.budget;
    uint64_t used = 0;
    const PlannedRegion *broke = &regions.back();
    for (const PlannedRegion &region : regions) {
        if (region.own_memory != own) continue;
        if (__builtin_add_overflow(used, region.bytes, &used) || used > available) {
            broke = &region;
            break;
        }
    }
    const double needed = megabytes(peak_bytes(regions, own)), most = megabytes(available);
    if (own)
        fail(
            Status::kOutOfMemory,
            "{} needs {:.1f} MB on the device '{}', of which {:.1f} MB are free: there is no room for '{}', {:.1f} MB; "
            "{}",
            what, needed, broke->device, most, broke->name, megabytes(broke->bytes), advice);
    fail(Status::kOutOfMemory, "{} needs {:.1f} MB and may take {:.1f} MB: there is no room for '{}', {:.1f} MB; {}",
         what, needed, most, broke->name, megabytes(broke->bytes), advice);
}

}  // namespace el
