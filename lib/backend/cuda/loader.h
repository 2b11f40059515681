// Finds and loads the CUDA module, once for the process; it is never unloaded.
#pragma once
#include "backend/cuda/interface.h"

#include <string>

namespace el::cuda {

struct Loaded {
    const Module *module = nullptr;
    std::string reason;  // why there is none
};
// The module of this build: the file that the environment variable EDGELLM_CUDA_MODULE names by an absolute path, or
// libedgellm_cuda.so beside this library. Never one of the working directory.
const Loaded &load_module();

}  // namespace el::cuda
