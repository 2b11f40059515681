/* Answers one question: generate MODEL.gguf "Why is the sky blue?" */
#include <edgellm/edgellm.h>
#include <stdio.h>
#include <string.h>

enum { CONTEXT_TOKENS = 2048, QUESTION_BYTES = 1024, JSON_BYTES = 6 * QUESTION_BYTES + 64 };

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, edgellm_last_error());
    return 1;
}

static int32_t print_text(void *user, const edgellm_token_event *event) {
    (void)user;
    fwrite(event->text, 1, event->n_text_bytes, stdout);
    return fflush(stdout); /* something other than 0 stops: nobody reads any more */
}

/* The chat template writes the prompt, the vocabulary splits it into tokens. */
static edgellm_status make_prompt(const edgellm_model *model, const char *question, edgellm_token *tokens, size_t *n) {
    static char json[JSON_BYTES], prompt[JSON_BYTES + 4096];
    size_t length = (size_t)sprintf(json, "[{\"role\": \"user\", \"content\": \"");
    edgellm_status status;
    for (; *question; question++) {
        unsigned char c = (unsigned char)*question;
        const char *format = c < 0x20 ? "\\u%04x" : c == '"' || c == '\\' ? "\\%c" : "%c";
        length += (size_t)sprintf(json + length, format, c);
    }
    strcpy(json + length, "\"}]");
    status = edgellm_model_render_chat(model, json, NULL, prompt, sizeof prompt, &length);
    if (status != EDGELLM_OK) return status;
    return edgellm_model_tokenize(model, prompt, length, EDGELLM_TOKENIZE_CHAT, tokens, CONTEXT_TOKENS, n);
}

int main(int argc, char **argv) {
    static edgellm_token tokens[CONTEXT_TOKENS];
    size_t n_tokens;
    edgellm_model *model = NULL;
    edgellm_context *context = NULL;
    edgellm_sampler *sampler = NULL;
    edgellm_context_options options = EDGELLM_CONTEXT_OPTIONS_INIT;
    edgellm_generate_result result = EDGELLM_GENERATE_RESULT_INIT;
    int exit_status = 0;
    if (argc != 3 || strlen(argv[2]) > QUESTION_BYTES)
        return fprintf(stderr, "usage: %s MODEL.gguf QUESTION (of at most %d bytes)\n", argv[0], QUESTION_BYTES), 2;
    options.context_tokens = CONTEXT_TOKENS;
    if (edgellm_model_load(argv[1], NULL, &model) || edgellm_context_create(model, &options, &context) ||
        edgellm_sampler_create(model, NULL, &sampler) || make_prompt(model, argv[2], tokens, &n_tokens) ||
        edgellm_context_generate(context, 0, sampler, tokens, n_tokens, NULL, print_text, NULL, &result))
        exit_status = failed("generate");
    else
        fprintf(stderr, "\n%d tokens in %.1f s\n", (int)result.n_generated, (double)result.generate_ns / 1e9);
    edgellm_sampler_free(sampler); /* in any order; NULL is fine */
    edgellm_context_free(context);
    edgellm_model_free(model);
    return exit_status;
}
