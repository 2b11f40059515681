#include "api/guard.h"
#include "api/handles.h"

using namespace el;

namespace {

SamplerOptions sampler_options(const edgellm_sampler_options *given) {
    edgellm_sampler_options in = read_struct<edgellm_sampler_options>(given, EDGELLM_SAMPLER_OPTIONS_INIT, "options");
    SamplerOptions options;
    options.temperature = in.temperature;
    options.top_k = in.top_k;
    options.top_p = in.top_p;
    options.min_p = in.min_p;
    options.repetition_penalty = in.repetition_penalty;
    options.frequency_penalty = in.frequency_penalty;
    options.presence_penalty = in.presence_penalty;
    options.penalty_last_n = in.penalty_last_n;
    options.seed = in.seed;
    if (in.n_logit_bias) {
        need(in.logit_bias_tokens, "options.logit_bias_tokens");
        need(in.logit_bias_values, "options.logit_bias_values");
    }
    options.logit_bias.reserve(in.n_logit_bias);
    for (uint32_t i = 0; i < in.n_logit_bias; ++i)
        options.logit_bias.push_back({in.logit_bias_tokens[i], in.logit_bias_values[i]});
    return options;
}

}  // namespace

edgellm_status edgellm_sampler_create(const edgellm_model *model, const edgellm_sampler_options *options,
                                      edgellm_sampler **out) {
    return guard([&] {
        need(out, "out");
        *out = nullptr;
        need(model, "model");
        *out = new edgellm_sampler{Sampler(model->model->n_vocab(), sampler_options(options))};
    });
}

void edgellm_sampler_free(edgellm_sampler *sampler) { delete sampler; }

edgellm_status edgellm_sampler_sample(edgellm_sampler *sampler, edgellm_context *context, size_t row,
                                      edgellm_token *token) {
    return guard([&] {
        need(sampler, "sampler");
        need(context, "context");
        need(token, "token");
        Use use(*context);
        use.check();
        const Context &engine = context->context;
        if (sampler->sampler.n_vocab() != engine.model().n_vocab())
            fail(Status::kInvalidArgument, "the sampler is for {} tokens, the model has {}", sampler->sampler.n_vocab(),
                 engine.model().n_vocab());
        if (row >= engine.n_outputs())
            fail(Status::kNotFound, "there is no output row {}; the last step left {}", row, engine.n_outputs());
        if (sampler->sampler.sample(engine.logits(static_cast<uint32_t>(row)), token) != Status::kOk)
            fail(Status::kInvalidArgument,
                 "no token can be chosen: all logits are minus infinity (by logit_bias?) or not a number");
    });
}

edgellm_status edgellm_sampler_accept(edgellm_sampler *sampler, edgellm_token token) {
    return guard([&] {
        need(sampler, "sampler");
        if (sampler->sampler.accept(token) != Status::kOk)
            fail(Status::kInvalidArgument, "there is no token {}; the sampler is for {}", token,
                 sampler->sampler.n_vocab());
    });
}

edgellm_status edgellm_sampler_reset(edgellm_sampler *sampler) {
    return guard([&] {
        need(sampler, "sampler");
        sampler->sampler.reset();
    });
}
