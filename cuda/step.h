// A step's block of memory, on the host and on the device.
#pragma once
#include "program/op.h"

#include <cuda_runtime.h>

#include <cassert>
#include <type_traits>

namespace el::cuda {

// The step as it lies elsewhere: the same offsets from `base` as from step.token.
inline Step moved_step(const Step &step, uint8_t *base) {
    Step s = step;
    auto move = [&](auto *&array) {
        const auto *first = reinterpret_cast<const uint8_t *>(step.token);
        array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(
            base + (reinterpret_cast<const uint8_t *>(array) - first));
    };
    move(s.token);
    move(s.embedding_row);
    move(s.position);
    move(s.parent);
    move(s.ancestors);
    move(s.sequence_of);
    move(s.adapter_of);
    move(s.output_row);
    move(s.output_kind);
    move(s.first_token);
    move(s.state_before);
    move(s.state_after);
    move(s.length);
    move(s.slot);
    move(s.visible_begin);
    move(s.visible_end);
    move(s.block_table);
    return s;
}

// Of all arrays but the block tables.
inline size_t front_bytes(const Step &step) {
    return size_t(reinterpret_cast<const uint8_t *>(step.block_table) - reinterpret_cast<const uint8_t *>(step.token));
}

// What a step of its size has of an array: `rows` runs of `words` 32-bit words, the first at `at`, others `stride`
// behind each other; counted in words from step.token on.
struct StepPart {
    uint32_t at, words, rows, stride;
};
struct StepParts {
    static constexpr int kMost = 16;
    StepPart part[kMost];
    int n = 0;
};

// Of all arrays but the block tables.
inline StepParts parts_of(const Step &s) {
    StepParts parts;
    auto add = [&](const auto *array, int32_t n, uint32_t rows, uint32_t row_size) {
        assert(parts.n < StepParts::kMost);
        constexpr uint32_t kWords = sizeof *array / sizeof(int32_t);
        const auto at = reinterpret_cast<const int32_t *>(array) - s.token;
        parts.part[parts.n++] = {uint32_t(at), uint32_t(n) * kWords, rows, row_size * kWords};
    };
    const StepLimits &limits = s.limits;
    for (const int32_t *array : {s.token, s.embedding_row, s.parent, s.sequence_of, s.adapter_of})
        add(array, s.n_tokens, 1, 0);
    add(s.position, s.n_tokens, limits.n_axes, limits.max_tokens);
    add(s.ancestors, s.n_tokens, 1, 0);
    for (const int32_t *array : {s.output_row, s.output_kind}) add(array, s.n_outputs, 1, 0);
    for (const int32_t *array : {s.first_token, s.state_before, s.state_after}) add(array, s.n_sequences, 1, 0);
    add(s.length, s.n_sequences, limits.n_groups, limits.max_sequences);
    for (const int32_t *array : {s.slot, s.visible_begin, s.visible_end})
        add(array, s.n_tokens, limits.n_groups, limits.max_tokens);
    return parts;
}

// Brings a small step's arrays from pinned memory of the host to the device. One kernel, as a copy by the copy engine
// takes longer to start, and kernels to start behind it.
void bring_step(const Step &host, uint8_t *device, cudaStream_t stream);

// Divides memory as Arena does on the host.
struct StepMemory {
    uint8_t *base = nullptr;
    size_t used = 0;
    template <typename T> T *take(size_t n) {
        T *piece = base ? reinterpret_cast<T *>(base + used) : nullptr;
        used = (used + n * sizeof(T) + 63) / 64 * 64;
        return piece;
    }
};

inline size_t step_bytes_of(const StepLimits &limits) {
    StepMemory counted;
    lay_out_step(limits, counted);
    return counted.used;
}

}  // namespace el::cuda
