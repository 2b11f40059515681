// From a program to stages: which ops run together, and where their values lie. Knows no addresses.
#pragma once
#include "backend/backend.h"
#include "backend/cpu/kernels.h"

#include <optional>

namespace el::cpu {

// One matrix of a linear or expert stage, and the ops after it that are done where its results are stored, in this
// order: a pair of linears and their gate or an activation, the sum over a token's experts, factor, soft cap, residual.
struct LinearPart {
    const Op *op = nullptr;
    const Op *gate = nullptr;  // the linear whose output is the gate's in0; NULL: none
    const Op *activation = nullptr;
    const Op *combine = nullptr;
    const Op *scale = nullptr;
    const Op *soft_cap = nullptr;
    ValueId residual = kNoValue;
    ValueId out = kNoValue;
};

// Workers wait for each other between stages, so that in a stage every worker may read what earlier stages wrote.
struct Stage {
    enum class Kind : uint8_t {
        kRows,    // ops of which each row needs only the same row of earlier ones: a worker takes some rows through all
                  // of them
        kLinear,  // activations of one value, prepared once (after a norm) for matrices that share the rows of all
                  // workers
        kExperts,  // activations of one value for the experts that one route chose
        kAttention,
        kRecurrent,
    };
    Kind kind;
    Rows rows;
    std::vector<const Op *> ops;  // kLinear, kExperts: none

    ValueId in = kNoValue;
    const Op *norm = nullptr;  // applied to `in` before; NULL: none
    bool quantized = false;
    bool new_route = false;  // kExperts: the stage of experts before had another route
    std::vector<LinearPart> parts;
};

// Cosines and sines of a step's positions.
struct RopeTable {
    const Op *op;  // the first that needs it
};

struct Plan {
    std::vector<Stage> stages;         // the first is of kind kRows over tokens
    std::vector<size_t> value_offset;  // per value, in floats; kNotStored where no other stage sees it
    std::vector<RopeTable> rope_tables;
    std::vector<uint32_t> rope_table_of;  // per op
    size_t activation_floats = 0;         // all values but the logits
    size_t prepared_bytes = 0;            // activations of the largest linear stage, as kernels want them
    size_t prepared_row_bytes = 0;        // the same for one row
    size_t gathered_bytes = 0;            // the same, rows of tokens with the same expert together
    size_t chosen_experts = 0;            // of all tokens
    size_t n_experts = 0;
    size_t row_floats = 0;        // the longest row that a worker needs
    size_t attention_floats = 0;  // scratch of one worker
    size_t state_floats = 0;      // the same, for recurrent ops
    size_t split_floats = 0;      // results of attention that is cut into parts
    size_t split_statistics = 0;

    static constexpr size_t kNotStored = ~size_t{0};
};

// Attention of so few tokens may be cut into parts, for several workers to share a head.
constexpr uint32_t kSplitTokens = 8;
constexpr uint32_t kMaxParts = 16;

// Bytes of one row of a linear stage's input as the kernels want it.
size_t prepared_row_bytes(uint32_t cols, bool quantized);

// Nothing: no kernel reads or writes it.
std::optional<CacheType> cache_type(Format format);

// The numbers of the ops that a stage does, in order; a norm that several stages repeat is one of each.
std::vector<uint32_t> ops_of(const Program &program, const Stage &stage);

// Throws kUnsupported for what the kernels cannot do.
Plan make_plan(const Program &program, const ExecutableLimits &limits, int n_threads);

}  // namespace el::cpu
