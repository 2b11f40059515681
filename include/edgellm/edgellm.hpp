// edgellm.hpp: the C++20 interface of libedgellm; a header over edgellm.h, which documents everything.
//
//     edgellm::Model model("model.gguf");
//     edgellm::Context context(model, {.context_tokens = 4096});
//     edgellm::Sampler sampler(model, {.temperature = 0.7f});
//     auto prompt = model.tokenize(model.render_chat({{"user", "Why is the sky blue?"}}), EDGELLM_TOKENIZE_CHAT);
//     context.generate(sampler, prompt, [](const edgellm::TokenEvent &event) { std::cout << event.text; });
//
// Every failure throws edgellm::Error. Objects own their handle and can be moved, not copied; a moved-from object can
// only be destroyed or assigned to. The thread rules are those of edgellm.h.
#pragma once
#include <edgellm/edgellm.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace edgellm {

using Token = edgellm_token;
using Sequence = edgellm_sequence;

class Error : public std::runtime_error {
  public:
    Error(edgellm_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
    edgellm_status status() const noexcept { return status_; }

  private:
    edgellm_status status_;
};

namespace detail {

inline void check(edgellm_status status) {
    if (status != EDGELLM_OK) throw Error(status, edgellm_last_error());
}

template <typename Handle, void (*free_handle)(Handle *)> struct Free {
    void operator()(Handle *handle) const noexcept { free_handle(handle); }
};
template <typename Handle, void (*free_handle)(Handle *)> using Owned =
    std::unique_ptr<Handle, Free<Handle, free_handle>>;

// Calls `write(data, capacity, needed)` with a buffer that grows once, if it is too small. `extra` is the room that a
// closing NUL takes, which std::string has anyway.
template <typename Buffer, typename Write> Buffer fill(size_t first_guess, size_t extra, Write &&write) {
    Buffer buffer;
    buffer.resize(first_guess);
    size_t needed = 0;
    edgellm_status status = write(buffer.data(), buffer.size() + extra, &needed);
    if (status == EDGELLM_BUFFER_TOO_SMALL) {
        buffer.resize(needed);
        status = write(buffer.data(), buffer.size() + extra, &needed);
    }
    check(status);
    buffer.resize(needed);
    return buffer;
}

template <typename Write> std::string fill_text(size_t first_guess, Write &&write) {
    return fill<std::string>(first_guess, 1, std::forward<Write>(write));
}

inline std::vector<const char *> c_strings(const std::vector<std::string> &strings) {
    std::vector<const char *> pointers;
    for (const std::string &string : strings) pointers.push_back(string.c_str());
    return pointers;
}

inline void append_json(std::string &out, std::string_view text) {
    constexpr char hex[] = "0123456789abcdef";
    out += '"';
    for (char c : text) {
        auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20)
            out.append("\\u00").append(1, hex[byte >> 4]).append(1, hex[byte & 15]);
        else
            out.append(c == '"' || c == '\\' ? "\\" : "").append(1, c);
    }
    out += '"';
}

}  // namespace detail

// The name of a device for ModelOptions::device, its features and so on.
inline std::vector<edgellm_device_info> devices() {
    size_t n = 0;
    detail::check(edgellm_device_count(&n));
    std::vector<edgellm_device_info> all(n, edgellm_device_info EDGELLM_DEVICE_INFO_INIT);
    for (size_t i = 0; i < n; ++i) detail::check(edgellm_device_get_info(i, &all[i]));
    return all;
}

struct ModelOptions {
    std::string device = "auto";
    std::string isa = {};  // empty: whatever the CPU has
    edgellm_kernels kernels = EDGELLM_KERNELS_AUTO;
    bool vocabulary_only = false;
    bool map_file = false;
    std::function<bool(uint64_t done_bytes, uint64_t total_bytes)> progress = {};  // false stops the load
    std::function<void(edgellm_log_level level, std::string_view text)> log = {};  // what it throws is dropped
    edgellm_log_level log_level = EDGELLM_LOG_INFO;
    uint64_t budget_bytes = EDGELLM_BUDGET_AVAILABLE;
};

// Content may hold any UTF-8.
struct ChatMessage {
    std::string role;  // "system", "user", "assistant"
    std::string content;
};

class Model {
  public:
    explicit Model(const std::string &path, const ModelOptions &options = {})
        : log_(options.log ? std::make_shared<Log>(options.log) : nullptr) {
        edgellm_model_options c = to_c(options, log_.get());
        Progress progress{options.progress, nullptr};
        if (options.progress) c.progress = on_progress, c.progress_user = &progress;
        edgellm_model *handle = nullptr;
        edgellm_status status = edgellm_model_load(path.c_str(), &c, &handle);
        handle_.reset(handle);
        if (progress.thrown) std::rethrow_exception(progress.thrown);
        detail::check(status);
    }

    edgellm_model_info info() const {
        edgellm_model_info info = EDGELLM_MODEL_INFO_INIT;
        detail::check(edgellm_model_get_info(get(), &info));
        return info;
    }
    std::string metadata_key(size_t index) const {
        return detail::fill_text(
            64, [&](char *buf, size_t cap, size_t *n) { return edgellm_model_get_key(get(), index, buf, cap, n); });
    }
    // Nothing if the file does not have the key.
    std::optional<std::string> metadata(const std::string &key) const {
        size_t size = 0;
        edgellm_status status = edgellm_model_get_metadata(get(), key.c_str(), nullptr, 0, &size);
        if (status == EDGELLM_NOT_FOUND) return std::nullopt;
        return detail::fill_text(size, [&](char *buf, size_t cap, size_t *n) {
            return edgellm_model_get_metadata(get(), key.c_str(), buf, cap, n);
        });
    }

    std::vector<Token> tokenize(std::string_view text, uint32_t flags = 0) const {
        return detail::fill<std::vector<Token>>(text.size() / 2 + 8, 0, [&](Token *tokens, size_t cap, size_t *n) {
            return edgellm_model_tokenize(get(), text.data(), text.size(), flags, tokens, cap, n);
        });
    }
    std::string detokenize(std::span<const Token> tokens, uint32_t flags = 0) const {
        return detail::fill_text(tokens.size() * 6, [&](char *buf, size_t cap, size_t *n) {
            return edgellm_model_detokenize(get(), tokens.data(), tokens.size(), flags, buf, cap, n);
        });
    }
    edgellm_token_info token_info(Token token) const {
        edgellm_token_info info = EDGELLM_TOKEN_INFO_INIT;
        detail::check(edgellm_model_get_token_info(get(), token, &info));
        return info;
    }

    // Tokenize the result with EDGELLM_TOKENIZE_CHAT. `variables_json`: empty, or a JSON object.
    std::string render_chat(const std::vector<ChatMessage> &messages, const std::string &variables_json = {}) const {
        std::string json = "[";
        for (const ChatMessage &message : messages) {
            json += json.size() > 1 ? ", {\"role\": " : "{\"role\": ";
            detail::append_json(json, message.role);
            json += ", \"content\": ";
            detail::append_json(json, message.content);
            json += '}';
        }
        return render_chat_json(json + "]", variables_json);
    }
    std::string render_chat_json(const std::string &messages_json, const std::string &variables_json = {}) const {
        if ((messages_json + variables_json).find('\0') != std::string::npos)
            throw Error(EDGELLM_INVALID_TEXT, "the JSON of a chat contains a NUL");
        const char *variables = variables_json.empty() ? nullptr : variables_json.c_str();
        return detail::fill_text(messages_json.size() * 2 + 256, [&](char *buf, size_t cap, size_t *n) {
            return edgellm_model_render_chat(get(), messages_json.c_str(), variables, buf, cap, n);
        });
    }

    edgellm_model *get() const noexcept { return handle_.get(); }

  private:
    friend class Context;
    friend class MemoryPlan;
    using Log = std::function<void(edgellm_log_level, std::string_view)>;
    // All but the progress. The result points into `options`.
    static edgellm_model_options to_c(const ModelOptions &options, Log *log) {
        edgellm_model_options c = EDGELLM_MODEL_OPTIONS_INIT;
        c.flags = (options.vocabulary_only ? EDGELLM_MODEL_VOCABULARY_ONLY : 0) |
                  (options.map_file ? EDGELLM_MODEL_MAP_FILE : 0);
        c.device = options.device.c_str();
        c.isa = options.isa.empty() ? nullptr : options.isa.c_str();
        c.kernels = options.kernels;
        c.log_level = options.log_level;
        c.budget_bytes = options.budget_bytes;
        if (log) c.log = on_log, c.log_user = log;
        return c;
    }
    struct Progress {
        const std::function<bool(uint64_t, uint64_t)> &function;
        std::exception_ptr thrown;
    };
    static void on_log(void *user, edgellm_log_level level, const char *text) noexcept {
        try {
            (*static_cast<Log *>(user))(level, text);
        } catch (...) {
        }
    }
    static int32_t on_progress(void *user, uint64_t done_bytes, uint64_t total_bytes) noexcept {
        auto &progress = *static_cast<Progress *>(user);
        try {
            return progress.function(done_bytes, total_bytes) ? 0 : 1;
        } catch (...) {
            progress.thrown = std::current_exception();
            return 1;
        }
    }

    std::shared_ptr<Log> log_;  // contexts share it, as they may outlive this object
    detail::Owned<edgellm_model, edgellm_model_free> handle_;
};

class TextStream {
  public:
    explicit TextStream(const Model &model, uint32_t flags = 0) {
        edgellm_text_stream *handle = nullptr;
        detail::check(edgellm_text_stream_create(model.get(), flags, &handle));
        handle_.reset(handle);
    }
    std::string push(Token token) {
        return detail::fill_text(
            60, [&](char *buf, size_t cap, size_t *n) { return edgellm_text_stream_push(get(), token, buf, cap, n); });
    }
    std::string flush() {
        return detail::fill_text(
            15, [&](char *buf, size_t cap, size_t *n) { return edgellm_text_stream_flush(get(), buf, cap, n); });
    }
    edgellm_text_stream *get() const noexcept { return handle_.get(); }

  private:
    detail::Owned<edgellm_text_stream, edgellm_text_stream_free> handle_;
};

struct SamplerOptions {
    float temperature = 0.8f;
    int32_t top_k = 40;
    float top_p = 0.95f;
    float min_p = 0.05f;
    float typical_p = 1.0f;
    float top_n_sigma = 0.0f;
    float repetition_penalty = 1.0f;
    float frequency_penalty = 0.0f;
    float presence_penalty = 0.0f;
    int32_t penalty_last_n = 64;
    float xtc_probability = 0.0f;
    float xtc_threshold = 0.1f;
    float dynatemp_range = 0.0f;
    float dynatemp_exponent = 1.0f;
    float mirostat_tau = 0.0f;
    float mirostat_eta = 0.1f;
    float dry_multiplier = 0.0f;
    float dry_base = 1.75f;
    int32_t dry_allowed_length = 2;
    int32_t dry_penalty_last_n = 1024;
    std::optional<std::vector<std::string>> dry_breakers = {};  // nothing: the usual ones
    std::string stages = {};                                    // empty: all, in the usual order
    std::vector<std::pair<Token, float>> logit_bias = {};
    uint64_t seed = 0;
};

class Context;

class Sampler {
  public:
    explicit Sampler(const Model &model, const SamplerOptions &options = {}) {
        std::vector<Token> tokens;
        std::vector<float> values;
        for (auto [token, value] : options.logit_bias) tokens.push_back(token), values.push_back(value);
        std::vector<const char *> breakers;
        if (options.dry_breakers) breakers = detail::c_strings(*options.dry_breakers);
        const char *no_breakers = nullptr;
        edgellm_sampler_options c = to_c(options);
        c.n_dry_breakers = static_cast<uint32_t>(breakers.size());
        if (options.dry_breakers) c.dry_breakers = breakers.empty() ? &no_breakers : breakers.data();
        c.n_logit_bias = static_cast<uint32_t>(tokens.size());
        c.logit_bias_tokens = tokens.data();
        c.logit_bias_values = values.data();
        edgellm_sampler *handle = nullptr;
        detail::check(edgellm_sampler_create(model.get(), &c, &handle));
        handle_.reset(handle);
    }
    Token sample(Context &context, size_t row = 0);
    void accept(Token token) { detail::check(edgellm_sampler_accept(get(), token)); }
    void reset() { detail::check(edgellm_sampler_reset(get())); }
    edgellm_sampler *get() const noexcept { return handle_.get(); }

  private:
    // All but the lists.
    static edgellm_sampler_options to_c(const SamplerOptions &options) {
        edgellm_sampler_options c = EDGELLM_SAMPLER_OPTIONS_INIT;
        c.temperature = options.temperature;
        c.top_k = options.top_k;
        c.top_p = options.top_p;
        c.min_p = options.min_p;
        c.typical_p = options.typical_p;
        c.top_n_sigma = options.top_n_sigma;
        c.repetition_penalty = options.repetition_penalty;
        c.frequency_penalty = options.frequency_penalty;
        c.presence_penalty = options.presence_penalty;
        c.penalty_last_n = options.penalty_last_n;
        c.xtc_probability = options.xtc_probability;
        c.xtc_threshold = options.xtc_threshold;
        c.dynatemp_range = options.dynatemp_range;
        c.dynatemp_exponent = options.dynatemp_exponent;
        c.mirostat_tau = options.mirostat_tau;
        c.mirostat_eta = options.mirostat_eta;
        c.dry_multiplier = options.dry_multiplier;
        c.dry_base = options.dry_base;
        c.dry_allowed_length = options.dry_allowed_length;
        c.dry_penalty_last_n = options.dry_penalty_last_n;
        c.stages = options.stages.empty() ? nullptr : options.stages.c_str();
        c.seed = options.seed;
        return c;
    }

    detail::Owned<edgellm_sampler, edgellm_sampler_free> handle_;
};

struct ContextOptions {
    int32_t context_tokens = 0;
    int32_t max_sequences = 1;
    int32_t max_batch_tokens = 512;
    int32_t max_outputs = 0;
    edgellm_format cache_k = EDGELLM_FORMAT_F16;
    edgellm_format cache_v = EDGELLM_FORMAT_F16;
    int32_t n_threads = 0;
    uint64_t cpu_mask = 0;
    int64_t spin_ns = 200'000;
    edgellm_cache_policy cache_policy = EDGELLM_CACHE_FULL;
    bool reuse_prefixes = true;
    void *cuda_stream = nullptr;  // a cudaStream_t, which outlives the context; NULL: one of its own
    int32_t stream_priority = 0;  // of the own one: 0 is the lowest, -1, -2, ... are more urgent
};

namespace detail {

inline edgellm_context_options to_c(const ContextOptions &options) {
    edgellm_context_options c = EDGELLM_CONTEXT_OPTIONS_INIT;
    c.context_tokens = options.context_tokens;
    c.max_sequences = options.max_sequences;
    c.max_batch_tokens = options.max_batch_tokens;
    c.max_outputs = options.max_outputs;
    c.cache_k = options.cache_k;
    c.cache_v = options.cache_v;
    c.n_threads = options.n_threads;
    c.cpu_mask = options.cpu_mask;
    c.spin_ns = options.spin_ns;
    c.cache_policy = options.cache_policy;
    c.flags = options.reuse_prefixes ? 0 : EDGELLM_CONTEXT_NO_PREFIX_REUSE;
    c.cuda_stream = options.cuda_stream;
    c.stream_priority = options.stream_priority;
    return c;
}

}  // namespace detail

// What a model and a context with these options will take, before anything is allocated. Progress is not called.
class MemoryPlan {
  public:
    explicit MemoryPlan(const std::string &path, const ModelOptions &model = {}, const ContextOptions &context = {}) {
        Model::Log log = model.log;
        const edgellm_model_options model_c = Model::to_c(model, log ? &log : nullptr);
        const edgellm_context_options context_c = detail::to_c(context);
        edgellm_memory_plan *handle = nullptr;
        detail::check(edgellm_memory_plan_create(path.c_str(), &model_c, &context_c, &handle));
        handle_.reset(handle);
    }
    edgellm_memory_summary summary() const {
        edgellm_memory_summary summary = EDGELLM_MEMORY_SUMMARY_INIT;
        detail::check(edgellm_memory_plan_get_summary(get(), &summary));
        return summary;
    }
    std::vector<edgellm_memory_region> regions() const {
        std::vector<edgellm_memory_region> all(summary().n_regions, edgellm_memory_region EDGELLM_MEMORY_REGION_INIT);
        for (size_t i = 0; i < all.size(); ++i) detail::check(edgellm_memory_plan_get_region(get(), i, &all[i]));
        return all;
    }
    edgellm_memory_plan *get() const noexcept { return handle_.get(); }

  private:
    detail::Owned<edgellm_memory_plan, edgellm_memory_plan_free> handle_;
};

struct GenerateOptions {
    int32_t max_tokens = 0;  // 0: as many as the context has room for
    std::vector<std::string> stop_strings = {};
    bool ignore_end = false;
    Sequence sequence = 0;
    bool logprobs = false;    // tell the log-probability of each token
    uint32_t n_top = 0;       // the same, and that of so many likeliest tokens
    int64_t deadline_ns = 0;  // of edgellm_now_ns(); 0: none
};

struct TokenEvent {
    Token token;                          // EDGELLM_NO_TOKEN in a last call that only brings the rest of the text
    int32_t n_generated;                  // tokens so far
    std::string_view text;                // whole UTF-8 characters, possibly none; valid during the call
    float logprob;                        // of the token, if asked for
    std::span<const Token> top_tokens;    // [GenerateOptions::n_top], the likeliest first; valid during the call
    std::span<const float> top_logprobs;  // [the same]
};

struct TopToken {
    Token token;
    float logprob;
};

class Context {
  public:
    explicit Context(const Model &model, const ContextOptions &options = {}) : log_(model.log_) {
        edgellm_context_options c = detail::to_c(options);
        edgellm_context *handle = nullptr;
        detail::check(edgellm_context_create(model.get(), &c, &handle));
        handle_.reset(handle);
    }

    edgellm_context_info info() const {
        edgellm_context_info info = EDGELLM_CONTEXT_INFO_INIT;
        detail::check(edgellm_context_get_info(get(), &info));
        return info;
    }

    // Appends tokens to a sequence; logits after the last one. One step: see ContextOptions::max_batch_tokens.
    void decode(std::span<const Token> tokens, Sequence sequence = 0) {
        std::vector<Sequence> sequences(sequence == 0 ? 0 : tokens.size(), sequence);
        edgellm_batch batch = EDGELLM_BATCH_INIT;
        batch.n_tokens = static_cast<int32_t>(tokens.size());
        batch.tokens = tokens.data();
        if (sequence != 0) batch.sequences = sequences.data();
        decode(batch);
    }
    // Returns the number of output rows.
    size_t decode(const edgellm_batch &batch, int64_t deadline_ns = 0) {
        edgellm_decode_options options = EDGELLM_DECODE_OPTIONS_INIT;
        options.deadline_ns = deadline_ns;
        return decode(batch, options);
    }
    size_t decode(const edgellm_batch &batch, const edgellm_decode_options &options) {
        edgellm_decode_result result = EDGELLM_DECODE_RESULT_INIT;
        detail::check(edgellm_context_decode(get(), &batch, &options, &result));
        return static_cast<size_t>(result.n_outputs);
    }

    // Valid until the next decode or generate.
    std::span<const float> logits(size_t row = 0) {
        const float *data = nullptr;
        size_t n = 0;
        detail::check(edgellm_context_get_logits(get(), row, &data, &n));
        return {data, n};
    }
    std::vector<TopToken> top(size_t k, size_t row = 0) {
        std::vector<Token> tokens(k);
        std::vector<float> logprobs(k);
        size_t n = 0;
        detail::check(edgellm_context_get_top(get(), row, k, tokens.data(), logprobs.data(), &n));
        std::vector<TopToken> top(n);
        for (size_t i = 0; i < n; ++i) top[i] = {tokens[i], logprobs[i]};
        return top;
    }

    float logprob(Token token, size_t row = 0) {
        float logprob = 0;
        detail::check(edgellm_context_get_logprob(get(), row, token, &logprob));
        return logprob;
    }

    // From any thread, at any time.
    void cancel() noexcept { edgellm_context_cancel(get()); }

    // Calls on_token(const TokenEvent &) for each token. If that returns something, false stops; what it throws stops
    // too, and is thrown from here. A cancelled generation returns, with stop_reason EDGELLM_STOP_CANCELLED, and so
    // does one whose deadline has passed.
    template <typename OnToken> edgellm_generate_result
    generate(Sampler &sampler, std::span<const Token> prompt, OnToken &&on_token, const GenerateOptions &options = {}) {
        std::vector<const char *> stop_strings = detail::c_strings(options.stop_strings);
        edgellm_generate_options c = EDGELLM_GENERATE_OPTIONS_INIT;
        c.max_tokens = options.max_tokens;
        c.n_stop_strings = static_cast<uint32_t>(stop_strings.size());
        c.flags =
            (options.ignore_end ? EDGELLM_GENERATE_IGNORE_END : 0) | (options.logprobs ? EDGELLM_GENERATE_LOGPROBS : 0);
        c.n_top = options.n_top;
        c.deadline_ns = options.deadline_ns;
        c.stop_strings = stop_strings.data();
        edgellm_generate_result result = EDGELLM_GENERATE_RESULT_INIT;
        Call<std::remove_reference_t<OnToken>> call{on_token, nullptr};
        edgellm_status status = edgellm_context_generate(get(), options.sequence, sampler.get(), prompt.data(),
                                                         prompt.size(), &c, call.on_event, &call, &result);
        if (call.thrown) std::rethrow_exception(call.thrown);
        if (status != EDGELLM_CANCELLED && status != EDGELLM_DEADLINE_EXCEEDED) detail::check(status);
        return result;
    }

    // Tokens of the sequence that are in the cache.
    int32_t sequence_length(Sequence sequence = 0) const {
        edgellm_sequence_info info = EDGELLM_SEQUENCE_INFO_INIT;
        detail::check(edgellm_sequence_get_info(get(), sequence, &info));
        return info.n_tokens;
    }
    // Forgets positions [begin, end); end -1: up to the last.
    void sequence_remove(Sequence sequence, int32_t begin = 0, int32_t end = -1) {
        detail::check(edgellm_sequence_remove(get(), sequence, begin, end));
    }

    void sequence_fork(Sequence from, Sequence to) { detail::check(edgellm_sequence_fork(get(), from, to)); }
    void sequence_shift(Sequence sequence, int32_t begin, int32_t end, int32_t delta) {
        detail::check(edgellm_sequence_shift(get(), sequence, begin, end, delta));
    }
    void sequence_keep(Sequence sequence) { detail::check(edgellm_sequence_keep(get(), sequence)); }

    // To a file, which is replaced whole, or to memory; and from there to any sequence of a context of this model.
    void sequence_save_file(Sequence sequence, const std::string &path) {
        detail::check(edgellm_sequence_save_file(get(), sequence, path.c_str()));
    }
    void sequence_restore_file(Sequence sequence, const std::string &path) {
        detail::check(edgellm_sequence_restore_file(get(), sequence, path.c_str()));
    }
    std::vector<std::byte> sequence_save(Sequence sequence) {
        size_t n = 0;
        const edgellm_status status = edgellm_sequence_save(get(), sequence, nullptr, 0, &n);
        if (status != EDGELLM_BUFFER_TOO_SMALL) detail::check(status);
        std::vector<std::byte> bytes(n);
        detail::check(edgellm_sequence_save(get(), sequence, bytes.data(), n, nullptr));
        return bytes;
    }
    void sequence_restore(Sequence sequence, std::span<const std::byte> bytes) {
        detail::check(edgellm_sequence_restore(get(), sequence, bytes.data(), bytes.size()));
    }

    edgellm_context *get() const noexcept { return handle_.get(); }

  private:
    template <typename OnToken> struct Call {
        OnToken &on_token;
        std::exception_ptr thrown;

        static int32_t on_event(void *user, const edgellm_token_event *event) noexcept {
            auto &call = *static_cast<Call *>(user);
            try {
                TokenEvent e{event->token,
                             event->n_generated,
                             {event->text, event->n_text_bytes},
                             event->logprob,
                             {event->top_tokens, event->n_top},
                             {event->top_logprobs, event->n_top}};
                if constexpr (std::is_void_v<std::invoke_result_t<OnToken &, const TokenEvent &>>)
                    return call.on_token(e), 0;
                else
                    return call.on_token(e) ? 0 : 1;
            } catch (...) {
                call.thrown = std::current_exception();
                return 1;
            }
        }
    };

    std::shared_ptr<Model::Log> log_;
    detail::Owned<edgellm_context, edgellm_context_free> handle_;
};

inline Token Sampler::sample(Context &context, size_t row) {
    Token token = EDGELLM_NO_TOKEN;
    detail::check(edgellm_sampler_sample(get(), context.get(), row, &token));
    return token;
}

}  // namespace edgellm
