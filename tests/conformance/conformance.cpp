// Compares what backends compute with plain code and with the reference backend, on random input: other input each
// time, unless --seed says which.
//     conformance [--isa NAME | --device cuda] [--only PART_OF_A_NAME] [--part I/N] [--seed N] [--small] [--once]
//                 [--verbose] [--bench]
// --only takes a part of a test's name, or the whole name of a case, as a failure prints it. --part 0/4 to 3/4, say,
// beside each other, are all of it. --once leaves out that a second run has the same result, which tells sanitizers
// nothing new; --verbose names what passes, too.
#include "harness.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

using namespace el;
using namespace el::conformance;

namespace {

bool parse_part(const char *text, Options &options) {
    char more;
    return !std::strchr(text, '-') && std::sscanf(text, "%u/%u%c", &options.part, &options.parts, &more) == 2 &&
           options.part < options.parts;
}

// A case's second run has no name of its own.
std::string without_again(const std::string &name) {
    constexpr std::string_view kAgain = " again";
    return name.ends_with(kAgain) ? name.substr(0, name.size() - kAgain.size()) : name;
}

bool parse(int argc, char **argv, Options &options) {
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : nullptr;
        bool *const flag = !std::strcmp(argv[i], "--bench")     ? &options.bench
                           : !std::strcmp(argv[i], "--small")   ? &options.small
                           : !std::strcmp(argv[i], "--once")    ? &options.once
                           : !std::strcmp(argv[i], "--verbose") ? &options.verbose
                                                                : nullptr;
        if (flag) {
            *flag = true;
            continue;
        }
        if (!value) return false;
        if (!std::strcmp(argv[i], "--isa"))
            options.isa = value;
        else if (!std::strcmp(argv[i], "--device"))
            options.device = value;
        else if (!std::strcmp(argv[i], "--only"))
            options.only = without_again(value);
        else if (!std::strcmp(argv[i], "--seed"))
            options.seed = uint32_t(std::strtoul(value, nullptr, 10));
        else if (std::strcmp(argv[i], "--part") || !parse_part(value, options))
            return false;
        i++;
    }
    return (options.device == "cpu" || options.device == "cuda") && (options.isa.empty() || parse_isa(options.isa));
}

void test_cuda(const Options &options, Report &report) {
    Context c{report, Isa::kScalar, "cuda ", options.seed, nullptr};
    c.least_tolerance = 1e-3;
    c.one_path = false;
    c.prompt_routes = {"", "fused", "cublas"};
    try {
        c.tested = create_cuda_backend();
    } catch (const Error &error) {
        return report.skip("cuda", error.what());
    }
    if (options.bench) return bench_device(options, {"cuda", c.isa, c.tested.get()});
    test_programs(c);
    test_ops(c);
    test_experts(c);
    test_attention_shapes(c);
    test_best(c);
}

}  // namespace

int main(int argc, char **argv) {
    Options options;
    if (!parse(argc, argv, options)) {
        std::fprintf(stderr,
                     "usage: %s [--isa scalar|avx2|avx512|neon | --device cuda] [--only PART_OF_A_NAME] [--part I/N] "
                     "[--seed N] [--small] [--once] [--verbose] [--bench]\n",
                     argv[0]);
        return 2;
    }
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // what it has found is there also if it is stopped
    Report report(options);
    std::printf("seed %u\n", options.seed);
    try {
        if (options.device == "cuda") {
            test_cuda(options, report);
            return options.bench ? 0 : report.finish_or_skip();
        }
        for (Isa isa : isas(options, report)) {
            if (options.bench) {
                bench(options, isa);
                continue;
            }
            test_kernels(options, report, isa);
            Context c{report, isa, std::string(isa_name(isa)) + " ", options.seed, create_cpu_backend()};
            test_programs(c);
            test_ops(c);
            test_experts(c);
            test_attention_shapes(c);
        }
    } catch (const std::exception &error) {
        report.check("no exceptions", false, error.what());
    }
    return options.bench ? 0 : report.finish();
}
