// The n best of a row in two passes. The first cuts the row into parts, each spread over all of it, and finds the best
// token of each: the n-th best of these is a token that at least n reach, and with many parts few more do. The second
// collects those that reach it and puts them in order. What blocks have found is finished by the last of them.
#include "ops/select.h"

#include "launch.h"

#include <cfloat>
#include <cmath>

namespace el::cuda {
namespace {

constexpr int kThreads = 1024, kWarps = kThreads / 32, kBlocks = 32;
constexpr uint32_t kParts = kBlocks * kWarps, kRun = 8;  // a part is a warp's; it has runs of so many neighbours
constexpr uint32_t kMostCollected = 2048;
static_assert(kParts == kThreads && kParts > kMaxBest);

// Of a row. A rank is larger for a larger logit, then for a lower id, and 0 for a token that is impossible.
struct Scratch {
    uint64_t best[kParts];
    float sum[kParts];  // of e^(logit - best) of the part
    uint64_t collected[kMostCollected];
    uint64_t least;  // the rank from which on tokens are collected
    uint32_t n_collected, done;
};

__device__ float usable(float x) {
    const float number = x > -INFINITY ? x : -INFINITY;
    return number < FLT_MAX ? number : FLT_MAX;
}

__device__ uint64_t rank_of(float x, uint32_t id) {
    if (x == -INFINITY) return 0;
    uint32_t bits = __float_as_uint(x + 0.0f);       // no negative zero
    bits ^= bits >> 31 ? 0xFFFFFFFFu : 0x80000000u;  // float order as integer order
    return uint64_t(bits) << 32 | uint32_t(~id);
}
__device__ float logit_of(uint64_t rank) {
    if (rank == 0) return -INFINITY;
    const uint32_t bits = uint32_t(rank >> 32);
    return __uint_as_float(bits ^ (bits >> 31 ? 0x80000000u : 0xFFFFFFFFu));
}

// The best of some tokens, and their sum of e^(logit - best).
struct Found {
    uint64_t best;
    float sum;
};

__device__ Found join(Found a, Found b) {
    const uint64_t best = max(a.best, b.best);
    if (best == 0) return {0, 0};
    const float most = logit_of(best);
    return {best, a.sum * expf(logit_of(a.best) - most) + b.sum * expf(logit_of(b.best) - most)};
}

__device__ Found join_warp(Found f) {
    for (int i = 16; i > 0; i /= 2) f = join(f, {__shfl_xor_sync(~0u, f.best, i), __shfl_xor_sync(~0u, f.sum, i)});
    return f;
}

// Whether this block is the last of its row to come here; it then sees what the others have written.
__device__ bool is_last(uint32_t *done) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicInc(done, kBlocks - 1) == kBlocks - 1;
    __syncthreads();
    if (last) __threadfence();
    return last;
}

// A rank that at least n parts reach, but hardly more: the n-th best of theirs, from its leading bits down.
__device__ uint64_t least_rank(uint64_t best_of_part, int n) {
    uint64_t least = 0;
    for (int bit = 63; bit >= 0; --bit) {
        const uint64_t higher = least | uint64_t(1) << bit;
        const int reached = __syncthreads_count(best_of_part >= higher);
        if (reached >= n) least = higher;
        if (reached == n) break;
    }
    return max(least, uint64_t(1));
}

__global__ void __launch_bounds__(kThreads) survey_kernel(SelectCall c) {
    __shared__ Found of_warp[kWarps];
    let_successor_start();
    const float *x = c.logits + size_t(blockIdx.y) * c.vocab;
    Scratch &s = reinterpret_cast<Scratch *>(c.scratch)[blockIdx.y];
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, part = blockIdx.x * kWarps + warp;
    Found found = {0, 0};
    for (uint32_t i = (lane / kRun * kParts + part) * kRun + lane % kRun; i < c.vocab; i += 32 * kParts)
        found = join(found, {rank_of(usable(x[i]), i), 1});
    found = join_warp(found);
    if (lane == 0) {
        s.best[part] = found.best;
        s.sum[part] = found.sum;
    }
    if (!is_last(&s.done)) return;

    const Found mine = {__ldcg(&s.best[threadIdx.x]), __ldcg(&s.sum[threadIdx.x])};
    found = join_warp(mine);
    if (lane == 0) of_warp[warp] = found;
    __syncthreads();
    found = join_warp(of_warp[lane]);
    RowBest &out = c.out[blockIdx.y];
    if (threadIdx.x == 0) {
        out.sum = found.sum;
        out.n = found.best > 0;
        out.ids[0] = int32_t(~uint32_t(found.best));
        out.logits[0] = logit_of(found.best);
        s.n_collected = 0;
    }
    if (c.n == 1) return;
    const uint64_t least = c.vocab <= kMostCollected ? 1 : least_rank(mine.best, c.n);
    if (threadIdx.x == 0) s.least = least;
}

__global__ void __launch_bounds__(kThreads) collect_kernel(SelectCall c) {
    __shared__ uint64_t ranks[kMostCollected], ordered[kMaxBest];
    const float *x = c.logits + size_t(blockIdx.y) * c.vocab;
    Scratch &s = reinterpret_cast<Scratch *>(c.scratch)[blockIdx.y];
    wait_for_predecessor();
    const uint64_t least = __ldcg(&s.least);
    for (uint32_t i = blockIdx.x * kThreads + threadIdx.x; i < c.vocab; i += kBlocks * kThreads) {
        const uint64_t rank = rank_of(usable(x[i]), i);
        if (rank < least) continue;
        const uint32_t at = atomicAdd(&s.n_collected, 1u);
        if (at < kMostCollected) s.collected[at] = rank;
    }
    if (!is_last(&s.done)) return;

    const uint32_t n = __ldcg(&s.n_collected);
    RowBest &out = c.out[blockIdx.y];
    if (n > kMostCollected) {
        if (threadIdx.x == 0) out.n = -1;
        return;
    }
    for (uint32_t i = threadIdx.x; i < n; i += kThreads) ranks[i] = __ldcg(&s.collected[i]);
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < n; i += kThreads) {
        uint32_t place = 0;
        for (uint32_t k = 0; k < n; ++k) place += ranks[k] > ranks[i];
        if (place < uint32_t(c.n)) ordered[place] = ranks[i];
    }
    __syncthreads();
    const uint32_t kept = min(n, uint32_t(c.n));
    if (threadIdx.x < kept) {
        out.ids[threadIdx.x] = int32_t(~uint32_t(ordered[threadIdx.x]));
        out.logits[threadIdx.x] = logit_of(ordered[threadIdx.x]);
    }
    if (threadIdx.x == 0) out.n = int32_t(kept);
}

}  // namespace

size_t select_scratch() { return sizeof(Scratch); }

void select_best(const SelectCall &call, bool early, cudaStream_t stream) {
    const Grid grid = {{kBlocks, unsigned(call.rows)}, {kThreads}};
    launch_early(survey_kernel, grid, stream, false, call);
    if (call.n > 1) launch_early(collect_kernel, grid, stream, early, call);
}

}  // namespace el::cuda
