#include "api/guard.h"
#include "api/handles.h"
#include "engine/row.h"
#include "sample/breakers.h"

#include <array>

using namespace el;

namespace {

std::vector<std::string> stage_names(const char *list) {
    std::vector<std::string> names;
    if (!list) return names;
    for (std::string_view rest = list;;) {
        size_t comma = rest.find(',');
        names.emplace_back(rest.substr(0, comma));
        if (comma == rest.npos) return names;
        rest.remove_prefix(comma + 1);
    }
}

std::vector<std::vector<int32_t>> dry_breakers(const edgellm_sampler_options &in, const Model &model) {
    if (in.n_dry_breakers > kMaxBreakerTexts)
        fail(Status::kLimitExceeded, "options.n_dry_breakers is {}; at most {}", in.n_dry_breakers, kMaxBreakerTexts);
    if (in.n_dry_breakers) need(in.dry_breakers, "options.dry_breakers");
    std::array<std::string_view, kMaxBreakerTexts> given;
    for (uint32_t i = 0; i < in.n_dry_breakers; ++i) {
        need(in.dry_breakers[i], "one of options.dry_breakers");
        given[i] = in.dry_breakers[i];
    }
    std::span<const std::string_view> texts = usual_breakers();
    if (in.dry_breakers) texts = std::span(given).first(in.n_dry_breakers);
    if (!(in.dry_multiplier > 0) || texts.empty()) return {};
    if (const Vocabulary *vocabulary = model.vocabulary()) return breaker_sequences(*vocabulary, texts);
    if (in.dry_breakers)
        fail(Status::kNoVocabulary, "{}: dry_breakers are texts, and this model has no vocabulary", model.path());
    return {};
}

std::vector<LogitBias> logit_biases(const edgellm_sampler_options &in) {
    if (in.n_logit_bias) {
        need(in.logit_bias_tokens, "options.logit_bias_tokens");
        need(in.logit_bias_values, "options.logit_bias_values");
    }
    std::vector<LogitBias> biases;
    biases.reserve(in.n_logit_bias);
    for (uint32_t i = 0; i < in.n_logit_bias; ++i) biases.push_back({in.logit_bias_tokens[i], in.logit_bias_values[i]});
    return biases;
}

SamplerOptions sampler_options(const edgellm_sampler_options *given, const Model &model) {
    edgellm_sampler_options in = read_struct<edgellm_sampler_options>(given, EDGELLM_SAMPLER_OPTIONS_INIT, "options");
    check_flags(in.flags, 0, "options.flags");
    SamplerOptions options;
    options.temperature = in.temperature;
    options.top_k = in.top_k;
    options.top_p = in.top_p;
    options.min_p = in.min_p;
    options.typical_p = in.typical_p;
    options.top_n_sigma = in.top_n_sigma;
    options.repetition_penalty = in.repetition_penalty;
    options.frequency_penalty = in.frequency_penalty;
    options.presence_penalty = in.presence_penalty;
    options.penalty_last_n = in.penalty_last_n;
    options.xtc_probability = in.xtc_probability;
    options.xtc_threshold = in.xtc_threshold;
    options.dynatemp_range = in.dynatemp_range;
    options.dynatemp_exponent = in.dynatemp_exponent;
    options.mirostat_tau = in.mirostat_tau;
    options.mirostat_eta = in.mirostat_eta;
    options.dry_multiplier = in.dry_multiplier;
    options.dry_base = in.dry_base;
    options.dry_allowed_length = in.dry_allowed_length;
    options.dry_penalty_last_n = in.dry_penalty_last_n;
    options.dry_breakers = dry_breakers(in, model);
    options.stages = stage_names(in.stages);
    options.logit_bias = logit_biases(in);
    options.seed = in.seed;
    return options;
}

}  // namespace

edgellm_status edgellm_sampler_create(const edgellm_model *model, const edgellm_sampler_options *options,
                                      edgellm_sampler **out) {
    return guard([&] {
        need(out, "out");
        *out = nullptr;
        need(model, "model");
        *out = new edgellm_sampler{Sampler(model->model->n_vocab(), sampler_options(options, *model->model))};
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
        const Context &engine = context->context;
        if (sampler->sampler.n_vocab() != engine.model().n_vocab())
            fail(Status::kInvalidArgument, "the sampler is for {} tokens, the model has {}", sampler->sampler.n_vocab(),
                 engine.model().n_vocab());
        if (row >= engine.n_outputs())
            fail(Status::kNotFound, "there is no output row {}; the last step left {}", row, engine.n_outputs());
        const Status status = sample_row(engine, static_cast<uint32_t>(row), sampler->sampler, token);
        check_read(engine);
        if (status != Status::kOk)
            fail(Status::kLogitsInvalid,
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
