#include "api/guard.h"
#include "api/handles.h"
#include "engine/state.h"

using namespace el;

namespace {

// The end of a range of positions; -1 is beyond the last.
int32_t check_range(int32_t begin, int32_t end) {
    if (begin < 0) fail(Status::kInvalidArgument, "begin is {}; it must be a position", begin);
    if (end < -1) fail(Status::kInvalidArgument, "end is {}; it must be a position, or -1 for the last", end);
    return end == -1 ? INT32_MAX : end;
}

// What all calls that change, save or restore a sequence have in common.
template <typename Action>  // (Context &, uint32_t sequence, Report &)
edgellm_status on_sequence(edgellm_context *context, edgellm_sequence sequence, Action action,
                           const char *name = "sequence") {
    return guard([&] {
        need(context, "context");
        Use use(*context);
        Report report;
        action(context->context, check_sequence(*context, sequence, name), report);
        if (report.status == Status::kOk) context->context.failure(report);
        return finish(report);
    });
}

}  // namespace

edgellm_status edgellm_sequence_get_info(const edgellm_context *context, edgellm_sequence sequence,
                                         edgellm_sequence_info *info) {
    return guard([&] {
        need(context, "context");
        need(info, "info");
        check_out(info, "info");
        Use use(*context);
        const uint32_t s = check_sequence(*context, sequence);
        edgellm_sequence_info result = EDGELLM_SEQUENCE_INFO_INIT;
        result.n_tokens = static_cast<int32_t>(context->context.length(s));
        result.next_position = context->context.next_position(s);
        write_struct(info, result);
    });
}

edgellm_status edgellm_sequence_remove(edgellm_context *context, edgellm_sequence sequence, int32_t begin,
                                       int32_t end) {
    return on_sequence(context, sequence, [&](Context &of, uint32_t s, Report &report) {
        const int32_t last = check_range(begin, end);
        of.remove(s, begin, last, report);
    });
}

edgellm_status edgellm_sequence_fork(edgellm_context *context, edgellm_sequence from, edgellm_sequence to) {
    return on_sequence(
        context, from,
        [&](Context &of, uint32_t origin, Report &report) {
            of.fork(origin, check_sequence(*context, to, "to"), report);
        },
        "from");
}

edgellm_status edgellm_sequence_shift(edgellm_context *context, edgellm_sequence sequence, int32_t begin, int32_t end,
                                      int32_t delta) {
    return on_sequence(context, sequence, [&](Context &of, uint32_t s, Report &report) {
        const int32_t last = check_range(begin, end);
        of.shift(s, begin, last, delta, report);
    });
}

edgellm_status edgellm_sequence_keep(edgellm_context *context, edgellm_sequence sequence) {
    return on_sequence(context, sequence, [&](Context &of, uint32_t kept, Report &) {
        for (uint32_t s = 0; s < of.options().max_sequences; ++s)
            if (s != kept) of.clear(s);
    });
}

edgellm_status edgellm_sequence_save_file(edgellm_context *context, edgellm_sequence sequence, const char *path) {
    return on_sequence(context, sequence, [&](Context &of, uint32_t s, Report &report) {
        need(path, "path");
        SequenceState(of, s).save_file(path, report);
    });
}

edgellm_status edgellm_sequence_restore_file(edgellm_context *context, edgellm_sequence sequence, const char *path) {
    return on_sequence(context, sequence, [&](Context &of, uint32_t s, Report &report) {
        need(path, "path");
        SequenceState(of, s).restore_file(path, report);
    });
}

edgellm_status edgellm_sequence_save(edgellm_context *context, edgellm_sequence sequence, void *buf, size_t cap,
                                     size_t *needed) {
    return on_sequence(context, sequence, [&](Context &of, uint32_t s, Report &report) {
        if (cap > 0) need(buf, "buf");
        SequenceState(of, s).save_buffer(buf, cap, needed, report);
    });
}

edgellm_status edgellm_sequence_restore(edgellm_context *context, edgellm_sequence sequence, const void *data,
                                        size_t n_bytes) {
    return on_sequence(context, sequence, [&](Context &of, uint32_t s, Report &report) {
        need(data, "data");
        SequenceState(of, s).restore_buffer(data, n_bytes, report);
    });
}
