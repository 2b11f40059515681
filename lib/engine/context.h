// A context: sequences, their cache, and one executable. Used by one thread at a time; only cancel() may come from
// elsewhere. After construction nothing allocates.
#pragma once
#include "base/report.h"
#include "cache/cache.h"
#include "engine/model.h"
#include "text/text_stream.h"

#include <algorithm>
#include <atomic>
#include <optional>

namespace el {

struct Batch {
    const int32_t *tokens = nullptr;     // [n]
    const int32_t *sequences = nullptr;  // [n] NULL: all `sequence`
    int32_t sequence = 0;
    const int32_t *positions = nullptr;  // [n] NULL: appended; others are not supported
    const int32_t *parents = nullptr;    // [n] NULL: none. The token before each in a tree of drafts; -1: the last row
    const uint8_t *outputs = nullptr;    // [n] NULL: the last one
    size_t n = 0;
    int64_t deadline_ns = 0;                            // of now_ns(): the step does not begin after it; 0: none
    void *wait_event = nullptr, *done_event = nullptr;  // see Executable::use_events()
};

constexpr uint32_t kMaxTreeTokens = 64;  // of one sequence in a step

// Of the monotonic clock that deadlines use.
int64_t now_ns();

class Context {
  public:
    // Throws Error.
    Context(std::shared_ptr<const Model> model, const ContextOptions &options);

    const Model &model() const { return *model_; }
    const ContextOptions &options() const { return options_; }  // with the defaults resolved
    int n_threads() const { return pool_->size(); }
    uint64_t memory_bytes() const { return memory_bytes_; }  // on all devices

    // One step, all or nothing: after a failure the lengths are as before and there are no outputs.
    Status decode(const Batch &batch, Report &report) noexcept;
    uint32_t n_outputs() const { return n_outputs_; }
    const float *logits(uint32_t row) const { return executable_->logits(row); }

    // See Executable::best().
    bool best(uint32_t row, size_t n, BestTokens &out) const { return executable_->best(row, n, out); }
    // A lost device is found out between steps, too: by reading logits, or by what is done to sequences.
    Status failure(Report &report) const noexcept;

    uint32_t length(uint32_t sequence) const { return cache_->length(sequence); }
    int32_t next_position(uint32_t sequence) const { return cache_->next_position(sequence); }
    // Tokens that can be appended.
    uint32_t room(uint32_t sequence) const;
    const Cache &cache() const { return *cache_; }
    CacheMemory &memory() { return executable_->cache(); }
    void time_stages(std::vector<StageTime> *times) { executable_->time_stages(times); }  // as Executable has it

    // ---- sequences, between steps

    // Forgets the tokens at positions [begin, end).
    Status remove(uint32_t sequence, int32_t begin, int32_t end, Report &report) noexcept;
    // Moves the tokens at positions [begin, end) by `delta` positions.
    Status shift(uint32_t sequence, int32_t begin, int32_t end, int32_t delta, Report &report) noexcept;
    // `to` becomes what `from` is.
    Status fork(uint32_t from, uint32_t to, Report &report) noexcept;
    void clear(uint32_t sequence) noexcept;
    // An empty sequence takes over what earlier prompts with the same beginning left. Returns how many tokens.
    uint32_t reuse_prefix(uint32_t sequence, std::span<const int32_t> tokens) noexcept;

    void cancel() noexcept { cancelled_.store(true, std::memory_order_relaxed); }
    bool take_cancel() noexcept { return cancelled_.exchange(false, std::memory_order_relaxed); }

    // For generate(): a text stream and room for held-back text, made with the context. NULL without a vocabulary.
    TextStream *text_stream() { return stream_ ? &*stream_ : nullptr; }
    std::span<char> text_buffer() { return text_buffer_; }

  private:
    friend class SequenceState;
    void take_memory(const ContextPlan &plan);
    Status check(const Batch &batch, Report &report) noexcept;
    Status check_parent(const Batch &batch, size_t i, Report &report) const noexcept;
    Status make_room(const Batch &batch, Report &report) noexcept;
    Status make_private(uint32_t sequence, uint32_t row, Report &report) noexcept;
    void apply(const CacheEdits &edits) noexcept;
    int32_t position_of(const Batch &batch, size_t i) const noexcept;
    void fill_step(const Batch &batch) noexcept;
    void fill_sequence(uint32_t sequence, int32_t at) noexcept;
    bool recurrent() const { return !model_->program().state_layers.empty(); }
    uint32_t sequence_of(const Batch &batch, size_t i) const {
        return static_cast<uint32_t>(batch.sequences ? batch.sequences[i] : batch.sequence);
    }

    std::shared_ptr<const Model> model_;
    BudgetClaim claim_;
    ContextOptions options_;
    ExecutableLimits limits_;
    std::optional<ThreadPool> pool_;
    uint64_t memory_bytes_ = 0;
    Arena arena_;
    std::optional<Cache> cache_;
    Step step_;
    int32_t *added_ = nullptr;       // [max_sequences] tokens that the batch brings
    int32_t *step_index_ = nullptr;  // [max_sequences] place in the step, -1: not in it
    int32_t *tree_ = nullptr;        // [max_sequences] position from which on drafts in a tree follow; -1: none do
    int32_t *order_ = nullptr;       // [max_batch_tokens] of a token, among those of its sequence in the step
    int32_t *slots_[2] = {};         // [max_rows] each: for apply() and moves
    std::span<char> text_buffer_;
    // Saved sequences pass through.
    std::span<std::byte> state_buffer_;
    SavedGroup *saved_groups_ = nullptr;  // [n_groups]
    std::optional<TextStream> stream_;
    std::unique_ptr<Executable> executable_;
    uint32_t n_outputs_ = 0;
    std::atomic<bool> cancelled_{false};
    static_assert(std::atomic<bool>::is_always_lock_free);  // cancel() may be called in a signal handler
};

}  // namespace el
