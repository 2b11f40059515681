// The main of every unit test program: runs the doctest cases and ends with the totals that script/test adds up.
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdio>
#include <doctest/doctest.h>

namespace {
unsigned run_cases, failed_cases;
struct Totals : doctest::IReporter {
    explicit Totals(const doctest::ContextOptions &) {}
    void report_query(const doctest::QueryData &) override {}
    void test_run_start() override {}
    void test_run_end(const doctest::TestRunStats &stats) override {
        run_cases = stats.numTestCasesPassingFilters;
        failed_cases = stats.numTestCasesFailed;
    }
    void test_case_start(const doctest::TestCaseData &) override {}
    void test_case_reenter(const doctest::TestCaseData &) override {}
    void test_case_end(const doctest::CurrentTestCaseStats &) override {}
    void test_case_exception(const doctest::TestCaseException &) override {}
    void subcase_start(const doctest::SubcaseSignature &) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData &) override {}
    void log_message(const doctest::MessageData &) override {}
    void test_case_skipped(const doctest::TestCaseData &) override {}
};
DOCTEST_REGISTER_LISTENER("totals", 1, Totals);
}  // namespace

unsigned skipped_cases = 0;  // a case that cannot run here says why on stderr and adds one

int main(int argc, char **argv) {
    doctest::Context context(argc, argv);
    int result = context.run();
    std::printf("%u passed, %u failed, %u skipped\n", run_cases - failed_cases - skipped_cases, failed_cases,
                skipped_cases);
    return result;
}
