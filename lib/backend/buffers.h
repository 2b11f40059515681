// Which values of a program can share memory: a value's buffer is free again after the op that reads it last, or after
// the last of the ops that are done as one with it.
#pragma once
#include "program/op.h"

#include <span>

namespace el {

struct BufferPlan {
    std::vector<int32_t> buffer_of;  // per value; -1: the logits, which have their own place
    std::vector<ValueInfo> buffers;

    // `done_with[i]`, not below i: the last op of those that op i is done as one with. Empty: each is done by itself.
    explicit BufferPlan(const Program &program, std::span<const uint32_t> done_with = {})
        : buffer_of(program.values.size(), -1) {
        std::vector<size_t> last_use(program.values.size(), 0);
        for (size_t i = 0; i < program.ops.size(); ++i)
            for (ValueId in : program.ops[i].in)
                if (in != kNoValue) last_use[size_t(in)] = done_with.empty() ? i : done_with[i];
        last_use[size_t(program.logits)] = program.ops.size();
        std::vector<bool> busy;
        for (size_t i = 0; i < program.ops.size(); ++i) {
            const Op &op = program.ops[i];
            if (op.out != kNoValue && op.out != program.logits)
                buffer_of[size_t(op.out)] = take(program.values[size_t(op.out)], busy);
            for (size_t v = 0; v < last_use.size(); ++v)
                if (last_use[v] == i && buffer_of[v] >= 0) busy[size_t(buffer_of[v])] = false;
        }
    }

  private:
    int32_t take(const ValueInfo &value, std::vector<bool> &busy) {
        for (size_t b = 0; b < buffers.size(); ++b)
            if (!busy[b] && buffers[b].width == value.width && buffers[b].rows == value.rows) {
                busy[b] = true;
                return static_cast<int32_t>(b);
            }
        buffers.push_back(value);
        busy.push_back(true);
        return static_cast<int32_t>(buffers.size() - 1);
    }
};

}  // namespace el
