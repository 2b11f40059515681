// A hash from text to token id, whose texts lie elsewhere: open addressing, eight bytes a slot.
#pragma once
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace el {

inline uint64_t hash_mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// The files are hostile: with a hash known in advance, one could be made whose every key collides.
inline uint64_t hash_seed(const void *where) {
    auto now = static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    return hash_mix(now ^ 0x9E3779B97F4A7C15u, reinterpret_cast<uintptr_t>(where) ^ 0xD1B54A32D192ED03u);
}

inline uint64_t hash_text(std::string_view text, uint64_t seed) {
    const uint64_t multiplier = seed ^ 0xA0761D6478BD642Fu;
    uint64_t hash = hash_mix(seed ^ text.size(), multiplier);
    while (!text.empty()) {
        uint64_t word = 0;
        size_t n = text.size() < sizeof word ? text.size() : sizeof word;
        std::memcpy(&word, text.data(), n);
        hash = hash_mix(hash ^ word, multiplier);
        text.remove_prefix(n);
    }
    return hash;
}

// The slots for `count` keys: a power of two, at most two thirds full.
inline size_t hash_capacity(size_t count) {
    size_t capacity = 16;
    while (capacity < count + count / 2) capacity *= 2;
    return capacity;
}

class TextIndex {
  public:
    explicit TextIndex(size_t max_count = 0) : seed_(hash_seed(this)), slots_(hash_capacity(max_count)) {}

    uint64_t hash(std::string_view text) const { return hash_text(text, seed_); }
    void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]); }

    // `text_of(id)` is the text of an id that was inserted. Returns -1 if there is none.
    template <typename TextOf> int32_t find(std::string_view text, uint64_t hash, const TextOf &text_of) const {
        return slots_[locate(text, hash, text_of)].id;
    }
    template <typename TextOf> int32_t find(std::string_view text, const TextOf &text_of) const {
        return find(text, hash(text), text_of);
    }

    // Returns -1, or the id that already has this text (then nothing changes).
    template <typename TextOf> int32_t insert(std::string_view text, int32_t id, const TextOf &text_of) {
        uint64_t hash = this->hash(text);
        Slot &slot = slots_[locate(text, hash, text_of)];
        if (slot.id >= 0) return slot.id;
        slot = {static_cast<uint32_t>(hash >> 32), id};
        return -1;
    }

    size_t memory_bytes() const { return slots_.capacity() * sizeof(Slot); }

  private:
    struct Slot {
        uint32_t tag = 0;  // the hash's upper half, so that most others are told apart without a look at the text
        int32_t id = -1;
    };
    template <typename TextOf> size_t locate(std::string_view text, uint64_t hash, const TextOf &text_of) const {
        size_t mask = slots_.size() - 1, i = hash & mask;
        auto tag = static_cast<uint32_t>(hash >> 32);
        while (slots_[i].id >= 0 && (slots_[i].tag != tag || text_of(slots_[i].id) != text)) i = (i + 1) & mask;
        return i;
    }
    uint64_t seed_ = 0;
    std::vector<Slot> slots_;
};

}  // namespace el
