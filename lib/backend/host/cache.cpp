#include "backend/host/cache.h"
#include "backend/host/rotation.h"
#include "program/key_turns.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace el {

CachePlane host::plane(const CacheGroup &group, Format format, uint32_t head_dim) {
    return {nullptr, format, group.n_kv_heads, head_dim, cache_row_bytes(format, head_dim), false};
}

size_t host::plane_bytes(const CachePlane &plane, const CacheGroup &group, uint32_t n_pages) {
    size_t bytes;
    if (__builtin_mul_overflow(plane.row_bytes * kPageTokens, size_t(plane.n_kv_heads), &bytes) ||
        __builtin_mul_overflow(bytes, size_t(group.n_layers), &bytes) ||
        __builtin_mul_overflow(bytes, size_t(n_pages), &bytes))
        fail(Status::kOutOfMemory, "a cache of {} pages of {} layers is more than the address space holds", n_pages,
             group.n_layers);
    return bytes;
}

size_t host::state_floats(const StateLayer &layer, uint32_t n_slots) {
    size_t floats;
    if (__builtin_mul_overflow(layer.floats, size_t(n_slots), &floats))
        fail(Status::kOutOfMemory, "{} slots of recurrent state are more than the address space holds", n_slots);
    return floats;
}

void HostCache::find_turns(const Factors &factors) {
    const KeyTurns found(*program_);
    can_turn_ = found.can_turn;
    for (size_t i = 0; i < turns_.size(); ++i)
        if (const Op *op = found.rope[i]) turns_[i] = {&op->rope, factors(*op)};
}

// Calls visit(plane, cache layer) for K and V of all layers of a group, in a fixed order.
template <typename Visit> void HostCache::for_planes(uint32_t group, Visit visit) const {
    for (uint32_t i = 0; i < k_.size(); ++i) {
        if (program_->cache_layers[i].group != group) continue;
        visit(k_[i]);
        visit(v_[i]);
    }
}

void HostCache::copy_rows(uint32_t group, const int32_t *from, const int32_t *to, size_t n) noexcept {
    for_planes(group, [&](const CachePlane &p) {
        for (size_t i = 0; i < n; ++i)
            for (uint32_t h = 0; h < p.n_kv_heads; ++h) std::memcpy(p.row(to[i], h), p.row(from[i], h), p.row_bytes);
    });
}

void HostCache::turn_keys(uint32_t group, const int32_t *slots, size_t n, int32_t positions) noexcept {
    for (uint32_t layer = 0; layer < k_.size(); ++layer) {
        const Turn &t = turns_[layer];
        if (program_->cache_layers[layer].group != group || !t.rope) continue;
        const uint32_t half = t.rope->dims / 2;
        for (uint32_t i = 0; i < half; ++i) {
            const double angle = double(program_->constants[t.rope->frequency + i]) / (t.factors ? t.factors[i] : 1.0f);
            cos_[i] = float(std::cos(angle * positions));
            cos_[half + i] = float(std::sin(angle * positions));
        }
        for (size_t i = 0; i < n; ++i) turn(k_[layer], t, slots[i]);
    }
}

void HostCache::turn(const CachePlane &plane, const Turn &t, int32_t slot) noexcept {
    const FormatInfo &format = format_info(plane.format);
    const uint32_t half = t.rope->dims / 2;
    const bool interleaved = t.rope->pairs == RopePairs::kInterleaved;
    for (uint32_t h = 0; h < plane.n_kv_heads; ++h) {
        std::byte *row = plane.row(slot, h);
        format.decode(row, plane.values(), row_);
        if (plane.rotated) host::rotate_back(row_, plane.head_dim);
        for (uint32_t i = 0; i < half; ++i) {
            float &a = row_[interleaved ? 2 * i : i], &b = row_[interleaved ? 2 * i + 1 : i + half];
            const float x = a, y = b;
            a = x * cos_[i] - y * cos_[half + i];
            b = x * cos_[half + i] + y * cos_[i];
        }
        if (plane.rotated) host::rotate(row_, plane.head_dim);
        format.encode(row_, plane.values(), row);
    }
}

void HostCache::copy_state(int32_t from, int32_t to) noexcept {
    for (uint32_t i = 0; i < state_.size(); ++i)
        std::copy_n(state(i, from), program_->state_layers[i].floats, state(i, to));
}

size_t HostCache::row_bytes(uint32_t group) const noexcept {
    size_t bytes = 0;
    for_planes(group, [&](const CachePlane &p) { bytes += p.n_kv_heads * p.row_bytes; });
    return bytes;
}

void HostCache::read_rows(uint32_t group, const int32_t *slots, size_t n, std::byte *out) const noexcept {
    for (size_t i = 0; i < n; ++i)
        for_planes(group, [&](const CachePlane &p) {
            for (uint32_t h = 0; h < p.n_kv_heads; ++h, out += p.row_bytes)
                std::memcpy(out, p.row(slots[i], h), p.row_bytes);
        });
}

void HostCache::write_rows(uint32_t group, const int32_t *slots, size_t n, const std::byte *in) noexcept {
    for (size_t i = 0; i < n; ++i)
        for_planes(group, [&](const CachePlane &p) {
            for (uint32_t h = 0; h < p.n_kv_heads; ++h, in += p.row_bytes)
                std::memcpy(p.row(slots[i], h), in, p.row_bytes);
        });
}

size_t HostCache::state_bytes() const noexcept {
    size_t floats = 0;
    for (const StateLayer &layer : program_->state_layers) floats += layer.floats;
    return floats * sizeof(float);
}

// Calls visit(bytes, n) for the parts that bytes [begin, begin + n) of a slot have in each layer.
template <typename Visit> void HostCache::for_state(int32_t slot, size_t begin, size_t n, Visit visit) const {
    for (uint32_t i = 0; i < state_.size() && n > 0; ++i) {
        const size_t bytes = program_->state_layers[i].floats * sizeof(float),
                     part = std::min(bytes - std::min(begin, bytes), n);
        if (part > 0) visit(reinterpret_cast<std::byte *>(state(i, slot)) + begin, part);
        begin -= std::min(begin, bytes);
        n -= part;
    }
}

void HostCache::read_state(int32_t slot, size_t begin, size_t n, std::byte *out) const noexcept {
    for_state(slot, begin, n, [&](const std::byte *bytes, size_t part) {
        std::memcpy(out, bytes, part);
        out += part;
    });
}

void HostCache::write_state(int32_t slot, size_t begin, size_t n, const std::byte *in) noexcept {
    for_state(slot, begin, n, [&](std::byte *bytes, size_t part) {
        std::memcpy(bytes, in, part);
        in += part;
    });
}

}  // namespace el
