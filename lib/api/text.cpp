#include "api/guard.h"
#include "api/handles.h"
#include "text/chat.h"

#include <string>
#include <vector>

using namespace el;

namespace {

const Vocabulary &vocabulary_of(const edgellm_model *model) {
    need(model, "model");
    const Vocabulary *vocabulary = model->model->vocabulary();
    if (!vocabulary) fail(Status::kNoVocabulary, "{}: the file has no vocabulary", model->model->path());
    return *vocabulary;
}

// Runs push() or flush() on a copy, which replaces the stream when all went well: without room for the NUL nothing may
// be consumed.
template <typename Step>
edgellm_status step_stream(edgellm_text_stream *stream, char *buf, size_t cap, size_t *needed, Step step) {
    need(stream, "stream");
    if (cap) need(buf, "buf");
    TextStream next = stream->stream;
    size_t n = 0;
    Status status = step(next, cap ? cap - 1 : 0, n);
    if (needed) *needed = n;
    if (cap == 0 && status == Status::kOk) status = Status::kBufferTooSmall;
    if (status != Status::kOk) return set_error(status, "the text has {} bytes and a NUL; cap is {}", n, cap);
    buf[n] = '\0';
    stream->stream = next;
    return EDGELLM_OK;
}

}  // namespace

edgellm_status edgellm_model_tokenize(const edgellm_model *model, const char *text, size_t n_bytes, uint32_t flags,
                                      edgellm_token *tokens, size_t cap, size_t *needed) {
    return guard([&] {
        const Vocabulary &vocabulary = vocabulary_of(model);
        if (n_bytes) need(text, "text");
        check_flags(flags, EDGELLM_TOKENIZE_NO_BOS | EDGELLM_TOKENIZE_PARSE_SPECIAL, "flags");
        TokenizeFlags how;
        how.add_special = !(flags & EDGELLM_TOKENIZE_NO_BOS);
        how.parse_special = flags & EDGELLM_TOKENIZE_PARSE_SPECIAL;
        std::vector<int32_t> ids;
        vocabulary.tokenize({text, n_bytes}, how, ids);
        return write_tokens(ids.data(), ids.size(), tokens, cap, needed);
    });
}

edgellm_status edgellm_model_detokenize(const edgellm_model *model, const edgellm_token *tokens, size_t n_tokens,
                                        uint32_t flags, char *buf, size_t cap, size_t *needed) {
    return guard([&] {
        const Vocabulary &vocabulary = vocabulary_of(model);
        if (n_tokens) need(tokens, "tokens");
        check_flags(flags, EDGELLM_DETOKENIZE_SKIP_SPECIAL, "flags");
        std::string text;
        vocabulary.detokenize({tokens, n_tokens}, {(flags & EDGELLM_DETOKENIZE_SKIP_SPECIAL) != 0}, text);
        return write_text(text, buf, cap, needed);
    });
}

edgellm_status edgellm_model_get_token_info(const edgellm_model *model, edgellm_token token, edgellm_token_info *info) {
    return guard([&] {
        const Vocabulary &vocabulary = vocabulary_of(model);
        need(info, "info");
        check_out(info, "info");
        if (!vocabulary.has(token))
            fail(Status::kNotFound, "there is no token {}; the vocabulary has {}", token, vocabulary.size());
        static constexpr uint32_t kFlags[] = {0,
                                              0,  // normal
                                              EDGELLM_TOKEN_UNKNOWN,
                                              EDGELLM_TOKEN_CONTROL,
                                              EDGELLM_TOKEN_USER_DEFINED,
                                              EDGELLM_TOKEN_UNUSED,
                                              EDGELLM_TOKEN_BYTE};
        edgellm_token_info result = EDGELLM_TOKEN_INFO_INIT;
        result.flags = kFlags[static_cast<size_t>(vocabulary.kind(token))];
        if (vocabulary.is_end_of_turn(token)) result.flags |= EDGELLM_TOKEN_END_OF_TURN;
        write_struct(info, result);
    });
}

edgellm_status edgellm_model_render_chat(const edgellm_model *model, const char *messages_json,
                                         const char *variables_json, char *buf, size_t cap, size_t *needed) {
    return guard([&] {
        const Vocabulary &vocabulary = vocabulary_of(model);
        need(messages_json, "messages_json");
        std::string text =
            render_chat(vocabulary, messages_json, variables_json ? variables_json : "", model->model->log());
        return write_text(text, buf, cap, needed);
    });
}

edgellm_status edgellm_text_stream_create(const edgellm_model *model, uint32_t flags, edgellm_text_stream **out) {
    return guard([&] {
        need(out, "out");
        *out = nullptr;
        const Vocabulary &vocabulary = vocabulary_of(model);
        check_flags(flags, EDGELLM_DETOKENIZE_SKIP_SPECIAL, "flags");
        const bool skip_special = flags & EDGELLM_DETOKENIZE_SKIP_SPECIAL;
        *out = new edgellm_text_stream{model->model, TextStream(vocabulary, skip_special)};
    });
}

void edgellm_text_stream_free(edgellm_text_stream *stream) { delete stream; }

edgellm_status edgellm_text_stream_push(edgellm_text_stream *stream, edgellm_token token, char *buf, size_t cap,
                                        size_t *needed) {
    return guard([&] {
        return step_stream(stream, buf, cap, needed, [&](TextStream &next, size_t room, size_t &n) {
            const Vocabulary &vocabulary = *stream->model->vocabulary();
            if (!vocabulary.has(token))
                fail(Status::kInvalidArgument, "there is no token {}; the vocabulary has {}", token, vocabulary.size());
            return next.push(token, buf, room, n);
        });
    });
}

edgellm_status edgellm_text_stream_flush(edgellm_text_stream *stream, char *buf, size_t cap, size_t *needed) {
    return guard([&] {
        return step_stream(stream, buf, cap, needed,
                           [&](TextStream &next, size_t room, size_t &n) { return next.flush(buf, room, n); });
    });
}
