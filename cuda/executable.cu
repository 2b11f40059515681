#include "backend/buffers.h"
#include "executable.h"
#include "packed.h"
#include "path.h"
#include "step.h"

#include <algorithm>
#include <cstring>

namespace el::cuda {

constexpr size_t kOrinShared = 163 << 10;  // bytes of a block

Chip chip_of(int32_t device) {
    cudaDeviceProp p;
    check(cudaGetDeviceProperties(&p, device), "asking a GPU what it is");
    constexpr int kOverlapInGraphs = 12030;  // graphs know launches that overlap since CUDA 12.3
    int driver = 0;
    check(cudaDriverGetVersion(&driver), "asking for the driver's version");
    if (EL_AS_ORIN) return {p.multiProcessorCount, std::min(p.sharedMemPerBlockOptin, kOrinShared), false};
    const bool early = p.major >= 9 && CUDART_VERSION >= kOverlapInGraphs && driver >= kOverlapInGraphs;
    return {p.multiProcessorCount, p.sharedMemPerBlockOptin, early};
}

Program copy_program(const ProgramView &v) {
    Program p;
    p.values.assign(v.values, v.values + v.n_values);
    p.ops.assign(v.ops, v.ops + v.n_ops);
    p.constants.assign(v.constants, v.constants + v.n_constants);
    p.cache_layers.assign(v.cache_layers, v.cache_layers + v.n_cache_layers);
    p.cache_groups.assign(v.cache_groups, v.cache_groups + v.n_cache_groups);
    p.state_layers.assign(v.state_layers, v.state_layers + v.n_state_layers);
    p.vocab = v.vocab;
    p.logits = v.logits;
    return p;
}

namespace {

size_t product(size_t a, size_t b) {
    size_t result;
    if (__builtin_mul_overflow(a, b, &result))
        throw Failure(kOutOfMemory, "%zu times %zu bytes are more than the address space holds", a, b);
    return result;
}

void check_supported(const Program &program, const LimitsView &limits, const Chip &chip) {
    for (Format format : {limits.cache_k, limits.cache_v})
        if (!plane_format_known(format))
            throw Failure(kUnsupported, "the CUDA backend has no cache in %s", format_info(format).name);
    for (const Op &op : program.ops) {
        if (op.kind == OpKind::kAttention && attention_shared_bytes(op.attention) > chip.block_shared_bytes)
            throw Failure(kUnsupported,
                          "heads of %u values do not fit into what this GPU shares within a block, %zu bytes",
                          op.attention.head_dim_k, chip.block_shared_bytes);
        for (const WeightRef &w : op.weight)
            for (const WeightRef::Side &side : w.side)
                if (side.role != SideRole::kNone)
                    throw Failure(kUnsupported, "the CUDA backend does not support weights with side tensors");
    }
}

// Whether a stage can be done as one is seen when it is.
std::vector<Stage> stages_of(const Program &program) {
    return find_stages(program, {kMatvecParts, linear_kind, [](const Op &) { return true; }});
}

BufferPlan buffers_of(const Program &program) {
    return BufferPlan(program, done_with(stages_of(program), program.ops.size()));
}

size_t host_logits_bytes(const Program &program, const LimitsView &limits) {
    return product(product(limits.step.max_outputs, program.vocab), sizeof(float));
}

size_t host_best_bytes(const LimitsView &limits) {
    return std::min(limits.step.max_outputs, kSelectRows) * sizeof(RowBest);
}

size_t matvec_scratch_of(const Program &program) {
    size_t most = 0;
    for (const Op &op : program.ops) {
        const size_t row = matvec_scratch(op.weight[0].cols);
        if (op.kind == OpKind::kLinear) most = std::max(most, row);
        if (op.kind == OpKind::kExpertLinear) most = std::max(most, row * (op.expert.own_input ? op.expert.n_used : 1));
    }
    return most * kMatvecTokens;
}

// Of the two ways that attention of few tokens is computed.
struct AttentionScratch {
    size_t fused = 0, split = 0;
};

AttentionScratch attention_scratch_of(const Program &program, const LimitsView &limits, const Executable::Memory &m) {
    const int n_multiprocessors = device_attribute(cudaDevAttrMultiProcessorCount);
    AttentionScratch bytes;
    for (const Stage &stage : stages_of(program))
        for (uint32_t i = stage.begin; i < stage.end; ++i) {
            const Op &op = program.ops[i];
            if (op.kind != OpKind::kAttention) continue;
            const AttentionArgs &a = op.attention;
            if (stage.kind == Stage::kHeads && decode_attention_supported(a, m.k[a.cache_layer], m.v[a.cache_layer]))
                bytes.fused = std::max(bytes.fused, decode_attention_scratch(a, kDecodeTokens));
            else
                bytes.split = std::max(bytes.split, attention_scratch(a, limits.step.max_pages, n_multiprocessors));
        }
    return bytes;
}

}  // namespace

Executable::Memory Executable::lay_out(const Program &program, const LimitsView &limits, Pieces &pieces,
                                       std::vector<Region> *regions) {
    Memory m;
    size_t begin = 0;
    auto add = [&](const char *name, size_t bytes, int32_t cache_group, bool on_host) {
        if (!regions) return;
        Region &region = regions->emplace_back();
        std::snprintf(region.name, sizeof region.name, "%s", name);
        region.bytes = bytes;
        region.cache_group = cache_group;
        region.on_host = on_host;
    };
    auto close = [&](const char *name, int32_t cache_group = -1) {
        add(name, pieces.used() - begin, cache_group, false);
        begin = pieces.used();
    };
    m.k.resize(program.cache_layers.size());
    m.v.resize(program.cache_layers.size());
    size_t longest = 0;
    for (uint32_t g = 0; g < program.cache_groups.size(); ++g) {
        const CacheGroup &group = program.cache_groups[g];
        size_t all = 0;
        for (size_t i = 0; i < program.cache_layers.size(); ++i) {
            if (program.cache_layers[i].group != g) continue;
            auto plane = [&](Format format, uint32_t head_dim) {
                Plane p{nullptr, format, group.n_kv_heads, head_dim, cache_row_bytes(format, head_dim)};
                const size_t page = product(product(p.row_bytes, kPageTokens), group.n_kv_heads);
                p.data = pieces.take<uint8_t>(product(page, limits.n_pages[g]));
                all += p.row_bytes * group.n_kv_heads;
                return p;
            };
            m.k[i] = plane(limits.cache_k, group.head_dim_k);
            m.k[i].rotated = limits.cache_k == Format::kQ4_0;
            m.v[i] = plane(limits.cache_v, group.head_dim_v);
        }
        longest = std::max(longest, all);
        char name[32];
        std::snprintf(name, sizeof name, "cache group %u", g);
        close(name, int32_t(g));
    }
    for (const StateLayer &layer : program.state_layers)
        m.state.push_back(pieces.take<float>(product(layer.floats, limits.step.n_state_slots)));
    if (!m.state.empty()) close("recurrent state");
    for (const ValueInfo &b : buffers_of(program).buffers)
        m.buffers.push_back(pieces.take<float>(
            product(b.rows == Rows::kTokens ? limits.step.max_tokens : limits.step.max_outputs, b.width)));
    close("activations");
    m.logits = pieces.take<float>(product(limits.step.max_outputs, program.vocab));
    close("logits");
    m.constants = pieces.take<float>(program.constants.size());
    for (int32_t *&slots : m.slots) slots = pieces.take<int32_t>(size_t(limits.step.max_pages) * kPageTokens);
    m.packed = pieces.take<uint8_t>(product(longest, kPageTokens));
    m.quantized = pieces.take<uint8_t>(matvec_scratch_of(program));
    const AttentionScratch attention = attention_scratch_of(program, limits, m);
    m.attention = pieces.take<uint8_t>(attention.fused);
    m.attention_parts = pieces.take<uint8_t>(attention.split);
    m.n_selectable = std::min(limits.step.max_outputs, kSelectRows);
    m.selection = pieces.take<uint8_t>(size_t(m.n_selectable) * select_scratch());
    m.step.limits = limits.step;
    m.step.token = reinterpret_cast<int32_t *>(pieces.take<uint8_t>(step_bytes_of(limits.step)));
    close("scratch");
    m.gemm = Gemm::lay_out(program, limits.step, pieces);
    close("prefill workspace");
    if (m.gemm.uses_blas) add("cuBLAS", Blas::kOwnBytes, -1, false);
    add("pinned step", step_bytes_of(limits.step), -1, true);
    add("pinned logits", host_logits_bytes(program, limits), -1, true);
    add("pinned best tokens", host_best_bytes(limits), -1, true);
    return m;
}

Executable::Executable(const Store &store_, const ProgramView &view, const LimitsView &limits)
    : store(store_), chip(chip_of(store_.device)), program(copy_program(view)), stages(stages_of(program)),
      buffer_of(buffers_of(program).buffer_of), turns(program), own_stream(limits.priority), stream(own_stream),
      host_step(step_bytes_of(limits.step), "memory for steps"),
      host_logits(host_logits_bytes(program, limits), "memory for logits"),
      host_best(host_best_bytes(limits), "memory for the best tokens"), context(limits.step.context),
      fetched_(limits.step.max_outputs) {
    check_supported(program, limits, chip);
    for (const Stage &stage : stages)
        for (int i = 0; i < stage.n_linears && stage.linear_kind == kPackedLinears; ++i)
            product_formats |= uint64_t{1} << uint32_t(program.ops[size_t(stage.first_linear + i)].weight[0].format);
    Pieces counted;
    lay_out(program, limits, counted);
    memory = DeviceMemory(counted.used(), "a context");
    Pieces pieces(memory.data());
    at = lay_out(program, limits, pieces);
    std::memset(host_step.data(), 0, step_bytes_of(limits.step));
    // On the stream of the steps, which does not wait for others.
    check(cudaMemsetAsync(memory.data(), 0, counted.used(), stream), "clearing a context");
    check(cudaMemcpyAsync(at.constants, program.constants.data(), program.constants.size() * sizeof(float),
                          cudaMemcpyHostToDevice, stream),
          "copying constants");
    gemm = std::make_unique<Gemm>(at.gemm, stream);
    capture();
    load_kernels();
    if (!limits.stream) return;
    stream = static_cast<cudaStream_t>(limits.stream);
    unsigned flags = 0;
    check_handle(cudaStreamGetFlags(stream, &flags), "cuda_stream");
    gemm->use(stream);
}

Rope Executable::rope_of(const Op &op) const {
    const bool is_long = op.rope.original_context && context > op.rope.original_context;
    return {op.rope, at.constants + op.rope.frequency, store.vector(op.weight[is_long ? 1 : 0])};
}

// ---- between steps

constexpr char kBetween[] = "reading or changing what a step has left";

void Executable::copy(void *to, const void *from, size_t n, cudaMemcpyKind kind) const {
    check(cudaMemcpyAsync(to, from, n, kind, stream), kBetween);
}

void Executable::settle() const {
    check(cudaGetLastError(), kBetween);
    check(cudaStreamSynchronize(stream), kBetween);
}

// One row may be the source of one and the target of another: page by page, in order.
void Executable::copy_rows(uint32_t group, const int32_t *from, const int32_t *to, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t count = 1;  // rows that none of these has written yet
        while (i + count < n && count < kPageTokens &&
               std::find(to + i, to + i + count, from[i + count]) == to + i + count)
            ++count;
        copy(at.slots[0], from + i, count * sizeof(int32_t), cudaMemcpyHostToDevice);
        copy(at.slots[1], to + i, count * sizeof(int32_t), cudaMemcpyHostToDevice);
        for_planes(group, [&](const Plane &p) { cuda::copy_rows(p, at.slots[0], at.slots[1], int(count), stream); });
        settle();
        i += count;
    }
}

void Executable::turn_keys(uint32_t group, const int32_t *slots, size_t n, int32_t positions) {
    if (n == 0) return;
    copy(at.slots[0], slots, n * sizeof(int32_t), cudaMemcpyHostToDevice);
    for (size_t i = 0; i < at.k.size(); ++i)
        if (program.cache_layers[i].group == group && turns.rope[i])
            turn_rows(at.k[i], rope_of(*turns.rope[i]), at.slots[0], int(n), positions, stream);
    settle();
}

void Executable::copy_state(int32_t from, int32_t to) {
    for (size_t i = 0; i < at.state.size(); ++i) {
        const size_t n = program.state_layers[i].floats;
        copy(at.state[i] + size_t(to) * n, at.state[i] + size_t(from) * n, n * sizeof(float), cudaMemcpyDeviceToDevice);
    }
    settle();
}

size_t Executable::row_bytes(uint32_t group) const {
    size_t bytes = 0;
    for_planes(group, [&](const Plane &p) { bytes += p.n_kv_heads * p.row_bytes; });
    return bytes;
}

void Executable::move_rows(uint32_t group, const int32_t *slots, size_t n, uint8_t *host, bool to_device) {
    const size_t stride = row_bytes(group);
    for (size_t i = 0; i < n; i += kPageTokens, host += kPageTokens * stride) {
        const size_t count = std::min<size_t>(kPageTokens, n - i);
        copy(at.slots[0], slots + i, count * sizeof(int32_t), cudaMemcpyHostToDevice);
        if (to_device) copy(at.packed, host, count * stride, cudaMemcpyHostToDevice);
        size_t offset = 0;
        for_planes(group, [&](const Plane &p) {
            pack_rows(p, at.slots[0], int(count), at.packed + offset, stride, to_device, stream);
            offset += p.n_kv_heads * p.row_bytes;
        });
        if (!to_device) copy(host, at.packed, count * stride, cudaMemcpyDeviceToHost);
        settle();
    }
}

size_t Executable::state_bytes() const {
    size_t floats = 0;
    for (const StateLayer &layer : program.state_layers) floats += layer.floats;
    return floats * sizeof(float);
}

// Bytes [begin, begin + n) of a slot, all layers one after the other.
void Executable::move_state(int32_t slot, size_t begin, size_t n, uint8_t *host, bool to_device) {
    size_t first = 0;  // byte of the layer
    for (size_t i = 0; i < at.state.size(); ++i) {
        const size_t bytes = program.state_layers[i].floats * sizeof(float), last = first + bytes;
        const size_t from = std::max(begin, first), to = std::min(begin + n, last);
        if (from < to) {
            uint8_t *mine = reinterpret_cast<uint8_t *>(at.state[i]) + size_t(slot) * bytes + (from - first);
            uint8_t *theirs = host + (from - begin);
            if (to_device)
                copy(mine, theirs, to - from, cudaMemcpyHostToDevice);
            else
                copy(theirs, mine, to - from, cudaMemcpyDeviceToHost);
        }
        first = last;
    }
    settle();
}

}  // namespace el::cuda
