// A compiled program with its memory on the device. Steps of few tokens go stage by stage and are captured once, for 1,
// 2, 4 and 8 tokens, or as many as a step may have, and once more for long contexts; in longer steps nearly every op
// is a launch of its own. Whoever calls has made its device the current one.
#pragma once
#include "gemm.h"
#include "ops/matvec.h"
#include "ops/select.h"
#include "program/key_turns.h"
#include "stages.h"
#include "store.h"

#include <functional>

namespace el::cuda {

class Recorded {  // what a stream was told to do
  public:
    explicit Recorded(cudaGraph_t graph) : graph_(graph) {}
    Recorded(const Recorded &) = delete;
    ~Recorded() { cudaGraphDestroy(graph_); }
    operator cudaGraph_t() const { return graph_; }

  private:
    cudaGraph_t graph_;
};

class Graph {  // that, ready to be launched
  public:
    explicit Graph(cudaGraphExec_t graph) : graph_(graph) {}
    Graph(Graph &&other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
    ~Graph() {
        if (graph_) cudaGraphExecDestroy(graph_);
    }
    operator cudaGraphExec_t() const { return graph_; }

  private:
    cudaGraphExec_t graph_;
};

class StageMarks;

struct Executable {
    Executable(const Store &store, const ProgramView &program, const LimitsView &limits);
    Executable(const Executable &) = delete;

    struct Memory {
        std::vector<Plane> k, v;       // per cache layer
        std::vector<float *> state;    // per state layer: [n_state_slots, floats]
        std::vector<float *> buffers;  // of values
        float *logits = nullptr;       // [max_outputs, vocab]
        float *constants = nullptr;
        GemmMemory gemm;
        Step step;
        int32_t *slots[2] = {};     // [max_pages * kPageTokens] each: for changes between steps
        uint8_t *packed = nullptr;  // a page of rows of the group with the longest ones
        // Scratch of matvec(), decode_attention(), attention() and select_best().
        uint8_t *quantized = nullptr, *attention = nullptr, *attention_parts = nullptr, *selection = nullptr;
        uint32_t n_selectable = 0;  // rows of logits that are selected from at once
    };
    static Memory lay_out(const Program &program, const LimitsView &limits, Pieces &pieces,
                          std::vector<Region> *regions = nullptr);

    void run(const Step &step, StepEvents events);
    size_t profile(const Step &step, StepEvents events, StageSpan *spans);  // runs it, too; [n_ops] spans
    void fetch_logits(uint32_t row);                                        // of the last step, to host_logits
    const float *logits(uint32_t row);                                      // there; NAN if they are not
    bool best(uint32_t row, size_t n, BestTokens &out);

    // As CacheMemory has them.
    void copy_rows(uint32_t group, const int32_t *from, const int32_t *to, size_t n);
    void turn_keys(uint32_t group, const int32_t *slots, size_t n, int32_t positions);
    void copy_state(int32_t from, int32_t to);
    size_t row_bytes(uint32_t group) const;
    void move_rows(uint32_t group, const int32_t *slots, size_t n, uint8_t *host, bool to_device);
    size_t state_bytes() const;
    void move_state(int32_t slot, size_t begin, size_t n, uint8_t *host, bool to_device);

    const Store &store;
    const Chip chip;
    Program program;
    std::vector<Stage> stages;
    uint64_t product_formats = 0;    // of the stages of packed products: bits 1 << format
    std::vector<int32_t> buffer_of;  // per value
    const KeyTurns turns;
    DeviceMemory memory;
    Memory at;
    const Stream own_stream;  // what is captured is captured here: others may use a stream of the caller's meanwhile
    cudaStream_t stream;      // of the steps
    std::unique_ptr<Gemm> gemm;
    HostMemory host_step, host_logits, host_best;
    uint32_t context;  // tokens of a sequence
    // What went wrong between steps, where nothing could report it: the cache is not what it should be any more.
    int32_t broken_status = kOk;
    char broken[kErrorBytes] = "";

  private:
    struct Captured {
        int32_t tokens;
        bool long_context;
        Graph graph;
    };
    std::vector<Captured> captured_;  // from few to many tokens
    bool tables_sent_ = false;        // the device has the block tables that host_step has
    StageMarks *marks_ = nullptr;     // of a step that is timed
    int32_t n_rows_ = 0;              // of logits, of the last step
    std::vector<uint8_t> fetched_;    // [max_outputs] 1: the row is on the host
    void has_rows(int32_t n);

    // Rows of which the best tokens are known, and how many of them.
    struct Selected {
        int32_t row_begin, row_end, n;
    } selected_ = {};
    int32_t n_asked_ = 0;  // best tokens of the last step: those of the next one are selected along with it
    void select(int32_t row_begin, int32_t n_rows, int32_t n);

    void copy(void *to, const void *from, size_t n, cudaMemcpyKind kind) const;
    void settle() const;  // waits, and throws what has gone wrong
    Recorded record(const std::function<void()> &launches) const;
    static Graph ready(const Recorded &recorded);
    Step host_layout() const;  // of host_step, as it is
    Recorded record_step(int32_t n_tokens) const;
    bool captures_long_contexts() const;                            // steps are captured for them as well
    bool has_long_context(const Step &host, uint32_t group) const;  // some token sees so many rows of the group
    bool has_long_context(const Step &host) const;                  // of some group
    void pretend_to_see(int32_t rows);                              // in host_step, for the steps that are captured
    void capture();
    void load_kernels() const;
    const Captured *captured_for(const Step &step) const;  // NULL: none
    static void set_size(Step &step, int32_t n_tokens);
    void fill(Step &to, const Step &from, int32_t n_tokens) const;
    void wait_for(StepEvents events) const;
    void settle_step(StepEvents events) const;  // waits for its end
    void send_tables(const Step &from);
    void launch_all(const Step &host) const;
    bool launch_as_one(const Stage &stage, const Step &host, const Step &device) const;
    MatvecPart part_of(const Op &op) const;
    bool launch_products(const Stage &stage, int n) const;
    bool launch_heads(const Stage &stage, const Step &host, const Step &device, int n) const;
    HeadNorm head_norm(int32_t op) const;
    void launch_norm(const Op &op, int n, const float *residual, float *out) const;
    bool of_tokens(const Op &op) const;  // has a row for each token, not each output
    int rows(const Op &op, const Step &step) const;

    float *data(ValueId value) const {
        if (value == kNoValue) return nullptr;
        return value == program.logits ? at.logits : at.buffers[size_t(buffer_of[size_t(value)])];
    }
    uint32_t width(ValueId value) const { return value == kNoValue ? 0 : program.values[size_t(value)].width; }
    Rope rope_of(const Op &op) const;
    void launch(const Op &op, const Step &step) const;
    void launch_matrix(const Op &op, int n) const;
    void launch_recurrent(const Op &op, const Step &step) const;
    template <typename Visit> void for_planes(uint32_t group, Visit visit) const {
        for (size_t i = 0; i < at.k.size(); ++i) {
            if (program.cache_layers[i].group != group) continue;
            visit(at.k[i]);
            visit(at.v[i]);
        }
    }
};

Program copy_program(const ProgramView &view);

}  // namespace el::cuda
