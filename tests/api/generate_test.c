/* The C interface: generate, its stop reasons, and what threads and callbacks may do meanwhile. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <math.h>
#include <pthread.h>

typedef struct listener {
    char text[1024];
    size_t n_text;
    int n_tokens, stop_after;
    edgellm_token tokens[256];
    edgellm_context *context;
    edgellm_status inside; /* of a call made in the callback */
} listener;

static int32_t listen(void *user, const edgellm_token_event *event) {
    listener *l = user;
    CHECK(event->struct_size >= sizeof *event);
    CHECK(event->text[event->n_text_bytes] == '\0');
    memcpy(l->text + l->n_text, event->text, event->n_text_bytes + 1);
    l->n_text += event->n_text_bytes;
    if (event->token == EDGELLM_NO_TOKEN) return 0;
    l->tokens[l->n_tokens++] = event->token;
    CHECK(event->n_generated == l->n_tokens);
    return l->n_tokens == l->stop_after;
}

typedef struct fixture {
    edgellm_model *model;
    edgellm_context *context;
    edgellm_sampler *says_a;
    listener heard;
    edgellm_generate_result result;
} fixture;

static void set_up(fixture *f) {
    const edgellm_generate_result none = EDGELLM_GENERATE_RESULT_INIT;
    memset(f, 0, sizeof *f);
    f->model = load(tiny_path);
    f->context = create(f->model);
    f->says_a = sampler_for(f->model, TOKEN_A);
    f->result = none;
}

static void tear_down(fixture *f) {
    edgellm_sampler_free(f->says_a);
    edgellm_context_free(f->context);
    edgellm_model_free(f->model);
}

static edgellm_status generate(fixture *f, edgellm_sampler *sampler, const edgellm_generate_options *options) {
    const edgellm_token prompt[3] = {10, 20, 30};
    int stop_after = f->heard.stop_after;
    memset(&f->heard, 0, sizeof f->heard);
    f->heard.stop_after = stop_after;
    return edgellm_context_generate(f->context, 0, sampler, prompt, 3, options, listen, &f->heard, &f->result);
}

static void test_stop_reasons(void) {
    static const char *const strings[2] = {"b", "aaab"};
    static const char *const four[2] = {"xyz", "aaaa"};
    fixture f;
    edgellm_sampler *ends;
    edgellm_generate_options options = EDGELLM_GENERATE_OPTIONS_INIT;
    set_up(&f);
    ends = sampler_for(f.model, END_OF_TURN);

    options.max_tokens = 5;
    CHECK_OK(generate(&f, f.says_a, &options));
    CHECK(f.result.stop_reason == EDGELLM_STOP_LENGTH && f.result.n_generated == 5 && f.result.n_prompt_tokens == 3);
    CHECK(strcmp(f.heard.text, "aaaaa") == 0 && f.heard.n_tokens == 5);
    CHECK(f.result.n_tokens == 7 && length_of(f.context, 0) == 7);
    CHECK(f.result.prompt_ns > 0 && f.result.generate_ns > 0 && f.result.stop_string == -1);

    options.n_stop_strings = 2;
    options.stop_strings = strings;
    CHECK_OK(generate(&f, f.says_a, &options)); /* held back in case of a "b", brought in the end */
    CHECK(f.result.stop_reason == EDGELLM_STOP_LENGTH && strcmp(f.heard.text, "aaaaa") == 0);
    options.stop_strings = four;
    CHECK_OK(generate(&f, f.says_a, &options));
    CHECK(f.result.stop_reason == EDGELLM_STOP_STRING && f.result.stop_string == 1 && f.result.n_generated == 4);
    CHECK(f.heard.n_text == 0 && f.heard.n_tokens == 4);

    CHECK_OK(generate(&f, ends, NULL));
    CHECK(f.result.stop_reason == EDGELLM_STOP_END_OF_TURN && f.result.n_generated == 0 && f.heard.n_tokens == 0);
    options.n_stop_strings = 0;
    options.flags = EDGELLM_GENERATE_IGNORE_END;
    CHECK_OK(generate(&f, ends, &options));
    CHECK(f.result.stop_reason == EDGELLM_STOP_LENGTH && f.heard.tokens[4] == END_OF_TURN && f.heard.n_text == 0);

    f.heard.stop_after = 2;
    CHECK_OK(generate(&f, f.says_a, NULL));
    CHECK(f.result.stop_reason == EDGELLM_STOP_CALLBACK && f.result.n_generated == 2);
    f.heard.stop_after = 0;
    CHECK_OK(edgellm_sequence_remove(f.context, 0, 0, -1));
    CHECK_OK(generate(&f, f.says_a, NULL));
    CHECK(f.result.stop_reason == EDGELLM_STOP_CONTEXT_FULL && f.result.n_tokens == 128 && f.result.n_generated == 126);
    CHECK_STATUS(generate(&f, f.says_a, NULL), EDGELLM_PROMPT_TOO_LONG, "3 tokens");
    CHECK(length_of(f.context, 0) == 128);
    edgellm_sampler_free(ends);
    tear_down(&f);
}

static void test_deadline_and_reuse(void) {
    fixture f;
    edgellm_generate_options options = EDGELLM_GENERATE_OPTIONS_INIT;
    edgellm_token prompt[70];
    int i;
    set_up(&f);
    for (i = 0; i < 70; i++) prompt[i] = 10 + i;
    options.max_tokens = 2;
    CHECK_OK(edgellm_context_generate(f.context, 0, f.says_a, prompt, 70, &options, NULL, NULL, &f.result));
    CHECK(f.result.n_prompt_tokens == 70 && f.result.n_reused_tokens == 0);
    CHECK_OK(edgellm_sequence_remove(f.context, 0, 0, -1));
    prompt[69] = 5;
    CHECK_OK(edgellm_context_generate(f.context, 0, f.says_a, prompt, 70, &options, NULL, NULL, &f.result));
    CHECK(f.result.n_prompt_tokens == 70 && f.result.n_reused_tokens == 64 && f.result.n_tokens == 71);

    options.deadline_ns = edgellm_now_ns() - 1;
    CHECK_STATUS(edgellm_context_generate(f.context, 0, f.says_a, prompt, 3, &options, NULL, NULL, &f.result),
                 EDGELLM_DEADLINE_EXCEEDED, "deadline");
    CHECK(f.result.stop_reason == EDGELLM_STOP_DEADLINE && f.result.n_prompt_tokens == 0 && f.result.n_tokens == 71);
    CHECK(length_of(f.context, 0) == 71);
    tear_down(&f);
}

static void test_generate_arguments(void) {
    fixture f;
    edgellm_generate_options options = EDGELLM_GENERATE_OPTIONS_INIT;
    const char *strings[17] = {""};
    char long_string[300];
    const edgellm_token wrong[2] = {10, 264};
    set_up(&f);
    options.max_tokens = -1;
    CHECK_STATUS(generate(&f, f.says_a, &options), EDGELLM_INVALID_ARGUMENT, "max_tokens");
    options.max_tokens = 1;
    options.flags = 0x40u;
    CHECK_STATUS(generate(&f, f.says_a, &options), EDGELLM_UNSUPPORTED, "options.flags");
    options.flags = 0;
    options.reserved = 1;
    CHECK_STATUS(generate(&f, f.says_a, &options), EDGELLM_UNSUPPORTED, "options.reserved");
    options.reserved = 0;
    options.n_top = 33;
    CHECK_STATUS(generate(&f, f.says_a, &options), EDGELLM_LIMIT_EXCEEDED, "n_top is 33");
    options.n_top = 0;
    options.n_stop_strings = 17;
    options.stop_strings = strings;
    CHECK_STATUS(generate(&f, f.says_a, &options), EDGELLM_LIMIT_EXCEEDED, "n_stop_strings");
    options.n_stop_strings = 1;
    CHECK_STATUS(generate(&f, f.says_a, &options), EDGELLM_INVALID_ARGUMENT, "stop string");
    memset(long_string, 'x', sizeof long_string);
    long_string[256] = '\0';
    strings[0] = long_string;
    CHECK_STATUS(generate(&f, f.says_a, &options), EDGELLM_LIMIT_EXCEEDED, "256");
    long_string[255] = '\0';
    CHECK_OK(generate(&f, f.says_a, &options));
    strings[0] = NULL;
    CHECK_STATUS(generate(&f, f.says_a, &options), EDGELLM_INVALID_ARGUMENT, "stop string is NULL");
    options.stop_strings = NULL;
    CHECK_STATUS(generate(&f, f.says_a, &options), EDGELLM_INVALID_ARGUMENT, "stop_strings is NULL");
    CHECK_OK(edgellm_sequence_remove(f.context, 0, 0, -1));
    CHECK_STATUS(edgellm_context_generate(f.context, 0, f.says_a, wrong, 2, NULL, NULL, NULL, NULL),
                 EDGELLM_INVALID_ARGUMENT, "264");
    CHECK_STATUS(edgellm_context_generate(f.context, 2, f.says_a, wrong, 1, NULL, NULL, NULL, NULL),
                 EDGELLM_INVALID_ARGUMENT, "sequence is 2");
    CHECK(length_of(f.context, 0) == 0);
    tear_down(&f);
}

static void test_same_seed_same_tokens(void) {
    fixture f;
    edgellm_sampler_options options = EDGELLM_SAMPLER_OPTIONS_INIT;
    edgellm_generate_options length = EDGELLM_GENERATE_OPTIONS_INIT;
    edgellm_sampler *sampler = NULL;
    edgellm_token first[20];
    int run;
    set_up(&f);
    options.temperature = 3;
    options.seed = 7;
    length.max_tokens = 20;
    length.flags = EDGELLM_GENERATE_IGNORE_END;
    for (run = 0; run < 3; run++) {
        options.seed = run < 2 ? 7 : 8;
        CHECK_OK(edgellm_sampler_create(f.model, &options, &sampler));
        CHECK_OK(edgellm_sequence_remove(f.context, 0, 0, -1));
        CHECK_OK(generate(&f, sampler, &length));
        if (run == 0) memcpy(first, f.heard.tokens, sizeof first);
        CHECK((memcmp(first, f.heard.tokens, sizeof first) == 0) == (run < 2));
        edgellm_sampler_free(sampler);
    }
    tear_down(&f);
}

/* ---- log-probabilities */

typedef struct likelihoods {
    edgellm_token tokens[8], best[8];
    float logprobs[8], best_logprobs[8];
    int n, n_top;
} likelihoods;

static int32_t note_likelihoods(void *user, const edgellm_token_event *event) {
    likelihoods *l = user;
    uint32_t i;
    if (event->token == EDGELLM_NO_TOKEN || l->n_top == 0) {
        CHECK(event->n_top == 0 && !event->top_tokens && !event->top_logprobs);
        if (event->token == EDGELLM_NO_TOKEN) CHECK(event->logprob == 0);
    } else {
        CHECK((int)event->n_top == l->n_top);
        for (i = 0; i < event->n_top; i++) {
            if (event->top_tokens[i] == event->token) CHECK(event->top_logprobs[i] == event->logprob);
            if (i) CHECK(event->top_logprobs[i] <= event->top_logprobs[i - 1]);
        }
        l->best[l->n] = event->top_tokens[0];
        l->best_logprobs[l->n] = event->top_logprobs[0];
    }
    if (event->token == EDGELLM_NO_TOKEN) return 0;
    l->tokens[l->n] = event->token;
    l->logprobs[l->n++] = event->logprob;
    return 0;
}

static void test_logprobs(void) {
    static const char *const stops[1] = {"never said"}; /* so that there is a last call */
    const edgellm_token prompt[3] = {10, 20, 30};
    edgellm_generate_options options = EDGELLM_GENERATE_OPTIONS_INIT;
    edgellm_sampler_options sampling = EDGELLM_SAMPLER_OPTIONS_INIT;
    edgellm_sampler *sampler = NULL;
    likelihoods l;
    fixture f;
    int i, run;
    set_up(&f);
    sampling.temperature = 4;
    sampling.top_k = 0;
    CHECK_OK(edgellm_sampler_create(f.model, &sampling, &sampler));
    options.max_tokens = 8;
    options.stop_strings = stops;
    options.n_stop_strings = 1;
    for (run = 0; run < 3; run++) {
        const int n_top[3] = {32, 1, 0};
        memset(&l, 0, sizeof l);
        l.n_top = n_top[run];
        options.n_top = (uint32_t)n_top[run];
        options.flags = EDGELLM_GENERATE_IGNORE_END | (run == 2 ? EDGELLM_GENERATE_LOGPROBS : 0);
        CHECK_OK(edgellm_sampler_reset(sampler));
        CHECK_OK(edgellm_sequence_remove(f.context, 0, 0, -1));
        CHECK_OK(edgellm_context_generate(f.context, 0, sampler, prompt, 3, &options, note_likelihoods, &l, NULL));
        CHECK(l.n == 8);

        CHECK_OK(edgellm_sequence_remove(f.context, 0, 0, -1)); /* the same by hand */
        CHECK_OK(decode(f.context, 0, prompt, 3));
        for (i = 0; i < l.n; i++) {
            edgellm_token best = EDGELLM_NO_TOKEN;
            float logprob = 1, best_logprob = 1;
            CHECK_OK(edgellm_context_get_logprob(f.context, 0, l.tokens[i], &logprob));
            CHECK_OK(edgellm_context_get_top(f.context, 0, 1, &best, &best_logprob, NULL));
            CHECK(fabs(logprob - l.logprobs[i]) < 1e-3); /* batches of other sizes may round differently */
            if (l.n_top) CHECK(best == l.best[i] && fabs(best_logprob - l.best_logprobs[i]) < 1e-3);
            CHECK_OK(decode(f.context, 0, &l.tokens[i], 1));
        }
    }
    options.flags = 0; /* not asked for */
    memset(&l, 0, sizeof l);
    CHECK_OK(edgellm_context_generate(f.context, 0, f.says_a, prompt, 3, &options, note_likelihoods, &l, NULL));
    CHECK(l.n == 8 && l.logprobs[0] == 0);
    edgellm_sampler_free(sampler);
    tear_down(&f);
}

/* ---- threads and callbacks */

static void *decode_elsewhere(void *user) {
    listener *l = user;
    const edgellm_token token = 10;
    l->inside = decode(l->context, 1, &token, 1);
    return NULL;
}

static void *cancel_elsewhere(void *user) {
    listener *l = user;
    l->inside = edgellm_context_cancel(l->context);
    return NULL;
}

/* Lets another thread act while generate is running, and waits for it. */
static void in_thread(void *(*act)(void *), listener *l) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, act, l) == 0);
    pthread_join(thread, NULL);
}

static int32_t use_in_callback(void *user, const edgellm_token_event *event) {
    const edgellm_token token = 10;
    (void)event;
    CHECK_STATUS(decode(((listener *)user)->context, 1, &token, 1), EDGELLM_BUSY, "another call");
    return 0;
}

static int32_t use_elsewhere(void *user, const edgellm_token_event *event) {
    (void)event;
    in_thread(decode_elsewhere, user);
    return 0;
}

static int32_t cancel_while_running(void *user, const edgellm_token_event *event) {
    if (event->n_generated == 2 && event->token != EDGELLM_NO_TOKEN) in_thread(cancel_elsewhere, user);
    return listen(user, event);
}

static void test_misuse_is_busy(void) {
    fixture f;
    const edgellm_token prompt = 10;
    edgellm_generate_options options = EDGELLM_GENERATE_OPTIONS_INIT;
    set_up(&f);
    f.heard.context = f.context;
    options.max_tokens = 2;
    CHECK_OK(edgellm_context_generate(f.context, 0, f.says_a, &prompt, 1, &options, use_in_callback, &f.heard, NULL));
    CHECK_OK(edgellm_context_generate(f.context, 0, f.says_a, &prompt, 1, &options, use_elsewhere, &f.heard, NULL));
    CHECK(f.heard.inside == EDGELLM_BUSY);
    CHECK(length_of(f.context, 1) == 0);
    decode_elsewhere(&f.heard); /* alone it works */
    CHECK(f.heard.inside == EDGELLM_OK && length_of(f.context, 1) == 1);
    tear_down(&f);
}

static void test_cancel(void) {
    fixture f;
    static const char *const stops[1] = {"aaaa"};
    const edgellm_token prompt[3] = {10, 20, 30};
    edgellm_generate_options options = EDGELLM_GENERATE_OPTIONS_INIT;
    int before;
    set_up(&f);
    f.heard.context = f.context;
    CHECK_OK(edgellm_context_cancel(f.context)); /* before the call: lasts until it was heard */
    CHECK_STATUS(decode(f.context, 0, prompt, 3), EDGELLM_CANCELLED, "cancelled");
    CHECK(length_of(f.context, 0) == 0);
    CHECK_OK(decode(f.context, 0, prompt, 3));

    CHECK_OK(edgellm_context_cancel(f.context));
    CHECK_STATUS(generate(&f, f.says_a, NULL), EDGELLM_CANCELLED, "cancelled");
    CHECK(f.result.stop_reason == EDGELLM_STOP_CANCELLED && f.result.n_prompt_tokens == 0 && f.result.n_tokens == 3);

    before = length_of(f.context, 0);
    f.heard.context = f.context;
    CHECK_STATUS(
        edgellm_context_generate(f.context, 0, f.says_a, prompt, 3, NULL, cancel_while_running, &f.heard, &f.result),
        EDGELLM_CANCELLED, "cancelled");
    CHECK(f.heard.inside == EDGELLM_OK);
    CHECK(f.result.stop_reason == EDGELLM_STOP_CANCELLED && f.result.n_generated == 2);
    CHECK(f.result.n_tokens == before + 4 && length_of(f.context, 0) == before + 4);

    /* Text that waited for the end of a stop string comes in a last call. */
    options.stop_strings = stops;
    options.n_stop_strings = 1;
    memset(&f.heard, 0, sizeof f.heard);
    f.heard.context = f.context;
    CHECK_STATUS(edgellm_context_generate(f.context, 0, f.says_a, prompt, 3, &options, cancel_while_running, &f.heard,
                                          &f.result),
                 EDGELLM_CANCELLED, "cancelled");
    CHECK(f.heard.n_tokens == 2 && strcmp(f.heard.text, "aa") == 0);
    CHECK_OK(generate(&f, f.says_a, NULL)); /* the request is used up */
    tear_down(&f);
}

typedef struct worker {
    const edgellm_model *model;
    edgellm_token tokens[8];
} worker;

static void *answer_alone(void *user) {
    worker *w = user;
    edgellm_context *context = create(w->model);
    edgellm_sampler *sampler = sampler_for(w->model, EDGELLM_NO_TOKEN);
    edgellm_token next = 10;
    int i;
    for (i = 0; i < 8; i++) {
        CHECK_OK(decode(context, 0, &next, 1));
        CHECK_OK(edgellm_sampler_sample(sampler, context, 0, &next));
        w->tokens[i] = next;
    }
    edgellm_sampler_free(sampler);
    edgellm_context_free(context);
    return NULL;
}

static void test_one_model_many_threads(void) {
    edgellm_model *model = load(tiny_path);
    pthread_t threads[4];
    worker workers[4];
    int i;
    for (i = 0; i < 4; i++) {
        workers[i].model = model;
        CHECK(pthread_create(&threads[i], NULL, answer_alone, &workers[i]) == 0);
    }
    for (i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    for (i = 1; i < 4; i++) CHECK(memcmp(workers[0].tokens, workers[i].tokens, sizeof workers[0].tokens) == 0);
    edgellm_model_free(model);
}

int main(int argc, char **argv) {
    static const test_case tests[] = {
        {"stop reasons", test_stop_reasons},
        {"deadline and reuse", test_deadline_and_reuse},
        {"arguments of generate", test_generate_arguments},
        {"same seed, same tokens", test_same_seed_same_tokens},
        {"log-probabilities", test_logprobs},
        {"misuse is busy", test_misuse_is_busy},
        {"cancel", test_cancel},
        {"one model, many threads", test_one_model_many_threads},
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
