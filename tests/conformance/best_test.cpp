// The best tokens of rows, where a device hands them over, against its rows.
#include "harness.h"

#include "unit/best_helpers.h"

#include <map>

namespace el::conformance {
namespace {

std::string difference(Session &session, const std::vector<float> &logits, size_t vocab, uint32_t row, size_t n) {
    BestTokens got;
    if (!session.best(row, n, got)) return "not told";
    const BestOfRow wanted(logits.data() + row * vocab, vocab, n);
    if (got.n != wanted.tokens.n || got.all != wanted.tokens.all) return el::format("{} tokens", got.n);
    if (!std::equal(got.ids, got.ids + got.n, wanted.tokens.ids)) return "other tokens";
    if (!std::equal(got.logits, got.logits + got.n, wanted.tokens.logits)) return "other logits";
    const double error = std::fabs(got.sum / wanted.tokens.sum - 1);
    return error < 0.5 * BestTokens::kSumError ? "" : el::format("the sum is off by {}", error);
}

}  // namespace

void test_best(Context &c) {
    for (uint32_t vocab : {17u, 256u, 300u, 5003u, 151936u}) {
        const std::string name = el::format("{}best of {}", c.prefix, vocab);
        if (!c.report.wanted(name)) continue;
        Model m(c.seed);
        const ValueId x = m.embed(50, 64);
        m.finish(m.linear(x, m.matrix(Format::kF16, vocab, 64)));
        Session session(*c.tested, m, {}, 20);
        std::string why;
        for (size_t n : {256, 256, 1, 1, 40, 256})  // the same number is selected along with the step
            for (int n_rows : {1, 20, 1, 3}) {
                session.prepare(tokens(n_rows));
                if (!session.step() && why.empty()) why = "a step failed";
                std::map<uint32_t, std::vector<int32_t>> early;  // of a row
                for (uint32_t r = 0; r < uint32_t(n_rows) && why.empty(); ++r) {
                    BestTokens best;
                    if (session.best(r, n, best)) early[r].assign(best.ids, best.ids + best.n);
                }
                const std::vector<float> logits = session.logits();
                for (uint32_t r = 0; r < uint32_t(n_rows) && why.empty(); ++r) {
                    why = difference(session, logits, vocab, r, n);
                    const BestOfRow wanted(logits.data() + r * vocab, vocab, n);
                    if (why.empty() && early[r] != wanted.ids) why = "other tokens before the row was read";
                }
            }
        c.report.check(name, why.empty(), why);
    }
}

}  // namespace el::conformance
