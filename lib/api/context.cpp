#include "api/guard.h"
#include "api/handles.h"
#include "api/options.h"
#include "engine/row.h"

using namespace el;

namespace {

static_assert(int(Eviction::kNone) == EDGELLM_CACHE_FULL && int(Eviction::kWindow) == EDGELLM_CACHE_WINDOW &&
              int(Eviction::kSinks) == EDGELLM_CACHE_SINKS);

uint32_t count(int32_t value, const char *name) {
    if (value < 0) fail(Status::kInvalidArgument, "{} is {}; it must not be negative", name, value);
    return static_cast<uint32_t>(value);
}

Format cache_format(edgellm_format format, const char *name) {
    const FormatInfo *known = format < 0 ? nullptr : find_format(static_cast<uint32_t>(format));
    if (!known) fail(Status::kUnsupported, "{} is {}; there is no such format", name, format);
    return known->format;
}

uint32_t check_row(const edgellm_context *context, size_t row) {
    if (row >= context->context.n_outputs())
        fail(Status::kNotFound, "there is no output row {}; the last step left {}", row, context->context.n_outputs());
    return static_cast<uint32_t>(row);
}

}  // namespace

void el::check_read(const Context &context) {
    Report report;
    if (context.failure(report) != Status::kOk) fail(report.status, "{}", report.text);
}

ContextOptions el::context_options(const edgellm_context_options *given) {
    edgellm_context_options in = read_struct<edgellm_context_options>(given, EDGELLM_CONTEXT_OPTIONS_INIT, "options");
    ContextOptions options;
    options.context_tokens = count(in.context_tokens, "options.context_tokens");
    options.max_sequences = count(in.max_sequences, "options.max_sequences");
    options.max_batch_tokens = count(in.max_batch_tokens, "options.max_batch_tokens");
    options.max_outputs = count(in.max_outputs, "options.max_outputs");
    options.cache_k = cache_format(in.cache_k, "options.cache_k");
    options.cache_v = cache_format(in.cache_v, "options.cache_v");
    if (in.cache_policy < EDGELLM_CACHE_FULL || in.cache_policy > EDGELLM_CACHE_SINKS)
        fail(Status::kInvalidArgument, "options.cache_policy is {}; there is no such policy", in.cache_policy);
    options.eviction = static_cast<Eviction>(in.cache_policy);
    check_flags(in.flags, EDGELLM_CONTEXT_NO_PREFIX_REUSE, "options.flags");
    options.reuse_prefixes = !(in.flags & EDGELLM_CONTEXT_NO_PREFIX_REUSE);
    if (in.cuda_stream && in.stream_priority != 0)
        fail(Status::kInvalidArgument, "options.stream_priority is {}, but options.cuda_stream has a priority already",
             in.stream_priority);
    if (in.reserved != 0) fail(Status::kUnsupported, "options.reserved is {}; it must be 0", in.reserved);
    options.stream = {in.cuda_stream, in.stream_priority};
    options.threads.threads = in.n_threads;
    options.threads.cpu_mask = in.cpu_mask;
    options.threads.spin_ns = in.spin_ns;
    return options;
}

edgellm_status edgellm_context_create(const edgellm_model *model, const edgellm_context_options *options,
                                      edgellm_context **out) {
    return guard([&] {
        need(out, "out");
        *out = nullptr;
        need(model, "model");
        *out = new edgellm_context(model->model, context_options(options));
    });
}

void edgellm_context_free(edgellm_context *context) { delete context; }

edgellm_status edgellm_context_get_info(const edgellm_context *context, edgellm_context_info *info) {
    return guard([&] {
        need(context, "context");
        need(info, "info");
        check_out(info, "info");
        const ContextOptions &options = context->context.options();  // immutable
        edgellm_context_info result = EDGELLM_CONTEXT_INFO_INIT;
        result.context_tokens = static_cast<int32_t>(options.context_tokens);
        result.max_sequences = static_cast<int32_t>(options.max_sequences);
        result.max_batch_tokens = static_cast<int32_t>(options.max_batch_tokens);
        result.max_outputs = static_cast<int32_t>(options.max_outputs);
        result.cache_k = static_cast<edgellm_format>(options.cache_k);
        result.cache_v = static_cast<edgellm_format>(options.cache_v);
        result.n_threads = context->context.n_threads();
        result.memory_bytes = context->context.memory_bytes();
        result.cache_policy = static_cast<edgellm_cache_policy>(options.eviction);
        result.flags = options.reuse_prefixes ? 0 : EDGELLM_CONTEXT_NO_PREFIX_REUSE;
        write_struct(info, result);
    });
}

edgellm_status edgellm_context_decode(edgellm_context *context, const edgellm_batch *batch,
                                      const edgellm_decode_options *options, edgellm_decode_result *result) {
    return guard([&] {
        need(context, "context");
        need(batch, "batch");
        edgellm_batch in = read_struct<edgellm_batch>(batch, EDGELLM_BATCH_INIT, "batch");
        edgellm_decode_options how =
            read_struct<edgellm_decode_options>(options, EDGELLM_DECODE_OPTIONS_INIT, "options");
        check_flags(how.flags, 0, "options.flags");
        check_out(result, "result");
        need(in.tokens, "batch.tokens");
        Batch step;
        step.tokens = in.tokens;
        step.sequences = in.sequences;
        step.positions = in.positions;
        step.outputs = in.outputs;
        step.parents = in.parents;
        step.deadline_ns = how.deadline_ns;
        step.wait_event = how.wait_event;
        step.done_event = how.done_event;
        step.n = count(in.n_tokens, "batch.n_tokens");

        Use use(*context);
        Report report;
        context->context.decode(step, report);
        edgellm_decode_result done = EDGELLM_DECODE_RESULT_INIT;
        done.n_outputs = static_cast<int32_t>(context->context.n_outputs());
        write_struct(result, done);
        return finish(report);
    });
}

edgellm_status edgellm_context_get_logits(edgellm_context *context, size_t row, const float **logits, size_t *n_vocab) {
    return guard([&] {
        need(context, "context");
        need(logits, "logits");
        Use use(*context);
        *logits = context->context.logits(check_row(context, row));
        check_read(context->context);
        if (n_vocab) *n_vocab = context->context.model().n_vocab();
    });
}

edgellm_status edgellm_context_get_top(edgellm_context *context, size_t row, size_t k, edgellm_token *tokens,
                                       float *logprobs, size_t *n) {
    return guard([&] {
        need(context, "context");
        if (k) need(tokens, "tokens");
        Use use(*context);
        size_t found = log_softmax_top_of_row(context->context, check_row(context, row), k, tokens, logprobs);
        check_read(context->context);
        if (n) *n = found;
    });
}

edgellm_status edgellm_context_get_logprob(edgellm_context *context, size_t row, edgellm_token token, float *logprob) {
    return guard([&] {
        need(context, "context");
        need(logprob, "logprob");
        Use use(*context);
        const uint32_t at = check_row(context, row);
        const uint32_t n_vocab = context->context.model().n_vocab();
        if (token < 0 || static_cast<uint32_t>(token) >= n_vocab)
            fail(Status::kInvalidArgument, "there is no token {}; the model has {}", token, n_vocab);
        *logprob = log_probability_of_row(context->context, at, token, kMaxBest);
        check_read(context->context);
    });
}

edgellm_status edgellm_context_cancel(edgellm_context *context) {
    if (!context) return set_error(Status::kInvalidArgument, std::string_view("context is NULL"));
    context->context.cancel();
    return EDGELLM_OK;
}

int64_t edgellm_now_ns(void) { return now_ns(); }
