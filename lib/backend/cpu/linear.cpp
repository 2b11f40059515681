// Stages of matrix products.
#include "backend/cpu/executable.h"

#include <algorithm>
#include <cstring>

namespace el::cpu {

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

}  // namespace el::cpu
