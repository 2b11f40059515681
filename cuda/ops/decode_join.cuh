// Parts of an attention put together: those of a block's warps; those of the blocks of a cluster, through shared
// memory, where the chip has clusters; and, for long contexts, those of several clusters (elsewhere: blocks) through
// global memory, where the last to arrive adds them up. The order of the sums is always the same.
#pragma once
#include "cluster.cuh"
#include "ops/decode_part.cuh"

namespace el::cuda {

constexpr int kMaxGroups = 16;  // clusters that share the work for a KV head
constexpr int kMaxClusterBlocks = 8;

// Of parts with their base and total: the factor of each, and the common state.
template <int kMax> struct Weights {
    float of[kMax];
    float base = kNoScore, total = 0;
    template <typename State> __device__ Weights(int n, State state) {
        float2 states[kMax];
#pragma unroll
        for (int i = 0; i < kMax; ++i) {
            states[i] = i < n ? state(i) : float2{kNoScore, 0};
            base = fmaxf(base, states[i].x);
        }
#pragma unroll
        for (int i = 0; i < kMax; ++i) {
            of[i] = exp2_fast(states[i].x - base);
            total += of[i] * states[i].y;
        }
    }
};

// What a block has in shared memory to be joined.
template <int kDim, int kWarps, bool kClustered> struct JoinMemory {
    static constexpr int kStride = kDim + 8;  // of a head's partial result: other banks for other heads
    float2 states[kWarps][kPartHeads];        // base and total
    float2 block_states[kMaxClusterBlocks][kPartHeads];
    // From each block of the cluster its part of the heads, a slice of which is this block's.
    alignas(16) float parts[kClustered ? kPartHeads * kDim + 4 * kMaxClusterBlocks : 4];
    uint64_t received;  // mbarrier: the bytes that `parts` and `block_states` take
    bool is_last;
};

// What the clusters of a KV head meet in, for each token and blockIdx.y. Counters lie apart, as layers with heads of
// different sizes use the same memory.
template <int kDim> struct JoinScratch {
    float parts[kMaxGroups][kPartHeads * kDim];
    float2 states[kMaxGroups][kMaxClusterBlocks][kPartHeads];
};
using JoinCounters = unsigned[kMaxClusterBlocks];

template <int kDim, int kWarps, bool kClustered> struct Joiner {
    using Memory = JoinMemory<kDim, kWarps, kClustered>;
    Memory &memory;
    const float *result;  // of warp i: i * distance floats behind that of the first
    int distance, n_warps, n_heads;
    int group, n_groups;  // of clusters
    int rank, n_blocks;   // in the cluster
    float *out;           // [n_heads, kDim]
    const float *sinks;   // [n_heads] or NULL
    JoinScratch<kDim> *scratch;
    JoinCounters *arrived;

    // Of all threads of a cluster, some time before one of its blocks joins.
    __device__ static void begin(Memory &memory, int n_heads, int rank, int n_blocks) {
        const int n = n_heads * kDim / 4, slice = (n + n_blocks - 1) / n_blocks, mine = min(slice, n - rank * slice);
        if (threadIdx.x == 0)
            expect(&memory.received,
                   uint32_t(n_blocks) * (uint32_t(max(mine, 0)) * sizeof(float4) + kPartHeads * sizeof(float2)));
        arrive_in_cluster();
    }

    __device__ void join() const {
        if constexpr (kClustered) exchange();
#pragma unroll 1
        for (int i = int(threadIdx.x); i < 4 * slice(); i += 32 * kWarps) {
            const int at = 4 * rank * slice() + i, head = at / kDim;
            if (at >= 4 * n()) break;
            if constexpr (kClustered) {
                const Weights<kMaxClusterBlocks> weights(n_blocks, [&](int b) { return memory.block_states[b][head]; });
                float sum = 0;
#pragma unroll
                for (int b = 0; b < kMaxClusterBlocks; ++b)
                    if (b < n_blocks) sum += weights.of[b] * memory.parts[4 * b * slice() + i];
                put(at, sum, weights);
            } else {
                const Weights<kWarps> weights = warp_weights(head);
                float sum = 0;
                for (int w = 0; w < kWarps; ++w)
                    if (w < n_warps) sum += weights.of[w] * result[w * distance + head * Memory::kStride + at % kDim];
                put(at, sum, weights);
            }
        }
        if (n_groups > 1 && is_last()) join_groups();
    }

  private:
    __device__ int n() const { return n_heads * kDim / 4; }                   // groups of four values of one head
    __device__ int slice() const { return (n() + n_blocks - 1) / n_blocks; }  // of a block of the cluster
    __device__ float factor(const auto &weights, int head) const {
        return last_factor(weights.base, weights.total, sinks ? sinks + head : nullptr);
    }
    __device__ Weights<kWarps> warp_weights(int head) const {
        return Weights<kWarps>(n_warps, [&](int w) { return memory.states[w][head]; });
    }

    template <typename W> __device__ void put(int at, float sum, const W &weights) const {
        const int head = at / kDim;
        if (n_groups == 1) {
            out[at] = sum * factor(weights, head);
            return;
        }
        scratch->parts[group][at] = sum;
        if (at % kDim == 0 || at == 4 * rank * slice())
            scratch->states[group][rank][head] = {weights.base, weights.total};
    }

    __device__ void exchange() const;
    __device__ bool is_last() const;
    __device__ void join_groups() const;
};

// Each block gets a slice of all heads' values from each block of its cluster.
template <int kDim, int kWarps, bool kClustered> __device__ void Joiner<kDim, kWarps, kClustered>::exchange() const {
    wait_for_cluster();  // all blocks expect what comes
#pragma unroll 1
    for (int i = int(threadIdx.x); i < n(); i += 32 * kWarps) {
        const int to = i / slice(), head = 4 * i / kDim;
        const Weights<kWarps> weights = warp_weights(head);
        float4 sum = {};
#pragma unroll
        for (int w = 0; w < kWarps; ++w) {
            if (w >= n_warps) break;
            const float4 x =
                *reinterpret_cast<const float4 *>(result + w * distance + head * Memory::kStride + 4 * i % kDim);
            sum.x += weights.of[w] * x.x;
            sum.y += weights.of[w] * x.y;
            sum.z += weights.of[w] * x.z;
            sum.w += weights.of[w] * x.w;
        }
        send(address_in(uint32_t(to), memory.parts + 4 * (rank * slice() + i - to * slice())),
             address_in(uint32_t(to), &memory.received), sum);
    }
    for (int i = int(threadIdx.x); i < n_blocks * kPartHeads; i += 32 * kWarps) {
        const uint32_t to = uint32_t(i / kPartHeads);
        const Weights<kWarps> weights = warp_weights(i % kPartHeads);
        send(address_in(to, &memory.block_states[rank][i % kPartHeads]), address_in(to, &memory.received),
             float2{weights.base, weights.total});
    }
    wait_for_bytes(&memory.received);
}

// Whether the other clusters have put their parts of this block's slice.
template <int kDim, int kWarps, bool kClustered> __device__ bool Joiner<kDim, kWarps, kClustered>::is_last() const {
    const auto last = unsigned(n_groups - 1);
    __syncthreads();
    if (threadIdx.x == 0) memory.is_last = count_arrival(&(*arrived)[rank], last) == last;
    __syncthreads();
    return memory.is_last;
}

template <int kDim, int kWarps, bool kClustered> __device__ void Joiner<kDim, kWarps, kClustered>::join_groups() const {
#pragma unroll 1
    for (int i = int(threadIdx.x); i < 4 * slice(); i += 32 * kWarps) {
        const int at = 4 * rank * slice() + i, head = at / kDim;
        if (at >= 4 * n()) break;
        float part[kMaxGroups];
#pragma unroll
        for (int g = 0; g < kMaxGroups; ++g) part[g] = g < n_groups ? __ldcg(&scratch->parts[g][at]) : 0.0f;
        const Weights<kMaxGroups> weights(n_groups, [&](int g) { return __ldcg(&scratch->states[g][rank][head]); });
        float sum = 0;
#pragma unroll
        for (int g = 0; g < kMaxGroups; ++g) sum += weights.of[g] * part[g];
        out[at] = sum * factor(weights, head);
    }
}

}  // namespace el::cuda
