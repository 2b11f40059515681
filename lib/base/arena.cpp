#include "base/arena.h"

#include <cstring>
#include <new>
#include <sys/mman.h>

namespace el {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// Large blocks begin at a huge page, so that the system can back them with huge pages: fewer TLB misses.
std::align_val_t alignment_for(size_t bytes) {
    return std::align_val_t{bytes >= 4 * kHugePage ? kHugePage : kArenaAlignment};
}

}  // namespace

Arena::Arena(size_t bytes, Fill fill) : bytes_(arena_advance(0, bytes, 1)) {
    if (bytes_ == 0) return;
    data_ = static_cast<std::byte *>(::operator new(bytes_, alignment_for(bytes_)));
    if (bytes_ >= 4 * kHugePage) (void)madvise(data_, bytes_ / kHugePage * kHugePage, MADV_HUGEPAGE);
    if (fill == Fill::kZero) std::memset(data_, 0, bytes_);
}

Arena::~Arena() {
    if (data_) ::operator delete(data_, alignment_for(bytes_));
}

}  // namespace el
