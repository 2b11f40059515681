// What the processor of this machine can do, asked at run time.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace el {

// The instruction sets that kernels are written for.
enum class Isa {
    kScalar,
    kAvx2,    // AVX2, FMA, F16C
    kAvx512,  // what kAvx2 has, and AVX-512 F, BW, DQ, VL, VNNI
    kNeon,    // aarch64 with the dot product instructions
};

struct CpuInfo {
    Isa best = Isa::kScalar;
    std::string model_name;
    std::vector<std::string> features;  // those that matter to kernels, as Linux calls them
    int logical_cpus = 1;               // usable by this process
    int physical_cores = 1;             // the same without counting hyper-threads of one core
};

CpuInfo detect_cpu();
std::vector<int> usable_cpus();                 // numbers of the CPUs that this process may run on; at least one
int count_cores(const std::vector<int> &cpus);  // that they belong to

const char *isa_name(Isa isa);  // "scalar", "avx2", "avx512", "neon"
std::optional<Isa> parse_isa(std::string_view name);
bool isa_available(Isa isa);  // can this machine run it
// What this machine has of `cap` or less; nothing where it is of another kind than the cap.
std::optional<Isa> best_isa_below(Isa cap);

}  // namespace el
