/*
 * edgellm.h: language models inside your program. The C interface of libedgellm; C99 or later, and C++.
 *
 * A SMALL GUIDE
 *
 *     edgellm_model *model = NULL;
 *     if (edgellm_model_load("model.gguf", NULL, &model) != EDGELLM_OK) { puts(edgellm_last_error()); return 1; }
 *
 *     edgellm_context *context = NULL;
 *     edgellm_context_options context_options = EDGELLM_CONTEXT_OPTIONS_INIT;
 *     context_options.context_tokens = 4096;
 *     edgellm_context_create(model, &context_options, &context);
 *
 *     char prompt[4096];
 *     edgellm_token tokens[1024];
 *     size_t n_bytes, n_tokens;
 *     edgellm_model_render_chat(model, "[{\"role\": \"user\", \"content\": \"Hello\"}]", NULL, prompt, sizeof prompt,
 *                               &n_bytes);
 *     edgellm_model_tokenize(model, prompt, n_bytes, EDGELLM_TOKENIZE_CHAT, tokens, 1024, &n_tokens);
 *
 *     edgellm_sampler *sampler = NULL;
 *     edgellm_sampler_create(model, NULL, &sampler);
 *     edgellm_context_generate(context, 0, sampler, tokens, n_tokens, NULL, on_token, NULL, NULL);
 *
 *     edgellm_sampler_free(sampler);
 *     edgellm_context_free(context);
 *     edgellm_model_free(model);
 *
 * A MODEL is the immutable weights and vocabulary of one file. A CONTEXT is the state of one or more sequences: the KV
 * cache, activations, a thread pool. A SAMPLER turns logits into a token. A TEXT STREAM turns tokens into text as they
 * come. edgellm_context_generate() does the whole loop; with edgellm_context_decode(), edgellm_sampler_sample() and
 * edgellm_text_stream_push() you write it yourself.
 *
 * RULES THAT HOLD EVERYWHERE
 *
 * Errors. Nearly every function returns an edgellm_status: EDGELLM_OK (0), or what went wrong. After a failure,
 * edgellm_last_error() is a sentence about it: what, which file, key or tensor, what to do. The library never prints,
 * aborts, exits or throws. Every function can return EDGELLM_INVALID_ARGUMENT (a NULL or a number that makes no sense;
 * the sentence names it), EDGELLM_OUT_OF_MEMORY and EDGELLM_INTERNAL (a bug of the library), and with a GPU
 * EDGELLM_DEVICE_LOST; the comments below list the other ones. After a failure every handle is as usable as before, and
 * can be freed.
 *
 * Handles. edgellm_model, _context, _sampler, _text_stream and _memory_plan are made by *_create or edgellm_model_load
 * and freed by *_free, in any order: what is used by another handle lives on inside. Freeing NULL does nothing. When
 * creation fails, *out is NULL.
 *
 * Threads. Any number of threads may use one model at a time. A context is used by one thread at a time (not always the
 * same one): a second call meanwhile returns EDGELLM_BUSY and changes nothing; only edgellm_context_cancel() may come
 * from any thread at any time. A sampler and a text stream are used by one thread at a time, which is not checked. No
 * call may overlap the free of its own handle. Besides the threads of a context's pool the library has none.
 *
 * Structs. The first member of each is struct_size. Initialize with the EDGELLM_..._INIT macro, which sets it and every
 * default, then change what you like; options may be NULL for all defaults. Later versions append members whose
 * default is zero, so programs built with an older header go on working, and a newer program works with an older
 * library as long as it leaves the newer members zero (otherwise EDGELLM_UNSUPPORTED). The library writes no byte
 * behind struct_size. What the library keeps from options it copies; pointers in them need to live during the call only
 * (except for the log callback, see edgellm_model_options).
 *
 * Text out: (char *buf, size_t cap, size_t *needed). *needed becomes the length of the text in bytes, without the
 * closing NUL that is always written. If cap is not greater than that, nothing is written or consumed and the
 * result is EDGELLM_BUFFER_TOO_SMALL: call again with at least *needed + 1 bytes. buf may be NULL when cap is 0; needed
 * may be NULL. Text is UTF-8; paths, and what a file says (metadata, tokens), may be any bytes. Tokens out work the
 * same way, counted in tokens and without the NUL.
 *
 * Memory. After edgellm_context_create() has returned, the decode, logits, top, cancel, generate, sequence, sample,
 * accept and text stream functions allocate nothing; a call with an argument that is refused may, for its error.
 *
 * Callbacks run on the thread that made the call. Inside, do not call the library with the handles of that call, but
 * for edgellm_context_cancel(). They must return: no longjmp, no C++ exception (edgellm.hpp takes care of it).
 *
 * Untrusted input. Model files, text to tokenize and JSON may come from anywhere: every count and offset is checked.
 */
#ifndef EDGELLM_EDGELLM_H
#define EDGELLM_EDGELLM_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define EDGELLM_API __attribute__((visibility("default")))
#else
#define EDGELLM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- version, status, error ------------------------------------------------------------------------------------- */

/* Grows with every addition to this header. */
#define EDGELLM_ABI_VERSION 1

/* The EDGELLM_ABI_VERSION of the library that is running. All of this header is there if it is not less than the
 * header's. (What would break a program changes the library's soname instead.) */
EDGELLM_API uint32_t edgellm_abi_version(void);

/* The version of the library, "0.1.0". Static. */
EDGELLM_API const char *edgellm_version_string(void);

typedef int32_t edgellm_status;
enum {
    EDGELLM_OK = 0,
    EDGELLM_INVALID_ARGUMENT = 1, /* an argument or option makes no sense */
    EDGELLM_BUFFER_TOO_SMALL = 2, /* the caller's buffer is too small; nothing was consumed */
    EDGELLM_OUT_OF_MEMORY = 3,    /* an allocation failed */
    EDGELLM_IO_ERROR = 4,         /* a file cannot be opened, read or written */
    EDGELLM_NOT_A_MODEL_FILE = 5, /* the file is no GGUF */
    EDGELLM_FILE_TRUNCATED = 6,   /* the file ends before its content does */
    EDGELLM_FILE_CORRUPT = 7,     /* counts, offsets or types in the file contradict each other */
    EDGELLM_METADATA_INVALID = 8, /* a metadata key is missing, has the wrong type or an impossible value */
    EDGELLM_TENSOR_INVALID = 9,   /* a tensor is missing, has the wrong shape or lies outside the file */
    EDGELLM_UNKNOWN_FORMAT = 10,  /* a tensor's block format is not known */
    EDGELLM_UNKNOWN_ARCHITECTURE = 11,
    EDGELLM_VOCABULARY_INVALID = 12, /* the vocabulary contradicts itself */
    EDGELLM_NO_VOCABULARY = 13,      /* the model has none and the call needs one */
    EDGELLM_NO_WEIGHTS = 14,         /* the model has none and the call needs them */
    EDGELLM_PROMPT_TOO_LONG = 15,    /* more tokens than the context has room for */
    EDGELLM_CONTEXT_FULL = 16,       /* no room for one more token */
    EDGELLM_INVALID_TEXT = 17,       /* JSON that does not parse, or invalid UTF-8 in it */
    EDGELLM_TEMPLATE_FAILED = 18,    /* a chat template does not parse, or fails while it renders */
    EDGELLM_LIMIT_EXCEEDED = 19,     /* a bound on work for untrusted input was reached */
    EDGELLM_UNSUPPORTED = 20,        /* a member, value or feature that this library does not know */
    EDGELLM_NOT_FOUND = 21,          /* no such key, index, device */
    EDGELLM_BUSY = 22,               /* another call is using the context */
    EDGELLM_CANCELLED = 23,
    EDGELLM_DEADLINE_EXCEEDED = 24,
    EDGELLM_DEVICE_LOST = 25,    /* a GPU failed for good, by anybody's kernel in this process: all contexts on it
                                  * report this until the process ends; they can be freed, and the CPU works on */
    EDGELLM_INTERNAL = 26,       /* a bug of the library: please report it */
    EDGELLM_LOGITS_INVALID = 27, /* no token is possible: every logit is minus infinity or no number */
    EDGELLM_STATE_MISMATCH = 28  /* a saved sequence belongs to another model, cache format or policy */
};

/* "out_of_memory" for EDGELLM_OUT_OF_MEMORY and so on; "unknown" for other numbers. Static, never NULL. */
EDGELLM_API const char *edgellm_status_name(edgellm_status status);

/* About the latest failure in the calling thread; "" if there was none. Calls that succeed do not change it. Valid
 * until the thread's next failure or end; never NULL. */
EDGELLM_API const char *edgellm_last_error(void);

/* ---- devices ---------------------------------------------------------------------------------------------------- */

typedef int32_t edgellm_device_kind;
enum { EDGELLM_DEVICE_CPU = 0, EDGELLM_DEVICE_CUDA = 1 };

typedef struct edgellm_device_info {
    uint32_t struct_size;
    edgellm_device_kind kind;
    uint64_t memory_bytes; /* in all; 0: not known */
    int32_t n_threads;     /* CPU: CPUs that this process may use */
    char name[28];         /* "cpu" or "cuda": for edgellm_model_options.device */
    char isa[32];          /* CPU: the best instruction set this library uses on it; edgellm_model_options.isa */
    char description[96];  /* "AMD EPYC 9R14" */
    char features[256];    /* CPU: "sse4.2 avx avx2 fma f16c avx512f ...", separated by spaces */
} edgellm_device_info;
#define EDGELLM_DEVICE_INFO_INIT                                                                                       \
    { sizeof(edgellm_device_info), 0, 0, 0, "", "", "", "" }

/* The number of devices models can be loaded to; at least 1, as the CPU comes first. Counts a GPU, too,
   that others have filled; loading a model to it says so. */
EDGELLM_API edgellm_status edgellm_device_count(size_t *n);

/* About device `index`, less than edgellm_device_count(). Errors: EDGELLM_NOT_FOUND. */
EDGELLM_API edgellm_status edgellm_device_get_info(size_t index, edgellm_device_info *info);

/* ---- model ------------------------------------------------------------------------------------------------------ */

typedef struct edgellm_model edgellm_model;
typedef int32_t edgellm_token; /* an index into the vocabulary */
#define EDGELLM_NO_TOKEN (-1)

typedef int32_t edgellm_log_level;
enum { EDGELLM_LOG_DEBUG = 0, EDGELLM_LOG_INFO = 1, EDGELLM_LOG_WARNING = 2, EDGELLM_LOG_ERROR = 3 };

/* `text` is one line without a newline, valid during the call. */
typedef void (*edgellm_log_fn)(void *user, edgellm_log_level level, const char *text);

/* A return other than 0 stops the load with EDGELLM_CANCELLED. Called at least at the start (0 bytes) and the end
 * of reading weights; not at all where none are read. */
typedef int32_t (*edgellm_progress_fn)(void *user, uint64_t done_bytes, uint64_t total_bytes);

/* EDGELLM_KERNELS_REFERENCE: one simple float32 function per operation; slow, and bit-equal for any number of threads
 * and any split of the tokens into batches. For tests and for tracking down differences. */
typedef int32_t edgellm_kernels;
enum { EDGELLM_KERNELS_AUTO = 0, EDGELLM_KERNELS_REFERENCE = 1 };

/* No weights: enough for tokenize, detokenize, render_chat and metadata. */
#define EDGELLM_MODEL_VOCABULARY_ONLY 0x1u
/* Read through a mapping of the file. It must not shrink meanwhile: that would raise SIGBUS. Its pages, which the
 * system can take back at any time, are no part of the memory plan. */
#define EDGELLM_MODEL_MAP_FILE 0x2u

/* As edgellm_model_options.budget_bytes: what the system has available at the time, less a sixteenth of it (64 to 512
 * MiB). */
#define EDGELLM_BUDGET_AVAILABLE UINT64_MAX

typedef struct edgellm_model_options {
    uint32_t struct_size;
    uint32_t flags; /* EDGELLM_MODEL_... */
    /* edgellm_device_info.name; NULL or "auto": what the environment variable EDGELLM_DEVICE names, else a GPU whose
     * free memory the weights fit, else the CPU, which is also taken if `kernels` or `isa` ask for it */
    const char *device;
    const char *isa; /* caps the CPU's instruction set: "scalar", "avx2", ...; NULL: whatever the CPU has */
    edgellm_kernels kernels;
    edgellm_log_level log_level; /* the least that is sent to log. Default EDGELLM_LOG_INFO */
    edgellm_progress_fn progress;
    void *progress_user;
    edgellm_log_fn log; /* NULL: silence. Kept by the model: called by load and by later calls with the model or its */
    void *log_user;     /* contexts, on the thread of that call. log_user must live until all of them are freed */
    uint64_t budget_bytes; /* that the model and its contexts may take together, by the memory plan. Default
                            * EDGELLM_BUDGET_AVAILABLE; 0 is refused (INVALID_ARGUMENT) */
} edgellm_model_options;
#define EDGELLM_MODEL_OPTIONS_INIT                                                                                     \
    {                                                                                                                  \
        sizeof(edgellm_model_options), 0, NULL, NULL, EDGELLM_KERNELS_AUTO, EDGELLM_LOG_INFO, NULL, NULL, NULL, NULL,  \
            EDGELLM_BUDGET_AVAILABLE                                                                                   \
    }

/* Loads a GGUF file (version 2 or 3), with all parts of a split one if `path` is its first ("-00001-of-0000N"). Reads
 * in chunks straight to the weights' place. The file may be hostile.
 * Errors: IO_ERROR, NOT_A_MODEL_FILE, FILE_TRUNCATED, FILE_CORRUPT, METADATA_INVALID, TENSOR_INVALID, UNKNOWN_FORMAT,
 * UNKNOWN_ARCHITECTURE, VOCABULARY_INVALID, NO_WEIGHTS (nor a vocabulary), LIMIT_EXCEEDED (a header of more than 512
 * MiB), NOT_FOUND (device), UNSUPPORTED, CANCELLED (by progress), OUT_OF_MEMORY (also: beyond the budget; the sentence
 * names the region of the memory plan that does not fit, before any weights are read). */
EDGELLM_API edgellm_status edgellm_model_load(const char *path, const edgellm_model_options *options,
                                              edgellm_model **out);
EDGELLM_API void edgellm_model_free(edgellm_model *model);

#define EDGELLM_MODEL_HAS_WEIGHTS 0x1u       /* contexts can be created */
#define EDGELLM_MODEL_HAS_VOCABULARY 0x2u    /* text can be tokenized */
#define EDGELLM_MODEL_HAS_CHAT_TEMPLATE 0x4u /* the file has one; chats can be rendered without it, too */
#define EDGELLM_MODEL_ADDS_BOS 0x8u          /* tokenize puts the begin-of-sequence token first */
#define EDGELLM_MODEL_ADDS_EOS 0x10u         /* tokenize puts the end-of-sequence token last */

typedef struct edgellm_model_info {
    uint32_t struct_size;
    uint32_t flags;   /* EDGELLM_MODEL_HAS_..., _ADDS_... */
    int32_t n_vocab;  /* tokens of the vocabulary, and logits of one row */
    int32_t n_layers; /* 0 without weights, as the next two */
    int32_t embedding_width;
    int32_t trained_context_tokens;
    edgellm_token bos_token; /* begin of sequence; EDGELLM_NO_TOKEN if there is none */
    edgellm_token eos_token; /* end of sequence; more tokens may end a turn: edgellm_model_get_token_info() */
    uint64_t n_metadata;     /* keys for edgellm_model_get_key() */
    uint64_t n_parameters;
    uint64_t weight_bytes; /* that the weights take in memory */
    char architecture[64]; /* "llama" */
    char device[32];       /* that runs it: edgellm_device_info.name; "" without weights */
} edgellm_model_info;
#define EDGELLM_MODEL_INFO_INIT                                                                                        \
    { sizeof(edgellm_model_info), 0, 0, 0, 0, 0, EDGELLM_NO_TOKEN, EDGELLM_NO_TOKEN, 0, 0, 0, "", "" }

EDGELLM_API edgellm_status edgellm_model_get_info(const edgellm_model *model, edgellm_model_info *info);

/* The name of metadata key `index`, in the file's order: text out. Errors: NOT_FOUND if index is not less than
 * edgellm_model_info.n_metadata. */
EDGELLM_API edgellm_status edgellm_model_get_key(const edgellm_model *model, size_t index, char *buf, size_t cap,
                                                 size_t *needed);

/* The value of a metadata key ("general.name", "llama.block_count"): text out. Numbers in decimal, "true" or "false",
 * strings as they are, arrays as a list in brackets. Errors: NOT_FOUND. */
EDGELLM_API edgellm_status edgellm_model_get_metadata(const edgellm_model *model, const char *key, char *buf,
                                                      size_t cap, size_t *needed);

/* ---- text ------------------------------------------------------------------------------------------------------- */

/* Add no begin- or end-of-sequence token, even if the model wants them. */
#define EDGELLM_TOKENIZE_NO_BOS 0x1u
/* "<|im_start|>" in the text becomes that token. Not for untrusted text: it could end the turn and speak as another
 * role. */
#define EDGELLM_TOKENIZE_PARSE_SPECIAL 0x2u
/* Both: for what edgellm_model_render_chat() wrote. */
#define EDGELLM_TOKENIZE_CHAT 0x3u

/* Text to tokens: tokens out. `text` is n_bytes of any bytes (NUL and invalid UTF-8 included); NULL if n_bytes is 0.
 * Without flags, special tokens in the text are plain text, and the model's own rule says whether a begin-of-sequence
 * token is added. Errors: BUFFER_TOO_SMALL, NO_VOCABULARY, LIMIT_EXCEEDED. */
EDGELLM_API edgellm_status edgellm_model_tokenize(const edgellm_model *model, const char *text, size_t n_bytes,
                                                  uint32_t flags, edgellm_token *tokens, size_t cap, size_t *needed);

#define EDGELLM_DETOKENIZE_SKIP_SPECIAL 0x1u /* control tokens give no text */

/* Tokens to text: text out, byte for byte what the tokens say, so it may hold NULs and, for a part of a text, end
 * inside a character (a text stream never does). Errors: BUFFER_TOO_SMALL, NO_VOCABULARY, INVALID_ARGUMENT (no such
 * token). */
EDGELLM_API edgellm_status edgellm_model_detokenize(const edgellm_model *model, const edgellm_token *tokens,
                                                    size_t n_tokens, uint32_t flags, char *buf, size_t cap,
                                                    size_t *needed);

#define EDGELLM_TOKEN_CONTROL 0x1u      /* such as <|im_start|>: means something, but is no text of the answer */
#define EDGELLM_TOKEN_USER_DEFINED 0x2u /* added as a whole; is text */
#define EDGELLM_TOKEN_BYTE 0x4u         /* one byte, for text that no other token covers */
#define EDGELLM_TOKEN_UNKNOWN 0x8u      /* stands for text that the vocabulary cannot say */
#define EDGELLM_TOKEN_UNUSED 0x10u
#define EDGELLM_TOKEN_END_OF_TURN 0x20u /* edgellm_context_generate() stops when the model says it */

typedef struct edgellm_token_info {
    uint32_t struct_size;
    uint32_t flags; /* EDGELLM_TOKEN_...; 0: plain text */
} edgellm_token_info;
#define EDGELLM_TOKEN_INFO_INIT                                                                                        \
    { sizeof(edgellm_token_info), 0 }

/* Its text: edgellm_model_detokenize(). Errors: NO_VOCABULARY, NOT_FOUND (no such token). */
EDGELLM_API edgellm_status edgellm_model_get_token_info(const edgellm_model *model, edgellm_token token,
                                                        edgellm_token_info *info);

/* Writes a conversation as the model was trained to read it, by the chat template in its file: text out. Without a
 * template (EDGELLM_MODEL_HAS_CHAT_TEMPLATE) it is written in a common form, and the log says so: text only, tools and
 * documents are left out.
 * - messages_json: an array of objects, [{"role": "user", "content": "Hello"}, ...]; a template may know more members.
 *   "content" may be an array of parts, [{"type": "text", "text": "Hello"}, ...]: templates that take only strings get
 *   the text of the parts, a line each.
 * - variables_json: NULL, or an object with further variables for the template. "add_generation_prompt" (opens the
 *   assistant's turn at the end) is true unless it is given here.
 * Both are NUL-terminated and may be hostile, though the text in them can spell special tokens.
 * Tokenize the result with EDGELLM_TOKENIZE_CHAT: templates write the begin-of-sequence token themselves.
 * Errors: BUFFER_TOO_SMALL, INVALID_TEXT (the JSON), TEMPLATE_FAILED, LIMIT_EXCEEDED, NO_VOCABULARY. */
EDGELLM_API edgellm_status edgellm_model_render_chat(const edgellm_model *model, const char *messages_json,
                                                     const char *variables_json, char *buf, size_t cap, size_t *needed);

/* Tokens to text one at a time, in whole UTF-8 characters. One thread at a time. */
typedef struct edgellm_text_stream edgellm_text_stream;

/* flags: EDGELLM_DETOKENIZE_... Errors: NO_VOCABULARY. */
EDGELLM_API edgellm_status edgellm_text_stream_create(const edgellm_model *model, uint32_t flags,
                                                      edgellm_text_stream **out);
EDGELLM_API void edgellm_text_stream_free(edgellm_text_stream *stream);

/* Adds a token; the text that is complete with it (possibly none): text out. An incomplete character waits for the next
 * token; what no token can complete any more comes out as U+FFFD in its place, so that the text after it can go on.
 * After BUFFER_TOO_SMALL push the same token again. Allocates nothing. Errors: BUFFER_TOO_SMALL, INVALID_ARGUMENT. */
EDGELLM_API edgellm_status edgellm_text_stream_push(edgellm_text_stream *stream, edgellm_token token, char *buf,
                                                    size_t cap, size_t *needed);

/* The end: an incomplete character comes out as U+FFFD, and the stream is as new. Errors: BUFFER_TOO_SMALL. */
EDGELLM_API edgellm_status edgellm_text_stream_flush(edgellm_text_stream *stream, char *buf, size_t cap,
                                                     size_t *needed);

/* ---- context ---------------------------------------------------------------------------------------------------- */

typedef struct edgellm_context edgellm_context;
typedef int32_t edgellm_sequence; /* 0 to max_sequences - 1; each is empty at first */

/* Block formats, numbered as in GGUF. */
typedef int32_t edgellm_format;
enum { EDGELLM_FORMAT_F32 = 0, EDGELLM_FORMAT_F16 = 1, EDGELLM_FORMAT_Q4_0 = 2, EDGELLM_FORMAT_Q8_0 = 8 };

/* What becomes of a sequence that has filled its context_tokens. Layers that see only a window anyway drop what lies
 * behind it under every policy. */
typedef int32_t edgellm_cache_policy;
enum {
    EDGELLM_CACHE_FULL = 0,   /* it is full */
    EDGELLM_CACHE_WINDOW = 1, /* the oldest 32 tokens are dropped, again and again */
    EDGELLM_CACHE_SINKS = 2   /* the same, but the first 32 tokens stay: text goes on for ever without falling apart.
                               * UNSUPPORTED for models that change keys after their rotation */
};

#define EDGELLM_CONTEXT_NO_PREFIX_REUSE 0x1u /* generate computes every prompt anew, as decode always does */

typedef struct edgellm_context_options {
    uint32_t struct_size;
    int32_t context_tokens;   /* room of each sequence; 0: as many as the model was trained with, which is the most */
    int32_t max_sequences;    /* default 1 */
    int32_t max_batch_tokens; /* of one step: generate works prompts off in such steps. Default 512 */
    int32_t max_outputs;      /* rows of logits of one decode; 0: as many as max_sequences */
    edgellm_format cache_k;   /* F16 (default), F32, Q8_0 or Q4_0: 2, 4, 1.06 and 0.56 bytes a value. docs/memory.md */
    edgellm_format cache_v;   /* the same; may differ */
    int32_t n_threads; /* with the caller's; 0: as many as physical cores that the process (and cpu_mask) may use */
    uint64_t cpu_mask; /* bit i: the pool's own threads may run on CPU i; 0: anywhere. The caller's is not moved */
    int64_t spin_ns;   /* how long an idle pool thread looks for work before it sleeps. Default 200,000 */
    edgellm_cache_policy cache_policy; /* other than FULL: context_tokens is at least 128, a step at most half of it */
    uint32_t flags;                    /* EDGELLM_CONTEXT_... */
    void *cuda_stream; /* on a GPU: a cudaStream_t of its device that all work goes to, after what is there already; not
                        * while it is being captured. It lives at least as long as the context. NULL (default): a
                        * stream of the context's own, which waits for no other */
    int32_t stream_priority; /* of the own stream, as CUDA counts: 0 (default) is what streams have that do not ask for
                              * one, and the lowest; -1, -2, ... are more urgent. Beyond the GPU's range: its bound */
    uint32_t reserved;       /* 0 */
} edgellm_context_options;
#define EDGELLM_CONTEXT_OPTIONS_INIT                                                                                   \
    {                                                                                                                  \
        sizeof(edgellm_context_options), 0, 1, 512, 0, EDGELLM_FORMAT_F16, EDGELLM_FORMAT_F16, 0, 0, 200000, 0, 0,     \
            NULL, 0, 0                                                                                                 \
    }

/* Allocates everything the context will ever use and touches it, and starts its threads. The context keeps the model
 * alive. Errors: NO_WEIGHTS, UNSUPPORTED, OUT_OF_MEMORY (also: beyond the model's budget, or a thread cannot be
 * started). */
EDGELLM_API edgellm_status edgellm_context_create(const edgellm_model *model, const edgellm_context_options *options,
                                                  edgellm_context **out);
EDGELLM_API void edgellm_context_free(edgellm_context *context);

typedef struct edgellm_context_info {
    uint32_t struct_size;
    int32_t context_tokens; /* as in the options, with the defaults resolved */
    int32_t max_sequences;
    int32_t max_batch_tokens;
    int32_t max_outputs;
    edgellm_format cache_k;
    edgellm_format cache_v;
    int32_t n_threads;
    uint64_t memory_bytes; /* in all, without the model's weights */
    edgellm_cache_policy cache_policy;
    uint32_t flags; /* EDGELLM_CONTEXT_... */
} edgellm_context_info;
#define EDGELLM_CONTEXT_INFO_INIT                                                                                      \
    { sizeof(edgellm_context_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* May be called while another thread uses the context. */
EDGELLM_API edgellm_status edgellm_context_get_info(const edgellm_context *context, edgellm_context_info *info);

typedef struct edgellm_batch {
    uint32_t struct_size;
    int32_t n_tokens;                  /* 1 to max_batch_tokens */
    const edgellm_token *tokens;       /* [n_tokens] */
    const edgellm_sequence *sequences; /* [n_tokens] of each token, in any order. NULL: all 0 */
    const int32_t *positions;          /* [n_tokens] in the token's sequence. NULL: appended. Other positions than those
                                        * that appending gives are UNSUPPORTED */
    const uint8_t *outputs; /* [n_tokens] 1: compute logits after this token. NULL: after the last one only */
    const int32_t *parents; /* [n_tokens] a tree of drafts, at most 64 tokens of a sequence: index in the batch of the
                             * token before it, -1: the last one of the sequence. A token sees the sequence and its
                             * own branch; positions count along it. The sequence takes no more tokens until the tree
                             * is removed again. NULL: no tree */
} edgellm_batch;
#define EDGELLM_BATCH_INIT                                                                                             \
    { sizeof(edgellm_batch), 0, NULL, NULL, NULL, NULL, NULL }

typedef struct edgellm_decode_options {
    uint32_t struct_size;
    uint32_t flags;      /* 0: none are known */
    int64_t deadline_ns; /* of edgellm_now_ns(): the step does not begin after it; 0 (default): none */
    /* On a GPU, cudaEvent_t of its device; NULL (default): none. Elsewhere UNSUPPORTED. */
    void *wait_event; /* recorded by the caller: nothing of the step begins on the GPU before it has happened */
    void *done_event; /* recorded where the step ends, for others to wait for; not if the step fails */
} edgellm_decode_options;
#define EDGELLM_DECODE_OPTIONS_INIT                                                                                    \
    { sizeof(edgellm_decode_options), 0, 0, NULL, NULL }

/* The monotonic clock that deadlines are told by, in nanoseconds. */
EDGELLM_API int64_t edgellm_now_ns(void);

typedef struct edgellm_decode_result {
    uint32_t struct_size;
    int32_t n_outputs; /* rows of logits there are now */
} edgellm_decode_result;
#define EDGELLM_DECODE_RESULT_INIT                                                                                     \
    { sizeof(edgellm_decode_result), 0 }

/* Runs the model over a batch of tokens: one step. Their keys and values go to the cache, and the logits that were
 * asked for can be read. All or nothing: after an error the sequences are as they were (there are no logits then), but
 * what a cache_policy has dropped to make room stays dropped. Every token given is computed: prefixes of earlier
 * prompts are found by edgellm_context_generate() alone; here edgellm_sequence_fork() shares a common beginning.
 * options and result may be NULL. Allocates nothing. Errors: BUSY, CANCELLED (edgellm_context_cancel() came before or
 * during the call), DEADLINE_EXCEEDED, CONTEXT_FULL (no room for the tokens), INVALID_ARGUMENT (token, sequence, too
 * many tokens or outputs), LIMIT_EXCEEDED (tree), UNSUPPORTED. */
EDGELLM_API edgellm_status edgellm_context_decode(edgellm_context *context, const edgellm_batch *batch,
                                                  const edgellm_decode_options *options, edgellm_decode_result *result);

/* The logits [n_vocab] of output `row` of the last decode: rows count the tokens whose output was asked for, in
 * their order. After edgellm_context_generate() there is row 0, of the last step. *logits belongs to the context and
 * stays valid until its next decode, generate or free. Errors: BUSY, NOT_FOUND (no such row). */
EDGELLM_API edgellm_status edgellm_context_get_logits(edgellm_context *context, size_t row, const float **logits,
                                                      size_t *n_vocab);

/* The k likeliest tokens of output `row`, likeliest first, and the natural logarithms of their probabilities (softmax
 * of the logits, no temperature): tokens [k], logprobs [k] or NULL. *n: how many there are, k or less (n_vocab).
 * Allocates nothing. Errors: BUSY, NOT_FOUND (no such row). */
EDGELLM_API edgellm_status edgellm_context_get_top(edgellm_context *context, size_t row, size_t k,
                                                   edgellm_token *tokens, float *logprobs, size_t *n);

/* The natural logarithm of the probability of one token after output `row`, as above. Allocates nothing.
 * Errors: BUSY, NOT_FOUND (no such row), INVALID_ARGUMENT (no such token). */
EDGELLM_API edgellm_status edgellm_context_get_logprob(edgellm_context *context, size_t row, edgellm_token token,
                                                       float *logprob);

/* Asks the running decode or generate, or else the next one, to return EDGELLM_CANCELLED; that ends the request. It
 * comes at the latest after the current step. From any thread, at any time; safe in a signal handler. */
EDGELLM_API edgellm_status edgellm_context_cancel(edgellm_context *context);

/* ---- sequences -------------------------------------------------------------------------------------------------- */

typedef struct edgellm_sequence_info {
    uint32_t struct_size;
    int32_t n_tokens;      /* in the cache */
    int32_t next_position; /* that an appended token gets: n_tokens, unless some were removed, dropped or shifted */
} edgellm_sequence_info;
#define EDGELLM_SEQUENCE_INFO_INIT                                                                                     \
    { sizeof(edgellm_sequence_info), 0, 0 }

/* Errors: BUSY. */
EDGELLM_API edgellm_status edgellm_sequence_get_info(const edgellm_context *context, edgellm_sequence sequence,
                                                     edgellm_sequence_info *info);

/* Forgets the tokens at positions begin <= p < end; end -1: up to the last. (0, -1) empties the sequence, (n, -1) goes
 * back to the first n tokens: a conversation goes on from its unchanged beginning. Tokens behind a gap keep their
 * positions and what they learned from those before them; edgellm_sequence_shift() closes it. Allocates nothing.
 * Errors: BUSY, CONTEXT_FULL (pages shared with other sequences cannot be copied), UNSUPPORTED: a window or a policy
 * has dropped what is needed; a part of a tree of drafts; a recurrent model can only be emptied or go back by its last
 * step, and not where that step was not made here (after a restore, or in a fork) or another one has failed since. */
EDGELLM_API edgellm_status edgellm_sequence_remove(edgellm_context *context, edgellm_sequence sequence, int32_t begin,
                                                   int32_t end);

/* `to` becomes a copy of `from`; what it was is forgotten. They share memory until they differ. Allocates nothing.
 * Errors: BUSY, INVALID_ARGUMENT. */
EDGELLM_API edgellm_status edgellm_sequence_fork(edgellm_context *context, edgellm_sequence from, edgellm_sequence to);

/* Moves the tokens at positions begin <= p < end by `delta` positions, not past their neighbours. Allocates nothing.
 * Errors: BUSY, INVALID_ARGUMENT, CONTEXT_FULL as above, UNSUPPORTED: quantized keys, recurrent models, models that
 * change keys after their rotation, a tree of drafts at the end, tokens that would come nearer to what a window or a
 * policy has dropped, and the first tokens where EDGELLM_CACHE_SINKS has moved them already. */
EDGELLM_API edgellm_status edgellm_sequence_shift(edgellm_context *context, edgellm_sequence sequence, int32_t begin,
                                                  int32_t end, int32_t delta);

/* Empties all other sequences. Allocates nothing. Errors: BUSY. */
EDGELLM_API edgellm_status edgellm_sequence_keep(edgellm_context *context, edgellm_sequence sequence);

/* Writes a sequence to a file, from which it goes on later, bit for bit as it would here: after a restart, in another
 * context of the same model with the same cache formats, as any sequence that has room. The file is replaced whole: a
 * crash or a loss of power leaves the old one or the new one, and at worst a temporary file beside it, path.XXXXXX.
 * Only its owner can read it. Allocates nothing. Errors: BUSY, IO_ERROR (the file is as before), UNSUPPORTED (the
 * sequence ends with a tree of drafts). */
EDGELLM_API edgellm_status edgellm_sequence_save_file(edgellm_context *context, edgellm_sequence sequence,
                                                      const char *path);

/* `sequence` becomes what was saved; what it was is forgotten. Nothing changes if the file is refused; only when it
 * changes or cannot be read any more after it has been found whole, the sequence is empty. The file may be damaged or
 * hostile, but then what the model says after it, and after prompts of this context that begin with the same tokens, is
 * what its author wanted (EDGELLM_CONTEXT_NO_PREFIX_REUSE keeps prompts apart). Allocates nothing. Errors: BUSY,
 * IO_ERROR, FILE_TRUNCATED, FILE_CORRUPT (also: no saved sequence), UNSUPPORTED (saved by a later version),
 * STATE_MISMATCH (another model, cache format or policy), CONTEXT_FULL (more tokens than this context holds).
 */
EDGELLM_API edgellm_status edgellm_sequence_restore_file(edgellm_context *context, edgellm_sequence sequence,
                                                         const char *path);

/* The same bytes to the caller's memory. *needed (which may be NULL) becomes their number; if cap is less, nothing is
 * written, and buf may be NULL. Allocates nothing. Errors: BUSY, BUFFER_TOO_SMALL, UNSUPPORTED as above. */
EDGELLM_API edgellm_status edgellm_sequence_save(edgellm_context *context, edgellm_sequence sequence, void *buf,
                                                 size_t cap, size_t *needed);

/* The same from `data`, n_bytes that do not change meanwhile. Allocates nothing. Errors as above, but for IO_ERROR. */
EDGELLM_API edgellm_status edgellm_sequence_restore(edgellm_context *context, edgellm_sequence sequence,
                                                    const void *data, size_t n_bytes);

/* ---- sampler ---------------------------------------------------------------------------------------------------- */

typedef struct edgellm_sampler edgellm_sampler;

/* The stages, in their usual order: logit bias, penalties, dry, top_n_sigma, top_k, typical_p, top_p, min_p, xtc,
 * temperature, mirostat; then one token is drawn. Of these the ones between logit bias and mirostat can be chosen and
 * ordered by `stages`. Greedy (temperature 0) is the likeliest token after logit bias, penalties and dry, and mirostat
 * replaces the stages from top_n_sigma to xtc: those drop nothing then. */
typedef struct edgellm_sampler_options {
    uint32_t struct_size;
    uint32_t flags;    /* 0: none are known */
    float temperature; /* divides the logits; 0: always the likeliest token (greedy). Default 0.8 */
    int32_t top_k;     /* only the k likeliest tokens; 0: off. Default 40 */
    float top_p;       /* only the likeliest tokens that reach this probability together; 1: off. Default 0.95 */
    float min_p;       /* only tokens at least this fraction as likely as the likeliest; 0: off. Default 0.05 */
    float typical_p;   /* only the most typical tokens (those whose surprise is nearest to the mean) that reach this
                        * probability together; 1: off (default) */
    float top_n_sigma; /* only logits at most this many standard deviations below the best; 0: off (default) */

    /* Penalties look back at the last penalty_last_n accepted tokens. */
    float repetition_penalty; /* divides positive and multiplies negative logits of tokens seen; 1: off (default) */
    float frequency_penalty;  /* subtracted from the logit once for each time a token was seen; 0: off (default) */
    float presence_penalty;   /* subtracted once from the logit of tokens seen; 0: off (default) */
    int32_t penalty_last_n;   /* 0: none. Default 64 */

    /* XTC drops all tokens above a threshold but the least likely of them: less predictable text. */
    float xtc_probability; /* how often; 0: off (default) */
    float xtc_threshold;   /* a probability; above 0.5: off. Default 0.1 */

    /* The temperature goes from temperature - range to temperature + range with the entropy of what may be drawn, as a
     * fraction of the largest possible, to the power of the exponent. */
    float dynatemp_range;    /* 0: off (default) */
    float dynatemp_exponent; /* default 1 */

    /* Mirostat 2 drops what is too surprising, and adapts that limit to reach a mean surprise. */
    float mirostat_tau; /* the surprise, in bits; 0: off (default) */
    float mirostat_eta; /* how fast it adapts. Default 0.1 */

    /* DRY: what would go on with a repetition of n >= dry_allowed_length tokens within the last dry_penalty_last_n
     * accepted ones loses dry_multiplier * dry_base ^ (n - dry_allowed_length) of its logit. */
    float dry_multiplier;       /* 0: off (default). 0.8 is usual */
    float dry_base;             /* at least 1. Default 1.75 */
    int32_t dry_allowed_length; /* at least 1. Default 2 */
    int32_t dry_penalty_last_n; /* 0: none. Default 1024 */
    uint32_t n_dry_breakers;    /* at most 32 */

    uint32_t n_logit_bias;
    const char *const *dry_breakers; /* [n_dry_breakers] texts of 1 to 64 bytes that repetitions do not reach over.
                                      * NULL with n_dry_breakers 0 (default): newline, colon, quotation mark and
                                      * asterisk if the model has a vocabulary; not NULL with n_dry_breakers 0: none */
    const char *stages; /* those that run, in this order: "penalties,top_k,temperature"; NULL (default): all, in the
                         * usual order. What is not listed is off */
    const edgellm_token *logit_bias_tokens; /* [n_logit_bias] */
    const float *logit_bias_values;         /* [n_logit_bias] added to the logit; -INFINITY bans a token */
    uint64_t seed;                          /* same seed, model, prompt and options: same tokens. Default 0 */
} edgellm_sampler_options;
#define EDGELLM_SAMPLER_OPTIONS_INIT                                                                                   \
    {                                                                                                                  \
        sizeof(edgellm_sampler_options), 0, 0.8f, 40, 0.95f, 0.05f, 1.0f, 0.0f, 1.0f, 0.0f, 0.0f, 64, 0.0f, 0.1f,      \
            0.0f, 1.0f, 0.0f, 0.1f, 0.0f, 1.75f, 2, 1024, 0, 0, NULL, NULL, NULL, NULL, 0                              \
    }

/* Errors: NO_VOCABULARY and LIMIT_EXCEEDED (dry_breakers). */
EDGELLM_API edgellm_status edgellm_sampler_create(const edgellm_model *model, const edgellm_sampler_options *options,
                                                  edgellm_sampler **out);
EDGELLM_API void edgellm_sampler_free(edgellm_sampler *sampler);

/* Chooses a token from output `row` of the context's last decode. Does not accept it: asked again, it chooses the same.
 * Allocates nothing. Errors: BUSY, NOT_FOUND (no such row), INVALID_ARGUMENT (made for a model with another
 * vocabulary), LOGITS_INVALID (a broken model, or logit_bias bans everything). */
EDGELLM_API edgellm_status edgellm_sampler_sample(edgellm_sampler *sampler, edgellm_context *context, size_t row,
                                                  edgellm_token *token);

/* Tells the sampler that the token is part of the text now (penalties, position of the random numbers). Prompt tokens
 * may be accepted too, if penalties are to see them. Allocates nothing. */
EDGELLM_API edgellm_status edgellm_sampler_accept(edgellm_sampler *sampler, edgellm_token token);

/* As new: nothing accepted, random numbers from the start. */
EDGELLM_API edgellm_status edgellm_sampler_reset(edgellm_sampler *sampler);

/* ---- generate --------------------------------------------------------------------------------------------------- */

typedef struct edgellm_token_event {
    uint32_t struct_size; /* of what the library filled in */
    edgellm_token token; /* that was generated; EDGELLM_NO_TOKEN in a last call that only brings the rest of the text */
    int32_t n_generated; /* tokens so far, this one included */
    uint32_t n_text_bytes; /* may be 0: text is held back while a character or a stop string may be incomplete */
    const char *text;      /* [n_text_bytes] and a NUL; whole UTF-8 characters; valid during the call */

    /* As edgellm_context_get_top() says; 0 and NULL if the options do not ask for it, and in a last call. */
    float logprob;                   /* of `token` */
    uint32_t n_top;                  /* as in the options, at most n_vocab */
    const edgellm_token *top_tokens; /* [n_top] the likeliest first; valid during the call */
    const float *top_logprobs;       /* [n_top] */
} edgellm_token_event;

/* A return other than 0 stops the generation. There is no event for the end-of-turn token that ends it, and so no
 * logprob of it: edgellm_context_get_logprob() gives it afterwards. */
typedef int32_t (*edgellm_token_fn)(void *user, const edgellm_token_event *event);

#define EDGELLM_GENERATE_IGNORE_END 0x1u /* go on after an end-of-turn token (for measuring) */
#define EDGELLM_GENERATE_LOGPROBS 0x2u   /* fill in edgellm_token_event.logprob */

typedef struct edgellm_generate_options {
    uint32_t struct_size;
    uint32_t flags;                  /* EDGELLM_GENERATE_... */
    int32_t max_tokens;              /* to generate at most; 0 (default): as many as the context has room for; with a
                                      * cache_policy other than FULL there is no end to that */
    uint32_t n_top;                  /* likeliest tokens told with each token, and its logprob; at most 32. Default 0 */
    const char *const *stop_strings; /* [n_stop_strings] not empty, of at most 255 bytes each */
    uint32_t n_stop_strings;         /* at most 16 */
    uint32_t reserved;               /* 0 */
    int64_t deadline_ns; /* of edgellm_now_ns(): no step begins after it, so that the call returns at the latest one
                          * step later; 0 (default): none */
} edgellm_generate_options;
#define EDGELLM_GENERATE_OPTIONS_INIT                                                                                  \
    { sizeof(edgellm_generate_options), 0, 0, 0, NULL, 0, 0, 0 }

typedef int32_t edgellm_stop_reason;
enum {
    EDGELLM_STOP_NONE = 0,
    EDGELLM_STOP_END_OF_TURN = 1,  /* the model said an end-of-turn token; it is not part of the text */
    EDGELLM_STOP_LENGTH = 2,       /* max_tokens */
    EDGELLM_STOP_STRING = 3,       /* a stop string; neither it nor what follows is part of the text */
    EDGELLM_STOP_CALLBACK = 4,     /* the callback returned non-zero */
    EDGELLM_STOP_CANCELLED = 5,    /* edgellm_context_cancel(); the status is EDGELLM_CANCELLED */
    EDGELLM_STOP_CONTEXT_FULL = 6, /* no room for one more token */
    EDGELLM_STOP_DEADLINE = 7      /* the deadline has passed; the status is EDGELLM_DEADLINE_EXCEEDED */
};

typedef struct edgellm_generate_result {
    uint32_t struct_size;
    edgellm_stop_reason stop_reason;
    int32_t stop_string;     /* index of the one that was found; -1: none */
    int32_t n_prompt_tokens; /* worked off; less than n_prompt if it was cancelled meanwhile */
    int32_t n_generated;     /* an end-of-turn token that stopped it is not counted */
    int32_t n_tokens;    /* in the sequence afterwards: a generated token is decoded when the one after it is wanted,
                          * so the last one is usually not in the cache yet. edgellm_sequence_get_info() */
    int64_t prompt_ns;   /* time until the prompt was worked off */
    int64_t generate_ns; /* time of everything after it */
    int32_t n_reused_tokens; /* of n_prompt_tokens: taken over from earlier prompts with the same beginning */
    int32_t reserved;
} edgellm_generate_result;
#define EDGELLM_GENERATE_RESULT_INIT                                                                                   \
    { sizeof(edgellm_generate_result), 0, -1, 0, 0, 0, 0, 0, 0, 0 }

/* Appends prompt [n_prompt], 1 or more tokens, to `sequence` and generates until something says stop. Each token
 * is chosen by `sampler`, accepted, and given to `callback` (which may be NULL) with `user`. Prompt tokens are not
 * accepted. Options and result may be NULL. Allocates nothing.
 * The prompt of an empty sequence need not be computed as far as an earlier one of this context began with the same
 * tokens and their pages are still there: they are used for new tokens only when no others are free.
 * The status is EDGELLM_OK for every stop reason but EDGELLM_STOP_CANCELLED and EDGELLM_STOP_DEADLINE; result is filled
 * in then, too.
 * Errors: BUSY, CANCELLED, DEADLINE_EXCEEDED, PROMPT_TOO_LONG (before anything is done), NO_VOCABULARY (stop strings),
 * LIMIT_EXCEEDED (stop strings, n_top), LOGITS_INVALID, UNSUPPORTED (the sequence ends with a tree of drafts). */
EDGELLM_API edgellm_status edgellm_context_generate(edgellm_context *context, edgellm_sequence sequence,
                                                    edgellm_sampler *sampler, const edgellm_token *prompt,
                                                    size_t n_prompt, const edgellm_generate_options *options,
                                                    edgellm_token_fn callback, void *user,
                                                    edgellm_generate_result *result);

/* ---- memory plan ------------------------------------------------------------------------------------------------ */

/* What loading a model and creating one context with these options will take, region by region, before anything is
 * allocated. Both are made from the same plan. */
typedef struct edgellm_memory_plan edgellm_memory_plan;

/* Reads only the header of the file, which may be hostile. Options may be NULL; progress is not called. Without weights
 * (in the file, or wanted) the plan is of the model alone. What does not fit the budget is no error here.
 * Errors: those of edgellm_model_load() for a header and options, and of edgellm_context_create() for options. */
EDGELLM_API edgellm_status edgellm_memory_plan_create(const char *path, const edgellm_model_options *model_options,
                                                      const edgellm_context_options *context_options,
                                                      edgellm_memory_plan **out);
EDGELLM_API void edgellm_memory_plan_free(edgellm_memory_plan *plan);

/* Loading the model and creating the context stay within the budget, and on a GPU with memory of its own within what is
 * free there now. */
#define EDGELLM_MEMORY_FITS 0x1u

typedef struct edgellm_memory_summary {
    uint32_t struct_size;
    uint32_t flags;             /* EDGELLM_MEMORY_... */
    int32_t context_tokens;     /* that the plan is for; 0: without weights */
    int32_t max_context_tokens; /* the most that fits, with all other options the same; 0: not even one */
    uint64_t n_regions;
    uint64_t total_bytes;     /* of all regions */
    uint64_t resident_bytes;  /* the same without those that are given back when the model is loaded */
    uint64_t load_peak_bytes; /* the most while edgellm_model_load() runs */
    uint64_t budget_bytes;    /* edgellm_model_options.budget_bytes, or what it is by default just now */
} edgellm_memory_summary;
#define EDGELLM_MEMORY_SUMMARY_INIT                                                                                    \
    { sizeof(edgellm_memory_summary), 0, 0, 0, 0, 0, 0, 0, 0 }

EDGELLM_API edgellm_status edgellm_memory_plan_get_summary(const edgellm_memory_plan *plan,
                                                           edgellm_memory_summary *summary);

#define EDGELLM_MEMORY_LOAD_ONLY 0x1u /* given back when the model is loaded */

typedef struct edgellm_memory_region {
    uint32_t struct_size;
    uint32_t flags; /* EDGELLM_MEMORY_LOAD_ONLY */
    uint64_t bytes;
    uint64_t row_bytes; /* of a cache group: keys and values of a token in all of its layers. Otherwise 0 */
    uint64_t n_rows;    /* of a cache group: bytes = row_bytes * n_rows. Otherwise 0 */
    char device[28];    /* whose memory: edgellm_device_info.name */
    char name[68];      /* "weights Q4_K", "cache group 0 (28 layers, full)", "activations", ... */
} edgellm_memory_region;
#define EDGELLM_MEMORY_REGION_INIT                                                                                     \
    { sizeof(edgellm_memory_region), 0, 0, 0, 0, "", "" }

/* About region `index`, less than edgellm_memory_summary.n_regions: the model's first, then the context's.
 * Errors: NOT_FOUND. */
EDGELLM_API edgellm_status edgellm_memory_plan_get_region(const edgellm_memory_plan *plan, size_t index,
                                                          edgellm_memory_region *region);

#ifdef __cplusplus
}
#endif
#endif
