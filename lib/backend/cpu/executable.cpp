#include "backend/cpu/executable.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace el::cpu {
namespace {

size_t used_bytes(const Arena &arena) { return arena.used(); }
size_t used_bytes(const ArenaSizer &sizer) { return sizer.bytes(); }

size_t checked_product(size_t a, size_t b) {
    size_t result;
    if (__builtin_mul_overflow(a, b, &result))
        fail(Status::kOutOfMemory, "{} outputs of {} values are more than the address space holds", a, b);
    return result;
}

}  // namespace

template <typename A> Memory CpuExecutable::lay_out(const Program &program, const Plan &plan,
                                                    const ExecutableLimits &limits, int n_threads, A &arena,
                                                    std::vector<MemoryRegion> *regions) {
    Memory m;
    size_t begin = used_bytes(arena);
    auto close = [&](const std::string &name, int32_t cache_group = -1) {
        if (regions) regions->push_back({"cpu", name, used_bytes(arena) - begin, cache_group});
        begin = used_bytes(arena);
    };
    m.host = HostCache(program, limits, arena, close);
    m.cache.resize(program.cache_groups.size());
    for (uint32_t i = 0; i < program.cache_layers.size(); i++) {
        const CacheLayer &layer = program.cache_layers[i];
        if (layer.index > 0) continue;
        const CachePlane &k = m.host.k(i), &v = m.host.v(i);
        m.cache[layer.group] = {reinterpret_cast<uint8_t *>(k.data), reinterpret_cast<uint8_t *>(v.data), k.row_bytes,
                                v.row_bytes};
    }
    m.values = arena.template take<float>(plan.activation_floats);
    close("activations");
    m.logits = arena.template take<float>(checked_product(limits.step.max_outputs, program.vocab));
    close("logits");
    m.prepared = arena.template take<uint8_t>(plan.prepared_bytes);
    m.gathered = arena.template take<uint8_t>(plan.gathered_bytes);
    m.chosen = arena.template take<int32_t>(plan.chosen_experts);
    m.first = arena.template take<int32_t>(plan.n_experts + 1);
    for (const RopeTable &t : plan.rope_tables)
        m.rope_tables.push_back(arena.template take<float>(size_t(limits.step.max_tokens) * t.op->rope.dims));
    m.split = arena.template take<float>(plan.split_floats);
    m.split_statistics = arena.template take<float>(plan.split_statistics);
    for (int i = 0; i < n_threads; i++) {
        Memory::Worker &w = m.workers.emplace_back();
        w.row = arena.template take<float>(plan.row_floats);
        w.prepared = arena.template take<uint8_t>(plan.prepared_row_bytes);
        w.attention = arena.template take<float>(plan.attention_floats);
        w.state = arena.template take<float>(plan.state_floats);
    }
    close("scratch");
    return m;
}

CpuExecutable::CpuExecutable(const Program &program, const ExecutableLimits &limits, const CpuStore &store,
                             Arena &arena, ThreadPool &pool)
    : program_(program), store_(store), kernels_(store.kernels()), pool_(pool), n_pages_(limits.n_pages),
      plan_(make_plan(program, limits, pool.size())), k_type_(cache_type(limits.cache_k).value_or(CacheType::kF32)),
      v_type_(cache_type(limits.cache_v).value_or(CacheType::kF32)),
      memory_(lay_out(program, plan_, limits, pool.size(), arena, nullptr)) {
    const uint32_t context = limits.step.context;
    memory_.host.find_turns([&](const Op &op) { return rope_factors(op, context); });
}

std::vector<MemoryRegion> CpuExecutable::memory(const Program &program, const ExecutableLimits &limits, int n_threads) {
    std::vector<MemoryRegion> regions;
    ArenaSizer sizer;
    lay_out(program, make_plan(program, limits, n_threads), limits, n_threads, sizer, &regions);
    return regions;
}

float *CpuExecutable::data(ValueId value) const {
    return value == program_.logits ? memory_.logits : memory_.values + plan_.value_offset[size_t(value)];
}

void CpuExecutable::time_stages(std::vector<StageTime> *times) {
    if (times) {
        times->assign(plan_.stages.size(), {});
        for (size_t i = 0; i < times->size(); ++i) (*times)[i].ops = ops_of(program_, plan_.stages[i]);
    }
    clock_ = StageClock(times);
}

Status CpuExecutable::run(const Step &step) noexcept {
    clock_.start();
    pool_.run([&](int number, int n_workers) {
        const Worker worker{number, n_workers};
        for (const Stage &stage : plan_.stages) {
            if (n_rows(stage.rows, step) == 0) continue;
            switch (stage.kind) {
            case Stage::Kind::kRows:
                rows_stage(stage, step, worker);
                break;
            case Stage::Kind::kLinear:
                linear_stage(stage, step, worker);
                break;
            case Stage::Kind::kExperts:
                experts_stage(stage, step, worker);
                break;
            case Stage::Kind::kAttention:
                attention_stage(*stage.ops[0], step, worker);
                break;
            case Stage::Kind::kRecurrent:
                recurrent_stage(*stage.ops[0], step, worker);
                break;
            }
            pool_.barrier();
            if (number == 0) clock_.stop(size_t(&stage - plan_.stages.data()));
        }
    });
    return Status::kOk;
}

}  // namespace el::cpu
