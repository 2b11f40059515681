// state_corpus FOLDER: writes the saved sequences that the fuzzer of them begins with. They are committed in
// corpus/state; run this again when the format or the models of tests/golden/arch change.
#include "state_contexts.h"

#include <cstdio>

namespace {

bool write(el::Context &context, size_t n, const std::string &path) {
    context.clear(0);
    el::feed(context, 0, n);
    el::Report report;
    if (el::SequenceState(context, 0).save_file(path.c_str(), report) == el::Status::kOk) return true;
    std::fprintf(stderr, "%s\n", report.text);
    return false;
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 2) return std::fputs("usage: state_corpus FOLDER\n", stderr), 2;
    auto path = [&](size_t i, size_t n) {
        return std::string(argv[1]) + "/" + std::to_string(i) + "-" + std::to_string(n);
    };
    size_t i = 0;
    for (const auto &context : el::state_contexts()) {
        for (size_t n : {0, 1, 33, 60, 140})
            if (n <= 128 || context->options().eviction != el::Eviction::kNone)
                if (!write(*context, n, path(i, n))) return 1;
        ++i;
    }
    i = 0;
    for (const auto &context : el::state_contexts(256))  // more than those that are fuzzed hold
        if (!write(*context, 200, path(i++, 200))) return 1;
    return 0;
}
