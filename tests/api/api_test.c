/* The C interface as a C99 program sees it: errors, arguments, structs of other sizes, devices, models. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "layout.h"
#include <pthread.h>

static void *other_thread_error(void *empty) {
    *(int *)empty = edgellm_last_error()[0] == '\0';
    return NULL;
}

static void test_version_and_errors(void) {
    char kept[512];
    size_t n;
    int empty_elsewhere = 0;
    pthread_t thread;
    CHECK(edgellm_abi_version() == EDGELLM_ABI_VERSION);
    CHECK(strcmp(edgellm_version_string(), "0.1.0") == 0);
    CHECK(strcmp(edgellm_status_name(EDGELLM_OK), "ok") == 0);
    CHECK(strcmp(edgellm_status_name(EDGELLM_OUT_OF_MEMORY), "out_of_memory") == 0);
    CHECK(strcmp(edgellm_status_name(EDGELLM_INTERNAL), "internal") == 0);
    CHECK(strcmp(edgellm_status_name(EDGELLM_STATE_MISMATCH + 1), "unknown") == 0);
    CHECK(strcmp(edgellm_status_name(-1), "unknown") == 0);

    CHECK(edgellm_last_error()[0] == '\0');
    CHECK_STATUS(edgellm_device_count(NULL), EDGELLM_INVALID_ARGUMENT, "n is NULL");
    strcpy(kept, edgellm_last_error());
    CHECK_OK(edgellm_device_count(&n));
    CHECK(strcmp(edgellm_last_error(), kept) == 0); /* success changes nothing */
    CHECK(pthread_create(&thread, NULL, other_thread_error, &empty_elsewhere) == 0);
    pthread_join(thread, NULL);
    CHECK(empty_elsewhere);
}

static void test_devices(void) {
    edgellm_device_info info = EDGELLM_DEVICE_INFO_INIT;
    size_t n = 0;
    CHECK_OK(edgellm_device_count(&n));
    CHECK(n >= 1);
    CHECK_OK(edgellm_device_get_info(0, &info));
    CHECK(strcmp(info.name, "cpu") == 0 && info.kind == EDGELLM_DEVICE_CPU);
    CHECK(info.isa[0] && info.n_threads >= 1 && info.memory_bytes > 0);
    CHECK_STATUS(edgellm_device_get_info(n, &info), EDGELLM_NOT_FOUND, "no device");
}

static void test_null_arguments(void) {
    edgellm_model *model = load(tiny_path), *no_model = NULL;
    edgellm_context *context = create(model), *no_context = NULL;
    edgellm_sampler *sampler = sampler_for(model, EDGELLM_NO_TOKEN), *no_sampler = NULL;
    edgellm_text_stream *stream = NULL, *no_stream = NULL;
    edgellm_batch batch = EDGELLM_BATCH_INIT;
    edgellm_model_info model_info = EDGELLM_MODEL_INFO_INIT;
    edgellm_token token = 3;
    const float *logits;
    float logprob;
    char buf[64];
    CHECK_OK(edgellm_text_stream_create(model, 0, &stream));
#define INVALID(call, words) CHECK_STATUS(call, EDGELLM_INVALID_ARGUMENT, words)
    INVALID(edgellm_device_get_info(0, NULL), "info is NULL");
    INVALID(edgellm_model_load(NULL, NULL, &no_model), "path is NULL");
    INVALID(edgellm_model_load(tiny_path, NULL, NULL), "out is NULL");
    INVALID(edgellm_model_get_info(NULL, &model_info), "model is NULL");
    INVALID(edgellm_model_get_info(model, NULL), "info is NULL");
    INVALID(edgellm_model_get_key(NULL, 0, buf, sizeof buf, NULL), "model is NULL");
    INVALID(edgellm_model_get_key(model, 0, NULL, 64, NULL), "buf is NULL");
    INVALID(edgellm_model_get_metadata(NULL, "general.name", buf, sizeof buf, NULL), "model is NULL");
    INVALID(edgellm_model_get_metadata(model, NULL, buf, sizeof buf, NULL), "key is NULL");
    INVALID(edgellm_model_tokenize(NULL, "a", 1, 0, &token, 1, NULL), "model is NULL");
    INVALID(edgellm_model_tokenize(model, NULL, 1, 0, &token, 1, NULL), "text is NULL");
    INVALID(edgellm_model_tokenize(model, "a", 1, 0, NULL, 9, NULL), "tokens is NULL");
    INVALID(edgellm_model_detokenize(NULL, &token, 1, 0, buf, sizeof buf, NULL), "model is NULL");
    INVALID(edgellm_model_detokenize(model, NULL, 1, 0, buf, sizeof buf, NULL), "tokens is NULL");
    INVALID(edgellm_model_get_token_info(NULL, 0, NULL), "model is NULL");
    INVALID(edgellm_model_get_token_info(model, 0, NULL), "info is NULL");
    INVALID(edgellm_model_render_chat(NULL, "[]", NULL, buf, sizeof buf, NULL), "model is NULL");
    INVALID(edgellm_model_render_chat(model, NULL, NULL, buf, sizeof buf, NULL), "messages_json is NULL");
    no_stream = stream;
    INVALID(edgellm_text_stream_create(NULL, 0, &no_stream), "model is NULL");
    CHECK(no_stream == NULL);
    INVALID(edgellm_text_stream_create(model, 0, NULL), "out is NULL");
    INVALID(edgellm_text_stream_push(NULL, 0, buf, sizeof buf, NULL), "stream is NULL");
    INVALID(edgellm_text_stream_flush(NULL, buf, sizeof buf, NULL), "stream is NULL");
    INVALID(edgellm_context_create(NULL, NULL, &no_context), "model is NULL");
    INVALID(edgellm_context_create(model, NULL, NULL), "out is NULL");
    INVALID(edgellm_context_get_info(NULL, NULL), "context is NULL");
    INVALID(edgellm_context_get_info(context, NULL), "info is NULL");
    INVALID(edgellm_context_decode(NULL, &batch, NULL, NULL), "context is NULL");
    INVALID(edgellm_context_decode(context, NULL, NULL, NULL), "batch is NULL");
    INVALID(edgellm_context_decode(context, &batch, NULL, NULL), "batch.tokens is NULL");
    INVALID(edgellm_context_get_logits(NULL, 0, &logits, NULL), "context is NULL");
    INVALID(edgellm_context_get_logits(context, 0, NULL, NULL), "logits is NULL");
    INVALID(edgellm_context_get_top(NULL, 0, 1, &token, NULL, NULL), "context is NULL");
    INVALID(edgellm_context_get_top(context, 0, 1, NULL, NULL, NULL), "tokens is NULL");
    INVALID(edgellm_context_get_logprob(NULL, 0, 0, &logprob), "context is NULL");
    INVALID(edgellm_context_get_logprob(context, 0, 0, NULL), "logprob is NULL");
    INVALID(edgellm_context_cancel(NULL), "context is NULL");
    INVALID(edgellm_sequence_get_info(NULL, 0, NULL), "context is NULL");
    INVALID(edgellm_sequence_get_info(context, 0, NULL), "info is NULL");
    INVALID(edgellm_sequence_remove(NULL, 0, 0, -1), "context is NULL");
    INVALID(edgellm_sampler_create(NULL, NULL, &no_sampler), "model is NULL");
    INVALID(edgellm_sampler_create(model, NULL, NULL), "out is NULL");
    INVALID(edgellm_sampler_sample(NULL, context, 0, &token), "sampler is NULL");
    INVALID(edgellm_sampler_sample(sampler, NULL, 0, &token), "context is NULL");
    INVALID(edgellm_sampler_sample(sampler, context, 0, NULL), "token is NULL");
    INVALID(edgellm_sampler_accept(NULL, 0), "sampler is NULL");
    INVALID(edgellm_sampler_reset(NULL), "sampler is NULL");
    INVALID(edgellm_context_generate(NULL, 0, sampler, &token, 1, NULL, NULL, NULL, NULL), "context is NULL");
    INVALID(edgellm_context_generate(context, 0, NULL, &token, 1, NULL, NULL, NULL, NULL), "sampler is NULL");
    INVALID(edgellm_context_generate(context, 0, sampler, NULL, 1, NULL, NULL, NULL, NULL), "prompt is NULL");
    INVALID(edgellm_context_generate(context, 0, sampler, &token, 0, NULL, NULL, NULL, NULL), "no tokens");
#undef INVALID
    edgellm_model_free(NULL);
    edgellm_context_free(NULL);
    edgellm_sampler_free(NULL);
    edgellm_text_stream_free(NULL);
    edgellm_text_stream_free(stream);
    edgellm_sampler_free(sampler);
    edgellm_context_free(context);
    edgellm_model_free(model);
}

/* A struct of a newer program: this library knows the first part of it. */
typedef struct newer_options {
    edgellm_context_options known;
    uint64_t unknown;
} newer_options;

static void test_struct_sizes(void) {
    edgellm_model *model = load(tiny_path);
    edgellm_context *context = NULL;
    const edgellm_context_options defaults = EDGELLM_CONTEXT_OPTIONS_INIT;
    newer_options options;
    edgellm_context_info info = EDGELLM_CONTEXT_INFO_INIT;
    struct {
        edgellm_model_info known;
        uint64_t unknown;
    } newer_info;

    options.known = defaults;
    options.known.struct_size = sizeof options;
    options.known.n_threads = 1;
    options.unknown = 0;
    CHECK_OK(edgellm_context_create(model, &options.known, &context));
    edgellm_context_free(context);
    options.unknown = 1;
    CHECK_STATUS(edgellm_context_create(model, &options.known, &context), EDGELLM_UNSUPPORTED,
                 "options has a member set");
    CHECK(context == NULL);

    /* An older program knew nothing behind max_sequences; what lies there is not its struct. */
    memset(&options, 0xff, sizeof options);
    options.known.struct_size = offsetof(edgellm_context_options, max_batch_tokens);
    options.known.context_tokens = 64;
    options.known.max_sequences = 2;
    CHECK_OK(edgellm_context_create(model, &options.known, &context));
    CHECK_OK(edgellm_context_get_info(context, &info));
    CHECK(info.context_tokens == 64 && info.max_sequences == 2 && info.cache_k == EDGELLM_FORMAT_F16);
    info.struct_size = offsetof(edgellm_context_info, max_batch_tokens);
    info.max_batch_tokens = -7;
    info.max_sequences = 0;
    CHECK_OK(edgellm_context_get_info(context, &info));
    CHECK(info.max_sequences == 2 && info.max_batch_tokens == -7); /* nothing behind the size is written */
    CHECK(info.struct_size == offsetof(edgellm_context_info, max_batch_tokens));
    edgellm_context_free(context);

    newer_info.known.struct_size = sizeof newer_info;
    newer_info.unknown = 5;
    CHECK_OK(edgellm_model_get_info(model, &newer_info.known));
    CHECK(newer_info.unknown == 0 && newer_info.known.n_layers == 2);

    options.known = defaults;
    options.known.struct_size = 0;
    CHECK_STATUS(edgellm_context_create(model, &options.known, &context), EDGELLM_INVALID_ARGUMENT, "struct_size is 0");
    options.known.struct_size = 0xffffffffu;
    CHECK_STATUS(edgellm_context_create(model, &options.known, &context), EDGELLM_INVALID_ARGUMENT, "struct_size");
    info.struct_size = 1;
    CHECK_STATUS(edgellm_context_get_info(NULL, &info), EDGELLM_INVALID_ARGUMENT, "context is NULL");
    edgellm_model_free(model);
}

/* ---- */

static void test_model(void) {
    edgellm_model *model = load(tiny_path);
    edgellm_model_info info = EDGELLM_MODEL_INFO_INIT;
    char text[64];
    size_t n = 0, i;
    int found = 0;
    CHECK_OK(edgellm_model_get_info(model, &info));
    CHECK(strcmp(info.architecture, "llama") == 0);
    CHECK(info.flags == (EDGELLM_MODEL_HAS_WEIGHTS | EDGELLM_MODEL_HAS_VOCABULARY | EDGELLM_MODEL_HAS_CHAT_TEMPLATE |
                         EDGELLM_MODEL_ADDS_BOS));
    CHECK(info.n_layers == 2 && info.embedding_width == 64 && info.trained_context_tokens == 128);
    CHECK(info.bos_token == 1 && info.eos_token == END_OF_TURN);
    CHECK(info.n_vocab == 264 && info.n_parameters > 0 && info.weight_bytes > 0);

    CHECK_OK(edgellm_model_get_metadata(model, "general.name", text, sizeof text, &n));
    CHECK(n == 4 && strcmp(text, "Tiny") == 0);
    CHECK_OK(edgellm_model_get_metadata(model, "llama.block_count", text, sizeof text, NULL));
    CHECK(strcmp(text, "2") == 0);
    CHECK_STATUS(edgellm_model_get_metadata(model, "general.nothing", text, sizeof text, &n), EDGELLM_NOT_FOUND,
                 "general.nothing");
    memset(text, 'x', sizeof text);
    CHECK_STATUS(edgellm_model_get_metadata(model, "general.name", text, 4, &n), EDGELLM_BUFFER_TOO_SMALL, "4 bytes");
    CHECK(n == 4 && text[0] == 'x');
    CHECK_OK(edgellm_model_get_metadata(model, "general.name", text, 5, &n));
    for (i = 0; i < info.n_metadata; i++) {
        CHECK_OK(edgellm_model_get_key(model, i, text, sizeof text, &n));
        CHECK(strlen(text) == n);
        found += strcmp(text, "tokenizer.ggml.pre") == 0;
    }
    CHECK(found == 1);
    CHECK_STATUS(edgellm_model_get_key(model, i, text, sizeof text, &n), EDGELLM_NOT_FOUND, "no metadata key");
    edgellm_model_free(model);
}

typedef struct progress_log {
    int calls, stop_at;
    uint64_t done, total;
} progress_log;

static int32_t on_progress(void *user, uint64_t done_bytes, uint64_t total_bytes) {
    progress_log *log = user;
    CHECK(done_bytes >= log->done && done_bytes <= total_bytes);
    log->done = done_bytes;
    log->total = total_bytes;
    return ++log->calls == log->stop_at;
}

static void test_load_options(void) {
    edgellm_model_options options = EDGELLM_MODEL_OPTIONS_INIT;
    edgellm_model_info info = EDGELLM_MODEL_INFO_INIT;
    edgellm_model *model = NULL;
    edgellm_context *context = NULL;
    progress_log log = {0, 0, 0, 0};

    options.progress = on_progress;
    options.progress_user = &log;
    options.flags = EDGELLM_MODEL_MAP_FILE;
    options.device = "auto";
    options.isa = "scalar";
    CHECK_OK(edgellm_model_load(tiny_path, &options, &model));
    CHECK(log.calls >= 2 && log.done == log.total && log.total > 0);
    edgellm_model_free(model);
    log.stop_at = log.calls + 2;
    log.done = 0;
    CHECK_STATUS(edgellm_model_load(tiny_path, &options, &model), EDGELLM_CANCELLED, "progress");
    CHECK(model == NULL);

    options.progress = NULL;
    options.flags = EDGELLM_MODEL_VOCABULARY_ONLY;
    CHECK_OK(edgellm_model_load(tiny_path, &options, &model));
    CHECK_OK(edgellm_model_get_info(model, &info));
    CHECK(info.n_vocab == 264 && !(info.flags & EDGELLM_MODEL_HAS_WEIGHTS) && info.n_layers == 0);
    CHECK_STATUS(edgellm_context_create(model, NULL, &context), EDGELLM_NO_WEIGHTS, tiny_path);
    edgellm_model_free(model);

    options.flags = 0x80u;
    CHECK_STATUS(edgellm_model_load(tiny_path, &options, &model), EDGELLM_UNSUPPORTED, "options.flags");
    options.flags = 0;
    options.device = "toaster";
    CHECK_STATUS(edgellm_model_load(tiny_path, &options, &model), EDGELLM_NOT_FOUND, "toaster");
    options.device = NULL;
    options.isa = "mmx";
    CHECK_STATUS(edgellm_model_load(tiny_path, &options, &model), EDGELLM_UNSUPPORTED, "mmx");
    options.isa = NULL;
    options.kernels = 9;
    CHECK_STATUS(edgellm_model_load(tiny_path, &options, &model), EDGELLM_UNSUPPORTED, "options.kernels");
    CHECK_STATUS(edgellm_model_load("/no/such/file", NULL, &model), EDGELLM_IO_ERROR, "/no/such/file");
}

int main(int argc, char **argv) {
    static const test_case tests[] = {
        {"version and errors", test_version_and_errors}, {"devices", test_devices},
        {"NULL arguments", test_null_arguments},         {"older and newer structs", test_struct_sizes},
        {"model info and metadata", test_model},         {"load options", test_load_options},
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
