// The accepted tokens, as far back as a sampler looks.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace el {

class TokenHistory {
  public:
    explicit TokenHistory(size_t capacity = 0) : ring_(capacity) {}

    void push(int32_t token) noexcept {
        if (ring_.empty()) return;
        ring_[next_] = token;
        next_ = next_ + 1 == ring_.size() ? 0 : next_ + 1;
        size_ = std::min(size_ + 1, ring_.size());
    }

    void clear() noexcept { next_ = size_ = 0; }

    // The other has the same capacity.
    void copy_from(const TokenHistory &other) noexcept {
        std::copy(other.ring_.begin(), other.ring_.end(), ring_.begin());
        next_ = other.next_;
        size_ = other.size_;
    }

    size_t size() const noexcept { return size_; }

    // back(0) is the last one; i < size().
    int32_t back(size_t i) const noexcept { return ring_[i < next_ ? next_ - 1 - i : next_ + ring_.size() - 1 - i]; }

  private:
    std::vector<int32_t> ring_;
    size_t next_ = 0, size_ = 0;
};

}  // namespace el
