/* The C interface: contexts, sequences, samplers. */
#include "check.h"
#include <math.h>

enum { MANY = 16 };

static void test_decode(void) {
    edgellm_model *model = load(tiny_path);
    edgellm_context *context = create(model);
    edgellm_context_info info = EDGELLM_CONTEXT_INFO_INIT;
    edgellm_batch batch = EDGELLM_BATCH_INIT;
    edgellm_decode_result result = EDGELLM_DECODE_RESULT_INIT;
    edgellm_decode_options options = EDGELLM_DECODE_OPTIONS_INIT;
    const edgellm_token tokens[3] = {10, 20, 30};
    const edgellm_sequence sequences[3] = {0, 0, 1};
    const int32_t positions[3] = {0, 1, 0};
    const uint8_t outputs[3] = {0, 1, 1};
    const float *row0 = NULL, *row1 = NULL;
    edgellm_token top[MANY];
    float logprobs[MANY];
    size_t n = 0, i;
    double sum = 0;
    CHECK_OK(edgellm_context_get_info(context, &info));
    CHECK(info.context_tokens == 128 && info.max_batch_tokens == 16 && info.n_threads == 2 && info.memory_bytes > 0);
    CHECK_STATUS(edgellm_context_get_logits(context, 0, &row0, &n), EDGELLM_NOT_FOUND, "no output row 0");

    batch.n_tokens = 3;
    batch.tokens = tokens;
    batch.sequences = sequences;
    batch.positions = positions;
    batch.outputs = outputs;
    CHECK_OK(edgellm_context_decode(context, &batch, &options, &result));
    CHECK(result.n_outputs == 2 && length_of(context, 0) == 2 && length_of(context, 1) == 1);
    CHECK_OK(edgellm_context_get_logits(context, 0, &row0, &n));
    CHECK_OK(edgellm_context_get_logits(context, 1, &row1, NULL));
    CHECK(n == 264 && memcmp(row0, row1, n * sizeof *row0) != 0);
    CHECK_STATUS(edgellm_context_get_logits(context, 2, &row0, &n), EDGELLM_NOT_FOUND, "no output row 2");

    CHECK_OK(edgellm_context_get_top(context, 1, MANY, top, logprobs, &n));
    CHECK(n == MANY);
    for (i = 1; i < n; i++) {
        CHECK(logprobs[i] <= logprobs[i - 1]);
        CHECK(fabs((logprobs[i] - logprobs[0]) - (row1[top[i]] - row1[top[0]])) < 1e-4);
    }
    {
        static edgellm_token all[300];
        static float all_logprobs[300];
        CHECK_OK(edgellm_context_get_top(context, 1, 300, all, all_logprobs, &n));
        CHECK(n == 264 && memcmp(all, top, sizeof top) == 0);
        for (i = 0; i < n; i++) {
            float logprob = 1;
            CHECK_OK(edgellm_context_get_logprob(context, 1, all[i], &logprob));
            CHECK(logprob == all_logprobs[i]);
            sum += exp(logprob);
        }
        CHECK(fabs(sum - 1) < 1e-4);
        CHECK_STATUS(edgellm_context_get_logprob(context, 1, 264, all_logprobs), EDGELLM_INVALID_ARGUMENT, "264");
        CHECK_STATUS(edgellm_context_get_logprob(context, 2, 0, all_logprobs), EDGELLM_NOT_FOUND, "no output row 2");
    }

    CHECK_STATUS(edgellm_context_decode(context, &batch, NULL, NULL), EDGELLM_UNSUPPORTED, "position 0");
    CHECK_STATUS(edgellm_context_get_logits(context, 0, &row0, &n), EDGELLM_NOT_FOUND, "no output row 0");
    options.flags = 1;
    CHECK_STATUS(edgellm_context_decode(context, &batch, &options, NULL), EDGELLM_UNSUPPORTED, "options.flags");
    options.flags = 0;
    options.wait_event = &batch;
    CHECK_STATUS(edgellm_context_decode(context, &batch, &options, NULL), EDGELLM_UNSUPPORTED, "wait_event");
    options.wait_event = NULL;
    options.done_event = &batch;
    CHECK_STATUS(edgellm_context_decode(context, &batch, &options, NULL), EDGELLM_UNSUPPORTED, "done_event");
    batch.n_tokens = -1;
    CHECK_STATUS(edgellm_context_decode(context, &batch, NULL, NULL), EDGELLM_INVALID_ARGUMENT, "n_tokens");
    CHECK_STATUS(decode(context, 0, top, 0), EDGELLM_INVALID_ARGUMENT, "");
    CHECK_STATUS(decode(context, 2, tokens, 3), EDGELLM_INVALID_ARGUMENT, "sequence 2");
    CHECK(length_of(context, 0) == 2 && length_of(context, 1) == 1);
    edgellm_context_free(context);
    edgellm_model_free(model);
}

static void test_context_options(void) {
    edgellm_model *model = load(tiny_path);
    edgellm_context *context = NULL;
#define REFUSED(member, value, status)                                                                                 \
    do {                                                                                                               \
        edgellm_context_options options = EDGELLM_CONTEXT_OPTIONS_INIT;                                                \
        options.member = value;                                                                                        \
        CHECK_STATUS(edgellm_context_create(model, &options, &context), status, #member);                              \
    } while (0)
    REFUSED(context_tokens, -1, EDGELLM_INVALID_ARGUMENT);
    REFUSED(context_tokens, 129, EDGELLM_INVALID_ARGUMENT);
    REFUSED(max_sequences, 0, EDGELLM_INVALID_ARGUMENT);
    REFUSED(max_batch_tokens, -5, EDGELLM_INVALID_ARGUMENT);
    REFUSED(max_outputs, -5, EDGELLM_INVALID_ARGUMENT);
    REFUSED(cache_k, 99, EDGELLM_UNSUPPORTED);
    REFUSED(cache_v, 3, EDGELLM_UNSUPPORTED); /* Q4_1 */
    REFUSED(cache_v, -1, EDGELLM_UNSUPPORTED);
    REFUSED(spin_ns, -1, EDGELLM_INVALID_ARGUMENT);
    REFUSED(cache_policy, 3, EDGELLM_INVALID_ARGUMENT);
    REFUSED(cache_policy, -1, EDGELLM_INVALID_ARGUMENT);
    REFUSED(flags, 0x40u, EDGELLM_UNSUPPORTED);
    REFUSED(stream_priority, -1, EDGELLM_UNSUPPORTED); /* on the CPU */
    REFUSED(reserved, 1, EDGELLM_UNSUPPORTED);
#undef REFUSED
    edgellm_model_free(model);
}

static void test_sequences(void) {
    edgellm_model *model = load(tiny_path);
    edgellm_context *context = create(model);
    edgellm_sequence_info info = EDGELLM_SEQUENCE_INFO_INIT;
    const edgellm_token tokens[4] = {10, 20, 30, 40};
    const float *logits = NULL;
    static float first[264];
    size_t n = 0;
    CHECK_OK(decode(context, 0, tokens, 4));
    CHECK_OK(edgellm_context_get_logits(context, 0, &logits, &n));
    memcpy(first, logits, sizeof first);
    CHECK_OK(edgellm_sequence_remove(context, 0, 3, -1));
    CHECK(length_of(context, 0) == 3);
    CHECK_OK(decode(context, 0, tokens + 3, 1));
    CHECK_OK(edgellm_sequence_remove(context, 0, 9, -1)); /* nothing there */
    CHECK_OK(edgellm_sequence_remove(context, 0, 0, 4));
    CHECK(length_of(context, 0) == 0);
    CHECK_OK(decode(context, 0, tokens, 4));
    CHECK_OK(edgellm_context_get_logits(context, 0, &logits, &n));
    CHECK(memcmp(first, logits, sizeof first) == 0);
    CHECK_STATUS(edgellm_sequence_remove(context, 0, -1, -1), EDGELLM_INVALID_ARGUMENT, "begin");
    CHECK_STATUS(edgellm_sequence_remove(context, 0, 0, -2), EDGELLM_INVALID_ARGUMENT, "end");
    CHECK_STATUS(edgellm_sequence_remove(context, 5, 0, -1), EDGELLM_INVALID_ARGUMENT, "sequence is 5");
    CHECK_STATUS(edgellm_sequence_get_info(context, -1, &info), EDGELLM_INVALID_ARGUMENT, "sequence is -1");
    edgellm_context_free(context);
    edgellm_model_free(model);
}

static void test_forks(void) {
    edgellm_model *model = load(tiny_path);
    edgellm_context *context = create(model);
    edgellm_sequence_info info = EDGELLM_SEQUENCE_INFO_INIT;
    const edgellm_token tokens[6] = {10, 20, 30, 40, 50, 60};
    const float *logits = NULL;
    static float first[264];
    size_t i, n = 0;
    CHECK_OK(decode(context, 0, tokens, 6));
    CHECK_OK(edgellm_context_get_logits(context, 0, &logits, NULL));
    memcpy(first, logits, sizeof first);
    CHECK_OK(edgellm_sequence_remove(context, 0, 5, -1));
    CHECK_OK(edgellm_sequence_fork(context, 0, 1));
    CHECK(length_of(context, 0) == 5 && length_of(context, 1) == 5);
    CHECK_OK(decode(context, 1, tokens + 5, 1));
    CHECK_OK(edgellm_context_get_logits(context, 0, &logits, &n));
    for (i = 0; i < n; i++) CHECK(fabsf(first[i] - logits[i]) < 1e-4f);

    CHECK_OK(edgellm_sequence_remove(context, 0, 1, 3));
    CHECK_OK(edgellm_sequence_get_info(context, 0, &info));
    CHECK(info.n_tokens == 3 && info.next_position == 5);
    CHECK_STATUS(edgellm_sequence_shift(context, 0, 3, -1, -3), EDGELLM_INVALID_ARGUMENT, "neighbours");
    CHECK_OK(edgellm_sequence_shift(context, 0, 3, -1, -2));
    CHECK_OK(edgellm_sequence_get_info(context, 0, &info));
    CHECK(info.n_tokens == 3 && info.next_position == 3);
    CHECK_OK(edgellm_sequence_shift(context, 0, 0, -1, 7));
    CHECK_OK(decode(context, 0, tokens, 2));
    CHECK_OK(edgellm_sequence_keep(context, 1));
    CHECK(length_of(context, 0) == 0 && length_of(context, 1) == 6);

    CHECK_STATUS(edgellm_sequence_fork(context, 1, 1), EDGELLM_INVALID_ARGUMENT, "itself");
    CHECK_STATUS(edgellm_sequence_fork(context, 9, 1), EDGELLM_INVALID_ARGUMENT, "from is 9");
    CHECK_STATUS(edgellm_sequence_fork(context, 1, 9), EDGELLM_INVALID_ARGUMENT, "to is 9");
    CHECK_STATUS(edgellm_sequence_shift(context, 1, -1, -1, 1), EDGELLM_INVALID_ARGUMENT, "begin");
    CHECK_STATUS(edgellm_sequence_keep(context, -1), EDGELLM_INVALID_ARGUMENT, "sequence is -1");
    CHECK_STATUS(edgellm_sequence_fork(NULL, 0, 1), EDGELLM_INVALID_ARGUMENT, "context is NULL");
    CHECK_STATUS(edgellm_sequence_shift(NULL, 0, 0, 1, 1), EDGELLM_INVALID_ARGUMENT, "context is NULL");
    CHECK_STATUS(edgellm_sequence_keep(NULL, 0), EDGELLM_INVALID_ARGUMENT, "context is NULL");
    CHECK(length_of(context, 1) == 6);
    edgellm_context_free(context);
    edgellm_model_free(model);
}

static void test_trees_and_deadlines(void) {
    edgellm_model *model = load(tiny_path);
    edgellm_context *context = create(model);
    edgellm_batch batch = EDGELLM_BATCH_INIT;
    edgellm_decode_options options = EDGELLM_DECODE_OPTIONS_INIT;
    const edgellm_token tokens[3] = {10, 20, 30}, drafts[3] = {1, 2, 3}, path[2] = {1, 3};
    const int32_t parents[3] = {-1, -1, 0}, wrong[3] = {-1, 1, 0};
    const float *logits = NULL;
    static float branch[264];
    size_t i, n = 0;
    CHECK_OK(decode(context, 0, tokens, 3));
    batch.n_tokens = 3;
    batch.tokens = drafts;
    batch.parents = wrong;
    CHECK_STATUS(edgellm_context_decode(context, &batch, NULL, NULL), EDGELLM_INVALID_ARGUMENT, "parent 1");
    batch.parents = parents;
    CHECK_OK(edgellm_context_decode(context, &batch, NULL, NULL));
    CHECK_OK(edgellm_context_get_logits(context, 0, &logits, NULL));
    memcpy(branch, logits, sizeof branch);
    CHECK_STATUS(decode(context, 0, tokens, 1), EDGELLM_UNSUPPORTED, "tree of drafts");
    CHECK_OK(edgellm_sequence_remove(context, 0, 3, -1));
    CHECK_OK(decode(context, 0, path, 2));
    CHECK_OK(edgellm_context_get_logits(context, 0, &logits, &n));
    for (i = 0; i < n; i++) CHECK(fabsf(branch[i] - logits[i]) < 1e-4f); /* steps of other shapes round otherwise */

    batch.parents = NULL;
    options.deadline_ns = edgellm_now_ns() - 1;
    CHECK_STATUS(edgellm_context_decode(context, &batch, &options, NULL), EDGELLM_DEADLINE_EXCEEDED, "deadline");
    CHECK(length_of(context, 0) == 5);
    options.deadline_ns = edgellm_now_ns() + INT64_C(60000000000);
    CHECK_OK(edgellm_context_decode(context, &batch, &options, NULL));
    CHECK(length_of(context, 0) == 8);
    edgellm_context_free(context);
    edgellm_model_free(model);
}

static void test_policies(void) {
    edgellm_model *model = load(tiny_path);
    edgellm_context *context = NULL;
    edgellm_context_options options = EDGELLM_CONTEXT_OPTIONS_INIT;
    edgellm_context_info info = EDGELLM_CONTEXT_INFO_INIT;
    edgellm_sequence_info sequence = EDGELLM_SEQUENCE_INFO_INIT;
    edgellm_token token = 0;
    int32_t policy;
    options.context_tokens = 100;
    options.cache_policy = EDGELLM_CACHE_SINKS;
    CHECK_STATUS(edgellm_context_create(model, &options, &context), EDGELLM_INVALID_ARGUMENT, "128");
    options.context_tokens = 128;
    for (policy = EDGELLM_CACHE_WINDOW; policy <= EDGELLM_CACHE_SINKS; policy++) {
        options.cache_policy = policy;
        CHECK_OK(edgellm_context_create(model, &options, &context));
        CHECK_OK(edgellm_context_get_info(context, &info));
        CHECK(info.cache_policy == policy && info.max_batch_tokens == 64);
        for (token = 0; token < 250; token++) CHECK_OK(decode(context, 0, &token, 1));
        CHECK_OK(edgellm_sequence_get_info(context, 0, &sequence));
        CHECK(sequence.next_position == 250 && sequence.n_tokens <= 128 && sequence.n_tokens > 64);
        CHECK_STATUS(edgellm_sequence_remove(context, 0, 100, 200), EDGELLM_UNSUPPORTED, "dropped");
        edgellm_context_free(context);
    }
    edgellm_model_free(model);
}

static void test_sampler(void) {
    edgellm_model *model = load(tiny_path), *bare = load(bare_path);
    edgellm_context *context = create(model);
    edgellm_sampler *greedy = sampler_for(model, EDGELLM_NO_TOKEN), *biased = sampler_for(model, TOKEN_A);
    edgellm_sampler *other = sampler_for(bare, EDGELLM_NO_TOKEN), *random = NULL;
    edgellm_sampler_options options = EDGELLM_SAMPLER_OPTIONS_INIT;
    edgellm_token prompt[2] = {10, 20}, token = -1, best = -1, drawn[MANY];
    int i, differ = 0;
    CHECK_STATUS(edgellm_sampler_sample(greedy, context, 0, &token), EDGELLM_NOT_FOUND, "no output row");
    CHECK_OK(decode(context, 0, prompt, 2));
    CHECK_OK(edgellm_context_get_top(context, 0, 1, &best, NULL, NULL));
    CHECK_OK(edgellm_sampler_sample(greedy, context, 0, &token));
    CHECK(token == best);
    CHECK_OK(edgellm_sampler_sample(biased, context, 0, &token));
    CHECK(token == TOKEN_A);
    CHECK_STATUS(edgellm_sampler_sample(other, context, 0, &token), EDGELLM_INVALID_ARGUMENT, "264");

    options.temperature = 5;
    options.top_k = 0;
    options.top_p = 1;
    options.seed = 42;
    CHECK_OK(edgellm_sampler_create(model, &options, &random));
    for (i = 0; i < MANY; i++) {
        CHECK_OK(edgellm_sampler_sample(random, context, 0, &drawn[i]));
        CHECK_OK(edgellm_sampler_sample(random, context, 0, &token));
        CHECK(token == drawn[i]);
        CHECK_OK(edgellm_sampler_accept(random, token));
        differ += drawn[i] != drawn[0];
    }
    CHECK(differ > 0);
    CHECK_OK(edgellm_sampler_reset(random));
    for (i = 0; i < MANY; i++) {
        CHECK_OK(edgellm_sampler_sample(random, context, 0, &token));
        CHECK(token == drawn[i]);
        CHECK_OK(edgellm_sampler_accept(random, token));
    }
    CHECK_STATUS(edgellm_sampler_accept(random, 264), EDGELLM_INVALID_ARGUMENT, "no token 264");

    edgellm_model_free(model); /* handles are freed in any order */
    edgellm_sampler_free(random);
    edgellm_context_free(context);
    edgellm_sampler_free(greedy);
    edgellm_sampler_free(biased);
    edgellm_sampler_free(other);
    edgellm_model_free(bare);
}

static void test_sampler_options(void) {
    edgellm_model *model = load(tiny_path), *bare = load(bare_path);
    edgellm_sampler *sampler = NULL;
    const char *breakers[33] = {""};
    char long_breaker[66];
#define REFUSED(member, value, status)                                                                                 \
    do {                                                                                                               \
        edgellm_sampler_options options = EDGELLM_SAMPLER_OPTIONS_INIT;                                                \
        options.member = value;                                                                                        \
        CHECK_STATUS(edgellm_sampler_create(model, &options, &sampler), status, #member);                              \
        CHECK(sampler == NULL);                                                                                        \
    } while (0)
    REFUSED(flags, 1, EDGELLM_UNSUPPORTED);
    REFUSED(temperature, -1, EDGELLM_INVALID_ARGUMENT);
    REFUSED(top_k, -1, EDGELLM_INVALID_ARGUMENT);
    REFUSED(top_p, 2, EDGELLM_INVALID_ARGUMENT);
    REFUSED(min_p, -0.5f, EDGELLM_INVALID_ARGUMENT);
    REFUSED(typical_p, 1.5f, EDGELLM_INVALID_ARGUMENT);
    REFUSED(top_n_sigma, -1, EDGELLM_INVALID_ARGUMENT);
    REFUSED(repetition_penalty, 0, EDGELLM_INVALID_ARGUMENT);
    REFUSED(frequency_penalty, INFINITY, EDGELLM_INVALID_ARGUMENT);
    REFUSED(presence_penalty, NAN, EDGELLM_INVALID_ARGUMENT);
    REFUSED(penalty_last_n, -1, EDGELLM_INVALID_ARGUMENT);
    REFUSED(xtc_probability, 2, EDGELLM_INVALID_ARGUMENT);
    REFUSED(xtc_threshold, -1, EDGELLM_INVALID_ARGUMENT);
    REFUSED(dynatemp_range, -1, EDGELLM_INVALID_ARGUMENT);
    REFUSED(dynatemp_exponent, -1, EDGELLM_INVALID_ARGUMENT);
    REFUSED(mirostat_tau, -1, EDGELLM_INVALID_ARGUMENT);
    REFUSED(mirostat_eta, -1, EDGELLM_INVALID_ARGUMENT);
    REFUSED(dry_multiplier, -1, EDGELLM_INVALID_ARGUMENT);
    REFUSED(dry_base, 0.5f, EDGELLM_INVALID_ARGUMENT);
    REFUSED(dry_allowed_length, 0, EDGELLM_INVALID_ARGUMENT);
    REFUSED(dry_penalty_last_n, -1, EDGELLM_INVALID_ARGUMENT);
    REFUSED(stages, "", EDGELLM_INVALID_ARGUMENT);
    REFUSED(stages, "top_k,magic", EDGELLM_INVALID_ARGUMENT);
    REFUSED(stages, "top_k,top_k", EDGELLM_INVALID_ARGUMENT);
#undef REFUSED
    {
        edgellm_sampler_options options = EDGELLM_SAMPLER_OPTIONS_INIT;
        options.n_logit_bias = 1;
        CHECK_STATUS(edgellm_sampler_create(model, &options, &sampler), EDGELLM_INVALID_ARGUMENT, "logit_bias_tokens");
        options.n_logit_bias = 0;
        options.dry_multiplier = 1;
        options.n_dry_breakers = 1;
        CHECK_STATUS(edgellm_sampler_create(model, &options, &sampler), EDGELLM_INVALID_ARGUMENT, "dry_breakers");
        options.dry_breakers = breakers;
        CHECK_STATUS(edgellm_sampler_create(model, &options, &sampler), EDGELLM_INVALID_ARGUMENT, "empty");
        breakers[0] = NULL;
        CHECK_STATUS(edgellm_sampler_create(model, &options, &sampler), EDGELLM_INVALID_ARGUMENT, "dry_breakers");
        breakers[0] = strcpy(long_breaker, "0123456789012345678901234567890123456789012345678901234567890123x");
        CHECK_STATUS(edgellm_sampler_create(model, &options, &sampler), EDGELLM_LIMIT_EXCEEDED, "65 bytes");
        CHECK_STATUS(edgellm_sampler_create(bare, &options, &sampler), EDGELLM_NO_VOCABULARY, bare_path);
        options.n_dry_breakers = 33;
        CHECK_STATUS(edgellm_sampler_create(model, &options, &sampler), EDGELLM_LIMIT_EXCEEDED, "n_dry_breakers");
        options.n_dry_breakers = 0;
        options.dry_breakers = NULL;
        CHECK_OK(edgellm_sampler_create(bare, &options, &sampler)); /* without any breakers */
        edgellm_sampler_free(sampler);
    }
    edgellm_model_free(bare);
    edgellm_model_free(model);
}

/* What is sampled after the text, if 'c' is by far the likeliest token but for DRY. */
static edgellm_token after(const edgellm_model *model, edgellm_context *context, edgellm_sampler_options options,
                           const char *text) {
    const edgellm_token wanted = 3 + 'c';
    const float bias = 1000;
    edgellm_sampler *sampler = NULL;
    edgellm_token token = EDGELLM_NO_TOKEN;
    options.temperature = 0;
    options.dry_multiplier = 10000;
    options.n_logit_bias = 1;
    options.logit_bias_tokens = &wanted;
    options.logit_bias_values = &bias;
    CHECK_OK(edgellm_sampler_create(model, &options, &sampler));
    for (; *text; text++) CHECK_OK(edgellm_sampler_accept(sampler, 3 + *text));
    CHECK_OK(edgellm_sampler_sample(sampler, context, 0, &token));
    edgellm_sampler_free(sampler);
    return token - 3;
}

static void test_repetitions_and_breakers(void) {
    static const char *const own[2] = {"b", "x-y"};
    edgellm_model *model = load(tiny_path);
    edgellm_context *context = create(model);
    edgellm_sampler_options options = EDGELLM_SAMPLER_OPTIONS_INIT;
    const edgellm_token prompt = 10;
    CHECK_OK(decode(context, 0, &prompt, 1));
    CHECK(after(model, context, options, "abab") == 'c');
    CHECK(after(model, context, options, "abcab") != 'c');
    CHECK(after(model, context, options, ":bc:b") == 'c'); /* one of the usual breakers */
    CHECK(after(model, context, options, "ab:cab:") == 'c');
    CHECK(after(model, context, options, "x-ycx-y") != 'c');
    options.stages = "penalties,temperature";
    CHECK(after(model, context, options, "abcab") == 'c');
    options.stages = "temperature,dry";
    CHECK(after(model, context, options, "abcab") != 'c');
    options.dry_breakers = own;
    options.n_dry_breakers = 2;
    CHECK(after(model, context, options, "abcab") == 'c');
    CHECK(after(model, context, options, ":ac:a") != 'c');
    CHECK(after(model, context, options, "x-ycx-y") == 'c'); /* a breaker of three tokens */
    CHECK(after(model, context, options, "z-ycz-y") != 'c');
    options.n_dry_breakers = 0; /* none at all */
    CHECK(after(model, context, options, "abcab") != 'c');
    CHECK(after(model, context, options, "::c::") != 'c');
    edgellm_context_free(context);
    edgellm_model_free(model);
}

static void test_saving(void) {
    edgellm_model *model = load(tiny_path), *foreign = load(bare_path);
    edgellm_context *context = create(model), *other = create(model), *of_another_model = create(foreign);
    const edgellm_token tokens[6] = {10, 20, 30, 40, 50, 60};
    static unsigned char bytes[1 << 16];
    static float wanted[264];
    const float *logits = NULL;
    size_t needed = 0, n = 0;
    char path[1024];
    CHECK((size_t)snprintf(path, sizeof path, "%s.state", tiny_path) < sizeof path);
    CHECK_OK(decode(context, 0, tokens, 5));
    CHECK_STATUS(edgellm_sequence_save(context, 0, NULL, 0, &needed), EDGELLM_BUFFER_TOO_SMALL, "cap is 0");
    CHECK(needed > 5 * 64 && needed < sizeof bytes);
    CHECK_STATUS(edgellm_sequence_save(context, 0, bytes, needed - 1, NULL), EDGELLM_BUFFER_TOO_SMALL, "bytes");
    CHECK(bytes[0] == 0);
    CHECK_OK(edgellm_sequence_save(context, 0, bytes, sizeof bytes, &n));
    CHECK(n == needed && bytes[0] != 0);
    CHECK_OK(edgellm_sequence_save_file(context, 0, path));
    CHECK_OK(decode(context, 0, tokens + 5, 1));
    CHECK_OK(edgellm_context_get_logits(context, 0, &logits, NULL));
    memcpy(wanted, logits, sizeof wanted);

    CHECK_OK(edgellm_sequence_restore(other, 1, bytes, n));
    CHECK(length_of(other, 1) == 5 && length_of(other, 0) == 0);
    CHECK_OK(edgellm_sequence_restore_file(context, 0, path));
    CHECK(length_of(context, 0) == 5);
    CHECK_OK(decode(other, 1, tokens + 5, 1));
    CHECK_OK(edgellm_context_get_logits(other, 0, &logits, NULL));
    CHECK(memcmp(logits, wanted, sizeof wanted) == 0);
    CHECK_OK(decode(context, 0, tokens + 5, 1));
    CHECK_OK(edgellm_context_get_logits(context, 0, &logits, NULL));
    CHECK(memcmp(logits, wanted, sizeof wanted) == 0);

    CHECK_STATUS(edgellm_sequence_restore(other, 1, bytes, n - 1), EDGELLM_FILE_TRUNCATED, "ends at byte");
    bytes[n / 2] ^= 1;
    CHECK_STATUS(edgellm_sequence_restore(other, 1, bytes, n), EDGELLM_FILE_CORRUPT, "checksum");
    CHECK_STATUS(edgellm_sequence_restore_file(other, 1, tiny_path), EDGELLM_FILE_CORRUPT, "no saved sequence");
    CHECK_STATUS(edgellm_sequence_restore_file(of_another_model, 0, path), EDGELLM_STATE_MISMATCH, "another model");
    CHECK_STATUS(edgellm_sequence_restore_file(other, 1, "nowhere/state"), EDGELLM_IO_ERROR, "nowhere/state");
    CHECK_STATUS(edgellm_sequence_save_file(other, 1, "nowhere/state"), EDGELLM_IO_ERROR, "nowhere/state");
    CHECK_STATUS(edgellm_sequence_save_file(other, 2, path), EDGELLM_INVALID_ARGUMENT, "sequence is 2");
    CHECK_STATUS(edgellm_sequence_save_file(other, 0, NULL), EDGELLM_INVALID_ARGUMENT, "path is NULL");
    CHECK_STATUS(edgellm_sequence_restore_file(other, -1, path), EDGELLM_INVALID_ARGUMENT, "sequence is -1");
    CHECK_STATUS(edgellm_sequence_restore_file(other, 0, NULL), EDGELLM_INVALID_ARGUMENT, "path is NULL");
    CHECK_STATUS(edgellm_sequence_save(other, 0, NULL, 1, NULL), EDGELLM_INVALID_ARGUMENT, "buf is NULL");
    CHECK_STATUS(edgellm_sequence_restore(other, 0, NULL, 1), EDGELLM_INVALID_ARGUMENT, "data is NULL");
    CHECK(length_of(other, 1) == 6);
    CHECK(remove(path) == 0);
    edgellm_context_free(context);
    edgellm_context_free(other);
    edgellm_context_free(of_another_model);
    edgellm_model_free(model);
    edgellm_model_free(foreign);
}

int main(int argc, char **argv) {
    static const test_case tests[] = {
        {"decode", test_decode},
        {"context options", test_context_options},
        {"sequences", test_sequences},
        {"forks", test_forks},
        {"trees and deadlines", test_trees_and_deadlines},
        {"policies", test_policies},
        {"saving", test_saving},
        {"sampler", test_sampler},
        {"options of samplers", test_sampler_options},
        {"repetitions and breakers", test_repetitions_and_breakers},
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
