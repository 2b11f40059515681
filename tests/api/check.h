/* What the C tests share: checks that count, handles to try, and the closing line. */
#ifndef EDGELLM_TESTS_API_CHECK_H
#define EDGELLM_TESTS_API_CHECK_H

#include <edgellm/edgellm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed_checks;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__, #condition,                    \
                    edgellm_last_error());                                                                             \
            failed_checks++;                                                                                           \
        }                                                                                                              \
    } while (0)

/* The call returns this status and, for a failure, its sentence contains this. */
#define CHECK_STATUS(call, wanted, words)                                                                              \
    do {                                                                                                               \
        edgellm_status status_ = (call);                                                                               \
        if (status_ != (wanted) || (status_ != EDGELLM_OK && !strstr(edgellm_last_error(), words))) {                  \
            fprintf(stderr, "%s:%d: %s gave %s: %s\n", __FILE__, __LINE__, #call, edgellm_status_name(status_),        \
                    edgellm_last_error());                                                                             \
            failed_checks++;                                                                                           \
        }                                                                                                              \
    } while (0)

#define CHECK_OK(call) CHECK_STATUS(call, EDGELLM_OK, "")

/* ---- handles to try; nothing else can be tried without them */

/* Of the tiny model, whose tokens 3 to 258 are the 256 bytes. */
enum { END_OF_TURN = 2, TOKEN_A = 3 + 'a' };
static const char *tiny_path, *bare_path, *vocabulary_path; /* the arguments of every test program */

static inline edgellm_model *load(const char *path) {
    edgellm_model *model = NULL;
    CHECK_OK(edgellm_model_load(path, NULL, &model));
    if (!model) exit(1); /* nothing else can be tried */
    return model;
}

static inline edgellm_context *create(const edgellm_model *model) {
    edgellm_context_options options = EDGELLM_CONTEXT_OPTIONS_INIT;
    edgellm_context *context = NULL;
    options.max_batch_tokens = 16;
    options.max_outputs = 16;
    options.max_sequences = 2;
    options.n_threads = 2;
    CHECK_OK(edgellm_context_create(model, &options, &context));
    if (!context) exit(1);
    return context;
}

/* Always the token, if there is one; greedy otherwise. */
static inline edgellm_sampler *sampler_for(const edgellm_model *model, edgellm_token token) {
    const float bias = 1000;
    edgellm_sampler_options options = EDGELLM_SAMPLER_OPTIONS_INIT;
    edgellm_sampler *sampler = NULL;
    options.temperature = 0;
    if (token != EDGELLM_NO_TOKEN) {
        options.n_logit_bias = 1;
        options.logit_bias_tokens = &token;
        options.logit_bias_values = &bias;
    }
    CHECK_OK(edgellm_sampler_create(model, &options, &sampler));
    if (!sampler) exit(1);
    return sampler;
}

static inline edgellm_status decode(edgellm_context *context, edgellm_sequence sequence, const edgellm_token *tokens,
                                    int n) {
    edgellm_sequence sequences[64];
    edgellm_batch batch = EDGELLM_BATCH_INIT;
    int i;
    for (i = 0; i < n && i < 64; i++) sequences[i] = sequence;
    batch.n_tokens = n;
    batch.tokens = tokens;
    batch.sequences = sequences;
    return edgellm_context_decode(context, &batch, NULL, NULL);
}

static inline int length_of(const edgellm_context *context, edgellm_sequence sequence) {
    edgellm_sequence_info info = EDGELLM_SEQUENCE_INFO_INIT;
    CHECK_OK(edgellm_sequence_get_info(context, sequence, &info));
    return info.n_tokens;
}

/* ---- */

typedef struct test_case {
    const char *name;
    void (*run)(void);
} test_case;

/* The main of a test program: PROGRAM TINY.gguf WITHOUT_VOCABULARY.gguf WITHOUT_WEIGHTS.gguf */
static int run_tests(int argc, char **argv, const test_case *tests, size_t n) {
    size_t i;
    int failed = 0;
    if (argc != 4) return 2;
    tiny_path = argv[1];
    bare_path = argv[2];
    vocabulary_path = argv[3];
    for (i = 0; i < n; i++) {
        int before = failed_checks;
        tests[i].run();
        if (failed_checks == before) continue;
        fprintf(stderr, "FAILED: %s\n", tests[i].name);
        failed++;
    }
    printf("%d passed, %d failed, 0 skipped\n", (int)n - failed, failed);
    return failed != 0;
}

#endif
