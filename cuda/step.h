// A step's block of memory, on the host and on the device.
#pragma once
#include "program/op.h"

#include <cuda_runtime.h>

#include <array>
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
using StepParts = std::array<StepPart, 16>;

// Of all arrays but the block tables.
inline StepParts parts_of(const Step &s) {
    const StepLimits &limits = s.limits;
    auto part = [&](const auto *array, int32_t n, uint32_t rows = 1, uint32_t row_size = 0) {
        constexpr uint32_t kWords = sizeof *array / sizeof(int32_t);
        const auto at = reinterpret_cast<const int32_t *>(array) - s.token;
        return StepPart{uint32_t(at), uint32_t(n) * kWords, rows, row_size * kWords};
    };
    auto of_groups = [&](const int32_t *array) { return part(array, s.n_tokens, limits.n_groups, limits.max_tokens); };
    return {part(s.token, s.n_tokens),
            part(s.embedding_row, s.n_tokens),
            part(s.position, s.n_tokens, limits.n_axes, limits.max_tokens),
            part(s.parent, s.n_tokens),
            part(s.ancestors, s.n_tokens),
            part(s.sequence_of, s.n_tokens),
            part(s.adapter_of, s.n_tokens),
            part(s.output_row, s.n_outputs),
            part(s.output_kind, s.n_outputs),
            part(s.first_token, s.n_sequences),
            part(s.state_before, s.n_sequences),
            part(s.state_after, s.n_sequences),
            part(s.length, s.n_sequences, limits.n_groups, limits.max_sequences),
            of_groups(s.slot),
            of_groups(s.visible_begin),
            of_groups(s.visible_end)};
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
