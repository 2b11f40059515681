#include "engine/context.h"

#include "base/format.h"
#include <algorithm>
#include <chrono>
#include <limits>

namespace el {
Context::Context(std::shared_ptr<const Model> model, const ContextOptions &options) : model_(std::move(model)) {
    if (!model_->has_weights())
        fail(Status::kNoWeights, "{}: loaded without weights; a context needs them", model_->path());
    const ContextPlan plan = plan_context(model_->plan(), options);
    options_ = plan.options;
    limits_ = plan.limits;
    take_memory(plan);
    pool_.emplace(options_.threads);

    ContextMemory memory = lay_out_context(model_->program(), plan, arena_, [](const char *) {});
    cache_ = std::move(memory.cache);
    step_ = memory.step;
    added_ = memory.added;
    step_index_ = memory.step_index;
    tree_ = memory.tree;
    order_ = memory.order;
    std::copy_n(memory.slots, 2, slots_);
    text_buffer_ = memory.text;
    state_buffer_ = memory.state;
    saved_groups_ = memory.saved_groups;
    std::fill_n(tree_, options_.max_sequences, -1);
    executable_ = model_->backend().compile(model_->program(), limits_, model_->weights(), arena_, *pool_);
    if (model_->vocabulary()) stream_.emplace(*model_->vocabulary());
}

void Context::take_memory(const ContextPlan &plan) {
    const uint64_t bytes = peak_bytes(plan.regions);
    const std::unique_lock lock = model_->budget().exclusive();
    claim_ = BudgetClaim(model_->budget(), bytes);
    if (const Room room = model_->plan().room(claim_.available()); !room.holds(plan.regions)) {
        const uint32_t fits = max_context(model_->plan(), options_, room);
        refuse(plan.regions, room,
               el::format("a context of {} tokens for {} sequence(s)", options_.context_tokens, options_.max_sequences),
               fits ? el::format("context_tokens of {} would fit", fits)
                    : "choose a smaller max_batch_tokens, max_sequences or max_outputs, or another cache format");
    }
    memory_bytes_ = all_bytes(plan.regions);
    uint64_t arena_bytes = 0;
    for (const PlannedRegion &region : plan.regions)
        if (region.in_arena) arena_bytes += region.bytes;
    arena_ = Arena(arena_bytes);
}

int64_t now_ns() {
    using namespace std::chrono;
    return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

Status Context::decode(const Batch &batch, Report &report) noexcept {
    n_outputs_ = 0;
    if (check(batch, report) != Status::kOk) return report.status;
    if (take_cancel()) return report.set(Status::kCancelled, "cancelled before the step");
    if (batch.deadline_ns && now_ns() >= batch.deadline_ns)
        return report.set(Status::kDeadlineExceeded, "the deadline had passed before the step");
    if (make_room(batch, report) != Status::kOk) return report.status;
    fill_step(batch);
    if (batch.wait_event || batch.done_event) executable_->use_events(batch.wait_event, batch.done_event);
    Status status = executable_->run(step_);
    if (status != Status::kOk)
        return report.set(status, "a step of {} tokens failed: {}", batch.n, executable_->error());
    if (take_cancel()) return report.set(Status::kCancelled, "cancelled during the step");
    for (uint32_t s = 0; s < options_.max_sequences; ++s) {
        if (added_[s] == 0) continue;
        const int32_t before = cache_->next_position(s);
        cache_->commit(s, added_[s], before + added_[s], !batch.parents);
        if (batch.parents) tree_[s] = before;
    }
    n_outputs_ = step_.n_outputs;
    return Status::kOk;
}

Status Context::failure(Report &report) const noexcept {
    const Status status = executable_->failure();
    if (status != Status::kOk) report.set(status, "{}", executable_->error());
    return status;
}

Status Context::check(const Batch &batch, Report &report) noexcept {
    if (batch.n == 0 || batch.n > options_.max_batch_tokens)
        return report.set(Status::kInvalidArgument, "a batch of {} tokens; must be 1 to max_batch_tokens, {}", batch.n,
                          options_.max_batch_tokens);
    if (batch.parents && recurrent())
        return report.set(Status::kUnsupported, "a tree of drafts: the model's recurrent state follows one path only");
    if ((batch.wait_event || batch.done_event) && !model_->backend().has_streams())
        return report.set(Status::kUnsupported,
                          "wait_event and done_event are for models on a GPU; this one is on the device '{}'",
                          model_->backend().name());
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
        if (tree_[s] >= 0)
            return report.set(Status::kUnsupported,
                              "sequence {} ends with a tree of drafts; remove it from position {} on first", s,
                              tree_[s]);
        order_[i] = added_[s]++;
        if (batch.parents && check_parent(batch, i, report) != Status::kOk) return report.status;
        const int32_t position = position_of(batch, i);
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
        if (added_[s] == 0) continue;
        if (cache_->next_position(s) > std::numeric_limits<int32_t>::max() - added_[s])
            return report.set(Status::kContextFull,
                              "sequence {} has reached the largest position; empty it or shift it back", s);
        if (uint32_t(added_[s]) > room(s))
            return report.set(Status::kContextFull,
                              "sequence {} has {} of {} tokens and no room for {} more; remove some, or create the "
                              "context with more context_tokens or a cache_policy",
                              s, cache_->length(s), options_.context_tokens, added_[s]);
    }
    return Status::kOk;
}

Status Context::check_parent(const Batch &batch, size_t i, Report &report) const noexcept {
    const int32_t parent = batch.parents[i];
    if (parent < -1 || parent >= int32_t(i) ||
        (parent >= 0 && sequence_of(batch, size_t(parent)) != sequence_of(batch, i)))
        return report.set(Status::kInvalidArgument,
                          "token {} of the batch has the parent {}; must be an earlier token of its sequence, or -1", i,
                          parent);
    for (const CacheGroup &group : model_->program().cache_groups)
        if (group.window &&
            position_of(batch, i) - cache_->next_position(sequence_of(batch, i)) >= int32_t(group.window))
            return report.set(Status::kUnsupported, "a tree of drafts deeper than the model's window of {} tokens",
                              group.window);
    if (order_[i] >= int32_t(kMaxTreeTokens))
        return report.set(Status::kLimitExceeded, "more than {} tokens of a sequence in a tree of drafts",
                          kMaxTreeTokens);
    return Status::kOk;
}

// Positions follow from the order of tokens, or in a tree from their depth.
int32_t Context::position_of(const Batch &batch, size_t i) const noexcept {
    const int32_t next = cache_->next_position(sequence_of(batch, i));
    if (!batch.parents) return next + order_[i];
    int32_t depth = 0;
    for (int32_t p = batch.parents[i]; p >= 0; p = batch.parents[p]) ++depth;
    return next + depth;
}

uint32_t Context::room(uint32_t sequence) const {
    const auto positions = uint32_t(std::numeric_limits<int32_t>::max() - cache_->next_position(sequence));
    if (options_.eviction != Eviction::kNone) return std::min(positions, options_.max_batch_tokens);
    const uint32_t length = cache_->length(sequence);
    return std::min(
        {positions, cache_->room(sequence), options_.context_tokens - std::min(length, options_.context_tokens)});
}

Status Context::make_room(const Batch &batch, Report &report) noexcept {
    CacheEdits edits;
    for (uint32_t s = 0; s < options_.max_sequences; ++s) {
        if (added_[s] == 0) continue;
        while (options_.eviction != Eviction::kNone &&
               cache_->length(s) + uint32_t(added_[s]) > options_.context_tokens && cache_->evict(s, edits))
            apply(edits);
        if (!cache_->reserve(s, uint32_t(added_[s]), edits))
            return report.set(Status::kContextFull, "the cache has no free pages for {} more tokens of sequence {}",
                              added_[s], s);
        apply(edits);
    }
    for (size_t i = 0; i < batch.n; ++i) {
        const uint32_t s = sequence_of(batch, i);
        cache_->set_row(s, cache_->length(s) + uint32_t(order_[i]), batch.tokens[i], position_of(batch, i));
    }
    return Status::kOk;
}

void Context::apply(const CacheEdits &edits) noexcept {
    CacheMemory &memory = executable_->cache();
    auto page_slots = [](int32_t page, int32_t *slots) {
        for (uint32_t i = 0; i < kPageTokens; ++i) slots[i] = page * int32_t(kPageTokens) + int32_t(i);
    };
    for (uint32_t i = 0; i < edits.n_copies; ++i) {
        const CacheEdits::Copy &copy = edits.copies[i];
        page_slots(copy.from, slots_[0]);
        page_slots(copy.to, slots_[1]);
        memory.copy_rows(copy.group, slots_[0], slots_[1], kPageTokens);
        if (edits.turn_sinks) memory.turn_keys(copy.group, slots_[1], kPageTokens, edits.turn);
    }
}

void Context::fill_sequence(uint32_t s, int32_t at) noexcept {
    const StepLimits &limits = limits_.step;
    step_.state_before[at] = cache_->state_before(s);
    step_.state_after[at] = cache_->state_after(s);
    cache_->forget_former_state(s);
    for (uint32_t g = 0; g < limits.n_groups; ++g) {
        std::copy_n(cache_->pages(g, s), cache_->n_pages(g, s), const_cast<int32_t *>(step_.pages_of(g, uint32_t(at))));
        step_.length[g * limits.max_sequences + uint32_t(at)] =
            int32_t(cache_->length(s) - cache_->first_row(g, s)) + added_[s];
    }
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
            fill_sequence(s, at);
        }
        const uint32_t row = cache_->length(s) + uint32_t(order_[i]);
        const int32_t position = cache_->position(s, row);
        step.token[i] = batch.tokens[i];
        step.embedding_row[i] = step.adapter_of[i] = -1;
        step.parent[i] = batch.parents ? batch.parents[i] : -1;
        step.ancestors[i] = batch.parents ? uint64_t(1) << order_[i] : 0;
        if (step.parent[i] >= 0) step.ancestors[i] |= step.ancestors[step.parent[i]];
        step.sequence_of[i] = step_index_[s];
        for (uint32_t axis = 0; axis < limits.n_axes; ++axis) step.position[axis * limits.max_tokens + i] = position;
        for (uint32_t g = 0; g < limits.n_groups; ++g) {
            const size_t at = size_t(g) * limits.max_tokens + i;
            const uint32_t first = cache_->first_row(g, s);
            step.slot[at] = cache_->slot(g, s, row);
            // In a tree, rows before the step are looked at: drafts are never as long as a window.
            const uint32_t known = batch.parents ? cache_->length(s) : row + 1;
            step.visible_begin[at] = static_cast<int32_t>(cache_->first_visible(g, s, position, known) - first);
            step.visible_end[at] = static_cast<int32_t>(row + 1 - first);
        }
        if (batch.outputs ? batch.outputs[i] : i + 1 == batch.n) {
            step.output_row[step.n_outputs] = static_cast<int32_t>(i);
            step.output_kind[step.n_outputs++] = 0;
        }
    }
}

}  // namespace el
