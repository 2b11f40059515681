// A plan with addresses, and how its stages run.
#pragma once
#include "backend/cpu/plan.h"
#include "backend/cpu/store.h"

namespace el::cpu {

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
    };
    std::vector<Planes> cache;  // per group
    float *values = nullptr;
    float *logits = nullptr;
    uint8_t *prepared = nullptr;
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
    const float *logits() const noexcept override { return memory_.logits; }

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
    void rope_angles(const Op &op, float *table, int32_t position) const noexcept;
    void row_op(const Op &op, const Step &step, size_t row) const noexcept;
    void cache_write(const Op &op, const Step &step, size_t token) const noexcept;

    void linear_stage(const Stage &stage, const Step &step, Worker worker) const noexcept;
    void prepare(const Stage &stage, SplitRange rows, uint8_t *out, float *row) const noexcept;
    void multiply(const Stage &stage, SplitRange rows, const uint8_t *prepared, Worker worker) const noexcept;
    void panel(const Stage &stage, const LinearPart &part, size_t panel, SplitRange rows,
               const uint8_t *prepared) const noexcept;

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
    const CacheType k_type_, v_type_;
    Plan plan_;
    Memory memory_;
};

}  // namespace el::cpu
