#include "api/guard.h"

#include <iterator>

namespace {

struct Name {
    el::Status internal;
    edgellm_status status;
    const char *name;
};

// In the order of the numbers.
constexpr Name kNames[] = {
    {el::Status::kOk, EDGELLM_OK, "ok"},
    {el::Status::kInvalidArgument, EDGELLM_INVALID_ARGUMENT, "invalid_argument"},
    {el::Status::kBufferTooSmall, EDGELLM_BUFFER_TOO_SMALL, "buffer_too_small"},
    {el::Status::kOutOfMemory, EDGELLM_OUT_OF_MEMORY, "out_of_memory"},
    {el::Status::kIoError, EDGELLM_IO_ERROR, "io_error"},
    {el::Status::kNotAModelFile, EDGELLM_NOT_A_MODEL_FILE, "not_a_model_file"},
    {el::Status::kFileTruncated, EDGELLM_FILE_TRUNCATED, "file_truncated"},
    {el::Status::kFileCorrupt, EDGELLM_FILE_CORRUPT, "file_corrupt"},
    {el::Status::kMetadataInvalid, EDGELLM_METADATA_INVALID, "metadata_invalid"},
    {el::Status::kTensorInvalid, EDGELLM_TENSOR_INVALID, "tensor_invalid"},
    {el::Status::kUnknownFormat, EDGELLM_UNKNOWN_FORMAT, "unknown_format"},
    {el::Status::kUnknownArchitecture, EDGELLM_UNKNOWN_ARCHITECTURE, "unknown_architecture"},
    {el::Status::kVocabularyInvalid, EDGELLM_VOCABULARY_INVALID, "vocabulary_invalid"},
    {el::Status::kNoVocabulary, EDGELLM_NO_VOCABULARY, "no_vocabulary"},
    {el::Status::kNoWeights, EDGELLM_NO_WEIGHTS, "no_weights"},
    {el::Status::kPromptTooLong, EDGELLM_PROMPT_TOO_LONG, "prompt_too_long"},
    {el::Status::kContextFull, EDGELLM_CONTEXT_FULL, "context_full"},
    {el::Status::kInvalidText, EDGELLM_INVALID_TEXT, "invalid_text"},
    {el::Status::kTemplateFailed, EDGELLM_TEMPLATE_FAILED, "template_failed"},
    {el::Status::kLimitExceeded, EDGELLM_LIMIT_EXCEEDED, "limit_exceeded"},
    {el::Status::kUnsupported, EDGELLM_UNSUPPORTED, "unsupported"},
    {el::Status::kNotFound, EDGELLM_NOT_FOUND, "not_found"},
    {el::Status::kBusy, EDGELLM_BUSY, "busy"},
    {el::Status::kCancelled, EDGELLM_CANCELLED, "cancelled"},
    {el::Status::kDeadlineExceeded, EDGELLM_DEADLINE_EXCEEDED, "deadline_exceeded"},
    {el::Status::kDeviceLost, EDGELLM_DEVICE_LOST, "device_lost"},
    {el::Status::kInternal, EDGELLM_INTERNAL, "internal"},
    {el::Status::kLogitsInvalid, EDGELLM_LOGITS_INVALID, "logits_invalid"},
    {el::Status::kStateMismatch, EDGELLM_STATE_MISMATCH, "state_mismatch"},
};

constexpr bool numbers_agree() {
    for (int32_t i = 0; i < static_cast<int32_t>(std::size(kNames)); ++i)
        if (kNames[i].status != i || static_cast<int32_t>(kNames[i].internal) != i) return false;
    return true;
}
static_assert(numbers_agree(), "lib/base/status.h and edgellm.h number the statuses alike, without gaps");

}  // namespace

uint32_t edgellm_abi_version(void) { return EDGELLM_ABI_VERSION; }

const char *edgellm_version_string(void) { return EDGELLM_VERSION; }

const char *edgellm_status_name(edgellm_status status) {
    return status >= 0 && status <= EDGELLM_STATE_MISMATCH ? kNames[status].name : "unknown";
}

const char *edgellm_last_error(void) { return el::last_error(); }
