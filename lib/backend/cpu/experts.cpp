// Stages of experts: the matrices that a route chose for each token. Tokens with the same expert are brought together,
// so that each panel of its weights is read once for all of them.
#include "backend/cpu/linear.h"

#include <cstring>

namespace el::cpu {

// Some choices of one expert, one after the other in the order of `prepared`.
struct CpuExecutable::Run {
    size_t expert;
    const float *route;     // of token 0
    const int32_t *chosen;  // [n] token * n_used + i
    size_t n;
    const uint8_t *prepared;  // [n] rows in groups; of a single token that all experts share, always the same one
};

void CpuExecutable::experts_stage(const Stage &stage, const Step &step, Worker worker) const noexcept {
    const Op &op = *stage.parts[0].op;
    const ExpertArgs &args = op.expert;
    const size_t n = n_rows(stage.rows, step);
    const Memory::Worker &mine = memory_.workers[size_t(worker.number)];
    const uint8_t *prepared = memory_.gathered;
    if (n == 1) {  // doing it all is cheaper than waiting for each other
        const size_t rows = args.own_input ? args.n_used : 1;
        const size_t row_bytes = prepared_row_bytes(op.weight[0].cols, stage.quantized);
        for (size_t i = 0; i < rows; i++)
            prepare_row(stage, data(stage.in) + i * op.weight[0].cols, 0, 1, mine.prepared + i * row_bytes);
        prepared = mine.prepared;
    } else {
        if (!args.own_input) prepare_alone(stage, split(n, worker.number, worker.of));
        if (stage.new_route && worker.number == 0) sort_by_expert(op, n);
        if (!args.own_input || stage.new_route) pool_.barrier();
        gather(stage, n, worker);
        pool_.barrier();
    }
    for (const LinearPart &part : stage.parts) {
        if (part.combine)
            multiply_combined(stage, part, n, prepared, worker);
        else
            multiply_experts(stage, part, n, prepared, worker);
    }
}

// A counting sort.
void CpuExecutable::sort_by_expert(const Op &op, size_t n) const noexcept {
    const size_t used = op.expert.n_used, experts = op.expert.n_experts;
    const float *route = data(op.in[1]);
    int32_t *first = memory_.first;
    auto expert = [&](size_t i) { return size_t(route[i / used * 2 * used + i % used]); };
    std::fill_n(first, experts + 1, 0);
    for (size_t i = 0; i < n * used; i++) first[expert(i)]++;
    for (size_t e = 1; e <= experts; e++) first[e] += first[e - 1];
    for (size_t i = n * used; i-- > 0;) memory_.chosen[--first[expert(i)]] = int32_t(i);
}

// Every row as a group of its own, at its place in `prepared`.
void CpuExecutable::prepare_alone(const Stage &stage, SplitRange rows) const noexcept {
    const size_t row_bytes = prepared_row_bytes(stage.parts[0].op->weight[0].cols, stage.quantized);
    for (size_t r = rows.begin; r < rows.end; r++)
        prepare_row(stage, data(stage.in) + r * width(stage.in), 0, 1, memory_.prepared + r * row_bytes);
}

namespace {

// A row that was prepared alone becomes row `t` of a group.
void copy_row(const uint8_t *from, uint32_t cols, bool quantized, size_t t, size_t group, uint8_t *to) {
    if (!quantized) {
        const float *x = reinterpret_cast<const float *>(from);
        float *out = reinterpret_cast<float *>(to) + t;
        for (size_t i = 0; i < cols; i++) out[i * group] = x[i];
        return;
    }
    for (uint32_t k = 0; k < cols; k += kTileCols, from += kActivationBytes, to += kActivationBytes * group) {
        std::memcpy(to + kTileCols * t, from, kTileCols);
        for (size_t i = 0; i < 4; i++)
            std::memcpy(to + kTileCols * group + (i * group + t) * sizeof(float), from + kTileCols + i * sizeof(float),
                        sizeof(float));
    }
}

}  // namespace

// This worker's share of all choices, in the order of `chosen`, to groups of rows of the same expert.
void CpuExecutable::gather(const Stage &stage, size_t n, Worker worker) const noexcept {
    const Op &op = *stage.parts[0].op;
    const size_t used = op.expert.n_used, cols = op.weight[0].cols;
    const size_t row_bytes = prepared_row_bytes(uint32_t(cols), stage.quantized);
    const SplitRange mine = split(n * used, worker.number, worker.of);
    for_runs(op, n, memory_.gathered, row_bytes, [&](const Run &run) {
        const size_t at = size_t(run.chosen - memory_.chosen);
        if (at >= mine.end || at + run.n <= mine.begin) return;
        for (size_t begin = 0, group; begin < run.n; begin += group) {
            group = next_group(run.n - begin, kernels_.group_tokens);
            uint8_t *to = memory_.gathered + (at + begin) * row_bytes;
            for (size_t t = 0; t < group; t++) {
                if (at + begin + t < mine.begin || at + begin + t >= mine.end) continue;
                const size_t i = size_t(run.chosen[begin + t]);
                if (op.expert.own_input)
                    prepare_row(stage, data(stage.in) + i * cols, t, group, to);
                else
                    copy_row(memory_.prepared + i / used * row_bytes, uint32_t(cols), stage.quantized, t, group, to);
            }
        }
    });
}

// Calls visit(run) for every expert that was chosen; for a single token in the order of its route.
template <typename Visit> void CpuExecutable::for_runs(const Op &op, size_t n, const uint8_t *prepared,
                                                       size_t row_bytes, Visit visit) const noexcept {
    const float *route = data(op.in[1]);
    if (n == 1) {
        for (int32_t i = 0; i < int32_t(op.expert.n_used); i++)
            visit(Run{size_t(route[i]), route, &i, 1, prepared + (op.expert.own_input ? size_t(i) * row_bytes : 0)});
        return;
    }
    for (size_t e = 0; e < op.expert.n_experts; e++) {
        const size_t begin = size_t(memory_.first[e]), end = size_t(memory_.first[e + 1]);
        if (begin < end) visit(Run{e, route, memory_.chosen + begin, end - begin, prepared + begin * row_bytes});
    }
}

// Each worker takes some panels of the chosen experts, so that each has as much to read and to do.
void CpuExecutable::multiply_experts(const Stage &stage, const LinearPart &part, size_t n, const uint8_t *prepared,
                                     Worker worker) const noexcept {
    const WeightRef &w = part.op->weight[0];
    const size_t rows = w.rows / part.op->expert.n_experts, row_bytes = prepared_row_bytes(w.cols, stage.quantized);
    const size_t pieces = (rows + kPanelRows - 1) / kPanelRows;
    auto cost = [](const Run &run) { return run.n + 3; };  // of a piece: reading it is worth some tokens
    size_t total = 0, before = 0;
    for_runs(*part.op, n, prepared, row_bytes, [&](const Run &run) { total += pieces * cost(run); });
    const SplitRange share = split(total, worker.number, worker.of);
    for_runs(*part.op, n, prepared, row_bytes, [&](const Run &run) {
        const SplitRange mine = whole_pieces(share, before, pieces, cost(run));
        before += pieces * cost(run);
        expert_rows(stage, part, run, {mine.begin * kPanelRows, std::min(mine.end * kPanelRows, rows)});
    });
}

// Each worker takes some rows of all experts, and adds up what they give.
void CpuExecutable::multiply_combined(const Stage &stage, const LinearPart &part, size_t n, const uint8_t *prepared,
                                      Worker worker) const noexcept {
    const WeightRef &w = part.op->weight[0];
    const size_t rows = w.rows / part.op->expert.n_experts, row_bytes = prepared_row_bytes(w.cols, stage.quantized);
    const SplitRange mine = split(rows, worker.number, worker.of, kPanelRows);
    if (mine.begin == mine.end) return;
    for (size_t t = 0; t < n; t++) {
        float *out = data(part.out) + t * rows;
        if (part.residual != kNoValue)
            std::copy(data(part.residual) + t * rows + mine.begin, data(part.residual) + t * rows + mine.end,
                      out + mine.begin);
        else
            std::fill(out + mine.begin, out + mine.end, 0.0f);
    }
    for_runs(*part.op, n, prepared, row_bytes, [&](const Run &run) { expert_rows(stage, part, run, mine); });
}

// Rows [begin, end) of one expert's result, for as many tokens at a time as stay in the second cache.
void CpuExecutable::expert_rows(const Stage &stage, const LinearPart &part, const Run &run,
                                SplitRange rows) const noexcept {
    if (rows.begin >= rows.end) return;
    const WeightRef &w = part.op->weight[0];
    const size_t row_bytes = prepared_row_bytes(w.cols, stage.quantized), chunk = chunk_rows(row_bytes);
    const size_t first = run.expert * (w.rows / part.op->expert.n_experts);  // of the tensor's part
    for (size_t begin = 0; begin < run.n; begin += chunk) {
        const Run some{run.expert, run.route, run.chosen + begin, std::min(chunk, run.n - begin),
                       run.prepared + begin * row_bytes};
        // Panels may begin before an expert's rows, and end after them.
        for (size_t row = first + rows.begin; row < first + rows.end;) {
            const size_t in_panel = (w.row_begin + row) % kPanelRows;
            const size_t end = std::min(first + rows.end, row - in_panel + kPanelRows);
            expert_panel(stage, part, some, {row, end});
            row = end;
        }
    }
}

// Rows [begin, end) of the tensor's part, of one panel.
void CpuExecutable::expert_panel(const Stage &stage, const LinearPart &part, const Run &run,
                                 SplitRange rows) const noexcept {
    const WeightRef &w = part.op->weight[0];
    const size_t used = part.op->expert.n_used, n_out = w.rows / part.op->expert.n_experts;
    const size_t row_bytes = prepared_row_bytes(w.cols, stage.quantized);
    const ptrdiff_t skipped = ptrdiff_t((w.row_begin + rows.begin) % kPanelRows);  // rows of the tile
    const ptrdiff_t in_part = ptrdiff_t(rows.begin) - skipped, in_out = in_part - ptrdiff_t(run.expert * n_out);
    const float *bias = store_.vector(part.op->weight[1]);
    const float *gate_bias = part.gate ? store_.vector(part.gate->weight[1]) : nullptr;
    alignas(64) float tile[8 * kPanelRows], gate[8 * kPanelRows];
    StoreCall call = store_call(part);
    const float scale = call.scale;
    call.row_begin = uint32_t(skipped);
    call.row_end = uint32_t(skipped) + uint32_t(rows.end - rows.begin);
    call.n_tokens = 1;
    call.bias = bias ? bias + in_part : nullptr;
    for (size_t begin = 0, group; begin < run.n; begin += group) {
        group = next_group(run.n - begin, kernels_.group_tokens);
        const uint8_t *activations = run.prepared + begin * row_bytes;
        product(*part.op, (w.row_begin + rows.begin) / kPanelRows, group, activations, tile);
        if (part.gate) {
            product(*part.gate, (part.gate->weight[0].row_begin + rows.begin) / kPanelRows, group, activations, gate);
            if (gate_bias) add_to_tile(call, group, gate_bias + in_part, gate);
        }
        for (size_t t = 0; t < group; t++) {
            const size_t i = size_t(run.chosen[begin + t]), row = part.combine ? i / used : i;
            call.tile = tile + t * kPanelRows;
            call.gate = part.gate ? gate + t * kPanelRows : nullptr;
            call.out = data(part.out) + ptrdiff_t(row * n_out) + in_out;
            if (part.combine) {
                call.scale = scale * run.route[i / used * 2 * used + used + i % used];
                call.residual = call.out;
            } else if (part.residual != kNoValue) {
                call.residual = data(part.residual) + ptrdiff_t(row * n_out) + in_out;
            }
            kernels_.store_tile(call);
        }
    }
}

}  // namespace el::cpu
