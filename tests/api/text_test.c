/* The C interface: tokens, text streams, chats. */
#include "check.h"

static void test_tokens(void) {
    edgellm_model *model = load(tiny_path), *bare = load(bare_path);
    const char *text = "<|im_end|>hello\xff";
    edgellm_token tokens[64], hello;
    edgellm_token_info info = EDGELLM_TOKEN_INFO_INIT;
    char out[64];
    size_t n = 0, n_out = 0;
    CHECK_OK(edgellm_model_tokenize(model, text, strlen(text), 0, tokens, 64, &n));
    CHECK(n == 13 && tokens[0] == 1 && tokens[1] == 3 + '<'); /* BOS, ten letters, a word, a byte */
    hello = tokens[11];
    CHECK_OK(edgellm_model_tokenize(model, text, strlen(text), EDGELLM_TOKENIZE_CHAT, tokens, 64, &n));
    CHECK(n == 3 && tokens[0] == END_OF_TURN && tokens[1] == hello && tokens[2] == 3 + 0xff);
    CHECK_STATUS(edgellm_model_tokenize(model, text, strlen(text), EDGELLM_TOKENIZE_CHAT, tokens, 2, &n),
                 EDGELLM_BUFFER_TOO_SMALL, "3 tokens");
    CHECK(n == 3);
    CHECK_OK(edgellm_model_tokenize(model, NULL, 0, EDGELLM_TOKENIZE_NO_BOS, NULL, 0, &n));
    CHECK(n == 0);
    CHECK_STATUS(edgellm_model_tokenize(model, text, 1, 0x80u, tokens, 64, &n), EDGELLM_UNSUPPORTED, "flags");

    CHECK_OK(edgellm_model_detokenize(model, tokens, 3, 0, out, sizeof out, &n_out));
    CHECK(n_out == strlen(text) && memcmp(out, text, n_out + 1) == 0);
    CHECK_OK(edgellm_model_detokenize(model, tokens, 3, EDGELLM_DETOKENIZE_SKIP_SPECIAL, out, sizeof out, &n_out));
    CHECK(n_out == 6 && memcmp(out, "hello\xff", 7) == 0);
    tokens[1] = 1000;
    CHECK_STATUS(edgellm_model_detokenize(model, tokens, 3, 0, out, sizeof out, &n_out), EDGELLM_INVALID_ARGUMENT,
                 "1000");

    CHECK_OK(edgellm_model_get_token_info(model, END_OF_TURN, &info));
    CHECK(info.flags == (EDGELLM_TOKEN_CONTROL | EDGELLM_TOKEN_END_OF_TURN));
    CHECK_OK(edgellm_model_get_token_info(model, hello, &info));
    CHECK(info.flags == 0);
    CHECK_OK(edgellm_model_get_token_info(model, 263, &info));
    CHECK(info.flags == EDGELLM_TOKEN_USER_DEFINED);
    CHECK_STATUS(edgellm_model_get_token_info(model, -1, &info), EDGELLM_NOT_FOUND, "no token -1");

    CHECK_STATUS(edgellm_model_tokenize(bare, "a", 1, 0, tokens, 64, &n), EDGELLM_NO_VOCABULARY, bare_path);
    CHECK_STATUS(edgellm_model_render_chat(bare, "[]", NULL, out, sizeof out, &n), EDGELLM_NO_VOCABULARY, "");
    edgellm_model_free(bare);
    edgellm_model_free(model);
}

/* A vocabulary that wants a token at both ends. */
static void test_ends(void) {
    edgellm_model *model = load(vocabulary_path);
    edgellm_model_info info = EDGELLM_MODEL_INFO_INIT;
    edgellm_token tokens[8];
    size_t n = 0;
    CHECK_OK(edgellm_model_get_info(model, &info));
    CHECK(info.flags == (EDGELLM_MODEL_HAS_VOCABULARY | EDGELLM_MODEL_ADDS_BOS | EDGELLM_MODEL_ADDS_EOS));
    CHECK_OK(edgellm_model_tokenize(model, "a", 1, 0, tokens, 8, &n));
    CHECK(n == 3 && tokens[0] == info.bos_token && tokens[2] == info.eos_token);
    CHECK_OK(edgellm_model_tokenize(model, "a", 1, EDGELLM_TOKENIZE_NO_BOS, tokens, 8, &n));
    CHECK(n == 1);
    edgellm_model_free(model);
}

static uint64_t random_state = 1;

static uint32_t random_below(uint32_t n) { /* Knuth's MMIX generator */
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

static size_t put_utf8(char *to, uint32_t c) {
    if (c < 0x80) return to[0] = (char)c, 1;
    if (c < 0x800) return to[0] = (char)(0xc0 | c >> 6), to[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000)
        return to[0] = (char)(0xe0 | c >> 12), to[1] = (char)(0x80 | (c >> 6 & 63)), to[2] = (char)(0x80 | (c & 63)), 3;
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 63));
    to[2] = (char)(0x80 | (c >> 6 & 63));
    to[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* A few pieces: random bytes, random characters of all planes, and what vocabularies treat in ways of their own. */
static size_t random_text(char *to, int with_bytes) {
    static const char *const pieces[] = {" ",     "  ", "hello", "\n",           "\r\n\t",   "<|im_end|>", "<tool>",
                                         "<|im_", "'s", "42",    "\xe2\x96\x81", "\xc2\xa0", "A"};
    static const uint32_t limits[] = {0x80, 0x800, 0x10000, 0x110000};
    size_t n = 0, left = random_below(40);
    for (; left; left--) {
        uint32_t kind = random_below(with_bytes ? 3 : 2), c;
        if (kind == 0) {
            const char *piece = pieces[random_below(sizeof pieces / sizeof *pieces)];
            memcpy(to + n, piece, strlen(piece));
            n += strlen(piece);
        } else if (kind == 1) {
            c = random_below(limits[random_below(4)]);
            n += put_utf8(to + n, c >= 0xd800 && c < 0xe000 ? 0xfffd : c);
        } else {
            to[n++] = (char)random_below(256);
        }
    }
    return n;
}

static void test_any_text_comes_back(void) {
    static const uint32_t flags[2] = {EDGELLM_TOKENIZE_NO_BOS, EDGELLM_TOKENIZE_CHAT};
    edgellm_model *model = load(tiny_path);
    char text[512], back[512];
    edgellm_token tokens[512];
    size_t n, n_tokens, n_back;
    int i;
    for (i = 0; i < 4000; i++) {
        n = random_text(text, i % 4 >= 2);
        CHECK_OK(edgellm_model_tokenize(model, text, n, flags[i % 2], tokens, 512, &n_tokens));
        CHECK_OK(edgellm_model_detokenize(model, tokens, n_tokens, 0, back, sizeof back, &n_back));
        CHECK(n_back == n && memcmp(back, text, n) == 0);
        if (failed_checks) break; /* one is enough to read */
    }
    edgellm_model_free(model);
}

static void test_text_stream(void) {
    edgellm_model *model = load(tiny_path);
    edgellm_text_stream *stream = NULL;
    char out[16] = "";
    size_t n = 9;
    CHECK_OK(edgellm_text_stream_create(model, EDGELLM_DETOKENIZE_SKIP_SPECIAL, &stream));
    edgellm_model_free(model);                                                 /* the stream keeps it */
    CHECK_OK(edgellm_text_stream_push(stream, 3 + 0xc3, out, sizeof out, &n)); /* half of U+00E9 */
    CHECK(n == 0 && out[0] == '\0');
    CHECK_STATUS(edgellm_text_stream_push(stream, 3 + 0xa9, out, 2, &n), EDGELLM_BUFFER_TOO_SMALL, "2 bytes");
    CHECK(n == 2);
    CHECK_STATUS(edgellm_text_stream_push(stream, 3 + 0xa9, NULL, 0, &n), EDGELLM_BUFFER_TOO_SMALL, "2 bytes");
    CHECK_OK(edgellm_text_stream_push(stream, 3 + 0xa9, out, 3, &n));
    CHECK(n == 2 && strcmp(out, "\xc3\xa9") == 0);
    CHECK_OK(edgellm_text_stream_push(stream, END_OF_TURN, out, sizeof out, &n));
    CHECK(n == 0);
    CHECK_STATUS(edgellm_text_stream_push(stream, 3 + 0xc3, NULL, 0, &n), EDGELLM_BUFFER_TOO_SMALL, ""); /* no NUL */
    CHECK(n == 0);
    CHECK_OK(edgellm_text_stream_push(stream, 3 + 0xc3, out, sizeof out, &n));
    CHECK_OK(edgellm_text_stream_push(stream, 3 + 'a', out, sizeof out, &n));
    CHECK(strcmp(out, "\xef\xbf\xbd"
                      "a") == 0);
    CHECK_OK(edgellm_text_stream_push(stream, 3 + 0xc3, out, sizeof out, &n));
    CHECK_STATUS(edgellm_text_stream_flush(stream, NULL, 0, &n), EDGELLM_BUFFER_TOO_SMALL, "3 bytes");
    CHECK_OK(edgellm_text_stream_flush(stream, out, sizeof out, &n));
    CHECK(strcmp(out, "\xef\xbf\xbd") == 0);
    CHECK_OK(edgellm_text_stream_flush(stream, out, sizeof out, &n));
    CHECK(n == 0);
    CHECK_STATUS(edgellm_text_stream_push(stream, 5000, out, sizeof out, &n), EDGELLM_INVALID_ARGUMENT, "5000");
    edgellm_text_stream_free(stream);
}

static void test_chat(void) {
    edgellm_model *model = load(tiny_path);
    char out[256];
    size_t n = 0;
    const char *messages = "[{\"role\": \"user\", \"content\": \"Hi \\u00e9\"}]";
    CHECK_OK(edgellm_model_render_chat(model, messages, NULL, out, sizeof out, &n));
    CHECK(strcmp(out, "<|im_start|>user\nHi \xc3\xa9<|im_end|>\n<|im_start|>assistant\n") == 0 && n == strlen(out));
    CHECK_OK(edgellm_model_render_chat(model, messages, "{\"add_generation_prompt\": false}", out, sizeof out, &n));
    CHECK(strcmp(out, "<|im_start|>user\nHi \xc3\xa9<|im_end|>\n") == 0);
    CHECK_STATUS(edgellm_model_render_chat(model, messages, NULL, out, n, &n), EDGELLM_BUFFER_TOO_SMALL, "");
    CHECK_STATUS(edgellm_model_render_chat(model, "[{", NULL, out, sizeof out, &n), EDGELLM_INVALID_TEXT, "messages");
    CHECK_STATUS(edgellm_model_render_chat(model, "{}", NULL, out, sizeof out, &n), EDGELLM_INVALID_TEXT, "array");
    CHECK_STATUS(edgellm_model_render_chat(model, "[1]", NULL, out, sizeof out, &n), EDGELLM_INVALID_TEXT,
                 "messages[0]");
    CHECK_STATUS(edgellm_model_render_chat(model, "[]", "[]", out, sizeof out, &n), EDGELLM_INVALID_TEXT, "variables");
    CHECK_STATUS(edgellm_model_render_chat(model, "[{\"role\": \"\xff\"}]", NULL, out, sizeof out, &n),
                 EDGELLM_INVALID_TEXT, "messages");
    CHECK_STATUS(edgellm_model_render_chat(model, "[{\"role\": \"nobody\"}]", NULL, out, sizeof out, &n),
                 EDGELLM_TEMPLATE_FAILED, "who?");
    edgellm_model_free(model);
}

int main(int argc, char **argv) {
    static const test_case tests[] = {
        {"tokens", test_tokens},           {"ends", test_ends}, {"any text comes back", test_any_text_comes_back},
        {"text stream", test_text_stream}, {"chat", test_chat},
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
