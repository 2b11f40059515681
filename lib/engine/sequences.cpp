// What can be done to a context's sequences between steps.
#include "engine/context.h"

namespace el {

void Context::clear(uint32_t sequence) noexcept {
    cache_->truncate(sequence, 0);
    tree_[sequence] = -1;
}

// Rows from `row` on are shared with no other sequence afterwards.
Status Context::make_private(uint32_t sequence, uint32_t row, Report &report) noexcept {
    CacheEdits edits;
    if (!cache_->make_private(sequence, row, edits))
        return report.set(Status::kContextFull, "the cache has no free pages to part sequence {} from the others",
                          sequence);
    apply(edits);
    return Status::kOk;
}

Status Context::remove(uint32_t sequence, int32_t begin, int32_t end, Report &report) noexcept {
    const uint32_t length = cache_->length(sequence);
    if (tree_[sequence] >= 0 && (begin > tree_[sequence] || end < cache_->next_position(sequence)))
        return report.set(
            Status::kUnsupported,
            "sequence {} ends with a tree of drafts, which can only be removed whole, from position {} on", sequence,
            tree_[sequence]);
    const uint32_t first = cache_->row_at(sequence, begin), last = cache_->row_at(sequence, end);
    if (first >= last) return Status::kOk;
    if (first == 0 && last == length) {
        clear(sequence);
        return Status::kOk;
    }
    if (recurrent()) {
        if (last < length || int64_t(first) != cache_->rows_of_former_state(sequence) ||
            !cache_->can_truncate(sequence, first))
            return report.set(
                Status::kUnsupported,
                "removing positions {} to {} of sequence {}: the model's recurrent state can only go back "
                "to the start or by the last step",
                begin, end, sequence);
        cache_->return_to_former_state(sequence);
        return Status::kOk;
    }
    if (last == length) {
        if (!cache_->can_truncate(sequence, first))
            return report.set(Status::kUnsupported,
                              "sequence {} cannot go back to position {}: tokens that it saw there have been dropped "
                              "by windowed layers or sinks",
                              sequence, begin);
        cache_->truncate(sequence, first);
        tree_[sequence] = -1;
        return Status::kOk;
    }
    if (!cache_->whole(sequence))
        return report.set(Status::kUnsupported,
                          "removing positions {} to {} of sequence {}: older tokens have been dropped already", begin,
                          end, sequence);
    if (make_private(sequence, first, report) != Status::kOk) return report.status;
    for (uint32_t g = 0; g < limits_.step.n_groups; ++g) {
        for (uint32_t row = last; row < length; ++row) {
            slots_[0][row - last] = cache_->slot(g, sequence, row);
            slots_[1][row - last] = cache_->slot(g, sequence, row - (last - first));
        }
        executable_->cache().copy_rows(g, slots_[0], slots_[1], length - last);
    }
    cache_->close_gap(sequence, first, last);
    return Status::kOk;
}

Status Context::shift(uint32_t sequence, int32_t begin, int32_t end, int32_t delta, Report &report) noexcept {
    const uint32_t length = cache_->length(sequence), first = cache_->row_at(sequence, begin),
                   last = cache_->row_at(sequence, end);
    if (delta == 0 || first >= last) return Status::kOk;
    if (tree_[sequence] >= 0)
        return report.set(Status::kUnsupported, "sequence {} ends with a tree of drafts; remove it first", sequence);
    if (recurrent())
        return report.set(Status::kUnsupported, "shifting: a recurrent state knows no positions that could change");
    if (options_.cache_k != Format::kF16 && options_.cache_k != Format::kF32)
        return report.set(Status::kUnsupported, "shifting keys that are quantized ({}) would lose too much",
                          format_info(options_.cache_k).name);
    if (delta < 0 && first > 0 && !cache_->whole(sequence))
        return report.set(
            Status::kUnsupported,
            "shifting positions {} to {} of sequence {} back: tokens that would come into sight again have "
            "been dropped already",
            begin, end, sequence);
    if (!executable_->cache().can_turn_keys())
        return report.set(Status::kUnsupported, "shifting: this model changes keys after their rotation");
    if (first < kPageTokens && options_.eviction == Eviction::kSinks && cache_->saved(sequence).evicted > 0)
        return report.set(Status::kUnsupported,
                          "shifting the first {} tokens of sequence {}: the policy 'sinks' moves them itself",
                          kPageTokens, sequence);
    const int64_t least = first > 0 ? int64_t(cache_->position(sequence, first - 1)) + 1 : 0,
                  most = last < length ? int64_t(cache_->position(sequence, last))
                                       : int64_t(std::numeric_limits<int32_t>::max()),
                  after = last < length ? int64_t(cache_->position(sequence, last - 1)) + 1
                                        : int64_t(cache_->next_position(sequence));
    if (cache_->position(sequence, first) + int64_t(delta) < least || after + delta > most)
        return report.set(Status::kInvalidArgument,
                          "shifting positions {} to {} of sequence {} by {} would move them beyond their neighbours",
                          begin, end, sequence, delta);
    if (make_private(sequence, first, report) != Status::kOk) return report.status;
    for (uint32_t g = 0; g < limits_.step.n_groups; ++g) {
        size_t n = 0;
        for (uint32_t row = std::max(first, cache_->first_row(g, sequence)); row < last; ++row)
            slots_[0][n++] = cache_->slot(g, sequence, row);
        executable_->cache().turn_keys(g, slots_[0], n, delta);
    }
    cache_->shift(sequence, first, last, delta);
    return Status::kOk;
}

Status Context::fork(uint32_t from, uint32_t to, Report &report) noexcept {
    if (from == to) return report.set(Status::kInvalidArgument, "sequence {} cannot become a copy of itself", from);
    clear(to);
    cache_->fork(from, to);
    tree_[to] = tree_[from];
    if (recurrent() && cache_->state_before(from) >= 0)
        executable_->cache().copy_state(cache_->state_before(from), cache_->state_before(to));
    return Status::kOk;
}

uint32_t Context::reuse_prefix(uint32_t sequence, std::span<const int32_t> tokens) noexcept {
    return cache_->length(sequence) == 0 ? cache_->adopt(sequence, tokens) : 0;
}

}  // namespace el
