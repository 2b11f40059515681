// Running steps: those of few tokens as captured graphs.
#include "executable.h"
#include "step.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace el::cuda {

// As much as a step of so many tokens can have.
void Executable::set_size(Step &step, int32_t n_tokens) {
    step.n_tokens = n_tokens;
    step.n_outputs = std::min(n_tokens, int32_t(step.limits.max_outputs));
    step.n_sequences = std::min(n_tokens, int32_t(step.limits.max_sequences));
}

// The step as it was captured for n_tokens; 0: as it is. Tokens beyond the real ones belong to no sequence, see nothing
// and write nothing; sequences beyond the real ones have no state.
void Executable::fill(Step &to, const Step &from, int32_t n_tokens) const {
    to = moved_step(from, host_step.data());
    if (n_tokens == 0) {
        std::memcpy(to.token, from.token, front_bytes(from));
        return;
    }
    set_size(to, n_tokens);
    for (const StepPart &part : parts_of(to))
        for (uint32_t row = 0; row < part.rows; ++row) {
            const size_t at = part.at + size_t(row) * part.stride;
            std::memcpy(to.token + at, from.token + at, part.words * sizeof(int32_t));
        }
    for (int32_t t = from.n_tokens; t < to.n_tokens; ++t) {
        to.token[t] = 0;
        to.position[t] = 0;
        to.ancestors[t] = 0;
        to.sequence_of[t] = -1;
        for (uint32_t g = 0; g < to.limits.n_groups; ++g) {
            const size_t i = size_t(g) * to.limits.max_tokens + size_t(t);
            to.slot[i] = -1;
            to.visible_begin[i] = to.visible_end[i] = 0;
        }
    }
    // Once more the first one's, whose experts are read anyway.
    for (int32_t i = from.n_outputs; i < to.n_outputs; ++i)
        to.output_row[i] = from.n_outputs > 0 ? to.output_row[0] : 0;
    for (int32_t i = from.n_sequences; i < to.n_sequences; ++i) to.state_before[i] = to.state_after[i] = -1;
}

// The device keeps the block tables from step to step, and host_step the same. What is new in those of the step, as far
// as they are in use, goes there as one rectangle: mostly nothing, or a page that a sequence has begun.
void Executable::send_tables(const Step &from) {
    const StepLimits &limits = from.limits;
    const Step host = moved_step(from, host_step.data()),
               device = moved_step(from, reinterpret_cast<uint8_t *>(at.step.token));
    const size_t rows = size_t(limits.n_groups) * limits.max_sequences, cols = limits.max_pages;
    size_t row_begin = rows, row_end = 0, col_begin = cols, col_end = 0;
    if (!tables_sent_) row_begin = col_begin = 0, row_end = rows, col_end = cols;
    for (size_t r = 0; r < rows; ++r) {
        if (r % limits.max_sequences >= size_t(from.n_sequences)) continue;
        const size_t n = std::min((size_t(from.length[r]) + kPageTokens - 1) / kPageTokens, cols);
        const int32_t *theirs = from.block_table + r * cols;
        int32_t *mine = host.block_table + r * cols;
        const size_t same = size_t(std::mismatch(theirs, theirs + n, mine).first - theirs);
        if (same == n) continue;
        std::copy(theirs + same, theirs + n, mine + same);
        row_begin = std::min(row_begin, r);
        row_end = std::max(row_end, r + 1);
        col_begin = std::min(col_begin, same);
        col_end = std::max(col_end, n);
    }
    if (row_begin >= row_end || col_begin >= col_end) return;
    const size_t pitch = cols * sizeof(int32_t), begin = row_begin * cols + col_begin;
    check(cudaMemcpy2DAsync(device.block_table + begin, pitch, host.block_table + begin, pitch,
                            (col_end - col_begin) * sizeof(int32_t), row_end - row_begin, cudaMemcpyHostToDevice,
                            stream),
          "copying a step");
    tables_sent_ = true;
}

// Attention splits long contexts in another way, where it has a choice and they come to be.
bool Executable::captures_long_contexts() const {
    if (!chip.early || context <= uint32_t(kLongContext)) return false;
    for (size_t i = 0; i < at.k.size(); ++i) {
        const uint32_t window = program.cache_groups[program.cache_layers[i].group].window;
        if (decode_formats(at.k[i].format, at.v[i].format) && (window == 0 || window >= uint32_t(kLongContext)))
            return true;
    }
    return false;
}

bool Executable::has_long_context(const Step &host, uint32_t group) const {
    const size_t begin = size_t(group) * host.limits.max_tokens, end = begin + size_t(host.n_tokens);
    for (size_t i = begin; i < end; ++i)
        if (host.visible_end[i] - host.visible_begin[i] >= kLongContext) return true;
    return false;
}

bool Executable::has_long_context(const Step &host) const {
    for (uint32_t g = 0; g < host.limits.n_groups; ++g)
        if (has_long_context(host, g)) return true;
    return false;
}

void Executable::pretend_to_see(int32_t rows) {
    const Step step = host_layout();
    for (uint32_t g = 0; g < step.limits.n_groups; ++g) {
        const uint32_t window = program.cache_groups[g].window;
        const size_t begin = size_t(g) * step.limits.max_tokens;
        std::fill_n(step.visible_begin + begin, step.limits.max_tokens, 0);
        std::fill_n(step.visible_end + begin, step.limits.max_tokens,
                    window ? int32_t(std::min(window, uint32_t(rows))) : rows);
    }
}

// Of recurrent models each sequence has blocks of its own, also one that has no token in the step.
const Executable::Captured *Executable::captured_for(const Step &step) const {
    const int32_t least = std::max(step.n_tokens, program.state_layers.empty() ? 0 : step.n_sequences);
    const bool long_context = captures_long_contexts() && has_long_context(step);
    const auto found = std::find_if(captured_.begin(), captured_.end(), [&](const Captured &c) {
        return c.tokens >= least && c.long_context == long_context;
    });
    return found == captured_.end() ? nullptr : &*found;
}

void Executable::wait_for(StepEvents events) const {
    if (events.wait) check_handle(cudaStreamWaitEvent(stream, cudaEvent_t(events.wait), 0), "wait_event");
}

void Executable::settle_step(StepEvents events) const {
    if (events.done) check_handle(cudaEventRecord(cudaEvent_t(events.done), stream), "done_event");
    check(cudaStreamSynchronize(stream), "running a step");
}

void Executable::run(const Step &step, StepEvents events) {
    try {
        wait_for(events);
        n_rows_ = 0;
        selected_ = {};
        const int32_t n_asked = std::exchange(n_asked_, 0);
        const Captured *captured = captured_for(step);
        Step host;
        fill(host, step, captured ? captured->tokens : 0);
        send_tables(step);
        if (captured)
            check(cudaGraphLaunch(captured->graph, stream), "starting a step");
        else
            launch_all(host);
        has_rows(step.n_outputs);
        if (n_asked && n_rows_) select(0, n_rows_, n_asked);
        settle_step(events);
    } catch (...) {
        n_rows_ = 0;
        tables_sent_ = false;
        cudaStreamSynchronize(stream);  // what was started still reads host_step
        throw;
    }
}

void Executable::has_rows(int32_t n) {
    n_rows_ = n;
    std::fill_n(fetched_.begin(), n, 0);
}

void Executable::fetch_logits(uint32_t row) {
    if (row >= uint32_t(n_rows_) || fetched_[row]) return;
    const size_t begin = size_t(row) * program.vocab;
    copy(reinterpret_cast<float *>(host_logits.data()) + begin, at.logits + begin, program.vocab * sizeof(float),
         cudaMemcpyDeviceToHost);
    settle();
    fetched_[row] = 1;
}

const float *Executable::logits(uint32_t row) {
    float *logits = reinterpret_cast<float *>(host_logits.data()) + size_t(row) * program.vocab;
    // So that nothing looks like a result.
    if (row >= uint32_t(n_rows_) || !fetched_[row]) std::fill_n(logits, program.vocab, NAN);
    return logits;
}

// Of as many rows from row_begin on as are selected from at once.
void Executable::select(int32_t row_begin, int32_t n_rows, int32_t n) {
    n_rows = std::min(n_rows, int32_t(at.n_selectable));
    selected_ = {};
    select_best({at.logits + size_t(row_begin) * program.vocab, program.vocab, n_rows, n, at.selection,
                 reinterpret_cast<RowBest *>(host_best.data())},
                chip.early, stream);
    selected_ = {row_begin, row_begin + n_rows, n};
}

bool Executable::best(uint32_t row, size_t n, BestTokens &out) {
    const auto r = int32_t(row), wanted = int32_t(n);
    if (r < 0 || r >= n_rows_ || n == 0 || n > kMaxBest) return false;
    n_asked_ = std::max(n_asked_, wanted);
    if (r < selected_.row_begin || r >= selected_.row_end || selected_.n < wanted) {
        const int32_t begin = r - r % int32_t(at.n_selectable);
        select(begin, n_rows_ - begin, wanted);
        settle();
    }
    const RowBest &found = reinterpret_cast<const RowBest *>(host_best.data())[r - selected_.row_begin];
    if (found.n < 0 || found.n > selected_.n) return false;
    const bool all = found.n < selected_.n || found.n == int32_t(program.vocab);  // there are no more than those
    out = {found.ids, found.logits, size_t(std::min(found.n, wanted)), all && found.n <= wanted, found.sum};
    return true;
}

// What `launches` sends to the stream, which does none of it.
Recorded Executable::record(const std::function<void()> &launches) const {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "capturing a step");
    cudaGraph_t graph = nullptr;
    try {
        launches();
    } catch (...) {
        cudaStreamEndCapture(stream, &graph);
        if (graph) cudaGraphDestroy(graph);
        cudaGetLastError();  // what ending it says is no news
        throw;
    }
    check(cudaStreamEndCapture(stream, &graph), "capturing a step");
    return Recorded(graph);
}

Graph Executable::ready(const Recorded &recorded) {
    cudaGraphExec_t executable = nullptr;
    check(cudaGraphInstantiate(&executable, recorded, 0), "preparing a captured step");
    return Graph(executable);
}

Step Executable::host_layout() const {
    StepMemory pieces{host_step.data()};
    return lay_out_step(at.step.limits, pieces);
}

Recorded Executable::record_step(int32_t n_tokens) const {
    Step step = host_layout();
    set_size(step, n_tokens);
    return record([&] { launch_all(step); });
}

void Executable::capture() {
    send_tables(host_layout());
    for (int32_t bucket : {1, 2, 4, kDecodeTokens}) {
        const auto n = int32_t(std::min(uint32_t(bucket), at.step.limits.max_tokens));
        if (!captured_.empty() && captured_.back().tokens == n) break;
        for (bool long_context : {false, true}) {
            if (long_context && !captures_long_contexts()) continue;
            pretend_to_see(long_context ? kLongContext : 0);
            captured_.push_back({n, long_context, ready(record_step(n))});
            check(cudaGraphUpload(captured_.back().graph, stream), "preparing a captured step");
        }
    }
    pretend_to_see(0);
    select(0, 1, 2);  // kernels are loaded when they first run, which allocates
    selected_ = {};
    check(cudaStreamSynchronize(stream), "preparing a captured step");
}

// The driver loads a kernel, and takes memory for it, when it is first launched or recorded.
void Executable::load_kernels() const {
    const int32_t most = int32_t(at.step.limits.max_tokens);
    for (int32_t n = 2 * kDecodeTokens; n < 2 * most; n *= 2) record_step(std::min(n, most));
    record([&] {
        for (uint32_t g = 0; g < program.cache_groups.size(); ++g)
            for_planes(g, [&](const Plane &p) {
                cuda::copy_rows(p, at.slots[0], at.slots[1], 1, stream);
                for (bool to_plane : {false, true}) pack_rows(p, at.slots[0], 1, at.packed, 1, to_plane, stream);
            });
        for (size_t i = 0; i < at.k.size(); ++i)
            if (turns.rope[i]) turn_rows(at.k[i], rope_of(*turns.rope[i]), at.slots[0], 1, 0, stream);
        check(cudaGetLastError(), "loading kernels");
    });
}

}  // namespace el::cuda
