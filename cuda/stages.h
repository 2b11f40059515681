// A program cut into stages: runs of ops that are done as one, most of them in steps of few tokens only.
#pragma once
#include "program/op.h"

#include <cstddef>
#include <functional>
#include <vector>

namespace el::cuda {

struct Stage {
    enum Kind : uint8_t {
        kSingle,    // one op
        kProducts,  // (a norm,) linears of one input (, a gate of two of them, or an addition to the only one)
        kHeads,     // (norms, ropes of q and k, a cache write,) attention
        kNormAdd,   // a norm and an addition to it, of any number of tokens
    } kind = kSingle;
    uint32_t begin = 0, end = 0;  // ops

    // kProducts (and kNormAdd: norm and add): ops, -1: none
    int32_t norm = -1, first_linear = -1, n_linears = 0, gate = -1, add = -1;
    int linear_kind = 0;  // of its linears, as StageRules has it
    bool odd = false;     // the first with linears of this kind, the third, ...
    bool amid = false;    // one with linears of this kind comes right before and right after
    // kHeads: ops; -1: none
    int32_t q_norm = -1, k_norm = -1, v_norm = -1, q_rope = -1, k_rope = -1, write = -1, attention = -1;
    ValueId q = kNoValue, k = kNoValue, v = kNoValue;  // as they enter
};

struct StageRules {
    int max_linears = 1;
    std::function<int(const Op &)> linear_kind;  // those of one kind can be one stage; 0: it is none
    std::function<bool(const Op &)> attention;   // whether it can be part of a stage
};
// Linears of packed formats go together, and those of one format of floats.
constexpr int kPackedLinears = 1;
int linear_kind(const Op &op);

std::vector<Stage> find_stages(const Program &program, const StageRules &rules);

// For BufferPlan: the last op of each op's stage. But a norm's input is not kept for the addition to it: each thread of
// norm() writes only where it alone has read.
std::vector<uint32_t> done_with(const std::vector<Stage> &stages, size_t n_ops);

}  // namespace el::cuda
