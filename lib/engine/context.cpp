#include "engine/context.h"
#include "base/system_memory.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>

namespace el {
namespace {

constexpr uint32_t kMaxTokens = std::numeric_limits<int32_t>::max() - kPageTokens;  // so that slots fit in 32 bits
constexpr uint32_t kMaxSequences = 1024;

ContextOptions resolve(ContextOptions options, const Model &model) {
    const uint32_t trained = model.spec().context_length;
    if (options.context_tokens == 0) options.context_tokens = trained;
    if (options.context_tokens > trained)
        fail(Status::kInvalidArgument, "context_tokens is {}, but the model was trained with {}",
             options.context_tokens, trained);
    if (options.max_sequences == 0 || options.max_sequences > kMaxSequences)
        fail(Status::kInvalidArgument, "max_sequences is {}, must be 1 to {}", options.max_sequences, kMaxSequences);
    if (uint64_t(options.context_tokens) * options.max_sequences > kMaxTokens)
        fail(Status::kInvalidArgument, "context_tokens {} times max_sequences {} is more than {}",
             options.context_tokens, options.max_sequences, kMaxTokens);
    if (options.max_batch_tokens == 0) fail(Status::kInvalidArgument, "max_batch_tokens is 0, must be at least 1");
    options.max_batch_tokens = std::min(options.max_batch_tokens, options.context_tokens * options.max_sequences);
    if (options.max_outputs == 0) options.max_outputs = options.max_sequences;
    options.max_outputs = std::min(options.max_outputs, options.max_batch_tokens);
    for (Format format : {options.cache_k, options.cache_v})
        if (format != Format::kF16 && format != Format::kF32)
            fail(Status::kUnsupported, "cache format {}: only F16 and F32 are supported", format_info(format).name);
    return options;
}

ExecutableLimits limits_of(const ContextOptions &options, const Program &program) {
    ExecutableLimits limits;
    limits.step.max_tokens = options.max_batch_tokens;
    limits.step.max_sequences = options.max_sequences;
    limits.step.max_outputs = options.max_outputs;
    limits.step.n_axes = program.n_position_axes;
    limits.step.n_groups = static_cast<uint32_t>(program.cache_groups.size());
    limits.step.context = options.context_tokens;
    limits.step.n_state_slots = options.max_sequences * Cache::kStateSlots;
    limits.step.max_pages = (options.context_tokens + kPageTokens - 1) / kPageTokens;
    limits.cache_k = options.cache_k;
    limits.cache_v = options.cache_v;
    limits.n_pages.assign(program.cache_groups.size(), limits.step.max_pages * options.max_sequences);
    return limits;
}

// The longest text that one generated token can bring out: what a stop string held back, and the token's own bytes,
// each of which may become U+FFFD.
size_t text_buffer_bytes(const Model &model) {
    if (!model.vocabulary()) return 0;
    return kMaxStopBytes + TextStream::max_bytes(*model.vocabulary()) + 1;
}

}  // namespace

Context::Context(std::shared_ptr<const Model> model, const ContextOptions &options) : model_(std::move(model)) {
    if (!model_->has_weights())
        fail(Status::kNoWeights, "{}: loaded without weights; a context needs them", model_->path());
    options_ = resolve(options, *model_);
    const Program &program = model_->program();
    limits_ = limits_of(options_, program);
    pool_.emplace(options_.threads);

    ArenaSizer sizer;
    lay_out(sizer);
    for (const MemoryRegion &region : model_->backend().memory(program, limits_, pool_->size()))
        sizer.take<std::byte>(region.bytes);
    check_available_memory(
        sizer.bytes(),
        fmt::format("a context of {} tokens for {} sequence(s)", options_.context_tokens, options_.max_sequences),
        "choose a smaller context_tokens, max_batch_tokens or cache format");
    arena_ = Arena(sizer.bytes());
    lay_out(arena_);
    executable_ = model_->backend().compile(program, limits_, model_->weights(), arena_, *pool_);
    if (model_->vocabulary()) stream_.emplace(*model_->vocabulary());
}

template <typename Memory> void Context::lay_out(Memory &memory) {
    CacheLimits limits{options_.max_sequences, limits_.step.max_pages, limits_.n_pages};
    cache_.emplace(model_->program().cache_groups, limits, memory);
    step_ = lay_out_step(limits_.step, memory);
    added_ = memory.template take<int32_t>(options_.max_sequences);
    step_index_ = memory.template take<int32_t>(options_.max_sequences);
    size_t bytes = text_buffer_bytes(*model_);
    text_buffer_ = {memory.template take<char>(bytes), bytes};
}

Status Context::decode(const Batch &batch, Report &report) noexcept {
    n_outputs_ = 0;
    if (check(batch, report) != Status::kOk) return report.status;
    if (take_cancel()) return report.set(Status::kCancelled, "cancelled before the step");
    fill_step(batch);
    Status status = executable_->run(step_);
    if (status != Status::kOk) return report.set(status, "a step of {} tokens failed", batch.n);
    if (take_cancel()) return report.set(Status::kCancelled, "cancelled during the step");
    for (uint32_t s = 0; s < options_.max_sequences; ++s)
        if (added_[s]) {
            uint32_t length = cache_->length(s) + added_[s];
            cache_->commit(s, length, static_cast<int32_t>(length));
        }
    n_outputs_ = step_.n_outputs;
    return Status::kOk;
}

Status Context::check(const Batch &batch, Report &report) noexcept {
    if (batch.n == 0 || batch.n > options_.max_batch_tokens)
        return report.set(Status::kInvalidArgument, "a batch of {} tokens; must be 1 to max_batch_tokens, {}", batch.n,
                          options_.max_batch_tokens);
    std::fill_n(added_, options_.max_sequences, 0);
    size_t n_outputs = batch.outputs ? 0 : 1;
    for (size_t i = 0; i < batch.n; ++i) {
        if (batch.tokens[i] < 0 || uint32_t(batch.tokens[i]) >= model_->n_vocab())
            return report.set(Status::kInvalidArgument, "token {} of the batch is {}; the vocabulary has {}", i,
                              batch.tokens[i], model_->n_vocab());
        if (sequence_of(batch, i) >= options_.max_sequences)
            return report.set(Status::kInvalidArgument, "token {} of the batch is for sequence {}; must be 0 to {}", i,
                              int32_t(sequence_of(batch, i)), options_.max_sequences - 1);
        const uint32_t s = sequence_of(batch, i);
        const int32_t position = cache_->next_position(s) + added_[s]++;
        if (batch.positions && batch.positions[i] != position)
            return report.set(Status::kUnsupported,
                              "token {} of the batch has position {}; only {}, which appends it, is supported", i,
                              batch.positions[i], position);
        n_outputs += batch.outputs && batch.outputs[i];
    }
    if (n_outputs > options_.max_outputs)
        return report.set(Status::kInvalidArgument,
                          "the batch wants {} outputs; the context has room for max_outputs, {}", n_outputs,
                          options_.max_outputs);
    for (uint32_t s = 0; s < options_.max_sequences; ++s) {
        if (uint32_t(added_[s]) <= room(s)) continue;
        return report.set(Status::kContextFull, "sequence {} has {} of {} tokens and no room for {} more", s,
                          cache_->length(s), options_.context_tokens, added_[s]);
    }
    for (uint32_t s = 0; s < options_.max_sequences; ++s)
        if (added_[s] && !cache_->reserve(s, cache_->length(s) + added_[s]))
            return report.set(Status::kContextFull, "the cache has no free pages for {} more tokens of sequence {}",
                              added_[s], s);
    return Status::kOk;
}

void Context::fill_step(const Batch &batch) noexcept {
    const StepLimits &limits = limits_.step;
    Step &step = step_;
    step.n_tokens = static_cast<int32_t>(batch.n);
    step.n_sequences = step.n_outputs = 0;
    std::fill_n(step_index_, options_.max_sequences, -1);
    for (size_t i = 0; i < batch.n; ++i) {
        const uint32_t s = sequence_of(batch, i);
        if (step_index_[s] < 0) {
            const int32_t at = step_index_[s] = step.n_sequences++;
            step.first_token[at] = static_cast<int32_t>(i);
            step.state_before[at] = cache_->state_before(s);
            step.state_after[at] = cache_->state_after(s);
            for (uint32_t g = 0; g < limits.n_groups; ++g) {
                std::copy_n(cache_->pages(g, s), limits.max_pages, const_cast<int32_t *>(step.pages_of(g, at)));
                step.length[g * limits.max_sequences + at] = static_cast<int32_t>(cache_->length(s)) + added_[s];
            }
            added_[s] = 0;  // counts up again below
        }
        const uint32_t row = cache_->length(s) + added_[s]++;
        step.token[i] = batch.tokens[i];
        step.embedding_row[i] = step.parent[i] = step.adapter_of[i] = -1;
        step.sequence_of[i] = step_index_[s];
        for (uint32_t axis = 0; axis < limits.n_axes; ++axis)
            step.position[axis * limits.max_tokens + i] = static_cast<int32_t>(row);
        for (uint32_t g = 0; g < limits.n_groups; ++g) {
            const size_t at = size_t(g) * limits.max_tokens + i;
            step.slot[at] = cache_->slot(g, s, row);
            const uint32_t window = model_->program().cache_groups[g].window;
            step.visible_begin[at] = static_cast<int32_t>(window && row >= window ? row + 1 - window : 0);
            step.visible_end[at] = static_cast<int32_t>(row) + 1;
        }
        if (batch.outputs ? batch.outputs[i] : i + 1 == batch.n) {
            step.output_row[step.n_outputs] = static_cast<int32_t>(i);
            step.output_kind[step.n_outputs++] = 0;
        }
    }
}

Status Context::remove(uint32_t sequence, uint32_t begin, uint32_t end, Report &report) noexcept {
    const uint32_t length = cache_->length(sequence);
    if (begin >= length || begin >= end) return Status::kOk;
    if (end < length)
        return report.set(Status::kUnsupported,
                          "removing positions {} to {} of sequence {} would leave {} tokens behind the gap", begin, end,
                          sequence, length - end);
    if (begin > 0 && !model_->program().state_layers.empty())
        return report.set(Status::kUnsupported,
                          "removing positions {} to {} of sequence {}: the model keeps a recurrent state, which can "
                          "only be forgotten from position 0 on",
                          begin, end, sequence);
    cache_->truncate(sequence, begin, static_cast<int32_t>(begin));
    return Status::kOk;
}

}  // namespace el
