// Stages of matrix products.
#include "backend/cpu/linear.h"

namespace el::cpu {

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
    const size_t chunk = chunk_rows(row_bytes);
    for (size_t begin = 0; begin < n; begin += chunk)
        multiply(stage, {begin, std::min(n, begin + chunk)}, memory_.prepared, worker);
}

// Brings rows into the form that tile functions read; row r begins at r * row_bytes.
void CpuExecutable::prepare(const Stage &stage, SplitRange rows, uint8_t *out, float *row) const noexcept {
    const size_t cols = stage.parts[0].op->weight[0].cols,
                 row_bytes = prepared_row_bytes(uint32_t(cols), stage.quantized);
    for (size_t begin = rows.begin; begin < rows.end;) {
        const size_t group = next_group(rows.end - begin, kernels_.group_tokens);
        for (size_t t = 0; t < group; t++) {
            const float *x = data(stage.in) + (begin + t) * width(stage.in);
            if (stage.norm) {
                norm(*stage.norm, x, cols, row);
                x = row;
            }
            prepare_row(stage, x, t, group, out + begin * row_bytes);
        }
        begin += group;
    }
}

// Row `t` of a group that begins at `to`.
void CpuExecutable::prepare_row(const Stage &stage, const float *x, size_t t, size_t group,
                                uint8_t *to) const noexcept {
    const size_t cols = stage.parts[0].op->weight[0].cols;
    if (stage.quantized) return kernels_.quantize(x, cols, int(t), int(group), to);
    float *floats = reinterpret_cast<float *>(to) + t;
    for (size_t i = 0; i < cols; i++) floats[i * group] = x[i];
}

// Bytes of weights of one panel, or pair of panels.
size_t CpuExecutable::panel_cost(const LinearPart &p) const noexcept {
    const size_t bytes = store_.matrix(p.op->weight[0].tensor).panel_bytes;
    return p.gate ? bytes + store_.matrix(p.gate->weight[0].tensor).panel_bytes : bytes;
}

// This worker's share of the panels of all matrices. The share is of bytes, so that a pair of gate and up counts twice.
void CpuExecutable::multiply(const Stage &stage, SplitRange rows, const uint8_t *prepared,
                             Worker worker) const noexcept {
    auto panels = [](const LinearPart &p) {
        const WeightRef &w = p.op->weight[0];
        return size_t(w.row_begin + w.rows + kPanelRows - 1) / kPanelRows - w.row_begin / kPanelRows;
    };
    size_t total = 0, before = 0;
    for (const LinearPart &p : stage.parts) total += panels(p) * panel_cost(p);
    const SplitRange share = split(total, worker.number, worker.of);
    for (const LinearPart &p : stage.parts) {
        const size_t n = panels(p), each = panel_cost(p);
        const SplitRange mine = whole_pieces(share, before, n, each);
        for (size_t i = mine.begin; i < mine.end; i++) panel(stage, p, i, rows, prepared);
        before += n * each;
    }
}

void CpuExecutable::product(const Op &op, size_t panel, size_t group, const uint8_t *activations,
                            float *out) const noexcept {
    const Matrix &m = store_.matrix(op.weight[0].tensor);
    const uint32_t col = op.weight[0].col_begin;
    kernels_.tile[size_t(m.layout->kind)][group_index(group)](
        {m.scales(panel, col), m.quants(panel, col), activations, op.weight[0].cols, out});
}

// What is the same for all tiles of a part.
StoreCall CpuExecutable::store_call(const LinearPart &part) const noexcept {
    StoreCall call = {};
    call.stride = width(part.out);
    call.activation = part.activation ? Activation(part.activation->gate.activation) : Activation::kNone;
    call.scale = part.scale ? scale_of(*part.scale) : 1.0f;
    call.cap = part.soft_cap ? part.soft_cap->soft_cap.cap : 0.0f;
    return call;
}

void CpuExecutable::panel(const Stage &stage, const LinearPart &part, size_t panel, SplitRange rows,
                          const uint8_t *prepared) const noexcept {
    const WeightRef &w = part.op->weight[0];
    const size_t row_bytes = prepared_row_bytes(w.cols, stage.quantized);
    const size_t first_row = (w.row_begin / kPanelRows + panel) * kPanelRows;  // of the tensor
    // The tile's row 0 may lie before the output's.
    const ptrdiff_t out_row = ptrdiff_t(first_row) - ptrdiff_t(w.row_begin);
    const float *bias = store_.vector(part.op->weight[1]);
    const float *gate_bias = part.gate ? store_.vector(part.gate->weight[1]) : nullptr;
    alignas(64) float tile[8 * kPanelRows], gate[8 * kPanelRows];
    StoreCall call = store_call(part);
    call.tile = tile;
    call.row_begin = first_row < w.row_begin ? uint32_t(w.row_begin - first_row) : 0;
    call.row_end = uint32_t(std::min<size_t>(kPanelRows, w.row_begin + w.rows - first_row));
    call.bias = bias ? bias + out_row : nullptr;
    call.gate = part.gate ? gate : nullptr;
    for (size_t begin = rows.begin; begin < rows.end; begin += call.n_tokens) {
        const size_t group = next_group(rows.end - begin, kernels_.group_tokens);
        const uint8_t *activations = prepared + begin * row_bytes;
        product(*part.op, w.row_begin / kPanelRows + panel, group, activations, tile);
        if (part.gate)
            product(*part.gate, part.gate->weight[0].row_begin / kPanelRows + panel, group, activations, gate);
        if (gate_bias) add_to_tile(call, group, gate_bias + out_row, gate);
        const ptrdiff_t at = ptrdiff_t(begin * call.stride) + out_row;
        call.n_tokens = uint32_t(group);
        call.out = data(part.out) + at;
        call.residual = part.residual != kNoValue ? data(part.residual) + at : nullptr;
        kernels_.store_tile(call);
    }
}

}  // namespace el::cpu
