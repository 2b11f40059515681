// Ops with a state: a block walks through the tokens of one sequence in order. A captured step is launched for as many
// sequences as it may have; what it really has lies in the step's arrays.
#include "launch.h"
#include "ops.h"
#include "ops/activation.cuh"
#include "ops/reduce.cuh"

namespace el::cuda {
namespace {

constexpr int kThreads = 128;

struct Slots {
    const float *before;  // NULL: zeros
    float *after;
};
__device__ bool exists(const StateCall &c, uint32_t sequence) { return c.step.state_after[sequence] >= 0; }
__device__ Slots slots_of(const StateCall &c, uint32_t sequence, size_t offset) {
    const int32_t before = c.step.state_before[sequence];
    return {before < 0 ? nullptr : c.state + size_t(before) * c.floats + offset,
            c.state + size_t(c.step.state_after[sequence]) * c.floats + offset};
}

// Calls visit(token) for the tokens of a sequence.
template <typename Visit> __device__ void for_tokens(const Step &step, uint32_t sequence, Visit visit) {
    for (int32_t t = step.first_token[sequence]; t < step.n_tokens; ++t)
        if (step.sequence_of[t] == int32_t(sequence)) visit(size_t(t));
}

__device__ float softplus(float x) { return x > 20 ? x : log1pf(expf(x)); }

// A thread for a channel.
__global__ void short_conv_kernel(ShortConvArgs a, StateCall call, uint32_t channels) {
    begin_after_predecessor();
    const uint32_t c = blockIdx.x * kThreads + threadIdx.x;
    if (c >= channels || !exists(call, blockIdx.y)) return;
    const Slots state = slots_of(call, blockIdx.y, c);
    const uint32_t past = a.kernel - 1;
    float *window = state.after;
    for (uint32_t i = 0; i < past; ++i)
        window[size_t(i) * channels] = state.before ? state.before[size_t(i) * channels] : 0;
    const float *weight = call.weight[0] + size_t(c) * a.kernel;
    for_tokens(call.step, blockIdx.y, [&](size_t t) {
        const float x = call.in[0][t * channels + c];
        float sum = call.weight[1] ? call.weight[1][c] : 0.0f;
        for (uint32_t i = 0; i < past; ++i) sum += weight[i] * window[size_t(i) * channels];
        sum += weight[past] * x;
        call.out[t * channels + c] = a.activation == ActivationKind::kSilu ? sum * sigmoid(sum) : sum;
        for (uint32_t i = 0; i + 1 < past; ++i) window[size_t(i) * channels] = window[size_t(i + 1) * channels];
        if (past) window[size_t(past - 1) * channels] = x;
    });
}

// A block for a head of V; a thread for columns of its state. Shared memory: q, k [dim_k].
__global__ void delta_rule_kernel(DeltaRuleArgs a, StateCall call) {
    begin_after_predecessor();
    if (!exists(call, blockIdx.y)) return;
    float *shared = reinterpret_cast<float *>(dynamic_shared());
    const uint32_t h = blockIdx.x, dk = a.dim_k, dv = a.dim_v, keys = a.n_k_heads * dk, k_head = h % a.n_k_heads;
    float *q = shared, *k = shared + dk;
    const Slots state = slots_of(call, blockIdx.y, size_t(h) * dk * dv);
    float *S = state.after;
    for (uint32_t i = threadIdx.x; i < dk * dv; i += kThreads) S[i] = state.before ? state.before[i] : 0.0f;
    __syncthreads();
    for_tokens(call.step, blockIdx.y, [&](size_t t) {
        const float *row = call.in[0] + t * (2 * keys + a.n_v_heads * dv);
        const float *from_q = row + k_head * dk, *from_k = row + keys + k_head * dk;
        float qq = 0, kk = 0;
        for (uint32_t i = threadIdx.x; i < dk; i += kThreads) {
            qq += from_q[i] * from_q[i];
            kk += from_k[i] * from_k[i];
        }
        qq = rsqrtf(block_sum<kThreads>(qq) + a.epsilon) * rsqrtf(float(dk));
        kk = rsqrtf(block_sum<kThreads>(kk) + a.epsilon);
        for (uint32_t i = threadIdx.x; i < dk; i += kThreads) {
            q[i] = from_q[i] * qq;
            k[i] = from_k[i] * kk;
        }
        __syncthreads();
        const size_t at = t * a.n_v_heads + h;
        const float decay = expf(call.weight[0][h] * softplus(call.in[1][at] + call.weight[1][h]));
        const float strength = sigmoid(call.in[2][at]);
        const float *v = row + 2 * keys + h * dv;
        for (uint32_t j = threadIdx.x; j < dv; j += kThreads) {
            float seen = 0, out = 0;
            for (uint32_t i = 0; i < dk; ++i) seen += (S[size_t(i) * dv + j] *= decay) * k[i];
            const float delta = strength * (v[j] - seen);
            for (uint32_t i = 0; i < dk; ++i) out += (S[size_t(i) * dv + j] += k[i] * delta) * q[i];
            call.out[at * dv + j] = out;
        }
        __syncthreads();
    });
}

// A block for a head; a warp for rows of its state.
__global__ void selective_scan_kernel(SelectiveScanArgs a, StateCall call) {
    begin_after_predecessor();
    if (!exists(call, blockIdx.y)) return;
    const uint32_t h = blockIdx.x, dim = a.head_dim, n = a.state_dim, inner = a.n_heads * dim;
    const uint32_t group = h / (a.n_heads / a.n_groups), lane = threadIdx.x % 32;
    const Slots state = slots_of(call, blockIdx.y, size_t(h) * dim * n);
    for (uint32_t i = threadIdx.x; i < dim * n; i += kThreads) state.after[i] = state.before ? state.before[i] : 0.0f;
    __syncthreads();
    for_tokens(call.step, blockIdx.y, [&](size_t t) {
        const float *row = call.in[0] + t * (inner + 2 * a.n_groups * n);
        const float *x = row + h * dim, *B = row + inner + group * n, *C = B + a.n_groups * n;
        const size_t at = t * a.n_heads + h;
        const float step = softplus(call.in[1][at] + call.weight[2][h]), decay = expf(call.weight[0][h] * step);
        for (uint32_t d = threadIdx.x / 32; d < dim; d += kThreads / 32) {
            float *s = state.after + size_t(d) * n, sum = 0;
            for (uint32_t i = lane; i < n; i += 32) {
                s[i] = s[i] * decay + step * x[d] * B[i];
                sum += s[i] * C[i];
            }
            for (int i = 16; i > 0; i /= 2) sum += __shfl_xor_sync(~0u, sum, i);
            if (lane == 0) call.out[at * dim + d] = sum + call.weight[1][h] * x[d];
        }
    });
}

}  // namespace

void short_conv(const ShortConvArgs &args, const StateCall &call, uint32_t channels, bool early, cudaStream_t stream) {
    const dim3 grid((channels + kThreads - 1) / kThreads, call.step.n_sequences);
    allow_shared(short_conv_kernel, 0);
    launch_early(short_conv_kernel, {grid, kThreads}, stream, early, args, call, channels);
}
void delta_rule(const DeltaRuleArgs &args, const StateCall &call, bool early, cudaStream_t stream) {
    const dim3 grid(args.n_v_heads, call.step.n_sequences);
    const size_t shared_bytes = 2 * args.dim_k * sizeof(float);
    allow_shared(delta_rule_kernel, shared_bytes);
    launch_early(delta_rule_kernel, {grid, kThreads, shared_bytes}, stream, early, args, call);
}
void selective_scan(const SelectiveScanArgs &args, const StateCall &call, bool early, cudaStream_t stream) {
    const dim3 grid(args.n_heads, call.step.n_sequences);
    allow_shared(selective_scan_kernel, 0);
    launch_early(selective_scan_kernel, {grid, kThreads}, stream, early, args, call);
}

}  // namespace el::cuda
