// state_corpus FOLDER: writes the saved sequences that the fuzzer of them begins with. They are committed in
// corpus/state; run this again when the format or the models of tests/golden/arch change.
#include "state_contexts.h"

#include <cstdio>

int main(int argc, char **argv) {
    if (argc != 2) return std::fputs("usage: state_corpus FOLDER\n", stderr), 2;
    size_t i = 0;
    for (const auto &context : el::state_contexts()) {
        for (size_t n : {0, 1, 33, 60, 140}) {
            if (n > 128 && context->options().eviction == el::Eviction::kNone) continue;
            context->clear(0);
            el::feed(*context, 0, n);
            el::Report report;
            const std::string path = std::string(argv[1]) + "/" + std::to_string(i) + "-" + std::to_string(n);
            if (el::SequenceState(*context, 0).save_file(path.c_str(), report) != el::Status::kOk)
                return std::fprintf(stderr, "%s\n", report.text), 1;
        }
        ++i;
    }
    return 0;
}
