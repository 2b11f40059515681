// A plan with addresses, and how its stages run.
#pragma once
#include "backend/cpu/plan.h"
#include "backend/cpu/store.h"
#include "backend/host/cache.h"
#include "backend/host/measure.h"

namespace el::cpu {

static_assert(int(Activation::kSilu) == int(ActivationKind::kSilu) &&
              int(Activation::kClampedSwiglu) == int(ActivationKind::kClampedSwiglu));

// Everything in the context's arena.
struct Memory {
    struct Planes {
        uint8_t *k = nullptr, *v = nullptr;  // [layer][page][kv head][32][row]
        size_t k_row_bytes = 0, v_row_bytes = 0;
    };
    struct Worker {
        float *row = nullptr;
        uint8_t *prepared = nullptr;
        float *attention = nullptr;
        float *state = nullptr;
    };
    HostCache host;
    std::vector<Planes> cache;  // of `host`, per group
    float *values = nullptr;
    float *logits = nullptr;
    uint8_t *prepared = nullptr;
    uint8_t *gathered = nullptr;        // as prepared, in the order of `chosen`
    int32_t *chosen = nullptr;          // [tokens * n_used] token * n_used + i, sorted by the expert chosen
    int32_t *first = nullptr;           // [n_experts + 1] where an expert's part of `chosen` begins
    std::vector<float *> rope_tables;   // [max_tokens][2][dims / 2]: cosines, sines
    float *split = nullptr;             // [part][kSplitTokens][n_heads, dim_v]
    float *split_statistics = nullptr;  // [part][kv head][kSplitTokens][heads of it][2]
    std::vector<Worker> workers;
};

class CpuExecutable final : public Executable {
  public:
    CpuExecutable(const Program &program, const ExecutableLimits &limits, const CpuStore &store, Arena &arena,
                  ThreadPool &pool);
    static std::vector<MemoryRegion> memory(const Program &program, const ExecutableLimits &limits, int n_threads);

    Status run(const Step &step) noexcept override;
    const float *logits(uint32_t row) const noexcept override { return memory_.logits + size_t(row) * program_.vocab; }
    CacheMemory &cache() noexcept override { return memory_.host; }
    void time_stages(std::vector<StageTime> *times) override;

  private:
    struct Worker {
        int number, of;
    };
    template <typename A> static Memory lay_out(const Program &program, const Plan &plan,
                                                const ExecutableLimits &limits, int n_threads, A &arena,
                                                std::vector<MemoryRegion> *regions);

    float *data(ValueId value) const;
    size_t width(ValueId value) const { return program_.values[size_t(value)].width; }
    static size_t n_rows(Rows rows, const Step &step) {
        return size_t(rows == Rows::kTokens ? step.n_tokens : step.n_outputs);
    }

    void rows_stage(const Stage &stage, const Step &step, Worker worker) const noexcept;
    const float *rope_factors(const Op &op, uint32_t context) const noexcept;
    void rope_angles(const Op &op, const Step &step, size_t row, float *table) const noexcept;
    // `scratch` is the worker's row.
    void row_op(const Op &op, const Step &step, size_t row, float *scratch) const noexcept;
    void norm(const Op &op, const float *x, size_t n, float *out) const noexcept;
    float scale_of(const Op &op) const noexcept;
    void gate(const Op &op, const float *a, const float *b, size_t n, float *out) const noexcept;
    void cache_write(const Op &op, const Step &step, size_t token, float *scratch) const noexcept;

    void linear_stage(const Stage &stage, const Step &step, Worker worker) const noexcept;
    void prepare(const Stage &stage, SplitRange rows, uint8_t *out, float *row) const noexcept;
    void multiply(const Stage &stage, SplitRange rows, const uint8_t *prepared, Worker worker) const noexcept;
    void prepare_row(const Stage &stage, const float *x, size_t t, size_t group, uint8_t *to) const noexcept;
    size_t panel_cost(const LinearPart &part) const noexcept;
    void panel(const Stage &stage, const LinearPart &part, size_t panel, SplitRange rows,
               const uint8_t *prepared) const noexcept;
    // The matrix product of one panel, counted from the tensor's first, with a group of tokens; out [group, 16].
    void product(const Op &op, size_t panel, size_t group, const uint8_t *activations, float *out) const noexcept;
    StoreCall store_call(const LinearPart &part) const noexcept;

    struct Run;
    void experts_stage(const Stage &stage, const Step &step, Worker worker) const noexcept;
    void sort_by_expert(const Op &op, size_t n) const noexcept;
    void gather(const Stage &stage, size_t n, Worker worker) const noexcept;
    void prepare_alone(const Stage &stage, SplitRange rows) const noexcept;
    template <typename Visit>
    void for_runs(const Op &op, size_t n, const uint8_t *prepared, size_t row_bytes, Visit visit) const noexcept;
    void multiply_experts(const Stage &stage, const LinearPart &part, size_t n, const uint8_t *prepared,
                          Worker worker) const noexcept;
    void multiply_combined(const Stage &stage, const LinearPart &part, size_t n, const uint8_t *prepared,
                           Worker worker) const noexcept;
    void expert_rows(const Stage &stage, const LinearPart &part, const Run &run, SplitRange rows) const noexcept;
    void expert_panel(const Stage &stage, const LinearPart &part, const Run &run, SplitRange rows) const noexcept;

    struct StateSlots {
        const float *before;
        float *after;
    };
    void recurrent_stage(const Op &op, const Step &step, Worker worker) const noexcept;
    StateSlots state_slots(const Step &step, int32_t sequence, uint32_t layer, size_t offset) const noexcept;
    void short_conv(const Op &op, const Step &step, const SequenceTokens &tokens, uint32_t block) const noexcept;
    void delta_rule(const Op &op, const Step &step, const SequenceTokens &tokens, uint32_t part,
                    float *scratch) const noexcept;
    void selective_scan(const Op &op, const Step &step, const SequenceTokens &tokens, uint32_t head) const noexcept;

    void attention_stage(const Op &op, const Step &step, Worker worker) const noexcept;
    uint32_t attention_parts(const Op &op, const Step &step, int n_workers) const noexcept;
    void attention_part(const Op &op, const Step &step, SplitRange tokens, uint32_t head, uint32_t part, uint32_t parts,
                        float *scratch) const noexcept;
    void combine_parts(const Op &op, const Step &step, uint32_t parts, Worker worker) const noexcept;

    const Program &program_;
    const CpuStore &store_;
    const Kernels &kernels_;
    ThreadPool &pool_;
    const std::vector<uint32_t> n_pages_;
    Plan plan_;
    const CacheType k_type_, v_type_;
    Memory memory_;
    StageClock clock_;
};

}  // namespace el::cpu
