// Memory: nothing is allocated after a context's creation, and whichever allocation fails, there is a status, every
// handle stays usable, and nothing leaks.
#include "allocations.h"

#include <array>
#include <cstdio>
#include <doctest/doctest.h>
#include <edgellm/edgellm.h>
#include <string>

extern unsigned skipped_cases;

namespace {

using allocations::Mode;

constexpr const char *kMessages = "[{\"role\": \"user\", \"content\": \"hello <tool> \\u00e9 42\"}]";
constexpr const char *kStatePath = TINY_MODEL ".alloc_state";
constexpr size_t kPrompt = 64, kAnswer = 4;

bool skipped() {
    if (allocations::kAvailable) return false;
    std::fprintf(stderr, "skipped: the sanitizer has its own malloc\n");
    ++skipped_cases;
    return true;
}

struct Answer {
    std::array<edgellm_token, kAnswer> tokens{};
    size_t n = 0;

    static int32_t listen(void *user, const edgellm_token_event *event) {
        auto *self = static_cast<Answer *>(user);
        if (event->token != EDGELLM_NO_TOKEN && self->n < kAnswer) self->tokens[self->n++] = event->token;
        return 0;
    }
    bool operator==(const Answer &) const = default;
};

// The life of everything that the interface has, in steps that stop at the first failure.
class Life {
  public:
    // With `retry`, a step that ran out of memory is tried again when nothing fails any more.
    explicit Life(bool retry) : retry_(retry) {}
    ~Life() {
        edgellm_model_free(model_);
        edgellm_sampler_free(sampler_);
        edgellm_text_stream_free(stream_);
        edgellm_context_free(context_);
    }
    Life(const Life &) = delete;
    Life &operator=(const Life &) = delete;

    edgellm_status run() {
        load() && text() && create() && answer();
        return status_;
    }
    edgellm_status first_failure() const { return first_failure_; }
    const char *failed_step() const { return failed_step_; }
    const Answer &heard() const { return heard_; }
    edgellm_model *model() const { return model_; }
    edgellm_context *context() const { return context_; }
    edgellm_sampler *sampler() const { return sampler_; }
    edgellm_text_stream *stream() const { return stream_; }

    bool load() {
        edgellm_model_info info = EDGELLM_MODEL_INFO_INIT;
        edgellm_device_info device = EDGELLM_DEVICE_INFO_INIT;
        return step("load", [&] { return edgellm_model_load(TINY_MODEL, nullptr, &model_); }) &&
               step("info", [&] { return edgellm_model_get_info(model_, &info); }) &&
               step("device", [&] { return edgellm_device_get_info(0, &device); }) && step("metadata", [&] {
                   return edgellm_model_get_metadata(model_, "tokenizer.ggml.merges", text_, sizeof text_, nullptr);
               });
    }
    bool text() {
        return step("render",
                    [&] {
                        return edgellm_model_render_chat(model_, kMessages, "{\"a\": [1.5, null]}", text_, sizeof text_,
                                                         &n_text_);
                    }) &&
               step("tokenize",
                    [&] {
                        return edgellm_model_tokenize(model_, text_, n_text_, EDGELLM_TOKENIZE_CHAT, prompt_, kPrompt,
                                                      &n_prompt_);
                    }) &&
               step("detokenize", [&] {
                   return edgellm_model_detokenize(model_, prompt_, n_prompt_, 0, text_, sizeof text_, nullptr);
               });
    }
    bool create() {
        edgellm_context_options options = EDGELLM_CONTEXT_OPTIONS_INIT;
        options.context_tokens = 96;
        options.max_sequences = 2;
        options.n_threads = 2;
        options.max_batch_tokens = 16;
        options.max_outputs = 3;
        edgellm_sampler_options sampling = EDGELLM_SAMPLER_OPTIONS_INIT;
        const edgellm_token banned = 5;
        const float bias = -3;
        sampling.repetition_penalty = 1.1f;
        sampling.min_p = 0.01f;
        sampling.typical_p = 0.99f;
        sampling.xtc_probability = 0.5f;
        sampling.dry_multiplier = 0.5f;
        sampling.stages = "penalties,dry,min_p,typical_p,xtc,temperature";
        sampling.n_logit_bias = 1;
        sampling.logit_bias_tokens = &banned;
        sampling.logit_bias_values = &bias;
        return step("context", [&] { return edgellm_context_create(model_, &options, &context_); }) &&
               step("sampler", [&] { return edgellm_sampler_create(model_, &sampling, &sampler_); }) &&
               step("stream", [&] { return edgellm_text_stream_create(model_, 0, &stream_); });
    }
    bool answer() {
        static constexpr const char *kStops[] = {"never said"};
        edgellm_generate_options options = EDGELLM_GENERATE_OPTIONS_INIT;
        options.max_tokens = kAnswer;
        options.flags = EDGELLM_GENERATE_IGNORE_END;
        options.stop_strings = kStops;
        options.n_stop_strings = 1;
        options.n_top = 3;
        return step("decode", [&] { return decode(0); }) &&
               step("save", [&] { return edgellm_sequence_save(context_, 0, saved_, sizeof saved_, &n_saved_); }) &&
               step("restore", [&] { return edgellm_sequence_restore(context_, 0, saved_, n_saved_); }) &&
               step("generate", [&] {
                   heard_ = {};
                   return edgellm_context_generate(context_, 0, sampler_, prompt_, n_prompt_, &options, Answer::listen,
                                                   &heard_, nullptr);
               });
    }
    edgellm_status decode(edgellm_sequence sequence) {
        static constexpr uint8_t kOutputs[] = {1, 0, 1, 1};
        const edgellm_sequence sequences[] = {sequence, sequence, sequence, sequence};
        edgellm_batch batch = EDGELLM_BATCH_INIT;
        batch.n_tokens = 4;
        batch.tokens = prompt_;
        batch.sequences = sequences;
        batch.outputs = kOutputs;
        return edgellm_context_decode(context_, &batch, nullptr, nullptr);
    }

  private:
    template <typename Call> bool step(const char *name, Call call) {
        status_ = call();
        if (status_ == EDGELLM_OK) return true;
        if (first_failure_ == EDGELLM_OK) first_failure_ = status_, failed_step_ = name;
        if (!retry_ || status_ != EDGELLM_OUT_OF_MEMORY) return false;
        allocations::disarm();
        return (status_ = call()) == EDGELLM_OK;
    }

    const bool retry_;
    edgellm_status status_ = EDGELLM_OK, first_failure_ = EDGELLM_OK;
    const char *failed_step_ = "none";
    edgellm_model *model_ = nullptr;
    edgellm_context *context_ = nullptr;
    edgellm_sampler *sampler_ = nullptr;
    edgellm_text_stream *stream_ = nullptr;
    char text_[2048] = "";
    edgellm_token prompt_[kPrompt] = {};
    char saved_[1 << 15];
    size_t n_text_ = 0, n_prompt_ = 0, n_saved_ = 0;
    Answer heard_;
};

Answer undisturbed_answer() {
    Life life(false);
    REQUIRE_MESSAGE(life.run() == EDGELLM_OK, std::string(edgellm_last_error()));
    REQUIRE(life.heard().n == kAnswer);
    return life.heard();
}

// Lets one allocation after the other fail; returns how many there are.
int64_t fail_each(Mode mode) {
    const Answer wanted = undisturbed_answer();
    undisturbed_answer();  // what is made once per process or thread is there now
    const int64_t live_before = allocations::live();
    int64_t done_without = 0;  // PCRE2 works without its compiler of patterns, a device without a description
    for (int64_t k = 0;; ++k) {
        allocations::arm(k, mode);
        edgellm_status status, failure;
        bool same;
        const char *step;
        {
            Life life(mode == Mode::kOnce);
            status = life.run();
            failure = life.first_failure();
            same = life.heard() == wanted;
            step = life.failed_step();
        }
        allocations::disarm();
        const bool failed = allocations::has_failed();
        const int64_t live_after = allocations::live();
        CAPTURE(k);
        CAPTURE(step);
        REQUIRE(live_after == live_before);
        if (!failed) {
            CHECK(status == EDGELLM_OK);
            CHECK(same);
            CHECK(done_without < k / 10);
            return k;
        }
        if (mode == Mode::kOnce) {
            REQUIRE(status == EDGELLM_OK);
            REQUIRE(same);
        }
        if (failure == EDGELLM_OK)
            ++done_without;
        else
            REQUIRE(failure == EDGELLM_OUT_OF_MEMORY);
    }
}

}  // namespace

TEST_CASE("the hooks see what is allocated") {
    if (skipped()) return;
    allocations::arm(allocations::kNever, Mode::kOnce);
    const int64_t before = allocations::live();
    Life life(false);
    REQUIRE(life.load());
    CHECK(allocations::made() > 100);
    CHECK(allocations::live() > before);
}

TEST_CASE("after the creation of a context nothing is allocated") {
    if (skipped()) return;
    Life life(false);
    REQUIRE((life.load() && life.text() && life.create()));
    edgellm_context_info info = EDGELLM_CONTEXT_INFO_INIT;
    edgellm_sequence_info sequence = EDGELLM_SEQUENCE_INFO_INIT;
    edgellm_token token = 0, top[8];
    float logprobs[8];
    const float *logits = nullptr;
    char text[64];
    edgellm_status statuses[32] = {};
    size_t n = 0, n_saved = 0;
    static char saved[1 << 16];

    allocations::arm(allocations::kNever, Mode::kOnce);
    statuses[n++] = life.decode(0);
    statuses[n++] = edgellm_context_get_logits(life.context(), 2, &logits, nullptr);
    statuses[n++] = edgellm_context_get_top(life.context(), 1, 8, top, logprobs, nullptr);
    statuses[n++] = edgellm_context_get_logprob(life.context(), 1, 7, logprobs);
    statuses[n++] = edgellm_sampler_sample(life.sampler(), life.context(), 0, &token);
    statuses[n++] = edgellm_sampler_accept(life.sampler(), token);
    statuses[n++] = edgellm_text_stream_push(life.stream(), token, text, sizeof text, nullptr);
    statuses[n++] = edgellm_text_stream_flush(life.stream(), text, sizeof text, nullptr);
    statuses[n++] = edgellm_sampler_reset(life.sampler());
    statuses[n++] = edgellm_sequence_remove(life.context(), 0, 2, -1);
    statuses[n++] = edgellm_sequence_fork(life.context(), 0, 1);
    statuses[n++] = edgellm_sequence_remove(life.context(), 1, 0, 1);
    statuses[n++] = edgellm_sequence_shift(life.context(), 1, 0, -1, -1);
    statuses[n++] = edgellm_sequence_keep(life.context(), 0);
    statuses[n++] = edgellm_sequence_save(life.context(), 0, saved, sizeof saved, &n_saved);
    statuses[n++] = edgellm_sequence_restore(life.context(), 1, saved, n_saved);
    statuses[n++] = edgellm_sequence_save_file(life.context(), 0, kStatePath);
    statuses[n++] = edgellm_sequence_restore_file(life.context(), 1, kStatePath);
    const edgellm_status refused = edgellm_sequence_restore(life.context(), 1, saved, n_saved - 1);
    statuses[n++] = edgellm_sequence_get_info(life.context(), 0, &sequence);
    statuses[n++] = edgellm_context_get_info(life.context(), &info);
    statuses[n++] = life.answer() ? EDGELLM_OK : EDGELLM_INTERNAL;
    statuses[n++] = edgellm_context_cancel(life.context());
    const edgellm_status cancelled = life.decode(0);
    const edgellm_status again = life.decode(0);
    const int64_t made = allocations::made();

    CHECK(made == 0);
    CHECK(refused == EDGELLM_FILE_TRUNCATED);
    CHECK(std::remove(kStatePath) == 0);
    for (size_t i = 0; i < n; ++i) {
        CAPTURE(i);
        CHECK(statuses[i] == EDGELLM_OK);
    }
    CHECK(cancelled == EDGELLM_CANCELLED);
    CHECK(again == EDGELLM_OK);
    CHECK(life.heard().n == kAnswer);
}

TEST_CASE("nothing is allocated however long a conversation becomes") {
    if (skipped()) return;
    constexpr int32_t kChunk = 16, kSteps = 2'000;
    edgellm_model *model = nullptr;
    edgellm_context *context = nullptr;
    edgellm_context_options options = EDGELLM_CONTEXT_OPTIONS_INIT;
    options.context_tokens = 128;
    options.max_sequences = 2;
    options.max_batch_tokens = kChunk;
    options.n_threads = 2;
    options.cache_policy = EDGELLM_CACHE_SINKS;
    REQUIRE(edgellm_model_load(TINY_MODEL, nullptr, &model) == EDGELLM_OK);
    REQUIRE(edgellm_context_create(model, &options, &context) == EDGELLM_OK);
    edgellm_token tokens[kChunk];
    edgellm_sequence sequences[kChunk];
    auto decode = [&](int32_t n, edgellm_sequence sequence) {
        edgellm_batch batch = EDGELLM_BATCH_INIT;
        batch.n_tokens = n;
        batch.tokens = tokens;
        batch.sequences = sequences;
        for (int32_t i = 0; i < n; ++i) tokens[i] = (tokens[i] * 5 + 3) % 250, sequences[i] = sequence;
        return edgellm_context_decode(context, &batch, nullptr, nullptr);
    };
    for (edgellm_token &token : tokens) token = static_cast<edgellm_token>(&token - tokens);
    int32_t failures = 0;
    static char saved[1 << 16];
    size_t n_saved = 0;
    edgellm_sequence_info info = EDGELLM_SEQUENCE_INFO_INIT;

    allocations::arm(allocations::kNever, Mode::kOnce);
    for (int32_t i = 0; i < 6; ++i) failures += decode(kChunk, 0) != EDGELLM_OK;  // a prompt of 96 tokens
    failures += edgellm_sequence_fork(context, 0, 1) != EDGELLM_OK;
    for (int32_t i = 0; i < kSteps; ++i) failures += decode(1, 0) != EDGELLM_OK;  // pages are given up again and again
    failures += decode(kChunk, 1) != EDGELLM_OK;                                  // on pages of its own
    failures += edgellm_sequence_save(context, 0, saved, sizeof saved, &n_saved) != EDGELLM_OK;
    failures += edgellm_sequence_restore(context, 1, saved, n_saved) != EDGELLM_OK;
    failures += edgellm_context_cancel(context) != EDGELLM_OK;
    failures += decode(1, 0) != EDGELLM_CANCELLED;
    failures += decode(1, 0) != EDGELLM_OK;
    failures += edgellm_sequence_get_info(context, 0, &info) != EDGELLM_OK;
    const int64_t made = allocations::made();

    CHECK(made == 0);
    CHECK(failures == 0);
    CHECK(info.n_tokens <= 128);
    CHECK(info.n_tokens > 64);
    edgellm_context_free(context);
    edgellm_model_free(model);
}

TEST_CASE("any allocation of a memory plan may fail") {
    if (skipped()) return;
    edgellm_context_options options = EDGELLM_CONTEXT_OPTIONS_INIT;
    options.context_tokens = 64;
    auto make_plan = [&] {
        edgellm_memory_plan *plan = nullptr;
        const edgellm_status status = edgellm_memory_plan_create(TINY_MODEL, nullptr, &options, &plan);
        edgellm_memory_plan_free(plan);
        return status;
    };
    REQUIRE(make_plan() == EDGELLM_OK);
    const int64_t live_before = allocations::live();
    for (int64_t k = 0;; k += 1 + k / 256) {  // the search for the largest context repeats itself
        allocations::arm(k, Mode::kFromThenOn);
        const edgellm_status status = make_plan();
        allocations::disarm();
        CAPTURE(k);
        REQUIRE(allocations::live() == live_before);
        if (!allocations::has_failed()) {
            CHECK(status == EDGELLM_OK);
            CHECK(k > 100);
            return;
        }
        REQUIRE(status == EDGELLM_OUT_OF_MEMORY);
    }
}

TEST_CASE("any allocation may fail once") {
    if (skipped()) return;
    CHECK(fail_each(Mode::kOnce) > 100);
}

TEST_CASE("from any allocation on all may fail") {
    if (skipped()) return;
    CHECK(fail_each(Mode::kFromThenOn) > 100);
}
