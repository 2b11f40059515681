#include "engine/generate.h"
#include "engine/row.h"

#include <algorithm>
#include <cstring>

namespace el {
namespace {

// What the model thought of a token.
class Likelihoods {
  public:
    void measure(const Context &context, const GenerateOptions &options, const Sampler &sampler, int32_t token) {
        if (!options.logprobs && options.n_top == 0) return;
        const size_t n_best = std::max<size_t>(options.n_top, sampler.best_wanted());  // with what is known already
        logprob_ = log_probability_of_row(context, 0, token, n_best);
        n_top_ = log_softmax_top_of_row(context, 0, options.n_top, top_tokens_, top_logprobs_);
    }
    void tell(TokenEvent &event) const {
        event.logprob = logprob_;
        event.top_tokens = {top_tokens_, n_top_};
        event.top_logprobs = {top_logprobs_, n_top_};
    }

  private:
    float logprob_ = 0;
    size_t n_top_ = 0;
    int32_t top_tokens_[kMaxTop];
    float top_logprobs_[kMaxTop];
};

// Text on its way to the callback. What may be the beginning of a stop string waits here.
class Outlet {
  public:
    Outlet(Context &context, const GenerateOptions &options)
        : stream_(context.text_stream()), buffer_(context.text_buffer()), options_(options) {
        if (stream_) stream_->reset();
    }

    int32_t stop_string() const { return stop_string_; }

    // Takes the token's text in. True when a stop string was found: the text ends before it.
    bool add(int32_t token) {
        if (!stream_) return false;
        size_t n = 0;
        stream_->push(token, buffer_.data() + n_, buffer_.size() - 1 - n_, n);
        n_ += n;
        return cut_at_stop_string();
    }

    // Hands over the event with what is certain to be text, or with `all` everything. True when the callback wants to
    // stop.
    bool deliver(TokenEvent event, bool all = false) {
        if (all && stream_ && stop_string_ < 0) {
            size_t n = 0;
            stream_->flush(buffer_.data() + n_, buffer_.size() - 1 - n_, n);
            n_ += n;
        }
        const size_t ready = all ? n_ : n_ - held_back();
        if (event.token < 0 && ready == 0) return false;
        int32_t answer = 0;
        if (options_.callback) {
            const char kept = ready < buffer_.size() ? buffer_[ready] : '\0';
            if (ready < buffer_.size()) buffer_[ready] = '\0';
            event.text = buffer_.empty() ? std::string_view("") : std::string_view(buffer_.data(), ready);
            answer = options_.callback(options_.user, event);
            if (ready < buffer_.size()) buffer_[ready] = kept;
        }
        if (ready) std::memmove(buffer_.data(), buffer_.data() + ready, n_ - ready);
        n_ -= ready;
        return answer != 0;
    }

  private:
    // The earliest stop string wins; of those that begin together the first in the list.
    bool cut_at_stop_string() {
        const std::string_view text(buffer_.data(), n_);
        size_t first = std::string_view::npos;
        for (size_t i = 0; i < options_.stop_strings.size(); ++i) {
            size_t at = text.find(options_.stop_strings[i]);
            if (at >= first) continue;
            first = at;
            stop_string_ = static_cast<int32_t>(i);
        }
        if (stop_string_ < 0) return false;
        n_ = first;
        return true;
    }

    // The longest end of the text that begins a stop string.
    size_t held_back() const {
        size_t longest = 0;
        for (std::string_view stop : options_.stop_strings)
            for (size_t n = std::min(n_, stop.size() - 1); n > longest; --n)
                if (std::memcmp(buffer_.data() + n_ - n, stop.data(), n) == 0) longest = n;
        return longest;
    }

    TextStream *stream_;
    std::span<char> buffer_;
    const GenerateOptions &options_;
    size_t n_ = 0;
    int32_t stop_string_ = -1;
};

class Generation {
  public:
    Generation(Context &context, uint32_t sequence, Sampler &sampler, const GenerateOptions &options,
               GenerateResult &result, Report &report)
        : context_(context), sequence_(static_cast<int32_t>(sequence)), sampler_(sampler), options_(options),
          result_(result), report_(report), outlet_(context, options) {}

    Status run(std::span<const int32_t> prompt) {
        const int64_t start = now_ns();
        Status status = read_prompt(prompt);
        const int64_t prompt_end = now_ns();
        if (status == Status::kOk) status = write_answer();
        if (status != Status::kOk) deliver_rest();
        if (status == Status::kCancelled) result_.reason = StopReason::kCancelled;
        if (status == Status::kDeadlineExceeded) result_.reason = StopReason::kDeadline;
        result_.prompt_ns = prompt_end - start;
        result_.generate_ns = now_ns() - prompt_end;
        return status;
    }

  private:
    Status read_prompt(std::span<const int32_t> prompt) {
        const size_t most = context_.options().max_batch_tokens;
        const uint32_t reused = context_.reuse_prefix(static_cast<uint32_t>(sequence_), prompt);
        result_.n_prompt = result_.n_reused = static_cast<int32_t>(reused);
        prompt = prompt.subspan(reused);
        for (size_t i = 0; i < prompt.size(); i += most) {
            std::span<const int32_t> chunk = prompt.subspan(i, std::min(most, prompt.size() - i));
            if (Status status = step(chunk); status != Status::kOk) return status;
            result_.n_prompt += static_cast<int32_t>(chunk.size());
        }
        return Status::kOk;
    }

    Status step(std::span<const int32_t> tokens) {
        Batch batch;
        batch.tokens = tokens.data();
        batch.n = tokens.size();
        // A step belongs to one sequence; max_batch_tokens bounds how many tokens need its number.
        batch.sequence = sequence_;
        batch.deadline_ns = options_.deadline_ns;
        return context_.decode(batch, report_);
    }

    Status write_answer() {
        const Vocabulary *vocabulary = context_.model().vocabulary();
        for (;;) {
            int32_t token = 0;
            const Status chosen = sample_row(context_, 0, sampler_, &token);
            if (Status status = context_.failure(report_); status != Status::kOk) return status;
            if (chosen != Status::kOk)
                return report_.set(chosen, "no token can be chosen: all logits are minus infinity or not a number");
            if (vocabulary && !options_.ignore_end && vocabulary->is_end_of_turn(token))
                return end(StopReason::kEndOfTurn);
            likelihoods_.measure(context_, options_, sampler_, token);
            sampler_.accept(token);
            ++result_.n_generated;
            const bool stop = outlet_.add(token);
            if (deliver(token, stop)) return end(StopReason::kCallback);
            if (stop) {
                result_.stop_string = outlet_.stop_string();
                return end(StopReason::kStopString);
            }
            if (options_.max_tokens && uint32_t(result_.n_generated) >= options_.max_tokens)
                return end(StopReason::kLength);
            if (context_.room(static_cast<uint32_t>(sequence_)) == 0) return end(StopReason::kContextFull);
            if (Status status = step({&token, 1}); status != Status::kOk) return status;
        }
    }

    bool deliver(int32_t token, bool all) {
        TokenEvent event{token, result_.n_generated};
        likelihoods_.tell(event);
        return outlet_.deliver(event, all);
    }

    // What a stop string or a character held back.
    void deliver_rest() { outlet_.deliver({-1, result_.n_generated}, true); }

    // A cancel that came too late for a step still ends this request, not the next one.
    Status end(StopReason reason) {
        if (context_.take_cancel()) return report_.set(Status::kCancelled, "cancelled at the end of a generation");
        if (reason != StopReason::kCallback) deliver_rest();
        result_.reason = reason;
        return Status::kOk;
    }

    Context &context_;
    const int32_t sequence_;
    Sampler &sampler_;
    const GenerateOptions &options_;
    GenerateResult &result_;
    Report &report_;
    Outlet outlet_;
    Likelihoods likelihoods_;
};

Status check(const Context &context, uint32_t sequence, const Sampler &sampler, std::span<const int32_t> prompt,
             const GenerateOptions &options, Report &report) {
    if (prompt.empty()) return report.set(Status::kInvalidArgument, "the prompt has no tokens");
    if (sampler.n_vocab() != context.model().n_vocab())
        return report.set(Status::kInvalidArgument, "the sampler is for {} tokens, the model has {}", sampler.n_vocab(),
                          context.model().n_vocab());
    if (prompt.size() > context.room(sequence) && context.options().eviction == Eviction::kNone)
        return report.set(Status::kPromptTooLong, "the prompt has {} tokens; sequence {} has room for {} more of {}",
                          prompt.size(), sequence, context.room(sequence), context.options().context_tokens);
    for (size_t i = 0; i < prompt.size(); ++i)
        if (prompt[i] < 0 || uint32_t(prompt[i]) >= context.model().n_vocab())
            return report.set(Status::kInvalidArgument, "token {} of the prompt is {}; the vocabulary has {}", i,
                              prompt[i], context.model().n_vocab());
    if (options.n_top > kMaxTop)
        return report.set(Status::kLimitExceeded, "n_top is {}; at most {}", options.n_top, kMaxTop);
    if (!options.stop_strings.empty() && !context.model().vocabulary())
        return report.set(Status::kNoVocabulary, "stop strings need a model with a vocabulary");
    for (std::string_view stop : options.stop_strings)
        if (stop.empty() || stop.size() > kMaxStopBytes)
            return report.set(stop.empty() ? Status::kInvalidArgument : Status::kLimitExceeded,
                              "a stop string of {} bytes; must be 1 to {}", stop.size(), kMaxStopBytes);
    return Status::kOk;
}

}  // namespace

Status generate(Context &context, uint32_t sequence, Sampler &sampler, std::span<const int32_t> prompt,
                const GenerateOptions &options, GenerateResult &result, Report &report) noexcept {
    result = {};
    if (check(context, sequence, sampler, prompt, options, report) != Status::kOk) return report.status;
    return Generation(context, sequence, sampler, options, result, report).run(prompt);
}

}  // namespace el
