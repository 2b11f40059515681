// The kernel of cuda/ops/bring_step.cu on emulated blocks.
#include "emulation/cuda_runtime.h"

#include "step.h"

#include <algorithm>
#include <cstring>
#include <doctest/doctest.h>
#include <set>
#include <vector>

namespace {

using namespace el;

struct Block {
    std::vector<uint64_t> memory;
    Step step;
    Block(const StepLimits &limits, uint8_t filling)
        : memory(cuda::step_bytes_of(limits) / 8, 0x0101010101010101 * filling) {
        cuda::StepMemory pieces{reinterpret_cast<uint8_t *>(memory.data())};
        step = lay_out_step(limits, pieces);
    }
    int32_t *words() const { return step.token; }
};

void check(const StepLimits &limits, int32_t n_tokens, int32_t n_outputs, int32_t n_sequences) {
    Block host(limits, 1), device(limits, 2);
    for (size_t i = 0; i < 2 * host.memory.size(); ++i) host.words()[i] = int32_t(i);
    host.step.n_tokens = n_tokens;
    host.step.n_outputs = n_outputs;
    host.step.n_sequences = n_sequences;
    cuda::bring_step(host.step, reinterpret_cast<uint8_t *>(device.words()), nullptr);

    std::set<size_t> brought;  // words that the step has
    auto expect = [&](const auto *array, uint32_t rows, uint32_t row_size, int32_t n) {
        constexpr size_t kWords = sizeof *array / sizeof(int32_t);
        const size_t begin = size_t(reinterpret_cast<const int32_t *>(array) - host.words());
        for (size_t row = 0; row < rows; ++row)
            for (size_t i = 0; i < size_t(n) * kWords; ++i) brought.insert(begin + row * row_size * kWords + i);
    };
    const Step &s = host.step;
    const uint32_t groups = limits.n_groups, tokens = limits.max_tokens;
    for (const int32_t *array : {s.token, s.embedding_row, s.parent, s.sequence_of, s.adapter_of})
        expect(array, 1, 0, n_tokens);
    expect(s.position, limits.n_axes, tokens, n_tokens);
    expect(s.ancestors, 1, 0, n_tokens);
    for (const int32_t *array : {s.output_row, s.output_kind}) expect(array, 1, 0, n_outputs);
    for (const int32_t *array : {s.first_token, s.state_before, s.state_after}) expect(array, 1, 0, n_sequences);
    expect(s.length, groups, limits.max_sequences, n_sequences);
    for (const int32_t *array : {s.slot, s.visible_begin, s.visible_end}) expect(array, groups, tokens, n_tokens);

    size_t wrong = 0;
    for (size_t i = 0; i < 2 * host.memory.size(); ++i)
        wrong += device.words()[i] != (brought.count(i) ? int32_t(i) : 0x02020202);
    CHECK(wrong == 0);
}

TEST_CASE("a small step is brought, and nothing else") {
    StepLimits limits;
    limits.max_tokens = 37;
    limits.max_sequences = 3;
    limits.max_outputs = 5;
    limits.max_pages = 7;
    for (uint32_t axes : {1u, 3u})
        for (uint32_t groups : {1u, 2u, 5u}) {
            limits.n_axes = axes;
            limits.n_groups = groups;
            check(limits, 1, 1, 1);
            check(limits, 1, 0, 1);
            check(limits, 8, 5, 3);
        }
    // Of a step as large as can be all is brought: these sizes leave no gaps between arrays.
    limits.max_tokens = 32;
    limits.max_sequences = limits.max_outputs = 16;
    Block host(limits, 1), device(limits, 2);
    host.step.n_tokens = 32;
    host.step.n_sequences = host.step.n_outputs = 16;
    cuda::bring_step(host.step, reinterpret_cast<uint8_t *>(device.words()), nullptr);
    CHECK(std::memcmp(device.words(), host.words(), cuda::front_bytes(host.step)) == 0);

    limits = {};
    limits.max_tokens = limits.max_sequences = limits.max_outputs = limits.max_pages = 1;
    check(limits, 1, 1, 1);
}

}  // namespace
