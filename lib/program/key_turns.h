// How the keys of each cache layer know their position, told from the ops that make them.
#pragma once
#include "program/op.h"

namespace el {

struct KeyTurns {
    std::vector<const Op *> rope;  // per cache layer: that turned the keys; NULL: none did
    bool can_turn = true;          // keys can be turned on in the cache; a norm behind their rope makes that impossible

    explicit KeyTurns(const Program &program) : rope(program.cache_layers.size(), nullptr) {
        std::vector<const Op *> maker(program.values.size(), nullptr);
        for (const Op &op : program.ops) {
            if (op.out != kNoValue) maker[size_t(op.out)] = &op;
            if (op.kind != OpKind::kCacheWrite) continue;
            const Op *made = maker[size_t(op.in[0])];
            if (made && made->kind == OpKind::kRope) rope[op.cache_write.cache_layer] = made;
            const Op *normed = made && made->kind == OpKind::kNorm ? maker[size_t(made->in[0])] : nullptr;
            if (normed && normed->kind == OpKind::kRope) can_turn = false;
        }
    }
};

}  // namespace el
