// One block of host memory, divided once. What is laid out is written as one function template, called first with an
// ArenaSizer and then with an Arena of the size found:
//     template <class A> Layout lay_out(A &arena) { return {arena.template take<float>(n), ...}; }
#pragma once
#include "base/status.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

namespace el {

constexpr size_t kArenaAlignment = 64;  // a cache line, and the widest vector

// The offset after taking `n` objects of `object_bytes` at `used`, rounded up so that the next piece is aligned.
inline size_t arena_advance(size_t used, size_t n, size_t object_bytes) {
    size_t bytes = 0, end = 0;
    if (__builtin_mul_overflow(n, object_bytes, &bytes) || __builtin_add_overflow(used, bytes, &end) ||
        end > std::numeric_limits<size_t>::max() - (kArenaAlignment - 1))
        fail(Status::kOutOfMemory, "{} objects of {} bytes are more than the address space holds", n, object_bytes);
    return (end + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

// Counts what an Arena would need. The pointers are NULL.
class ArenaSizer {
  public:
    template <typename T> T *take(size_t n) {
        used_ = arena_advance(used_, n, sizeof(T));
        return nullptr;
    }
    size_t bytes() const { return used_; }

  private:
    size_t used_ = 0;
};

class Arena {
  public:
    enum class Fill {
        kZero,  // every page is touched at creation, so that no later use can fault
        kNone,  // for memory that is filled at once, such as weights
    };
    Arena() = default;
    explicit Arena(size_t bytes, Fill fill = Fill::kZero);
    Arena(Arena &&other) noexcept
        : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)),
          used_(std::exchange(other.used_, 0)) {}
    Arena &operator=(Arena &&other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        std::swap(used_, other.used_);
        return *this;
    }
    ~Arena();

    // `n` objects, zero, aligned to kArenaAlignment. Throws kInternal when they do not fit: the plan was wrong.
    template <typename T> T *take(size_t n) {
        static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
        static_assert(alignof(T) <= kArenaAlignment);
        size_t end = arena_advance(used_, n, sizeof(T));
        if (end > bytes_)
            fail(Status::kInternal, "an arena of {} bytes is too small for {} more bytes after {}", bytes_, end - used_,
                 used_);
        return reinterpret_cast<T *>(data_ + std::exchange(used_, end));
    }
    size_t bytes() const { return bytes_; }
    size_t used() const { return used_; }

  private:
    std::byte *data_ = nullptr;
    size_t bytes_ = 0, used_ = 0;
};

}  // namespace el
