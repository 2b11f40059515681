// Matrix products of many tokens (prefill): which route each takes, and the memory they work in.
//
// Routes: packed weights and float16 go straight to the fused kernel (ops/fused_gemm.cu), or through float16 to cuBLAS;
// other formats become float16 first, chunk by chunk; float32 stays float32.
#pragma once
#include "backend/cuda/interface.h"
#include "blas.h"
#include "ops.h"
#include "ops/gemm.cuh"

#include <memory>

namespace el::cuda {

// Which products cuBLAS does.
class Routes {
  public:
    Routes();
    int blas_from(Format format, uint32_t rows) const;  // tokens; of a matrix of so many rows
    static bool misses_blas(int device);                // it would be used, but there is none

  private:
    enum { kFused, kTable, kBlas } kind_ = kFused;
};

struct GemmMemory {
    __half *x = nullptr;    // activations of one product
    float *undo = nullptr;  // [rows of x]
    Pairs pairs;
    __half *weights = nullptr;
    size_t n_weights = 0;  // that fit there
    uint8_t *blas = nullptr;
    bool uses_blas = false;
};

class Gemm {
  public:
    static GemmMemory lay_out(const Program &program, const StepLimits &limits, Pieces &pieces);

    Gemm(const GemmMemory &memory, cudaStream_t stream);
    void use(cudaStream_t stream);  // from now on

    // Values change from step to step: what was converted in the one before is not valid.
    void begin_step() { converted_ = sorted_ = kNoValue; }
    // `input`: of which value call.x is. False if it is for the simple kernels to do.
    bool linear(const LinearCall &call, ValueId input);
    // call.linear.n: pairs; `n_experts` of the matrix, of which `route` says those that tokens have chosen.
    bool expert_linear(const ExpertCall &call, uint32_t n_experts, ValueId input, ValueId route);

  private:
    void to_operand(const ConvertCall &call, ValueId input);
    FusedCall fused_call(const LinearCall &call) const;
    Matrix made(uint32_t cols) const;
    void multiply_experts(FusedCall call) const;
    template <typename Visit> void for_parts(const LinearCall &call, Visit visit) const;
    void by_blas(const LinearCall &call, ValueId input);
    void by_fused(const LinearCall &call, ValueId input);

    GemmMemory at_;
    cudaStream_t stream_;
    Routes routes_;
    int n_multiprocessors_;
    std::unique_ptr<Blas> blas_;
    ValueId converted_ = kNoValue, sorted_ = kNoValue;  // what lies in at_.x, by which route at_.pairs are sorted
    uint32_t converted_run_ = 0;
};

}  // namespace el::cuda
