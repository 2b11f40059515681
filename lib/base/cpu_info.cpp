#include "base/cpu_info.h"

#include "base/format.h"
#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <sched.h>
#include <set>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace el {
namespace {

struct Feature {
    const char *name;
    bool present;
};

#if defined(__x86_64__)

struct Cpuid {
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
    explicit Cpuid(uint32_t leaf, uint32_t subleaf = 0) { __get_cpuid_count(leaf, subleaf, &eax, &ebx, &ecx, &edx); }
};

// Which registers the system saves when it switches threads (XCR0); without that an instruction set is of no use.
uint64_t saved_state(bool osxsave) {
    if (!osxsave) return 0;
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t{high} << 32) | low;
}

std::array<Feature, 12> read_features() {
    auto bit = [](uint32_t word, int i) { return (word >> i & 1) != 0; };
    Cpuid one(1), seven(7), seven_one(7, 1);
    uint64_t state = saved_state(bit(one.ecx, 27));
    bool ymm = (state & 0x6) == 0x6, zmm = (state & 0xe6) == 0xe6, tiles = (state & 0x60000) == 0x60000;
    return {{{"avx2", ymm && bit(seven.ebx, 5)},
             {"fma", ymm && bit(one.ecx, 12)},
             {"f16c", ymm && bit(one.ecx, 29)},
             {"avx_vnni", ymm && bit(seven_one.eax, 4)},
             {"avx512f", zmm && bit(seven.ebx, 16)},
             {"avx512dq", zmm && bit(seven.ebx, 17)},
             {"avx512bw", zmm && bit(seven.ebx, 30)},
             {"avx512vl", zmm && bit(seven.ebx, 31)},
             {"avx512_vnni", zmm && bit(seven.ecx, 11)},
             {"avx512_bf16", zmm && bit(seven_one.eax, 5)},
             {"avx512_fp16", zmm && bit(seven.edx, 23)},
             {"amx_int8", tiles && bit(seven.edx, 25)}}};
}

std::string read_model_name() {
    if (Cpuid(0x80000000).eax < 0x80000004) return "x86-64";
    char name[49] = {};
    for (uint32_t i = 0; i < 3; ++i) {
        Cpuid part(0x80000002 + i);
        const uint32_t words[4] = {part.eax, part.ebx, part.ecx, part.edx};
        std::memcpy(name + 16 * i, words, 16);
    }
    std::string_view text = name;
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    return std::string(text);
}

#elif defined(__aarch64__)

std::array<Feature, 5> read_features() {
    // Bits of the ABI between Linux and programs; spelled out, as older C libraries lack some of the names.
    unsigned long one = getauxval(AT_HWCAP), two = getauxval(AT_HWCAP2);
    return {{{"asimd", (one >> 1 & 1) != 0},
             {"asimdhp", (one >> 10 & 1) != 0},
             {"asimddp", (one >> 20 & 1) != 0},
             {"i8mm", (two >> 13 & 1) != 0},
             {"bf16", (two >> 14 & 1) != 0}}};
}

// Boards say in the device tree what they are ("NVIDIA Jetson Orin Nano ...").
std::string read_model_name() {
    std::ifstream in("/proc/device-tree/model", std::ios::binary);
    std::string name;
    std::getline(in, name, '\0');
    return name.empty() ? "aarch64" : name;
}

#else

std::array<Feature, 0> read_features() { return {}; }
std::string read_model_name() { return "unknown"; }

#endif

Isa best_isa() {
    auto features = read_features();
    auto has = [&](std::string_view name) {
        for (const Feature &f : features)
            if (name == f.name) return f.present;
        return false;
    };
    if (has("asimddp")) return Isa::kNeon;
    if (!has("avx2") || !has("fma") || !has("f16c")) return Isa::kScalar;
    for (const char *name : {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"})
        if (!has(name)) return Isa::kAvx2;
    return Isa::kAvx512;
}

}  // namespace

std::vector<int> usable_cpus() {
    std::vector<cpu_set_t> sets(16);  // 16384 CPUs: the call fails if the system knows more than we ask for
    size_t bytes = sets.size() * sizeof(cpu_set_t);
    std::vector<int> cpus;
    if (sched_getaffinity(0, bytes, sets.data()) == 0)
        for (int i = 0; i < static_cast<int>(bytes * 8); ++i)
            if (CPU_ISSET_S(i, bytes, sets.data())) cpus.push_back(i);
    if (cpus.empty()) cpus.push_back(0);
    return cpus;
}

// Hyper-threads of one core have the same list of siblings.
int count_cores(const std::vector<int> &cpus) {
    std::set<std::string> cores;
    for (int cpu : cpus) {
        std::ifstream in(el::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
        std::string siblings;
        if (!std::getline(in, siblings)) siblings = el::format("cpu{}", cpu);
        cores.insert(std::move(siblings));
    }
    return static_cast<int>(cores.size());
}

CpuInfo detect_cpu() {
    CpuInfo info;
    info.best = best_isa();
    info.model_name = read_model_name();
    for (const Feature &f : read_features())
        if (f.present) info.features.emplace_back(f.name);
    std::vector<int> cpus = usable_cpus();
    info.logical_cpus = static_cast<int>(cpus.size());
    info.physical_cores = count_cores(cpus);
    return info;
}

const char *isa_name(Isa isa) {
    switch (isa) {
    case Isa::kScalar:
        return "scalar";
    case Isa::kAvx2:
        return "avx2";
    case Isa::kAvx512:
        return "avx512";
    case Isa::kNeon:
        return "neon";
    }
    return "?";
}

std::optional<Isa> parse_isa(std::string_view name) {
    for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon})
        if (name == isa_name(isa)) return isa;
    return std::nullopt;
}

bool isa_available(Isa isa) {
    Isa best = best_isa();
    return isa == Isa::kScalar || isa == best || (isa == Isa::kAvx2 && best == Isa::kAvx512);
}

std::optional<Isa> best_isa_below(Isa cap) {
    if (isa_available(cap)) return cap;
#if defined(__x86_64__)
    const bool other_kind = cap == Isa::kNeon;
#else
    const bool other_kind = cap != Isa::kNeon;
#endif
    return other_kind ? std::nullopt : std::optional(best_isa());
}

}  // namespace el
