#include "engine/generate.h"
#include "api/guard.h"
#include "api/handles.h"

#include <array>
#include <utility>

using namespace el;

namespace {

constexpr bool reasons_agree() {
    constexpr std::pair<StopReason, edgellm_stop_reason> kPairs[] = {
        {StopReason::kNone, EDGELLM_STOP_NONE},
        {StopReason::kEndOfTurn, EDGELLM_STOP_END_OF_TURN},
        {StopReason::kLength, EDGELLM_STOP_LENGTH},
        {StopReason::kStopString, EDGELLM_STOP_STRING},
        {StopReason::kCallback, EDGELLM_STOP_CALLBACK},
        {StopReason::kCancelled, EDGELLM_STOP_CANCELLED},
        {StopReason::kContextFull, EDGELLM_STOP_CONTEXT_FULL},
        {StopReason::kDeadline, EDGELLM_STOP_DEADLINE},
    };
    for (auto [reason, number] : kPairs)
        if (static_cast<edgellm_stop_reason>(reason) != number) return false;
    return true;
}
static_assert(reasons_agree());

// The caller's callback and what it wants to be told.
struct Listener {
    edgellm_token_fn callback;
    void *user;

    static int32_t on_token(void *listener, const TokenEvent &event) {
        auto *self = static_cast<Listener *>(listener);
        edgellm_token_event out{};
        out.struct_size = sizeof out;
        out.token = event.token;
        out.n_generated = event.n_generated;
        out.n_text_bytes = static_cast<uint32_t>(event.text.size());
        out.text = event.text.data();
        out.logprob = event.logprob;
        out.n_top = static_cast<uint32_t>(event.top_tokens.size());
        out.top_tokens = out.n_top ? event.top_tokens.data() : nullptr;
        out.top_logprobs = out.n_top ? event.top_logprobs.data() : nullptr;
        return self->callback(self->user, &out);
    }
};

edgellm_generate_result to_c(const GenerateResult &result, uint32_t n_tokens) {
    edgellm_generate_result out = EDGELLM_GENERATE_RESULT_INIT;
    out.stop_reason = static_cast<edgellm_stop_reason>(result.reason);
    out.stop_string = result.stop_string;
    out.n_prompt_tokens = result.n_prompt;
    out.n_generated = result.n_generated;
    out.n_tokens = static_cast<int32_t>(n_tokens);
    out.prompt_ns = result.prompt_ns;
    out.generate_ns = result.generate_ns;
    out.n_reused_tokens = result.n_reused;
    return out;
}

// The stop strings as views, bounded in number so that they need no memory.
struct StopStrings {
    std::array<std::string_view, kMaxStopStrings> views;
    size_t n;

    explicit StopStrings(const edgellm_generate_options &options) : n(options.n_stop_strings) {
        if (n > kMaxStopStrings)
            fail(Status::kLimitExceeded, "options.n_stop_strings is {}; at most {}", n, kMaxStopStrings);
        if (n) need(options.stop_strings, "options.stop_strings");
        for (size_t i = 0; i < n; ++i) {
            need(options.stop_strings[i], "a stop string");
            views[i] = options.stop_strings[i];
        }
    }
};

}  // namespace

edgellm_status edgellm_context_generate(edgellm_context *context, edgellm_sequence sequence, edgellm_sampler *sampler,
                                        const edgellm_token *prompt, size_t n_prompt,
                                        const edgellm_generate_options *options, edgellm_token_fn callback, void *user,
                                        edgellm_generate_result *result) {
    return guard([&] {
        need(context, "context");
        need(sampler, "sampler");
        if (n_prompt) need(prompt, "prompt");
        edgellm_generate_options in =
            read_struct<edgellm_generate_options>(options, EDGELLM_GENERATE_OPTIONS_INIT, "options");
        check_flags(in.flags, EDGELLM_GENERATE_IGNORE_END | EDGELLM_GENERATE_LOGPROBS, "options.flags");
        check_flags(in.reserved, 0, "options.reserved");
        check_out(result, "result");
        if (in.max_tokens < 0)
            fail(Status::kInvalidArgument, "options.max_tokens is {}; it must not be negative", in.max_tokens);
        StopStrings stop_strings(in);
        Listener listener{callback, user};
        GenerateOptions how;
        how.max_tokens = static_cast<uint32_t>(in.max_tokens);
        how.stop_strings = std::span(stop_strings.views).first(stop_strings.n);
        how.ignore_end = in.flags & EDGELLM_GENERATE_IGNORE_END;
        how.logprobs = in.flags & EDGELLM_GENERATE_LOGPROBS;
        how.n_top = in.n_top;
        how.deadline_ns = in.deadline_ns;
        if (callback) how.callback = Listener::on_token;
        how.user = &listener;

        Use use(*context);
        Context &engine = context->context;
        const uint32_t s = check_sequence(*context, sequence);
        GenerateResult done;
        Report report;
        generate(engine, s, sampler->sampler, {prompt, n_prompt}, how, done, report);
        write_struct(result, to_c(done, engine.length(s)));
        return finish(report);
    });
}
