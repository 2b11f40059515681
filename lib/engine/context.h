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

struct ContextOptions {
    uint32_t context_tokens = 0;  // of each sequence; 0: the model's
    uint32_t max_sequences = 1;
    uint32_t max_batch_tokens = 512;
    uint32_t max_outputs = 0;  // 0: as many as max_sequences
    Format cache_k = Format::kF16, cache_v = Format::kF16;
    ThreadPoolOptions threads;
};

struct Batch {
    const int32_t *tokens = nullptr;     // [n]
    const int32_t *sequences = nullptr;  // [n] NULL: all `sequence`
    int32_t sequence = 0;
    const int32_t *positions = nullptr;  // [n] NULL: appended; others are not supported
    const uint8_t *outputs = nullptr;    // [n] NULL: the last one
    size_t n = 0;
};

constexpr uint32_t kMaxStopStrings = 16, kMaxStopBytes = 255;

class Context {
  public:
    // Throws Error.
    Context(std::shared_ptr<const Model> model, const ContextOptions &options);

    const Model &model() const { return *model_; }
    const ContextOptions &options() const { return options_; }  // with the defaults resolved
    int n_threads() const { return pool_->size(); }
    uint64_t memory_bytes() const { return arena_.bytes(); }

    // One step, all or nothing: after a failure the lengths are as before and there are no outputs.
    Status decode(const Batch &batch, Report &report) noexcept;
    uint32_t n_outputs() const { return n_outputs_; }
    const float *logits(uint32_t row) const { return executable_->logits() + size_t(row) * model_->n_vocab(); }

    uint32_t length(uint32_t sequence) const { return cache_->length(sequence); }
    uint32_t room(uint32_t sequence) const {
        return std::min(cache_->room(sequence), options_.context_tokens - cache_->length(sequence));
    }
    // Forgets the rows [begin, end), which must reach to the end.
    Status remove(uint32_t sequence, uint32_t begin, uint32_t end, Report &report) noexcept;

    void cancel() noexcept { cancelled_.store(true, std::memory_order_relaxed); }
    bool take_cancel() noexcept { return cancelled_.exchange(false, std::memory_order_relaxed); }

    // For generate(): a text stream and room for held-back text, made with the context. NULL without a vocabulary.
    TextStream *text_stream() { return stream_ ? &*stream_ : nullptr; }
    std::span<char> text_buffer() { return text_buffer_; }

  private:
    template <typename Memory> void lay_out(Memory &memory);
    Status check(const Batch &batch, Report &report) noexcept;
    void fill_step(const Batch &batch) noexcept;
    uint32_t sequence_of(const Batch &batch, size_t i) const {
        return static_cast<uint32_t>(batch.sequences ? batch.sequences[i] : batch.sequence);
    }

    std::shared_ptr<const Model> model_;
    ContextOptions options_;
    ExecutableLimits limits_;
    std::optional<ThreadPool> pool_;
    Arena arena_;
    std::optional<Cache> cache_;
    Step step_;
    int32_t *added_ = nullptr;       // [max_sequences] tokens that the batch brings
    int32_t *step_index_ = nullptr;  // [max_sequences] place in the step, -1: not in it
    std::span<char> text_buffer_;
    std::optional<TextStream> stream_;
    std::unique_ptr<Executable> executable_;
    uint32_t n_outputs_ = 0;
    std::atomic<bool> cancelled_{false};
    static_assert(std::atomic<bool>::is_always_lock_free);  // cancel() may be called in a signal handler
};

}  // namespace el
