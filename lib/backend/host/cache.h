// KV cache and recurrent state in host memory, as the reference and the CPU backend share them: pages of 32 rows,
// [layer][page][kv head][row of the page][values] for K and for V, and slots of float32 state.
#pragma once
#include "backend/backend.h"

#include <algorithm>
#include <functional>

namespace el {

// K or V of one cache layer.
struct CachePlane {
    std::byte *data = nullptr;
    Format format = Format::kF32;
    uint32_t n_kv_heads = 0, head_dim = 0;
    size_t row_bytes = 0;
    bool rotated = false;  // each row, by host::rotate()

    std::byte *row(int32_t slot, uint32_t kv_head) const {
        const size_t page = size_t(slot) / kPageTokens, in_page = size_t(slot) % kPageTokens;
        return data + ((page * n_kv_heads + kv_head) * kPageTokens + in_page) * row_bytes;
    }
    size_t values() const {  // of a row, with the zeros that fill up its last block
        const FormatInfo &f = format_info(format);
        return row_bytes / f.bytes * f.values;
    }
};

class HostCache final : public CacheMemory {
  public:
    HostCache() = default;
    // Takes memory from an Arena, or only counts with an ArenaSizer; close(name, cache group or -1) is called after
    // each region. Throws kOutOfMemory for sizes that overflow.
    template <typename A, typename Close>
    HostCache(const Program &program, const ExecutableLimits &limits, A &arena, Close close);
    // The divisors of a rope's frequencies, which the weights hold; NULL: none.
    using Factors = std::function<const float *(const Op &rope)>;
    void find_turns(const Factors &factors);

    const CachePlane &k(uint32_t cache_layer) const { return k_[cache_layer]; }
    const CachePlane &v(uint32_t cache_layer) const { return v_[cache_layer]; }
    float *state(uint32_t state_layer, int32_t slot) const {
        return state_[state_layer] + size_t(slot) * program_->state_layers[state_layer].floats;
    }

    bool can_turn_keys() const noexcept override { return can_turn_; }
    void copy_rows(uint32_t group, const int32_t *from, const int32_t *to, size_t n) noexcept override;
    void turn_keys(uint32_t group, const int32_t *slots, size_t n, int32_t positions) noexcept override;
    void copy_state(int32_t from, int32_t to) noexcept override;
    size_t row_bytes(uint32_t group) const noexcept override;
    void read_rows(uint32_t group, const int32_t *slots, size_t n, std::byte *out) const noexcept override;
    void write_rows(uint32_t group, const int32_t *slots, size_t n, const std::byte *in) noexcept override;
    size_t state_bytes() const noexcept override;
    void read_state(int32_t slot, size_t begin, size_t n, std::byte *out) const noexcept override;
    void write_state(int32_t slot, size_t begin, size_t n, const std::byte *in) noexcept override;

  private:
    struct Turn {
        const RopeArgs *rope = nullptr;  // NULL: keys do not know their position
        const float *factors = nullptr;
    };
    template <typename Visit> void for_planes(uint32_t group, Visit visit) const;
    template <typename Visit> void for_state(int32_t slot, size_t begin, size_t n, Visit visit) const;
    void turn(const CachePlane &plane, const Turn &turn, int32_t slot) noexcept;

    const Program *program_ = nullptr;
    std::vector<CachePlane> k_, v_;  // per cache layer
    std::vector<float *> state_;     // per state layer: [n_state_slots, floats]
    std::vector<Turn> turns_;        // per cache layer
    bool can_turn_ = true;
    float *row_ = nullptr;  // one row, decoded
    float *cos_ = nullptr;  // [2, longest head / 2] cosines and sines
};

// ---- its memory

namespace host {
CachePlane plane(const CacheGroup &group, Format format, uint32_t head_dim);
// Keys of 4 bits are turned first: a few channels of a head would otherwise leave nothing of the others.
inline bool rotates_keys(Format format) { return format == Format::kQ4_0; }
// Bytes of all layers' planes of a group. Throws kOutOfMemory.
size_t plane_bytes(const CachePlane &plane, const CacheGroup &group, uint32_t n_pages);
size_t state_floats(const StateLayer &layer, uint32_t n_slots);
}  // namespace host

template <typename A, typename Close>
HostCache::HostCache(const Program &program, const ExecutableLimits &limits, A &arena, Close close)
    : program_(&program), k_(program.cache_layers.size()), v_(program.cache_layers.size()),
      turns_(program.cache_layers.size()) {
    size_t longest = 0;
    for (uint32_t g = 0; g < program.cache_groups.size(); ++g) {
        const CacheGroup &group = program.cache_groups[g];
        CachePlane k = host::plane(group, limits.cache_k, group.head_dim_k),
                   v = host::plane(group, limits.cache_v, group.head_dim_v);
        k.rotated = host::rotates_keys(limits.cache_k);
        const size_t k_bytes = host::plane_bytes(k, group, limits.n_pages[g]),
                     v_bytes = host::plane_bytes(v, group, limits.n_pages[g]);
        k.data = arena.template take<std::byte>(k_bytes);
        v.data = arena.template take<std::byte>(v_bytes);
        longest = std::max({longest, k.values(), v.values()});
        for (uint32_t i = 0; i < program.cache_layers.size(); ++i) {
            const CacheLayer &layer = program.cache_layers[i];
            if (layer.group != g) continue;
            k_[i] = k;
            v_[i] = v;
            if (!k.data) continue;
            k_[i].data += k_bytes / group.n_layers * layer.index;
            v_[i].data += v_bytes / group.n_layers * layer.index;
        }
        close("cache group " + std::to_string(g), int32_t(g));
    }
    for (const StateLayer &layer : program.state_layers)
        state_.push_back(arena.template take<float>(host::state_floats(layer, limits.step.n_state_slots)));
    if (!state_.empty()) close("recurrent state", -1);
    row_ = arena.template take<float>(longest);
    cos_ = arena.template take<float>(longest);
}

}  // namespace el
