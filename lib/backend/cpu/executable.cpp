#include "backend/cpu/executable.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace el::cpu {
namespace {

CacheType cache_type(Format format) { return format == Format::kF32 ? CacheType::kF32 : CacheType::kF16; }

size_t used_bytes(const Arena &arena) { return arena.used(); }
size_t used_bytes(const ArenaSizer &sizer) { return sizer.bytes(); }

// a * b * c * d, or a failure.
size_t product(size_t a, size_t b, size_t c, size_t d) {
    size_t result;
    if (__builtin_mul_overflow(a, b, &result) || __builtin_mul_overflow(result, c, &result) ||
        __builtin_mul_overflow(result, d, &result))
        fail(Status::kOutOfMemory, "a context of {} x {} x {} x {} bytes is more than the address space holds", a, b, c,
             d);
    return result;
}

}  // namespace

template <typename A> Memory CpuExecutable::lay_out(const Program &program, const Plan &plan,
                                                    const ExecutableLimits &limits, int n_threads, A &arena,
                                                    std::vector<MemoryRegion> *regions) {
    Memory m;
    size_t begin = used_bytes(arena);
    auto close = [&](const char *name) {
        if (regions) regions->push_back({"cpu", name, used_bytes(arena) - begin});
        begin = used_bytes(arena);
    };
    for (size_t g = 0; g < program.cache_groups.size(); g++) {
        const CacheGroup &group = program.cache_groups[g];
        Memory::Planes &planes = m.cache.emplace_back();
        planes.k_row_bytes = cache_row_bytes(limits.cache_k, group.head_dim_k);
        planes.v_row_bytes = cache_row_bytes(limits.cache_v, group.head_dim_v);
        const size_t heads = size_t(group.n_kv_heads) * kPageTokens;
        planes.k = arena.template take<uint8_t>(product(group.n_layers, limits.n_pages[g], heads, planes.k_row_bytes));
        planes.v = arena.template take<uint8_t>(product(group.n_layers, limits.n_pages[g], heads, planes.v_row_bytes));
    }
    close("cache");
    m.values = arena.template take<float>(plan.activation_floats);
    close("activations");
    m.logits = arena.template take<float>(product(limits.step.max_outputs, program.vocab, 1, 1));
    close("logits");
    m.prepared = arena.template take<uint8_t>(plan.prepared_bytes);
    for (const RopeTable &t : plan.rope_tables)
        m.rope_tables.push_back(arena.template take<float>(size_t(limits.step.max_tokens) * t.op->rope.dims));
    m.split = arena.template take<float>(plan.split_floats);
    m.split_statistics = arena.template take<float>(plan.split_statistics);
    for (int i = 0; i < n_threads; i++) {
        Memory::Worker &w = m.workers.emplace_back();
        w.row = arena.template take<float>(plan.row_floats);
        w.prepared = arena.template take<uint8_t>(plan.prepared_row_bytes);
        w.attention = arena.template take<float>(plan.attention_floats);
    }
    close("scratch");
    return m;
}

CpuExecutable::CpuExecutable(const Program &program, const ExecutableLimits &limits, const CpuStore &store,
                             Arena &arena, ThreadPool &pool)
    : program_(program), store_(store), kernels_(store.kernels()), pool_(pool), n_pages_(limits.n_pages),
      k_type_(cache_type(limits.cache_k)), v_type_(cache_type(limits.cache_v)),
      plan_(make_plan(program, limits, pool.size())),
      memory_(lay_out(program, plan_, limits, pool.size(), arena, nullptr)) {}

std::vector<MemoryRegion> CpuExecutable::memory(const Program &program, const ExecutableLimits &limits, int n_threads) {
    std::vector<MemoryRegion> regions;
    ArenaSizer sizer;
    lay_out(program, make_plan(program, limits, n_threads), limits, n_threads, sizer, &regions);
    return regions;
}

float *CpuExecutable::data(ValueId value) const {
    return value == program_.logits ? memory_.logits : memory_.values + plan_.value_offset[size_t(value)];
}

Status CpuExecutable::run(const Step &step) noexcept {
    pool_.run([&](int number, int n_workers) {
        const Worker worker{number, n_workers};
        for (const Stage &stage : plan_.stages) {
            if (n_rows(stage.rows, step) == 0) continue;
            switch (stage.kind) {
            case Stage::Kind::kRows:
                rows_stage(stage, step, worker);
                break;
            case Stage::Kind::kLinear:
                linear_stage(stage, step, worker);
                break;
            case Stage::Kind::kAttention:
                attention_stage(*stage.ops[0], step, worker);
                break;
            }
            pool_.barrier();
        }
    });
    return Status::kOk;
}

// ---- ops on single rows

void CpuExecutable::rows_stage(const Stage &stage, const Step &step, Worker worker) const noexcept {
    SplitRange rows = split(n_rows(stage.rows, step), worker.number, worker.of);
    for (size_t row = rows.begin; row < rows.end; row++) {
        if (&stage == &plan_.stages[0])
            for (size_t i = 0; i < plan_.rope_tables.size(); i++) {
                const Op &op = *plan_.rope_tables[i].op;
                rope_angles(op, memory_.rope_tables[i] + row * op.rope.dims, step.position[row]);
            }
        for (const Op *op : stage.ops) row_op(*op, step, row);
    }
}

void CpuExecutable::rope_angles(const Op &op, float *table, int32_t position) const noexcept {
    const uint32_t half = op.rope.dims / 2;
    const float *frequencies = program_.constants.data() + op.rope.frequency, *factors = store_.vector(op.weight[0]);
    for (uint32_t i = 0; i < half; i++) {
        float angle = float(position) * frequencies[i] / (factors ? factors[i] : 1.0f);
        table[i] = std::cos(angle) * op.rope.magnitude;
        table[half + i] = std::sin(angle) * op.rope.magnitude;
    }
}

void CpuExecutable::row_op(const Op &op, const Step &step, size_t row) const noexcept {
    if (op.kind == OpKind::kCacheWrite) return cache_write(op, step, row);
    const size_t n = width(op.out);
    float *out = data(op.out) + row * n;
    const float *a = op.in[0] != kNoValue ? data(op.in[0]) + row * width(op.in[0]) : nullptr;
    const float *b = op.in[1] != kNoValue ? data(op.in[1]) + row * width(op.in[1]) : nullptr;
    switch (op.kind) {
    case OpKind::kEmbed:
        store_.matrix(op.weight[0].tensor)
            .decode(op.weight[0].row_begin + size_t(step.token[row]), op.weight[0].col_begin, op.weight[0].cols, out);
        break;
    case OpKind::kNorm: {
        const size_t part = n / op.norm.groups;
        const float *weight = store_.vector(op.weight[0]), *bias = store_.vector(op.weight[1]);
        for (uint32_t g = 0; g < op.norm.groups; g++, a += part, out += part) {
            kernels_.rms_norm(a, weight, part, op.norm.epsilon, out);
            if (bias) kernels_.add(out, bias, part, out);
        }
        break;
    }
    case OpKind::kRope: {
        const float *table =
            memory_.rope_tables[plan_.rope_table_of[size_t(&op - program_.ops.data())]] + row * op.rope.dims;
        kernels_.rope({a, out, table, table + op.rope.dims / 2, op.rope.n_heads, op.rope.head_dim, op.rope.dims,
                       op.rope.pairs == RopePairs::kInterleaved});
        break;
    }
    case OpKind::kGate:
        kernels_.silu_gate(a, b, n, out);
        break;
    case OpKind::kAdd:
        kernels_.add(a, b, n, out);
        break;
    case OpKind::kOutputRows:
        std::memcpy(out, data(op.in[0]) + size_t(step.output_row[row]) * n, n * sizeof(float));
        break;
    default:
        break;  // not ops on rows
    }
}

void CpuExecutable::cache_write(const Op &op, const Step &step, size_t token) const noexcept {
    const CacheLayer layer = program_.cache_layers[op.cache_write.cache_layer];
    const CacheGroup &group = program_.cache_groups[layer.group];
    const Memory::Planes &planes = memory_.cache[layer.group];
    const size_t slot = size_t(step.slot[size_t(layer.group) * step.limits.max_tokens + token]);
    const size_t page = size_t(layer.index) * n_pages_[layer.group] + slot / kPageTokens;
    auto write = [&](CacheType type, uint8_t *plane, size_t row_bytes, const float *x, size_t n) {
        for (size_t h = 0; h < group.n_kv_heads; h++, x += n) {
            uint8_t *to = plane + ((page * group.n_kv_heads + h) * kPageTokens + slot % kPageTokens) * row_bytes;
            if (type == CacheType::kF32)
                std::memcpy(to, x, n * sizeof(float));
            else
                kernels_.to_f16(x, n, reinterpret_cast<uint16_t *>(to));
        }
    };
    write(k_type_, planes.k, planes.k_row_bytes, data(op.in[0]) + token * width(op.in[0]), group.head_dim_k);
    write(v_type_, planes.v, planes.v_row_bytes, data(op.in[1]) + token * width(op.in[1]), group.head_dim_v);
}

// ---- linears

namespace {

// Rows are taken in groups of the kernels' size, the rest in smaller powers of two.
size_t next_group(size_t rows_left, int largest) {
    size_t n = size_t(largest);
    while (n > rows_left) n /= 2;
    return n;
}

// The tile function for groups of 1, 2, 4, 8.
int group_index(size_t n) { return n == 1 ? 0 : n == 2 ? 1 : n == 4 ? 2 : 3; }

// So many bytes of activations stay in a core's second cache while panels of weights pass by.
constexpr size_t kActivationChunk = 256 << 10;

}  // namespace

void CpuExecutable::linear_stage(const Stage &stage, const Step &step, Worker worker) const noexcept {
    const size_t n = n_rows(stage.rows, step);
    const Memory::Worker &mine = memory_.workers[size_t(worker.number)];
    if (n == 1) {  // doing it all is cheaper than waiting for each other
        prepare(stage, {0, 1}, mine.prepared, mine.row);
        return multiply(stage, {0, 1}, mine.prepared, worker);
    }
    prepare(stage, split(n, worker.number, worker.of, size_t(kernels_.group_tokens)), memory_.prepared, mine.row);
    pool_.barrier();
    const size_t row_bytes = prepared_row_bytes(stage.parts[0].op->weight[0].cols, stage.quantized);
    const size_t chunk = std::max<size_t>(kActivationChunk / std::max<size_t>(row_bytes, 1) / 8, 4) * 8;
    for (size_t begin = 0; begin < n; begin += chunk)
        multiply(stage, {begin, std::min(n, begin + chunk)}, memory_.prepared, worker);
}

// Brings rows into the form that tile functions read; row r begins at r * row_bytes.
void CpuExecutable::prepare(const Stage &stage, SplitRange rows, uint8_t *out, float *row) const noexcept {
    const size_t cols = stage.parts[0].op->weight[0].cols,
                 row_bytes = prepared_row_bytes(uint32_t(cols), stage.quantized);
    const float *weight = nullptr, *bias = nullptr;
    if (stage.norm) {
        weight = store_.vector(stage.norm->weight[0]);
        bias = store_.vector(stage.norm->weight[1]);
    }
    for (size_t begin = rows.begin; begin < rows.end;) {
        const size_t group = next_group(rows.end - begin, kernels_.group_tokens);
        uint8_t *to = out + begin * row_bytes;
        for (size_t t = 0; t < group; t++) {
            const float *x = data(stage.in) + (begin + t) * width(stage.in);
            if (stage.norm) {
                kernels_.rms_norm(x, weight, cols, stage.norm->norm.epsilon, row);
                if (bias) kernels_.add(row, bias, cols, row);
                x = row;
            }
            if (stage.quantized) {
                kernels_.quantize(x, cols, int(t), int(group), to);
            } else {
                float *floats = reinterpret_cast<float *>(to) + t;
                for (size_t i = 0; i < cols; i++) floats[i * group] = x[i];
            }
        }
        begin += group;
    }
}

// This worker's share of the panels of all matrices. The share is of bytes, so that a pair of gate and up counts twice.
void CpuExecutable::multiply(const Stage &stage, SplitRange rows, const uint8_t *prepared,
                             Worker worker) const noexcept {
    auto panels = [](const LinearPart &p) {
        const WeightRef &w = p.op->weight[0];
        return size_t(w.row_begin + w.rows + kPanelRows - 1) / kPanelRows - w.row_begin / kPanelRows;
    };
    auto cost = [&](const LinearPart &p) {
        size_t bytes = store_.matrix(p.op->weight[0].tensor).panel_bytes;
        return p.gate ? bytes + store_.matrix(p.gate->weight[0].tensor).panel_bytes : bytes;
    };
    size_t total = 0, before = 0;
    for (const LinearPart &p : stage.parts) total += panels(p) * cost(p);
    const SplitRange share = split(total, worker.number, worker.of);
    for (const LinearPart &p : stage.parts) {
        const size_t n = panels(p), each = cost(p);
        // A panel is done by the worker in whose share its first byte lies.
        auto first = [&](size_t at) { return at <= before ? 0 : std::min(n, (at - before + each - 1) / each); };
        for (size_t i = first(share.begin); i < first(share.end); i++) panel(stage, p, i, rows, prepared);
        before += n * each;
    }
}

void CpuExecutable::panel(const Stage &stage, const LinearPart &part, size_t panel, SplitRange rows,
                          const uint8_t *prepared) const noexcept {
    const WeightRef &w = part.op->weight[0];
    const size_t row_bytes = prepared_row_bytes(w.cols, stage.quantized), stride = width(part.out);
    const size_t first_row = (w.row_begin / kPanelRows + panel) * kPanelRows;  // of the tensor
    const size_t row_begin = first_row < w.row_begin ? w.row_begin - first_row : 0;
    const size_t row_end = std::min<size_t>(kPanelRows, w.row_begin + w.rows - first_row);
    // The tile's row 0 may lie before the output's.
    const ptrdiff_t out_row = ptrdiff_t(first_row) - ptrdiff_t(w.row_begin);
    const float *bias = store_.vector(part.op->weight[1]);
    const float *gate_bias = part.gate ? store_.vector(part.gate->weight[1]) : nullptr;
    alignas(64) float tile[8 * kPanelRows], gate[8 * kPanelRows];

    auto product = [&](const Op &op, size_t group, const uint8_t *activations, float *out) {
        const Matrix &m = store_.matrix(op.weight[0].tensor);
        const size_t p = op.weight[0].row_begin / kPanelRows + panel;
        const uint32_t col = op.weight[0].col_begin;
        kernels_.tile[size_t(m.layout->kind)][group_index(group)](
            {m.scales(p, col), m.quants(p, col), activations, op.weight[0].cols, out});
    };
    for (size_t begin = rows.begin; begin < rows.end;) {
        const size_t group = next_group(rows.end - begin, kernels_.group_tokens);
        const uint8_t *activations = prepared + begin * row_bytes;
        product(*part.op, group, activations, tile);
        if (part.gate) product(*part.gate, group, activations, gate);
        if (gate_bias)
            for (size_t t = 0; t < group; t++)
                for (size_t r = row_begin; r < row_end; r++)
                    gate[t * kPanelRows + r] += gate_bias[out_row + ptrdiff_t(r)];
        StoreCall call;
        call.tile = tile;
        call.row_begin = uint32_t(row_begin);
        call.row_end = uint32_t(row_end);
        call.n_tokens = uint32_t(group);
        call.out = data(part.out) + ptrdiff_t(begin * stride) + out_row;
        call.stride = stride;
        call.bias = bias ? bias + out_row : nullptr;
        call.residual = part.residual != kNoValue ? data(part.residual) + ptrdiff_t(begin * stride) + out_row : nullptr;
        call.gate = part.gate ? gate : nullptr;
        kernels_.store_tile(call);
        begin += group;
    }
}

// ---- attention

void CpuExecutable::attention_stage(const Op &op, const Step &step, Worker worker) const noexcept {
    const AttentionArgs &a = op.attention;
    const size_t block = std::max<size_t>(kAttentionRows / (a.n_heads / a.n_kv_heads), 1), n = size_t(step.n_tokens);
    const uint32_t parts = attention_parts(op, step, worker.of);
    size_t task = 0;
    for (size_t begin = 0, end; begin < n; begin = end) {
        end = begin + 1;
        while (end < n && end < begin + block && step.sequence_of[end] == step.sequence_of[begin]) end++;
        for (uint32_t head = 0; head < a.n_kv_heads; head++)
            for (uint32_t part = 0; part < parts; part++, task++)
                if (task % size_t(worker.of) == size_t(worker.number))
                    attention_part(op, step, {begin, end}, head, part, parts,
                                   memory_.workers[size_t(worker.number)].attention);
    }
    if (parts == 1) return;
    pool_.barrier();
    combine_parts(op, step, parts, worker);
}

// With few tokens and a long past, the past of a head is cut so that all workers have the same to do.
uint32_t CpuExecutable::attention_parts(const Op &op, const Step &step, int n_workers) const noexcept {
    constexpr int32_t kMinRows = 4 * kPageTokens;  // worth a part
    const size_t n = size_t(step.n_tokens);
    if (n_workers == 1 || n > kSplitTokens || n * op.attention.n_kv_heads >= 4 * size_t(n_workers)) return 1;
    const uint32_t group = program_.cache_layers[op.attention.cache_layer].group;
    int32_t longest = 0;
    for (size_t t = 0; t < n; t++) {
        const size_t at = size_t(group) * step.limits.max_tokens + t;
        longest = std::max(longest, step.visible_end[at] - step.visible_begin[at]);
    }
    return uint32_t(std::clamp<int32_t>(longest / kMinRows, 1, std::min<int32_t>(n_workers, kMaxParts)));
}

void CpuExecutable::attention_part(const Op &op, const Step &step, SplitRange tokens, uint32_t head, uint32_t part,
                                   uint32_t parts, float *scratch) const noexcept {
    const AttentionArgs &a = op.attention;
    const CacheLayer layer = program_.cache_layers[a.cache_layer];
    const Memory::Planes &planes = memory_.cache[layer.group];
    const uint32_t heads = a.n_heads / a.n_kv_heads;
    const size_t k_page = size_t(a.n_kv_heads) * kPageTokens * planes.k_row_bytes;
    const size_t v_page = size_t(a.n_kv_heads) * kPageTokens * planes.v_row_bytes;
    const size_t first_page = size_t(layer.index) * n_pages_[layer.group],
                 at = size_t(layer.group) * step.limits.max_tokens;
    AttentionCall call;
    call.n_tokens = uint32_t(tokens.end - tokens.begin);
    call.n_heads = heads;
    call.dim_k = a.head_dim_k;
    call.dim_v = a.head_dim_v;
    call.scale = a.scale;
    call.q_stride = width(op.in[0]);
    call.q = data(op.in[0]) + tokens.begin * call.q_stride + size_t(head) * heads * a.head_dim_k;
    call.pages = step.pages_of(layer.group, uint32_t(step.sequence_of[tokens.begin]));
    call.k = planes.k + first_page * k_page + head * kPageTokens * planes.k_row_bytes;
    call.v = planes.v + first_page * v_page + head * kPageTokens * planes.v_row_bytes;
    call.k_page_bytes = k_page;
    call.v_page_bytes = v_page;
    call.k_row_bytes = planes.k_row_bytes;
    call.v_row_bytes = planes.v_row_bytes;
    call.k_type = k_type_;
    call.v_type = v_type_;
    call.visible_begin = step.visible_begin + at + tokens.begin;
    call.visible_end = step.visible_end + at + tokens.begin;
    const int32_t begin =
        *std::min_element(call.visible_begin, call.visible_begin + call.n_tokens) / int32_t(kPageTokens);
    const int32_t end = *std::max_element(call.visible_end, call.visible_end + call.n_tokens);
    const SplitRange pages = split(size_t(std::max(0, (end + int32_t(kPageTokens) - 1) / int32_t(kPageTokens) - begin)),
                                   int(part), int(parts));
    call.begin = (begin + int32_t(pages.begin)) * int32_t(kPageTokens);
    call.end = (begin + int32_t(pages.end)) * int32_t(kPageTokens);
    call.scratch = scratch;
    call.out_stride = size_t(a.n_heads) * a.head_dim_v;
    call.out = (parts == 1 ? data(op.out) : memory_.split + part * kSplitTokens * call.out_stride) +
               tokens.begin * call.out_stride + size_t(head) * heads * a.head_dim_v;
    call.max_sum = nullptr;
    if (parts > 1)
        call.max_sum =
            memory_.split_statistics + ((size_t(part) * a.n_kv_heads + head) * kSplitTokens + tokens.begin) * heads * 2;
    kernels_.attention(call);
}

void CpuExecutable::combine_parts(const Op &op, const Step &step, uint32_t parts, Worker worker) const noexcept {
    const AttentionArgs &a = op.attention;
    const uint32_t heads = a.n_heads / a.n_kv_heads;
    const SplitRange mine = split(size_t(step.n_tokens) * a.n_heads, worker.number, worker.of);
    for (size_t i = mine.begin; i < mine.end; i++) {
        const size_t token = i / a.n_heads, head = i % a.n_heads;
        auto statistics = [&](size_t part) {
            return memory_.split_statistics +
                   (((part * a.n_kv_heads + head / heads) * kSplitTokens + token) * heads + head % heads) * 2;
        };
        float maximum = -INFINITY, total = 0, share[kMaxParts];
        for (size_t p = 0; p < parts; p++) maximum = std::max(maximum, statistics(p)[0]);
        for (size_t p = 0; p < parts; p++) {
            share[p] = statistics(p)[1] > 0 ? std::exp(statistics(p)[0] - maximum) : 0.0f;
            total += share[p] * statistics(p)[1];
        }
        const size_t stride = size_t(a.n_heads) * a.head_dim_v;
        float *out = data(op.out) + token * stride + head * a.head_dim_v;
        for (uint32_t d = 0; d < a.head_dim_v; d++) {
            float sum = 0;
            for (size_t p = 0; p < parts; p++)
                sum += share[p] * memory_.split[(p * kSplitTokens + token) * stride + head * a.head_dim_v + d];
            out[d] = total > 0 ? sum / total : 0.0f;
        }
    }
}

}  // namespace el::cpu
