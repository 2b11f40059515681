// XXH64, a fast 64-bit hash: Yann Collet, "xxHash fast digest algorithm", specification 0.1.1. It finds accidents (a
// flipped bit goes unseen once in 2^64 times); it keeps nobody from making two inputs with one hash.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace el {

class Hash64 {
  public:
    void add(const void *data, size_t n) noexcept {
        const std::byte *at = static_cast<const std::byte *>(data);
        bytes_ += n;
        if (n_held_ > 0) {
            const size_t more = n < sizeof held_ - n_held_ ? n : sizeof held_ - n_held_;
            std::memcpy(held_ + n_held_, at, more);
            n_held_ += more, at += more, n -= more;
            if (n_held_ < sizeof held_) return;
            stripe(held_);
        }
        for (; n >= sizeof held_; at += sizeof held_, n -= sizeof held_) stripe(at);
        if (n > 0) std::memcpy(held_, at, n);
        n_held_ = n;
    }
    template <typename T> void add_value(const T &value) noexcept {
        static_assert(std::has_unique_object_representations_v<T>);
        add(&value, sizeof value);
    }

    uint64_t digest() const noexcept {
        uint64_t hash = kPrime5;
        if (bytes_ >= sizeof held_) {
            hash = std::rotl(lane_[0], 1) + std::rotl(lane_[1], 7) + std::rotl(lane_[2], 12) + std::rotl(lane_[3], 18);
            for (uint64_t lane : lane_) hash = (hash ^ round(0, lane)) * kPrime1 + kPrime4;
        }
        hash += bytes_;
        size_t i = 0;
        for (; i + 8 <= n_held_; i += 8)
            hash = std::rotl(hash ^ round(0, read<uint64_t>(held_ + i)), 27) * kPrime1 + kPrime4;
        for (; i + 4 <= n_held_; i += 4)
            hash = std::rotl(hash ^ read<uint32_t>(held_ + i) * kPrime1, 23) * kPrime2 + kPrime3;
        for (; i < n_held_; ++i) hash = std::rotl(hash ^ uint64_t(held_[i]) * kPrime5, 11) * kPrime1;
        hash = (hash ^ hash >> 33) * kPrime2;
        hash = (hash ^ hash >> 29) * kPrime3;
        return hash ^ hash >> 32;
    }

  private:
    static constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87, kPrime2 = 0xC2B2AE3D27D4EB4F, kPrime3 = 0x165667B19E3779F9,
                              kPrime4 = 0x85EBCA77C2B2AE63, kPrime5 = 0x27D4EB2F165667C5;

    template <typename T> static uint64_t read(const std::byte *at) noexcept {
        T value;
        std::memcpy(&value, at, sizeof value);
        return value;
    }
    static uint64_t round(uint64_t lane, uint64_t input) noexcept {
        return std::rotl(lane + input * kPrime2, 31) * kPrime1;
    }
    void stripe(const std::byte *at) noexcept {
        for (size_t i = 0; i < 4; ++i) lane_[i] = round(lane_[i], read<uint64_t>(at + 8 * i));
    }

    uint64_t lane_[4] = {kPrime1 + kPrime2, kPrime2, 0, uint64_t(0) - kPrime1};
    uint64_t bytes_ = 0;
    std::byte held_[32];
    size_t n_held_ = 0;
};

}  // namespace el
