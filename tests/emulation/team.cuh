// In place of cuda/team.cuh.
#pragma once
#include <cuda_runtime.h>

namespace el::cuda {

inline void wait_for_team(uint32_t team, uint32_t n_threads) { emulation::wait_for_team(team, n_threads); }

}  // namespace el::cuda
