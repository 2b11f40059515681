// A step's block of memory, on the host and on the device.
#pragma once
#include "program/op.h"

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
