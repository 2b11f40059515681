/* Answers one question: generate MODEL.gguf "Why is the sky blue?" */
#include <edgellm/edgellm.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONTEXT_TOKENS = 2048 };

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, edgellm_last_error());
    return EXIT_FAILURE;
}

/* [{"role": "user", "content": text}] in JSON. The caller frees it. */
static char *make_messages(const char *text) {
    size_t n = 0, i;
    char *json;
    for (i = 0; text[i]; i++) n += 6; /* as long as \u001f */
    json = malloc(n + 64);
    if (!json) return NULL;
    n = (size_t)sprintf(json, "[{\"role\": \"user\", \"content\": \"");
    for (i = 0; text[i]; i++) {
        unsigned char c = (unsigned char)text[i];
        const char *format = c < 0x20 ? "\\u%04x" : c == '"' || c == '\\' ? "\\%c" : "%c";
        n += (size_t)sprintf(json + n, format, c);
    }
    sprintf(json + n, "\"}]");
    return json;
}

static int32_t print_text(void *user, const edgellm_token_event *event) {
    (void)user;
    fwrite(event->text, 1, event->n_text_bytes, stdout);
    return fflush(stdout); /* something other than 0 stops: nobody reads any more */
}

/* The chat template writes the prompt, the vocabulary splits it into tokens. */
static edgellm_status make_prompt(const edgellm_model *model, const char *question, edgellm_token *tokens, size_t *n) {
    size_t length;
    char *prompt = NULL, *messages = make_messages(question);
    edgellm_status status = edgellm_model_render_chat(model, messages, NULL, NULL, 0, &length);
    if (status == EDGELLM_BUFFER_TOO_SMALL && (prompt = malloc(length + 1)) != NULL)
        status = edgellm_model_render_chat(model, messages, NULL, prompt, length + 1, &length);
    if (status == EDGELLM_OK)
        status = edgellm_model_tokenize(model, prompt, length, EDGELLM_TOKENIZE_CHAT, tokens, CONTEXT_TOKENS, n);
    free(prompt);
    free(messages);
    return status;
}

static int answer(const edgellm_model *model, edgellm_context *context, edgellm_sampler *sampler,
                  const char *question) {
    static edgellm_token tokens[CONTEXT_TOKENS];
    size_t n_tokens;
    edgellm_generate_result result = EDGELLM_GENERATE_RESULT_INIT;
    if (make_prompt(model, question, tokens, &n_tokens) != EDGELLM_OK) return failed("prompt");
    if (edgellm_context_generate(context, 0, sampler, tokens, n_tokens, NULL, print_text, NULL, &result) != EDGELLM_OK)
        return failed("generate");
    fprintf(stderr, "\n%d tokens in %.1f s\n", (int)result.n_generated, (double)result.generate_ns / 1e9);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    edgellm_model *model = NULL;
    edgellm_context *context = NULL;
    edgellm_sampler *sampler = NULL;
    edgellm_context_options options = EDGELLM_CONTEXT_OPTIONS_INIT;
    int exit_status;
    if (argc != 3) return fprintf(stderr, "usage: %s MODEL.gguf QUESTION\n", argv[0]), 2;
    options.context_tokens = CONTEXT_TOKENS;
    if (edgellm_model_load(argv[1], NULL, &model) || edgellm_context_create(model, &options, &context) ||
        edgellm_sampler_create(model, NULL, &sampler))
        exit_status = failed("start");
    else
        exit_status = answer(model, context, sampler, argv[2]);
    edgellm_sampler_free(sampler);
    edgellm_context_free(context);
    edgellm_model_free(model);
    return exit_status;
}
