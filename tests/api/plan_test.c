/* The C interface: memory plans and budgets. */
#include "check.h"

static edgellm_memory_plan *plan(const edgellm_model_options *model, const edgellm_context_options *context) {
    edgellm_memory_plan *result = NULL;
    CHECK_OK(edgellm_memory_plan_create(tiny_path, model, context, &result));
    CHECK(result != NULL);
    return result;
}

static edgellm_memory_summary summary_of(const edgellm_memory_plan *from) {
    edgellm_memory_summary summary = EDGELLM_MEMORY_SUMMARY_INIT;
    CHECK_OK(edgellm_memory_plan_get_summary(from, &summary));
    return summary;
}

static edgellm_memory_summary summary(const edgellm_model_options *model, const edgellm_context_options *context) {
    edgellm_memory_plan *made = plan(model, context);
    edgellm_memory_summary result = summary_of(made);
    edgellm_memory_plan_free(made);
    return result;
}

/* Bytes of the regions whose names begin like that. */
static uint64_t bytes_of(const edgellm_memory_plan *from, const char *name) {
    const edgellm_memory_summary summary = summary_of(from);
    uint64_t bytes = 0;
    size_t i;
    for (i = 0; i < summary.n_regions; i++) {
        edgellm_memory_region region = EDGELLM_MEMORY_REGION_INIT;
        CHECK_OK(edgellm_memory_plan_get_region(from, i, &region));
        if (strncmp(region.name, name, strlen(name)) == 0) bytes += region.bytes;
    }
    return bytes;
}

static void test_regions(void) {
    edgellm_context_options options = EDGELLM_CONTEXT_OPTIONS_INIT;
    edgellm_memory_plan *made;
    edgellm_memory_summary s;
    edgellm_memory_region region = EDGELLM_MEMORY_REGION_INIT;
    edgellm_model *model = load(tiny_path);
    edgellm_model_info model_info = EDGELLM_MODEL_INFO_INIT;
    edgellm_context *context = NULL;
    edgellm_context_info info = EDGELLM_CONTEXT_INFO_INIT;
    uint64_t sum = 0, load_only = 0;
    size_t i;
    options.context_tokens = 96;
    options.max_sequences = 2;
    options.n_threads = 3;
    made = plan(NULL, &options);
    s = summary_of(made);
    CHECK(s.context_tokens == 96 && s.max_context_tokens == 128 && (s.flags & EDGELLM_MEMORY_FITS));
    for (i = 0; i < s.n_regions; i++) {
        CHECK_OK(edgellm_memory_plan_get_region(made, i, &region));
        CHECK(strcmp(region.device, "cpu") == 0 && region.name[0] != 0 && region.bytes > 0);
        CHECK(region.n_rows == 0 || region.bytes == region.row_bytes * region.n_rows);
        sum += region.bytes;
        if (region.flags & EDGELLM_MEMORY_LOAD_ONLY) load_only += region.bytes;
    }
    CHECK(sum == s.total_bytes && sum - load_only == s.resident_bytes && load_only > 0);
    CHECK(s.load_peak_bytes < s.total_bytes && s.budget_bytes > s.total_bytes);
    CHECK_STATUS(edgellm_memory_plan_get_region(made, i, &region), EDGELLM_NOT_FOUND, "no region");

    /* The very bytes that loading and creating take. */
    CHECK_OK(edgellm_model_get_info(model, &model_info));
    CHECK_OK(edgellm_context_create(model, &options, &context));
    CHECK_OK(edgellm_context_get_info(context, &info));
    CHECK(bytes_of(made, "weights ") == model_info.weight_bytes);
    CHECK(s.total_bytes - s.load_peak_bytes == info.memory_bytes);
    /* 2 layers, 1 head of 32 for keys and one for values, F16; 2 sequences of 3 pages of 32 tokens. */
    CHECK(bytes_of(made, "cache group 0 (2 layers, full)") == 2 * 2 * 32 * 2 * 2 * 96);
    CHECK(bytes_of(made, "vocabulary") > 0 && bytes_of(made, "logits") >= 2 * 264 * 4);
    edgellm_context_free(context);
    edgellm_memory_plan_free(made);
    edgellm_model_free(model);
}

static void test_budget(void) {
    edgellm_model_options limited = EDGELLM_MODEL_OPTIONS_INIT;
    edgellm_context_options options = EDGELLM_CONTEXT_OPTIONS_INIT;
    edgellm_memory_summary s;
    edgellm_memory_plan *made = NULL;
    edgellm_model *model = NULL;
    edgellm_context *context = NULL, *second = NULL;
    uint64_t of_context;
    options.context_tokens = 128;
    options.n_threads = 1;
    s = summary(NULL, &options);
    of_context = s.total_bytes - s.load_peak_bytes;

    limited.budget_bytes = s.load_peak_bytes - 1;
    s = summary(&limited, &options);
    CHECK(!(s.flags & EDGELLM_MEMORY_FITS) && s.max_context_tokens == 0 && s.budget_bytes == limited.budget_bytes);
    CHECK_STATUS(edgellm_model_load(tiny_path, &limited, &model), EDGELLM_OUT_OF_MEMORY, "staging");
    CHECK(model == NULL);
    limited.budget_bytes = 0;
    CHECK_STATUS(edgellm_model_load(tiny_path, &limited, &model), EDGELLM_INVALID_ARGUMENT, "budget_bytes is 0");
    CHECK_STATUS(edgellm_memory_plan_create(tiny_path, &limited, &options, &made), EDGELLM_INVALID_ARGUMENT,
                 "budget_bytes is 0");
    limited.budget_bytes = 1;
    CHECK_STATUS(edgellm_model_load(tiny_path, &limited, &model), EDGELLM_OUT_OF_MEMORY, "the model needs");

    /* What the plan finds to be the largest context that fits is just that. */
    limited.budget_bytes = s.resident_bytes - 1;
    s = summary(&limited, &options);
    CHECK(!(s.flags & EDGELLM_MEMORY_FITS) && s.max_context_tokens > 0 && s.max_context_tokens < 128);
    CHECK_OK(edgellm_model_load(tiny_path, &limited, &model));
    CHECK_STATUS(edgellm_context_create(model, &options, &context), EDGELLM_OUT_OF_MEMORY, "context of 128 tokens");
    options.context_tokens = s.max_context_tokens + 1;
    CHECK_STATUS(edgellm_context_create(model, &options, &context), EDGELLM_OUT_OF_MEMORY, "would fit");
    options.context_tokens = s.max_context_tokens;
    CHECK(summary(&limited, &options).flags & EDGELLM_MEMORY_FITS);
    CHECK_OK(edgellm_context_create(model, &options, &context));
    /* Contexts share the model's budget, and give it back. */
    CHECK_STATUS(edgellm_context_create(model, &options, &second), EDGELLM_OUT_OF_MEMORY, "may take");
    edgellm_context_free(context);
    CHECK_OK(edgellm_context_create(model, &options, &second));
    edgellm_context_free(second);
    edgellm_model_free(model);

    limited.budget_bytes = s.resident_bytes + of_context + 1;
    options.context_tokens = 128;
    CHECK_OK(edgellm_model_load(tiny_path, &limited, &model));
    CHECK_OK(edgellm_context_create(model, &options, &context));
    CHECK_OK(edgellm_context_create(model, &options, &second));
    edgellm_context_free(context);
    edgellm_context_free(second);
    edgellm_model_free(model);
}

static void test_without_weights(void) {
    edgellm_model_options options = EDGELLM_MODEL_OPTIONS_INIT;
    edgellm_memory_summary s;
    edgellm_memory_plan *made;
    options.flags = EDGELLM_MODEL_VOCABULARY_ONLY;
    made = plan(&options, NULL);
    s = summary_of(made);
    CHECK(s.context_tokens == 0 && s.max_context_tokens == 0 && bytes_of(made, "weights") == 0);
    CHECK(s.total_bytes == s.load_peak_bytes && bytes_of(made, "vocabulary") > 0);
    edgellm_memory_plan_free(made);
    edgellm_memory_plan_free(NULL);
}

static void test_bad_arguments(void) {
    edgellm_model_options model_options = EDGELLM_MODEL_OPTIONS_INIT;
    edgellm_context_options options = EDGELLM_CONTEXT_OPTIONS_INIT;
    edgellm_memory_summary s = EDGELLM_MEMORY_SUMMARY_INIT;
    edgellm_memory_region region = EDGELLM_MEMORY_REGION_INIT;
    edgellm_memory_plan *made = plan(NULL, NULL), *none = made;
    CHECK_STATUS(edgellm_memory_plan_create(NULL, NULL, NULL, &none), EDGELLM_INVALID_ARGUMENT, "path is NULL");
    CHECK(none == NULL);
    CHECK_STATUS(edgellm_memory_plan_create(tiny_path, NULL, NULL, NULL), EDGELLM_INVALID_ARGUMENT, "out is NULL");
    CHECK_STATUS(edgellm_memory_plan_create("/no/such/file", NULL, NULL, &none), EDGELLM_IO_ERROR, "/no/such/file");
    options.context_tokens = 129;
    CHECK_STATUS(edgellm_memory_plan_create(tiny_path, NULL, &options, &none), EDGELLM_INVALID_ARGUMENT,
                 "context_tokens is 129");
    options.context_tokens = -1;
    CHECK_STATUS(edgellm_memory_plan_create(tiny_path, NULL, &options, &none), EDGELLM_INVALID_ARGUMENT,
                 "context_tokens is -1");
    options.context_tokens = 0;
    options.max_sequences = 0;
    CHECK_STATUS(edgellm_memory_plan_create(tiny_path, NULL, &options, &none), EDGELLM_INVALID_ARGUMENT,
                 "max_sequences is 0");
    options.max_sequences = 1;
    options.n_threads = -3;
    CHECK_STATUS(edgellm_memory_plan_create(tiny_path, NULL, &options, &none), EDGELLM_INVALID_ARGUMENT, "threads");
    model_options.device = "toaster";
    CHECK_STATUS(edgellm_memory_plan_create(tiny_path, &model_options, NULL, &none), EDGELLM_NOT_FOUND, "toaster");
    CHECK_STATUS(edgellm_memory_plan_get_summary(NULL, &s), EDGELLM_INVALID_ARGUMENT, "plan is NULL");
    CHECK_STATUS(edgellm_memory_plan_get_summary(made, NULL), EDGELLM_INVALID_ARGUMENT, "summary is NULL");
    CHECK_STATUS(edgellm_memory_plan_get_region(NULL, 0, &region), EDGELLM_INVALID_ARGUMENT, "plan is NULL");
    CHECK_STATUS(edgellm_memory_plan_get_region(made, 0, NULL), EDGELLM_INVALID_ARGUMENT, "region is NULL");
    s.struct_size = 2;
    CHECK_STATUS(edgellm_memory_plan_get_summary(made, &s), EDGELLM_INVALID_ARGUMENT, "struct_size");
    edgellm_memory_plan_free(made);
}

int main(int argc, char **argv) {
    static const test_case tests[] = {
        {"regions", test_regions},
        {"budget", test_budget},
        {"without weights", test_without_weights},
        {"bad arguments", test_bad_arguments},
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
